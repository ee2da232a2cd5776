//! The two clocks: the wall clock, in the one unit that token expiry is kept in, and the
//! monotonic one, which no correction moves but which may stand still while a machine sleeps.
//! Called wherever expiry is judged. Invariant: never panics, whatever the clock says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Microseconds since the Unix epoch; 0 for a clock before it.
#[must_use]
pub fn now_micros() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Microseconds since the Unix epoch, as the machine believes.
    pub wall_micros: i64,
    /// Of the monotonic clock.
    pub mono: Instant,
}

/// The clocks as a value; a test can set the wall clock of one.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    set_by_micros: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// A clock whose wall time is off by as many microseconds as the cell says.
    #[must_use]
    pub const fn set_by(micros: Arc<AtomicI64>) -> Self {
        Self { set_by_micros: Some(micros) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Moment {
        let off = self.set_by_micros.as_ref().map_or(0, |micros| micros.load(Ordering::Relaxed));
        Moment { wall_micros: now_micros().saturating_add(off), mono: Instant::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_past_2020_and_can_be_set() {
        assert!(now_micros() > 1_577_836_800_000_000);
        let hour = Clock::set_by(Arc::new(AtomicI64::new(3_600_000_000))).now();
        assert!(hour.wall_micros - Clock::default().now().wall_micros > 3_599_000_000);
    }
}
