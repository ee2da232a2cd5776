//! The `Authorization` value of a session. Called by the corridor after the route is
//! known, and by `session show --show-secrets`.
//! Invariant: the value is marked sensitive and printed by no `Debug`.

use super::token_resolver::{ReadyToken, TokenResolver, TokenResolvers};
use crate::{
    model::{
        account::{Credential, TokenSource},
        fingerprint::fingerprint,
        refusal::{Code, Refusal},
        secret_header::secret_header,
        session::Session,
    },
    sys::env::Env,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A ready-made `Authorization` value; only this module makes one.
#[derive(Debug, Clone)]
pub struct Authorization {
    value: HeaderValue,
    /// The token behind it, if it is one that can be renewed.
    token: Option<Arc<ReadyToken>>,
}

impl Authorization {
    /// The value for a bearer that no account has yet; `None` if it cannot stand in a header.
    #[must_use]
    pub fn bearer(token: &SecretString) -> Option<Self> {
        Self::of("Bearer ", token.expose_secret())
    }

    /// The value for a service account that is not configured yet; `None` as above.
    #[must_use]
    pub fn basic(username: &str, secret: &SecretString) -> Option<Self> {
        Self::of("Basic ", &pair(username, secret))
    }

    fn of(scheme: &str, secret: &str) -> Option<Self> {
        let value = secret_header(&[scheme, secret]).filter(|_| !secret.is_empty())?;
        Some(Self { value, token: None })
    }

    /// The header value, marked sensitive.
    #[must_use]
    pub const fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// A name for the login behind it: it stays while tokens are renewed, and tells nothing.
    #[must_use]
    pub fn login(&self) -> String {
        match &self.token {
            Some(token) => token.tokens().login(),
            None => {
                let value = String::from_utf8_lossy(self.value.as_bytes()).into_owned();
                fingerprint(&[&SecretString::from(value)])
            }
        }
    }

    /// Whether another one may be had if this one is rejected.
    #[must_use]
    pub const fn is_renewable(&self) -> bool {
        self.token.is_some()
    }

    fn of_token(token: Arc<ReadyToken>) -> Self {
        Self { value: token.authorization().clone(), token: Some(token) }
    }
}

/// How a route wants to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Basic or Bearer, whatever the account has.
    Session,
    /// Bearer only; a service account is refused.
    Bearer,
    /// As [`Scheme::Session`], but a service account goes as `Bearer Basic …`.
    Mcp,
}

/// Makes the header for this session; waits only if its token has to be renewed.
///
/// # Errors
/// `OAUTH_TOKEN_ERROR`, `OAUTH_REFRESH_ERROR` or `OAUTH_REFRESH_REVOKED` without a usable token;
/// a service account where only a bearer is accepted.
pub async fn authorize(
    session: &Session,
    scheme: Scheme,
    env: &Env,
    resolvers: &TokenResolvers,
) -> Result<Authorization, Refusal> {
    match resolvers.of(session) {
        Some(login) => from_login(&*login).await,
        None => lasting(session, scheme, env),
    }
}

/// The header of a browser login.
///
/// # Errors
/// As [`authorize`].
pub async fn from_login(login: &dyn TokenResolver) -> Result<Authorization, Refusal> {
    let token = match login.ready() {
        Some(token) => token,
        None => login.bearer().await?,
    };
    Ok(Authorization::of_token(token))
}

/// Another header after the server rejected one; `None` if there can be no other.
///
/// # Errors
/// The token could not be renewed.
pub async fn replace(
    login: Option<&dyn TokenResolver>,
    rejected: &Authorization,
) -> Result<Option<Authorization>, Refusal> {
    match (login, &rejected.token) {
        (Some(login), Some(token)) => {
            Ok(Some(Authorization::of_token(login.replace(token).await?)))
        }
        _ => Ok(None),
    }
}

/// The header of an account whose credential does not expire.
///
/// # Errors
/// As [`authorize`]; `OAUTH_TOKEN_ERROR` for a browser login, which has no lasting one.
pub fn lasting(session: &Session, scheme: Scheme, env: &Env) -> Result<Authorization, Refusal> {
    let name = &session.account.name;
    let made = match &session.account.credential {
        Credential::ServiceAccount { .. } if scheme == Scheme::Bearer => {
            return Err(Refusal::new(
                Code::BearerRequired,
                format!("this route takes only OAuth accounts and `{name}` is a service account"),
            )
            .hint(
                "send the header X-Mp-Account: NAME with an oauth_browser or oauth_token account",
            ));
        }
        Credential::ServiceAccount { username, secret } => {
            let scheme = if scheme == Scheme::Mcp { "Bearer Basic " } else { "Basic " };
            Authorization::of(scheme, &pair(username, secret))
        }
        Credential::OauthToken(TokenSource::Inline(token)) => Authorization::bearer(token),
        Credential::OauthToken(TokenSource::Env(variable)) => {
            let token = env.get(variable).ok_or_else(|| {
                Refusal::new(
                    Code::OauthTokenError,
                    format!("account `{name}` reads its token from `{variable}`, which is not set"),
                )
                .hint(format!("set {variable} in the environment of mp-proxy and start it again"))
            })?;
            Authorization::of("Bearer ", token)
        }
        Credential::OauthBrowser => {
            return Err(Refusal::new(
                Code::OauthTokenError,
                format!("the token of account `{name}` does not last"),
            )
            .hint(format!("run: mp-proxy account test {name}")));
        }
    };
    made.ok_or_else(|| {
        Refusal::new(
            Code::OauthTokenError,
            format!("the token of account `{name}` is empty or cannot stand in a header"),
        )
        .hint(format!(
            "run: mp-proxy account update {name} with a valid token, or: mp-proxy account login {name}"
        ))
    })
}

/// What follows `Basic`.
fn pair(username: &str, secret: &SecretString) -> Zeroizing<String> {
    let plain = Zeroizing::new([username, ":", secret.expose_secret()].concat());
    Zeroizing::new(STANDARD.encode(plain.as_bytes()))
}
