//! The `Authorization` value of a session. Called by the corridor after the route is
//! known, and by `session show --show-secrets`.
//! Invariant: the value is marked sensitive and printed by no `Debug`.

use super::token_resolver::browser_token;
use crate::{
    model::{
        account::{Credential, TokenSource},
        refusal::{Code, Refusal},
        session::Session,
    },
    sys::{clock, env::Env},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

/// A ready-made `Authorization` value; only this module makes one.
#[derive(Debug, Clone)]
pub struct Authorization(HeaderValue);

impl Authorization {
    /// The value for a bearer that no account has yet; `None` if it cannot stand in a header.
    #[must_use]
    pub fn bearer(token: &SecretString) -> Option<Self> {
        Self::of(&bearer(token.expose_secret()))
    }

    /// The value for a service account that is not configured yet; `None` as above.
    #[must_use]
    pub fn basic(username: &str, secret: &SecretString) -> Option<Self> {
        let pair = SecretString::from(format!("{username}:{}", secret.expose_secret()));
        Self::of(&format!("Basic {}", STANDARD.encode(pair.expose_secret())))
    }

    fn of(text: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(text).ok()?;
        value.set_sensitive(true);
        (text.len() > "Bearer ".len()).then_some(Self(value))
    }

    /// The header value, marked sensitive.
    #[must_use]
    pub const fn value(&self) -> &HeaderValue {
        &self.0
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

/// Makes the header for this session.
///
/// # Errors
/// `OAUTH_TOKEN_ERROR` or `OAUTH_REFRESH_ERROR` without a usable token; a service account
/// where only a bearer is accepted.
pub fn authorize(session: &Session, scheme: Scheme, env: &Env) -> Result<Authorization, Refusal> {
    let name = &session.account.name;
    let text = match &session.account.credential {
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
            let pair = SecretString::from(format!("{username}:{}", secret.expose_secret()));
            let basic = STANDARD.encode(pair.expose_secret());
            if scheme == Scheme::Mcp {
                format!("Bearer Basic {basic}")
            } else {
                format!("Basic {basic}")
            }
        }
        Credential::OauthToken(TokenSource::Inline(token)) => bearer(token.expose_secret()),
        Credential::OauthToken(TokenSource::Env(variable)) => {
            let token = env.get(variable).ok_or_else(|| {
                Refusal::new(
                    Code::OauthTokenError,
                    format!("account `{name}` reads its token from `{variable}`, which is not set"),
                )
                .hint(format!("set {variable} in the environment of mp-proxy and start it again"))
            })?;
            bearer(token)
        }
        Credential::OauthBrowser => {
            bearer(browser_token(session, env, clock::now_micros())?.access_token.expose_secret())
        }
    };
    Authorization::of(&text).ok_or_else(|| {
        Refusal::new(
            Code::OauthTokenError,
            format!("the token of account `{name}` is empty or cannot stand in a header"),
        )
        .hint(format!(
            "run: mp-proxy account update {name} with a valid token, or: mp-proxy account login {name}"
        ))
    })
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
