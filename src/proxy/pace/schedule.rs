//! When the next request of a project may be sent: pure arithmetic on a ledger. Called by the
//! pacer's thread, by the answer's `X-Mp-Quota` and by `mp-proxy quota`.
//! Invariant: a slot that was given keeps every window of the budget within its limit.

use super::counted::Family;
use crate::store::pacer_ledger::{Ledger, LimitSource};

/// The longest time that one surprise blocks, in windows.
const LONGEST: f64 = 1.0;

/// The budget of one family of requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Which requests.
    pub family: Family,
    /// Requests in a window, unless the server or a user says otherwise.
    pub limit: u32,
    /// What a user said.
    pub configured: Option<u32>,
    /// The length of the window in seconds.
    pub window: f64,
    /// Requests in a second.
    pub per_second: Option<u32>,
    /// Requests in flight at once.
    pub at_once: Option<u32>,
}

/// What is left of a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Left {
    /// Requests in a window.
    pub limit: u32,
    /// Of them used, those included that wait for their slot.
    pub used: u32,
    /// Of them left.
    pub remaining: u32,
    /// Seconds until the next slot.
    pub next: f64,
}

impl Budget {
    /// What lies between the end of a window and the next use of its slot.
    #[must_use]
    pub fn margin(&self) -> f64 {
        (self.window / 360.0).clamp(0.5, 10.0)
    }

    /// The limit in force.
    #[must_use]
    pub fn limit(&self, ledger: &Ledger, now: f64) -> u32 {
        self.configured.or_else(|| ledger.learned(now)).unwrap_or(self.limit).max(1)
    }

    /// The earliest time at which one more request may be sent.
    #[must_use]
    pub fn slot(&self, ledger: &Ledger, now: f64) -> f64 {
        let limit = self.limit(ledger, now) as usize;
        let mut slot = now.max(self.blocked_until(ledger, now).unwrap_or(0.0));
        let mut after = |limit: usize, seconds: f64| {
            if let Some(place) = ledger.sent.len().checked_sub(limit) {
                slot = slot.max(ledger.sent[place] + seconds);
            }
        };
        after(limit, self.window + self.margin());
        if let Some(limit) = self.per_second {
            after(limit as usize, 1.05);
        }
        slot
    }

    /// Until when a surprise blocks everybody. No surprise blocks longer than a window: what
    /// claims to was written before the clock was set back.
    #[must_use]
    pub fn blocked_until(&self, ledger: &Ledger, now: f64) -> Option<f64> {
        ledger.blocked_until.filter(|until| *until > now && *until <= now + self.window * LONGEST)
    }

    /// What is left in the window that ends now; nothing is sent before `held`.
    #[must_use]
    pub fn left(&self, ledger: &Ledger, held: f64, now: f64) -> Left {
        let used = u32::try_from(ledger.used(now - self.window)).unwrap_or(u32::MAX);
        let limit = self.limit(ledger, now);
        let blocked = self.blocked_until(ledger, now).is_some();
        Left {
            limit,
            used,
            remaining: if blocked { 0 } else { limit.saturating_sub(used) },
            next: (self.slot(ledger, now).max(held) - now).max(0.0),
        }
    }

    /// The server says that the window is full, `after` seconds being its own advice: if the
    /// ledger cannot explain that, somebody who keeps none is using the same project.
    pub fn tripped(&self, ledger: &mut Ledger, now: f64, after: Option<f64>) {
        let limit = self.limit(ledger, now);
        if ledger.used(now - self.window) >= limit as usize {
            return;
        }
        let step =
            self.window / f64::from(limit) * 2_f64.powi(ledger.blocked_streak.min(12) as i32);
        let wait = step.max(after.unwrap_or(0.0)).min(self.window * LONGEST);
        ledger.blocked_until = Some(ledger.blocked_until.unwrap_or(0.0).max(now + wait));
        ledger.blocked_at = Some(now);
        ledger.blocked_streak = ledger.blocked_streak.saturating_add(1);
    }

    /// Notes the limit that the server named; a user's word stands above it.
    pub fn learn(&self, ledger: &mut Ledger, limit: u32, now: f64) {
        ledger.limit = limit;
        ledger.limit_source = LimitSource::Server;
        ledger.learned_at = Some(now);
    }
}

/// A request went through: the surprises are over.
pub fn cleared(ledger: &mut Ledger) {
    ledger.blocked_streak = 0;
    ledger.blocked_until = None;
    ledger.blocked_at = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: Budget = Budget {
        family: Family::Query,
        limit: 60,
        configured: None,
        window: 3600.0,
        per_second: None,
        at_once: Some(5),
    };

    #[test]
    fn the_sixty_first_waits_for_the_first() {
        let mut ledger = Ledger::new(60);
        let now = 1_000_000.0;
        for number in 0..60 {
            assert_eq!(QUERY.slot(&ledger, now + f64::from(number)), now + f64::from(number));
            ledger.add(now + f64::from(number));
        }
        let left = QUERY.left(&ledger, 0.0, now + 60.0);
        assert_eq!((left.used, left.remaining, left.next), (60, 0, 3550.0));
        assert_eq!(QUERY.left(&ledger, now + 9000.0, now + 60.0).next, 8940.0);
        for number in 0..5 {
            let slot = QUERY.slot(&ledger, now + 100.0);
            assert_eq!(slot, now + f64::from(number) + 3610.0);
            ledger.add(slot);
        }
        assert_eq!(
            Budget { configured: Some(100), ..QUERY }.slot(&ledger, now + 100.0),
            now + 100.0
        );
        ledger.limit_source = LimitSource::Server;
        (ledger.limit, ledger.learned_at) = (10, Some(now));
        assert_eq!(QUERY.limit(&ledger, now), 10);
    }

    #[test]
    fn whatever_the_arrivals_no_window_is_overfull() {
        // A stubborn generator of arrivals, bursts and pauses.
        let (mut state, mut now) = (7_u64, 1_000_000.0);
        let budget = Budget { configured: Some(7), window: 100.0, ..QUERY };
        let mut ledger = Ledger::new(60);
        for _ in 0..2000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            now += f64::from((state >> 59) as u32);
            if state >> 33 & 7 == 0 && !ledger.sent.is_empty() {
                let place = (state >> 40) as usize % ledger.sent.len();
                let at = ledger.sent[place];
                ledger.remove(at);
            }
            let slot = budget.slot(&ledger, now);
            ledger.add(slot);
        }
        for (place, at) in ledger.sent.iter().enumerate() {
            let earlier = ledger.sent[..=place].iter().filter(|one| **one > at - 100.0).count();
            assert!(earlier <= 7, "{earlier} within the window that ends at {at}");
        }
    }

    #[test]
    fn three_a_second() {
        let budget = Budget { per_second: Some(3), at_once: None, ..QUERY };
        let mut ledger = Ledger::new(60);
        for _ in 0..3 {
            ledger.add(100.0);
        }
        assert!((budget.slot(&ledger, 100.0) - 101.05).abs() < 1e-9);
    }

    #[test]
    fn surprises_block_longer_and_longer() {
        let mut ledger = Ledger::new(60);
        for (wait, advice) in [(60.0, None), (120.0, None), (900.0, Some(900.0)), (480.0, None)] {
            ledger.blocked_until = None;
            QUERY.tripped(&mut ledger, 1000.0, advice);
            assert_eq!(ledger.blocked_until, Some(1000.0 + wait));
            assert_eq!(QUERY.slot(&ledger, 1000.0), 1000.0 + wait);
        }
        assert_eq!(QUERY.left(&ledger, 0.0, 1000.0).remaining, 0);
        // The clock was set back by a day: that block is nobody's any more.
        ledger.blocked_until = Some(1000.0 + 86_400.0);
        assert_eq!(QUERY.slot(&ledger, 1000.0), 1000.0);
        cleared(&mut ledger);
        assert_eq!(QUERY.slot(&ledger, 1000.0), 1000.0);
        for _ in 0..60 {
            ledger.add(1000.0);
        }
        QUERY.tripped(&mut ledger, 1001.0, None);
        assert_eq!(ledger.blocked_until, None, "a full ledger explains it");
    }
}
