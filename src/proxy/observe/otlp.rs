//! A span for each finished request, sent to an OpenTelemetry collector as OTLP over HTTP in
//! JSON. Feature `otlp`; on when `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Fed by `observe`.
//! Invariants: a request never waits for the collector: past the bound spans are dropped; a span
//! holds what the log line holds, so no query value and no secret.

use super::seen::{AnsweredBy, Seen};
use crate::{
    model::{
        origin::{Family, Origin},
        refusal::{Code, Refusal},
        region::Region,
        upstream::Upstream,
    },
    sys::{clock, env::Env, http::HttpClient},
};
use http::Request;
use serde_json::{Value, json};
use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};
use tokio::sync::mpsc;

/// Where the collector is, as all OpenTelemetry programs have it.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// How many spans may wait.
const MOST: usize = 4096;
/// How many go in one message.
const BATCH: usize = 512;
/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes spans.
#[derive(Debug, Clone)]
pub struct Spans(mpsc::Sender<Value>);

/// Sends them.
#[derive(Debug)]
pub struct Exporter {
    spans: mpsc::Receiver<Value>,
    client: HttpClient,
}

/// Both ends, if a collector is named.
///
/// # Errors
/// `CONFIG_ERROR` if what is named is no base URL, or plain `http` to another machine.
pub fn start(env: &Env) -> Result<Option<(Spans, Exporter)>, Refusal> {
    let Some(text) = env.get(ENDPOINT) else { return Ok(None) };
    let collector: Upstream = text.trim_end_matches('/').parse().map_err(|error| {
        Refusal::new(Code::ConfigError, format!("`{ENDPOINT}` {error}"))
            .hint("name the base of a collector, such as http://127.0.0.1:4318")
    })?;
    let (sender, spans) = mpsc::channel(MOST);
    let client = HttpClient::new(env, Some(collector));
    Ok(Some((Spans(sender), Exporter { spans, client })))
}

impl Spans {
    /// Takes the span of one request, unless too many wait.
    pub fn add(&self, seen: &Seen<'_>) {
        if let Ok(place) = self.0.try_reserve() {
            place.send(span(seen));
        }
    }
}

impl Exporter {
    /// Sends until nobody can add any more.
    pub async fn run(mut self) {
        let mut failing = false;
        loop {
            let mut batch = Vec::new();
            if self.spans.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
            if batch.len() < BATCH {
                tokio::time::sleep(GATHER).await;
                while batch.len() < BATCH
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.push(span);
                }
            }
            let failed = self.send(&batch).await.err();
            // Once for a collector that is gone, not once a second.
            if let (Some(error), false) = (&failed, failing) {
                tracing::warn!("traces cannot be delivered to `{ENDPOINT}`: {error}");
            }
            failing = failed.is_some();
        }
    }

    async fn send(&self, spans: &[Value]) -> Result<(), String> {
        let message = json!({"resourceSpans": [{
            "resource": {"attributes": [
                text("service.name", env!("CARGO_PKG_NAME")),
                text("service.version", env!("CARGO_PKG_VERSION")),
            ]},
            "scopeSpans": [{"scope": {"name": env!("CARGO_PKG_NAME")}, "spans": spans}],
        }]});
        let request = Request::post("/v1/traces")
            .header("content-type", "application/json")
            .body(message.to_string().into_bytes())
            .map_err(|error| error.to_string())?;
        // The client sends everything to the collector, whatever host is asked for.
        let anywhere = Origin::new(Family::App, Region::Us);
        let answer = self.client.send(anywhere, request, PATIENCE).await;
        let status = answer.map_err(|error| error.to_string())?.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
    }
}

fn span(seen: &Seen<'_>) -> Value {
    let end = i128::from(clock::now_micros()) * 1000;
    let nanos = i128::try_from(seen.times.total.as_nanos()).unwrap_or_default();
    let (trace, parent) = match seen.trace {
        Some(trace) => (trace.trace_id, format!("{:016x}", trace.parent_id)),
        None => ((u128::from(fresh()) << 64) | u128::from(fresh()), String::new()),
    };
    let mut attributes = vec![
        text("http.request.method", seen.method.as_str()),
        text("url.path", seen.path),
        text("http.route", seen.route),
        number("http.response.status_code", seen.status.as_u16().into()),
        number("http.request.body.size", seen.bytes_up),
        number("http.response.body.size", seen.bytes_down),
        text("mp_proxy.request_id", seen.request_id),
        text("mp_proxy.caller", seen.caller),
        number("mp_proxy.own_us", micros(seen.times.own)),
        number("mp_proxy.upstream_us", micros(seen.times.upstream)),
        number("mp_proxy.paced_us", micros(seen.times.paced)),
    ];
    if let Some(whom) = seen.whom {
        attributes.push(text("mp_proxy.account", whom.account));
        attributes.push(text("mp_proxy.project", whom.project));
    }
    if let AnsweredBy::Refusal { code, .. } = seen.answered_by {
        attributes.push(text("error.type", code));
    }
    json!({
        "traceId": format!("{trace:032x}"),
        "spanId": format!("{:016x}", fresh()),
        "parentSpanId": parent,
        "name": format!("{} {}", seen.method_label(), seen.route),
        "kind": 2,
        "startTimeUnixNano": (end - nanos).to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes,
        "status": {"code": if seen.status.is_server_error() { 2 } else { 0 }},
    })
}

/// An id that is unique, not secret.
fn fresh() -> u64 {
    RandomState::new().hash_one(0).max(1)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}
