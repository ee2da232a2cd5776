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

#[cfg(test)]
mod tests {
    use super::super::{
        keeper::{Found, Locks, Place, Saved},
        login::Parts,
    };
    use super::*;
    use crate::{
        auth::oauth::endpoint::Endpoint,
        model::{account::Credential, id::Name, region::Region, tokens::Tokens},
        sys::{clock::Clock, env::Env, http::HttpClient, private_file::Stamp},
    };
    use tokio::runtime::Builder;

    /// One token set that no file holds.
    struct Held(Tokens);

    impl Keeper for Held {
        fn stamps(&self) -> Vec<Stamp> {
            Vec::new()
        }
        fn load(&self) -> Result<Vec<Found>, Refusal> {
            Ok(vec![Found { tokens: Arc::new(self.0.clone()), place: Place::Disk }])
        }
        fn lock(&self) -> Result<Locks, Refusal> {
            Ok(Locks { disk: None, bridge: None, copy: None })
        }
        fn save(&self, _: &Locks, _: &Tokens, _: &Tokens) -> Result<Saved, Refusal> {
            Ok(Saved::ReadOnly)
        }
        fn client_id(&self, _: &Tokens) -> Result<String, Refusal> {
            Ok("client".into())
        }
        fn login_hint(&self) -> String {
            "run: something".into()
        }
    }

    fn login(refresh: Option<&str>, handle: tokio::runtime::Handle) -> Arc<Login<Held>> {
        let env = Env::new([("MP_PROXY_UPSTREAM", "http://127.0.0.1:9")], "/");
        let account = Account {
            name: Name::parse("me").unwrap(),
            region: Region::Us,
            default_project: None,
            credential: Credential::OauthBrowser,
        };
        let parts = Parts {
            endpoint: Endpoint::new(HttpClient::from_env(&env).unwrap(), Region::Us),
            account: Arc::new(account),
            clock: Clock::default(),
            handle,
            stats: Arc::default(),
        };
        let tokens = Tokens {
            access_token: SecretString::from("s3cr3t"),
            refresh_token: refresh.map(SecretString::from),
            expires_at_micros: 1,
            scope: String::new(),
            token_type: "Bearer".into(),
            client_id: None,
            lifetime_seconds: None,
            login: None,
        };
        Login::new(parts, Held(tokens))
    }

    #[test]
    fn a_runtime_that_is_gone_leaves_nobody_waiting() {
        let gone = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let login = login(Some("r"), gone.handle().clone());
        gone.shutdown_background();
        let here = Builder::new_current_thread().build().unwrap();
        for _ in 0..2 {
            let refusal = here.block_on(login.obtain(Need::Usable)).unwrap_err();
            assert_eq!(refusal.code, Code::OauthRefreshError);
            assert!(refusal.message.contains("stopped") && refusal.retry_after.is_some());
        }
    }

    #[test]
    fn what_cannot_be_renewed_is_said_without_asking() {
        let here = Builder::new_current_thread().enable_all().build().unwrap();
        let none = login(None, here.handle().clone());
        let refusal = here.block_on(none.obtain(Need::Usable)).unwrap_err();
        assert_eq!(refusal.code, Code::OauthTokenError);
        assert_eq!(refusal.hint.as_deref(), Some("run: something"));
        // A server that is not there is asked once, and then not for a while.
        let dead = login(Some("r"), here.handle().clone());
        let first = here.block_on(dead.obtain(Need::Usable)).unwrap_err();
        let second = here.block_on(dead.obtain(Need::Usable)).unwrap_err();
        assert_eq!((first.code, second.code), (Code::OauthRefreshError, Code::OauthRefreshError));
        assert!(first.retry_after.is_none() && second.retry_after.is_some());
        assert_eq!(dead.parts.stats.counts().failed, 1);
        assert!(!format!("{first:?}{second:?}").contains("s3cr3t"));
    }
}
