//! Registration and token endpoint of one region: a call each, its answer checked and its
//! failure named. Called by `login` (register, exchange) and the token resolver (refresh).
//! SECURITY: a token answer that cannot be read may still hold a token: nothing of a body is
//! ever put into an error.

use super::grant::Grant;
use crate::{
    model::{
        id::Name,
        origin::{Family, Origin},
        refusal::{Code, Refusal},
        region::Region,
    },
    sys::{http::HttpClient, http_error::HttpError},
};
use http::{Request, StatusCode, header};
use oauth2::{
    AuthorizationCode, ClientId, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl,
    RefreshToken, RequestTokenError, TokenUrl,
    basic::{BasicClient, BasicErrorResponse, BasicErrorResponseType, BasicTokenResponse},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::{borrow::Cow, pin::Pin, time::Duration};

/// The scopes of a registration; the server checks them and grants what it has.
pub const SCOPE: &str = "projects analysis events insights segmentation retention data:read \
     funnels flows data_definitions dashboard_reports bookmarks";

/// The longest answer that is read.
const MAX_BYTES: usize = 1024 * 1024;
const WITHIN: Duration = Duration::from_secs(30);

/// The OAuth server of a region.
#[derive(Debug, Clone)]
pub struct Endpoint {
    http: HttpClient,
    origin: Origin,
    region: Region,
}

impl Endpoint {
    /// The server of this region.
    #[must_use]
    pub const fn new(http: HttpClient, region: Region) -> Self {
        Self { http, origin: Origin::new(Family::App, region), region }
    }

    /// Registers a public client for this redirect URI (RFC 7591).
    ///
    /// # Errors
    /// `OAUTH_REGISTRATION_ERROR`; with `retry_after` if the server said when.
    pub async fn register(&self, redirect: &RedirectUrl) -> Result<ClientId, Refusal> {
        const CODE: Code = Code::OauthRegistrationError;
        let body = json!({
            "redirect_uris": [redirect.as_str()],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "scope": SCOPE,
        });
        let request = Request::post("/oauth/mcp/register/")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|_| HttpError::Client.refusal(CODE, "the client registration"))?;
        let failed = |error: HttpError| error.refusal(CODE, "the client registration");
        let answer = self.http.send(self.origin, request, WITHIN).await.map_err(failed)?;
        let (status, retry_after) = (answer.status(), answer.retry_after());
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(too_many(CODE, "client registrations", retry_after));
        }
        if !status.is_success() {
            return Err(refused(CODE, "the client registration", status));
        }
        let bytes = answer.bytes(MAX_BYTES).await.map_err(failed)?;
        registered(&bytes).ok_or_else(|| {
            Refusal::new(CODE, "the answer to the client registration has no `client_id`")
                .hint(AGAIN)
        })
    }

    /// Exchanges the code of a callback for tokens.
    ///
    /// # Errors
    /// `OAUTH_TOKEN_ERROR`.
    pub async fn exchange(
        &self,
        client_id: &ClientId,
        redirect: &RedirectUrl,
        code: AuthorizationCode,
        verifier: PkceCodeVerifier,
    ) -> Result<Grant, Refusal> {
        const CODE: Code = Code::OauthTokenError;
        let what = "the exchange of the code";
        let client = BasicClient::new(client_id.clone()).set_token_uri(self.token_url(CODE)?);
        let answer = client
            .exchange_code(code)
            .set_pkce_verifier(verifier)
            .set_redirect_uri(Cow::Borrowed(redirect))
            .request_async(&self.caller())
            .await;
        match answer {
            Ok(answer) => read(&answer, CODE, what),
            Err(RequestTokenError::ServerResponse(said)) => {
                let error = short(said.error());
                Err(Refusal::new(CODE, format!("{what} was refused: `{error}`")).hint(AGAIN))
            }
            Err(error) => Err(failure(error, CODE, what)),
        }
    }

    /// Renews the tokens of an account.
    ///
    /// # Errors
    /// `OAUTH_REFRESH_REVOKED` if the login is dead, `OAUTH_REFRESH_ERROR` for all else.
    pub async fn refresh(
        &self,
        account: &Name,
        client_id: &ClientId,
        refresh_token: &SecretString,
    ) -> Result<Grant, Refusal> {
        const CODE: Code = Code::OauthRefreshError;
        let what = format!("refreshing the token of account `{account}`");
        let client = BasicClient::new(client_id.clone()).set_token_uri(self.token_url(CODE)?);
        let answer = client
            .exchange_refresh_token(&RefreshToken::new(refresh_token.expose_secret().to_owned()))
            .request_async(&self.caller())
            .await;
        let login = format!("run: mp-proxy account login {account}");
        match answer {
            Ok(answer) => read(&answer, CODE, &what),
            Err(RequestTokenError::ServerResponse(said))
                if *said.error() == BasicErrorResponseType::InvalidGrant =>
            {
                let message = format!("the login of account `{account}` was revoked or has ended");
                Err(Refusal::new(Code::OauthRefreshRevoked, message).hint(login))
            }
            Err(RequestTokenError::ServerResponse(said)) => {
                let error = short(said.error());
                Err(Refusal::new(CODE, format!("{what} was refused: `{error}`")).hint(login))
            }
            Err(error) => Err(failure(error, CODE, &what)),
        }
    }

    /// The region.
    #[must_use]
    pub const fn region(&self) -> Region {
        self.region
    }

    fn token_url(&self, code: Code) -> Result<TokenUrl, Refusal> {
        TokenUrl::new(format!("{}/oauth/token/", self.http.base(self.origin)))
            .map_err(|_| HttpError::Client.refusal(code, "the token request"))
    }

    /// [`Self::call`] as a value: one that borrows would tie the call to one thread.
    fn caller(
        &self,
    ) -> impl Fn(HttpRequest) -> Pin<Box<dyn Future<Output = Result<HttpResponse, CallError>> + Send>>
    {
        let endpoint = self.clone();
        move |request| {
            let endpoint = endpoint.clone();
            Box::pin(async move { endpoint.call(request).await })
        }
    }

    /// What the oauth2 crate calls. Only 200, 400 and 401 have a body that the protocol gives a
    /// meaning (RFC 6749 §5); any other status is the whole answer.
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, CallError> {
        let answer = self.http.send(self.origin, request, WITHIN).await?;
        let status = answer.status();
        if ![StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED].contains(&status) {
            return Err(CallError::Status(status, answer.retry_after()));
        }
        let mut response = HttpResponse::new(Vec::new());
        *response.status_mut() = status;
        // The content type is left out: some servers and boxes in between get it wrong.
        *response.body_mut() = answer.bytes(MAX_BYTES).await?;
        Ok(response)
    }
}

const AGAIN: &str = "run the same command again; if it lasts, check MP_PROXY_UPSTREAM and what stands between this machine and Mixpanel";

/// The id may come as a number.
fn registered(answer: &[u8]) -> Option<ClientId> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    match answer.get("client_id")? {
        Value::String(id) if !id.is_empty() => Some(ClientId::new(id.clone())),
        Value::Number(id) => Some(ClientId::new(id.to_string())),
        _ => None,
    }
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("status {0}")]
    Status(StatusCode, Option<u64>),
}

fn read(answer: &BasicTokenResponse, code: Code, what: &str) -> Result<Grant, Refusal> {
    Grant::read(answer).map_err(|field| {
        Refusal::new(code, format!("{what} failed: the answer has no `{field}`")).hint(AGAIN)
    })
}

fn failure(
    error: RequestTokenError<CallError, BasicErrorResponse>,
    code: Code,
    what: &str,
) -> Refusal {
    match error {
        RequestTokenError::Request(CallError::Http(error)) => error.refusal(code, what),
        RequestTokenError::Request(CallError::Status(StatusCode::TOO_MANY_REQUESTS, after)) => {
            too_many(code, "token requests", after)
        }
        RequestTokenError::Request(CallError::Status(status, _)) => refused(code, what, status),
        // SECURITY: the other variants carry the body or quote it.
        _ => Refusal::new(code, format!("{what} failed: the answer is not a token answer"))
            .hint(AGAIN),
    }
}

fn too_many(code: Code, what: &str, retry_after: Option<u64>) -> Refusal {
    let refusal = Refusal::new(code, format!("too many {what} (status 429)"));
    match retry_after {
        Some(seconds) => refusal
            .hint(format!("run the same command again in {seconds} seconds"))
            .retry_after(seconds),
        None => refusal.hint("run the same command again in a few minutes"),
    }
}

fn refused(code: Code, what: &str, status: StatusCode) -> Refusal {
    Refusal::new(
        code,
        format!("{what} failed: the server answered with status {}", status.as_u16()),
    )
    .hint(AGAIN)
}

/// The error word of the server. SECURITY: words that RFC 6749 does not define may be anything.
fn short(error: &BasicErrorResponseType) -> &str {
    match error {
        BasicErrorResponseType::Extension(_) => "an error that RFC 6749 does not define",
        known => known.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_a_word_or_a_number() {
        let id = |text: &str| registered(text.as_bytes()).map(|id| id.as_str().to_owned());
        assert_eq!(id(r#"{"client_id": "c-1"}"#).as_deref(), Some("c-1"));
        assert_eq!(id(r#"{"client_id": 12}"#).as_deref(), Some("12"));
        for bad in [r#"{"client_id": ""}"#, r#"{"client_id": null}"#, "{}", "", "[1]"] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_failure_has_its_own_words_and_none_of_the_body() {
        let of = |error| failure(error, Code::OauthRefreshError, "it");
        let status =
            |status, after| of(RequestTokenError::Request(CallError::Status(status, after)));
        let many = status(StatusCode::TOO_MANY_REQUESTS, Some(9));
        assert!(many.message.contains("too many token requests"), "{many}");
        assert_eq!(many.retry_after, Some(9));
        let broken = status(StatusCode::BAD_GATEWAY, None);
        assert!(broken.message.contains("with status 502"), "{broken}");
        let http = of(RequestTokenError::Request(CallError::Http(HttpError::Client)));
        let other = of(RequestTokenError::Other("s3cr3t".into()));
        assert!(other.message.contains("not a token answer"), "{other}");
        assert_ne!(http.message, other.message);
        assert!(!format!("{other:?}").contains("s3cr3t"));
        assert_eq!(short(&BasicErrorResponseType::InvalidClient), "invalid_client");
        let secret = BasicErrorResponseType::Extension("s3cr3t".into());
        assert_eq!(short(&secret), "an error that RFC 6749 does not define");
    }
}
