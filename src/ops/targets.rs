//! The namespace `targets`: list, show, add, remove, activate.
//! Called by `cli/commands/target.rs` and by any Rust program.
//! Invariant: every change is one write of the config.
//!
//! ```
//! use mp_proxy::{
//!     model::{
//!         account::{Account, Credential},
//!         id::{Name, ProjectId, WorkspaceId},
//!         region::Region,
//!     },
//!     ops::{accounts, session, targets},
//!     sys::env::Env,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let home = home.path();
//! let env = Env::new([("HOME", home.to_str().unwrap())], home);
//! accounts::add(&env, &Account {
//!     name: Name::parse("me")?,
//!     region: Region::Eu,
//!     default_project: None,
//!     credential: Credential::OauthBrowser,
//! })?;
//! let project = ProjectId::parse("77")?;
//! targets::add(&env, &Name::parse("shop")?, "me", &project, Some(WorkspaceId::parse("3")?))?;
//! assert_eq!(targets::list(&env)?[0].name, "shop");
//! assert_eq!(targets::show(&env, "shop")?.workspace, Some(3));
//!
//! targets::activate(&env, "shop")?;
//! assert_eq!(session::show(&env)?.workspace, Some(3));
//! assert_eq!(accounts::show(&env, Some("me"))?.project_id.as_deref(), Some("77"));
//!
//! targets::remove(&env, "shop")?;
//! assert!(targets::list(&env)?.is_empty());
//! # Ok(())
//! # }
//! ```

use super::accounts::require;
use crate::{
    model::{
        account,
        id::{Name, ProjectId, WorkspaceId},
        refusal::{Code, Refusal},
    },
    store::{config_edit::edit, snapshot::load_once},
    sys::env::Env,
};
use serde::Serialize;

/// A saved account, project and optional workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The account that it refers to.
    pub account: String,
    /// The project.
    pub project: String,
    /// The workspace, if it has one.
    pub workspace: Option<u64>,
}

impl From<account::Target> for Target {
    fn from(target: account::Target) -> Self {
        Self {
            name: target.name,
            account: target.account,
            project: target.project.to_string(),
            workspace: target.workspace.map(WorkspaceId::get),
        }
    }
}

/// All targets, by name.
///
/// # Errors
/// `CONFIG_ERROR` if the file or any target block is broken.
pub fn list(env: &Env) -> Result<Vec<Target>, Refusal> {
    let snapshot = load_once(env);
    let config = snapshot.config.as_ref().map_err(Clone::clone)?;
    config.targets_are_a_table()?;
    config.target_names().iter().map(|name| config.target(name).map(Target::from)).collect()
}

/// One target.
///
/// # Errors
/// `CONFIG_ERROR`, with the reason `TARGET_NOT_FOUND` for one that is not configured.
pub fn show(env: &Env, name: &str) -> Result<Target, Refusal> {
    let snapshot = load_once(env);
    snapshot.config.as_ref().map_err(Clone::clone)?.target(name).map(Target::from)
}

/// Adds a target. Its name follows the rule of accounts (the reference does not check it, M6).
///
/// # Errors
/// `CONFIG_ERROR` for an account that is not configured or a name that is taken.
pub fn add(
    env: &Env,
    name: &Name,
    account: &str,
    project: &ProjectId,
    workspace: Option<WorkspaceId>,
) -> Result<Target, Refusal> {
    edit(env, |draft| {
        let account = require(draft, account)?;
        if draft.before().target_names().contains(&name.as_str()) {
            return Err(Refusal::config(format!("target `{name}` exists already"))
                .hint(format!("run: mp-proxy target remove {name} first")));
        }
        let target = account::Target {
            name: name.to_string(),
            account: account.to_string(),
            project: project.clone(),
            workspace,
        };
        draft.add_target(&target)?;
        Ok(target.into())
    })
}

/// Removes a target.
///
/// # Errors
/// `CONFIG_ERROR`, with the reason `TARGET_NOT_FOUND` for one that is not configured.
pub fn remove(env: &Env, name: &str) -> Result<(), Refusal> {
    edit(env, |draft| {
        if !draft.before().target_names().contains(&name) {
            draft.before().target(name)?;
        }
        draft.remove_target(name)
    })
}

/// Makes the target's three axes the persisted session, in one write: `[active]` becomes its
/// account and workspace and nothing else, and the account's `default_project` its project.
///
/// # Errors
/// `CONFIG_ERROR` if the target or its account is not configured.
pub fn activate(env: &Env, name: &str) -> Result<Target, Refusal> {
    edit(env, |draft| {
        let target = draft.before().target(name)?;
        if !draft.has_account(&target.account) {
            let message = format!(
                "target `{name}` refers to account `{}`, which is not configured",
                target.account
            );
            return Err(Refusal::config(message).reason(Code::AccountNotFound).hint(format!(
                "run: mp-proxy account add {}, or: mp-proxy target remove {name}",
                target.account
            )));
        }
        draft.set_project(&target.account, &target.project)?;
        draft.replace_active(&target.account, target.workspace)?;
        Ok(target.into())
    })
}
