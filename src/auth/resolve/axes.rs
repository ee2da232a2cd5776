//! One axis of a session at a time: the first source that gives a value, and its name. Called by
//! `resolve` and `switch`. Invariant: no axis looks at what another one found, but for the
//! project that an account brings.

use super::{Inputs, Selection};
use crate::{
    auth::first_run,
    model::{
        account::{Account, Credential, Target, TokenSource},
        id::{Name, ProjectId, WorkspaceId},
        refusal::{Code, Refusal},
        region::Region,
    },
    sys::env::{self, Env},
};
use secrecy::SecretString;
use std::sync::Arc;

/// The label of the `[active]` block as a source.
pub const ACTIVE: &str = "config:[active]";
/// The label of an account's `default_project` as a source.
pub const DEFAULT_PROJECT: &str = "account.default_project";

pub(super) fn account_axis(
    inputs: Inputs<'_>,
    selection: &Selection,
    target: Option<&Target>,
) -> Result<(Arc<Account>, String), Refusal> {
    if let Some(found) = env_account(inputs.env)? {
        return Ok(found);
    }
    if let Some(name) = &selection.account {
        return Ok((inputs.config.account(name)?, "param:--account".to_owned()));
    }
    if let Some(target) = target {
        let source = format!("target:{}", target.name);
        return Ok((inputs.config.account(&target.account)?, source));
    }
    if let Some(bridge) = inputs.bridge {
        return Ok((Arc::clone(&bridge.account), "bridge".to_owned()));
    }
    match inputs.config.active_account()? {
        Some(name) => Ok((inputs.config.account(name)?, ACTIVE.to_owned())),
        None => Err(no_account(&inputs.config.account_names())),
    }
}

/// The account that the environment alone gives: the quad, else the triple.
fn env_account(env: &Env) -> Result<Option<(Arc<Account>, String)>, Refusal> {
    let region = match env.get(env::MP_REGION) {
        None => return Ok(None),
        Some(text) => text.parse::<Region>().map_err(|_| {
            Refusal::config(format!(
                "`{}` is {text:?}, {}",
                env::MP_REGION,
                crate::model::region::UnknownRegion
            ))
            .hint("set MP_REGION to us, eu or in, or unset it")
        })?,
    };
    if env.get(env::MP_PROJECT_ID).is_none() {
        return Ok(None);
    }
    let (name, credential, source) =
        match (env.get(env::MP_USERNAME), env.get(env::MP_SECRET), env.get(env::MP_OAUTH_TOKEN)) {
            (Some(username), Some(secret), _) => (
                "env-service-account",
                Credential::ServiceAccount {
                    username: username.to_owned(),
                    secret: SecretString::from(secret),
                },
                env::MP_USERNAME,
            ),
            (_, _, Some(token)) => (
                "env-oauth-token",
                Credential::OauthToken(TokenSource::Inline(SecretString::from(token))),
                env::MP_OAUTH_TOKEN,
            ),
            _ => return Ok(None),
        };
    let name = Name::parse(name).map_err(|error| Refusal::config(error.to_string()))?;
    let account = Account { name, region, default_project: None, credential };
    Ok(Some((Arc::new(account), format!("env:{source}"))))
}

pub(in crate::auth) fn env_project(env: &Env) -> Result<Option<ProjectId>, Refusal> {
    env.get(env::MP_PROJECT_ID)
        .map(|text| {
            ProjectId::parse(text).map_err(|rule| {
                Refusal::config(format!("`{}` is {text:?}, it {rule}", env::MP_PROJECT_ID))
                    .hint("set MP_PROJECT_ID to the number of the project, or unset it")
            })
        })
        .transpose()
}

pub(in crate::auth) fn env_workspace(env: &Env) -> Result<Option<WorkspaceId>, Refusal> {
    env.get(env::MP_WORKSPACE_ID)
        .map(|text| {
            WorkspaceId::parse(text.trim()).map_err(|rule| {
                Refusal::config(format!("`{}` is {text:?}, it {rule}", env::MP_WORKSPACE_ID))
                    .hint("set MP_WORKSPACE_ID to the number of the workspace, or unset it")
            })
        })
        .transpose()
}

pub(super) fn project_axis(
    inputs: Inputs<'_>,
    selection: &Selection,
    target: Option<&Target>,
    account: &Account,
) -> Result<(ProjectId, String), Refusal> {
    if let Some(project) = env_project(inputs.env)? {
        return Ok((project, format!("env:{}", env::MP_PROJECT_ID)));
    }
    if let Some(project) = &selection.project {
        return Ok((project.clone(), "param:--project".to_owned()));
    }
    if let Some(target) = target {
        return Ok((target.project.clone(), format!("target:{}", target.name)));
    }
    bridge_or_default_project(inputs, account)
}

/// The bottom of the project axis: the bridge's, then the account's own.
pub(in crate::auth) fn bridge_or_default_project(
    inputs: Inputs<'_>,
    account: &Account,
) -> Result<(ProjectId, String), Refusal> {
    if let Some(project) = inputs.bridge.and_then(|bridge| bridge.project.clone()) {
        return Ok((project, "bridge".to_owned()));
    }
    account
        .default_project
        .clone()
        .map(|project| (project, DEFAULT_PROJECT.to_owned()))
        .ok_or_else(|| no_project(account))
}

pub(super) fn workspace_axis(
    inputs: Inputs<'_>,
    selection: &Selection,
    target: Option<&Target>,
) -> Result<Option<(WorkspaceId, String)>, Refusal> {
    if let Some(id) = env_workspace(inputs.env)? {
        return Ok(Some((id, format!("env:{}", env::MP_WORKSPACE_ID))));
    }
    if let Some(id) = selection.workspace {
        return Ok(Some((id, "param:--workspace".to_owned())));
    }
    if let Some((target, id)) = target.and_then(|target| Some((target, target.workspace?))) {
        return Ok(Some((id, format!("target:{}", target.name))));
    }
    if let Some(id) = inputs.bridge.and_then(|bridge| bridge.workspace) {
        return Ok(Some((id, "bridge".to_owned())));
    }
    Ok(inputs.config.active_workspace()?.map(|id| (id, ACTIVE.to_owned())))
}

fn no_account(configured: &[&str]) -> Refusal {
    if configured.len() > 1 {
        let names = configured.join("`, `");
        return Refusal::config(format!("several accounts are configured and none is active: `{names}`"))
            .reason(Code::AmbiguousAccount)
            .hint("run: mp-proxy account use NAME, or send the header X-Mp-Account: NAME, or pass --account NAME");
    }
    if let [name] = configured {
        return Refusal::config(format!("account `{name}` is configured, but it is not active"))
            .reason(Code::SessionUnresolved)
            .hint(format!("run: mp-proxy account use {name}, or pass --account {name}"));
    }
    Refusal::config("no account is configured")
        .reason(Code::SessionUnresolved)
        .hint(first_run::hint())
}

fn no_project(account: &Account) -> Refusal {
    let name = &account.name;
    Refusal::config(format!("no project is configured for account `{name}`"))
        .reason(Code::SessionUnresolved)
        .hint(format!(
            "set MP_PROJECT_ID; or run: mp-proxy account update {name} --project ID; \
         or pass --project ID or --target NAME; or send the header X-Mp-Project: ID"
        ))
}
