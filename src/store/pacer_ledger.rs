//! The ledger of counted requests that `mp` and the proxy share: one file per host and project,
//! `{root}/pacer/{host}/{project}-query.json`, and beside it what only we need: who it was.
//! Called by `proxy::pace` and by `mp-proxy quota`.
//! Invariants: a broken file counts as empty and never stops a request; nothing is written
//! without the lock that `mp` takes too (`….json.lock`).

use crate::sys::{
    env::Env,
    locked_file::LockedFile,
    private_file::{self, PrivateFileError},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long somebody else may hold the lock.
const PATIENCE: Duration = Duration::from_secs(1);
/// Entries further ahead than this are nonsense.
const AHEAD: f64 = 24.0 * 3600.0;
/// How long a limit that the server named is believed.
const BELIEVED: f64 = 7.0 * 24.0 * 3600.0;

/// Where the limit of a ledger comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitSource {
    /// Nobody said.
    #[default]
    Default,
    /// A user said.
    Configured,
    /// The server said.
    Server,
}

/// The file; times in seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    v: u32,
    /// Requests in a window.
    pub limit: u32,
    /// Who says so.
    #[serde(default)]
    pub limit_source: LimitSource,
    /// When the server said so.
    #[serde(default)]
    pub learned_at: Option<f64>,
    /// Nothing may be sent before.
    #[serde(default)]
    pub blocked_until: Option<f64>,
    /// When that was found out.
    #[serde(default)]
    pub blocked_at: Option<f64>,
    /// How many such surprises in a row.
    #[serde(default)]
    pub blocked_streak: u32,
    /// When requests were, or will be, sent; in order.
    #[serde(default)]
    pub sent: Vec<f64>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new(60)
    }
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            v: 1,
            limit,
            limit_source: LimitSource::Default,
            learned_at: None,
            blocked_until: None,
            blocked_at: None,
            blocked_streak: 0,
            sent: Vec::new(),
            other: Map::new(),
        }
    }

    /// Parses the file; what is broken is empty.
    #[must_use]
    pub fn parse(bytes: &[u8], limit: u32, now: f64) -> Self {
        let parsed = serde_json::from_slice::<Self>(bytes).ok().filter(|ledger| ledger.v == 1);
        let mut ledger = parsed.unwrap_or_else(|| Self::new(limit));
        ledger.sent.retain(|at| at.is_finite() && *at > 0.0 && *at < now + AHEAD);
        ledger.sent.sort_by(f64::total_cmp);
        ledger
    }

    /// The limit that the server named, while it is believed.
    #[must_use]
    pub fn learned(&self, now: f64) -> Option<u32> {
        let fresh = self.learned_at.is_some_and(|at| now - at < BELIEVED);
        (self.limit_source == LimitSource::Server && fresh && self.limit > 0).then_some(self.limit)
    }

    /// Adds an entry.
    pub fn add(&mut self, at: f64) {
        let place = self.sent.partition_point(|have| *have <= at);
        self.sent.insert(place, at);
    }

    /// Takes an entry back; says whether it was there.
    pub fn remove(&mut self, at: f64) -> Option<f64> {
        let place = self.sent.iter().position(|have| same(*have, at))?;
        Some(self.sent.remove(place))
    }

    /// Forgets what no window can see any more.
    pub fn prune(&mut self, before: f64) {
        self.sent.retain(|at| *at >= before);
    }

    /// How many entries lie after `since`, those to come included.
    #[must_use]
    pub fn used(&self, since: f64) -> usize {
        self.sent.len() - self.sent.partition_point(|at| *at <= since)
    }
}

/// Whether two times are the same entry: what was written by another program may differ in the
/// last digit.
#[must_use]
pub fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < 0.000_002
}

/// Who an entry belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Who {
    /// The entry.
    pub at: f64,
    /// The caller of the proxy.
    pub caller: String,
    /// The account that it went as.
    pub account: String,
    /// The process of the proxy.
    pub pid: u32,
}

impl Who {
    /// Takes the name of an entry that this process made off the list. Entries of several may lie
    /// at the same time: only one goes.
    pub fn forget(names: &mut Vec<Self>, at: f64) {
        let own = std::process::id();
        if let Some(place) = names.iter().position(|one| one.pid == own && same(one.at, at)) {
            names.remove(place);
        }
    }

    /// The name of each entry; `None` for those of other programs. Where several entries lie at
    /// the same time, each name stands for one of them.
    pub fn of<'a>(
        sent: &'a [f64],
        names: &'a [Self],
    ) -> impl Iterator<Item = (f64, Option<&'a Self>)> {
        let mut left: Vec<&Self> = names.iter().collect();
        left.sort_by(|a, b| b.at.total_cmp(&a.at));
        sent.iter().map(move |at| {
            // Both are in order, the names backwards.
            while left.last().is_some_and(|one| one.at < *at && !same(one.at, *at)) {
                left.pop();
            }
            (*at, left.pop_if(|one| same(one.at, *at)))
        })
    }
}

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

    #[test]
    fn broken_is_empty_and_the_far_future_is_dropped() {
        for text in ["", "{", "[]", r#"{"v": 2, "limit": 5, "sent": [1]}"#, r#"{"v": 1}"#, "null"] {
            assert_eq!(Ledger::parse(text.as_bytes(), 60, 10.0), Ledger::new(60), "{text}");
        }
        let text = br#"{"v": 1, "limit": 5, "limit_source": "server", "learned_at": 5, "sent": [9, 3, 1e9], "x": 1}"#;
        let ledger = Ledger::parse(text, 60, 10.0);
        assert_eq!((ledger.sent.as_slice(), ledger.learned(10.0)), (&[3.0, 9.0][..], Some(5)));
        assert_eq!(ledger.learned(10.0 + BELIEVED), None);
        assert!(serde_json::to_string(&ledger).unwrap().contains("\"x\":1"));
    }

    #[test]
    fn a_name_stands_for_one_entry_of_several_at_a_time() {
        let who = |at, pid| Who { at, caller: pid_name(pid), account: "team".into(), pid };
        let own = std::process::id();
        let mut names = vec![who(2.0, own), who(2.000_000_4, own + 1), who(9.0, own)];
        let said = |names: &[Who]| -> Vec<_> {
            Who::of(&[1.0, 2.0, 2.0, 2.0, 3.0, 9.0], names)
                .map(|(_, who)| who.map(|who| who.pid))
                .collect()
        };
        assert_eq!(said(&names), [None, Some(own), Some(own + 1), None, None, Some(own)]);
        Who::forget(&mut names, 2.0);
        assert_eq!(said(&names), [None, Some(own + 1), None, None, None, Some(own)]);
        Who::forget(&mut names, 2.0);
        assert_eq!(names.len(), 2, "the name of another process");
    }

    fn pid_name(pid: u32) -> String {
        format!("caller-{pid}")
    }

    #[test]
    fn entries_come_and_go() {
        let mut ledger = Ledger::new(60);
        for at in [3.0, 1.0, 2.0] {
            ledger.add(at);
        }
        assert_eq!(
            (ledger.used(1.5), ledger.remove(2.000_000_3), ledger.remove(2.0)),
            (2, Some(2.0), None)
        );
        ledger.prune(2.0);
        assert_eq!(ledger.sent, [3.0]);
    }
}
