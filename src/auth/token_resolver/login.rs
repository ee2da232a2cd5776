//! One login: the token that requests are signed with. Made by the registry in `token_resolver`.
//! What it knows is in `state`, what it reads in `files`, when it looks and renews in `timing`, who
//! waits for a renewal in `flight`; a renewal itself is `refresh`.
//! Invariant: while nothing changed, a request reads no file and takes no lock.

use super::{
    Pending, TokenResolver,
    files::Seen,
    flight::Need,
    keeper::Keeper,
    ready_token::ReadyToken,
    state::State,
    stats::{Event, Stats},
    timing::Timing,
};
use crate::{
    auth::oauth::endpoint::Endpoint,
    model::{
        account::Account,
        refusal::{Code, Refusal},
    },
    sys::clock::Clock,
};
use arc_swap::ArcSwapOption;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::runtime::Handle;

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
    pub(super) held: ArcSwapOption<ReadyToken>,
    pub(super) seen: ArcSwapOption<Seen>,
    pub(super) timing: Timing,
    state: Mutex<State>,
}

impl<K: Keeper> TokenResolver for Login<K> {
    fn ready(&self) -> Option<Arc<ReadyToken>> {
        let now = self.parts.clock.now();
        if self.is_time_to_look(now) && self.is_changed() {
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
            timing: Timing::new(),
            state: Mutex::default(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn held(&self) -> Option<Arc<ReadyToken>> {
        self.held.load_full()
    }

    pub(super) fn record(&self, event: Event, code: Option<Code>) {
        let account = &self.parts.account;
        self.parts.stats.record(event, &account.name, account.region, code);
    }

    pub(super) fn no_tokens(&self) -> Refusal {
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
