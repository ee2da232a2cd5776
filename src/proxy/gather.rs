//! A socket that small writes leave by in one piece. hyper and rustls hand over head and body, or
//! records, side by side; the kernel takes such a list by a longer way (`writev`) than one buffer
//! (`send`), which costs more than to put together what is small.
//! Put around every socket by `threads` and `connect`. Invariant: larger bodies are not copied.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Up to here bytes are put together: most heads, with the small body that goes along.
const SMALL: usize = 1024;

/// The socket.
#[derive(Debug)]
pub struct Gather<S>(pub S);

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.0);
        if let [one] = bufs {
            return stream.poll_write(cx, one);
        }
        let mut all = [0; SMALL];
        let mut length = 0;
        for buf in bufs {
            let end = length + buf.len();
            let Some(room) = all.get_mut(length..end) else {
                return stream.poll_write_vectored(cx, bufs);
            };
            room.copy_from_slice(buf);
            length = end;
        }
        stream.poll_write(cx, &all[..length])
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// Notes each call: the lengths of what it was given.
    #[derive(Default)]
    struct Calls(Vec<Vec<usize>>, Vec<u8>);

    impl AsyncWrite for Calls {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(vec![buf.len()]);
            self.1.extend(buf);
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bufs.iter().map(|buf| buf.len()).collect());
            bufs.iter().for_each(|buf| self.1.extend(&**buf));
            Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_small_goes_out_in_one_piece_and_nothing_large_is_copied() {
        let mut stream = Gather(Calls::default());
        assert!(stream.is_write_vectored());
        let bytes: Vec<u8> = (0..=255).cycle().take(20_000).collect();
        let mut sent: Vec<u8> = Vec::new();
        for (parts, calls) in [
            (vec![300, 200], vec![500]),
            (vec![0, 7, 0], vec![7]),
            (vec![1000, 24], vec![1024]),
            (vec![1000, 25], vec![1000, 25]),
            (vec![16_000], vec![16_000]),
            (vec![], vec![0]),
        ] {
            let mut rest = &bytes[..];
            let mut bufs = Vec::new();
            for part in &parts {
                let (first, after) = rest.split_at(*part);
                bufs.push(IoSlice::new(first));
                sent.extend(first);
                rest = after;
            }
            let write = |cx: &mut Context<'_>| Pin::new(&mut stream).poll_write_vectored(cx, &bufs);
            let written = poll_fn(write).await.unwrap();
            assert_eq!(written, parts.iter().sum::<usize>());
            assert_eq!(stream.0.0.last(), Some(&calls), "{parts:?}");
        }
        assert!(stream.0.1 == sent, "other bytes");
    }
}
