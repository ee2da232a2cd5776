//! What one thread of the proxy keeps to itself: its connections to Mixpanel, and the sessions
//! of the newest snapshot. Made by `server`; `handler` walks each request over it.
//! Invariant: nothing here is shared between threads, so that no request waits for another core.

use super::{connect::Connector, limits::InFlight, observe::Recorder, pool::Pool, shared::Proxy};
use crate::{
    auth::{
        ready::ReadySession,
        switch::{Switch, switch},
    },
    model::refusal::Refusal,
    store::snapshot::Snapshot,
    sys::watch::Watch,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long an answer of the change check is trusted at least. A client cannot edit a file and send
/// a request in less.
const CHECKED_FOR: Duration = Duration::from_micros(200);
/// How long it is trusted where the files are watched and the watch is silent.
const WATCHED_FOR: Duration = Duration::from_millis(50);
/// How long a watch that was touched is not relied on: files may be written in several steps, and
/// shortly after one of them not even equal stamps prove anything.
const RESTLESS: Duration = Duration::from_secs(1);
/// Sessions kept; callers that make up more get them resolved anew.
const MOST_SESSIONS: usize = 4096;

/// The state of one thread.
pub struct Worker {
    /// What all threads share.
    pub(super) proxy: Arc<Proxy>,
    pub(super) pool: Arc<Pool>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) in_flight: InFlight,
    view: Mutex<View>,
}

/// The newest snapshot that this thread knows, and its sessions.
struct View {
    snapshot: Arc<Snapshot>,
    checked: Instant,
    watch: Option<Watch>,
    touched: Instant,
    /// What a request gets that names nothing.
    base: Option<Arc<ReadySession>>,
    sessions: HashMap<Switch, Arc<ReadySession>>,
}

impl View {
    /// Whether the files have to be looked at for a request that came at `now`.
    fn is_due(&mut self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.checked);
        if age < CHECKED_FOR {
            return false;
        }
        let Some(watch) = &self.watch else { return true };
        if now.saturating_duration_since(self.touched) < RESTLESS {
            return true;
        }
        if watch.is_touched() {
            self.touched = now;
            return true;
        }
        age >= WATCHED_FOR
    }
}

impl Worker {
    /// Call it in the runtime of the thread.
    pub(super) fn new(proxy: Arc<Proxy>, connector: Connector) -> Self {
        let pool = Pool::new(connector, &proxy.destinations);
        let recorder = proxy.observer.recorder(Arc::clone(&pool));
        let in_flight = proxy.in_flight.share();
        // First the watch, then the look: nothing happens between the two unseen.
        let watch = Watch::new(proxy.snapshots.paths().to_vec());
        let snapshot = proxy.snapshot();
        proxy.observer.files(&snapshot);
        let now = Instant::now();
        let view = View {
            snapshot,
            checked: now,
            watch,
            touched: now,
            base: None,
            sessions: HashMap::new(),
        };
        Self { proxy, pool, recorder, in_flight, view: Mutex::new(view) }
    }

    /// The session that a request asks for that came at `now`, in the newest snapshot.
    ///
    /// # Errors
    /// As [`switch`].
    pub(super) fn session(
        &self,
        wanted: &Switch,
        now: Instant,
    ) -> Result<(Arc<Snapshot>, Arc<ReadySession>), Refusal> {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if view.is_due(now) {
            let snapshot = self.proxy.snapshot();
            if !Arc::ptr_eq(&snapshot, &view.snapshot) {
                self.proxy.observer.files(&snapshot);
                view.base = None;
                view.sessions.clear();
                view.snapshot = snapshot;
            }
            view.checked = now;
        }
        let snapshot = Arc::clone(&view.snapshot);
        let plain = wanted.is_empty();
        let known = if plain { view.base.as_ref() } else { view.sessions.get(wanted) };
        if let Some(ready) = known {
            return Ok((snapshot, Arc::clone(ready)));
        }
        let session = switch(&snapshot, &self.proxy.base, wanted)?;
        if let Some(audit) = &self.proxy.governance.audit {
            audit.loaded(&session.account, snapshot.generation);
        }
        let ready = Arc::new(ReadySession::new(session, &snapshot.env, &self.proxy.tokens));
        if plain {
            view.base = Some(Arc::clone(&ready));
            return Ok((snapshot, ready));
        }
        if view.sessions.len() >= MOST_SESSIONS {
            view.sessions.clear();
        }
        view.sessions.insert(wanted.clone(), Arc::clone(&ready));
        Ok((snapshot, ready))
    }
}
