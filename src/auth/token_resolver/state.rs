//! What one login knows: the tokens that it goes by, and why it may not renew them now.
//! Held under a lock by `login`; no IO here.
//! Invariants: files decide, memory only bridges what could not be written or was undone: our
//! own renewal counts for as long as the files hold tokens that it came from.

use super::{
    keeper::{Found, Place},
    pause::Pause,
    ready_token::ReadyToken,
};
use crate::model::{refusal::Refusal, tokens::Tokens};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::AbortHandle};

/// Rotated refresh tokens that are remembered.
const REMEMBERED: usize = 32;
/// Rejections of tokens that were new are answered by a refresh so often without a pause.
const FREE_STRIKES: u32 = 2;
/// A token that is rejected within this time was new.
const NEW: Duration = Duration::from_secs(60);

/// How a refresh ended.
pub(super) type Outcome = Result<Arc<ReadyToken>, Refusal>;

#[derive(Default)]
pub(super) struct State {
    /// What is gone by.
    pub(super) current: Option<Found>,
    /// Why there is nothing to go by.
    pub(super) broken: Option<Refusal>,
    /// What was renewed last.
    memory: Option<Arc<Tokens>>,
    /// Whether a file holds what we renewed, and could hold what came of it.
    pub(super) unsaved: bool,
    /// Whether somebody is at it.
    pub(super) saving: bool,
    /// There is a file that cannot be written.
    pub(super) read_only: bool,
    /// Fingerprints of refresh tokens that were rotated away.
    spent: VecDeque<String>,
    pub(super) pause: Pause,
    pub(super) flight: Option<watch::Receiver<Option<Outcome>>>,
    pub(super) timer: Option<AbortHandle>,
    strikes: u32,
    strike_pause: Option<Instant>,
}

impl State {
    /// Chooses among what was found: usable before not, renewable before not, and of these the
    /// one that expires last; of equals the one on disk, which other programs share.
    pub(super) fn choose(&mut self, found: Vec<Found>, wall_micros: i64) {
        let mut all = found;
        self.unsaved = false;
        if let Some(memory) = self.memory.clone() {
            let own = memory.refresh_fingerprint();
            let of_us = |one: &Found| {
                let print = one.tokens.refresh_fingerprint();
                print == own || print.is_some_and(|print| self.spent.contains(&print))
            };
            let old = |one: &Found| one.tokens.expires_at_micros < memory.expires_at_micros;
            if all.iter().any(of_us) {
                self.unsaved = !self.read_only && all.iter().any(|one| of_us(one) && old(one));
                all.push(Found { tokens: memory, place: Place::Memory });
            } else {
                self.memory = None;
            }
        }
        self.current = all.into_iter().max_by_key(|one| {
            let tokens = &one.tokens;
            let renewable = tokens.refresh_fingerprint().is_some_and(|p| !self.spent.contains(&p));
            let shared = match one.place {
                Place::Disk => 3,
                Place::Bridge => 2,
                Place::Copy => 1,
                Place::Memory => 0,
            };
            // Quirks B1-B3: of those that are good the one that lasts longest; only where none is
            // good does it count which of them can be renewed.
            let good_until = (!tokens.is_expired(wall_micros)).then_some(tokens.expires_at_micros);
            (good_until, renewable, tokens.expires_at_micros, shared)
        });
    }

    /// Remembers a renewal.
    pub(super) fn renewed(&mut self, old: &Tokens, new: &Arc<Tokens>) {
        let (before, after) = (old.refresh_fingerprint(), new.refresh_fingerprint());
        if let Some(before) = before.filter(|before| after.as_ref() != Some(before)) {
            if self.spent.len() == REMEMBERED {
                self.spent.pop_front();
            }
            self.spent.push_back(before);
        }
        self.memory = Some(Arc::clone(new));
        self.pause.clear();
    }

    /// Whether a token that the server rejects may be renewed now: at once if we had it for a
    /// while, with growing pauses if renewing does not help.
    pub(super) fn may_replace(&mut self, age: Duration, now: Instant) -> bool {
        if age >= NEW {
            self.strikes = 0;
        } else if self.strike_pause.is_some_and(|until| now < until) {
            return false;
        }
        self.strikes += 1;
        self.strike_pause = self
            .strikes
            .checked_sub(FREE_STRIKES)
            .map(|over| now + Duration::from_secs(5).saturating_mul(1 << over.min(7)));
        true
    }
}
