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
use hyper::{body::Incoming, client::conn::TrySendError};
use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::time::{Instant, Sleep};

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
pub fn send<'a>(
    pool: &'a Arc<Pool>,
    timeouts: &'a Timeouts,
    destination: &'a Destination,
    request: Request<RequestBody>,
    progress: &'a Progress,
    repeat: Repeat,
) -> impl Future<Output = Result<Response<ResponseBody>, Refusal>> + 'a {
    // No `async fn`: that would keep the request twice.
    let host = destination.host;
    async move {
        let unreachable = |error| upstream_failure(host, &ConnectFailed(error));
        let mut lease = pool.lease(destination).await.map_err(unreachable)?;
        let spare = match (repeat, lease.origin()) {
            (Repeat::Allowed, Origin::Stale) => again(&request).map(Box::new),
            _ => None,
        };
        let (sender, timer) = lease.parts();
        let answer = pin!(sender.try_send_request(request));
        let (error, second) = match wait(answer, timer, timeouts, progress, host).await? {
            Ok(answer) => return streaming(answer, lease, timeouts, host),
            Err(Failed { error, unsent }) => (error, unsent.map(Box::new).or(spare)),
        };
        let second = second.filter(|_| lease.origin() != Origin::Fresh);
        let Some(request) = second else { return Err(upstream_failure(host, &error)) };
        // Boxed, since it is large and rare.
        let again = async {
            let mut lease = pool.fresh(destination).await.map_err(unreachable)?;
            let (sender, timer) = lease.parts();
            let answer = pin!(sender.try_send_request(*request));
            let answer = wait(answer, timer, timeouts, progress, host).await?;
            let answer = answer.map_err(|failed| upstream_failure(host, &failed.error))?;
            streaming(answer, lease, timeouts, host)
        };
        Box::pin(again).await
    }
}

/// A request that got no answer.
struct Failed {
    error: hyper::Error,
    /// The request itself, if nothing of it went out.
    unsent: Option<Request<RequestBody>>,
}

/// Waits for the head of the answer, for as long as the upload moves or the upstream may take.
async fn wait(
    mut answer: Pin<&mut impl Future<Output = Answer>>,
    timer: &mut Pin<Box<Sleep>>,
    timeouts: &Timeouts,
    progress: &Progress,
    host: &str,
) -> Result<Result<Response<Incoming>, Failed>, Refusal> {
    timer.as_mut().reset(Instant::now() + timeouts.header);
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

/// What hyper makes of a request that it is given.
type Answer = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// The answer with its body still to come.
fn streaming(
    answer: Response<Incoming>,
    lease: Lease,
    timeouts: &Timeouts,
    host: &str,
) -> Result<Response<ResponseBody>, Refusal> {
    check(&answer, host)?;
    Ok(answer.map(|body| ResponseBody::upstream(body, timeouts.idle, lease)))
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
