//! Bodies passing through: chunks are handed on as they came, and a side that falls silent
//! ends the transfer as broken. Made by `forward` for both directions.
//! Invariant: a body that broke is never ended cleanly.

use super::{
    error::{BoxError, BrokenUpload, Idle},
    pool::Lease,
};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// Up to this size a request body with a length is held, so that it can be sent in one write
/// with its head, and once more if need be.
pub const REPLAYABLE: u64 = 64 * 1024;

/// Counts what an upload has moved, so that the header timer can tell waiting from sending,
/// and so that it can be reported.
#[derive(Debug, Clone, Default)]
pub struct Progress(Option<Arc<AtomicU64>>);

impl Progress {
    /// Of a body; nothing ever moves of an empty one.
    #[must_use]
    pub fn of(body: &impl Body) -> Self {
        Self((!body.is_end_stream()).then(Arc::default))
    }

    /// The bytes that have moved.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.0.as_ref().map_or(0, |moved| moved.load(Ordering::Relaxed))
    }

    fn add(&self, bytes: usize) {
        if let Some(moved) = &self.0 {
            moved.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

/// A body that must not fall silent for longer than `idle`.
#[derive(Debug)]
pub struct Passing {
    inner: Incoming,
    idle: Duration,
    /// Made at the first wait: most bodies are there at once.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    progress: Progress,
}

impl Passing {
    /// Wraps `inner`.
    #[must_use]
    pub const fn new(inner: Incoming, idle: Duration, progress: Progress) -> Self {
        Self { inner, idle, timer: None, waiting: false, progress }
    }

    /// The next frame, without a clock.
    fn arrived(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.waiting = false;
        let moved = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        if let Some(data) = moved {
            self.progress.add(data.len());
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = self.arrived(cx) {
            return Poll::Ready(frame);
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.idle)));
        if !self.waiting {
            // The clock runs only while the other side owes bytes, not while back-pressure holds us.
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + self.idle);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(Idle.into())))
    }
}

/// The body of a request on its way to the upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// All of it; can be sent again.
    Whole(Bytes),
    /// What was read so far, and the rest as it comes.
    Streaming {
        /// Goes first.
        first: Bytes,
        /// Then this; boxed, since requests are moved often and seldom stream.
        rest: Box<Passing>,
    },
}

impl RequestBody {
    /// Takes what has already arrived of a small body; a larger one, or one without a length,
    /// streams from its first byte.
    pub async fn begin(
        inner: Incoming,
        idle: Duration,
        progress: Progress,
    ) -> Result<Self, BoxError> {
        if inner.is_end_stream() {
            return Ok(Self::Whole(Bytes::new()));
        }
        let exact = inner.size_hint().exact().filter(|length| *length <= REPLAYABLE);
        let mut rest = Box::new(Passing::new(inner, idle, progress));
        let Some(length) = exact else {
            return Ok(Self::Streaming { first: Bytes::new(), rest });
        };
        let mut parts: Vec<Bytes> = Vec::new();
        let mut have = 0;
        while have < length {
            match arrived(&mut rest).await {
                Some(Some(frame)) => {
                    if let Ok(data) = frame?.into_data() {
                        have += data.len() as u64;
                        parts.push(data);
                    }
                }
                // An end before its length is the sender's fault, which hyper reports.
                Some(None) | None => break,
            }
        }
        let first = match parts.len() {
            1 => parts.swap_remove(0),
            _ => parts.concat().into(),
        };
        Ok(if have == length { Self::Whole(first) } else { Self::Streaming { first, rest } })
    }

    /// Waits for the rest of a body of at most `limit` bytes, so that it is whole; a larger one
    /// goes on streaming, with what was read of it in front.
    ///
    /// # Errors
    /// The upload broke off or fell silent.
    pub async fn hold(self, limit: usize) -> Result<Self, BoxError> {
        let Self::Streaming { first, mut rest } = self else { return Ok(self) };
        let large = rest.inner.size_hint().lower() > limit as u64;
        if large {
            return Ok(Self::Streaming { first, rest });
        }
        let mut have = BytesMut::from(first);
        loop {
            match std::future::poll_fn(|cx| rest.poll(cx)).await.transpose()? {
                None => return Ok(Self::Whole(have.freeze())),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        have.extend_from_slice(&data);
                    }
                }
            }
            if have.len() > limit {
                return Ok(Self::Streaming { first: have.freeze(), rest });
            }
        }
    }

    /// All of the body, if it is here.
    #[must_use]
    pub fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Streaming { .. } => None,
        }
    }

    /// The same body once more, if it is still there.
    #[must_use]
    pub fn again(&self) -> Option<Self> {
        match self {
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            Self::Streaming { .. } => None,
        }
    }
}

/// The next frame, if it is there or comes as soon as the connection was asked for it.
async fn arrived(body: &mut Passing) -> Option<Option<Result<Frame<Bytes>, BoxError>>> {
    let mut asked = false;
    std::future::poll_fn(|cx| match body.arrived(cx) {
        Poll::Ready(frame) => Poll::Ready(Some(frame)),
        Poll::Pending if asked => Poll::Ready(None),
        Poll::Pending => {
            asked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) => bytes,
            Self::Streaming { first, rest } if first.is_empty() => {
                let broken = |error| BoxError::from(BrokenUpload(error));
                return rest.poll(cx).map(|frame| frame.map(|frame| frame.map_err(broken)));
            }
            Self::Streaming { first, .. } => first,
        };
        let bytes = std::mem::take(bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Streaming { first, rest } => first.is_empty() && rest.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streaming { first, rest } => {
                let mut hint = rest.inner.size_hint();
                let first = first.len() as u64;
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper + first);
                }
                hint.set_lower(hint.lower() + first);
                hint
            }
        }
    }
}

/// The body of everything that the listener answers.
#[derive(Debug)]
pub enum ResponseBody {
    /// An answer of our own.
    Whole(Full<Bytes>),
    /// The upstream's, and the connection that it comes over.
    Upstream {
        /// The bytes.
        body: Passing,
        /// Given back at the end of the body.
        lease: Option<Lease>,
    },
    /// Anything else that streams.
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
}

impl ResponseBody {
    /// The upstream's body; its connection is free at the end of it.
    #[must_use]
    pub fn upstream(inner: Incoming, idle: Duration, lease: Lease) -> Self {
        if inner.is_end_stream() {
            lease.give_back();
            return full(Bytes::new());
        }
        Self::Upstream { body: Passing::new(inner, idle, Progress::default()), lease: Some(lease) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never: std::convert::Infallible| match never {}),
            Self::Boxed(body) => Pin::new(body).poll_frame(cx),
            Self::Upstream { body, lease } => {
                let frame = ready!(body.poll(cx));
                let ended = match &frame {
                    None => true,
                    Some(Ok(_)) => body.inner.is_end_stream(),
                    Some(Err(_)) => {
                        // The connection is in an unknown state: it is dropped, not reused.
                        drop(lease.take());
                        false
                    }
                };
                if ended && let Some(lease) = lease.take() {
                    lease.give_back();
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
            Self::Upstream { body, .. } => body.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Boxed(body) => body.size_hint(),
            Self::Upstream { body, .. } => body.inner.size_hint(),
        }
    }
}

/// A whole answer of our own.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    ResponseBody::Whole(Full::new(bytes.into()))
}
