//! One serving thread, seen from the accepting one. Made by `server`, fed by `accept`.
//! Invariant: a connection stays on its thread for life; no task moves, no lock is shared.

use super::{
    connect::Connector,
    connection,
    gather::Gather,
    limits::Counted,
    listener::{Accepted, Door},
    shared::Proxy,
    warm_up,
    worker::Worker,
};
use hyper_util::server::graceful::Watcher;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};
use tokio::{
    net::{TcpStream, UnixStream},
    runtime::{self, Handle},
    sync::oneshot,
};

/// Threads of one runtime for what blocks: name lookups, files, locks. Without a limit, a burst of
/// new connections would start one for each lookup.
const MOST_BLOCKING: usize = 8;

/// One thread with a runtime of its own.
pub(super) struct Thread {
    handle: Handle,
    worker: Arc<Worker>,
    load: Arc<AtomicUsize>,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Thread {
    pub(super) fn start(
        number: usize,
        proxy: &Arc<Proxy>,
        connector: &Connector,
    ) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MOST_BLOCKING)
            .build()?;
        let handle = runtime.handle().clone();
        let entered = handle.enter();
        let worker = Arc::new(Worker::new(Arc::clone(proxy), connector.clone()));
        drop(entered);
        let (end, ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            // Ends when told to, or when the server is dropped.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, worker, load: Arc::new(AtomicUsize::new(0)), end, thread })
    }

    /// How many connections it has.
    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Opens the connection that the first request will need.
    pub(super) fn warm_up(&self) {
        let worker = Arc::clone(&self.worker);
        self.handle.spawn(async move { warm_up::warm_up(&worker).await });
    }

    /// Serves one connection to its end.
    pub(super) fn serve(&self, accepted: Accepted, watcher: Watcher, open: Counted) {
        let worker = Arc::clone(&self.worker);
        let counted = (Counted::new(&self.load), open);
        connection::spawn(&self.handle, counted, serve(worker, accepted, watcher));
    }

    /// Ends the thread, and what still runs on it.
    pub(super) async fn stop(self) {
        let _ = self.end.send(());
        let thread = self.thread;
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

async fn serve(
    worker: Arc<Worker>,
    accepted: Accepted,
    watcher: Watcher,
) -> Result<(), connection::Error> {
    match accepted {
        Accepted::Tcp(stream) => {
            let stream = TcpStream::from_std(stream)?;
            stream.set_nodelay(true)?;
            let stream = Gather(stream);
            let Some(tls) = worker.proxy.doors.tls() else {
                return connection::serve(worker, stream, Door::Tcp, watcher).await;
            };
            // Boxed, here and below, or each connection without TLS would be as large as one with it.
            let stream = Box::pin(tls.accept(stream, worker.proxy.limits.header_read)).await?;
            Box::pin(connection::serve(worker, stream, Door::Tcp, watcher)).await
        }
        Accepted::Unix(stream) => {
            let stream = Gather(UnixStream::from_std(stream)?);
            Box::pin(connection::serve(worker, stream, Door::Unix, watcher)).await
        }
    }
}
