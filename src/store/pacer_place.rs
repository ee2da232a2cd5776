//! Where ledgers are, `{root}/pacer/{host}/{project}-query.json`, and beside each what only we
//! need: who it was. Called by `proxy::pace` and by `mp-proxy quota`.
//! Invariants: a ledger never stops a request; nothing is written without the lock that `mp`
//! takes too (`….json.lock`).

use super::{pacer_ledger::Ledger, pacer_who::Who};
use crate::sys::{
    env::Env,
    locked_file::LockedFile,
    private_file::{self, PrivateFileError},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long somebody else may hold the lock.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Serialize, Deserialize)]
struct WhoFile {
    v: u32,
    #[serde(default)]
    sent: Vec<Who>,
}

/// Where one ledger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The ledger.
    pub path: PathBuf,
    home: Option<PathBuf>,
}

impl Place {
    /// The ledger of a host and project; `family` is `query` or `export`. `None` without a
    /// storage root.
    #[must_use]
    pub fn of(env: &Env, host: &str, project: &str, family: &str) -> Option<Self> {
        let name = format!("{}-{family}.json", plain(project));
        let path = env.storage_root()?.join("pacer").join(plain(host)).join(name);
        Some(Self { path, home: env.home().map(Path::to_path_buf) })
    }

    /// The ledger as it is, without the lock; empty if there is none.
    #[must_use]
    pub fn peek(&self, limit: u32, now: f64) -> Ledger {
        let bytes = private_file::read(&self.path, self.home.as_deref()).ok().flatten();
        Ledger::parse(&bytes.unwrap_or_default(), limit, now)
    }

    /// Who sent what, without the lock.
    #[must_use]
    pub fn peek_who(&self) -> Vec<Who> {
        let bytes = private_file::read(&self.who(), self.home.as_deref()).ok().flatten();
        serde_json::from_slice::<WhoFile>(&bytes.unwrap_or_default()).unwrap_or_default().sent
    }

    /// Changes ledger and names under the lock: one read, one write. Blocks the thread.
    ///
    /// # Errors
    /// A lock that is held for a second, or the system's own refusal; nothing was changed then.
    pub fn change<T>(
        &self,
        limit: u32,
        now: f64,
        act: impl FnOnce(&mut Ledger, &mut Vec<Who>) -> T,
    ) -> Result<T, PrivateFileError> {
        let lock = suffixed(&self.path, ".lock");
        let file = LockedFile::acquire_with(&self.path, self.home.as_deref(), PATIENCE, &lock)?;
        let mut ledger = Ledger::parse(&file.read()?.unwrap_or_default(), limit, now);
        let mut who = self.peek_who();
        let (before, names) = (ledger.clone(), who.clone());
        let done = act(&mut ledger, &mut who);
        if ledger != before {
            file.write_unsynced(&serde_json::to_vec(&ledger).unwrap_or_default())?;
        }
        if who != names {
            let text = serde_json::to_vec(&WhoFile { v: 1, sent: who }).unwrap_or_default();
            // Under the ledger's lock; its own would be one more file to leave behind.
            let own = LockedFile::acquire_with(
                &self.who(),
                self.home.as_deref(),
                PATIENCE,
                &suffixed(&self.who(), ".lock"),
            )?;
            own.write_unsynced(&text)?;
        }
        Ok(done)
    }

    /// The file that stands for one of the requests that may be in flight at once.
    #[must_use]
    pub fn slot(&self, number: u32) -> PathBuf {
        self.path.with_extension(format!("slot-{number}"))
    }

    /// The home directory, below which no link is followed.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The host, as its directory is called.
    #[must_use]
    pub fn host(&self) -> String {
        let name = self.path.parent().and_then(Path::file_name);
        name.unwrap_or_default().to_string_lossy().into_owned()
    }

    fn who(&self) -> PathBuf {
        self.path.with_extension("who")
    }
}

/// A ledger that is there.
#[derive(Debug)]
pub struct Found {
    /// The host, as its directory is called.
    pub host: String,
    /// The project.
    pub project: String,
    /// `query` or `export`.
    pub family: String,
    /// The file.
    pub place: Place,
}

/// Every ledger below the storage root.
#[must_use]
pub fn all(env: &Env) -> Vec<Found> {
    let Some(root) = env.storage_root().map(|root| root.join("pacer")) else { return Vec::new() };
    let names = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for host in names(&root) {
        for name in names(&root.join(&host)) {
            let parts = name.strip_suffix(".json").and_then(|stem| stem.rsplit_once('-'));
            let Some((project, family)) = parts else { continue };
            found.push(Found {
                project: project.to_owned(),
                family: family.to_owned(),
                place: Place {
                    path: root.join(&host).join(&name),
                    home: env.home().map(Path::to_path_buf),
                },
                host: host.clone(),
            });
        }
    }
    found
}

fn suffixed(path: &Path, end: &str) -> OsString {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    name
}

/// A host or project as a file name.
fn plain(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    text.chars().take(100).map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_file_is_the_one_that_mp_has() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::new([("HOME", dir.path().to_str().unwrap())], "/");
        let place = Place::of(&env, "127.0.0.1:80", "12", "query").unwrap();
        assert!(place.path.ends_with(".mp/pacer/127.0.0.1_80/12-query.json"));
        let who = Who { at: 100.5, caller: "local".into(), account: "team".into(), pid: 1 };
        place
            .change(60, 100.0, |ledger, names| {
                ledger.add(100.5);
                names.push(who.clone());
            })
            .unwrap();
        let text = std::fs::read_to_string(&place.path).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"v": 1, "limit": 60, "limit_source": "default", "learned_at": null,
                "blocked_until": null, "blocked_at": null, "blocked_streak": 0, "sent": [100.5]})
        );
        assert_eq!(place.peek_who(), [who]);
        assert!(place.path.with_file_name("12-query.json.lock").exists());
    }
}
