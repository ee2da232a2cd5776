//! One project's budget as this process knows it: the ledger of its last look, and what has
//! happened since. Shared by the threads that serve and the one that writes.
//! Invariant: the lock is held for arithmetic only, never over a file.

use super::{
    learn::Lesson,
    op::{Op, apply, foreign},
    report::{Report, Source},
    schedule::{Budget, Left},
};
use crate::store::{
    pacer_ledger::{Ledger, LimitSource},
    pacer_place::Place,
    pacer_who::Who,
};
use http::{HeaderValue, StatusCode};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// One project's budget.
#[derive(Debug)]
pub struct Lane {
    /// The project.
    pub project: String,
    /// Its budget.
    pub budget: Budget,
    /// Its files.
    pub place: Place,
    /// When this process first looked at it.
    pub since: Instant,
    /// Requests that are being held back.
    pub waiting: AtomicUsize,
    inner: Mutex<Inner>,
    /// Held while file and memory are brought together.
    settling: Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    who: Vec<Who>,
    /// What the file does not have yet.
    pending: Vec<Op>,
    /// The server is overloaded until then, and says so.
    hold: f64,
    /// How many the server takes at once.
    at_once: Option<u32>,
    /// How many seconds a request keeps its place, about.
    taken_for: f64,
    /// When the file was last looked at, unless it could not be used.
    looked: Option<Instant>,
    /// When it was last said that the file cannot be used.
    warned: Option<Instant>,
}

impl Lane {
    /// Looks at the file once, without its lock.
    #[must_use]
    pub fn open(project: &str, budget: Budget, place: Place, now: f64) -> Self {
        let ledger = place.peek(budget.limit, now);
        let inner = Inner {
            ledger,
            who: place.peek_who(),
            pending: Vec::new(),
            hold: 0.0,
            at_once: budget.at_once,
            taken_for: 0.0,
            looked: Some(Instant::now()),
            warned: None,
        };
        Self {
            project: project.to_owned(),
            budget,
            place,
            since: Instant::now(),
            waiting: AtomicUsize::new(0),
            inner: Mutex::new(inner),
            settling: Mutex::default(),
        }
    }

    /// Looks at the file again if the last look is older than `age`, since others write it too:
    /// two small files, and never their lock.
    pub fn look(&self, age: Duration, now: f64) {
        if self.lock().looked.is_none_or(|at| at.elapsed() < age) {
            return;
        }
        let _alone = match self.settling.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // It is being brought up to date.
            Err(TryLockError::WouldBlock) => return,
        };
        let (mut ledger, mut who) =
            (self.place.peek(self.budget.limit, now), self.place.peek_who());
        let mut inner = self.lock();
        for op in &inner.pending {
            apply(&self.budget, op, &mut ledger, &mut who, now);
        }
        (inner.ledger, inner.who, inner.looked) = (ledger, who, Some(Instant::now()));
    }

    /// What is left, and who used it.
    #[must_use]
    pub fn report(&self, now: f64) -> Report {
        let inner = self.lock();
        let left = self.budget.left(&inner.ledger, inner.hold, now);
        let names = (self.project.clone(), self.place.host());
        Report {
            waiting: Some(self.waiting.load(Ordering::Relaxed)),
            source: Source::Proxy,
            ..Report::of(names, &self.budget, &inner.ledger, &inner.who, left, now)
        }
    }

    /// Notes what happened; says whether the thread has to be told.
    pub fn note(&self, op: Op, now: f64) -> bool {
        let mut inner = self.lock();
        let Inner { ledger, who, pending, .. } = &mut *inner;
        apply(&self.budget, &op, ledger, who, now);
        pending.push(op);
        pending.len() == 1
    }

    /// What an answer teaches.
    #[must_use]
    pub fn lessons(&self, lesson: &Lesson, status: StatusCode, now: f64) -> Vec<Op> {
        let mut inner = self.lock();
        let mut ops = Vec::new();
        let refused = status == StatusCode::TOO_MANY_REQUESTS;
        if let Some(at_once) = lesson.at_once.filter(|_| self.budget.at_once.is_some()) {
            inner.at_once = Some(at_once);
        }
        let known = inner.ledger.learned(now);
        // Three a second is no limit of an hour.
        let ours = lesson.window.is_none_or(|window| f64::from(window) == self.budget.window);
        if let Some(limit) = lesson.limit.filter(|limit| ours && known != Some(*limit)) {
            ops.push(Op::Learn(limit));
        }
        match (refused, lesson.left) {
            (true, Some(0)) => {
                ops.push(Op::Tripped { at: now, after: lesson.retry_after.or(lesson.reset) })
            }
            (true, _) => {
                // Too many at once, or the server is shedding load.
                inner.hold = now + lesson.retry_after.unwrap_or(1.0);
            }
            (false, _) if status.is_success() && inner.ledger.blocked_streak > 0 => {
                ops.push(Op::Cleared);
            }
            (false, _) => {}
        }
        ops
    }

    /// The value of `X-Mp-Quota`.
    #[must_use]
    pub fn header(&self, now: f64, waited: Duration) -> HeaderValue {
        let left = self.left(now);
        let text = format!(
            "{}; limit={}; used={}; remaining={}; next={}; waited={:.3}",
            self.budget.family,
            left.limit,
            left.used,
            left.remaining,
            left.next.ceil(),
            waited.as_secs_f64()
        );
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }

    /// What is left.
    #[must_use]
    pub fn left(&self, now: f64) -> Left {
        let inner = self.lock();
        self.budget.left(&inner.ledger, inner.hold, now)
    }

    /// When this process believes that the next one may go.
    #[must_use]
    pub fn next(&self, now: f64) -> f64 {
        self.left(now).next
    }

    /// Until when the server asked to be left alone.
    #[must_use]
    pub fn held_until(&self) -> f64 {
        self.lock().hold
    }

    /// How many requests of ours may be in flight at once, over all processes.
    ///
    /// `mp` does not tell anybody what it has in flight, so room is left for what its entries
    /// show, and at first for what they do not show yet.
    #[must_use]
    pub fn at_once(&self, now: f64) -> Option<u32> {
        let inner = self.lock();
        let most = inner.at_once?;
        let room = most.saturating_sub(foreign(&inner.ledger, &inner.who, self.budget.window, now));
        let settled = self.since.elapsed() > Duration::from_secs(1);
        Some(if settled { room.max(1) } else { 1 })
    }

    /// A request kept its place for so long.
    pub fn took(&self, time: Duration) {
        let mut inner = self.lock();
        // A request that was never sent says little.
        let seconds = time.as_secs_f64();
        inner.taken_for +=
            (seconds - inner.taken_for) / if inner.taken_for > 0.0 { 4.0 } else { 1.0 };
    }

    /// How far apart slots of ours should lie, so that each finds a place when it comes: a slot
    /// that is used late is lost to everybody for a whole window.
    #[must_use]
    pub fn spacing(&self, now: f64) -> Option<(u32, f64)> {
        let room = self.at_once(now)?;
        Some((room, self.lock().taken_for))
    }

    /// Brings file and memory together under the file's lock, and lets `act` decide on the
    /// whole. Blocks the thread.
    pub fn settle<T>(&self, now: f64, act: impl Fn(&mut Ledger, &mut Vec<Who>) -> T) -> T {
        let _alone = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = std::mem::take(&mut self.lock().pending);
        let outcome = self.place.change(self.budget.limit, now, |ledger, who| {
            for op in &pending {
                apply(&self.budget, op, ledger, who, now);
            }
            let oldest = now - self.budget.window - self.budget.margin() - 1.0;
            if ledger.sent.first().is_some_and(|at| *at < oldest) {
                ledger.prune(oldest);
            }
            who.retain(|one| one.at >= oldest);
            if let (true, Some(limit)) =
                (ledger.limit_source != LimitSource::Server, self.budget.configured)
            {
                ledger.limit = limit;
                ledger.limit_source = LimitSource::Configured;
            }
            let done = act(ledger, who);
            (done, ledger.clone(), who.clone())
        });
        let mut inner = self.lock();
        match outcome {
            Ok((done, ledger, who)) => {
                (inner.ledger, inner.who, inner.looked) = (ledger, who, Some(Instant::now()));
                let Inner { ledger, who, pending, .. } = &mut *inner;
                for op in pending.iter() {
                    apply(&self.budget, op, ledger, who, now);
                }
                done
            }
            Err(error) => {
                // It fails open: what is in memory has to do, and the file is tried again.
                inner.looked = None;
                if inner.warned.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
                    inner.warned = Some(Instant::now());
                    tracing::warn!(project = %self.project, "the ledger cannot be used, pacing goes on without it: {error}");
                }
                let Inner { ledger, who, pending: newer, .. } = &mut *inner;
                if pending.len() + newer.len() < 10_000 {
                    newer.splice(0..0, pending);
                }
                act(ledger, who)
            }
        }
    }

    /// Whether something is not in the file yet.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.lock().pending.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
