//! The facts of one finished request, as metrics, log, events and traces read them.
//! Made by `record` at the end of an answer.
//! SECURITY: no query value, no header of the caller but its request id, no credential.

use http::{Method, StatusCode};
use std::time::Duration;

/// A finished request.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// How it came.
    pub method: &'a Method,
    /// The path as it was sent.
    pub path: &'a str,
    /// The query as it was sent; only the names in it may be shown.
    pub query: Option<&'a str>,
    /// The route's prefix; `/_mp` for our own endpoints, empty if there was none.
    pub route: &'static str,
    /// What was answered.
    pub status: StatusCode,
    /// Whose answer it was.
    pub answered_by: AnsweredBy<'a>,
    /// As whom it went.
    pub whom: Option<Whom<'a>>,
    /// Who called.
    pub caller: &'a str,
    /// The caller's `X-Request-Id`, or ours.
    pub request_id: &'a str,
    /// The caller's `traceparent`, if it was well-formed.
    pub trace: Option<super::trace_context::TraceContext>,
    /// How long everything took.
    pub times: Times,
    /// Bytes of the request's body that went up.
    pub bytes_up: u64,
    /// Bytes of the answer's body that went down.
    pub bytes_down: u64,
    /// Whether the answer was delivered to its end.
    pub end: End,
}

/// Whose answer a request got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy<'a> {
    /// Mixpanel's.
    Upstream,
    /// Mixpanel's, that an equal read had fetched.
    Shared,
    /// One of our own endpoints.
    Endpoint,
    /// Nobody's: the caller hung up before there was one, or the proxy was stopped.
    Nobody,
    /// A refusal of ours.
    Refusal {
        /// What programs branch on.
        code: &'static str,
        /// What people read.
        detail: &'a str,
    },
}

/// The session of a request, as far as it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Whom<'a> {
    /// The account's name.
    pub account: &'a str,
    /// The project.
    pub project: &'a str,
    /// The workspace, if any.
    pub workspace: Option<u64>,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// In the proxy, before and after the upstream.
    pub own: Duration,
    /// Waiting for a slot of the quota.
    pub paced: Duration,
    /// From the first byte to the upstream to its response headers, connecting included.
    pub upstream: Duration,
    /// All of it, to the last byte of the answer.
    pub total: Duration,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// To its last byte.
    Whole,
    /// It broke, or the caller went away.
    Cut,
}

impl Seen<'_> {
    /// `2xx` and so on.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self.status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        }
    }

    /// The method as a label: those of RFC 9110 and PATCH, else `OTHER`.
    #[must_use]
    pub const fn method_label(&self) -> &'static str {
        match *self.method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            Method::OPTIONS => "OPTIONS",
            Method::TRACE => "TRACE",
            Method::CONNECT => "CONNECT",
            _ => "OTHER",
        }
    }
}
