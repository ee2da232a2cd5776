//! The namespace `session`: the persisted session, shown and changed axis by axis.
//! Called by `cli/commands/{session,project,workspace}.rs` and by any Rust program.
//! Invariant: every change is one write of the config. Whom a request would be sent as is
//! another question: [`crate::auth::resolve`] answers it.
//!
//! `project use` and `workspace use` are [`update`] with one axis; `project show` is
//! [`active_account`], `workspace show` is [`show`]:
//!
//! ```
//! use mp_proxy::{
//!     auth::resolve::Selection,
//!     model::{
//!         account::{Account, Credential},
//!         id::{Name, ProjectId, WorkspaceId},
//!         region::Region,
//!     },
//!     ops::{accounts, persisted::Persisted, session},
//!     sys::env::Env,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let home = home.path();
//! let env = Env::new([("HOME", home.to_str().unwrap())], home);
//! accounts::add(&env, &Account {
//!     name: Name::parse("me")?,
//!     region: Region::Us,
//!     default_project: None,
//!     credential: Credential::OauthBrowser,
//! })?;
//! let project = Selection { project: Some(ProjectId::parse("5")?), ..Selection::default() };
//! session::update(&env, &project)?;
//! let workspace = Selection { workspace: Some(WorkspaceId::parse("6")?), ..Selection::default() };
//! session::update(&env, &workspace)?;
//! let account = session::active_account(&env)?.expect("the first account is active");
//! assert_eq!(account.project_id.as_deref(), Some("5"));
//! assert_eq!(session::show(&env)?.workspace, Some(6));
//! // All of it, with what `/me` said if it was asked lately.
//! let all = Persisted::read(&env)?;
//! assert_eq!(all.project.unwrap().id, "5");
//! # Ok(())
//! # }
//! ```

use super::{
    accounts::{AccountSummary, alone, require},
    targets,
};
use crate::{
    auth::resolve::{Selection, target_is_exclusive},
    model::{
        account::Active,
        id::WorkspaceId,
        refusal::{Code, Refusal},
    },
    store::{config_edit::edit, snapshot::load_once},
    sys::env::Env,
};
use serde::Serialize;

/// The `[active]` block. The project is the account's `default_project`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ActiveSession {
    /// The active account.
    pub account: Option<String>,
    /// The active workspace.
    pub workspace: Option<u64>,
}

impl From<Active> for ActiveSession {
    fn from(active: Active) -> Self {
        Self { account: active.account, workspace: active.workspace.map(WorkspaceId::get) }
    }
}

/// The persisted session.
///
/// # Errors
/// `CONFIG_ERROR` if the file or `[active]` is broken.
pub fn show(env: &Env) -> Result<ActiveSession, Refusal> {
    let snapshot = load_once(env);
    snapshot.config.as_ref().map_err(Clone::clone)?.active().map(ActiveSession::from)
}

/// Changes the axes that are named and leaves the others. Account and workspace go to `[active]`,
/// the project to the named or active account's `default_project`; a target sets all three. A new
/// account keeps the workspace (quirk M15).
///
/// # Errors
/// `WS1_TARGET_MUTUALLY_EXCLUSIVE` for a target with an axis; `CONFIG_ERROR` for an account or
/// target that is not configured, or a project without an account to give it to.
pub fn update(env: &Env, change: &Selection) -> Result<ActiveSession, Refusal> {
    if let Some(target) = &change.target {
        if change.account.is_some() || change.project.is_some() || change.workspace.is_some() {
            return Err(target_is_exclusive());
        }
        targets::activate(env, target)?;
        return show(env);
    }
    if change.account.is_none() && change.project.is_none() && change.workspace.is_none() {
        return show(env);
    }
    edit(env, |draft| {
        if let Some(name) = &change.account {
            draft.set_active_account(require(draft, name)?.as_str())?;
        }
        if change.workspace.is_some() {
            draft.set_active_workspace(change.workspace)?;
        }
        if let Some(project) = &change.project {
            let name = match draft.active_account()? {
                Some(name) => name,
                // What is broken is said first; what is not there comes after that.
                None => return Err(draft.active().err().unwrap_or_else(no_account_for_project)),
            };
            require(draft, &name)?;
            draft.set_project(&name, project)?;
        }
        draft.active().map(ActiveSession::from)
    })
}

/// A project is to be set, and there is no account that it would belong to.
#[must_use]
pub fn no_account_for_project() -> Refusal {
    Refusal::config("no account is active, and a project belongs to an account")
        .reason(Code::NoActiveAccount)
        .hint("run: mp-proxy account use NAME, or name it: mp-proxy session use --account NAME --project ID")
}

/// The active account, if it is there and whole.
///
/// # Errors
/// `CONFIG_ERROR` if the file or `[active]` is broken.
pub fn active_account(env: &Env) -> Result<Option<AccountSummary>, Refusal> {
    // An account that is gone or broken has no project to show, as in the reference.
    Ok(show(env)?.account.and_then(|name| alone(env, &name).ok()))
}
