//! Reading an answer's body to share it, up to a limit. Called by `share`.
//! Invariant: what turns out too large, or breaks, goes on as it came, the read part in front.

use crate::proxy::{body::ResponseBody, error::BoxError};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

/// A body, read or not.
#[derive(Debug)]
pub enum Collected {
    /// All of it.
    Whole(Bytes),
    /// Too large, broken, or with trailers.
    Streaming(ResponseBody),
}

/// Reads a body of at most `limit` bytes.
pub async fn collect(mut body: ResponseBody, limit: usize) -> Collected {
    if body.size_hint().lower() > limit as u64 {
        return Collected::Streaming(body);
    }
    let mut have = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let over = match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => {
                    have.extend_from_slice(&data);
                    if have.len() <= limit {
                        continue;
                    }
                    None
                }
                Err(trailers) => Some(Ok(trailers)),
            },
            Err(error) => Some(Err(error)),
        };
        let read = Ok(Frame::data(have.freeze()));
        let front: VecDeque<_> = [Some(read), over].into_iter().flatten().collect();
        return Collected::Streaming(ResponseBody::Boxed(
            Resumed { front, rest: body }.boxed_unsync(),
        ));
    }
    Collected::Whole(have.freeze())
}

/// What was read, then the rest.
struct Resumed {
    front: VecDeque<Result<Frame<Bytes>, BoxError>>,
    rest: ResponseBody,
}

impl Body for Resumed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.front.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }
}
