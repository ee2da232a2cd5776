//! How much of us one caller, one connection, or all of them together may take.
//! Made by `cli`, enforced by `accept` (connections), `connection` (heads) and `handler` (requests
//! of a caller), shown by `/_mp/limits`.
//! Invariant: a slot that was taken is given back however its request ends.

use crate::model::refusal::{Code, Refusal};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// After how many seconds a refused caller may try again.
pub const RETRY: u64 = 1;

/// Descriptors that are no connection: files, logs, timers.
const RESERVED: u64 = 64;

/// The limits in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head.
    pub header_bytes: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// For a request head, and for a TLS handshake.
    pub header_read: Duration,
    /// For the silence between two requests.
    pub keep_alive: Duration,
    /// Connections of callers at a time.
    pub connections: usize,
    /// Requests of one caller at a time.
    pub requests: usize,
    /// What the system allows this process.
    pub descriptors: u64,
}

impl Limits {
    /// No more connections than there are descriptors for: each may need one to Mixpanel too.
    #[must_use]
    pub fn within_descriptors(mut self) -> Self {
        let room = self.descriptors.saturating_sub(RESERVED) / 2;
        self.connections = self.connections.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1);
        self
    }

    /// For `/_mp/limits`.
    #[must_use]
    pub fn json(&self) -> Value {
        self.gauges().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
    }

    /// Each limit by its name, for metrics.
    #[must_use]
    pub fn gauges(&self) -> Vec<(&'static str, u64)> {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        vec![
            ("max_header_bytes", number(self.header_bytes)),
            ("max_headers", number(self.headers)),
            ("header_read_timeout_seconds", self.header_read.as_secs()),
            ("keep_alive_timeout_seconds", self.keep_alive.as_secs()),
            ("max_connections", number(self.connections)),
            ("max_requests_per_caller", number(self.requests)),
            ("max_open_files", self.descriptors),
        ]
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 64 * 1024,
            headers: 100,
            header_read: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            connections: 4096,
            requests: 1024,
            descriptors: 1024,
        }
    }
}

type Counts = HashMap<Arc<str>, Arc<AtomicUsize>>;
/// A list, since they are few, and the names are mostly those that were met.
type Met = Vec<(Arc<str>, Arc<AtomicUsize>)>;

/// Requests in flight, by caller, as one thread sees them: all threads count in the same numbers,
/// and a thread that has met a caller before takes no lock that another one wants.
#[derive(Debug, Default)]
pub struct InFlight {
    all: Arc<Mutex<Counts>>,
    met: Mutex<Met>,
}

impl InFlight {
    /// The same numbers for another thread.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { all: Arc::clone(&self.all), met: Mutex::default() }
    }

    /// How many each caller has now.
    #[must_use]
    pub fn now(&self) -> BTreeMap<String, usize> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |count: &Arc<AtomicUsize>| count.load(Ordering::Relaxed);
        let all = all.iter().map(|(caller, now)| (caller.to_string(), count(now)));
        all.filter(|(_, now)| *now > 0).collect()
    }

    /// Takes a slot for one request.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`: this caller has as many as it may.
    pub fn enter(&self, caller: &Arc<str>, most: usize) -> Result<Counted, Refusal> {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |name: &Arc<str>| Arc::ptr_eq(name, caller) || name == caller;
        let at = met.iter().position(|(name, _)| same(name)).unwrap_or_else(|| {
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            let count = Arc::clone(all.entry(Arc::clone(caller)).or_default());
            met.push((Arc::clone(caller), count));
            met.len() - 1
        });
        Counted::within(&met[at].1, most).ok_or_else(|| {
            Refusal::new(
                Code::LimitExceeded,
                format!("caller `{caller}` has {most} requests in flight"),
            )
            .hint("wait for some of them, or raise --max-requests-per-caller")
            .retry_after(RETRY)
        })
    }
}

/// Why a connection was turned away, or given up before a request was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There were too many.
    TooMany,
    /// What came was not HTTP/1.1.
    Malformed,
    /// A request head had too many bytes or fields.
    TooLarge,
    /// A request head took too long.
    TooSlow,
}

impl Refused {
    const ALL: [Self; 4] = [Self::TooMany, Self::Malformed, Self::TooLarge, Self::TooSlow];

    const fn name(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
        }
    }
}

/// Connections that are open, and those that were refused.
#[derive(Debug, Default)]
pub struct Open {
    now: Arc<AtomicUsize>,
    refused: [AtomicU64; Refused::ALL.len()],
}

impl Open {
    /// How many there are.
    #[must_use]
    pub fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// One more, for as long as the value lives.
    #[must_use]
    pub fn count(&self) -> Counted {
        Counted::new(&self.now)
    }

    /// One was refused.
    pub fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many were refused, by the reason's name.
    #[must_use]
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        let count = |why: Refused| self.refused[why as usize].load(Ordering::Relaxed);
        Refused::ALL.into_iter().map(|why| (why.name(), count(why))).collect()
    }
}

/// One more of something, for as long as this lives.
#[derive(Debug)]
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// Counts it.
    #[must_use]
    pub fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }

    /// Counts it unless there are that many already.
    fn within(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let counted = Self(Arc::clone(count));
        (before < most).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Too many connections.
#[must_use]
pub fn too_many(connections: usize) -> Refusal {
    Refusal::new(Code::LimitExceeded, format!("there are {connections} connections already"))
        .hint("close some, or raise --max-connections and the limit on descriptors")
        .retry_after(RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_given_back_and_callers_do_not_share() {
        let all = InFlight::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let first = all.enter(&a, 2).unwrap();
        let second = all.enter(&a, 2).unwrap();
        let refusal = all.enter(&a, 2).unwrap_err();
        assert_eq!((refusal.code, refusal.retry_after), (Code::LimitExceeded, Some(RETRY)));
        let other = all.enter(&b, 2).unwrap();
        drop(first);
        let third = all.enter(&a, 2).unwrap();
        assert!(all.enter(&a, 2).is_err());
        let elsewhere = all.share();
        assert!(elsewhere.enter(&a, 2).is_err(), "threads count together");
        let now = BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 1)]);
        assert_eq!((all.now(), elsewhere.now()), (now.clone(), now));
        drop((second, third, other));
        assert_eq!(all.now(), BTreeMap::new(), "who has none is not told of");
        let left = all.all.lock().unwrap();
        assert!(left.values().all(|count| count.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn connections_are_counted_while_they_live_and_refusals_for_good() {
        let open = Open::default();
        let refused = |many, malformed, large, slow| {
            let counts = [many, malformed, large, slow];
            ["too_many", "malformed", "too_large", "too_slow"].into_iter().zip(counts).collect()
        };
        let none: Vec<_> = refused(0, 0, 0, 0);
        assert_eq!((open.now(), open.refused()), (0, none));
        let (one, two) = (open.count(), open.count());
        assert_eq!(open.now(), 2);
        drop(one);
        for why in [Refused::TooMany, Refused::TooMany, Refused::Malformed, Refused::TooSlow] {
            open.refuse(why);
        }
        assert_eq!((open.now(), open.refused()), (1, refused(2, 1, 0, 1)));
        drop(two);
        assert_eq!((open.now(), open.refused()), (0, refused(2, 1, 0, 1)));
        let refusal = too_many(7);
        assert_eq!((refusal.code, refusal.retry_after), (Code::LimitExceeded, Some(RETRY)));
    }

    #[test]
    fn connections_fit_the_descriptors() {
        let with = |descriptors| Limits { descriptors, ..Limits::default() }.within_descriptors();
        assert_eq!(with(1024).connections, 480);
        assert_eq!(with(1_000_000).connections, 4096);
        assert_eq!(with(10).connections, 1);
        assert_eq!(with(1024).json()["max_connections"], 480);
        assert_eq!(with(1024).json().as_object().unwrap().len(), with(1024).gauges().len());
    }
}
