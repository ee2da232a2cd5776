//! The ledger of counted requests that `mp` and the proxy share: its file format. Called by
//! `pacer_place`, which knows where it is, and by `proxy::pace`.
//! Invariant: a broken file counts as empty.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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

    /// The limit that the server named, while it is believed; not one of the far future.
    #[must_use]
    pub fn learned(&self, now: f64) -> Option<u32> {
        let fresh = self.learned_at.is_some_and(|at| (-AHEAD..BELIEVED).contains(&(now - at)));
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

#[cfg(test)]
mod tests {
    use super::*;

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
