//! Where the bearer of a browser login comes from: `tokens.json` or a bridge, renewed in time.
//! Called by `credential` for every request, and by the commands that show a token.
//! Invariants: resolving writes no file (quirks B1 to B3), only a renewal does; a request waits
//! only if there is no good token.

mod files;
mod flight;
mod in_bridge;
mod keeper;
mod login;
mod pause;
mod ready_token;
mod refresh;
mod repair;
mod state;
pub mod stats;
mod timing;

pub use ready_token::ReadyToken;

use self::{
    in_bridge::InBridge,
    keeper::OnDisk,
    login::{Login, Parts},
    stats::Stats,
};
use super::oauth::endpoint::Endpoint;
use crate::{
    model::{
        account::{Account, Credential},
        id::Name,
        refusal::Refusal,
        region::Region,
        session::Session,
    },
    sys::{clock::Clock, env::Env, http::HttpClient},
};
use arc_swap::ArcSwap;
use std::{collections::HashMap, fmt, path::Path, pin::Pin, sync::Arc};
use tokio::runtime::Handle;

/// A token that is being obtained.
pub type Pending<'a> = Pin<Box<dyn Future<Output = Result<Arc<ReadyToken>, Refusal>> + Send + 'a>>;

/// The bearer of one login. There are two of them: of an account whose tokens are on disk, and of
/// one that a bridge brought, whose tokens may be on disk as well.
pub trait TokenResolver: Send + Sync {
    /// The token in hand, if it is good. Takes no lock and reads no file; once in a
    /// while it asks the system whether a file changed. Starts a renewal in the background
    /// when one is due.
    fn ready(&self) -> Option<Arc<ReadyToken>>;

    /// A good token; waits for a renewal only if there is none.
    ///
    /// # Errors
    /// `OAUTH_TOKEN_ERROR` without usable tokens, `OAUTH_REFRESH_ERROR` or
    /// `OAUTH_REFRESH_REVOKED` if they could not be renewed.
    fn bearer(&self) -> Pending<'_>;

    /// A token in place of one that the server rejected before it expired: one that somebody
    /// else brought meanwhile, else a renewed one.
    ///
    /// # Errors
    /// As [`TokenResolver::bearer`]; `AUTH_FAILED` if renewing does not help.
    fn replace(&self, rejected: &ReadyToken) -> Pending<'_>;

    /// When the token in hand expires, in microseconds since the Unix epoch.
    fn expires_at_micros(&self) -> Option<i64>;

    /// Whose token it is.
    fn account(&self) -> &Arc<Account>;
}

/// The logins of a process, each made when it is first asked for.
pub struct TokenResolvers {
    env: Arc<Env>,
    http: HttpClient,
    handle: Handle,
    clock: Clock,
    stats: Arc<Stats>,
    logins: ArcSwap<HashMap<Key, Arc<dyn TokenResolver>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    account: Name,
    region: Region,
    bridge: Option<Arc<Path>>,
}

impl TokenResolvers {
    /// No login yet. Renewals run on the runtime of `handle`, which must outlive the requests.
    #[must_use]
    pub fn new(env: Arc<Env>, http: HttpClient, handle: Handle) -> Self {
        Self::with_clock(env, http, handle, Clock::default())
    }

    /// The same by another clock.
    #[must_use]
    pub fn with_clock(env: Arc<Env>, http: HttpClient, handle: Handle, clock: Clock) -> Self {
        let (stats, logins) = (Arc::default(), ArcSwap::default());
        Self { env, http, handle, clock, stats, logins }
    }

    /// The login of a session; `None` unless its account is an `oauth_browser` one.
    #[must_use]
    pub fn of(&self, session: &Session) -> Option<Arc<dyn TokenResolver>> {
        if !matches!(session.account.credential, Credential::OauthBrowser) {
            return None;
        }
        let key = Key {
            account: session.account.name.clone(),
            region: session.account.region,
            bridge: session.bridge.clone(),
        };
        if let Some(login) = self.logins.load().get(&key) {
            return Some(Arc::clone(login));
        }
        let made = self.make(session);
        self.logins.rcu(|logins| {
            let mut logins = HashMap::clone(logins);
            // Of two that were made at once, one is used by all.
            logins.entry(key.clone()).or_insert_with(|| Arc::clone(&made));
            logins
        });
        self.logins.load().get(&key).cloned()
    }

    /// The environment that the logins are in.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The client that they are renewed with.
    #[must_use]
    pub const fn http(&self) -> &HttpClient {
        &self.http
    }

    /// What happened so far.
    #[must_use]
    pub const fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Account, region and seconds until its token expires (negative: since) of each login.
    #[must_use]
    pub fn expiries(&self) -> Vec<(Name, Region, i64)> {
        let now = self.clock.now().wall_micros;
        let logins = self.logins.load();
        let expiry = |login: &Arc<dyn TokenResolver>| {
            let seconds = login.expires_at_micros()?.saturating_sub(now) / 1_000_000;
            Some((login.account().name.clone(), login.account().region, seconds))
        };
        logins.values().filter_map(expiry).collect()
    }

    fn make(&self, session: &Session) -> Arc<dyn TokenResolver> {
        let account = Arc::clone(&session.account);
        let disk = OnDisk { env: Arc::clone(&self.env), account: Arc::clone(&account) };
        let parts = Parts {
            endpoint: Endpoint::new(self.http.clone(), account.region),
            account,
            clock: self.clock.clone(),
            handle: self.handle.clone(),
            stats: Arc::clone(&self.stats),
        };
        match &session.bridge {
            None => Login::new(parts, disk),
            Some(path) => Login::new(parts, InBridge::new(disk, Arc::clone(path))),
        }
    }
}

impl fmt::Debug for dyn TokenResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenResolver").field(&self.account().name).finish()
    }
}

impl fmt::Debug for TokenResolvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResolvers").field("stats", &self.stats).finish_non_exhaustive()
    }
}
