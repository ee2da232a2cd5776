//! One exchange with the upstream over this worker's pool. Called by `handler` with a
//! finished request.
//! Invariant: no redirect is followed, no body is changed, and a request is sent a second time
//! only where RFC 9110 §9.2.2 allows it.

use super::{
    body::{Progress, RequestBody, ResponseBody},
    destination::Destination,
    error::{ConnectFailed, silent, upstream_failure},
    pool::{Lease, Origin, Pool},
};
use crate::model::refusal::{Code, Refusal};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};
use tokio::time::Instant;

/// How long to wait for what. There is no total time: exports may run for hours.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For TCP and TLS together.
    pub connect: Duration,
    /// For response headers, counted from the last byte of the upload that moved.
    pub header: Duration,
    /// For the next bytes of a body.
    pub idle: Duration,
}

/// Whether a request may be sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It is idempotent (RFC 9110 §9.2.2) and costs nobody anything.
    Allowed,
    /// Only if it is certain that nothing of it was sent.
    Unsent,
}

/// Sends the request and answers with the upstream's response, its body streaming.
///
/// # Errors
/// Unreachable, bad certificate, broken or silent upstream.
pub async fn send(
    pool: &Arc<Pool>,
    timeouts: &Timeouts,
    destination: &Destination,
    request: Request<RequestBody>,
    progress: &Progress,
    repeat: Repeat,
) -> Result<Response<ResponseBody>, Refusal> {
    let host = destination.host;
    let unreachable = |error| upstream_failure(host, &ConnectFailed(error));
    let mut lease = pool.lease(destination).await.map_err(unreachable)?;
    let spare = match (repeat, lease.origin()) {
        (Repeat::Allowed, Origin::Stale) => again(&request),
        _ => None,
    };
    let answer = match exchange(&mut lease, request, timeouts, progress, host).await? {
        Ok(answer) => answer,
        Err(Failed { error, unsent }) => {
            let second = unsent.or(spare).filter(|_| lease.origin() != Origin::Fresh);
            let Some(request) = second else { return Err(upstream_failure(host, &error)) };
            lease = Box::pin(pool.fresh(destination)).await.map_err(unreachable)?;
            Box::pin(exchange(&mut lease, request, timeouts, progress, host))
                .await?
                .map_err(|failed| upstream_failure(host, &failed.error))?
        }
    };
    check(&answer, host)?;
    Ok(answer.map(|body| ResponseBody::upstream(body, timeouts.idle, lease)))
}

/// A request that got no answer.
struct Failed {
    error: hyper::Error,
    /// The request itself, if nothing of it went out.
    unsent: Option<Request<RequestBody>>,
}

async fn exchange(
    lease: &mut Lease,
    request: Request<RequestBody>,
    timeouts: &Timeouts,
    progress: &Progress,
    host: &str,
) -> Result<Result<Response<Incoming>, Failed>, Refusal> {
    let (sender, timer) = lease.parts();
    timer.as_mut().reset(Instant::now() + timeouts.header);
    let mut answer = pin!(sender.try_send_request(request));
    let mut mark = progress.mark();
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer.map_err(|mut failed| {
                let unsent = failed.take_message();
                Failed { error: failed.into_error(), unsent }
            })));
        }
        while timer.as_mut().poll(cx).is_ready() {
            if progress.mark() == mark {
                return Poll::Ready(Err(silent(host)));
            }
            // The upload is still moving: it is not the upstream that is late.
            mark = progress.mark();
            timer.as_mut().reset(Instant::now() + timeouts.header);
        }
        Poll::Pending
    })
    .await
}

/// A copy of the request, if its body is still whole.
pub(super) fn again(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let body = request.body().again()?;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// What hyper leaves to us: an unasked 101, and codings that cannot be passed on.
fn check(answer: &Response<Incoming>, host: &str) -> Result<(), Refusal> {
    let odd = |value: &http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"chunked");
    let codings = answer.headers().get_all(header::TRANSFER_ENCODING);
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS || codings.iter().any(odd) {
        return Err(Refusal::new(
            Code::UpstreamBroken,
            format!("`{host}` answered with an upgrade or an unknown transfer coding"),
        )
        .hint("check what stands between this machine and Mixpanel"));
    }
    Ok(())
}
