//! One upstream call for several equal reads: at the same time (`--coalesce`), and within a few
//! seconds (`--cache-ttl`). Called by `handler` once the credential is known and before the
//! request is counted, since a call that is saved is a sixtieth of an hour's budget.
//! Invariants: only reads of one credential, one session and one spelling share an answer;
//! bodies over 1 MiB are never shared, but go on streaming.

pub mod body;
pub mod control;
pub mod key;
mod lead;

use self::{
    key::Key,
    lead::{Answer, State},
};
use super::{
    body::{RequestBody, ResponseBody},
    policy::operations::{Class, classify},
};
use crate::model::refusal::Refusal;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri, header};
use http_body::Body as _;
pub use lead::{Asking, Lead};
use quick_cache::{Weighter, sync::Cache};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// The largest body that is shared.
pub const LARGEST: usize = 1024 * 1024;
/// What all kept answers may weigh together.
const CAPACITY: u64 = 32 * 1024 * 1024;

/// Says what was done.
pub const HEADER: HeaderName = HeaderName::from_static("x-mp-cache");

/// What is shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Reads in flight.
    pub in_flight: InFlight,
    /// For how long answers of metadata reads are kept.
    pub ttl: Option<Duration>,
}

/// Whether equal reads in flight share a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InFlight {
    /// Each has its own.
    #[default]
    Alone,
    /// They share one.
    Together,
}

/// What is shared in one proxy.
#[derive(Debug)]
pub struct Share {
    options: Options,
    kept: Cache<Key, Arc<Answer>, Weight>,
    leading: Mutex<HashMap<Key, watch::Receiver<State>>>,
}

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<Key, Arc<Answer>> for Weight {
    fn weight(&self, _: &Key, answer: &Arc<Answer>) -> u64 {
        // The head counts too, roughly.
        answer.body.len() as u64 + 1024
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Turn<'a> {
    /// Here is its answer.
    Answered(Response<ResponseBody>),
    /// It goes to Mixpanel.
    Asks(Asking<'a>),
}

impl Share {
    /// Nothing shared yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            kept: Cache::with_weighter(1024, CAPACITY, Weight),
            leading: Mutex::default(),
        }
    }

    /// Whether anything is ever shared.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.options != Options::default()
    }

    /// Decides what becomes of a request, waiting for an equal one if there is one. Asked only
    /// where [`is_on`](Self::is_on).
    ///
    /// # Errors
    /// The refusal that the equal one met.
    pub async fn turn(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &RequestBody,
        key: impl FnOnce() -> Key,
    ) -> Result<Turn<'_>, Refusal> {
        let segments: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let class = classify(method, &segments);
        if class != Class::Read {
            // Whatever it changes, what was read before may be wrong now.
            self.kept.clear();
        }
        if *method != Method::GET || class != Class::Read || segments.starts_with(&["api", "2.0"]) {
            return Ok(Turn::Asks(Asking::Alone(None)));
        }
        // A GET with a body is a request of its own.
        if !control::may_share(headers) || !body.is_end_stream() {
            return Ok(bypass());
        }
        let key = key();
        let keep = self.options.ttl.filter(|_| control::is_metadata(&segments));
        if keep.is_some()
            && let Some(answer) = self.kept.get(&key)
        {
            let age = answer.since.elapsed();
            if age < answer.fresh {
                let mut response = answer.response(HeaderValue::from_static("hit"));
                response.headers_mut().insert(header::AGE, HeaderValue::from(age.as_secs()));
                return Ok(Turn::Answered(response));
            }
            self.kept.remove(&key);
        }
        if self.options.in_flight == InFlight::Alone {
            return Ok(Turn::Asks(match keep {
                Some(_) => Asking::Lead(Box::new(Lead { share: self, key, keep, waiting: None })),
                None => Asking::Alone(None),
            }));
        }
        loop {
            let mut leader = match self.follow(&key) {
                Ok(leader) => leader,
                Err(waiting) => {
                    let waiting = Some(waiting);
                    let lead = Box::new(Lead { share: self, key, keep, waiting });
                    return Ok(Turn::Asks(Asking::Lead(lead)));
                }
            };
            let state = leader.wait_for(|state| !matches!(state, State::Pending)).await;
            match state.map(|state| state.clone()) {
                Ok(State::Done(answer)) => {
                    return Ok(Turn::Answered(
                        answer.response(HeaderValue::from_static("coalesced")),
                    ));
                }
                Ok(State::Refused(refusal)) => return Err(refusal),
                Ok(State::Unshared | State::Pending) => return Ok(bypass()),
                // It was given up before there was an answer: somebody else has to lead.
                Err(_) => {}
            }
        }
    }

    /// The one that leads, or the place of it.
    fn follow(&self, key: &Key) -> Result<watch::Receiver<State>, watch::Sender<State>> {
        let mut leading = self.leading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leader) = leading.get(key).filter(|leader| leader.has_changed().is_ok()) {
            return Ok(leader.clone());
        }
        let (sender, receiver) = watch::channel(State::Pending);
        leading.insert(key.clone(), receiver);
        Err(sender)
    }
}

/// It goes for itself, though sharing is on.
fn bypass<'a>() -> Turn<'a> {
    Turn::Asks(Asking::Alone(Some(HeaderValue::from_static("bypass"))))
}
