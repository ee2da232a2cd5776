//! What a command may write into the config, a method each. Called by `ops`.
//! Invariant: each keeps what it does not name.

use super::Draft;
use crate::model::{
    account::{Account, Credential, Target, TokenSource},
    id::{ProjectId, WorkspaceId},
    refusal::Refusal,
    region::Region,
};
use secrecy::ExposeSecret as _;

impl Draft {
    /// Writes a whole account block.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if something else stands where a table is needed.
    pub fn add_account(&mut self, account: &Account) -> Result<(), Refusal> {
        let name = account.name.as_str();
        self.set(&["accounts", name], "type", account.type_name())?;
        self.set_region(name, account.region)?;
        if let Some(project) = &account.default_project {
            self.set_project(name, project)?;
        }
        self.set_credential(name, &account.credential)
    }

    /// Sets the region of an account.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn set_region(&mut self, account: &str, region: Region) -> Result<(), Refusal> {
        self.set(&["accounts", account], "region", region.as_str())
    }

    /// Sets the `default_project` of an account.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn set_project(&mut self, account: &str, project: &ProjectId) -> Result<(), Refusal> {
        self.set(&["accounts", account], "default_project", project.as_str())
    }

    /// Sets the user name of a service account.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn set_username(&mut self, account: &str, username: &str) -> Result<(), Refusal> {
        self.set(&["accounts", account], "username", username)
    }

    /// Sets the secret of a service account.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn set_secret(
        &mut self,
        account: &str,
        secret: &secrecy::SecretString,
    ) -> Result<(), Refusal> {
        self.set(&["accounts", account], "secret", secret.expose_secret())
    }

    /// Sets the source of a static token; the other source goes.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn set_token(&mut self, account: &str, source: &TokenSource) -> Result<(), Refusal> {
        let (key, value, other) = match source {
            TokenSource::Inline(token) => ("token", token.expose_secret(), "token_env"),
            TokenSource::Env(name) => ("token_env", name.as_str(), "token"),
        };
        self.remove(&["accounts", account, other])?;
        self.set(&["accounts", account], key, value)
    }

    /// Writes the keys of a credential.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn set_credential(
        &mut self,
        account: &str,
        credential: &Credential,
    ) -> Result<(), Refusal> {
        match credential {
            Credential::OauthBrowser => Ok(()),
            Credential::OauthToken(source) => self.set_token(account, source),
            Credential::ServiceAccount { username, secret } => {
                self.set_username(account, username)?;
                self.set_secret(account, secret)
            }
        }
    }

    /// Removes an account block; the section stays, as the reference leaves it.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn remove_account(&mut self, name: &str) -> Result<(), Refusal> {
        self.remove(&["accounts", name])?;
        self.layout.table("accounts").map_err(|error| self.refusal(&error))
    }

    /// Writes a target block.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn add_target(&mut self, target: &Target) -> Result<(), Refusal> {
        let path = ["targets", target.name.as_str()];
        self.set(&path, "account", target.account.as_str())?;
        self.set(&path, "project", target.project.as_str())?;
        match target.workspace {
            Some(workspace) => self.set(&path, "workspace", number(workspace)?),
            None => Ok(()),
        }
    }

    /// Removes a target block; the section stays, as the reference leaves it.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn remove_target(&mut self, name: &str) -> Result<(), Refusal> {
        self.remove(&["targets", name])?;
        self.layout.table("targets").map_err(|error| self.refusal(&error))
    }

    /// Sets `[active].account`.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn set_active_account(&mut self, name: &str) -> Result<(), Refusal> {
        self.set(&["active"], "account", name)
    }

    /// Sets or clears `[active].workspace`.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn set_active_workspace(&mut self, workspace: Option<WorkspaceId>) -> Result<(), Refusal> {
        match workspace {
            Some(workspace) => self.set(&["active"], "workspace", number(workspace)?),
            None => self.remove(&["active", "workspace"]),
        }
    }

    /// Clears both keys of `[active]`, and the section if nothing else is in it.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn clear_active(&mut self) -> Result<(), Refusal> {
        self.remove(&["active", "account"])?;
        self.remove(&["active", "workspace"])?;
        self.layout.remove_empty("active").map_err(|error| self.refusal(&error))
    }

    /// Makes `[active]` hold this and nothing else.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn replace_active(
        &mut self,
        account: &str,
        workspace: Option<WorkspaceId>,
    ) -> Result<(), Refusal> {
        let keys = self.layout.keys(&["active"]).map_err(|error| self.refusal(&error))?;
        for key in keys.iter().filter(|key| !matches!(key.as_str(), "account" | "workspace")) {
            self.remove(&["active", key])?;
        }
        self.set_active_account(account)?;
        self.set_active_workspace(workspace)
    }
}

/// TOML's integers end where `i64` does.
fn number(workspace: WorkspaceId) -> Result<i64, Refusal> {
    i64::try_from(workspace.get()).map_err(|_| {
        Refusal::config(format!("workspace {workspace} is too large for the config"))
            .hint("use the number that `mp-proxy workspace list` shows")
    })
}
