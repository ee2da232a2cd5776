//! One request from its head to the last byte of its answer. Begun and filled in by `handler`,
//! then carried by the body of the answer, whose end finishes it.
//! Invariant: every request that was begun is finished exactly once, whatever becomes of it.

use super::{
    Recorder,
    request_id::{X_REQUEST_ID, X_UPSTREAM_REQUEST_ID},
    seen::{AnsweredBy, End, Seen, Times, Whom},
    trace_context::TraceContext,
};
use crate::{
    auth::ready::ReadySession,
    model::refusal::Refusal,
    proxy::{
        body::{Progress, ResponseBody},
        error::BoxError,
        limits::Counted,
        route::Route,
    },
};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, Uri, request::Parts};
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

/// The route of our own endpoints.
pub(super) const OWN: &str = "/_mp";
/// The status of a request that nobody got an answer to, as nginx and others have it.
const UNANSWERED: u16 = 499;
/// Who called where callers are not told apart.
const ANYBODY: &str = "local";

/// What is known of a request so far.
pub struct Record {
    recorder: Arc<Recorder>,
    method: Method,
    target: Uri,
    id: HeaderValue,
    trace: Option<TraceContext>,
    caller: Option<Arc<str>>,
    slot: Option<Counted>,
    route: &'static str,
    ready: Option<Arc<ReadySession>>,
    upload: Option<Progress>,
    by: By,
    status: StatusCode,
    started: Instant,
    paced: Duration,
    sent: Option<Instant>,
    upstream: Duration,
    own: Duration,
    down: u64,
    /// Whether it goes with an answer, whose end finishes it.
    followed: bool,
}

/// Whose answer it became.
enum By {
    Upstream,
    Shared,
    Endpoint,
    Refusal(&'static str, String),
    /// There is none.
    Nobody,
}

impl Record {
    /// Begins with the head of the request.
    #[must_use]
    pub fn begin(recorder: &Arc<Recorder>, request: &Parts) -> Box<Self> {
        recorder.begun();
        // Boxed, since hyper moves the answer that carries it several times.
        Box::new(Self {
            method: request.method.clone(),
            target: request.uri.clone(),
            id: recorder.ids.of(&request.headers),
            trace: TraceContext::of(&request.headers),
            recorder: Arc::clone(recorder),
            caller: None,
            slot: None,
            route: "",
            ready: None,
            upload: None,
            by: By::Endpoint,
            status: StatusCode::OK,
            started: Instant::now(),
            paced: Duration::ZERO,
            sent: None,
            upstream: Duration::ZERO,
            own: Duration::ZERO,
            down: 0,
            followed: false,
        })
    }

    /// It is one of our own endpoints.
    pub fn endpoint(&mut self) {
        self.route = OWN;
        self.recorder.aside();
    }

    /// Who called, once that is proved.
    pub fn caller(&mut self, name: &Arc<str>) {
        self.caller = Some(Arc::clone(name));
    }

    /// Its place among the requests of its caller, given back with the record.
    pub fn slot(&mut self, slot: Counted) {
        self.slot = Some(slot);
    }

    /// Where it goes.
    pub const fn route(&mut self, route: &'static Route) {
        self.route = route.prefix;
    }

    /// As whom it goes.
    pub fn session(&mut self, ready: &Arc<ReadySession>) {
        self.ready = Some(Arc::clone(ready));
    }

    /// It stood before the quota for so long; what is too short to have waited is our own time.
    pub fn held(&mut self, waited: Duration) {
        if waited >= Duration::from_millis(1) {
            self.paced += waited;
        }
    }

    /// When it began.
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// It is about to leave for the upstream; `upload` counts its body.
    pub fn sent(&mut self, upload: &Progress) {
        self.upload = Some(upload.clone());
        self.sent = Some(Instant::now());
    }

    /// The head of the upstream's answer is here.
    pub fn answered(&mut self) {
        self.upstream += self.sent.take().map_or(Duration::ZERO, |sent| sent.elapsed());
        self.by = By::Upstream;
    }

    /// An equal read had fetched the answer.
    pub fn shared(&mut self) {
        self.by = By::Shared;
    }

    /// We said no.
    pub fn refused(&mut self, refusal: &Refusal) {
        self.upstream += self.sent.take().map_or(Duration::ZERO, |sent| sent.elapsed());
        self.by = By::Refusal(refusal.code.as_str(), refusal.message.clone());
    }

    /// Puts the request's id on the answer and follows its body to the end.
    #[must_use]
    pub fn follow(mut self: Box<Self>, mut response: Response<ResponseBody>) -> Response<Observed> {
        self.status = response.status();
        let theirs = response.headers_mut().insert(X_REQUEST_ID, self.id.clone());
        if let Some(theirs) = theirs.filter(|theirs| *theirs != self.id) {
            response.headers_mut().insert(X_UPSTREAM_REQUEST_ID, theirs);
        }
        self.measure();
        self.followed = true;
        response.map(|body| Observed { body, record: self, ended: false })
    }

    /// What of the time was our own.
    fn measure(&mut self) {
        self.own = self.started.elapsed().saturating_sub(self.upstream + self.paced);
    }

    fn finish(&self, end: End) {
        let whom = self.ready.as_ref().map(|ready| Whom {
            account: ready.session.account.name.as_str(),
            project: ready.session.project.as_str(),
            workspace: ready.session.workspace.map(|id| id.get()),
        });
        let answered_by = match &self.by {
            By::Upstream => AnsweredBy::Upstream,
            By::Shared => AnsweredBy::Shared,
            By::Endpoint => AnsweredBy::Endpoint,
            By::Nobody => AnsweredBy::Nobody,
            By::Refusal(code, detail) => AnsweredBy::Refusal { code, detail },
        };
        self.recorder.finish(&Seen {
            method: &self.method,
            path: self.target.path(),
            query: self.target.query(),
            route: self.route,
            status: self.status,
            answered_by,
            whom,
            caller: self.caller.as_deref().unwrap_or(ANYBODY),
            request_id: self.id.to_str().unwrap_or("-"),
            trace: self.trace,
            times: Times {
                own: self.own,
                paced: self.paced,
                upstream: self.upstream,
                total: self.started.elapsed(),
            },
            bytes_up: self.upload.as_ref().map_or(0, Progress::mark),
            bytes_down: self.down,
            end,
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.followed {
            return;
        }
        // The caller hung up before there was an answer, or the proxy was stopped.
        self.upstream += self.sent.take().map_or(Duration::ZERO, |sent| sent.elapsed());
        self.measure();
        self.by = By::Nobody;
        self.status = StatusCode::from_u16(UNANSWERED).unwrap_or(StatusCode::BAD_REQUEST);
        self.finish(End::Cut);
    }
}

/// The body of an answer, counted.
pub struct Observed {
    body: ResponseBody,
    record: Box<Record>,
    ended: bool,
}

impl Body for Observed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            None => this.ended = true,
            Some(Ok(frame)) => {
                this.record.down += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        // An answer to HEAD has no bytes to send; one of our own is whole from the beginning.
        let whole = self.ended
            || self.body.is_end_stream()
            || self.record.method == Method::HEAD
            || !matches!(self.record.by, By::Upstream);
        self.record.finish(if whole { End::Whole } else { End::Cut });
    }
}
