//! Who waits for a renewal, and what he takes in its place. Part of `login`.
//! Invariants: no request waits while the token in hand will do; one renewal at a time in this
//! process, on the runtime that outlives the requests.

use super::{
    keeper::Keeper,
    login::Login,
    ready_token::ReadyToken,
    state::{Outcome, State},
};
use crate::{
    model::{
        account::Account,
        refusal::{Code, Refusal},
    },
    sys::clock::Moment,
};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;
use tokio::sync::watch;

/// What a caller wants of the token.
#[derive(Clone)]
pub(super) enum Need {
    /// That it can be sent.
    Usable,
    /// That it will last.
    Lasting,
    /// That it is not this one, which the server rejected.
    Other(SecretString),
}

impl Need {
    pub(super) fn is_met_by(&self, token: &ReadyToken, now: Moment) -> bool {
        token.is_good(now)
            && match self {
                Self::Usable => true,
                Self::Lasting => !token.renewal_in(now).is_zero(),
                Self::Other(rejected) => {
                    token.tokens().access_token.expose_secret() != rejected.expose_secret()
                }
            }
    }
}

/// What a caller gets.
enum Entered {
    Ready(Arc<ReadyToken>),
    Wait(watch::Receiver<Option<Outcome>>),
}

impl<K: Keeper> Login<K> {
    /// A token that meets the need; waits for a renewal only if none does.
    pub(super) async fn obtain(&self, need: Need) -> Outcome {
        // A renewal that was under way for another reason may bring what is not wanted here.
        for _ in 0..3 {
            let mut flight = match self.enter(&need)? {
                Entered::Ready(token) => return Ok(token),
                Entered::Wait(flight) => flight,
            };
            let outcome = match flight.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone(),
                Err(_) => None,
            };
            let token = outcome.ok_or_else(stopped)??;
            if need.is_met_by(&token, self.parts.clock.now()) || matches!(need, Need::Usable) {
                return Ok(token);
            }
        }
        Err(rejected(&self.parts.account))
    }

    /// The token if it will do, else the renewal to wait for.
    fn enter(&self, need: &Need) -> Result<Entered, Refusal> {
        let mut state = self.lock();
        if self.is_changed() {
            self.look(&mut state);
        }
        let now = self.parts.clock.now();
        if let Some(refusal) = &state.broken {
            return Err(refusal.clone());
        }
        let held = self.held();
        if let Some(token) = held.as_ref().filter(|token| need.is_met_by(token, now)) {
            return Ok(Entered::Ready(Arc::clone(token)));
        }
        if let Some(flight) = &state.flight {
            return Ok(Entered::Wait(flight.clone()));
        }
        let Some(current) = &state.current else { return Err(self.no_tokens()) };
        if current.tokens.refresh_token.is_none() {
            return Err(self.no_refresh_token());
        }
        if let Some(refusal) = state.pause.standing(now.mono) {
            return Err(refusal);
        }
        if let (Need::Other(_), Some(token)) = (need, &held)
            && !state.may_replace(token.age(now), now.mono)
        {
            return Err(rejected(&self.parts.account));
        }
        Ok(Entered::Wait(self.take_off(&mut state, need.clone())))
    }

    /// Starts the one renewal, on the runtime that outlives the request.
    fn take_off(&self, state: &mut State, need: Need) -> watch::Receiver<Option<Outcome>> {
        let (sender, receiver) = watch::channel(None);
        if let Some(me) = self.me.upgrade() {
            self.parts.handle.spawn(async move {
                let landing = Landing(Arc::clone(&me));
                let outcome = me.renew(need).await;
                drop(landing);
                let _ = sender.send(Some(outcome));
            });
        }
        state.flight = Some(receiver.clone());
        receiver
    }

    /// Starts a renewal that nobody waits for.
    pub(super) fn renew_in_background(&self) {
        // A refusal here is one that the next request meets, if it still stands.
        let _ = self.enter(&Need::Lasting);
    }
}

/// Ends the flight however it ends.
struct Landing<K: Keeper>(Arc<Login<K>>);

impl<K: Keeper> Drop for Landing<K> {
    fn drop(&mut self) {
        self.0.lock().flight = None;
    }
}

fn stopped() -> Refusal {
    Refusal::new(Code::OauthRefreshError, "the refresh was stopped before it was done")
        .hint("try again")
        .retry_after(1)
}

fn rejected(account: &Account) -> Refusal {
    let name = &account.name;
    Refusal::new(Code::AuthFailed, format!("the server rejects fresh tokens of account `{name}`"))
        .hint(format!("run: mp-proxy account test {name}"))
}
