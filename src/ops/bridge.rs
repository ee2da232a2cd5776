//! The bridge file, written and removed: one account with its secrets, for another machine.
//! Called by `cli/commands/bridge.rs` and by any Rust program.
//! Invariants: the file is 0600 and replaced whole; tokens come from disk and are not refreshed.
//!
//! ```
//! use mp_proxy::{
//!     model::{
//!         account::{Account, Credential, TokenSource},
//!         id::{Name, ProjectId},
//!         region::Region,
//!     },
//!     ops::{
//!         accounts,
//!         bridge::{self, Export},
//!     },
//!     sys::env::Env,
//! };
//! use secrecy::ExposeSecret as _;
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let home = home.path();
//! let env = Env::new([("HOME", home.to_str().unwrap())], home);
//! accounts::add(&env, &Account {
//!     name: Name::parse("ci")?,
//!     region: Region::Us,
//!     default_project: None,
//!     credential: Credential::OauthToken(TokenSource::Inline("t-1".to_string().into())),
//! })?;
//! let export = Export {
//!     account: None, // the active one
//!     to: Path::new("carried/bridge.json"),
//!     project: Some(ProjectId::parse("5")?),
//!     workspace: None,
//! };
//! let path = bridge::export(&env, &export)?.path;
//!
//! // The other machine has nothing but that file.
//! let other = Env::new([("HOME", "/nowhere"), ("MP_AUTH_FILE", path.to_str().unwrap())], "/");
//! assert_eq!(accounts::token(&other, None)?.unwrap().expose_secret(), "t-1");
//!
//! assert!(bridge::remove(&env, Some(&path))?.removed);
//! assert!(!bridge::remove(&env, Some(&path))?.removed, "that there is none is no error");
//! # Ok(())
//! # }
//! ```

use super::accounts::none_active;
use crate::{
    model::{
        account::{Account, Credential, TokenSource},
        id::{ProjectId, WorkspaceId},
        refusal::{Code, Refusal},
    },
    store::{
        bridge_copy::BridgeCopy,
        clients,
        config::Config,
        snapshot::load_once,
        tokens,
        wiped::{self, Wiped},
    },
    sys::{
        env::Env,
        locked_file::LockedFile,
        private_file::{self, PrivateFileError, Stamp},
    },
};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

const LOCK_WAIT: Duration = Duration::from_secs(10);

/// What to export, and where to.
#[derive(Debug, Clone)]
pub struct Export<'a> {
    /// The account; `None` means the active one.
    pub account: Option<&'a str>,
    /// The file, relative to the current directory.
    pub to: &'a Path,
    /// The project that the bridge pins.
    pub project: Option<ProjectId>,
    /// The workspace that the bridge pins.
    pub workspace: Option<WorkspaceId>,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The file.
    pub path: PathBuf,
    /// The account in it.
    pub account: String,
}

/// Writes a bridge of version 2.
///
/// # Errors
/// `CONFIG_ERROR` for an account that is not configured or a file that cannot be written;
/// `OAUTH_TOKEN_ERROR` for a browser login without tokens.
pub fn export(env: &Env, export: &Export<'_>) -> Result<Exported, Refusal> {
    let snapshot = load_once(env);
    let config = snapshot.config.as_ref().map_err(Clone::clone)?;
    let account = match export.account {
        Some(name) => config.account(name)?,
        None => config.account(config.active_account()?.ok_or_else(|| none_active(config))?)?,
    };
    let document = document(env, config, &account, export)?;
    let path = env.cwd().join(export.to);
    let failed = |error: PrivateFileError| error.refusal();
    let file = LockedFile::acquire(&path, env.home(), LOCK_WAIT).map_err(failed)?;
    // A link is refused; whatever else is there is replaced, an open one by a closed one.
    if let Err(error @ PrivateFileError::Symlink { .. }) = file.read() {
        return Err(failed(error));
    }
    file.write(wiped::to_lines(&*document).expose_secret().as_bytes()).map_err(failed)?;
    file.leave_no_lock();
    Ok(Exported { path, account: account.name.to_string() })
}

fn document(
    env: &Env,
    config: &Config,
    account: &Account,
    export: &Export<'_>,
) -> Result<Wiped<Value>, Refusal> {
    let record = record(account);
    let mut document = Wiped::from(json!({"version": 2, "account": *record, "headers": {}}));
    if let Some(custom) = config.custom_header()? {
        let value = String::from_utf8_lossy(custom.value.as_bytes()).into_owned();
        document["headers"][custom.spelling] = value.into();
    }
    if let Some(project) = &export.project {
        document["project"] = project.as_str().into();
    }
    if let Some(workspace) = export.workspace {
        document["workspace"] = workspace.get().into();
    }
    if matches!(account.credential, Credential::OauthBrowser) {
        document["tokens"] = tokens_of(env, account)?.take();
    }
    Ok(document)
}

/// The tokens, with the client that may refresh them: the other machine has no other place to
/// know it from (quirk B4).
fn tokens_of(env: &Env, account: &Account) -> Result<Wiped<Value>, Refusal> {
    let name = &account.name;
    let mut tokens = tokens::load(env, name)?.ok_or_else(|| {
        Refusal::new(Code::OauthTokenError, format!("account `{name}` has no OAuth tokens"))
            .hint(format!("run: mp-proxy account login {name}"))
    })?;
    if tokens.client_id.is_none() {
        // Without it the bridge is as good as the reference's.
        let client = clients::load(env, account.region).ok().flatten();
        tokens.client_id = client.map(|client| client.client_id);
    }
    Ok(tokens::to_value(&tokens))
}

fn record(account: &Account) -> Wiped<Map<String, Value>> {
    let mut record = Wiped::from(Map::new());
    let mut put = |key: &str, value: &str| record.insert(key.into(), value.into());
    put("name", account.name.as_str());
    put("type", account.type_name());
    put("region", account.region.as_str());
    if let Some(project) = &account.default_project {
        put("default_project", project.as_str());
    }
    match &account.credential {
        Credential::OauthBrowser => {}
        Credential::OauthToken(TokenSource::Inline(token)) => {
            put("token", token.expose_secret());
        }
        Credential::OauthToken(TokenSource::Env(name)) => {
            put("token_env", name);
        }
        Credential::ServiceAccount { username, secret } => {
            put("username", username);
            put("secret", secret.expose_secret());
        }
    }
    record
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Whether there was a file.
    pub removed: bool,
    /// Where it was looked for, or where it was.
    pub path: Option<PathBuf>,
}

/// Removes a bridge, and what its tokens became here: the one at this path, else at `MP_AUTH_FILE`, else the first default place
/// that has one.
///
/// # Errors
/// `CONFIG_ERROR` if the file cannot be removed.
pub fn remove(env: &Env, at: Option<&Path>) -> Result<Removed, Refusal> {
    let candidates = match at {
        Some(path) => vec![env.cwd().join(path)],
        None => env.bridge_candidates(),
    };
    let there = |path: &&PathBuf| private_file::stamp(path) != Stamp::Absent;
    let Some(path) = candidates.iter().find(there) else {
        return Ok(Removed { removed: false, path: candidates.into_iter().next() });
    };
    let failed = |error: PrivateFileError| error.refusal();
    let file = LockedFile::acquire(path, env.home(), LOCK_WAIT).map_err(failed)?;
    let removed = file.remove().map_err(failed)?;
    file.leave_no_lock();
    BridgeCopy::new(env, path).remove(LOCK_WAIT).map_err(failed)?;
    Ok(Removed { removed, path: Some(path.clone()) })
}
