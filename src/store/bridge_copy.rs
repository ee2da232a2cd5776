//! `bridges/ID.json`, the renewed tokens of a bridge that cannot be written (a mounted secret), in
//! our own storage. Called by the token resolver, and by `ops::bridge` when a bridge is removed.
//! Invariants: an entry counts only for the refresh token that the bridge holds now, so a bridge
//! that the host replaced wins; nothing is written without the lock; an entry that is missing,
//! unsafe or broken is just not there.

use super::{
    tokens,
    wiped::{self, Wiped},
};
use crate::{
    model::{fingerprint::fingerprint, tokens::Tokens},
    sys::{
        env::Env,
        locked_file::LockedFile,
        private_file::{self, PrivateFileError, Stamp},
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

const OF: &str = "of";
const TOKENS: &str = "tokens";

/// What the tokens of a bridge became.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// The fingerprint of the refresh token that the bridge held at the first renewal.
    pub of: String,
    /// The tokens as they were renewed last.
    pub tokens: Tokens,
}

/// The place of the copy of one bridge.
#[derive(Debug)]
pub struct BridgeCopy {
    path: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl BridgeCopy {
    /// The place for this bridge; there is none without a storage root.
    #[must_use]
    pub fn new(env: &Env, bridge: &Path) -> Self {
        let bridge = env.cwd().join(bridge);
        let id = fingerprint(&[&SecretString::from(bridge.to_string_lossy().into_owned())]);
        let path = env.storage_root().map(|root| root.join("bridges").join(format!("{id}.json")));
        Self { path, home: env.home().map(Into::into) }
    }

    /// The state of the file, without reading it.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.path.as_deref().map_or(Stamp::Absent, private_file::stamp)
    }

    /// What is there, of whatever the bridge held when it was written.
    #[must_use]
    pub fn load(&self) -> Option<Renewed> {
        let bytes = private_file::read(self.path.as_deref()?, self.home.as_deref()).ok()??;
        let value = Wiped::parse(&bytes).ok()?;
        let tokens = tokens::from_value(value.get(TOKENS)?).ok()?;
        Some(Renewed { of: value.get(OF)?.as_str()?.to_owned(), tokens })
    }

    /// Takes the lock, which stands for the one that the bridge cannot have; waits up to `wait`
    /// and blocks the thread. `None` if there is no place for it.
    ///
    /// # Errors
    /// [`PrivateFileError::Busy`] alone.
    pub fn lock(&self, wait: Duration) -> Result<Option<LockedFile>, PrivateFileError> {
        let Some(path) = &self.path else { return Ok(None) };
        match LockedFile::acquire(path, self.home.as_deref(), wait) {
            Ok(file) => Ok(Some(file)),
            Err(error @ PrivateFileError::Busy { .. }) => Err(error),
            // A storage that is not writable: then memory has to do.
            Err(_) => Ok(None),
        }
    }

    /// Removes the copy of a bridge that is no more.
    ///
    /// # Errors
    /// The system's own refusal.
    pub fn remove(&self, wait: Duration) -> Result<(), PrivateFileError> {
        if self.stamp() == Stamp::Absent {
            return Ok(());
        }
        if let Some(file) = self.lock(wait)? {
            file.remove()?;
            file.leave_no_lock();
        }
        Ok(())
    }
}

/// Writes the copy.
///
/// # Errors
/// The system's own refusal; an older copy is then still there.
pub fn write(file: &LockedFile, of: &str, tokens: &Tokens) -> Result<(), PrivateFileError> {
    let tokens = tokens::to_value(tokens);
    let value = Wiped::from(json!({OF: of, TOKENS: *tokens}));
    let text = wiped::to_line(&*value);
    file.write(text.expose_secret().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tokens(word: &str) -> Tokens {
        Tokens {
            access_token: SecretString::from(format!("access-{word}")),
            refresh_token: Some(SecretString::from(format!("refresh-{word}"))),
            expires_at_micros: 1_700_000_000_000_000,
            scope: "s".into(),
            token_type: "Bearer".into(),
            client_id: Some("c".into()),
            lifetime_seconds: Some(60),
            login: Some("l".into()),
        }
    }

    #[test]
    fn a_copy_is_read_as_it_was_written_and_a_broken_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::new([("HOME", dir.path().to_str().unwrap())], dir.path());
        let of = |path: &str| BridgeCopy::new(&env, Path::new(path));
        let copy = of("/run/secrets/auth.json");
        assert!(copy.load().is_none());
        copy.remove(Duration::ZERO).unwrap();
        let file = copy.lock(Duration::ZERO).unwrap().unwrap();
        let busy = copy.lock(Duration::ZERO).unwrap_err();
        assert!(matches!(busy, PrivateFileError::Busy { .. }));
        write(&file, "first", &tokens("a")).unwrap();
        drop(file);
        let renewed = copy.load().unwrap();
        assert_eq!(renewed.of, "first");
        assert_eq!(renewed.tokens.refresh_fingerprint(), tokens("a").refresh_fingerprint());
        assert_eq!(renewed.tokens.client_id.as_deref(), Some("c"));
        assert!(!format!("{renewed:?}").contains("refresh-a"));
        // Another bridge has another copy; a relative path is that of the current directory.
        assert!(of("/run/secrets/other.json").load().is_none());
        assert_eq!(of("b.json").path, of(dir.path().join("b.json").to_str().unwrap()).path);
        let place = copy.path.clone().unwrap();
        assert!(!place.to_string_lossy().contains("secrets"));
        for bad in ["", "{}", "{\"of\": 1, \"tokens\": {}}", "[]"] {
            fs::write(&place, bad).unwrap();
            assert!(copy.load().is_none(), "{bad}");
        }
        copy.remove(Duration::ZERO).unwrap();
        assert_eq!(fs::read_dir(dir.path().join(".mp/bridges")).unwrap().count(), 0);
        for nowhere in [[("A", "b")], [("MP_STORAGE_DIR", "/dev/null/x")]] {
            let copy = BridgeCopy::new(&Env::new(nowhere, "/"), Path::new("/b.json"));
            assert!(copy.lock(Duration::ZERO).unwrap().is_none(), "{copy:?}");
        }
    }
}
