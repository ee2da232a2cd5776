//! One budget for everybody: counts the requests that Mixpanel counts, and in queue mode holds
//! them back until there is a slot. Called by `handler` after the credential, so that nothing
//! is counted that cannot be sent.
//! Invariants: observing delays nothing; a ledger that cannot be used stops nothing; a request
//! that is refused here was not sent.

pub mod counted;
pub mod keep;
pub mod lane;
pub mod learn;
pub mod schedule;
pub mod slots;
pub mod thread;

use self::{
    counted::Family,
    lane::{Lane, Op},
    schedule::Budget,
    slots::Slot,
    thread::{Command, Waiter},
};
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
    store::pacer_ledger::{Place, Who},
    sys::{clock, env::Env},
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Projects that are kept account of; callers that make up more go uncounted.
const MOST_LANES: usize = 4096;

/// What is done about quotas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Nothing.
    Off,
    /// Requests are counted and answers say what is left; nothing is delayed.
    #[default]
    Observe,
    /// Requests wait for a slot.
    Queue,
}

/// How requests are paced.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is done.
    pub mode: Mode,
    /// How long a request may wait for a slot.
    pub max_wait: Duration,
    /// Query requests in a window, for projects without a number of their own.
    pub query_limit: Option<u32>,
    /// Query requests in a window, by project.
    pub query_limits: HashMap<String, u32>,
    /// The window in seconds; an hour at Mixpanel.
    pub window: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            max_wait: Duration::from_secs(30),
            query_limit: None,
            query_limits: HashMap::new(),
            window: 3600.0,
        }
    }
}

impl Options {
    /// The budget of a project.
    #[must_use]
    pub fn budget(&self, family: Family, project: &str) -> Budget {
        let window = self.window;
        match family {
            Family::Query => Budget {
                family: family.as_str(),
                limit: 60,
                configured: self.query_limits.get(project).copied().or(self.query_limit),
                window,
                per_second: None,
                at_once: Some(5),
            },
            Family::Export => Budget {
                family: family.as_str(),
                limit: 60,
                configured: None,
                window,
                per_second: Some(3),
                at_once: None,
            },
        }
    }
}

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
        if self.commands.send(Command::Admit(lane, waiter)).is_err() {
            return Ok(None);
        }
        // A pacer that died stops nothing.
        answer.await.unwrap_or(Ok(None))
    }

    /// Every project that was counted so far, with its budget: for metrics and the inspector.
    #[must_use]
    pub fn lanes(&self) -> Vec<Arc<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
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

/// Lets a request through, counted if Mixpanel counts it.
///
/// # Errors
/// As [`Pacer::admit`].
pub async fn pass(
    pacer: &Pacer,
    route: &Route,
    uri: &Uri,
    body: &RequestBody,
    destination: &Destination,
    session: &Session,
    caller: &str,
) -> Result<Option<Permit>, Refusal> {
    if !pacer.is_on() {
        return Ok(None);
    }
    let Some(family) = counted::family(route, uri, body.whole()) else { return Ok(None) };
    let request = Counted {
        family,
        host: destination.host_header.to_str().unwrap_or(destination.host),
        project: counted::project(uri, session.project.as_str()),
        caller,
        account: session.account.name.as_str(),
    };
    pacer.admit(request).await
}

/// Takes in the outcome of a request, and tells the caller what is left.
///
/// # Errors
/// That of the outcome.
pub fn outcome(
    permit: Option<Permit>,
    sent: Result<Response<ResponseBody>, Refusal>,
) -> Result<Response<ResponseBody>, Refusal> {
    let Some(mut permit) = permit else { return sent };
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

/// The wall clock in seconds, in whole microseconds, so that it survives being written.
#[must_use]
pub fn now() -> f64 {
    clock::now_micros() as f64 / 1e6
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
