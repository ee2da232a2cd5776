//! Who a credential is and what it reaches: `/api/app/me`, kept for a day. Called by the
//! commands that list projects and workspaces, by `account test`, by the login, and by the
//! corridor for the workspace of a session that names none.
//! Invariant: the answer is parsed as it streams in; no more of it is held than is kept.

use super::{
    credential::{self, Authorization, Scheme},
    token_resolver::TokenResolvers,
};
use crate::{
    model::{
        account::{Account, Credential, TokenSource},
        id::Name,
        me::Me,
        origin::{Family, Origin},
        refusal::{Code, Refusal},
        region::Region,
        session::{CustomHeader, Session},
    },
    store::{
        me_cache::MeCache,
        me_json::{self, NotJson, Parsed},
        tokens,
    },
    sys::{
        env::Env,
        http::{Answer, HttpClient},
        http_error::HttpError,
    },
};
use bytes::{Buf as _, Bytes};
use http::{Request, StatusCode, header};
use secrecy::SecretString;
use std::{io, time::Duration};
use tokio::sync::mpsc;

/// It can be tens of megabytes, made by a slow server.
pub const WITHIN: Duration = Duration::from_secs(120);

/// Whether an answer of the last day will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It will.
    Cached,
    /// The server is asked (`--refresh`).
    Asked,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum MeError {
    /// The credential was refused with this status (401 or 403).
    #[error("`/me` answered {}", .0.as_u16())]
    Rejected(StatusCode),
    /// Too many requests, and after how many seconds to come back.
    #[error("`/me` answered 429")]
    TooMany(Option<u64>),
    /// Any other status.
    #[error("`/me` answered {}", .0.as_u16())]
    Status(StatusCode),
    /// No answer, or a broken one.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Not JSON.
    #[error("the answer of `/me` is {0}")]
    Json(#[from] NotJson),
    /// JSON of something else.
    #[error("what answered is not Mixpanel's `/me`")]
    NotMe,
}

impl MeError {
    /// The refusal for an account.
    #[must_use]
    pub fn refusal(&self, session: &Session) -> Refusal {
        let name = &session.account.name;
        let service = matches!(session.account.credential, Credential::ServiceAccount { .. });
        match self {
            Self::Rejected(status) => {
                let message =
                    format!("Mixpanel does not accept the credential of account `{name}`: {self}");
                let hint = match (*status, service, &session.account.credential) {
                    (StatusCode::FORBIDDEN, true, _) => "give the service account the scope `user_details` in Mixpanel's settings, or name projects by --project ID".to_owned(),
                    (StatusCode::FORBIDDEN, ..) => "use an account that may read `/me`, or name projects by --project ID".to_owned(),
                    (_, true, _) => format!("check user name, secret and region; then run: mp-proxy account update {name} --secret-stdin"),
                    (_, _, Credential::OauthBrowser) => format!("run: mp-proxy account login {name}"),
                    _ => format!("run: mp-proxy account update {name} --token-stdin"),
                };
                Refusal::new(Code::AuthFailed, message).hint(hint)
            }
            Self::TooMany(after) => {
                let refusal = Refusal::new(Code::RateLimited, format!("too many requests: {self}"))
                    .hint("run the same command again in a few minutes");
                match after {
                    Some(seconds) => refusal.retry_after(*seconds),
                    None => refusal,
                }
            }
            Self::Http(error) => error.refusal(Code::UpstreamUnreachable, "asking `/me`"),
            Self::Status(_) => Refusal::new(Code::UpstreamBroken, self.to_string())
                .hint("run the same command again in a few minutes"),
            Self::Json(_) | Self::NotMe => Refusal::new(Code::UpstreamBroken, self.to_string())
                .hint("check MP_PROXY_UPSTREAM and what stands between this machine and Mixpanel"),
        }
    }
}

/// What a session's credential reaches. A token that is rejected is renewed once. A new answer
/// is kept for a day; that it cannot be kept is no failure.
///
/// # Errors
/// As [`credential::authorize`]; `AUTH_FAILED`, `RATE_LIMITED`, `UPSTREAM_…` for what `/me` said.
pub async fn me(
    session: &Session,
    freshness: Freshness,
    resolvers: &TokenResolvers,
) -> Result<Me, Refusal> {
    let (env, http) = (resolvers.env(), resolvers.http());
    let login = resolvers.of(session);
    let mut authorization = credential::authorize(session, Scheme::Session, env, resolvers).await?;
    let cache = cache(session, &authorization, env);
    if freshness == Freshness::Cached {
        let cache = cache.clone();
        if let Ok(Some(me)) = tokio::task::spawn_blocking(move || cache.get()).await {
            return Ok(me);
        }
    }
    let region = session.account.region;
    let mut asked = fetch(http, region, &authorization, &session.headers, WITHIN).await;
    if let Err(MeError::Rejected(StatusCode::UNAUTHORIZED)) = &asked
        && let Some(other) = credential::replace(login.as_deref(), &authorization).await?
    {
        authorization = other;
        asked = fetch(http, region, &authorization, &session.headers, WITHIN).await;
    }
    let me = asked.map_err(|error| error.refusal(session))?;
    let name = session.account.name.clone();
    let kept = tokio::task::spawn_blocking(move || {
        keep(&cache, &name, &me);
        me
    });
    kept.await.map_err(|_| Refusal::new(Code::UpstreamBroken, "asking `/me` was stopped"))
}

/// What `/me` said of an account's credential within the last day; asks nobody.
#[must_use]
pub fn remembered(account: &Account, env: &Env) -> Option<Me> {
    let login = match &account.credential {
        Credential::ServiceAccount { username, secret } => {
            Authorization::basic(username, secret)?.login()
        }
        Credential::OauthToken(TokenSource::Inline(token)) => Authorization::bearer(token)?.login(),
        Credential::OauthToken(TokenSource::Env(variable)) => {
            Authorization::bearer(&SecretString::from(env.get(variable)?))?.login()
        }
        Credential::OauthBrowser => tokens::load(env, &account.name).ok()??.login(),
    };
    MeCache::new(env, &account.name, account.region, &login).get()
}

/// Asks the server with a credential that need not belong to an account yet.
///
/// # Errors
/// [`MeError`].
pub async fn fetch(
    http: &HttpClient,
    region: Region,
    authorization: &Authorization,
    headers: &[CustomHeader],
    within: Duration,
) -> Result<Me, MeError> {
    let mut answer = ask(http, region, authorization, headers, within).await?;
    match answer.status() {
        StatusCode::OK => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            return Err(MeError::Rejected(status));
        }
        StatusCode::TOO_MANY_REQUESTS => return Err(MeError::TooMany(answer.retry_after())),
        status => return Err(MeError::Status(status)),
    }
    let (chunks, pieces) = mpsc::channel(2);
    let parsing = tokio::task::spawn_blocking(move || {
        me_json::parse(Pieces { pieces, current: Bytes::new() })
    });
    while let Some(chunk) = answer.chunk().await? {
        if chunks.send(chunk).await.is_err() {
            // The parser has seen enough to know that this is no JSON.
            break;
        }
    }
    drop(chunks);
    match parsing.await {
        Ok(parsed) => match parsed? {
            Parsed { me, recognized: true } => Ok(me),
            Parsed { recognized: false, .. } => Err(MeError::NotMe),
        },
        Err(_) => Err(MeError::NotMe),
    }
}

/// Sends the question; the answer is there but for its body.
///
/// # Errors
/// No answer.
pub async fn ask(
    http: &HttpClient,
    region: Region,
    authorization: &Authorization,
    headers: &[CustomHeader],
    within: Duration,
) -> Result<Answer, HttpError> {
    let mut request = Request::new(Vec::new());
    *request.uri_mut() = http::Uri::from_static("/api/app/me");
    for custom in headers {
        request.headers_mut().insert(&custom.name, custom.value.clone());
    }
    request.headers_mut().insert(header::AUTHORIZATION, authorization.value().clone());
    http.send(Origin::new(Family::App, region), request, within).await
}

/// Keeps an answer for the account whose login (see [`Authorization::login`]) it belongs to; that
/// it cannot be kept is no failure.
pub fn remember(account: &Account, login: &str, me: &Me, env: &Env) {
    keep(&MeCache::new(env, &account.name, account.region, login), &account.name, me);
}

/// The cache entry of a session, bound to its credential (quirk T7).
fn cache(session: &Session, authorization: &Authorization, env: &Env) -> MeCache {
    let account = &session.account;
    MeCache::new(env, &account.name, account.region, &authorization.login())
}

fn keep(cache: &MeCache, account: &Name, me: &Me) {
    if let Err(error) = cache.put(me) {
        tracing::warn!(%account, "the answer of `/me` cannot be kept: {error}");
    }
}

/// The body as a reader, for a parser that blocks.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl io::Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.current.len());
        self.current.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}
