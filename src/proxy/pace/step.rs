//! The two steps of the corridor that pace: before a request is sent, and with its outcome.
//! Called by `handler`.

use super::{Counted, Pacer, Permit, counted, keep};
use crate::{
    model::{
        refusal::{Code, Refusal},
        session::Session,
    },
    proxy::{
        body::{RequestBody, ResponseBody},
        destination::Destination,
        route::Route,
    },
};
use http::{HeaderName, Response, Uri};

/// Lets a request through, counted if Mixpanel counts it.
///
/// # Errors
/// As [`Pacer::admit`].
pub async fn pass(
    pacer: &Pacer,
    route: &Route,
    uri: &Uri,
    body: &RequestBody,
    destination: &Destination,
    session: &Session,
    caller: &str,
) -> Result<Option<Permit>, Refusal> {
    if !pacer.is_on() {
        return Ok(None);
    }
    let Some(family) = counted::family(route, uri, body.whole()) else { return Ok(None) };
    let request = Counted {
        family,
        host: destination.host_header.to_str().unwrap_or(destination.host),
        project: counted::project(uri, session.project.as_str()),
        caller,
        account: session.account.name.as_str(),
    };
    pacer.admit(request).await
}

/// Takes in the outcome of a request, and tells the caller what is left.
///
/// # Errors
/// That of the outcome.
pub fn outcome(
    permit: Option<Permit>,
    sent: Result<Response<ResponseBody>, Refusal>,
) -> Result<Response<ResponseBody>, Refusal> {
    let Some(mut permit) = permit else { return sent };
    match sent {
        Err(refusal) => {
            if matches!(refusal.code, Code::UpstreamUnreachable | Code::UpstreamTls) {
                permit.not_sent();
            }
            Err(refusal)
        }
        Ok(mut response) => {
            let quota = permit.answered(response.status(), response.headers());
            response.headers_mut().insert(HEADER, quota);
            Ok(match permit.slot() {
                Some(slot) => response.map(|body| keep::until_the_end(body, slot)),
                None => response,
            })
        }
    }
}

/// Says what is left of a budget.
pub const HEADER: HeaderName = HeaderName::from_static("x-mp-quota");
