//! The rules in force: those of the flags, and those of the file as it is now. Called by
//! `handler` for each request, by `health` and by metrics.
//! Invariant: a file that was good once is never replaced by none or by a broken one.

use crate::{
    model::{policy::Rules, refusal::Refusal},
    store::policy_file,
    sys::{
        clock,
        private_file::{Stamp, stamp},
    },
};
use arc_swap::ArcSwap;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How old an answer may be, in microseconds.
const AGE: i64 = 200_000;
/// How long a file that is written all the time is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the policy file is, and whether it has to be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// Named by the user: it has to exist.
    Named(PathBuf),
    /// The usual place: it may be missing.
    Usual(PathBuf),
    /// Nowhere.
    #[default]
    None,
}

/// The rules of one moment.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    /// The flags' rules, then the file's.
    pub sets: Vec<Rules>,
    /// Why the newest state of the file is not in force.
    pub stale: Option<Refusal>,
    /// Grows with every change that took effect.
    pub generation: u64,
}

/// What was seen of the file.
#[derive(Debug, Default)]
struct Seen {
    /// Its stamp, if an equal one proves an equal content.
    stamp: Option<Stamp>,
    /// Since when it is being written.
    unsettled: Option<Instant>,
}

/// The rules, followed while the proxy runs.
#[derive(Debug)]
pub struct LivePolicy {
    path: Option<PathBuf>,
    flags: Option<Rules>,
    now: ArcSwap<InForce>,
    looked: AtomicI64,
    seen: Mutex<Seen>,
    failures: AtomicU64,
}

impl LivePolicy {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// A file that is wrong, or missing although it was named.
    pub fn start(place: Place, flags: Rules) -> Result<Self, Refusal> {
        let (path, must) = match place {
            Place::Named(path) => (Some(path), true),
            Place::Usual(path) => (Some(path), false),
            Place::None => (None, false),
        };
        let seen = path.as_deref().map(stamps);
        let file = path.as_deref().map_or(Ok(None), policy_file::load)?;
        if let (Some(path), true, None) = (&path, must, &file) {
            return Err(missing(path));
        }
        let flags =
            (flags != Rules { source: flags.source.clone(), ..Rules::default() }).then_some(flags);
        let sets = flags.iter().cloned().chain(file).collect();
        Ok(Self {
            path,
            flags,
            now: ArcSwap::from_pointee(InForce { sets, stale: None, generation: 1 }),
            looked: AtomicI64::new(clock::now_micros()),
            seen: Mutex::new(Seen { stamp: seen.flatten(), unsettled: None }),
            failures: AtomicU64::new(0),
        })
    }

    /// The rules in force, at most 0.2 s behind the file.
    #[must_use]
    pub fn current(&self) -> Arc<InForce> {
        if let Some(path) = &self.path {
            let now = clock::now_micros();
            let looked = self.looked.load(Ordering::Relaxed);
            // A clock that was set back must not stop the looking.
            let due = now - looked > AGE || now < looked;
            if due
                && self
                    .looked
                    .compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                self.look(path);
            }
        }
        self.now.load_full()
    }

    /// How many changes were broken.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn look(&self, path: &Path) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamps(path);
        if stamp.is_some() && seen.stamp == stamp {
            return;
        }
        // SECURITY: written a moment ago, so perhaps by halves: a beginning with fewer rules must
        // not be in force for even a moment.
        if stamp.is_none() && seen.unsettled.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
            return;
        }
        *seen = Seen { stamp, unsettled: None };
        let old = self.now.load_full();
        let read = policy_file::load(path).and_then(|file| match file {
            None if old.sets.len() > usize::from(self.flags.is_some()) => Err(missing(path)),
            file => Ok(file),
        });
        match read {
            Ok(file) => {
                let sets: Vec<Rules> = self.flags.iter().cloned().chain(file).collect();
                if sets == old.sets && old.stale.is_none() {
                    return;
                }
                let generation = old.generation + 1;
                tracing::info!(path = %path.display(), generation, "policy changed");
                self.now.store(Arc::new(InForce { sets, stale: None, generation }));
            }
            Err(refusal) => {
                let same = old.stale.as_ref() == Some(&refusal);
                if same {
                    return;
                }
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    code = refusal.code.as_str(),
                    "the changed policy is not used, the old one stays in force: {refusal}"
                );
                self.now.store(Arc::new(InForce { stale: Some(refusal), ..(*old).clone() }));
            }
        }
    }
}

/// The stamp of the file; `None` if a further write could leave the same one, or if it is a
/// link, whose own stamp says nothing of the file.
fn stamps(path: &Path) -> Option<Stamp> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let found = stamp(&real);
    (!found.is_fresh(i128::from(clock::now_micros()) * 1000)).then_some(found)
}

fn missing(path: &Path) -> Refusal {
    Refusal::config(format!("policy file `{}` does not exist", path.display()))
        .hint("create it after config/proxy.example.toml, or correct --policy-file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Access;
    use std::fs;

    fn settle(live: &LivePolicy, done: impl Fn(&InForce) -> bool) -> Arc<InForce> {
        for _ in 0..200 {
            let now = live.current();
            if done(&now) {
                return now;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the change did not take effect")
    }

    #[test]
    fn a_good_change_takes_effect_and_a_broken_one_keeps_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.toml");
        let live = LivePolicy::start(Place::Usual(path.clone()), Rules::default()).unwrap();
        assert!(live.current().sets.is_empty());
        fs::write(&path, "[proxy]\nread_only = true\n").unwrap();
        let now = settle(&live, |now| now.generation == 2);
        assert_eq!(now.sets[0].access, Access::ReadOnly);
        fs::write(&path, "[proxy]\nread_onyl = true\n").unwrap();
        let now = settle(&live, |now| now.stale.is_some());
        assert_eq!((now.sets[0].access, live.failures()), (Access::ReadOnly, 1));
        assert!(now.stale.as_ref().unwrap().message.contains("proxy.toml:2"));
        fs::remove_file(&path).unwrap();
        let now = settle(&live, |now| {
            now.stale.as_ref().is_some_and(|stale| stale.message.contains("does not exist"))
        });
        assert_eq!(now.sets[0].access, Access::ReadOnly);
        fs::write(&path, "[proxy]\nread_only = false\n").unwrap();
        let now = settle(&live, |now| now.stale.is_none());
        assert_eq!(now.sets[0].access, Access::Full);
    }

    #[test]
    fn a_file_that_is_written_by_halves_never_counts_as_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.toml");
        fs::write(&path, "[proxy]\nread_only = true\n").unwrap();
        let live = LivePolicy::start(Place::Named(path.clone()), Rules::default()).unwrap();
        for round in 0..4 {
            std::thread::sleep(Duration::from_micros(AGE as u64 + 60_000));
            fs::write(&path, "[proxy]\n").unwrap();
            assert_eq!(live.current().sets[0].access, Access::ReadOnly, "at once");
            fs::write(&path, format!("[proxy]\n# {round}\nread_only = true\n")).unwrap();
        }
        fs::write(&path, "[proxy]\n").unwrap();
        settle(&live, |now| now.sets[0].access == Access::Full);
    }

    #[test]
    fn a_wrong_or_missing_file_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.toml");
        let start = |place| LivePolicy::start(place, Rules::default());
        assert!(start(Place::Named(path.clone())).unwrap_err().message.contains("does not exist"));
        fs::write(&path, "[proxy]\nx = 1\n").unwrap();
        assert!(start(Place::Usual(path)).unwrap_err().message.contains("proxy.toml:2"));
        assert!(start(Place::None).is_ok());
    }
}
