//! The switch of one request: the base session with the `X-Mp-*` headers applied.
//! Called by the corridor and by `/_mp/session`.
//! Invariant: never carries the old project over to another account.

use super::resolve::{
    Inputs, Selection, bridge_or_default_project, env_project, env_workspace, finish, resolve,
    target_is_exclusive,
};
use crate::{
    model::{
        id::{ProjectId, WorkspaceId},
        refusal::Refusal,
        session::{Session, Sources},
    },
    store::snapshot::Snapshot,
    sys::env::{self, Env},
};

/// What the headers of one request chose; parsed by `proxy/overrides.rs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Switch {
    /// `X-Mp-Account`.
    pub account: Option<String>,
    /// `X-Mp-Project`.
    pub project: Option<ProjectId>,
    /// `X-Mp-Workspace`.
    pub workspace: Option<WorkspaceId>,
    /// `X-Mp-Target`.
    pub target: Option<String>,
}

impl Switch {
    /// Whether the request names nothing, so that it gets the base session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Resolves the session of a request: `base` with `switch` applied.
///
/// # Errors
/// As [`resolve`]; a target together with an axis.
pub fn switch(snapshot: &Snapshot, base: &Selection, switch: &Switch) -> Result<Session, Refusal> {
    match switch {
        Switch { target: Some(target), account: None, project: None, workspace: None } => {
            resolve(snapshot, &Selection::of_target(target))
        }
        Switch { target: Some(_), .. } => Err(target_is_exclusive()),
        Switch { account: Some(account), .. } => to_account(snapshot, account, switch),
        Switch { project: Some(project), .. } => {
            to_project(snapshot, base, project, switch.workspace)
        }
        Switch { workspace: Some(workspace), .. } => {
            let mut session = resolve(snapshot, base)?;
            session.workspace = Some(*workspace);
            session.sources.workspace = Some(header("Workspace"));
            Ok(session)
        }
        _ => resolve(snapshot, base),
    }
}

fn to_account(snapshot: &Snapshot, name: &str, switch: &Switch) -> Result<Session, Refusal> {
    let inputs = Inputs::of(snapshot)?;
    let account = inputs.config.account(name)?;
    let mut warnings = snapshot.warnings.clone();
    warn_about_env(inputs.env, &mut warnings);
    let mut overruled = Vec::new();
    let (project, project_source) = match (env_project(inputs.env)?, &switch.project) {
        (Some(project), given) => {
            if given.as_ref().is_some_and(|given| *given != project) {
                overruled.push(env::MP_PROJECT_ID);
                warnings.push(format!(
                    "`{}` in the environment overrules X-Mp-Project",
                    env::MP_PROJECT_ID
                ));
            }
            (project, format!("env:{}", env::MP_PROJECT_ID))
        }
        (None, Some(project)) => (project.clone(), header("Project")),
        (None, None) => bridge_or_default_project(inputs, &account)?,
    };
    let workspace = match switch.workspace {
        Some(id) => Some((id, header("Workspace"))),
        None => env_workspace(inputs.env)?.map(|id| (id, format!("env:{}", env::MP_WORKSPACE_ID))),
    };
    let sources = Sources { account: header("Account"), project: project_source, workspace: None };
    finish(inputs, account, project, workspace, sources, warnings, overruled)
}

/// The account is kept; the project wins over the environment; the workspace does not travel.
fn to_project(
    snapshot: &Snapshot,
    base: &Selection,
    project: &ProjectId,
    workspace: Option<WorkspaceId>,
) -> Result<Session, Refusal> {
    // The account must not fail for want of a project that this request brings itself.
    let with_project = if base.target.is_some() {
        base.clone()
    } else {
        Selection { project: Some(project.clone()), ..base.clone() }
    };
    let mut session = resolve(snapshot, &with_project)?;
    session.project = project.clone();
    session.sources.project = header("Project");
    session.workspace = workspace;
    session.sources.workspace = workspace.map(|_| header("Workspace"));
    session.overruled.retain(|name| *name != env::MP_PROJECT_ID && *name != env::MP_WORKSPACE_ID);
    session
        .warnings
        .retain(|text| !text.contains(env::MP_PROJECT_ID) && !text.starts_with("workspace"));
    Ok(session)
}

fn header(axis: &str) -> String {
    format!("header:X-Mp-{axis}")
}

/// Names the half-set environments that the reference silently ignores (quirks E1, E3).
pub(super) fn warn_about_env(env: &Env, warnings: &mut Vec<String>) {
    let set = |name| env.get(name).is_some();
    let scope = set(env::MP_PROJECT_ID) && set(env::MP_REGION);
    let names = set(env::MP_USERNAME) || set(env::MP_SECRET);
    if names && !(set(env::MP_USERNAME) && set(env::MP_SECRET) && scope) {
        warnings.push(
            "MP_USERNAME, MP_SECRET, MP_PROJECT_ID and MP_REGION make an account only together; some are missing"
                .to_owned(),
        );
    }
    if set(env::MP_OAUTH_TOKEN) && !scope {
        warnings.push("MP_OAUTH_TOKEN is ignored without MP_PROJECT_ID and MP_REGION".to_owned());
    }
}
