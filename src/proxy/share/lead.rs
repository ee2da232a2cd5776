//! A request that goes to Mixpanel where sharing is on: alone, or with others that wait for what
//! comes back. Made by `Share::turn`, ended by `handler`.
//! Invariant: who waits is told, whatever becomes of the one that leads.

use super::{
    HEADER, LARGEST, Share,
    body::{Collected, collect},
    control,
    key::Key,
};
use crate::{
    model::refusal::Refusal,
    proxy::{
        body::{ResponseBody, full},
        pace,
    },
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// For whom a request goes to Mixpanel.
#[derive(Debug)]
pub enum Asking<'a> {
    /// Others may wait for what comes back.
    Lead(Box<Lead<'a>>),
    /// For itself; what the answer says of that.
    Alone(Option<HeaderValue>),
}

/// A request that others may wait for.
#[derive(Debug)]
pub struct Lead<'a> {
    pub(super) share: &'a Share,
    pub(super) key: Key,
    pub(super) keep: Option<Duration>,
    pub(super) waiting: Option<watch::Sender<State>>,
}

/// An answer that can be given again.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) since: Instant,
    pub(super) fresh: Duration,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    Pending,
    Done(Arc<Answer>),
    Refused(Refusal),
    /// Too large, or not to be shared.
    Unshared,
}

impl Asking<'_> {
    /// Takes in what came back, and says what was done.
    ///
    /// # Errors
    /// That of the outcome.
    pub async fn outcome(
        self,
        outcome: Result<Response<ResponseBody>, Refusal>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        match self {
            Self::Lead(lead) => lead.outcome(outcome).await,
            Self::Alone(None) => outcome,
            Self::Alone(Some(said)) => outcome.map(|mut response| {
                response.headers_mut().insert(HEADER, said);
                response
            }),
        }
    }
}

impl Lead<'_> {
    /// Hands the outcome to those who wait, keeps it if it may be kept, and gives it back.
    ///
    /// # Errors
    /// That of the outcome.
    pub async fn outcome(
        mut self,
        outcome: Result<Response<ResponseBody>, Refusal>,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let response = match outcome {
            Ok(response) => response,
            Err(refusal) => {
                self.settle(State::Refused(refusal.clone()));
                return Err(refusal);
            }
        };
        let (mut parts, body) = response.into_parts();
        let said = |text| HeaderValue::from_static(text);
        if !control::may_be_shared(&parts.headers) {
            self.settle(State::Unshared);
            parts.headers.insert(HEADER, said("bypass"));
            return Ok(Response::from_parts(parts, body));
        }
        let bytes = match collect(body, LARGEST).await {
            Collected::Whole(bytes) => bytes,
            Collected::Streaming(body) => {
                self.settle(State::Unshared);
                parts.headers.insert(HEADER, said("bypass"));
                return Ok(Response::from_parts(parts, body));
            }
        };
        let fresh = self.keep.and_then(|ttl| control::fresh(parts.status, &parts.headers, ttl));
        let mut headers = parts.headers.clone();
        // What is left of a quota is true for one moment and one caller.
        headers.remove(pace::HEADER);
        let answer = Arc::new(Answer {
            status: parts.status,
            headers,
            body: bytes.clone(),
            since: Instant::now(),
            fresh: fresh.unwrap_or_default(),
        });
        if fresh.is_some() {
            self.share.kept.insert(self.key.clone(), Arc::clone(&answer));
        }
        self.settle(State::Done(answer));
        parts.headers.insert(HEADER, said("miss"));
        Ok(Response::from_parts(parts, full(bytes)))
    }

    fn settle(&mut self, state: State) {
        let Some(waiting) = self.waiting.take() else { return };
        self.leave();
        let _ = waiting.send(state);
    }

    fn leave(&self) {
        self.share.leading.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if self.waiting.is_some() {
            self.leave();
        }
    }
}

impl Answer {
    pub(super) fn response(&self, said: HeaderValue) -> Response<ResponseBody> {
        let mut response = Response::new(full(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response.headers_mut().insert(HEADER, said);
        response
    }
}
