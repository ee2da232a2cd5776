//! An answer that holds something until it has ended: a place among the requests in flight.
//! Made by `handler` for paced answers only.

use crate::proxy::{body::ResponseBody, error::BoxError};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

struct Kept<K> {
    inner: ResponseBody,
    keep: Option<K>,
}

/// The same body, with `keep` let go of at its end.
#[must_use]
pub fn until_the_end<K: Send + Unpin + 'static>(inner: ResponseBody, keep: K) -> ResponseBody {
    if inner.is_end_stream() {
        return inner;
    }
    ResponseBody::Boxed(Kept { inner, keep: Some(keep) }.boxed_unsync())
}

impl<K: Unpin> Body for Kept<K> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || self.inner.is_end_stream() {
            self.keep = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
