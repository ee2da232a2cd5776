//! `oauth/client_REGION.json`, the OAuth client that this machine registered with a region's
//! server. Called by the login (load, keep) and by the token resolver (load).
//! Invariant: a client that tokens depend on is never overwritten (quirk T6). The reference knows
//! no other place for it, while our tokens carry their own `client_id`.

use super::tokens;
use crate::{
    model::{id::Name, refusal::Refusal, region::Region},
    sys::{clock, env::Env, locked_file::LockedFile, private_file},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fs, path::PathBuf, time::Duration};

const LOCK_WAIT: Duration = Duration::from_secs(10);

/// A registered public client.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Client {
    /// Its id; not a secret.
    pub client_id: String,
    /// The one redirect URI that it may be used with.
    pub redirect_uri: String,
}

/// What became of a client that was to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is in the file.
    Written,
    /// The file keeps another client, which the tokens of these accounts depend on.
    Elsewhere(Vec<Name>),
}

/// Where the client of a region is; `None` without a storage root.
#[must_use]
pub fn path(env: &Env, region: Region) -> Option<PathBuf> {
    Some(env.storage_root()?.join("oauth").join(format!("client_{region}.json")))
}

/// The same, where there has to be one.
///
/// # Errors
/// `CONFIG_ERROR` without a storage root.
pub fn place(env: &Env, region: Region) -> Result<PathBuf, Refusal> {
    path(env, region).ok_or_else(|| {
        Refusal::config(
            "there is no place for client and tokens: neither `HOME` nor `MP_STORAGE_DIR` is set",
        )
        .hint("set MP_STORAGE_DIR to a private directory")
    })
}

/// The client of a region, if there is one. Too open permissions are repaired (quirk C11).
///
/// # Errors
/// `CONFIG_ERROR` if the file is unsafe or malformed.
pub fn load(env: &Env, region: Region) -> Result<Option<Client>, Refusal> {
    let Some(path) = path(env, region) else { return Ok(None) };
    let bytes = private_file::read_repaired(&path, env.home()).map_err(|error| error.refusal())?;
    bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(|_| {
        Refusal::config(format!("`{}` is not the JSON of an OAuth client", path.display()))
            .hint(format!("run: rm {}, then log in again", path.display()))
    })
}

/// Keeps a client that was just registered with these scopes. `except` is the account that is
/// being logged in, whose old tokens are about to go; `region_of` knows the configured accounts.
///
/// # Errors
/// `CONFIG_ERROR` if the file cannot be read or written.
pub fn keep(
    env: &Env,
    region: Region,
    client: &Client,
    scope: &str,
    except: Option<&Name>,
    region_of: impl Fn(&Name) -> Option<Region>,
) -> Result<Kept, Refusal> {
    let path = place(env, region)?;
    let file = LockedFile::acquire(&path, env.home(), LOCK_WAIT).map_err(|e| e.refusal())?;
    // What cannot be read has nobody who depends on it.
    if let Some(old) = load(env, region).ok().flatten() {
        let mut names = dependents(env, &old.client_id);
        names.retain(|name| Some(name) != except && region_of(name).is_none_or(|of| of == region));
        if !names.is_empty() {
            return Ok(Kept::Elsewhere(names));
        }
    }
    let now = Timestamp::from_microsecond(clock::now_micros()).unwrap_or(Timestamp::MAX);
    let wire = Wire {
        client_id: &client.client_id,
        region: region.as_str(),
        redirect_uri: &client.redirect_uri,
        scope,
        created_at: now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
    };
    // Strings only: there is nothing in it that cannot be written.
    let text = serde_json::to_string_pretty(&wire).unwrap_or_default();
    file.write(text.as_bytes()).map_err(|error| error.refusal())?;
    Ok(Kept::Written)
}

#[derive(Serialize)]
struct Wire<'a> {
    client_id: &'a str,
    region: &'a str,
    redirect_uri: &'a str,
    scope: &'a str,
    created_at: String,
}

/// The accounts whose tokens need this client from the file, or may need it: a login without
/// `client_id` beside it was made by the reference. Directories of removed accounts count.
fn dependents(env: &Env, client_id: &str) -> Vec<Name> {
    let Some(root) = env.storage_root() else { return Vec::new() };
    let Ok(entries) = fs::read_dir(root.join("accounts")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| Name::parse(entry.file_name().to_str()?).ok());
    let mut names: Vec<Name> = names
        .filter(|name| match tokens::load(env, name) {
            Ok(None) => false,
            Ok(Some(tokens)) => {
                tokens.refresh_token.is_some()
                    && tokens.client_id.as_deref().is_none_or(|own| own == client_id)
            }
            Err(_) => true,
        })
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokens::Tokens;
    use std::os::unix::fs::PermissionsExt;

    fn client(id: &str, port: u16) -> Client {
        Client { client_id: id.into(), redirect_uri: format!("http://localhost:{port}/callback") }
    }

    fn log_in(env: &Env, name: &str, client_id: Option<&str>) -> Name {
        let name = Name::parse(name).unwrap();
        let tokens = Tokens {
            access_token: "a".into(),
            refresh_token: Some("r".into()),
            expires_at_micros: 0,
            scope: String::new(),
            token_type: "Bearer".into(),
            client_id: client_id.map(Into::into),
            lifetime_seconds: None,
            login: None,
        };
        tokens::save(env, &name, &tokens).unwrap();
        name
    }

    #[test]
    fn a_client_that_tokens_depend_on_stays() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::new([("HOME", dir.path().to_str().unwrap())], dir.path());
        let keep = |client: &Client, except: Option<&Name>| {
            super::keep(&env, Region::Us, client, "s", except, |name| {
                (name.as_str() == "europe").then_some(Region::Eu)
            })
            .unwrap()
        };
        let (one, two) = (client("one", 19284), client("two", 19285));
        assert_eq!(load(&env, Region::Us).unwrap(), None);
        assert_eq!(keep(&one, None), Kept::Written);
        assert_eq!(load(&env, Region::Us).unwrap(), Some(one.clone()));
        assert_eq!(load(&env, Region::Eu).unwrap(), None);
        log_in(&env, "europe", None);
        log_in(&env, "own", Some("elsewhere"));
        assert_eq!(keep(&two, None), Kept::Written, "nobody of this region needs it");
        let name = log_in(&env, "by-mp", None);
        assert_eq!(keep(&one, None), Kept::Elsewhere(vec![name.clone()]));
        assert_eq!(load(&env, Region::Us).unwrap(), Some(two));
        assert_eq!(keep(&one, Some(&name)), Kept::Written);
        let path = path(&env, Region::Us).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("\"region\": \"us\"") && text.trim_end().ends_with("Z\"\n}"),
            "{text}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load(&env, Region::Us).unwrap(), Some(one));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        fs::write(&path, "{").unwrap();
        assert!(load(&env, Region::Us).unwrap_err().hint.unwrap().contains("rm "));
        assert_eq!(keep(&client("three", 19286), None), Kept::Written);
    }
}
