//! One thread's way into what is observed: counts, log line, audit, span, live event. Made by
//! `observe`, used by `record`. Invariant: only its own thread writes a lane, so that the lock of
//! it is not waited for but by a scrape.

use super::{
    Form, Observer,
    line::{self, Queries},
    lock, record,
    request_id::RequestIds,
    seen::{AnsweredBy, Seen},
    shard::{Counts, Shard},
    stamp::Stamp,
    writer::Buffer,
};
use crate::proxy::pool::Pool;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

/// What one thread has seen.
#[derive(Debug)]
pub(super) struct Lane {
    state: Mutex<State>,
    /// Requests begun; only this lane's thread writes it.
    begun: AtomicU64,
    finished: AtomicU64,
    lines: Arc<Buffer>,
    pub(super) pool: Arc<Pool>,
}

#[derive(Debug, Default)]
struct State {
    shard: Shard,
    stamp: Stamp,
}

/// One thread's way to its lane.
pub struct Recorder {
    observer: Arc<Observer>,
    lane: Arc<Lane>,
    pub(super) ids: RequestIds,
}

impl Lane {
    pub(super) fn new(lines: Arc<Buffer>, pool: Arc<Pool>) -> Self {
        let zero = || AtomicU64::new(0);
        Self { state: Mutex::default(), begun: zero(), finished: zero(), lines, pool }
    }

    /// Requests that are under way.
    pub(super) fn in_flight(&self) -> u64 {
        // The end before the beginning, so that the difference is never below zero.
        let finished = self.finished.load(Ordering::Acquire);
        self.begun.load(Ordering::Acquire).saturating_sub(finished)
    }

    pub(super) fn add_to(&self, counts: &mut Counts) {
        counts.add(&lock(&self.state).shard.counts);
    }
}

impl Recorder {
    pub(super) fn new(observer: Arc<Observer>, lane: Arc<Lane>) -> Self {
        Self { observer, lane, ids: RequestIds::default() }
    }

    pub(super) fn begun(&self) {
        self.lane.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// A page that listens for hours is no request under way.
    pub(super) fn aside(&self) {
        self.lane.finished.fetch_add(1, Ordering::Release);
    }

    pub(super) fn finish(&self, seen: &Seen<'_>) {
        let observer = &*self.observer;
        let mut state = lock(&self.lane.state);
        let State { shard, stamp } = &mut *state;
        shard.count(&observer.labels, seen);
        if let Some((how, colour, writer)) = &observer.log
            && line::level(seen) <= how.least
        {
            let now = stamp.now();
            writer.line(&self.lane.lines, |out| match how.form {
                Form::Text => line::text(out, seen, now, *colour),
                Form::Json => {
                    line::json(out, seen, now, Queries::Hidden);
                    out.push(b'\n');
                }
            });
        }
        if let Some(audit) = &observer.audit {
            audit.request(seen);
        }
        #[cfg(feature = "otlp")]
        if let (Some(spans), true) = (&observer.spans, seen.answered_by != AnsweredBy::Endpoint) {
            spans.add(seen);
        }
        // The page that listens asks us now and then; that is nothing to show on it.
        if seen.answered_by != AnsweredBy::Endpoint && observer.live.is_heard() {
            let mut event = Vec::with_capacity(512);
            line::json(&mut event, seen, stamp.now(), Queries::Names);
            observer.live.tell(String::from_utf8_lossy(&event).into());
        }
        drop(state);
        if seen.route != record::OWN {
            self.lane.finished.fetch_add(1, Ordering::Release);
        }
    }
}
