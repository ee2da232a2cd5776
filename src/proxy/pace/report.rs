//! One project's budget in words: what is left, when the next slot comes, who used it. Made for
//! `/_mp/quota` from a lane and for `mp-proxy quota` from a ledger.
//! Invariant: names and numbers only.

use super::{
    counted::Family,
    schedule::{Budget, Left},
};
use crate::store::{
    pacer_ledger::{Ledger, LimitSource},
    pacer_who::Who,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whose budget.
    pub project: String,
    /// Which budget.
    pub family: Family,
    /// The host, as the ledger's directory is called.
    pub host: String,
    /// Requests of the window, those included that wait for their slot.
    pub used: u32,
    /// What is left of it.
    pub remaining: u32,
    /// Requests in a window.
    pub limit: u32,
    /// Who says so.
    pub limit_source: LimitSource,
    /// Seconds until one more request may go.
    pub next_seconds: u64,
    /// Until when a surprise blocks everybody.
    pub blocked_until: Option<f64>,
    /// Requests that the proxy is holding back; a ledger does not tell.
    pub waiting: Option<usize>,
    /// Callers and the accounts that they went as, busiest first.
    pub used_by: Vec<String>,
    /// Where this comes from.
    pub source: Source,
}

/// Who tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A running proxy.
    Proxy,
    /// The file alone.
    Ledger,
}

impl Report {
    /// What a ledger says; `left` is what is left of it by the same budget.
    #[must_use]
    pub fn of(
        (project, host): (String, String),
        budget: &Budget,
        ledger: &Ledger,
        who: &[Who],
        left: Left,
        now: f64,
    ) -> Self {
        let since = now - budget.window;
        Self {
            project,
            family: budget.family,
            host,
            used: left.used,
            remaining: left.remaining,
            limit: left.limit,
            limit_source: match (budget.configured, ledger.learned(now)) {
                (Some(_), _) => LimitSource::Configured,
                (None, Some(_)) => LimitSource::Server,
                (None, None) => LimitSource::Default,
            },
            next_seconds: left.next.ceil() as u64,
            blocked_until: budget.blocked_until(ledger, now),
            waiting: None,
            used_by: used_by(&ledger.sent, who, since),
            source: Source::Ledger,
        }
    }

    /// Whether both speak of the same budget.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        (&self.project, self.family, &self.host) == (&other.project, other.family, &other.host)
    }
}

/// Callers and the accounts that they went as, busiest first; the rest is `mp` or another program.
fn used_by(sent: &[f64], who: &[Who], since: f64) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, who) in Who::of(sent, who).filter(|(at, _)| *at > since) {
        let name = who.map_or_else(
            || "mp or another program".to_owned(),
            |one| format!("{} as {}", one.caller, one.account),
        );
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.into_iter().map(|(name, count)| format!("{name}: {count}")).collect()
}
