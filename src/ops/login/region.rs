//! Finding the region of a credential that does not say: us, then eu, then in. Called by
//! `ops::login`. Invariant: five seconds a region, and the first that accepts it ends the search.

use crate::{
    auth::{credential::Authorization, me, oauth::login::Person},
    model::{
        refusal::{Code, Refusal},
        region::Region,
        session::CustomHeader,
    },
    sys::http::HttpClient,
};
use http::StatusCode;
use std::time::Duration;

const EACH: Duration = Duration::from_secs(5);

/// The first region whose `/me` accepts the credential.
///
/// # Errors
/// `OAUTH_NETWORK_UNREACHABLE` if none could be reached, `OAUTH_REGION_PROBE_FAILED` if any of
/// them answered and none accepted.
pub async fn probe(
    http: &HttpClient,
    authorization: &Authorization,
    headers: &[CustomHeader],
    person: &dyn Person,
) -> Result<Region, Refusal> {
    let mut said = Vec::new();
    let mut reached = 0_usize;
    for region in Region::ALL {
        person.progress(&format!("looking for the region: `{region}`"));
        match me::ask(http, region, authorization, headers, EACH).await {
            Ok(answer) if answer.status() == StatusCode::OK => return Ok(region),
            Ok(answer) => {
                reached += 1;
                said.push(format!("`{region}` answered {}", answer.status().as_u16()));
            }
            Err(error) => said.push(format!("`{region}`: {error}")),
        }
    }
    let said = said.join("; ");
    Err(if reached == 0 {
        Refusal::new(
            Code::OauthNetworkUnreachable,
            format!("no region of Mixpanel could be reached: {said}"),
        )
        .hint("check the network (HTTPS_PROXY, SSL_CERT_FILE, MP_PROXY_UPSTREAM), then run the same command again")
    } else {
        Refusal::new(
            Code::OauthRegionProbeFailed,
            format!("no region of Mixpanel accepts this credential: {said}"),
        )
        .hint("check user name and secret (or the token); with --region us|eu|in only that one is asked")
    })
}
