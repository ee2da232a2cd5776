//! How long a caller may take over a request head, and how long a connection is kept without one.
//! Used by `connection` for each connection. hyper knows one time for both, which begins when it
//! starts to wait for a head; here that wait is cut in two by the first byte.
//! Invariant: once a head has begun, its time runs, however slowly the rest drips in.

use hyper::rt::{Sleep, Timer};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The two times of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a head, from its first byte on; for the first head, from the connection's start.
    pub(super) head: Duration,
    /// For the silence between two requests.
    pub(super) idle: Duration,
}

/// No head was waited for so far.
const NEW: u8 = 0;
/// A head is waited for, and nothing of it is here.
const SILENT: u8 = 1;
/// Bytes have come since the wait began.
const BEGUN: u8 = 2;

impl Patience {
    /// The stream and the timer of one connection, which know of each other.
    pub(super) fn of<S>(self, stream: S) -> (Heard<S>, HeadTimer) {
        let clock =
            Arc::new(Clock { patience: self, stage: AtomicU8::new(NEW), sleep: Mutex::default() });
        (Heard { stream, clock: Arc::clone(&clock) }, HeadTimer(clock))
    }
}

/// What stream and timer share.
#[derive(Debug)]
struct Clock {
    patience: Patience,
    stage: AtomicU8,
    /// Kept for the whole connection: to move a timer's end costs less than to make one for each
    /// request. Only the connection's own task takes the lock.
    sleep: Mutex<Option<Pin<Box<tokio::time::Sleep>>>>,
}

impl Clock {
    /// Ends the wait in `time` from now.
    fn set(&self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        match &mut *self.lock() {
            Some(sleep) => sleep.as_mut().reset(end),
            empty => *empty = Some(Box::pin(tokio::time::sleep_until(end))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pin<Box<tokio::time::Sleep>>>> {
        self.sleep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that tells whether anything was read.
#[derive(Debug)]
pub(super) struct Heard<S> {
    stream: S,
    clock: Arc<Clock>,
}

/// What hyper asks for a sleep each time that it starts to wait for a head.
#[derive(Debug, Clone)]
pub(super) struct HeadTimer(Arc<Clock>);

impl HeadTimer {
    /// Whether a head has begun, or the first one was waited for, rather than the next one.
    pub(super) fn has_begun(&self) -> bool {
        self.0.stage.load(Ordering::Relaxed) == BEGUN
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    /// The deadline is hyper's, of the one time that it knows; ours is in its place.
    fn sleep_until(&self, _deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let clock = &self.0;
        let first = clock.stage.load(Ordering::Relaxed) == NEW;
        let Patience { head, idle } = clock.patience;
        let (running, time) = if first { (BEGUN, head) } else { (SILENT, idle) };
        clock.stage.store(running, Ordering::Relaxed);
        clock.set(time);
        Box::pin(HeadSleep { clock: Arc::clone(clock), running })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Done when the caller took too long.
struct HeadSleep {
    clock: Arc<Clock>,
    running: u8,
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let stage = self.clock.stage.load(Ordering::Relaxed);
        if self.running != stage {
            self.running = stage;
            self.clock.set(self.clock.patience.head);
        }
        match &mut *self.clock.lock() {
            Some(sleep) => sleep.as_mut().poll(cx),
            // Set before this was made.
            None => Poll::Pending,
        }
    }
}

impl Sleep for HeadSleep {}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.clock.stage.store(BEGUN, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(50);

    async fn is_over(sleep: &mut Pin<Box<dyn Sleep>>) -> bool {
        tokio::time::timeout(4 * SHORT, sleep).await.is_ok()
    }

    async fn read_one(caller: &mut DuplexStream, heard: &mut Heard<DuplexStream>) {
        caller.write_all(b"G").await.unwrap();
        heard.read_exact(&mut [0; 1]).await.unwrap();
    }

    #[tokio::test]
    async fn a_head_has_its_time_from_its_first_byte_on() {
        let (mut caller, ours) = duplex(64);
        let (mut heard, timer) = Patience { head: SHORT, idle: LONG }.of(ours);
        // The first head may not be waited for any longer.
        timer.sleep_until(timer.now()).await;
        read_one(&mut caller, &mut heard).await;
        // The next wait begins anew, whatever was read before.
        let mut sleep = timer.sleep_until(timer.now());
        assert!(!is_over(&mut sleep).await, "silence is no head");
        read_one(&mut caller, &mut heard).await;
        sleep.await;
        // Further bytes buy no more time.
        let mut sleep = timer.sleep_until(timer.now());
        let drip = async {
            loop {
                read_one(&mut caller, &mut heard).await;
                tokio::time::sleep(SHORT / 10).await;
            }
        };
        tokio::select! { () = &mut sleep => {}, () = drip => {} }
    }

    #[tokio::test]
    async fn silence_between_requests_has_another() {
        let (mut caller, ours) = duplex(64);
        let (mut heard, timer) = Patience { head: LONG, idle: SHORT }.of(ours);
        assert!(!is_over(&mut timer.sleep_until(timer.now())).await);
        timer.sleep_until(timer.now()).await;
        let mut sleep = timer.sleep_until(timer.now());
        read_one(&mut caller, &mut heard).await;
        assert!(!is_over(&mut sleep).await, "a head has begun");
    }
}
