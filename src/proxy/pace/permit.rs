//! Leave to send one request. Made by the pacer, used by `pace::outcome`.
//! Invariant: a slot whose request was not sent is given back, however the walk ended.

use super::{lane::Lane, learn, now, op::Op, slots::Slot, thread::Command};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

/// Says what is left of a budget.
pub const HEADER: HeaderName = HeaderName::from_static("x-mp-quota");

/// Leave to send one request; what becomes of it is told to the ledger.
#[derive(Debug)]
pub struct Permit {
    pub(super) lane: Arc<Lane>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) at: f64,
    pub(super) waited: Duration,
    pub(super) stage: Stage,
    pub(super) slot: Option<Slot>,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not sent: if it ends here, the slot is given back.
    Reserved,
    /// On its way: it counts, whatever becomes of it.
    Sent,
}

impl Permit {
    /// The request is about to go out.
    pub const fn sent(&mut self) {
        self.stage = Stage::Sent;
    }

    /// It did not arrive after all.
    pub const fn not_sent(&mut self) {
        self.stage = Stage::Reserved;
    }

    /// How long it waited for its slot.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// Takes in what the answer says, and gives the value of `X-Mp-Quota`.
    pub fn answered(&mut self, status: StatusCode, headers: &HeaderMap) -> HeaderValue {
        let now = now();
        let lesson = learn::lesson(status, headers, now);
        // Mixpanel does not count what it refuses for these reasons.
        let uncounted = matches!(status.as_u16(), 401 | 402 | 429);
        if uncounted {
            self.note(Op::Remove(self.at));
        }
        for op in self.lane.lessons(&lesson, status, now) {
            self.note(op);
        }
        self.lane.header(now, self.waited)
    }

    /// The place among the requests in flight, to be kept until the answer has ended.
    pub const fn slot(&mut self) -> Option<Slot> {
        self.slot.take()
    }

    fn note(&self, op: Op) {
        if self.lane.note(op, now()) {
            let _ = self.commands.send(Command::Dirty(Arc::clone(&self.lane)));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.stage == Stage::Reserved {
            self.note(Op::Remove(self.at));
        }
    }
}
