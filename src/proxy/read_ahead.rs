//! A stream that is read a TLS record at a time, whatever is asked for: rustls asks for 4 KiB, and
//! one read of a whole record costs a quarter of the calls. Put below TLS by `connect`.
//! Invariant: a connection holds a buffer only while it holds bytes that were not asked for yet;
//! else a thread has one for all of its connections.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A record of TLS with room for its head.
const RECORD: usize = 17 * 1024;

thread_local! {
    /// The buffer that no connection of this thread holds; empty until it is needed.
    static SPARE: Cell<Box<[u8]>> = Cell::default();
}

/// The stream, read ahead.
#[derive(Debug)]
pub struct ReadAhead<S> {
    stream: S,
    /// What was read and not asked for: `from..to` of it.
    held: Box<[u8]>,
    from: usize,
    to: usize,
}

impl<S> ReadAhead<S> {
    /// Holds nothing yet.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self { stream, held: Box::default(), from: 0, to: 0 }
    }

    /// Passes on what is held, and the buffer back when that is all.
    fn pass(&mut self, buf: &mut ReadBuf<'_>) {
        let length = buf.remaining().min(self.to - self.from);
        buf.put_slice(&self.held[self.from..self.from + length]);
        self.from += length;
        if self.from == self.to {
            SPARE.set(std::mem::take(&mut self.held));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.from == this.to {
            if buf.remaining() >= RECORD {
                return Pin::new(&mut this.stream).poll_read(cx, buf);
            }
            let mut spare = SPARE.take();
            if spare.is_empty() {
                spare = vec![0; RECORD].into_boxed_slice();
            }
            let mut read = ReadBuf::new(&mut spare);
            let outcome = Pin::new(&mut this.stream).poll_read(cx, &mut read);
            let length = read.filled().len();
            if length <= buf.remaining() {
                buf.put_slice(read.filled());
                SPARE.set(spare);
                return outcome;
            }
            ready!(outcome)?;
            (this.held, this.from, this.to) = (spare, 0, length);
        }
        this.pass(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::VecDeque, future::poll_fn};

    /// Gives one of these at each call that has room for it.
    struct Script {
        parts: VecDeque<io::Result<Vec<u8>>>,
        calls: usize,
    }

    impl AsyncRead for Script {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.calls += 1;
            match self.parts.pop_front() {
                None => Poll::Pending,
                Some(Err(error)) => Poll::Ready(Err(error)),
                Some(Ok(mut part)) => {
                    let rest = part.split_off(part.len().min(buf.remaining()));
                    buf.put_slice(&part);
                    if !rest.is_empty() {
                        self.parts.push_front(Ok(rest));
                    }
                    Poll::Ready(Ok(()))
                }
            }
        }
    }

    fn ahead(parts: impl IntoIterator<Item = io::Result<Vec<u8>>>) -> ReadAhead<Script> {
        ReadAhead::new(Script { parts: parts.into_iter().collect(), calls: 0 })
    }

    /// What one read of at most `room` bytes gives; `None` if it has to wait.
    async fn read(ahead: &mut ReadAhead<Script>, room: usize) -> Option<io::Result<Vec<u8>>> {
        let mut bytes = vec![0; room];
        let outcome = poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut bytes);
            let read = Pin::new(&mut *ahead).poll_read(cx, &mut buf);
            let length = buf.filled().len();
            Poll::Ready(match read {
                Poll::Pending => None,
                Poll::Ready(read) => Some(read.map(|()| length)),
            })
        });
        let outcome = outcome.await?;
        Some(outcome.map(|length| {
            bytes.truncate(length);
            bytes
        }))
    }

    fn record(length: usize) -> Vec<u8> {
        (0..=255).cycle().take(length).collect()
    }

    #[tokio::test]
    async fn a_whole_record_costs_one_read_and_holds_a_buffer_only_until_it_is_passed_on() {
        let whole = record(16_000);
        let mut stream = ahead([Ok(whole.clone())]);
        let mut got = Vec::new();
        for _ in 0..4 {
            got.extend(read(&mut stream, 4096).await.unwrap().unwrap());
            assert_eq!(stream.held.is_empty(), got.len() == whole.len(), "at {}", got.len());
        }
        assert!(got == whole, "other bytes");
        assert_eq!(stream.stream.calls, 1);
        assert!(read(&mut stream, 4096).await.is_none());
    }

    #[tokio::test]
    async fn what_fits_is_passed_on_at_once_and_what_is_large_is_read_in_place() {
        let mut stream = ahead([Ok(record(300)), Ok(record(40_000)), Ok(Vec::new())]);
        assert_eq!(read(&mut stream, 4096).await.unwrap().unwrap(), record(300));
        assert!(stream.held.is_empty());
        let large = read(&mut stream, 30_000).await.unwrap().unwrap();
        assert!(large == record(30_000), "other bytes");
        let rest = read(&mut stream, 30_000).await.unwrap().unwrap();
        assert!(rest == record(40_000)[30_000..], "other bytes");
        assert!(read(&mut stream, 4096).await.unwrap().unwrap().is_empty(), "the end is an end");
        assert_eq!(stream.stream.calls, 4);
    }

    #[tokio::test]
    async fn an_error_comes_after_what_was_read_and_harms_no_other_connection() {
        let mut broken = ahead([Ok(record(5000)), Err(io::ErrorKind::ConnectionReset.into())]);
        let mut other = ahead([Ok(record(9000))]);
        assert_eq!(read(&mut broken, 4096).await.unwrap().unwrap().len(), 4096);
        // In between, while the first one holds its buffer.
        assert!(read(&mut other, 4096).await.unwrap().unwrap() == record(4096), "other bytes");
        assert!(read(&mut broken, 4096).await.unwrap().unwrap() == record(5000)[4096..]);
        let error = read(&mut broken, 4096).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(read(&mut other, 9000).await.unwrap().unwrap() == record(9000)[4096..]);
    }
}
