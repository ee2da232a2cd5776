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
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

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
    sender: SendRequest<RequestBody>,
    since: Instant,
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
    sender: SendRequest<RequestBody>,
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
        if let Some((sender, since)) = self.take(destination.index) {
            let idle_for = since.elapsed();
            let origin = if idle_for >= STALE { Origin::Stale } else { Origin::Warm };
            if origin == Origin::Stale {
                // Lets the connection's task see a close that has already arrived.
                tokio::task::yield_now().await;
            }
            if sender.is_ready() {
                self.reused.fetch_add(1, Ordering::Relaxed);
                return Ok(self.lent(sender, destination.index, origin));
            }
        }
        self.fresh(destination).await
    }

    /// A new connection, whatever is idle.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn fresh(self: &Arc<Self>, destination: &Destination) -> Result<Lease, BoxError> {
        let transport = self.connector.connect(destination).await?;
        let (sender, connection) =
            http1::Builder::new().max_headers(256).handshake(transport.into_io()).await?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            // What goes wrong here reaches the request that is on this connection.
            let _ = connection.await;
        });
        Ok(self.lent(sender, destination.index, Origin::Fresh))
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

    fn lent(
        self: &Arc<Self>,
        sender: SendRequest<RequestBody>,
        index: usize,
        origin: Origin,
    ) -> Lease {
        Lease { sender, pool: Arc::clone(self), index, origin }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, index: usize) -> Option<(SendRequest<RequestBody>, Instant)> {
        let mut idle = self.lock();
        while let Some(Idle { sender, since }) = idle[index].pop() {
            if sender.is_ready() {
                return Some((sender, since));
            }
        }
        None
    }

    fn put(self: &Arc<Self>, index: usize, sender: SendRequest<RequestBody>) {
        {
            let mut idle = self.lock();
            if idle[index].len() >= MOST {
                return;
            }
            idle[index].push(Idle { sender, since: Instant::now() });
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
                stack.retain(|one| !one.sender.is_closed() && one.since.elapsed() < KEPT);
            }
            if idle.iter().all(Vec::is_empty) {
                self.reaping.store(false, Ordering::Relaxed);
                return;
            }
        }
    }
}

impl Lease {
    /// What the request is sent with.
    pub const fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        &mut self.sender
    }

    /// Where the connection came from.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The response was read to its end: the next request may have the connection.
    pub fn give_back(mut self) {
        if self.sender.is_ready() {
            let pool = Arc::clone(&self.pool);
            pool.put(self.index, self.sender);
        } else if !self.sender.is_closed() {
            // An upload may still be on its way, or the connection's task has yet to run.
            tokio::spawn(async move {
                let ready = tokio::time::timeout(STALE, self.sender.ready()).await;
                if matches!(ready, Ok(Ok(()))) {
                    let pool = Arc::clone(&self.pool);
                    pool.put(self.index, self.sender);
                }
            });
        }
    }
}
