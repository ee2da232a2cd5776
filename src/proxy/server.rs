//! The listener: accepts connections, serves HTTP/1.1, drains on shutdown.
//! Called by `cli` and by `demo`. Invariant: a running request is given nine seconds to
//! finish when a shutdown begins.

use super::{
    forward::{Forwarder, Timeouts},
    handler::Proxy,
    rewrite::ClientAuthorization,
    upstream::Upstream,
};
use crate::{auth::resolve::Selection, store::snapshot::SnapshotStore, sys::env::Env};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;

/// Docker kills after ten seconds.
const DRAIN: Duration = Duration::from_secs(9);
/// How long a client may take to send a request head.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// What a proxy is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The stand-in for all Mixpanel hosts.
    pub upstream: Option<Upstream>,
    /// The base session's flags.
    pub base: Selection,
    /// What happens to a caller's `Authorization`.
    pub client_authorization: ClientAuthorization,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// No root certificates.
    #[error("cannot read the root certificates: {0}")]
    Roots(#[source] io::Error),
    /// Off loopback every neighbour could use the credentials.
    #[error("`{0}` is not a loopback address and callers cannot be authenticated")]
    NotLoopback(SocketAddr),
}

/// A bound, not yet serving proxy.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    proxy: Arc<Proxy>,
}

impl Server {
    /// Binds the listener.
    ///
    /// # Errors
    /// The address is taken, not loopback, or no root certificate can be read.
    pub async fn bind(options: Options, env: Arc<Env>) -> Result<Self, StartError> {
        if !options.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(options.listen));
        }
        let listen = |source| StartError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let proxy = Proxy {
            snapshots: SnapshotStore::new(env),
            base: options.base,
            forwarder: Forwarder::new(options.timeouts).map_err(StartError::Roots)?,
            upstream: options.upstream,
            client_authorization: options.client_authorization,
            port: address.port(),
            draining: AtomicBool::new(false),
        };
        Ok(Self { listener, address, proxy: Arc::new(proxy) })
    }

    /// The bound address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the requests share; for a look at the base session before serving.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Serves until `shutdown` is done, then lets running requests finish.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let stream = tokio::select! {
                () = &mut shutdown => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of descriptors, or a connection that died in the queue: both pass.
                        tracing::warn!(%error, "accepting a connection failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let _ = stream.set_nodelay(true);
            let proxy = Arc::clone(&self.proxy);
            let service = service_fn(move |request| {
                let proxy = Arc::clone(&proxy);
                async move { Ok::<_, Infallible>(proxy.handle(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .serve_connection(TokioIo::new(stream), service);
            let watched = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = watched.await {
                    tracing::debug!(%error, "connection ended");
                }
            });
        }
        self.proxy.draining.store(true, Ordering::Relaxed);
        drop(self.listener);
        tracing::info!("shutting down, running requests may finish");
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                seconds = DRAIN.as_secs(),
                "requests were still running and are cut off"
            );
        }
    }
}
