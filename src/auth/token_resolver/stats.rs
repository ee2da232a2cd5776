//! What happened to tokens, counted and told. Filled by `login`; read by metrics and audit.
//! Invariant: names and numbers only.

use crate::model::{id::Name, refusal::Code, region::Region};
use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// What happened to the tokens of one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// They were read from where they are kept.
    Loaded,
    /// The server renewed them for us.
    Refreshed,
    /// Somebody else had renewed them.
    Adopted,
    /// They could not be renewed.
    Failed,
    /// The server says that the login has ended.
    Revoked,
}

impl Event {
    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Refreshed => "refreshed",
            Self::Adopted => "adopted",
            Self::Failed => "failed",
            Self::Revoked => "revoked",
        }
    }
}

/// Told of every event, on whatever thread it happens.
pub type Observer = Box<dyn Fn(Event, &Name, Region) + Send + Sync>;

/// How often what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are those of `Event`")]
pub struct Counts {
    pub loaded: u64,
    pub refreshed: u64,
    pub adopted: u64,
    pub failed: u64,
    pub revoked: u64,
}

/// Counters of one process.
#[derive(Default)]
pub struct Stats {
    counters: [AtomicU64; 5],
    observer: OnceLock<Observer>,
}

impl Stats {
    /// The counters as they are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let [loaded, refreshed, adopted, failed, revoked] =
            self.counters.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        Counts { loaded, refreshed, adopted, failed, revoked }
    }

    /// Tells somebody of every event from now on; the first one to ask is told.
    pub fn observe(&self, observer: Observer) {
        let _ = self.observer.set(observer);
    }

    pub(super) fn record(&self, event: Event, account: &Name, region: Region, code: Option<Code>) {
        self.counters[event as usize].fetch_add(1, Ordering::Relaxed);
        let what = event.as_str();
        match code {
            Some(code) => tracing::warn!(%account, %region, code = code.as_str(), "tokens {what}"),
            None if event == Event::Loaded => tracing::debug!(%account, %region, "tokens {what}"),
            None => tracing::info!(%account, %region, "tokens {what}"),
        }
        if let Some(observer) = self.observer.get() {
            observer(event, account, region);
        }
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
