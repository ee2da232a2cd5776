//! What a credential reaches, by asking `/me`: test an account, list projects and workspaces.
//! Called by `cli/commands/reach.rs` and by any Rust program.
//! Invariant: what is asked with is what a request would be sent with: bridge, environment and
//! custom headers count (quirk M12).
//!
//! ```
//! # #[cfg(feature = "demo")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mp_proxy::{
//!     auth::{me::Freshness, resolve::Selection},
//!     ops::reach,
//!     sys::env::Env,
//! };
//!
//! # // A stand-in for Mixpanel.
//! # let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
//! # let mixpanel = runtime.block_on(mp_proxy::demo::stand_in::StandIn::start())?;
//! # let url = format!("http://{}", mixpanel.addr());
//! # let home = tempfile::tempdir()?;
//! # let home = home.path();
//! let env = Env::new(
//!     [
//!         ("HOME", home.to_str().unwrap()),
//!         ("MP_USERNAME", "reports"),
//!         ("MP_SECRET", "hunter2"),
//!         ("MP_PROJECT_ID", "2002"),
//!         ("MP_REGION", "us"),
//! #       ("MP_PROXY_UPSTREAM", url.as_str()),
//!     ],
//!     home,
//! );
//! let tested = reach::test(&env, None, &Selection::default());
//! assert!(tested.is_ok(), "{:?}", tested.error());
//! let projects = reach::projects(&env, &Selection::default(), Freshness::Asked)?;
//! assert!(projects.iter().any(|project| project.id == "2002" && project.is_active));
//! // From the cache of a day this time.
//! let workspaces = reach::workspaces(&env, &Selection::default(), Freshness::Cached)?;
//! assert_eq!(workspaces[0].name, "All Project Data");
//! # let _inside = runtime.enter();
//! # drop(mixpanel);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "demo"))]
//! # fn main() {}
//! ```

use super::accounts::{AccountTestResult, Identity};
use crate::{
    auth::{
        me::{Freshness, me},
        once,
        resolve::{Selection, resolve},
        switch::{Switch, switch},
    },
    model::{
        id::ProjectId,
        me::Me,
        refusal::{Code, Refusal},
        session::Session,
    },
    store::snapshot::load_once,
    sys::env::Env,
};
use serde::Serialize;
use std::sync::Arc;

/// A project that the credential reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReachedProject {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The organization that owns it.
    pub organization_id: Option<i64>,
    /// Its time zone.
    pub timezone: Option<String>,
    /// Whether a request would go to it.
    pub is_active: bool,
}

/// A workspace of one project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReachedWorkspace {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whether the server calls it the project's default.
    pub is_default: Option<bool>,
}

/// Asks `/me` with the credential of this account, or of the session that `chosen` gives. Never
/// fails as a call: what went wrong is in the result.
#[must_use]
pub fn test(env: &Env, name: Option<&str>, chosen: &Selection) -> AccountTestResult {
    let shown = name.or(chosen.account.as_deref()).unwrap_or("(none)");
    match session(env, name, chosen) {
        Err(refusal) => AccountTestResult::failed(shown, &refusal),
        Ok((session, _)) => {
            let account = session.account.name.as_str();
            match ask(env, &session, Freshness::Asked) {
                Err(refusal) => AccountTestResult::failed(account, &refusal),
                Ok(me) => {
                    let user = me.user_id.zip(me.user_email);
                    let user = user.map(|(id, email)| Identity { id, email });
                    AccountTestResult::passed(account, user, me.projects.len())
                }
            }
        }
    }
}

/// The projects of the session's credential, by name. The session needs no project for it.
///
/// # Errors
/// As [`resolve`] and [`me`].
pub fn projects(
    env: &Env,
    chosen: &Selection,
    freshness: Freshness,
) -> Result<Vec<ReachedProject>, Refusal> {
    let (session, project) = session(env, None, chosen)?;
    let me = ask(env, &session, freshness)?;
    let mut all: Vec<ReachedProject> = me
        .projects
        .into_iter()
        .map(|one| ReachedProject {
            is_active: project == Project::Named && one.id == session.project,
            id: one.id.to_string(),
            name: one.name,
            organization_id: one.organization_id,
            timezone: one.timezone,
        })
        .collect();
    all.sort_by_key(|one| one.name.to_lowercase());
    Ok(all)
}

/// The workspaces of the session's project, by name.
///
/// # Errors
/// As [`resolve`] and [`me`].
pub fn workspaces(
    env: &Env,
    chosen: &Selection,
    freshness: Freshness,
) -> Result<Vec<ReachedWorkspace>, Refusal> {
    let session = resolve(&load_once(env), chosen)?;
    let me = ask(env, &session, freshness)?;
    let mut all: Vec<ReachedWorkspace> = me
        .workspaces_of(&session.project)
        .map(|one| ReachedWorkspace {
            id: one.id.get(),
            name: one.name.clone(),
            is_default: one.is_default,
        })
        .collect();
    all.sort_by_key(|one| one.name.to_lowercase());
    Ok(all)
}

/// Where the project of a session for `/me` comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Project {
    Named,
    /// None is configured, and none is needed.
    MadeUp,
}

fn session(
    env: &Env,
    account: Option<&str>,
    chosen: &Selection,
) -> Result<(Session, Project), Refusal> {
    let snapshot = load_once(env);
    let attempt = |project: Option<ProjectId>| match account {
        // By name, like `X-Mp-Account`: the environment's own account does not win.
        Some(name) => {
            let wanted = Switch { account: Some(name.to_owned()), project, ..Switch::default() };
            switch(&snapshot, chosen, &wanted)
        }
        None => match project {
            Some(project) if chosen.target.is_none() => {
                resolve(&snapshot, &Selection { project: Some(project), ..chosen.clone() })
            }
            _ => resolve(&snapshot, chosen),
        },
    };
    match attempt(None) {
        Ok(session) => Ok((session, Project::Named)),
        Err(refusal) if refusal.reason == Some(Code::SessionUnresolved) => {
            let none = ProjectId::parse("0").map_err(|_| refusal)?;
            attempt(Some(none)).map(|session| (session, Project::MadeUp))
        }
        Err(refusal) => Err(refusal),
    }
}

fn ask(env: &Env, session: &Session, freshness: Freshness) -> Result<Me, Refusal> {
    once::with_tokens(&Arc::new(env.clone()), async |tokens| me(session, freshness, tokens).await)
}
