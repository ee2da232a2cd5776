//! Who a credential is that no account has yet: `/me` before anything is written. Called by
//! `ops::login`. Invariant: an answer that is no `/me` is no login.

use crate::{
    auth::{
        credential::Authorization,
        me::{self, MeError},
    },
    model::{
        me::Me,
        refusal::{Code, Refusal},
        region::Region,
    },
    sys::{http::HttpClient, http_error::HttpError},
};
use http::StatusCode;

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
    me::fetch(http, region, authorization, &[], me::WITHIN).await.map_err(|error| match error {
        MeError::Rejected(status) => Unknown::Rejected(status),
        MeError::TooMany(after) => Unknown::TooMany(after),
        MeError::Status(status) => Unknown::Status(status),
        MeError::Http(error) => Unknown::Http(error),
        MeError::Json(_) | MeError::NotMe => Unknown::NotMe,
    })
}
