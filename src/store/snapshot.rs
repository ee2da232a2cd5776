//! Config and bridge as they are on disk now, re-read only when they changed.
//! Called once a request and once a command.
//! Invariant: a snapshot never mixes two states of one file, and an answer of the cache is
//! never older than the last write that a `lstat` can see.

use super::{bridge::Bridge, config::Config};
use crate::{
    model::refusal::Refusal,
    sys::{
        env::{Env, MP_AUTH_FILE},
        private_file::{self, PrivateFileError, Stamp},
    },
};
use arc_swap::ArcSwapOption;
use std::{
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};
use zeroize::Zeroizing;

/// How often a read is repeated when files change under it.
const ATTEMPTS: usize = 5;

/// Everything on disk that a session is resolved from, at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The environment of the process.
    pub env: Arc<Env>,
    /// The config; empty if the file does not exist.
    pub config: Result<Config, Refusal>,
    /// The first bridge that exists.
    pub bridge: Result<Option<Bridge>, Refusal>,
    /// Grows whenever the content of a file changed.
    pub generation: u64,
    /// What a careful user would want to know.
    pub warnings: Vec<String>,
}

/// The cache of the newest [`Snapshot`].
#[derive(Debug)]
pub struct SnapshotStore {
    env: Arc<Env>,
    /// The config first, then the bridge candidates.
    paths: Vec<PathBuf>,
    cached: ArcSwapOption<Cached>,
    reading: Mutex<()>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Cached {
    snapshot: Arc<Snapshot>,
    stamps: Vec<Stamp>,
    /// Whether equal stamps prove equal content.
    settled: bool,
    digest: u64,
}

/// What one file held.
type Content = Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError>;

impl SnapshotStore {
    /// A store that has read nothing yet.
    #[must_use]
    pub fn new(env: Arc<Env>) -> Self {
        let paths = env.config_path().into_iter().chain(env.bridge_candidates()).collect();
        let (cached, reading) = (ArcSwapOption::empty(), Mutex::new(()));
        Self { env, paths, cached, reading, hasher: RandomState::new() }
    }

    /// Where the files are, or would be.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The files as they are now. Reads nothing if no file changed.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        if let Some(snapshot) = self.unchanged() {
            return snapshot;
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have read while this one waited.
        self.unchanged().unwrap_or_else(|| self.reload())
    }

    fn unchanged(&self) -> Option<Arc<Snapshot>> {
        let cached = self.cached.load();
        let cached = cached.as_ref()?;
        let same = cached.settled
            && self
                .paths
                .iter()
                .zip(&cached.stamps)
                .all(|(path, old)| private_file::stamp(path) == *old);
        same.then(|| Arc::clone(&cached.snapshot))
    }

    fn stamps(&self) -> Vec<Stamp> {
        self.paths.iter().map(|path| private_file::stamp(path)).collect()
    }

    fn reload(&self) -> Arc<Snapshot> {
        let mut attempt = 1;
        let (stamps, config, bridge, settled) = loop {
            let now = nanos();
            let before = self.stamps();
            let (config, bridge) = read(&self.env);
            let same = before == self.stamps();
            if same || attempt == ATTEMPTS {
                let settled = same && !before.iter().any(|stamp| stamp.is_fresh(now));
                break (before, config, bridge, settled);
            }
            attempt += 1;
        };
        let digest =
            self.hasher.hash_one((key(&config), bridge.as_ref().map(|(p, c)| (p, key(c)))));
        let old = self.cached.load_full();
        let snapshot = match &old {
            Some(old) if old.digest == digest => Arc::clone(&old.snapshot),
            _ => {
                let generation = old.map_or(1, |old| old.snapshot.generation + 1);
                Arc::new(assemble(Arc::clone(&self.env), config, bridge, generation))
            }
        };
        let cached = Cached { snapshot: Arc::clone(&snapshot), stamps, settled, digest };
        self.cached.store(Some(Arc::new(cached)));
        snapshot
    }
}

/// One snapshot without a cache, for commands.
#[must_use]
pub fn load_once(env: &Env) -> Arc<Snapshot> {
    SnapshotStore::new(Arc::new(env.clone())).current()
}

/// There is nowhere to keep a config.
#[must_use]
pub(super) fn no_place() -> Refusal {
    Refusal::config("there is no place for the config: neither `HOME` nor `MP_CONFIG_PATH` is set")
        .hint("set HOME, or MP_CONFIG_PATH")
}

fn nanos() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

/// What a content is told apart by.
fn key(content: &Content) -> Result<Option<&[u8]>, String> {
    match content {
        Ok(bytes) => Ok(bytes.as_ref().map(|bytes| bytes.as_slice())),
        Err(error) => Err(error.to_string()),
    }
}

/// The config's content, and path and content of the first bridge that exists.
fn read(env: &Env) -> (Content, Option<(PathBuf, Content)>) {
    let read = |path: &Path| {
        let content = private_file::read(path, env.home());
        let found = match &content {
            Ok(Some(_)) => "is read",
            Ok(None) => "is not there",
            Err(_) => "is refused",
        };
        tracing::debug!(path = %path.display(), "a file {found}");
        content
    };
    let config = env.config_path().map_or(Ok(None), |path| read(&path));
    let bridge = env.bridge_candidates().into_iter().find_map(|path| match read(&path) {
        Ok(None) => None,
        content => Some((path, content)),
    });
    (config, bridge)
}

fn assemble(
    env: Arc<Env>,
    config: Content,
    bridge: Option<(PathBuf, Content)>,
    generation: u64,
) -> Snapshot {
    let path = env.config_path().unwrap_or_default();
    let config = config.map_err(|error| error.refusal()).and_then(|bytes| {
        bytes.map_or_else(|| Ok(Config::empty()), |bytes| Config::parse(&bytes, &path))
    });
    let mut warnings = Vec::new();
    if bridge.is_none() && env.get(MP_AUTH_FILE).is_some() {
        warnings
            .push(format!("`{MP_AUTH_FILE}` names a file that does not exist; no bridge is used"));
    }
    let bridge = bridge.map_or(Ok(None), |(path, content)| {
        let bytes = content.map_err(|error| error.refusal())?;
        bytes.map(|bytes| Bridge::parse(&bytes, &path)).transpose()
    });
    Snapshot { env, config, bridge, generation, warnings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn workspace(snapshot: &Snapshot) -> u64 {
        snapshot.config.as_ref().unwrap().active().unwrap().workspace.unwrap().get()
    }

    #[test]
    fn every_write_is_seen_and_no_change_reads_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::new([("HOME", dir.path().to_str().unwrap())], dir.path().join("w"));
        let store = SnapshotStore::new(Arc::new(env));
        let config = dir.path().join(".mp/config.toml");
        assert!(store.current().config.as_ref().unwrap().account_names().is_empty());
        for number in 100..300 {
            write(&config, &format!("[active]\nworkspace = {number}\n"));
            assert_eq!(workspace(&store.current()), number);
        }
        std::thread::sleep(Duration::from_millis(60));
        let settled = store.current();
        assert!(store.unchanged().is_some());
        assert!(Arc::ptr_eq(&settled, &store.current()));
        fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
        let broken = store.current();
        assert!(broken.config.as_ref().unwrap_err().hint.as_ref().unwrap().contains("chmod 600"));
        assert_eq!(broken.generation, settled.generation + 1);
    }

    #[test]
    fn the_first_bridge_that_exists_wins() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let text =
            r#"{"account": {"type": "oauth_token", "name": "N", "region": "us", "token": "t"}}"#;
        let (first, second) =
            (dir.path().join(".claude/mixpanel/auth.json"), dir.path().join("mixpanel_auth.json"));
        let env = Env::new([("HOME", home)], dir.path());
        let path =
            || load_once(&env).bridge.as_ref().unwrap().as_ref().map(|bridge| bridge.path.clone());
        assert_eq!(path(), None);
        write(&second, text);
        assert_eq!(path(), Some(second));
        write(&first, text);
        assert_eq!(path(), Some(first.clone()));
        fs::remove_file(&first).unwrap();
        std::os::unix::fs::symlink("nowhere", &first).unwrap();
        assert!(load_once(&env).bridge.is_err());
        let env = Env::new([("HOME", home), (MP_AUTH_FILE, "/nowhere/b.json")], dir.path());
        let snapshot = load_once(&env);
        assert!(snapshot.bridge.as_ref().unwrap().is_none());
        assert_eq!(snapshot.warnings.len(), 1);
    }
}
