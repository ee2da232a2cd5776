//! The persisted session in full: `[active]`, the account that it names, and what `/me` said of
//! them if it is remembered. Called by `session show --persisted`.
//! Invariant: nothing is fetched; the JSON is the one of `mp session`.

use super::session;
use crate::{
    auth::me::remembered, model::refusal::Refusal, store::snapshot::load_once, sys::env::Env,
};
use serde::Serialize;
use std::fmt;

/// What is persisted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Persisted {
    /// The active account.
    pub account: Option<PersistedAccount>,
    /// Its `default_project`.
    pub project: Option<PersistedProject>,
    /// The active workspace.
    pub workspace: Option<PersistedWorkspace>,
    /// The user, if `/me` said so lately.
    pub user: Option<PersistedUser>,
    /// Whether `/me` is remembered.
    pub me_cached: bool,
}

/// The active account; without type and region if it is not configured any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersistedAccount {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Option<&'static str>,
    /// Its region.
    pub region: Option<&'static str>,
}

/// The project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersistedProject {
    /// Its id.
    pub id: String,
    /// Its name, if `/me` said so lately.
    pub name: Option<String>,
    /// Its organization, if `/me` said so lately.
    pub organization: Option<String>,
}

/// The workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersistedWorkspace {
    /// Its id.
    pub id: u64,
    /// Its name, if `/me` said so lately.
    pub name: Option<String>,
}

/// The user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersistedUser {
    /// The address.
    pub email: String,
}

impl Persisted {
    /// Reads it.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if the file or `[active]` is broken.
    pub fn read(env: &Env) -> Result<Self, Refusal> {
        let active = session::show(env)?;
        let account = session::active_account(env)?;
        let configured = account
            .as_ref()
            .and_then(|account| load_once(env).config.as_ref().ok()?.account(&account.name).ok());
        let me = configured.as_deref().and_then(|account| remembered(account, env));
        let known = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        let organization = me.as_ref().zip(configured.as_ref()).and_then(|(me, account)| {
            let id = me.project(account.default_project.as_ref()?)?.organization_id?;
            let found = me.organizations.iter().find(|one| one.id == id);
            Some(found.map_or_else(|| id.to_string(), |one| one.name.clone()))
        });
        let workspace = me
            .as_ref()
            .zip(active.workspace)
            .and_then(|(me, id)| known(&me.workspaces.iter().find(|one| one.id.get() == id)?.name));
        Ok(Self {
            account: active.account.map(|name| PersistedAccount {
                name,
                kind: account.as_ref().map(|account| account.kind),
                region: account.as_ref().map(|account| account.region),
            }),
            project: account.as_ref().and_then(|account| {
                Some(PersistedProject {
                    id: account.project_id.clone()?,
                    name: account.project_name.clone(),
                    organization,
                })
            }),
            workspace: active.workspace.map(|id| PersistedWorkspace { id, name: workspace }),
            me_cached: me.is_some(),
            user: me.and_then(|me| me.user_email).map(|email| PersistedUser { email }),
        })
    }
}

impl fmt::Display for Persisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown =
            |name: &Option<String>| name.clone().unwrap_or_else(|| "(name unknown)".into());
        match &self.account {
            None => writeln!(f, "Account:   (none)")?,
            Some(PersistedAccount { name, kind: Some(kind), region: Some(region) }) => {
                writeln!(f, "Account:   {name} ({kind}, {region})")?;
            }
            Some(PersistedAccount { name, .. }) => writeln!(f, "Account:   {name} (not usable)")?,
        }
        match &self.project {
            None => writeln!(f, "Project:   (none)")?,
            Some(project) => {
                write!(f, "Project:   {} ({})", unknown(&project.name), project.id)?;
                match &project.organization {
                    Some(organization) => writeln!(f, " [organization: {organization}]")?,
                    None => writeln!(f)?,
                }
            }
        }
        match &self.workspace {
            None => writeln!(f, "Workspace: (none)")?,
            Some(workspace) => {
                writeln!(f, "Workspace: {} ({})", unknown(&workspace.name), workspace.id)?;
            }
        }
        let user = self.user.as_ref().map_or("(unknown)", |user| &user.email);
        write!(f, "User:      {user}")
    }
}
