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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::{resolve::Selection, resolve::resolve},
        store::{config::Config, snapshot::Snapshot},
        sys::http::HttpClient,
    };
    use std::path::Path;

    const CONFIG: &str = r#"
        [accounts.sa]
        type = "service_account"
        region = "us"
        username = "u"
        secret = "s3cr3t"
        default_project = "1"
        [accounts.inline]
        type = "oauth_token"
        region = "us"
        token = "t0k3n"
        default_project = "1"
        [accounts.variable]
        type = "oauth_token"
        region = "us"
        token_env = "BEARER"
        default_project = "1"
        [accounts.browser]
        type = "oauth_browser"
        region = "us"
        default_project = "1"
    "#;

    fn session(account: &str) -> Session {
        let config = Config::parse(CONFIG.as_bytes(), Path::new("c.toml"));
        let env = Arc::new(env());
        let snapshot =
            Snapshot { env, config, bridge: Ok(None), generation: 1, warnings: Vec::new() };
        let selection = Selection { account: Some(account.into()), ..Selection::default() };
        resolve(&snapshot, &selection).unwrap()
    }

    fn env() -> Env {
        Env::new([("BEARER", "fr0m-env"), ("BAD", "a\nb")], "/")
    }

    fn text(made: &Authorization) -> &str {
        assert!(made.value().is_sensitive() && !made.is_renewable());
        made.value().to_str().unwrap()
    }

    #[test]
    fn what_no_account_has_yet() {
        let secret = SecretString::from("s3cr3t");
        let bearer = Authorization::bearer(&"t0k3n".into()).unwrap();
        assert_eq!(text(&bearer), "Bearer t0k3n");
        assert_eq!(text(&Authorization::bearer(&"t".into()).unwrap()), "Bearer t");
        assert_eq!(text(&Authorization::basic("u", &secret).unwrap()), "Basic dTpzM2NyM3Q=");
        assert!(!format!("{bearer:?}").contains("t0k3n"), "{bearer:?}");
        for bad in ["", "a\nb", "a\0"] {
            assert!(Authorization::bearer(&bad.into()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn logins_are_told_apart_and_tell_nothing() {
        let of = |text: &str| Authorization::bearer(&text.into()).unwrap().login();
        assert_eq!(of("t0k3n"), of("t0k3n"));
        assert_ne!(of("t0k3n"), of("t0k4n"));
        assert!(!of("t0k3n").contains("t0k3n"));
    }

    #[test]
    fn each_account_on_each_kind_of_route() {
        let (basic, token) = ("Basic dTpzM2NyM3Q=", "Bearer t0k3n");
        for (account, scheme, wanted) in [
            ("sa", Scheme::Session, Ok(basic)),
            ("sa", Scheme::Mcp, Ok("Bearer Basic dTpzM2NyM3Q=")),
            ("sa", Scheme::Bearer, Err(Code::BearerRequired)),
            ("inline", Scheme::Session, Ok(token)),
            ("inline", Scheme::Mcp, Ok(token)),
            ("inline", Scheme::Bearer, Ok(token)),
            ("variable", Scheme::Bearer, Ok("Bearer fr0m-env")),
            ("browser", Scheme::Session, Err(Code::OauthTokenError)),
        ] {
            let made = lasting(&session(account), scheme, &env());
            let got = made.as_ref().map(text).map_err(|refusal| refusal.code);
            assert_eq!(got, wanted, "{account} {scheme:?}");
            assert!(made.err().is_none_or(|refusal| refusal.hint.is_some()));
        }
        for (variable, why) in [("UNSET", "which is not set"), ("BAD", "cannot stand in a header")]
        {
            let mut session = session("variable");
            let mut account = crate::model::account::Account::clone(&session.account);
            account.credential = Credential::OauthToken(TokenSource::Env(variable.into()));
            session.account = Arc::new(account);
            let refusal = lasting(&session, Scheme::Session, &env()).unwrap_err();
            assert_eq!(refusal.code, Code::OauthTokenError);
            assert!(refusal.message.contains(why), "{refusal}");
        }
    }

    #[tokio::test]
    async fn what_does_not_expire_is_not_replaced_and_a_login_is_asked() {
        let handle = tokio::runtime::Handle::current();
        let http = HttpClient::new(&env(), None);
        let resolvers = TokenResolvers::new(Arc::new(env()), http, handle);
        let session_of = session("sa");
        let made = authorize(&session_of, Scheme::Session, &env(), &resolvers).await.unwrap();
        assert_eq!(text(&made), "Basic dTpzM2NyM3Q=");
        assert!(replace(None, &made).await.unwrap().is_none());
        // A browser login without files: its own refusal, not that of `lasting`.
        let refusal = authorize(&session("browser"), Scheme::Session, &env(), &resolvers).await;
        assert!(refusal.unwrap_err().message.contains("has no OAuth tokens"));
        let login = resolvers.of(&session("browser")).unwrap();
        assert!(replace(Some(&*login), &made).await.unwrap().is_none());
    }
}
