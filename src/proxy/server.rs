//! The listener: accepts connections, hands each to the thread with the fewest, drains on
//! shutdown. Called by `cli` and by `demo`.
//! Invariants: a connection stays on its thread for life; a running request is given nine
//! seconds to finish when a shutdown begins.
//!
//! One thread accepts and each core serves, with a single-threaded runtime: no task moves, no
//! lock is shared. Sockets are counted out rather than hashed by the kernel (`SO_REUSEPORT`),
//! since an uneven share of the connections is what the slowest requests are made of.

use super::{
    callers::Callers,
    connect::Connector,
    destination::Destinations,
    forward::Timeouts,
    governance,
    hosts::{Hosts, Transport},
    limits::{self, InFlight, Limits},
    listen::Listen,
    observe::{AccessLog, Observer},
    respond,
    rewrite::ClientAuthorization,
    shared::Proxy,
    worker::Worker,
};
use crate::{
    auth::{
        default_workspace::DefaultWorkspaces,
        resolve::Selection,
        token_resolver::{TokenResolvers, stats::Event},
    },
    model::{refusal::Refusal, upstream::Upstream},
    store::snapshot::SnapshotStore,
    sys::{
        env::{Env, MP_PROXY_CLIENT_TOKEN},
        http::HttpClient,
    },
};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use secrecy::SecretString;
use std::{
    convert::Infallible,
    io,
    net::{self, SocketAddr},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{self, Handle},
    sync::oneshot,
};

/// Docker kills after ten seconds.
const DRAIN: Duration = Duration::from_secs(9);
/// How many connections are told at a time that they are too many.
const REFUSING: usize = 64;

/// What a proxy is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where, and for whom.
    pub listen: Listen,
    /// A listener that is bound already, by the service manager; it goes before `listen`.
    pub inherited: Option<Arc<net::TcpListener>>,
    /// The stand-in for all Mixpanel hosts.
    pub upstream: Option<Upstream>,
    /// The base session's flags.
    pub base: Selection,
    /// What happens to a caller's `Authorization`.
    pub client_authorization: ClientAuthorization,
    /// How much callers may take.
    pub limits: Limits,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How many threads serve; as many as there are cores if not given.
    pub threads: Option<NonZeroUsize>,
    /// What callers may do.
    pub governance: governance::Options,
    /// How requests are logged on stderr; not at all if `None`.
    pub log: Option<AccessLog>,
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
    #[error("`{0}` is not a loopback address, and callers are not asked for a token")]
    NotLoopback(SocketAddr),
    /// The caller tokens cannot be read.
    #[error(transparent)]
    Callers(#[from] Refusal),
    /// The upstream's host is no name.
    #[error(transparent)]
    Upstream(#[from] super::destination::BadHost),
    /// A policy that is wrong protects nobody.
    #[error(transparent)]
    Governance(Refusal),
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// A bound, not yet serving proxy.
pub struct Server {
    listener: net::TcpListener,
    address: SocketAddr,
    proxy: Arc<Proxy>,
    connector: Connector,
    threads: NonZeroUsize,
}

impl Server {
    /// Binds the listener.
    ///
    /// # Errors
    /// The address is taken, not loopback, or no root certificate can be read.
    pub fn bind(options: Options, env: Arc<Env>) -> Result<Self, StartError> {
        let asked = options.listen;
        let token = env.get(MP_PROXY_CLIENT_TOKEN).map(SecretString::from);
        let home = env.home().map(Into::into);
        let callers = Callers::new(asked.tokens.clone(), token.as_ref(), home)?;
        let listen = |source| StartError::Listen { address: asked.address, source };
        let connector =
            Connector::new(&env, options.timeouts.connect).map_err(StartError::Roots)?;
        let listener = match &options.inherited {
            Some(inherited) => inherited.try_clone().map_err(listen)?,
            None => net::TcpListener::bind(asked.address).map_err(listen)?,
        };
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        asked.check(address, &callers)?;
        let governance = governance::Governance::start(options.governance, &env)
            .map_err(StartError::Governance)?;
        let tokens = TokenResolvers::new(
            Arc::clone(&env),
            HttpClient::new(&env, options.upstream.clone()),
            Handle::try_current().map_err(|error| StartError::Thread(io::Error::other(error)))?,
        );
        let audit = governance.audit.clone();
        if let Some(audit) = audit.clone() {
            tokens.stats().observe(Box::new(move |event, account, _| {
                // Of a renewal that failed the trail says what the server did.
                let what = if event == Event::Failed { "refused" } else { event.as_str() };
                audit.credential(what, account.as_str());
            }));
        }
        let observer = Observer::new(options.log, audit).map_err(StartError::Thread)?;
        #[cfg(feature = "otlp")]
        let observer = observer.with_spans(&env).map_err(StartError::Governance)?;
        let proxy = Proxy {
            snapshots: SnapshotStore::new(env),
            base: options.base,
            destinations: Destinations::new(options.upstream.as_ref())?,
            timeouts: options.timeouts,
            client_authorization: options.client_authorization,
            hosts: Hosts::tcp(address, Transport::Plain, asked.hosts),
            callers,
            limits: options.limits,
            in_flight: InFlight::default(),
            draining: AtomicBool::new(false),
            tokens,
            workspaces: DefaultWorkspaces::default(),
            governance,
            observer: Arc::new(observer),
        };
        let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = options.threads.unwrap_or(cores);
        Ok(Self { listener, address, proxy: Arc::new(proxy), connector, threads })
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

    /// The same, to be kept while the server runs.
    #[must_use]
    pub fn shared(&self) -> Arc<Proxy> {
        Arc::clone(&self.proxy)
    }

    /// Serves until `shutdown` is done, then lets running requests finish.
    ///
    /// # Errors
    /// No thread could be started.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
        let threads = (0..self.threads.get())
            .map(|number| Thread::start(number, &self.proxy, &self.connector))
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Thread)?;
        let listener = TcpListener::from_std(self.listener).map_err(StartError::Thread)?;
        let graceful = GracefulShutdown::new();
        tokio::select! {
            () = shutdown => {}
            () = accept(&listener, &threads, &graceful, self.proxy.limits.connections) => {}
        }
        self.proxy.draining.store(true, Ordering::Relaxed);
        // Listeners of live events would not end by themselves.
        self.proxy.observer.live.end();
        drop(listener);
        tracing::info!("shutting down, running requests may finish");
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                seconds = DRAIN.as_secs(),
                "requests were still running and are cut off"
            );
        }
        for thread in threads {
            thread.stop().await;
        }
        self.proxy.observer.flush();
        Ok(())
    }
}

/// Accepts for ever.
async fn accept(
    listener: &TcpListener,
    threads: &[Thread],
    graceful: &GracefulShutdown,
    most: usize,
) {
    let refusing = Arc::new(AtomicUsize::new(0));
    let load = |thread: &Thread| thread.load.load(Ordering::Relaxed);
    loop {
        match listener.accept().await {
            Ok((stream, _)) if threads.iter().map(load).sum::<usize>() >= most => {
                // Beyond these the connection is closed without a word.
                if refusing.load(Ordering::Relaxed) < REFUSING {
                    let counted = Counted::new(&refusing);
                    tokio::spawn(refuse(stream, most, counted));
                }
            }
            Ok((stream, _)) => {
                let Ok(stream) = stream.into_std() else { continue };
                let least = threads.iter().min_by_key(|thread| thread.load.load(Ordering::Relaxed));
                if let Some(thread) = least {
                    thread.serve(stream, graceful.watcher());
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

/// Says 503 to one connection too many, and waits for the caller to have read it.
async fn refuse(mut stream: TcpStream, most: usize, _counted: Counted) {
    let answer = respond::refuse(&limits::too_many(most), respond::Named::Base);
    let told = async {
        stream.write_all(&respond::bytes(answer).await).await?;
        stream.shutdown().await?;
        // Closed with its request unread, the connection would be reset and the answer lost.
        let mut unread = [0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
}

/// One serving thread, seen from the accepting one.
struct Thread {
    handle: Handle,
    worker: Arc<Worker>,
    load: Arc<AtomicUsize>,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Thread {
    fn start(number: usize, proxy: &Arc<Proxy>, connector: &Connector) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let worker = Arc::new(Worker::new(Arc::clone(proxy), connector.clone()));
        let (end, ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            // Ends when told to, or when the server is dropped.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, worker, load: Arc::new(AtomicUsize::new(0)), end, thread })
    }

    fn serve(&self, stream: net::TcpStream, watcher: Watcher) {
        let worker = Arc::clone(&self.worker);
        let load = Counted::new(&self.load);
        self.handle.spawn(async move {
            let _load = load;
            if let Err(error) = serve(worker, stream, watcher).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }

    /// Ends the thread, and what still runs on it.
    async fn stop(self) {
        let _ = self.end.send(());
        let thread = self.thread;
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

/// One connection more, for as long as this lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one connection to its end.
async fn serve(
    worker: Arc<Worker>,
    stream: net::TcpStream,
    watcher: Watcher,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let limits = worker.proxy.limits;
    let service = service_fn(move |request| {
        let worker = Arc::clone(&worker);
        // Boxed: hyper would move its several kilobytes along with the connection's own state.
        Box::pin(async move { Ok::<_, Infallible>(worker.handle(request).await) })
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_header_size(limits.header_bytes);
    if limits.headers != Limits::default().headers {
        // hyper keeps its default number on the stack, any other on the heap.
        http.max_headers(limits.headers);
    }
    let connection = http.serve_connection(TokioIo::new(stream), service);
    watcher.watch(connection).await?;
    Ok(())
}
