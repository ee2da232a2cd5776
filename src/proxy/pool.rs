//! Idle upstream connections of one worker thread, a stack for each destination. Called by
//! `forward`. Each worker has its own, so that no request waits for another core's lock.
//! Invariant: a connection goes back only once its response was read to the end.

use super::{
    body::RequestBody,
    connect::Connector,
    destination::{Destination, Destinations},
    error::BoxError,
};
use hyper::client::conn::http1::{self, SendRequest};
use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::Sleep;

/// How long an unused connection is kept.
const KEPT: Duration = Duration::from_secs(60);
/// How many unused connections a destination keeps.
const MOST: usize = 256;
/// From this idle time on a connection may have been closed by the other side unnoticed.
const STALE: Duration = Duration::from_millis(500);

/// The connections of one worker.
#[derive(Debug)]
pub struct Pool {
    connector: Connector,
    idle: Mutex<Vec<Vec<Idle>>>,
    reaping: AtomicBool,
    opened: AtomicU64,
    reused: AtomicU64,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection and its clock: to set a timer again costs less than to make one for each request.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<RequestBody>,
    timer: Pin<Box<Sleep>>,
}

/// Where a connection comes from, which decides what a failure on it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Just opened.
    Fresh,
    /// Used a moment ago.
    Warm,
    /// Idle for so long that the other side may have closed it.
    Stale,
}

/// A connection on loan.
#[derive(Debug)]
pub struct Lease {
    connection: Connection,
    pool: Arc<Pool>,
    index: usize,
    origin: Origin,
}

/// How the connections of a pool were used, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolCounts {
    /// Connections opened so far.
    pub opened: u64,
    /// Requests that went over a connection that was there already.
    pub reused: u64,
    /// Connections waiting now.
    pub idle: usize,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(connector: Connector, destinations: &Destinations) -> Arc<Self> {
        let idle = (0..destinations.count()).map(|_| Vec::new()).collect();
        Arc::new(Self {
            connector,
            idle: Mutex::new(idle),
            reaping: AtomicBool::new(false),
            opened: AtomicU64::new(0),
            reused: AtomicU64::new(0),
        })
    }

    /// The connection that was used last, else a new one.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn lease(self: &Arc<Self>, destination: &Destination) -> Result<Lease, BoxError> {
        if let Some(Idle { connection, since }) = self.take(destination.index) {
            let idle_for = since.elapsed();
            let origin = if idle_for >= STALE { Origin::Stale } else { Origin::Warm };
            if origin == Origin::Stale {
                // Lets the connection's task see a close that has already arrived.
                tokio::task::yield_now().await;
            }
            if connection.sender.is_ready() {
                self.reused.fetch_add(1, Ordering::Relaxed);
                return Ok(self.lent(connection, destination.index, origin));
            }
        }
        // Boxed, since it is large and rare.
        Box::pin(self.fresh(destination)).await
    }

    /// A new connection, whatever is idle.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn fresh(self: &Arc<Self>, destination: &Destination) -> Result<Lease, BoxError> {
        let transport = self.connector.connect(destination).await?;
        // As many header fields as hyper keeps room for without an allocation: 100.
        let (sender, connection) = http1::Builder::new()
            // RFC 9112 §5.1: in an answer it is taken off, not refused.
            .allow_spaces_after_header_name_in_responses(true)
            .handshake(transport.into_io())
            .await?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        // What goes wrong there reaches the request that is on this connection.
        tokio::spawn(connection);
        let timer = Box::pin(tokio::time::sleep(KEPT));
        Ok(self.lent(Connection { sender, timer }, destination.index, Origin::Fresh))
    }

    /// The use of this pool so far.
    #[must_use]
    pub fn counts(&self) -> PoolCounts {
        let idle = self.lock().iter().map(Vec::len).sum();
        PoolCounts {
            opened: self.opened.load(Ordering::Relaxed),
            reused: self.reused.load(Ordering::Relaxed),
            idle,
        }
    }

    fn lent(self: &Arc<Self>, connection: Connection, index: usize, origin: Origin) -> Lease {
        Lease { connection, pool: Arc::clone(self), index, origin }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, index: usize) -> Option<Idle> {
        let mut idle = self.lock();
        while let Some(one) = idle[index].pop() {
            if one.connection.sender.is_ready() {
                return Some(one);
            }
        }
        None
    }

    fn put(self: &Arc<Self>, index: usize, connection: Connection) {
        {
            let mut idle = self.lock();
            if idle[index].len() >= MOST {
                return;
            }
            idle[index].push(Idle { connection, since: Instant::now() });
        }
        if !self.reaping.swap(true, Ordering::Relaxed) {
            tokio::spawn(Arc::clone(self).reap());
        }
    }

    /// Closes what was not used for long; ends when nothing is left.
    async fn reap(self: Arc<Self>) {
        loop {
            tokio::time::sleep(KEPT / 2).await;
            let mut idle = self.lock();
            for stack in idle.iter_mut() {
                stack
                    .retain(|one| !one.connection.sender.is_closed() && one.since.elapsed() < KEPT);
            }
            if idle.iter().all(Vec::is_empty) {
                self.reaping.store(false, Ordering::Relaxed);
                return;
            }
        }
    }
}

impl Lease {
    /// What the request is sent with, and a timer to wait with.
    pub const fn parts(&mut self) -> (&mut SendRequest<RequestBody>, &mut Pin<Box<Sleep>>) {
        (&mut self.connection.sender, &mut self.connection.timer)
    }

    /// Where the connection came from.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The response was read to its end: the next request may have the connection.
    pub fn give_back(mut self) {
        let sender = &self.connection.sender;
        if sender.is_ready() {
            self.pool.put(self.index, self.connection);
        } else if !sender.is_closed() {
            // An upload may still be on its way, or the connection's task has yet to run.
            tokio::spawn(async move {
                let ready = self.connection.sender.ready();
                if matches!(tokio::time::timeout(STALE, ready).await, Ok(Ok(()))) {
                    self.pool.put(self.index, self.connection);
                }
            });
        }
    }
}
