//! One budget for everybody: counts the requests that Mixpanel counts, and in queue mode holds
//! them back until there is a slot. Called by `handler` after the credential, so that nothing
//! is counted that cannot be sent.
//! Invariants: observing delays nothing; a ledger that cannot be used stops nothing; a request
//! that is refused here was not sent.

pub mod counted;
pub mod keep;
pub mod lane;
pub mod learn;
pub mod op;
pub mod options;
pub mod permit;
pub mod queue;
pub mod report;
pub mod schedule;
pub mod slots;
pub mod thread;

pub use self::{
    options::{Mode, Options},
    permit::{HEADER, Permit},
};

use self::{counted::Family, lane::Lane, op::Op, permit::Stage, queue::Waiter, thread::Command};
use super::{
    body::{RequestBody, ResponseBody},
    destination::Destination,
    route::Route,
};
use crate::{
    model::{
        refusal::{Code, Refusal},
        session::Session,
    },
    store::{pacer_place::Place, pacer_who::Who},
    sys::{clock, env::Env},
};
use http::{Response, Uri};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Projects that are kept account of; callers that make up more go uncounted.
const MOST_LANES: usize = 4096;
/// How old what is known of a ledger may be where a request is only observed.
const OLD: Duration = Duration::from_secs(1);

/// A request that counts.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// Which budget.
    pub family: Family,
    /// The host that is dialled, with its port where that is not the usual one.
    pub host: &'a str,
    /// Whose budget.
    pub project: &'a str,
    /// Who asked.
    pub caller: &'a str,
    /// As whom it goes.
    pub account: &'a str,
}

/// The pacer of a proxy.
#[derive(Debug)]
pub struct Pacer {
    options: Options,
    env: Arc<Env>,
    lanes: Mutex<HashMap<(Family, String, String), Arc<Lane>>>,
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Starts the thread that owns the files.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(options: Options, env: Arc<Env>) -> std::io::Result<Self> {
        let (commands, orders) = mpsc::channel();
        let thread = match options.mode {
            Mode::Off => None,
            Mode::Observe | Mode::Queue => Some(
                std::thread::Builder::new()
                    .name("pacer".into())
                    .spawn(move || thread::run(&orders))?,
            ),
        };
        Ok(Self { options, env, lanes: Mutex::default(), commands, thread })
    }

    /// Whether anything is counted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.options.mode != Mode::Off
    }

    /// How requests are paced.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Counts a request, and in queue mode waits for its slot. `None` where there is nothing to
    /// count it in.
    ///
    /// # Errors
    /// `RATE_LIMITED` with the time after which there is a slot, if that is too long to wait.
    pub async fn admit(&self, request: Counted<'_>) -> Result<Option<Permit>, Refusal> {
        let Some(lane) = self.lane(&request) else { return Ok(None) };
        let who = |at| Who {
            at,
            caller: request.caller.to_owned(),
            account: request.account.to_owned(),
            pid: std::process::id(),
        };
        if self.options.mode == Mode::Observe {
            let at = now();
            lane.look(OLD, at);
            self.note(&lane, Op::Add(who(at)));
            return Ok(Some(Permit {
                lane,
                commands: self.commands.clone(),
                at,
                waited: Duration::ZERO,
                stage: Stage::Reserved,
                slot: None,
            }));
        }
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let waiter = Waiter {
            who: who(0.0),
            since,
            deadline: since + self.options.max_wait,
            reserved: None,
            commands: self.commands.clone(),
            reply,
        };
        let _waiting = Waiting::on(&lane);
        if self.commands.send(Command::Admit(Arc::clone(&lane), waiter)).is_err() {
            return Ok(None);
        }
        // A pacer that died stops nothing.
        answer.await.unwrap_or(Ok(None))
    }

    /// Every project that was counted so far, with its budget as it is on disk now, by project;
    /// the first `most` of them.
    #[must_use]
    pub fn lanes(&self, most: usize) -> Vec<Arc<Lane>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lanes: Vec<_> = lanes.values().cloned().collect();
        lanes.sort_by(|a, b| (&a.project, a.budget.family).cmp(&(&b.project, b.budget.family)));
        lanes.truncate(most);
        for lane in &lanes {
            lane.look(Duration::ZERO, now());
        }
        lanes
    }

    fn note(&self, lane: &Arc<Lane>, op: Op) {
        if lane.note(op, now()) {
            let _ = self.commands.send(Command::Dirty(Arc::clone(lane)));
        }
    }

    fn lane(&self, request: &Counted<'_>) -> Option<Arc<Lane>> {
        let key = (request.family, request.host.to_owned(), request.project.to_owned());
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&key) {
            return Some(Arc::clone(lane));
        }
        if lanes.len() >= MOST_LANES {
            return None;
        }
        let place = Place::of(&self.env, request.host, request.project, request.family.as_str())?;
        let budget = self.options.budget(request.family, request.project);
        // Once a project: a small file, so that the first answer tells the truth.
        let lane = Arc::new(Lane::open(request.project, budget, place, now()));
        lanes.insert(key, Arc::clone(&lane));
        Some(lane)
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A request that is held back is seen as such until it is let go, or its caller hangs up.
struct Waiting<'a>(&'a Lane);

impl<'a> Waiting<'a> {
    fn on(lane: &'a Lane) -> Self {
        lane.waiting.fetch_add(1, Ordering::Relaxed);
        Self(lane)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request as the pacer admits it, if it is one that Mixpanel counts.
#[must_use]
pub fn counted<'a>(
    pacer: &Pacer,
    route: &Route,
    uri: &'a Uri,
    body: &RequestBody,
    destination: &'a Destination,
    session: &'a Session,
    caller: &'a str,
) -> Option<Counted<'a>> {
    if !pacer.is_on() {
        return None;
    }
    let family = counted::family(route, uri, body.whole())?;
    Some(Counted {
        family,
        host: destination.host_header.to_str().unwrap_or(destination.host),
        project: counted::project(uri.query(), session.project.as_str()),
        caller,
        account: session.account.name.as_str(),
    })
}

/// Takes in the outcome of a request, and tells the caller what is left.
///
/// # Errors
/// That of the outcome.
pub fn outcome(
    mut permit: Permit,
    sent: Result<Response<ResponseBody>, Refusal>,
) -> Result<Response<ResponseBody>, Refusal> {
    match sent {
        Err(refusal) => {
            if matches!(refusal.code, Code::UpstreamUnreachable | Code::UpstreamTls) {
                permit.not_sent();
            }
            Err(refusal)
        }
        Ok(mut response) => {
            let quota = permit.answered(response.status(), response.headers());
            response.headers_mut().insert(HEADER, quota);
            Ok(match permit.slot() {
                Some(slot) => response.map(|body| keep::until_the_end(body, slot)),
                None => response,
            })
        }
    }
}

/// The wall clock in seconds, in whole microseconds, so that it survives being written.
#[must_use]
pub fn now() -> f64 {
    clock::now_micros() as f64 / 1e6
}
