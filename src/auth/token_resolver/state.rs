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

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    const HOUR: i64 = 3_600_000_000;

    fn tokens(word: &str, expires_at_micros: i64) -> Arc<Tokens> {
        Arc::new(Tokens {
            access_token: SecretString::from(format!("a-{word}")),
            refresh_token: (word != "none").then(|| SecretString::from(format!("r-{word}"))),
            expires_at_micros,
            scope: String::new(),
            token_type: "Bearer".into(),
            client_id: None,
            lifetime_seconds: None,
            login: None,
        })
    }

    fn at(place: Place, word: &str, expires_at_micros: i64) -> Found {
        Found { tokens: tokens(word, expires_at_micros), place }
    }

    fn chosen(state: &mut State, found: Vec<Found>) -> (Place, Option<String>) {
        state.choose(found, 10 * HOUR);
        let current = state.current.as_ref().unwrap();
        (current.place, current.tokens.refresh_fingerprint())
    }

    #[test]
    fn good_before_renewable_before_late() {
        let mut state = State::default();
        let print = |word: &str| tokens(word, 0).refresh_fingerprint();
        let good = vec![at(Place::Disk, "a", 11 * HOUR), at(Place::Bridge, "b", 12 * HOUR)];
        assert_eq!(chosen(&mut state, good), (Place::Bridge, print("b")));
        let equal = vec![at(Place::Bridge, "b", 12 * HOUR), at(Place::Disk, "a", 12 * HOUR)];
        assert_eq!(chosen(&mut state, equal), (Place::Disk, print("a")));
        let one_good = vec![at(Place::Disk, "none", 11 * HOUR), at(Place::Bridge, "b", 9 * HOUR)];
        assert_eq!(chosen(&mut state, one_good), (Place::Disk, None));
        let none_good = vec![at(Place::Disk, "none", 9 * HOUR), at(Place::Bridge, "b", 8 * HOUR)];
        assert_eq!(chosen(&mut state, none_good), (Place::Bridge, print("b")));
        let copied = vec![at(Place::Bridge, "b", 8 * HOUR), at(Place::Copy, "c", 9 * HOUR)];
        assert_eq!(chosen(&mut state, copied), (Place::Copy, print("c")));
        state.choose(Vec::new(), 0);
        assert!(state.current.is_none());
    }

    #[test]
    fn memory_counts_while_a_file_holds_what_it_came_from_and_no_longer() {
        let mut state = State::default();
        for step in 0..40 {
            let (old, new) =
                (tokens(&step.to_string(), HOUR), tokens(&(step + 1).to_string(), 20 * HOUR));
            state.renewed(&old, &new);
        }
        assert_eq!(state.spent.len(), REMEMBERED);
        let before = vec![at(Place::Disk, "30", HOUR)];
        assert_eq!(chosen(&mut state, before).0, Place::Memory);
        assert!(state.unsaved, "somebody wrote over what we renewed");
        state.read_only = true;
        chosen(&mut state, vec![at(Place::Disk, "30", HOUR)]);
        assert!(!state.unsaved, "there is nothing to be done about it");
        let another = vec![at(Place::Disk, "new", 9 * HOUR)];
        assert_eq!(chosen(&mut state, another).0, Place::Disk);
        let too_old = vec![at(Place::Disk, "30", HOUR)];
        assert_eq!(chosen(&mut state, too_old).0, Place::Disk, "memory outlived its login");
    }

    #[test]
    fn new_tokens_that_are_rejected_are_replaced_ever_more_seldom() {
        let (mut state, start) = (State::default(), Instant::now());
        let mut replaced = 0;
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            replaced += u32::from(state.may_replace(Duration::from_secs(1), now));
        }
        assert!((4..12).contains(&replaced), "{replaced}");
        // One that was good for a while is replaced at once.
        assert!(state.may_replace(NEW, start));
        assert!(state.may_replace(Duration::ZERO, start));
    }
}
