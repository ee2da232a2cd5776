//! The pause after a failed refresh. Kept by `login`.
//! Invariant: the tries of one process grow with the logarithm of time, and two processes that
//! fail together do not come back together.

use crate::model::refusal::{Code, Refusal};
use std::{
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Why no refresh is tried just now, if so.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
    standing: Option<Standing>,
}

#[derive(Debug)]
struct Standing {
    refusal: Refusal,
    /// `None`: until a file changes.
    until: Option<Instant>,
}

impl Pause {
    /// A refresh failed.
    pub(super) fn fail(&mut self, now: Instant, refusal: Refusal) {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        let asked = Duration::from_secs(refusal.retry_after.unwrap_or(0)).min(LONGEST);
        // The server was clear that this login has ended: asking again changes nothing.
        let until = (refusal.code != Code::OauthRefreshRevoked)
            .then(|| now + doubled.mul_f64(between(0.5, 1.0)).max(asked));
        self.standing = Some(Standing { refusal, until });
    }

    /// The refusal that stands, with the seconds that are left of it.
    pub(super) fn standing(&self, now: Instant) -> Option<Refusal> {
        let Standing { refusal, until } = self.standing.as_ref()?;
        match until {
            None => Some(refusal.clone()),
            Some(until) => {
                let left = until.checked_duration_since(now).filter(|left| !left.is_zero())?;
                Some(refusal.clone().retry_after(left.as_secs() + 1))
            }
        }
    }

    /// What failed has changed, or went well.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A random number between two.
#[expect(clippy::cast_precision_loss, reason = "a draw needs no 64 bits")]
pub(super) fn between(low: f64, high: f64) -> f64 {
    let draw = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    low + draw * (high - low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_become_rare_and_a_change_ends_the_pause() {
        let start = Instant::now();
        let mut pause = Pause::default();
        assert!(pause.standing(start).is_none());
        let (mut now, mut tries) = (start, 0);
        while now < start + Duration::from_secs(3600) {
            if pause.standing(now).is_none() {
                tries += 1;
                pause.fail(now, Refusal::new(Code::OauthRefreshError, "x"));
            }
            now += Duration::from_millis(100);
        }
        assert!((15..40).contains(&tries), "{tries} tries in an hour");
        assert!(pause.standing(now).is_some_and(|refusal| refusal.retry_after.is_some()));
        pause.clear();
        assert!(pause.standing(now).is_none());
        pause.fail(now, Refusal::new(Code::OauthRefreshError, "x").retry_after(60));
        assert!(pause.standing(now + Duration::from_secs(59)).is_some());
        let left =
            |seconds| pause.standing(now + Duration::from_secs(seconds)).unwrap().retry_after;
        assert!(left(50).unwrap() < left(0).unwrap(), "what is left, rounded up");
        assert!(left(59) >= Some(1), "never at once");
        assert!(pause.standing(now + Duration::from_secs(61)).is_none());
        pause.fail(now, Refusal::new(Code::OauthRefreshRevoked, "x"));
        assert!(pause.standing(now + Duration::from_secs(1_000_000)).is_some());
    }

    #[test]
    fn draws_differ_and_stay_between() {
        let draws: Vec<f64> = (0..100).map(|_| between(5.0, 10.0)).collect();
        assert!(draws.iter().all(|draw| (5.0..=10.0).contains(draw)));
        assert!(draws.windows(2).any(|pair| (pair[0] - pair[1]).abs() > 0.1));
    }
}
