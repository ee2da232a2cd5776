//! The stand-in's quotas: so many counted requests in a rolling window and so many at once for
//! each project, with the fields that Mixpanel sends. Called by `stand_in` for each request.
//! Invariant: off until a test turns them on; what is refused does not count.

use super::answers::{Body, json_answer};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::json;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What is enforced.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests in a window.
    pub limit: usize,
    /// The length of the window; an hour at Mixpanel.
    pub window: Duration,
    /// Requests at once.
    pub at_once: usize,
}

/// What was decided so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Let in.
    pub accepted: usize,
    /// Refused for a full window.
    pub full: usize,
    /// Refused for too many at once.
    pub crowded: usize,
}

/// The quotas of all projects.
#[derive(Debug, Clone, Default)]
pub struct Quotas(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    limits: Option<Limits>,
    projects: HashMap<String, Project>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Project {
    sent: VecDeque<Instant>,
    in_flight: usize,
    busiest: usize,
}

impl Quotas {
    /// Turns them on.
    pub fn enforce(&self, limits: Limits) {
        self.lock().limits = Some(limits);
    }

    /// What was decided so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// The most requests of one project that were ever in flight at once.
    #[must_use]
    pub fn busiest(&self) -> usize {
        self.lock().projects.values().map(|project| project.busiest).max().unwrap_or(0)
    }

    /// Lets a request in, counted until the value is dropped; or refuses it.
    pub(super) fn admit(
        &self,
        path: &str,
        query: &str,
    ) -> Result<Option<InFlight>, Box<Response<Body>>> {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(limits) = state.limits.filter(|_| path.starts_with("/api/query/")) else {
            return Ok(None);
        };
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let id = pairs.rfind(|(name, _)| *name == "project_id").map_or("", |pair| pair.1);
        let project = state.projects.entry(id.to_owned()).or_default();
        let now = Instant::now();
        while project.sent.front().is_some_and(|at| now.duration_since(*at) >= limits.window) {
            project.sent.pop_front();
        }
        let full = project.sent.len() >= limits.limit;
        let crowded = project.in_flight >= limits.at_once;
        if full || crowded {
            state.counts.full += usize::from(full);
            state.counts.crowded += usize::from(!full);
            let mut answer = json_answer(
                StatusCode::TOO_MANY_REQUESTS,
                &json!({"status": "error", "error": "Query rate limit exceeded"}),
            );
            fields(answer.headers_mut(), limits, project, now);
            return Err(Box::new(answer));
        }
        state.counts.accepted += 1;
        project.sent.push_back(now);
        project.in_flight += 1;
        project.busiest = project.busiest.max(project.in_flight);
        let mut headers = HeaderMap::new();
        fields(&mut headers, limits, project, now);
        Ok(Some(InFlight { quotas: self.clone(), project: id.to_owned(), headers }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request under way.
pub(super) struct InFlight {
    quotas: Quotas,
    project: String,
    /// What its answer says.
    pub(super) headers: HeaderMap,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(project) = self.quotas.lock().projects.get_mut(&self.project) {
            project.in_flight -= 1;
        }
    }
}

fn fields(headers: &mut HeaderMap, limits: Limits, project: &Project, now: Instant) {
    let seconds = limits.window.as_secs();
    let left = limits.limit - project.sent.len().min(limits.limit);
    let reset = project.sent.front().map_or(seconds, |oldest| {
        (limits.window.saturating_sub(now.duration_since(*oldest))).as_secs() + 1
    });
    let free = limits.at_once - project.in_flight.min(limits.at_once);
    let policy = format!(
        r#""project";q={};w={seconds}, "project-concurrency";q={};qu="concurrent-requests""#,
        limits.limit, limits.at_once
    );
    let state = format!(r#""project";r={left};t={reset}, "project-concurrency";r={free}"#);
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", state)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    if left == 0 || free == 0 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(if left == 0 { reset } else { 1 }));
    }
}
