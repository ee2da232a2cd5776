//! A body passing through: chunks are handed on as they came, and a side that falls
//! silent ends the transfer as broken. Made by `forward` for both directions.
//! Invariant: a body that broke is never ended cleanly.

use super::error::{BoxError, Idle};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
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

/// The body of everything that the listener answers.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// Counts what an upload has moved, so that the header timer can tell waiting from sending.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// A number that changes whenever bytes move.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A body that must not fall silent for longer than `idle`.
pub struct Passing<B> {
    inner: B,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    progress: Progress,
}

impl<B> Passing<B> {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: B, idle: Duration, progress: Progress) -> Self {
        Self { inner, idle, timer: Box::pin(tokio::time::sleep(idle)), waiting: false, progress }
    }
}

impl<B> Body for Passing<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.waiting = false;
            this.progress.advance();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if !this.waiting {
            // The clock runs only while the other side owes bytes, not while back-pressure holds us.
            this.waiting = true;
            this.timer.as_mut().reset(Instant::now() + this.idle);
        }
        ready!(this.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(Idle.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A whole answer of our own.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
