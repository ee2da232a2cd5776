//! Those who wait for a slot of one project. Driven by the pacer's thread.
//! Invariant: first come, first served within a process; a slot is in the ledger before anybody
//! waits for it, and the lock is not held while waiting.

use super::{
    lane::Lane,
    now,
    op::Op,
    permit::{Permit, Stage},
    slots::Slot,
    thread::Command,
};
use crate::{
    model::refusal::{Code, Refusal},
    store::{pacer_ledger::Ledger, pacer_who::Who},
};
use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How long observations are gathered before they are written.
const BEHIND: Duration = Duration::from_millis(200);
/// How often a place is tried that another process holds.
const RETRY: Duration = Duration::from_millis(10);
/// How long a ledger that cannot be written is left alone.
const RETRY_FILE: Duration = Duration::from_secs(5);

/// One who waits.
#[derive(Debug)]
pub struct Waiter {
    /// For the entry.
    pub who: Who,
    /// Since when.
    pub since: Instant,
    /// Until when.
    pub deadline: Instant,
    /// The slot in the ledger.
    pub reserved: Option<f64>,
    /// For the permit.
    pub commands: mpsc::Sender<Command>,
    /// Who waits for the answer.
    pub reply: oneshot::Sender<Result<Option<Permit>, Refusal>>,
}

/// Those who wait for a slot of one project, and what is not written yet.
#[derive(Debug)]
pub struct Queue {
    /// The budget.
    pub lane: Arc<Lane>,
    /// In the order in which they came.
    pub waiting: Vec<Waiter>,
    /// Since when something is to be written.
    pub dirty_since: Option<Instant>,
}

/// What the ledger says to one who waits.
enum Decision {
    Go(f64),
    Later(f64),
    Never(f64),
}

impl Queue {
    /// Nobody waits.
    #[must_use]
    pub const fn new(lane: Arc<Lane>) -> Self {
        Self { lane, waiting: Vec::new(), dirty_since: None }
    }

    /// How long there is nothing to do.
    #[must_use]
    pub fn pause(&self) -> Duration {
        let behind = self.dirty_since.map(|since| BEHIND.saturating_sub(since.elapsed()));
        let wall = now();
        let due = self.waiting.iter().map(|waiter| match waiter.reserved {
            Some(at) if at > wall => Duration::from_secs_f64((at - wall).min(3600.0)),
            _ => RETRY,
        });
        // Callers that hang up are noticed within a second.
        let noticed = (!self.waiting.is_empty()).then_some(Duration::from_secs(1));
        due.chain(behind).chain(noticed).min().unwrap_or(Duration::from_secs(60))
    }

    /// Does what is due by now.
    pub fn turn(&mut self) {
        let lane = Arc::clone(&self.lane);
        self.waiting.retain(|waiter| {
            let gone = waiter.reply.is_closed();
            if let (true, Some(at)) = (gone, waiter.reserved) {
                lane.note(Op::Remove(at), now());
            }
            !gone
        });
        while let Some(place) = self.next() {
            let wall = now();
            // Whoever waited for long knows nothing of those who came meanwhile.
            self.lane.look(RETRY, wall);
            let slot = match self.lane.at_once(wall) {
                None => None,
                Some(most) => match Slot::take(&self.lane, most, &self.waiting[place].commands) {
                    Some(slot) => Some(slot),
                    None => break,
                },
            };
            self.decide(place, slot);
        }
        // Last: who may not wait at all may still go at once.
        self.refuse_late();
        let due = self.dirty_since.is_some_and(|since| since.elapsed() >= BEHIND);
        if due || (self.dirty_since.is_none() && self.lane.is_dirty()) {
            self.lane.settle(now(), |_, _| ());
            // What could not be written is tried again after a while.
            self.dirty_since = self.lane.is_dirty().then(|| Instant::now() + RETRY_FILE);
        }
    }

    /// Those whose slot has come, oldest slot first, then those who have none, in their order.
    fn next(&self) -> Option<usize> {
        let wall = now();
        let due = |waiter: &Waiter| waiter.reserved.filter(|at| *at <= wall);
        let timed = (0..self.waiting.len())
            .filter_map(|place| due(&self.waiting[place]).map(|at| (at, place)))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, place)| place);
        timed.or_else(|| self.waiting.iter().position(|waiter| waiter.reserved.is_none()))
    }

    fn decide(&mut self, place: usize, slot: Option<Slot>) {
        let wall = now();
        let lane = Arc::clone(&self.lane);
        let waiter = &mut self.waiting[place];
        let last = wall + waiter.deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        let on_time = |at: &f64| wall - at <= lane.budget.margin() / 2.0;
        let (held, spacing) = (lane.held_until(), lane.spacing(wall));
        let decision = match waiter.reserved.filter(on_time) {
            Some(at) => Decision::Go(at),
            // Too late for the slot: others reckon with the time in the ledger, so it is taken anew.
            None => lane.settle(wall, |ledger, names| {
                let from = wall.max(held);
                entry(&lane, ledger, names, waiter, (from, last), spacing)
            }),
        };
        match decision {
            Decision::Go(at) => {
                let waiter = self.waiting.remove(place);
                let permit = Permit {
                    lane,
                    commands: waiter.commands,
                    at,
                    waited: waiter.since.elapsed(),
                    stage: Stage::Reserved,
                    slot,
                };
                // If nobody takes it, dropping it gives the slot back.
                let _ = waiter.reply.send(Ok(Some(permit)));
            }
            Decision::Later(at) => self.waiting[place].reserved = Some(at),
            Decision::Never(at) => {
                let waiter = self.waiting.remove(place);
                let max = waiter.deadline.saturating_duration_since(waiter.since);
                let why = format!("the {} budget is used up", lane.budget.family);
                let _ = waiter.reply.send(Err(refused(&lane, at - wall, max, &why)));
            }
        }
    }

    /// Refuses those who waited for a place in vain, and those for whom there can be no slot.
    fn refuse_late(&mut self) {
        let (lane, instant, wall) = (Arc::clone(&self.lane), Instant::now(), now());
        let hopeless_after = |next: f64, waiter: &Waiter| {
            let left = waiter.deadline.saturating_duration_since(instant);
            waiter.reserved.is_none() && next > left.as_secs_f64()
        };
        let mut next = lane.next(wall);
        if self.waiting.iter().any(|waiter| hopeless_after(next, waiter)) {
            // Before anybody is sent away, what other processes have written meanwhile counts.
            lane.settle(wall, |_, _| ());
            next = lane.next(wall);
        }
        let mut place = 0;
        while place < self.waiting.len() {
            let waiter = &self.waiting[place];
            let left = waiter.deadline.saturating_duration_since(instant);
            let hopeless = hopeless_after(next, waiter);
            if !left.is_zero() && !hopeless {
                place += 1;
                continue;
            }
            let waiter = self.waiting.remove(place);
            if let Some(at) = waiter.reserved {
                lane.note(Op::Remove(at), wall);
            }
            let max = waiter.deadline.saturating_duration_since(waiter.since);
            let refusal = if hopeless {
                refused(&lane, next, max, &format!("the {} budget is used up", lane.budget.family))
            } else {
                refused(
                    &lane,
                    next.max(5.0),
                    max,
                    "as many requests as Mixpanel takes at once are under way",
                )
            };
            let _ = waiter.reply.send(Err(refusal));
        }
    }
}

/// Takes the earliest slot that is not too late.
fn entry(
    lane: &Lane,
    ledger: &mut Ledger,
    names: &mut Vec<Who>,
    waiter: &Waiter,
    (from, last): (f64, f64),
    spacing: Option<(u32, f64)>,
) -> Decision {
    if let Some(at) = waiter.reserved {
        ledger.remove(at);
        Who::forget(names, at);
    }
    let mut at = lane.budget.slot(ledger, from);
    if let Some((room, apart)) = spacing.filter(|_| at > from) {
        let mut ours: Vec<f64> = names.iter().map(|one| one.at).collect();
        ours.sort_by(f64::total_cmp);
        if let Some(place) = ours.len().checked_sub(room as usize) {
            // Half as much again, since places are not taken in the order of slots.
            at = at.max(ours[place] + 1.5 * apart);
        }
    }
    if at > last {
        return Decision::Never(at);
    }
    // Whole microseconds, upwards: the entry has to survive being written, and is not early.
    let at = (at * 1e6).ceil() / 1e6;
    ledger.add(at);
    names.push(Who { at, ..waiter.who.clone() });
    if at <= now() { Decision::Go(at) } else { Decision::Later(at) }
}

/// The refusal of a request that would have to wait too long.
fn refused(lane: &Lane, wait: f64, max_wait: Duration, why: &str) -> Refusal {
    let seconds = wait.max(1.0).ceil() as u64;
    Refusal::new(
        Code::RateLimited,
        format!(
            "{why} for project `{}`; the next slot is in {seconds} s and --pace-max-wait is {} s, so nothing was sent",
            lane.project,
            max_wait.as_secs()
        ),
    )
    .hint(format!("try again in {seconds} s; `mp-proxy quota` shows who used it"))
    .retry_after(seconds)
}
