//! The tokens of a login that a bridge brought. Used by `login`.
//! Invariants: reading changes nothing; a bridge is written where it is ours to write, else what
//! came of its tokens is kept in our own storage; a bridge that the host replaced wins.

use super::keeper::{Found, Keeper, Locks, OnDisk, Place, Saved, WAIT, found_at};
use crate::{
    model::{
        refusal::{Code, Refusal},
        tokens::Tokens,
    },
    store::{
        bridge::{self, Bridge},
        bridge_copy::{self, BridgeCopy, Renewed},
        tokens,
    },
    sys::{
        locked_file::LockedFile,
        private_file::{self, PrivateFileError, Stamp},
    },
};
use rustix::process::geteuid;
use secrecy::ExposeSecret as _;
use std::{fs, io::ErrorKind::StorageFull, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

/// A bridge, and beside it what is on disk for the same account and region.
#[derive(Debug)]
pub(super) struct InBridge {
    disk: OnDisk,
    path: Arc<Path>,
    copy: BridgeCopy,
}

impl InBridge {
    pub(super) fn new(disk: OnDisk, path: Arc<Path>) -> Self {
        let copy = BridgeCopy::new(&disk.env, &path);
        Self { disk, path, copy }
    }

    fn bridged(&self) -> Result<Option<Arc<Tokens>>, Refusal> {
        let bytes =
            private_file::read(&self.path, self.disk.env.home()).map_err(|e| e.refusal())?;
        let bridge = bytes.map(|bytes| Bridge::parse(&bytes, &self.path)).transpose()?;
        Ok(bridge.and_then(|bridge| bridge.tokens_of(&self.disk.account).cloned()))
    }

    /// What these tokens of the bridge became, if they were renewed here and could not be written.
    fn copy_of(&self, bridged: &Tokens) -> Option<Renewed> {
        let own = bridged.refresh_fingerprint()?;
        self.copy.load().filter(|copy| copy.of == own)
    }

    /// Keeps `new` in our own storage if it came of what the bridge still holds. Where that cannot
    /// be written either, memory has to do.
    fn save_copy(
        &self,
        locks: &Locks,
        is_old: impl Fn(&Tokens) -> bool,
        new: &Tokens,
    ) -> Result<(), Refusal> {
        let Some(bridged) = self.bridged().ok().flatten() else { return Ok(()) };
        let Some(of) = bridged.refresh_fingerprint() else { return Ok(()) };
        if !is_old(&bridged) && !self.copy_of(&bridged).is_some_and(|copy| is_old(&copy.tokens)) {
            return Ok(());
        }
        // Whoever had the lock of the bridge, and found that it cannot be replaced, has this yet
        // to take: nobody else writes a copy meanwhile.
        let late = match locks.copy {
            Some(_) => None,
            None => self.copy.lock(WAIT).ok().flatten(),
        };
        let Some(file) = locks.copy.as_ref().or(late.as_ref()) else { return Ok(()) };
        match bridge_copy::write(file, &of, new) {
            Err(error @ PrivateFileError::Io { kind: StorageFull, .. }) => Err(error.refusal()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Keeper for InBridge {
    fn stamps(&self) -> Vec<Stamp> {
        let mut stamps = self.disk.stamps();
        stamps.push(private_file::stamp(&self.path));
        stamps.push(self.copy.stamp());
        stamps
    }

    fn load(&self) -> Result<Vec<Found>, Refusal> {
        let Some(tokens) = self.bridged()? else { return self.disk.load() };
        let copy = self.copy_of(&tokens).map(|copy| found_at(copy.tokens, Place::Copy));
        // A broken file beside a good bridge is not what this login depends on.
        let on_disk = self.disk.load().unwrap_or_default();
        let bridged = Found { tokens, place: Place::Bridge };
        Ok([bridged].into_iter().chain(copy).chain(on_disk).collect())
    }

    /// The disk first and the copy last, always, so that two of us cannot wait for each other.
    fn lock(&self) -> Result<Locks, Refusal> {
        let home = self.disk.env.home();
        let on_disk = self.disk.path();
        let disk = match private_file::stamp(&on_disk) {
            Stamp::Absent => None,
            _ => unless_busy(LockedFile::acquire(&on_disk, home, WAIT))?,
        };
        let bridge = match is_ours(&self.path) {
            true => unless_busy(LockedFile::acquire(&self.path, home, WAIT))?,
            false => None,
        };
        let copy = match bridge {
            Some(_) => None,
            None => unless_busy(self.copy.lock(WAIT))?.flatten(),
        };
        Ok(Locks { disk, bridge, copy })
    }

    /// A copy of the old tokens in the other place is dead once they are renewed: it goes too.
    fn save(&self, locks: &Locks, old: &Tokens, new: &Tokens) -> Result<Saved, Refusal> {
        let Some(old) = old.refresh_fingerprint() else { return Ok(Saved::ReadOnly) };
        let is_old = |tokens: &Tokens| tokens.refresh_fingerprint().as_deref() == Some(&*old);
        let mut saved = Saved::ReadOnly;
        if let Some(file) = &locks.disk {
            let here = tokens::load(&self.disk.env, self.disk.name()).ok().flatten();
            if here.is_some_and(|here| is_old(&here)) {
                tokens::write(file, new)?;
                saved = Saved::Yes;
            }
        }
        if let Some(file) = &locks.bridge
            && let Some(bytes) = file.read().map_err(|error| error.refusal())?
            && let Ok(bridge) = Bridge::parse(&bytes, &self.path)
            && bridge.tokens_of(&self.disk.account).is_some_and(|here| is_old(here))
            && let Some(text) = bridge::with_tokens(&bytes, new)
        {
            match file.write(text.expose_secret().as_bytes()) {
                Ok(()) => return Ok(Saved::Yes),
                // A single file that is mounted cannot be replaced.
                Err(PrivateFileError::Io { kind, .. }) if kind != StorageFull => {}
                Err(error) => return Err(error.refusal()),
            }
        }
        // The bridge still holds what is spent now. Whoever reads it in this home, now or after a
        // restart, has to find what came of it: the server ends a login whose old token comes back.
        self.save_copy(locks, is_old, new)?;
        Ok(saved)
    }

    fn client_id(&self, tokens: &Tokens) -> Result<String, Refusal> {
        if let Some(own) = &tokens.client_id {
            return Ok(own.clone());
        }
        self.disk.region_client()?.ok_or_else(|| {
            Refusal::new(
                Code::OauthRefreshError,
                format!(
                    "the token of account `{}` is expired and its bridge `{}` does not say which OAuth client can renew it",
                    self.disk.name(),
                    self.path.display()
                ),
            )
            .hint(self.login_hint())
        })
    }

    fn login_hint(&self) -> String {
        let name = self.disk.name();
        format!(
            "on the host, run: mp-proxy account export-bridge {name} --to FILE, and put FILE at `{}`",
            self.path.display()
        )
    }
}

/// The lock; none of what cannot be written after all. One that stays taken is a failure.
fn unless_busy<T>(lock: Result<T, PrivateFileError>) -> Result<Option<T>, Refusal> {
    match lock {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ PrivateFileError::Busy { .. }) => {
            Err(Refusal { code: Code::OauthRefreshError, ..error.refusal() })
        }
        Err(_) => Ok(None),
    }
}

/// Whether a file and its directory are there for us to write: a mounted secret is not.
fn is_ours(path: &Path) -> bool {
    let own = |path: &Path| {
        fs::symlink_metadata(path)
            .is_ok_and(|meta| meta.uid() == geteuid().as_raw() && meta.mode() & 0o200 != 0)
    };
    own(path)
        && path
            .parent()
            .is_some_and(|parent| fs::metadata(parent).is_ok_and(|meta| meta.mode() & 0o200 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            account::{Account, Credential},
            id::Name,
            region::Region,
        },
        sys::env::Env,
    };
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt as _;

    fn tokens(word: &str) -> Tokens {
        let value = json!({
            "access_token": format!("a-{word}"), "refresh_token": format!("r-{word}"),
            "expires_at": 1_700_000_000, "scope": "", "token_type": "Bearer",
        });
        crate::store::tokens::from_value(&value).unwrap()
    }

    #[test]
    fn a_file_is_ours_if_it_and_its_folder_are_there_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        let file = folder.join("auth.json");
        fs::create_dir(&folder).unwrap();
        fs::write(&file, "{}").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for (of_file, of_folder, expected) in
            [(0o600, 0o700, true), (0o400, 0o700, false), (0o600, 0o500, false)]
        {
            mode(&file, of_file);
            mode(&folder, of_folder);
            assert_eq!(is_ours(&file), expected, "{of_file:o} in {of_folder:o}");
        }
        mode(&folder, 0o700);
        assert!(!is_ours(&folder.join("none")));
    }

    /// A home with a bridge of these tokens, open to its owner only.
    fn bridged(dir: &Path, old: &Tokens) -> InBridge {
        let path = dir.join("auth.json");
        let text = json!({
            "version": 2, "account": {"type": "oauth_browser", "name": "me", "region": "us"},
            "tokens": *crate::store::tokens::to_value(old),
        });
        fs::write(&path, text.to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let account = Account {
            name: Name::parse("me").unwrap(),
            region: Region::Us,
            default_project: None,
            credential: Credential::OauthBrowser,
        };
        let env = Arc::new(Env::new([("HOME", dir.to_str().unwrap())], dir));
        InBridge::new(OnDisk { env, account: Arc::new(account) }, path.into())
    }

    fn places(keeper: &InBridge) -> Vec<Place> {
        keeper.load().unwrap().iter().map(|found| found.place).collect()
    }

    #[test]
    fn a_bridge_that_cannot_be_replaced_after_all_has_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let old = tokens("old");
        let keeper = bridged(dir.path(), &old);
        // A directory stands where the new file is made first, as a mount would be in the way.
        fs::create_dir(dir.path().join(".auth.json.tmp")).unwrap();
        let locks = keeper.lock().unwrap();
        assert!(locks.bridge.is_some() && locks.copy.is_none() && locks.disk.is_none());
        assert_eq!(keeper.save(&locks, &tokens("other"), &tokens("new")).unwrap(), Saved::ReadOnly);
        assert_eq!(places(&keeper), [Place::Bridge], "tokens of another login were kept");
        let mut lost = old.clone();
        lost.refresh_token = None;
        assert_eq!(keeper.save(&locks, &lost, &tokens("new")).unwrap(), Saved::ReadOnly);
        assert_eq!(places(&keeper), [Place::Bridge]);
        let before = fs::read(dir.path().join("auth.json")).unwrap();
        keeper.save(&locks, &old, &tokens("new")).unwrap();
        assert_eq!(fs::read(dir.path().join("auth.json")).unwrap(), before);
        assert_eq!(places(&keeper), [Place::Bridge, Place::Copy]);
        // And the next one from there.
        let stamps = keeper.stamps();
        keeper.save(&locks, &tokens("new"), &tokens("newer")).unwrap();
        assert_ne!(keeper.stamps(), stamps, "nobody would look at it");
        let found = keeper.load().unwrap();
        let copy = found[1].tokens.refresh_fingerprint();
        assert_eq!(copy, tokens("newer").refresh_fingerprint());
        // It can be written again: then it is, and the copy is of what is no more.
        fs::remove_dir(dir.path().join(".auth.json.tmp")).unwrap();
        assert_eq!(keeper.save(&locks, &old, &tokens("last")).unwrap(), Saved::Yes);
        assert_eq!(places(&keeper), [Place::Bridge]);
    }

    #[test]
    fn a_broken_file_beside_a_good_bridge_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = bridged(dir.path(), &tokens("old"));
        let on_disk = keeper.disk.path();
        fs::create_dir_all(on_disk.parent().unwrap()).unwrap();
        fs::write(&on_disk, "{").unwrap();
        fs::set_permissions(&on_disk, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(places(&keeper), [Place::Bridge]);
        let locks = keeper.lock().unwrap();
        assert!(locks.disk.is_some());
        fs::remove_file(dir.path().join("auth.json")).unwrap();
        let refusal = keeper.load().unwrap_err();
        assert_eq!(refusal.code, Code::OauthTokenError);
    }

    #[test]
    fn a_lock_that_stays_taken_is_a_failure_and_no_other() {
        let path = || Path::new("/x").to_path_buf();
        let busy = unless_busy::<()>(Err(PrivateFileError::Busy { path: path() })).unwrap_err();
        assert_eq!(busy.code, Code::OauthRefreshError);
        let link = unless_busy::<()>(Err(PrivateFileError::Symlink { path: path() }));
        assert_eq!(link, Ok(None));
        assert_eq!(unless_busy(Ok(1)), Ok(Some(1)));
    }
}
