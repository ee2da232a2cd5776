//! Resolution of a session: each axis on its own, first source that gives a value wins.
//! Called for the base session by `switch`, and by the command line.
//! Invariant: a pure function of one [`Snapshot`]; it reads no file, clock or environment.

mod axes;

pub use axes::{ACTIVE, DEFAULT_PROJECT};
pub(super) use axes::{bridge_or_default_project, env_project, env_workspace};

use crate::{
    model::{
        account::Account,
        id::{ProjectId, WorkspaceId},
        refusal::{Code, Refusal},
        session::{CustomHeaders, Session, Sources},
    },
    store::{
        bridge::Bridge,
        config::Config,
        headers::{custom_header, put},
        snapshot::Snapshot,
    },
    sys::env::{self, Env},
};
use axes::{account_axis, project_axis, workspace_axis};
use std::{path::Path, sync::Arc};

/// What the flags (or their variables) of a command chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// `--account`.
    pub account: Option<String>,
    /// `--project`.
    pub project: Option<ProjectId>,
    /// `--workspace`.
    pub workspace: Option<WorkspaceId>,
    /// `--target`; excludes the other three.
    pub target: Option<String>,
}

impl Selection {
    /// The selection that names one target.
    #[must_use]
    pub fn of_target(name: &str) -> Self {
        Self { target: Some(name.to_owned()), ..Self::default() }
    }

    fn check(&self) -> Result<(), Refusal> {
        let axis = self.account.is_some() || self.project.is_some() || self.workspace.is_some();
        if self.target.is_some() && axis {
            return Err(target_is_exclusive());
        }
        Ok(())
    }
}

/// A target was named together with an axis.
#[must_use]
pub fn target_is_exclusive() -> Refusal {
    Refusal::new(
        Code::TargetMutuallyExclusive,
        "a target cannot be combined with an account, project or workspace",
    )
    .hint("name the target alone, or leave it out and name the axes")
}

/// The readable parts of a snapshot, once neither file is broken.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) env: &'a Env,
    pub(super) config: &'a Config,
    pub(super) bridge: Option<&'a Bridge>,
}

impl<'a> Inputs<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Result<Self, Refusal> {
        // A broken bridge breaks every session, even one that the environment gives (quirk B7).
        let bridge = snapshot.bridge.as_ref().map_err(Clone::clone)?.as_ref();
        let config = snapshot.config.as_ref().map_err(Clone::clone)?;
        Ok(Self { env: &snapshot.env, config, bridge })
    }
}

/// Resolves the session that `selection` gives in this snapshot.
///
/// # Errors
/// An axis without a value, an unknown name, or the first broken file or block that was reached.
pub fn resolve(snapshot: &Snapshot, selection: &Selection) -> Result<Session, Refusal> {
    selection.check()?;
    let inputs = Inputs::of(snapshot)?;
    let target = selection.target.as_deref().map(|name| inputs.config.target(name)).transpose()?;
    let (account, account_source) = account_axis(inputs, selection, target.as_ref())?;
    let (project, project_source) = project_axis(inputs, selection, target.as_ref(), &account)?;
    let workspace = workspace_axis(inputs, selection, target.as_ref())?;
    let mut warnings = snapshot.warnings.clone();
    super::switch::warn_about_env(inputs.env, &mut warnings);
    let asked = selection.target.as_deref().map_or("an explicit choice", |_| "the target");
    let mut overruled = Vec::new();
    let chose = |axis: bool| axis || target.is_some();
    if chose(selection.account.is_some()) && account_source.starts_with("env:") {
        overruled.push(if account_source.ends_with(env::MP_USERNAME) {
            env::MP_USERNAME
        } else {
            env::MP_OAUTH_TOKEN
        });
    }
    if chose(selection.project.is_some()) && project_source.starts_with("env:") {
        overruled.push(env::MP_PROJECT_ID);
    }
    let target_workspace = target.as_ref().is_some_and(|target| target.workspace.is_some());
    if let Some((_, source)) = &workspace {
        if (selection.workspace.is_some() || target_workspace) && source.starts_with("env:") {
            overruled.push(env::MP_WORKSPACE_ID);
        }
        if source == ACTIVE && account_source != ACTIVE {
            warnings.push(format!(
                "workspace comes from {ACTIVE} although the account comes from `{account_source}`"
            ));
        } else if source == ACTIVE && project_source != DEFAULT_PROJECT {
            warnings.push(format!(
                "workspace comes from {ACTIVE} although the project comes from `{project_source}`"
            ));
        }
    }
    for variable in &overruled {
        warnings.push(format!("`{variable}` in the environment overrules {asked}"));
    }
    finish(
        inputs,
        account,
        project,
        workspace,
        Sources { account: account_source, project: project_source, workspace: None },
        warnings,
        overruled,
    )
}

/// Puts the axes together, with the headers that every session of a snapshot has.
pub(super) fn finish(
    inputs: Inputs<'_>,
    account: Arc<Account>,
    project: ProjectId,
    workspace: Option<(WorkspaceId, String)>,
    mut sources: Sources,
    warnings: Vec<String>,
    overruled: Vec<&'static str>,
) -> Result<Session, Refusal> {
    let headers = Arc::new(custom_headers(inputs)?);
    let bridge = bridge_of(inputs.bridge, &account);
    let workspace = workspace.map(|(id, source)| {
        sources.workspace = Some(source);
        id
    });
    Ok(Session { account, project, workspace, headers, bridge, sources, warnings, overruled })
}

/// The custom headers of this machine: those of the environment, and the settings' over them.
/// A login sends them with its own questions, since every later request will.
///
/// # Errors
/// `CONFIG_ERROR` for a header that may not be sent.
pub fn own_headers(env: &Env, config: &Config) -> Result<CustomHeaders, Refusal> {
    let mut headers = CustomHeaders::new();
    let name = env.get(env::MP_CUSTOM_HEADER_NAME);
    if let (Some(name), Some(value)) = (name, env.get(env::MP_CUSTOM_HEADER_VALUE)) {
        put(&mut headers, custom_header(name, value, env::MP_CUSTOM_HEADER_NAME)?);
    }
    if let Some(pair) = config.custom_header()? {
        put(&mut headers, pair);
    }
    Ok(headers)
}

/// The bridge's over both.
fn custom_headers(inputs: Inputs<'_>) -> Result<CustomHeaders, Refusal> {
    let mut headers = own_headers(inputs.env, inputs.config)?;
    for pair in inputs.bridge.iter().flat_map(|bridge| &bridge.headers) {
        put(&mut headers, pair.clone());
    }
    Ok(headers)
}

/// The bridge, if its tokens belong to this very account (quirks B1 to B3).
pub(crate) fn bridge_of(bridge: Option<&Bridge>, account: &Account) -> Option<Arc<Path>> {
    bridge
        .filter(|bridge| bridge.tokens_of(account).is_some())
        .map(|bridge| bridge.path.as_path().into())
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
