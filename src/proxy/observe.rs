//! What the proxy knows of itself: counters, one log line a request, live events. Fed by
//! [`record`] at the end of each answer, read by the endpoints under `/_mp/`.
//! Invariant: a request takes no lock that a request of another thread wants.

pub mod gauges;
pub mod histogram;
pub mod labels;
pub mod line;
pub mod live;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod process;
pub mod record;
pub mod recorder;
pub mod request_id;
pub mod seen;
pub mod shard;
pub mod stamp;
pub mod stream;
pub mod trace_context;
pub mod writer;

use super::{
    audit::Audit,
    pool::{Pool, PoolCounts},
};
#[cfg(feature = "otlp")]
use crate::model::refusal::Refusal;
use crate::{
    store::snapshot::Snapshot,
    sys::{clock, env::Env},
};
use labels::Labels;
use line::{Colour, Level};
use live::Live;
use recorder::Lane;
pub use recorder::Recorder;
use shard::Counts;
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use writer::LogWriter;

/// How requests are logged on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLog {
    /// Text or JSON.
    pub form: Form,
    /// The least grave line that is written.
    pub least: Level,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// For programs, an object a line.
    Json,
}

/// What all threads of one proxy have seen.
pub struct Observer {
    labels: Labels,
    lanes: Mutex<Vec<Arc<Lane>>>,
    log: Option<(AccessLog, Colour, LogWriter)>,
    audit: Option<Arc<Audit>>,
    /// Finished requests, for whoever listens.
    pub live: Live,
    /// Takes a span of each request, if a collector is named.
    #[cfg(feature = "otlp")]
    pub spans: Option<otlp::Spans>,
    /// When the proxy started.
    pub since: Instant,
    /// The newest generation of the files that was looked at.
    generation: AtomicU64,
    /// When the files were last found broken, in seconds since the epoch; 0 for never.
    broken: AtomicU64,
}

/// Everything counted so far.
#[derive(Debug)]
pub struct Totals {
    /// The counters of all threads.
    pub counts: Counts,
    /// Requests that are under way, those for our own endpoints left out.
    pub in_flight: u64,
    /// The connections to Mixpanel of all threads.
    pub pool: Vec<PoolCounts>,
    /// Log lines that were lost.
    pub dropped_lines: u64,
}

impl Observer {
    /// Starts to observe; `log` is `None` for a proxy that logs no requests.
    ///
    /// # Errors
    /// The thread that writes the log cannot be started.
    pub fn new(log: Option<AccessLog>, audit: Option<Arc<Audit>>, env: &Env) -> io::Result<Self> {
        let colour = Colour::of_stderr(env);
        let log = match log {
            Some(how) => Some((how, colour, LogWriter::start(Box::new(io::stderr()))?)),
            None => None,
        };
        Ok(Self {
            labels: Labels::default(),
            lanes: Mutex::default(),
            log,
            audit,
            live: Live::default(),
            #[cfg(feature = "otlp")]
            spans: None,
            since: Instant::now(),
            generation: AtomicU64::new(0),
            broken: AtomicU64::new(0),
        })
    }

    /// Sends a span of each request to the collector that the environment names, if any.
    ///
    /// # Errors
    /// What is named is no collector that can be used.
    #[cfg(feature = "otlp")]
    pub fn with_spans(mut self, env: &Env) -> Result<Self, Refusal> {
        if let Some((spans, exporter)) = otlp::start(env)? {
            tokio::spawn(exporter.run());
            self.spans = Some(spans);
        }
        Ok(self)
    }

    /// A recorder for one thread, whose connections are `pool`.
    #[must_use]
    pub fn recorder(self: &Arc<Self>, pool: Arc<Pool>) -> Arc<Recorder> {
        let lines = self.log.as_ref().map(|(.., writer)| writer.buffer()).unwrap_or_default();
        let lane = Arc::new(Lane::new(lines, pool));
        lock(&self.lanes).push(Arc::clone(&lane));
        Arc::new(Recorder::new(Arc::clone(self), lane))
    }

    /// The sum over all threads.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let lanes = lock(&self.lanes).clone();
        let mut counts = Counts::default();
        let mut in_flight = 0;
        for lane in &lanes {
            in_flight += lane.in_flight();
            lane.add_to(&mut counts);
        }
        let pool = lanes.iter().map(|lane| lane.pool.counts()).collect();
        let dropped_lines = self.log.as_ref().map_or(0, |(.., writer)| writer.dropped());
        Totals { counts, in_flight, pool, dropped_lines }
    }

    /// Tells once of each new state of the files, whichever thread sees it first.
    pub fn files(&self, snapshot: &Snapshot) {
        let seen = self.generation.fetch_max(snapshot.generation, Ordering::Relaxed);
        if seen >= snapshot.generation {
            return;
        }
        let failure = snapshot.config.as_ref().err().or(snapshot.bridge.as_ref().err());
        if let Some(refusal) = failure {
            let now = u64::try_from(clock::now_micros() / 1_000_000).unwrap_or_default();
            self.broken.store(now, Ordering::Relaxed);
            tracing::warn!(generation = snapshot.generation, "the files are broken: {refusal}");
        } else if seen > 0 {
            tracing::info!(generation = snapshot.generation, "the files changed and were read");
        }
    }

    /// When the files were last found broken, in seconds since the epoch.
    #[must_use]
    pub fn last_failure(&self) -> Option<u64> {
        Some(self.broken.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Sends the spans that wait; before the process ends.
    #[cfg(feature = "otlp")]
    pub async fn deliver(&self) {
        if let Some(spans) = &self.spans {
            spans.deliver().await;
        }
    }

    /// Writes what is left of the log; before the process ends.
    pub fn flush(&self) {
        if let Some((.., writer)) = &self.log {
            writer.flush();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
