//! What a login takes from its files, and whether they changed. Part of `login`.
//! Invariant: equal stamps prove equal content only once the files are older than a clock tick.

use super::{keeper::Keeper, login::Login, ready_token::ReadyToken, state::State, stats::Event};
use crate::sys::{
    clock::{self, Moment},
    private_file::Stamp,
};
use secrecy::ExposeSecret as _;
use std::sync::Arc;

/// The files as they were when they were read.
pub(super) struct Seen {
    stamps: Vec<Stamp>,
    /// Whether equal stamps prove equal content.
    settled: bool,
}

impl<K: Keeper> Login<K> {
    /// Whether the files may say something else than when they were read.
    pub(super) fn is_changed(&self) -> bool {
        let seen = self.seen.load();
        seen.as_ref().is_none_or(|seen| !seen.settled || self.keeper.stamps() != seen.stamps)
    }

    /// Reads the files, and takes the best of what they say.
    pub(super) fn look(&self, state: &mut State) {
        let keeper = &self.keeper;
        let stamps = keeper.stamps();
        let found = keeper.load();
        let now = self.parts.clock.now();
        let nanos = i128::from(clock::now_micros()) * 1000;
        let settled =
            stamps == keeper.stamps() && !stamps.iter().any(|stamp| stamp.is_fresh(nanos));
        if self.seen.load().as_ref().is_none_or(|seen| seen.stamps != stamps) {
            // What failed may go well now.
            state.pause.clear();
        }
        self.seen.store(Some(Arc::new(Seen { stamps, settled })));
        state.broken = None;
        match found {
            Ok(found) => state.choose(found, now.wall_micros),
            Err(refusal) => {
                state.current = None;
                state.broken = Some(refusal);
            }
        }
        self.hold_current(state, now);
        if state.unsaved && state.flight.is_none() {
            self.save_in_background(state);
        }
    }

    /// Puts the current tokens into the hands of the requests.
    fn hold_current(&self, state: &mut State, now: Moment) {
        let Some(current) = &state.current else {
            self.held.store(None);
            return;
        };
        let same = |token: &ReadyToken| {
            let (have, want) = (token.tokens(), &current.tokens);
            have.access_token.expose_secret() == want.access_token.expose_secret()
                && have.expires_at_micros == want.expires_at_micros
        };
        if self.held.load().as_deref().is_some_and(same) {
            return;
        }
        match ReadyToken::new(Arc::clone(&current.tokens), &self.parts.account.name, now) {
            Ok(token) => {
                let token = Arc::new(token);
                self.held.store(Some(Arc::clone(&token)));
                self.timing.new_token();
                self.record(Event::Loaded, None);
                self.wake_for(state, &token, now);
            }
            Err(refusal) => {
                self.held.store(None);
                state.broken = Some(refusal);
            }
        }
    }
}
