//! The bearer of an account, wherever its tokens are: the config, its `tokens.json`, or the bridge
//! that brought it. Called by `account token`.
//! Invariant: the only result of this floor that holds a secret.

use super::{config, none_active};
use crate::{
    auth::{credential::Scheme, once, resolve::bridge_of},
    model::{
        account::{Account, Credential},
        id::ProjectId,
        refusal::Refusal,
        session::{Session, Sources},
    },
    store::{
        bridge::Bridge,
        snapshot::{Snapshot, load_once},
    },
    sys::env::Env,
};
use secrecy::SecretString;
use std::sync::Arc;

/// The bearer of an OAuth account, refreshed if it has to be; none for a service account.
/// `None` means the active account, else that of the bridge. Of the tokens that a bridge and this
/// machine have for one account, those that expire later count, as for a request. Blocks the
/// thread: call it outside of a runtime.
///
/// # Errors
/// `CONFIG_ERROR` for an unknown account or a broken account block; `OAUTH_TOKEN_ERROR`, `OAUTH_REFRESH_ERROR` and
/// `OAUTH_REFRESH_REVOKED` without a usable token.
///
/// ```
/// use mp_proxy::{ops::accounts, sys::env::Env};
/// use secrecy::ExposeSecret as _;
/// # use std::{fs, os::unix::fs::PermissionsExt as _};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let home = tempfile::tempdir()?;
/// # let home = home.path();
/// # let write = |path, text: &str| -> std::io::Result<()> {
/// #     fs::write(&path, text)?;
/// #     fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
/// # };
/// // A machine that has nothing but the bridge that another one exported.
/// # write(home.join("mixpanel_auth.json"),
/// #     r#"{"version": 2, "account": {"name": "vm", "type": "oauth_token", "region": "us", "token": "t-1"}}"#)?;
/// let env = Env::new([("HOME", home.to_str().unwrap())], home);
/// let token = accounts::token(&env, None)?.expect("an OAuth account");
/// assert_eq!(token.expose_secret(), "t-1");
/// # Ok(())
/// # }
/// ```
pub fn token(env: &Env, name: Option<&str>) -> Result<Option<SecretString>, Refusal> {
    let snapshot = load_once(env);
    let account = account(&snapshot, name)?;
    if matches!(account.credential, Credential::ServiceAccount { .. }) {
        return Ok(None);
    }
    // A broken bridge is no reason to keep back what this machine has itself.
    let bridge = snapshot.bridge.as_ref().ok().and_then(Option::as_ref);
    let session = session_of(account, bridge)?;
    let value = once::authorize(&session, Scheme::Session, &snapshot.env)?;
    let text = String::from_utf8_lossy(value.value().as_bytes());
    Ok(Some(SecretString::from(text.strip_prefix("Bearer ").unwrap_or(&text))))
}

/// The config's account first, as the reference has it; the bridge's where there is none.
fn account(snapshot: &Snapshot, name: Option<&str>) -> Result<Arc<Account>, Refusal> {
    let config = config(snapshot)?;
    let name = match name {
        Some(name) => Some(name),
        None => config.active_account()?,
    };
    if let Some(name) = name
        && config.account_names().contains(&name)
    {
        config.accounts_are_whole()?;
        return config.account(name);
    }
    let bridge = snapshot.bridge.as_ref().map_err(Clone::clone)?;
    match (name, bridge) {
        (None, None) => Err(none_active(config)),
        (None, Some(bridge)) => Ok(Arc::clone(&bridge.account)),
        (Some(name), Some(bridge)) if bridge.account.name.as_str() == name => {
            Ok(Arc::clone(&bridge.account))
        }
        (Some(name), _) => config.account(name),
    }
}

/// A session that only says which account it is: what signs it depends on nothing else.
fn session_of(account: Arc<Account>, bridge: Option<&Bridge>) -> Result<Session, Refusal> {
    let project = ProjectId::parse("0").map_err(|rule| Refusal::config(rule.to_string()))?;
    let source = "command".to_owned();
    Ok(Session {
        bridge: bridge_of(bridge, &account),
        account,
        project,
        workspace: None,
        headers: Arc::default(),
        sources: Sources { account: source.clone(), project: source, workspace: None },
        warnings: Vec::new(),
        overruled: Vec::new(),
    })
}
