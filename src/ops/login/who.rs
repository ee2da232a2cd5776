//! What a login says when `/me` does not tell who a credential is. Called by `ops::login`.
//! Invariant: an answer that is no `/me` is no login.

use crate::{
    auth::me::MeError,
    model::refusal::{Code, Refusal},
};

/// The refusal: `rejected` for a credential that Mixpanel does not accept, `unreachable` for no
/// good answer; `again` is the command that repeats the login.
#[must_use]
pub fn unknown(error: &MeError, rejected: Code, unreachable: Code, again: &str) -> Refusal {
    match error {
        MeError::Rejected(_) => {
            Refusal::new(rejected, format!("Mixpanel does not accept this credential: {error}"))
                .hint(format!("check the credential and --region, then run: {again}"))
        }
        MeError::TooMany(after) => {
            let refusal = Refusal::new(Code::RateLimited, format!("too many requests: {error}"))
                .hint(format!("in a few minutes, run: {again}"));
            match after {
                Some(seconds) => refusal.retry_after(*seconds),
                None => refusal,
            }
        }
        MeError::Status(_) => Refusal::new(unreachable, error.to_string())
            .hint(format!("in a few minutes, run: {again}")),
        MeError::Http(error) => error.refusal(unreachable, "asking `/me`"),
        MeError::Json(_) | MeError::NotMe => Refusal::new(unreachable, error.to_string()).hint(
            format!("check what stands between this machine and Mixpanel, then run: {again}"),
        ),
    }
}
