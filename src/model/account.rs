//! An account: who a request is sent as, and by which of the three mechanisms.

use super::{
    id::{Name, ProjectId, WorkspaceId},
    region::Region,
};
use secrecy::SecretString;

/// One configured, bridged or environment account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its local name.
    pub name: Name,
    /// Its data residency region.
    pub region: Region,
    /// The bottom of the project axis.
    pub default_project: Option<ProjectId>,
    /// How it proves who it is.
    pub credential: Credential,
}

/// The three account types. `Debug` redacts: secrets are `SecretString`.
#[derive(Debug, Clone)]
pub enum Credential {
    /// HTTP Basic with a long-lived secret.
    ServiceAccount {
        /// Not secret, never empty.
        username: String,
        /// The Basic password.
        secret: SecretString,
    },
    /// Bearer tokens of a browser login; they live in `tokens.json` or in the bridge.
    OauthBrowser,
    /// A static bearer.
    OauthToken(TokenSource),
}

/// Where the static bearer of an `oauth_token` account comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// Written in the file itself.
    Inline(SecretString),
    /// Held by the environment variable of this name, read when a request is signed.
    Env(String),
}

impl Account {
    /// `service_account`, `oauth_browser` or `oauth_token`.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self.credential {
            Credential::ServiceAccount { .. } => "service_account",
            Credential::OauthBrowser => "oauth_browser",
            Credential::OauthToken(_) => "oauth_token",
        }
    }
}

/// A saved account, project and optional workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name; not validated on read, as in the reference (quirk M6).
    pub name: String,
    /// The account that it refers to; not validated on read either.
    pub account: String,
    /// The project.
    pub project: ProjectId,
    /// The workspace, if it has one.
    pub workspace: Option<WorkspaceId>,
}

/// The `[active]` block of the config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Active {
    /// The active account; not validated on read, as in the reference.
    pub account: Option<String>,
    /// The active workspace.
    pub workspace: Option<WorkspaceId>,
}
