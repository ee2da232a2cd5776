//! When a login looks at its files and renews its token without being asked to. Part of `login`.
//! Invariant: a login that nobody uses is left to expire.

use super::{keeper::Keeper, login::Login, ready_token::ReadyToken, state::State};
use crate::sys::clock::Moment;
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long an answer of the change check is trusted. A person or a script cannot write a file
/// and send a request in less.
const LOOK: Duration = Duration::from_micros(200);
/// How often traffic asks for a renewal that is due, while it does not come.
const KICK: Duration = Duration::from_secs(1);

/// What was done when.
pub(super) struct Timing {
    next_look: AtomicU64,
    next_kick: AtomicU64,
    /// Whether a request took the token since it came.
    used: AtomicBool,
    born: Instant,
}

impl Timing {
    pub(super) fn new() -> Self {
        Self {
            next_look: AtomicU64::new(0),
            next_kick: AtomicU64::new(0),
            used: AtomicBool::new(false),
            born: Instant::now(),
        }
    }

    /// A token came that nobody used yet.
    pub(super) fn new_token(&self) {
        self.used.store(false, Ordering::Relaxed);
    }

    /// Whether it is time; then the next time is this much later. One thread is told so.
    fn is_due(&self, next: &AtomicU64, every: Duration, now: Moment) -> bool {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let at = micros(now.mono.saturating_duration_since(self.born));
        let due = next.load(Ordering::Relaxed);
        at >= due
            && next
                .compare_exchange(due, at + micros(every), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl<K: Keeper> Login<K> {
    /// Whether the files should be looked at again.
    pub(super) fn is_time_to_look(&self, now: Moment) -> bool {
        self.timing.is_due(&self.timing.next_look, LOOK, now)
    }

    /// A request goes out with this token.
    pub(super) fn take(&self, token: &ReadyToken, now: Moment) {
        if !self.timing.used.load(Ordering::Relaxed) {
            self.timing.used.store(true, Ordering::Relaxed);
        }
        if token.renewal_in(now).is_zero() && self.timing.is_due(&self.timing.next_kick, KICK, now)
        {
            self.renew_in_background();
        }
    }

    /// Renews the token when its time comes, if anybody used it until then: an idle proxy does
    /// not keep a login alive for ever.
    pub(super) fn wake_for(&self, state: &mut State, token: &Arc<ReadyToken>, now: Moment) {
        let (me, token) = (Weak::clone(&self.me), Arc::clone(token));
        let wait = token.renewal_in(now);
        let timer = self.parts.handle.spawn(async move {
            tokio::time::sleep(wait).await;
            let Some(me) = me.upgrade() else { return };
            let same = me.held.load().as_ref().is_some_and(|held| Arc::ptr_eq(held, &token));
            if same && me.timing.used.load(Ordering::Relaxed) {
                me.renew_in_background();
            }
        });
        if let Some(old) = state.timer.replace(timer.abort_handle()) {
            old.abort();
        }
    }
}
