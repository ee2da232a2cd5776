//! Changes to `config.toml`: one read-modify-write under the lock, comments and layout kept.
//! Called by `ops`. Invariants: every account block is checked before anything is written
//! (quirk M8; targets and `[active]` are not, M9); a change that is refused touches nothing.

use super::{
    config::Config,
    layout::{Layout, LayoutError},
    snapshot,
};
use crate::{
    model::{
        account::{Account, Active, Credential, Target, TokenSource},
        id::{ProjectId, WorkspaceId},
        refusal::Refusal,
        region::Region,
    },
    sys::{
        env::Env,
        locked_file::LockedFile,
        private_file::{self, PrivateFileError},
    },
};
use secrecy::ExposeSecret as _;
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use zeroize::Zeroizing;

/// How long to wait for other writers.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Changes the config. `change` is called twice: first on the file as it stands, so that what is
/// refused leaves neither a directory nor a lock behind, then under the lock.
///
/// # Errors
/// What `change` refuses, a broken account block, an unsafe or malformed file, or one that cannot
/// be written. Then the file is as it was, byte for byte.
pub fn edit<T>(env: &Env, change: impl Fn(&mut Draft) -> Result<T, Refusal>) -> Result<T, Refusal> {
    let path = env.config_path().ok_or_else(snapshot::no_place)?;
    let failed = |error: PrivateFileError| error.refusal();
    let attempt = |bytes: Option<Zeroizing<Vec<u8>>>| {
        let mut draft = Draft::parse(bytes.unwrap_or_default(), &path)?;
        let done = change(&mut draft)?;
        Ok((done, draft.finish()?))
    };
    attempt(private_file::read(&path, env.home()).map_err(failed)?)?;
    let file = LockedFile::acquire(&path, env.home(), LOCK_WAIT).map_err(failed)?;
    let before = file.read().map_err(failed)?;
    let (done, text) = attempt(before.clone())?;
    if before.is_none_or(|before| *before != text.as_bytes()) {
        close_our_directory(env, &path)?;
        file.write(text.as_bytes()).map_err(failed)?;
        tracing::debug!(path = %path.display(), "the config is written");
    }
    Ok(done)
}

/// Only `~/.mp` is ours to close; any other directory belongs to whoever made it (quirk M4).
fn close_our_directory(env: &Env, config: &Path) -> Result<(), Refusal> {
    let Some(ours) = env.home().map(|home| home.join(".mp")) else { return Ok(()) };
    if config.parent() != Some(ours.as_path()) {
        return Ok(());
    }
    let failed = |error: std::io::Error| {
        Refusal::config(format!("`{}`: {}", ours.display(), error.kind()))
            .hint(format!("run: chmod 700 {}", ours.display()))
    };
    let mode = std::fs::metadata(&ours).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// The config under change.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    before: Config,
    layout: Layout,
}

impl Draft {
    fn parse(mut bytes: Zeroizing<Vec<u8>>, path: &Path) -> Result<Self, Refusal> {
        let before = Config::parse(&bytes, path)?;
        // `Config::parse` has checked it.
        let text = String::from_utf8(std::mem::take(&mut *bytes))
            .map_err(|_| Refusal::config("not valid UTF-8"))?;
        Ok(Self { path: path.into(), before, layout: Layout::new(text) })
    }

    /// The text to write, once every account block is found to be good.
    fn finish(self) -> Result<Zeroizing<String>, Refusal> {
        let text = self.layout.into_text();
        let after = Config::parse(text.as_bytes(), &self.path)?;
        after.accounts_are_a_table()?;
        for name in after.account_names() {
            if let Err(refusal) = after.account(name) {
                // Of a block that was broken before, the line in the file is the one to name.
                let known = self.before.account_names().contains(&name);
                return Err(known
                    .then(|| self.before.account(name).err())
                    .flatten()
                    .unwrap_or(refusal));
            }
        }
        after.accounts_are_whole()?;
        Ok(text)
    }

    /// The config as it was read.
    #[must_use]
    pub const fn before(&self) -> &Config {
        &self.before
    }

    /// Whether there is such an account, broken or not.
    #[must_use]
    pub fn has_account(&self, name: &str) -> bool {
        self.before.account_names().contains(&name)
    }

    /// The `type` of an account block, even of a broken one.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn account_type(&self, name: &str) -> Result<Option<String>, Refusal> {
        self.layout.string(&["accounts", name, "type"]).map_err(|error| self.refusal(&error))
    }

    /// `[active].account` as the draft has it, whatever else is in the block.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn active_account(&self) -> Result<Option<String>, Refusal> {
        self.layout.string(&["active", "account"]).map_err(|error| self.refusal(&error))
    }

    /// `[active]` as the draft has it.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if the block is malformed.
    pub fn active(&self) -> Result<Active, Refusal> {
        Config::parse(self.layout.text().as_bytes(), &self.path)?.active()
    }

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

    fn set(
        &mut self,
        path: &[&str],
        key: &str,
        value: impl Into<toml_edit::Value>,
    ) -> Result<(), Refusal> {
        self.layout.set(path, key, value).map_err(|error| self.refusal(&error))
    }

    fn remove(&mut self, path: &[&str]) -> Result<(), Refusal> {
        self.layout.remove(path).map_err(|error| self.refusal(&error))
    }

    fn refusal(&self, error: &LayoutError) -> Refusal {
        let path = self.path.display();
        match error {
            LayoutError::NotATable(place) => {
                // The reader knows the line.
                let (section, name) = place.split_once('.').unwrap_or((place, ""));
                let known = match section {
                    "accounts" => self.before.account(name).err(),
                    "targets" => self.before.target(name).err(),
                    _ => self.before.active().err(),
                };
                if let Some(known) = known.filter(|known| known.reason.is_none()) {
                    return known;
                }
                Refusal::config(format!("`{path}` [{place}]: must be a table"))
            }
            LayoutError::NotToml => Refusal::config(format!("`{path}`: not valid TOML")),
        }
        .hint(format!("edit `{path}`"))
    }
}

/// TOML's integers end where `i64` does.
fn number(workspace: WorkspaceId) -> Result<i64, Refusal> {
    i64::try_from(workspace.get()).map_err(|_| {
        Refusal::config(format!("workspace {workspace} is too large for the config"))
            .hint("use the number that `mp-proxy workspace list` shows")
    })
}
