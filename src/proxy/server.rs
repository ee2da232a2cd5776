//! A proxy from its options to its end: binds the listeners (`listener`), starts the threads
//! (`threads`), accepts (`accept`) until a shutdown, and drains. Called by `cli` and by `demo`.
//! Invariant: a running request is given nine seconds to finish when a shutdown begins.

use super::{
    accept::accept,
    callers::Callers,
    connect::{self, Connector},
    destination::Destinations,
    forward::Timeouts,
    governance,
    limits::{InFlight, Limits, Open},
    listen::{Listen, Place},
    listener::Bound,
    observe::{AccessLog, Observer},
    rewrite::ClientAuthorization,
    shared::Proxy,
    threads::Thread,
    warm_up::WarmUp,
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
        unix_socket::UnixSocketError,
    },
};
use hyper_util::server::graceful::GracefulShutdown;
use secrecy::SecretString;
use std::{
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::{runtime::Handle, sync::Notify};

/// Docker kills after ten seconds.
const DRAIN: Duration = Duration::from_secs(9);

/// What a proxy is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where, and for whom.
    pub listen: Listen,
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
    /// Whether a connection is opened before the first request.
    pub warm_up: WarmUp,
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
        /// Where the certificate is, if there is TLS.
        cert: Option<PathBuf>,
    },
    /// The certificate or its key is of no use.
    #[error(transparent)]
    Tls(Refusal),
    /// The unix socket cannot be made.
    #[error("cannot listen on {0}")]
    Unix(#[from] UnixSocketError),
    /// The socket of the service manager is of no use.
    #[error("cannot use the inherited socket: {0}")]
    Inherited(#[source] io::Error),
    /// No root certificates.
    #[error("cannot read the root certificates: {0}")]
    Roots(#[source] io::Error),
    /// Off loopback every neighbour could use the credentials.
    #[error("`{0}` is not a loopback address, and callers are not asked for a token")]
    NotLoopback(SocketAddr),
    /// The caller tokens cannot be read, or a variable names no proxy.
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

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Requests had their time to finish.
    Drained,
    /// [`Proxy::hurry`] was called.
    Hurried,
}

/// A bound, not yet serving proxy.
pub struct Server {
    bound: Bound,
    proxy: Arc<Proxy>,
    connector: Connector,
    threads: NonZeroUsize,
    warm_up: WarmUp,
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
        connect::check_variables(&env)?;
        let connector =
            Connector::new(&env, options.timeouts.connect).map_err(StartError::Roots)?;
        let (bound, doors) = Bound::new(asked, &callers, env.home())?;
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
        let observer = Observer::new(options.log, audit, &env).map_err(StartError::Thread)?;
        #[cfg(feature = "otlp")]
        let observer = observer.with_spans(&env).map_err(StartError::Governance)?;
        let proxy = Proxy {
            snapshots: SnapshotStore::new(env),
            base: options.base,
            destinations: Destinations::new(options.upstream.as_ref())?,
            timeouts: options.timeouts,
            client_authorization: options.client_authorization,
            doors,
            callers,
            limits: options.limits,
            in_flight: InFlight::default(),
            open: Open::default(),
            draining: AtomicBool::new(false),
            hurry: Notify::new(),
            tokens,
            workspaces: DefaultWorkspaces::default(),
            governance,
            observer: Arc::new(observer),
        };
        let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = options.threads.unwrap_or(cores);
        let warm_up = options.warm_up;
        Ok(Self { bound, proxy: Arc::new(proxy), connector, threads, warm_up })
    }

    /// The bound address; none where there is only a unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.bound.address()
    }

    /// Where callers reach it, TCP first.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        self.bound.places()
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

    /// Serves until `shutdown` is done, then lets running requests finish. What is cut off is logged,
    /// a line a request.
    ///
    /// # Errors
    /// No thread could be started.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Ended, StartError> {
        let threads = (0..self.threads.get())
            .map(|number| Thread::start(number, &self.proxy, &self.connector))
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Thread)?;
        let listeners = self.bound.open().map_err(StartError::Thread)?;
        if let (WarmUp::AtStart, Some(first)) = (self.warm_up, threads.first()) {
            first.warm_up();
        }
        let graceful = GracefulShutdown::new();
        tokio::select! {
            () = shutdown => {}
            () = accept(&listeners, &threads, &graceful, &self.proxy.open, self.proxy.limits.connections) => {}
        }
        self.proxy.draining.store(true, Ordering::Relaxed);
        // Listeners of live events would not end by themselves.
        self.proxy.observer.live.end();
        if let Some(tls) = self.proxy.doors.tls() {
            tls.end();
        }
        drop(listeners);
        tracing::info!("shutting down, running requests may finish");
        let (ended, all) = tokio::select! {
            done = tokio::time::timeout(DRAIN, graceful.shutdown()) => (Ended::Drained, done.is_ok()),
            () = self.proxy.hurry.notified() => (Ended::Hurried, false),
        };
        if !all {
            let requests = self.proxy.observer.totals().in_flight;
            tracing::warn!(requests, "what is still running is cut off");
        }
        for thread in threads {
            thread.stop().await;
        }
        #[cfg(feature = "otlp")]
        self.proxy.observer.deliver().await;
        // Elsewhere: a reader of the log that stands still must not hold up what watches over the end.
        let observer = Arc::clone(&self.proxy.observer);
        let _ = tokio::task::spawn_blocking(move || observer.flush()).await;
        Ok(ended)
    }
}
