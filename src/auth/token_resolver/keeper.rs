//! Where the tokens of one login are kept: on disk, or in a bridge and on disk. Used by `login`.
//! Invariants: reading changes nothing (quirks B1 to B3); nothing is written without the lock.

use crate::{
    model::{
        account::Account,
        id::Name,
        refusal::{Code, Refusal},
        tokens::Tokens,
    },
    store::{
        bridge::{self, Bridge},
        clients, tokens,
    },
    sys::{
        env::Env,
        locked_file::LockedFile,
        private_file::{self, PrivateFileError, Stamp},
    },
};
use rustix::process::geteuid;
use secrecy::ExposeSecret as _;
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How long another process may hold the lock: longer than any refresh takes.
const WAIT: Duration = Duration::from_secs(75);

/// A token set and where it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) tokens: Arc<Tokens>,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Disk,
    Bridge,
    /// Nowhere but here: what was renewed could not be written.
    Memory,
}

/// The locks that a refresh holds.
#[derive(Debug)]
pub(super) struct Locks {
    disk: Option<LockedFile>,
    bridge: Option<LockedFile>,
}

/// What became of renewed tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saved {
    /// They are where the old ones were.
    Yes,
    /// There is nothing that could be written: a mounted secret.
    ReadOnly,
}

/// The files of one login. All calls but `stamps` block for as long as a disk does, `lock` for
/// as long as another process refreshes.
pub(super) trait Keeper: Send + Sync + 'static {
    /// The state of everything that a login depends on.
    fn stamps(&self) -> Vec<Stamp>;
    /// Every token set there is.
    fn load(&self) -> Result<Vec<Found>, Refusal>;
    /// Keeps other processes of ours from refreshing.
    fn lock(&self) -> Result<Locks, Refusal>;
    /// Puts `new` where `old` was, wherever that is.
    fn save(&self, locks: &Locks, old: &Tokens, new: &Tokens) -> Result<Saved, Refusal>;
    /// The OAuth client that may renew these tokens.
    fn client_id(&self, tokens: &Tokens) -> Result<String, Refusal>;
    /// What to run when this login has ended.
    fn login_hint(&self) -> String;
}

/// `accounts/NAME/tokens.json`.
#[derive(Debug)]
pub(super) struct OnDisk {
    pub(super) env: Arc<Env>,
    pub(super) account: Arc<Account>,
}

impl OnDisk {
    fn name(&self) -> &Name {
        &self.account.name
    }

    fn path(&self) -> PathBuf {
        tokens::path(&self.env, self.name()).unwrap_or_default()
    }

    fn region_client(&self) -> Result<Option<String>, Refusal> {
        Ok(clients::load(&self.env, self.account.region)?.map(|client| client.client_id))
    }
}

impl Keeper for OnDisk {
    fn stamps(&self) -> Vec<Stamp> {
        let client = clients::path(&self.env, self.account.region).unwrap_or_default();
        vec![private_file::stamp(&self.path()), private_file::stamp(&client)]
    }

    fn load(&self) -> Result<Vec<Found>, Refusal> {
        let found = tokens::load(&self.env, self.name())?;
        Ok(found.into_iter().map(|tokens| found_at(tokens, Place::Disk)).collect())
    }

    fn lock(&self) -> Result<Locks, Refusal> {
        let disk = tokens::lock(&self.env, self.name(), WAIT)
            .map_err(|refusal| Refusal { code: Code::OauthRefreshError, ..refusal })?;
        Ok(Locks { disk: Some(disk), bridge: None })
    }

    fn save(&self, locks: &Locks, _: &Tokens, new: &Tokens) -> Result<Saved, Refusal> {
        match &locks.disk {
            Some(file) => tokens::write(file, new).map(|()| Saved::Yes),
            None => Ok(Saved::ReadOnly),
        }
    }

    fn client_id(&self, tokens: &Tokens) -> Result<String, Refusal> {
        if let Some(own) = &tokens.client_id {
            return Ok(own.clone());
        }
        self.region_client()?.ok_or_else(|| {
            let (name, region) = (self.name(), self.account.region);
            Refusal::new(
                Code::OauthRefreshError,
                format!(
                    "the token of account `{name}` is expired and the OAuth client of region `{region}` that could renew it is not known here"
                ),
            )
            .hint(self.login_hint())
        })
    }

    fn login_hint(&self) -> String {
        format!("run: mp-proxy account login {}", self.name())
    }
}

/// A bridge, and beside it what is on disk for the same account and region.
#[derive(Debug)]
pub(super) struct InBridge {
    pub(super) disk: OnDisk,
    pub(super) path: Arc<Path>,
}

impl InBridge {
    fn bridged(&self) -> Result<Option<Arc<Tokens>>, Refusal> {
        let bytes =
            private_file::read(&self.path, self.disk.env.home()).map_err(|e| e.refusal())?;
        let bridge = bytes.map(|bytes| Bridge::parse(&bytes, &self.path)).transpose()?;
        Ok(bridge.and_then(|bridge| bridge.tokens_of(&self.disk.account).cloned()))
    }
}

impl Keeper for InBridge {
    fn stamps(&self) -> Vec<Stamp> {
        let mut stamps = self.disk.stamps();
        stamps.push(private_file::stamp(&self.path));
        stamps
    }

    fn load(&self) -> Result<Vec<Found>, Refusal> {
        let bridged = self.bridged()?.map(|tokens| Found { tokens, place: Place::Bridge });
        match self.disk.load() {
            Ok(found) => Ok(bridged.into_iter().chain(found).collect()),
            Err(refusal) if bridged.is_none() => Err(refusal),
            // A broken file beside a good bridge is not what this login depends on.
            Err(_) => Ok(bridged.into_iter().collect()),
        }
    }

    /// The disk first, always, so that two of us cannot wait for each other.
    fn lock(&self) -> Result<Locks, Refusal> {
        let on_disk = private_file::stamp(&self.disk.path()) != Stamp::Absent;
        let disk = if on_disk { self.disk.lock()?.disk } else { None };
        let bridge = match is_ours(&self.path) {
            true => match LockedFile::acquire(&self.path, self.disk.env.home(), WAIT) {
                Ok(file) => Some(file),
                Err(error @ PrivateFileError::Busy { .. }) => {
                    return Err(Refusal { code: Code::OauthRefreshError, ..error.refusal() });
                }
                // Not writable after all.
                Err(_) => None,
            },
            false => None,
        };
        Ok(Locks { disk, bridge })
    }

    /// A copy of the old tokens in the other place is dead once they are renewed: it goes too.
    fn save(&self, locks: &Locks, old: &Tokens, new: &Tokens) -> Result<Saved, Refusal> {
        let old = old.refresh_fingerprint();
        let mut saved = Saved::ReadOnly;
        if let Some(file) = &locks.disk {
            let here = tokens::load(&self.disk.env, self.disk.name()).ok().flatten();
            if here.is_some_and(|here| here.refresh_fingerprint() == old) {
                tokens::write(file, new)?;
                saved = Saved::Yes;
            }
        }
        if let Some(file) = &locks.bridge
            && let Some(bytes) = file.read().map_err(|error| error.refusal())?
            && let Ok(bridge) = Bridge::parse(&bytes, &self.path)
            && bridge
                .tokens_of(&self.disk.account)
                .is_some_and(|here| here.refresh_fingerprint() == old)
            && let Some(text) = bridge::with_tokens(&bytes, new)
        {
            match file.write(text.expose_secret().as_bytes()) {
                Ok(()) => saved = Saved::Yes,
                // A single file that is mounted cannot be replaced.
                Err(PrivateFileError::Io { kind, .. })
                    if kind != std::io::ErrorKind::StorageFull => {}
                Err(error) => return Err(error.refusal()),
            }
        }
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

fn found_at(tokens: Tokens, place: Place) -> Found {
    Found { tokens: Arc::new(tokens), place }
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
