//! Who a credential is that no account has yet: `/me` before anything is written. Called by
//! `ops::login`. Invariant: an answer that is no `/me` is no login.

use crate::{
    auth::credential::Authorization,
    model::{
        me::Me,
        origin::{Family, Origin},
        refusal::{Code, Refusal},
        region::Region,
    },
    store::me_json,
    sys::{http::HttpClient, http_error::HttpError},
};
use http::{Request, StatusCode, header};
use std::time::Duration;

/// It can be tens of megabytes.
const WITHIN: Duration = Duration::from_secs(120);
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What failed, before it has a code: the code depends on the type of the login.
#[derive(Debug)]
pub enum Unknown {
    /// The credential was refused with this status.
    Rejected(StatusCode),
    /// Too many requests.
    TooMany(Option<u64>),
    /// Any other status.
    Status(StatusCode),
    /// No answer.
    Http(HttpError),
    /// Not an answer of `/me`.
    NotMe,
}

impl Unknown {
    /// The refusal for a login of this code, with the command that repeats it.
    #[must_use]
    pub fn refusal(&self, rejected: Code, unreachable: Code, again: &str) -> Refusal {
        match self {
            Self::Rejected(status) => Refusal::new(
                rejected,
                format!(
                    "Mixpanel does not accept this credential (`/me` answered {})",
                    status.as_u16()
                ),
            )
            .hint(format!("check the credential and --region, then run: {again}")),
            Self::TooMany(after) => {
                let refusal =
                    Refusal::new(Code::RateLimited, "too many requests: `/me` answered 429")
                        .hint(format!("in a few minutes, run: {again}"));
                match after {
                    Some(seconds) => refusal.retry_after(*seconds),
                    None => refusal,
                }
            }
            Self::Status(status) => {
                Refusal::new(unreachable, format!("`/me` answered {}", status.as_u16()))
                    .hint(format!("in a few minutes, run: {again}"))
            }
            Self::Http(error) => error.refusal(unreachable, "asking `/me`"),
            Self::NotMe => Refusal::new(unreachable, "what answered is not Mixpanel's `/me`").hint(
                format!("check what stands between this machine and Mixpanel, then run: {again}"),
            ),
        }
    }
}

/// Asks `/me`.
///
/// # Errors
/// [`Unknown`].
pub async fn ask(
    http: &HttpClient,
    region: Region,
    authorization: &Authorization,
) -> Result<Me, Unknown> {
    let mut request = Request::new(Vec::new());
    *request.uri_mut() = http::Uri::from_static("/api/app/me");
    request.headers_mut().insert(header::AUTHORIZATION, authorization.value().clone());
    let origin = Origin::new(Family::App, region);
    let answer = http.send(origin, request, WITHIN).await.map_err(Unknown::Http)?;
    match answer.status() {
        StatusCode::OK => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            return Err(Unknown::Rejected(status));
        }
        StatusCode::TOO_MANY_REQUESTS => return Err(Unknown::TooMany(answer.retry_after())),
        status => return Err(Unknown::Status(status)),
    }
    let bytes = answer.bytes(MAX_BYTES).await.map_err(Unknown::Http)?;
    match me_json::parse(bytes.as_slice()) {
        Ok(parsed) if parsed.recognized => Ok(parsed.me),
        _ => Err(Unknown::NotMe),
    }
}
