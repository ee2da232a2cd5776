//! The namespace `accounts`: list, show, add, update, remove, activate, token, logout.
//! Called by `cli/commands/account.rs` and by any Rust program; see [`super`] for an example.
//! Invariants: every change is one write of the config; no secret is in a result but in that of
//! [`token`].
//!
//! ```
//! use mp_proxy::{
//!     model::{
//!         account::{Account, Credential, TokenSource},
//!         id::{Name, ProjectId},
//!         region::Region,
//!     },
//!     ops::accounts::{self, Change, Force, Purge},
//!     sys::env::Env,
//! };
//! use secrecy::ExposeSecret as _;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let home = home.path();
//! let env = Env::new([("HOME", home.to_str().unwrap())], home);
//! let account = |name| -> Result<Account, Box<dyn std::error::Error>> {
//!     Ok(Account {
//!         name: Name::parse(name)?,
//!         region: Region::Us,
//!         default_project: None,
//!         credential: Credential::OauthToken(TokenSource::Inline(format!("token of {name}").into())),
//!     })
//! };
//! accounts::free(&env, &Name::parse("ci")?)?;
//! assert!(accounts::add(&env, &account("ci")?)?.is_active, "the first one is");
//! accounts::add(&env, &account("night")?)?;
//!
//! // Only what is given changes.
//! let change = Change { default_project: Some(ProjectId::parse("42")?), ..Change::default() };
//! assert_eq!(accounts::update(&env, "night", &change)?.project_id.as_deref(), Some("42"));
//! accounts::activate(&env, "night")?;
//! let active: Vec<_> = accounts::list(&env)?.into_iter().filter(|one| one.is_active).collect();
//! assert_eq!(active[0].name, "night");
//! assert_eq!(accounts::token(&env, None)?.unwrap().expose_secret(), "token of night");
//!
//! assert!(!accounts::logout(&env, "night")?, "there were no tokens on this machine");
//! let removed = accounts::remove(&env, "night", Force::No, Purge::Yes)?;
//! assert!(removed.orphaned_targets.is_empty());
//! assert_eq!(accounts::show(&env, None).unwrap_err().message, "no account is active");
//! # Ok(())
//! # }
//! ```

mod bearer;
mod change;
mod status;
mod test_result;

pub use bearer::token;
pub(super) use change::require;
pub use change::{Change, Force, Purge, Removed, activate, add, free, remove, update};
pub use status::Status;
pub use test_result::{AccountTestResult, Identity};

use crate::{
    auth::first_run,
    model::{
        account::Account,
        id::Name,
        refusal::{Code, Refusal},
    },
    store::{
        config::Config,
        snapshot::{Snapshot, load_once},
        tokens,
    },
    sys::{env::Env, private_file},
};
use serde::Serialize;
use std::sync::Arc;

/// One account as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountSummary {
    /// Its name.
    pub name: String,
    /// `service_account`, `oauth_browser` or `oauth_token`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `us`, `eu` or `in`.
    pub region: &'static str,
    /// What this machine knows of its credential.
    pub status: Status,
    /// Whether `[active]` names it.
    pub is_active: bool,
    /// The targets that refer to it, in order.
    pub referenced_by_targets: Vec<String>,
    /// The user, if `/me` said so lately.
    pub user_email: Option<String>,
    /// Its `default_project`.
    pub project_id: Option<String>,
    /// The name of that project, if `/me` said so lately.
    pub project_name: Option<String>,
}

/// All accounts, by name.
///
/// # Errors
/// `CONFIG_ERROR` if the file or any account block is broken.
pub fn list(env: &Env) -> Result<Vec<AccountSummary>, Refusal> {
    let snapshot = load_once(env);
    let config = config(&snapshot)?;
    config.accounts_are_a_table()?;
    config.account_names().iter().map(|name| summary(&snapshot, config, name)).collect()
}

/// One account; `None` means the active one.
///
/// # Errors
/// `CONFIG_ERROR`, with the reason `ACCOUNT_NOT_FOUND` for one that is not configured; also if
/// another account block is broken, as in the reference.
pub fn show(env: &Env, name: Option<&str>) -> Result<AccountSummary, Refusal> {
    let snapshot = load_once(env);
    let config = config(&snapshot)?;
    let name = match name {
        Some(name) => name,
        None => {
            let active = config.active_account()?.filter(|name| !name.is_empty());
            active.ok_or_else(|| none_active(config))?
        }
    };
    config.accounts_are_whole()?;
    summary(&snapshot, config, name)
}

/// One account, whatever the others are.
///
/// # Errors
/// As [`show`].
pub(super) fn alone(env: &Env, name: &str) -> Result<AccountSummary, Refusal> {
    let snapshot = load_once(env);
    summary(&snapshot, config(&snapshot)?, name)
}

/// Removes the tokens of an account from this machine; says whether there were any.
///
/// # Errors
/// `CONFIG_ERROR` for an unknown account, or a file that cannot be removed.
pub fn logout(env: &Env, name: &str) -> Result<bool, Refusal> {
    let account = config(&load_once(env))?.account(name)?;
    remove_tokens(env, &account.name)
}

/// Removes `tokens.json`, under the lock that whoever refreshes it holds.
fn remove_tokens(env: &Env, name: &Name) -> Result<bool, Refusal> {
    let Some(path) = tokens::path(env, name) else { return Ok(false) };
    if private_file::stamp(&path) == private_file::Stamp::Absent {
        return Ok(false);
    }
    let file = tokens::lock(env, name, std::time::Duration::from_secs(10))?;
    file.remove().map_err(|error| error.refusal())
}

fn config(snapshot: &Snapshot) -> Result<&Config, Refusal> {
    snapshot.config.as_ref().map_err(Clone::clone)
}

/// No account is named and none is active.
pub(super) fn none_active(config: &Config) -> Refusal {
    let hint = match config.account_names().as_slice() {
        [] => first_run::hint(),
        names => format!("run: mp-proxy account use NAME, one of: `{}`", names.join("`, `")),
    };
    Refusal::config("no account is active").reason(Code::SessionUnresolved).hint(hint)
}

fn summary(snapshot: &Snapshot, config: &Config, name: &str) -> Result<AccountSummary, Refusal> {
    let account: Arc<Account> = config.account(name)?;
    let known = status::known(snapshot, &account);
    Ok(AccountSummary {
        name: account.name.to_string(),
        kind: account.type_name(),
        region: account.region.as_str(),
        status: known.status,
        // A broken `[active]` is no reason to hide the accounts (quirk C7).
        is_active: config.is_active(name),
        referenced_by_targets: config.targets_of(name),
        user_email: known.user_email,
        project_id: account.default_project.as_ref().map(ToString::to_string),
        project_name: known.project_name,
    })
}
