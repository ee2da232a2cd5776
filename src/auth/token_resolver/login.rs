//! One login: the token that requests are signed with, and who may renew it when.
//! Made by the registry in `token_resolver`; a renewal itself is `refresh`.
//! Invariants: no request waits while the token in hand is good; one renewal at a time in this
//! process; while nothing changed, a request reads no file and takes no lock.

use super::{
    Pending, TokenResolver,
    keeper::Keeper,
    ready_token::ReadyToken,
    state::{Outcome, State},
    stats::{Event, Stats},
};
use crate::{
    auth::oauth::endpoint::Endpoint,
    model::{
        account::Account,
        refusal::{Code, Refusal},
    },
    sys::{
        clock::{Clock, Moment},
        private_file::Stamp,
    },
};
use arc_swap::ArcSwapOption;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::watch};

/// How long an answer of the change check is trusted. A person or a script cannot write a file
/// and send a request in less.
const LOOK: Duration = Duration::from_micros(200);
/// How often traffic asks for a renewal that is due, while it does not come.
const KICK: Duration = Duration::from_secs(1);

/// What a login is made of.
pub(super) struct Parts {
    pub(super) account: Arc<Account>,
    pub(super) endpoint: Endpoint,
    pub(super) clock: Clock,
    /// Of the runtime that renewals run on.
    pub(super) handle: Handle,
    pub(super) stats: Arc<Stats>,
}

pub(super) struct Login<K> {
    pub(super) parts: Parts,
    pub(super) keeper: K,
    pub(super) me: Weak<Self>,
    /// The token in hand.
    held: ArcSwapOption<ReadyToken>,
    seen: ArcSwapOption<Seen>,
    next_look: AtomicU64,
    next_kick: AtomicU64,
    /// Whether a request took the token since it came.
    used: AtomicBool,
    born: Instant,
    state: Mutex<State>,
}

/// The files as they were when they were read.
struct Seen {
    stamps: Vec<Stamp>,
    /// Whether equal stamps prove equal content.
    settled: bool,
}

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

impl<K: Keeper> TokenResolver for Login<K> {
    fn ready(&self) -> Option<Arc<ReadyToken>> {
        let now = self.parts.clock.now();
        if self.is_due(&self.next_look, LOOK, now) && self.is_changed() {
            return None;
        }
        let token = self.held.load_full().filter(|token| token.is_good(now))?;
        self.take(&token, now);
        Some(token)
    }

    fn bearer(&self) -> Pending<'_> {
        // Not by way of `ready`, which trusts its change check for a while: whoever comes here may
        // have just been told of a change.
        Box::pin(async move {
            let token = self.obtain(Need::Usable).await?;
            self.take(&token, self.parts.clock.now());
            Ok(token)
        })
    }

    fn replace(&self, rejected: &ReadyToken) -> Pending<'_> {
        let need = Need::Other(rejected.tokens().access_token.clone());
        Box::pin(self.obtain(need))
    }

    fn expires_at_micros(&self) -> Option<i64> {
        self.held.load().as_ref().map(|token| token.tokens().expires_at_micros)
    }

    fn account(&self) -> &Arc<Account> {
        &self.parts.account
    }
}

impl<K: Keeper> Login<K> {
    pub(super) fn new(parts: Parts, keeper: K) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            parts,
            keeper,
            me: Weak::clone(me),
            held: ArcSwapOption::empty(),
            seen: ArcSwapOption::empty(),
            next_look: AtomicU64::new(0),
            next_kick: AtomicU64::new(0),
            used: AtomicBool::new(false),
            born: Instant::now(),
            state: Mutex::default(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn held(&self) -> Option<Arc<ReadyToken>> {
        self.held.load_full()
    }

    /// A request goes out with this token.
    fn take(&self, token: &ReadyToken, now: Moment) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        if token.renewal_in(now).is_zero() && self.is_due(&self.next_kick, KICK, now) {
            self.renew_in_background();
        }
    }

    async fn obtain(&self, need: Need) -> Outcome {
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

    /// Reads the files, and takes the best of what they say.
    pub(super) fn look(&self, state: &mut State) {
        let keeper = &self.keeper;
        let stamps = keeper.stamps();
        let found = keeper.load();
        let now = self.parts.clock.now();
        let nanos = i128::from(crate::sys::clock::now_micros()) * 1000;
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
                self.used.store(false, Ordering::Relaxed);
                self.record(Event::Loaded, None);
                self.wake_for(state, &token, now);
            }
            Err(refusal) => {
                self.held.store(None);
                state.broken = Some(refusal);
            }
        }
    }

    /// Renews the token when its time comes, if anybody used it until then: an idle proxy does
    /// not keep a login alive for ever.
    fn wake_for(&self, state: &mut State, token: &Arc<ReadyToken>, now: Moment) {
        let (me, token) = (Weak::clone(&self.me), Arc::clone(token));
        let wait = token.renewal_in(now);
        let timer = self.parts.handle.spawn(async move {
            tokio::time::sleep(wait).await;
            let Some(me) = me.upgrade() else { return };
            let same = me.held.load().as_ref().is_some_and(|held| Arc::ptr_eq(held, &token));
            if same && me.used.load(Ordering::Relaxed) {
                me.renew_in_background();
            }
        });
        if let Some(old) = state.timer.replace(timer.abort_handle()) {
            old.abort();
        }
    }

    pub(super) fn is_changed(&self) -> bool {
        let seen = self.seen.load();
        seen.as_ref().is_none_or(|seen| !seen.settled || self.keeper.stamps() != seen.stamps)
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

    pub(super) fn record(&self, event: Event, code: Option<Code>) {
        let account = &self.parts.account;
        self.parts.stats.record(event, &account.name, account.region, code);
    }

    fn no_tokens(&self) -> Refusal {
        let name = &self.parts.account.name;
        Refusal::new(Code::OauthTokenError, format!("account `{name}` has no OAuth tokens"))
            .hint(self.keeper.login_hint())
    }

    pub(super) fn no_refresh_token(&self) -> Refusal {
        let name = &self.parts.account.name;
        Refusal::new(
            Code::OauthTokenError,
            format!("the access token of account `{name}` cannot be used any more and there is no refresh token"),
        )
        .hint(self.keeper.login_hint())
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
