//! Accepts connections, hands each to the thread with the fewest, and tells one too many so.
//! Called by `server`. One thread accepts and each core serves (see `threads`): sockets are
//! counted out rather than hashed by the kernel (`SO_REUSEPORT`), since an uneven share of the
//! connections is what the slowest requests are made of.

use super::{
    limits::{self, Counted, Open, Refused},
    listener::{Accepted, Listeners},
    respond,
    threads::Thread,
};
use hyper_util::server::graceful::GracefulShutdown;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

/// How many connections are told at a time that they are too many.
const REFUSING: usize = 64;

/// Accepts for ever.
pub(super) async fn accept(
    listeners: &Listeners,
    threads: &[Thread],
    graceful: &GracefulShutdown,
    open: &Open,
    most: usize,
) {
    let refusing = Arc::new(AtomicUsize::new(0));
    loop {
        match listeners.accept().await {
            Ok(accepted) if open.now() >= most => {
                open.refuse(Refused::TooMany);
                // Beyond these the connection is closed without a word.
                if refusing.load(Ordering::Relaxed) < REFUSING {
                    tokio::spawn(refuse(accepted, most, Counted::new(&refusing)));
                }
            }
            Ok(accepted) => {
                if let Some(thread) = threads.iter().min_by_key(|thread| thread.load()) {
                    thread.serve(accepted, graceful.watcher(), open.count());
                }
            }
            Err(error) => {
                // Out of descriptors, or a connection that died in the queue: both pass.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn refuse(accepted: Accepted, most: usize, _counted: Counted) {
    let told = async {
        match accepted {
            Accepted::Tcp(stream) => tell(TcpStream::from_std(stream)?, most).await,
            Accepted::Unix(stream) => tell(UnixStream::from_std(stream)?, most).await,
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
}

/// Says 503 to one connection too many, and waits for the caller to have read it.
async fn tell(mut stream: impl AsyncRead + AsyncWrite + Unpin, most: usize) -> io::Result<()> {
    let answer = respond::refuse(&limits::too_many(most), respond::Named::Base);
    stream.write_all(&respond::bytes(answer).await).await?;
    stream.shutdown().await?;
    // Closed with its request unread, the connection would be reset and the answer lost.
    let mut unread = [0; 4096];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}
