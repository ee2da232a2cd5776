//! The counters of one thread, as plain numbers. Written by `observe` under a lock that no
//! other thread wants but a scrape. Invariant: the sum over all shards only grows.

use super::{
    histogram::{Histogram, OWN, UPSTREAM},
    labels::{Known, Labels, Who},
    seen::{AnsweredBy, End, Seen},
};
use std::collections::BTreeMap;

/// What one thread has counted.
#[derive(Debug, Default)]
pub struct Shard {
    known: Known,
    /// The counts themselves.
    pub counts: Counts,
}

/// Counts that can be added up.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// Finished requests.
    pub requests: BTreeMap<Key, u64>,
    /// Bytes and times, by route.
    pub routes: BTreeMap<&'static str, RouteCounts>,
    /// Our own refusals, by code.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Answers that did not reach their end.
    pub cut: u64,
}

/// What requests are told apart by. The number first: it decides most comparisons at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Account and project.
    pub who: Who,
    /// The route's prefix.
    pub route: &'static str,
    /// The method.
    pub method: &'static str,
    /// The status class.
    pub class: &'static str,
}

/// Bytes and times of one route.
#[derive(Debug, Clone)]
pub struct RouteCounts {
    /// Bytes of request bodies.
    pub up: u64,
    /// Bytes of response bodies.
    pub down: u64,
    /// The proxy's own share.
    pub own: Histogram,
    /// The upstream's share.
    pub upstream: Histogram,
}

impl Default for RouteCounts {
    fn default() -> Self {
        Self { up: 0, down: 0, own: Histogram::new(OWN), upstream: Histogram::new(UPSTREAM) }
    }
}

impl Shard {
    /// Counts one finished request.
    pub fn count(&mut self, labels: &Labels, seen: &Seen<'_>) {
        let who = seen
            .whom
            .map_or(Who::NOBODY, |whom| self.known.number(labels, whom.account, whom.project));
        let key = Key { route: seen.route, method: seen.method_label(), class: seen.class(), who };
        let counts = &mut self.counts;
        *counts.requests.entry(key).or_default() += 1;
        let route = counts.routes.entry(seen.route).or_default();
        route.up += seen.bytes_up;
        route.down += seen.bytes_down;
        route.own.observe(seen.times.own);
        match seen.answered_by {
            AnsweredBy::Upstream => route.upstream.observe(seen.times.upstream),
            AnsweredBy::Endpoint | AnsweredBy::Shared | AnsweredBy::Nobody => {}
            AnsweredBy::Refusal { code, .. } => {
                *counts.refusals.entry(code).or_default() += 1;
            }
        }
        counts.cut += u64::from(seen.end == End::Cut);
    }
}

impl Counts {
    /// Adds another thread's.
    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.requests {
            *self.requests.entry(*key).or_default() += count;
        }
        for (name, theirs) in &other.routes {
            let mine = self.routes.entry(name).or_default();
            mine.up += theirs.up;
            mine.down += theirs.down;
            mine.own.add(&theirs.own);
            mine.upstream.add(&theirs.upstream);
        }
        for (code, count) in &other.refusals {
            *self.refusals.entry(code).or_default() += count;
        }
        self.cut += other.cut;
    }
}
