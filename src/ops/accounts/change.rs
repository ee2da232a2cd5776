//! Changes to accounts. Called by `cli/commands/account.rs` through [`super`].
//! Invariant: one write each, or none at all if it is refused.

use super::{AccountSummary, remove_tokens, show};
use crate::{
    model::{
        account::{Account, TokenSource},
        id::{Name, ProjectId},
        refusal::{Code, Refusal},
        region::Region,
    },
    store::{
        config_edit::{Draft, edit},
        snapshot::load_once,
        tokens,
    },
    sys::{
        env::Env,
        private_file::{self, Stamp},
    },
};
use secrecy::SecretString;
use serde::Serialize;

/// Adds an account. The first one becomes active.
///
/// # Errors
/// `CONFIG_ERROR`, with the reason `ACCOUNT_EXISTS` for a name that is taken.
pub fn add(env: &Env, account: &Account) -> Result<AccountSummary, Refusal> {
    let name = &account.name;
    edit(env, |draft| {
        if draft.has_account(name.as_str()) {
            return Err(exists(name));
        }
        draft.add_account(account)?;
        if draft.before().account_names().is_empty() {
            draft.set_active_account(name.as_str())?;
        }
        Ok(())
    })?;
    show(env, Some(name.as_str()))
}

/// Whether an account of this name could be added; worth asking before a person types a secret.
///
/// # Errors
/// As [`add`].
pub fn free(env: &Env, name: &Name) -> Result<(), Refusal> {
    let snapshot = load_once(env);
    let config = snapshot.config.as_ref().map_err(Clone::clone)?;
    if config.account_names().contains(&name.as_str()) {
        return Err(exists(name));
    }
    Ok(())
}

fn exists(name: &Name) -> Refusal {
    Refusal::config(format!("account `{name}` exists already")).reason(Code::AccountExists).hint(
        format!("run: mp-proxy account update {name}, or: mp-proxy account remove {name} first"),
    )
}

/// The fields of an account that are to change; the others stay.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The region.
    pub region: Option<Region>,
    /// The project.
    pub default_project: Option<ProjectId>,
    /// The user name of a service account.
    pub username: Option<String>,
    /// The secret of a service account.
    pub secret: Option<SecretString>,
    /// The token of an `oauth_token` account, or the variable that holds it.
    pub token: Option<TokenSource>,
}

/// Changes fields of an account; its type stays.
///
/// # Errors
/// `CONFIG_ERROR` for an unknown account, a field of another type, or a move of a browser login
/// to another region while tokens of the old one are here.
pub fn update(env: &Env, name: &str, change: &Change) -> Result<AccountSummary, Refusal> {
    edit(env, |draft| {
        require(draft, name)?;
        let kind = draft.account_type(name)?;
        if let Some(region) = change.region {
            refuse_to_strand_tokens(env, draft, name, region)?;
            draft.set_region(name, region)?;
        }
        if let Some(project) = &change.default_project {
            draft.set_project(name, project)?;
        }
        if let Some(username) = &change.username {
            belongs(name, kind.as_deref(), "username", "service_account")?;
            draft.set_username(name, username)?;
        }
        if let Some(secret) = &change.secret {
            belongs(name, kind.as_deref(), "secret", "service_account")?;
            draft.set_secret(name, secret)?;
        }
        if let Some(source) = &change.token {
            belongs(name, kind.as_deref(), "token", "oauth_token")?;
            draft.set_token(name, source)?;
        }
        Ok(())
    })?;
    show(env, Some(name))
}

fn belongs(name: &str, kind: Option<&str>, field: &str, owner: &str) -> Result<(), Refusal> {
    if kind == Some(owner) {
        return Ok(());
    }
    // A broken block may say anything, a secret even.
    const TYPES: [&str; 3] = ["service_account", "oauth_browser", "oauth_token"];
    let kind = kind.filter(|kind| TYPES.contains(kind)).unwrap_or("something else");
    Err(Refusal::config(format!(
        "`{field}` belongs to a `{owner}` account, and `{name}` is `{kind}`"
    ))
    .hint("the type of an account cannot change: remove it and add it again"))
}

/// Tokens of one region are worth nothing in another (quirk M7).
fn refuse_to_strand_tokens(
    env: &Env,
    draft: &Draft,
    name: &str,
    region: Region,
) -> Result<(), Refusal> {
    let Ok(account) = draft.before().account(name) else { return Ok(()) };
    let tokens = tokens::path(env, &account.name)
        .is_some_and(|path| private_file::stamp(&path) != Stamp::Absent);
    if account.type_name() != "oauth_browser" || account.region == region || !tokens {
        return Ok(());
    }
    Err(Refusal::config(format!(
        "account `{name}` has tokens of region `{}`, which are worth nothing in `{region}`",
        account.region
    ))
    .hint(format!(
        "run: mp-proxy account logout {name}, then the same command again, then: mp-proxy account login {name}"
    )))
}

/// Makes an account the active one, and clears `[active].workspace`, which was the old one's.
///
/// # Errors
/// `CONFIG_ERROR`, with the reason `ACCOUNT_NOT_FOUND` for one that is not configured.
pub fn activate(env: &Env, name: &str) -> Result<(), Refusal> {
    edit(env, |draft| {
        draft.set_active_account(require(draft, name)?.as_str())?;
        draft.set_active_workspace(None)
    })
}

/// The name of a configured account, broken or not.
pub(in crate::ops) fn require(draft: &Draft, name: &str) -> Result<Name, Refusal> {
    if !draft.has_account(name) {
        draft.before().account(name)?;
    }
    Name::parse(name).map_err(|rule| Refusal::config(format!("the account's name {rule}")))
}

/// What to do about targets that refer to the account that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Refuse.
    No,
    /// Leave them without an account.
    Yes,
}

/// What to do about the tokens of the account that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// Keep them.
    No,
    /// Remove them, and what `/me` said.
    Yes,
}

/// What a removal left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The account.
    pub name: String,
    /// The targets that refer to it still.
    pub orphaned_targets: Vec<String>,
    /// Whether its tokens are on this machine still (quirk M2).
    pub tokens_kept: bool,
}

/// Removes an account. If it was active, `[active]` loses account and workspace.
///
/// # Errors
/// `CONFIG_ERROR` for an unknown account; `ACCOUNT_IN_USE` while a target refers to it, unless
/// forced.
pub fn remove(env: &Env, name: &str, force: Force, purge: Purge) -> Result<Removed, Refusal> {
    let orphaned_targets = edit(env, |draft| {
        if !draft.has_account(name) {
            draft.before().account(name)?;
        }
        let targets = draft.before().targets_of(name);
        if force == Force::No && !targets.is_empty() {
            return Err(in_use(name, &targets));
        }
        draft.remove_account(name)?;
        if draft.active_account()?.as_deref() == Some(name) {
            draft.clear_active()?;
        }
        Ok(targets)
    })?;
    // A broken block may have a name that no account can have, and that no folder has.
    let tokens_kept = match (Name::parse(name), purge) {
        (Err(_), _) => false,
        (Ok(name), Purge::No) => {
            tokens::path(env, &name).is_some_and(|path| private_file::stamp(&path) != Stamp::Absent)
        }
        (Ok(name), Purge::Yes) => {
            forget(env, &name)?;
            false
        }
    };
    Ok(Removed { name: name.to_owned(), orphaned_targets, tokens_kept })
}

fn in_use(name: &str, targets: &[String]) -> Refusal {
    let message = format!("account `{name}` is used by the targets `{}`", targets.join("`, `"));
    Refusal::new(Code::AccountInUse, message).hint(format!(
        "run: mp-proxy target remove {}, or: mp-proxy account remove {name} --force",
        targets.first().map_or("NAME", String::as_str)
    ))
}

/// Removes the account's folder below the storage root.
fn forget(env: &Env, name: &Name) -> Result<(), Refusal> {
    remove_tokens(env, name)?;
    let Some(path) = tokens::path(env, name) else { return Ok(()) };
    let Some(folder) = path.parent() else { return Ok(()) };
    private_file::remove_folder(folder, env.home()).map_err(|error| error.refusal())
}
