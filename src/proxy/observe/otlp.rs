//! A span for each finished request, sent to an OpenTelemetry collector as OTLP over HTTP in
//! JSON. Feature `otlp`; on when the environment names a collector. Fed by `observe`.
//! Invariants: a request never waits for the collector: past the bound spans are dropped; a span
//! holds what the log line holds, so no query value and no secret.

pub mod collector;

use super::seen::{AnsweredBy, Seen};
use crate::{
    model::{
        origin::{Family, Origin},
        refusal::Refusal,
        region::Region,
    },
    sys::{clock, env::Env, http::HttpClient},
};
use collector::Collector;
use http::Request;
use serde_json::{Value, json};
use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// How many spans may wait.
const MOST: usize = 4096;
/// How many go in one message.
const BATCH: usize = 512;
/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last ones may take when the proxy ends.
const LAST: Duration = Duration::from_millis(800);

/// Takes spans.
#[derive(Debug, Clone)]
pub struct Spans(mpsc::Sender<Order>);

/// Sends them.
#[derive(Debug)]
pub struct Exporter {
    orders: mpsc::Receiver<Order>,
    client: HttpClient,
    collector: Collector,
}

#[derive(Debug)]
enum Order {
    Span(Value),
    /// Send what waits, and say when that is done.
    Deliver(oneshot::Sender<()>),
}

/// Both ends, if a collector is named.
///
/// # Errors
/// `CONFIG_ERROR` if the collector cannot be used as it is named.
pub fn start(env: &Env) -> Result<Option<(Spans, Exporter)>, Refusal> {
    let Some(collector) = Collector::of(env)? else { return Ok(None) };
    let (sender, orders) = mpsc::channel(MOST);
    let client = HttpClient::new(env, Some(collector.host.clone()));
    Ok(Some((Spans(sender), Exporter { orders, client, collector })))
}

impl Spans {
    /// Takes the span of one request, unless too many wait. A caller that does not sample its
    /// own trace gets no span in it.
    pub fn add(&self, seen: &Seen<'_>) {
        if seen.trace.is_some_and(|trace| trace.flags & 1 == 0) {
            return;
        }
        if let Ok(place) = self.0.try_reserve() {
            place.send(Order::Span(span(seen)));
        }
    }

    /// Sends what waits, if the collector is quick; before the process ends.
    pub async fn deliver(&self) {
        let (done, all_sent) = oneshot::channel();
        let ask = async {
            if self.0.send(Order::Deliver(done)).await.is_ok() {
                let _ = all_sent.await;
            }
        };
        let _ = tokio::time::timeout(LAST, ask).await;
    }
}

impl Exporter {
    /// Sends until nobody can add any more.
    pub async fn run(mut self) {
        let mut failing = false;
        loop {
            let (mut orders, mut spans, mut asked) = (Vec::new(), Vec::new(), Vec::new());
            if self.orders.recv_many(&mut orders, BATCH).await == 0 {
                return;
            }
            let hurry = orders.iter().any(|order| matches!(order, Order::Deliver(_)));
            if orders.len() < BATCH && !hurry {
                tokio::select! {
                    () = tokio::time::sleep(GATHER) => {}
                    () = fill(&mut self.orders, &mut orders) => {}
                }
            }
            for order in orders {
                match order {
                    Order::Span(span) => spans.push(span),
                    Order::Deliver(done) => asked.push(done),
                }
            }
            if !spans.is_empty() {
                let failed = self.send(&spans).await.err();
                // Once for a collector that is gone, not once a second.
                if let (Some(error), false) = (&failed, failing) {
                    tracing::warn!("spans cannot be delivered to the collector: {error}");
                }
                failing = failed.is_some();
            }
            for done in asked {
                let _ = done.send(());
            }
        }
    }

    async fn send(&self, spans: &[Value]) -> Result<(), String> {
        let message = json!({"resourceSpans": [{
            "resource": {"attributes": [
                text("service.name", &self.collector.service),
                text("service.version", env!("CARGO_PKG_VERSION")),
            ]},
            "scopeSpans": [{"scope": {"name": env!("CARGO_PKG_NAME")}, "spans": spans}],
        }]});
        let mut request = Request::post(self.collector.path.as_str())
            .body(message.to_string().into_bytes())
            .map_err(|error| error.to_string())?;
        *request.headers_mut() = self.collector.headers.clone();
        let json = http::HeaderValue::from_static("application/json");
        request.headers_mut().insert(http::header::CONTENT_TYPE, json);
        // The client sends everything to the collector, whatever host is asked for.
        let anywhere = Origin::new(Family::App, Region::Us);
        let answer = self.client.send(anywhere, request, PATIENCE).await;
        let status = answer.map_err(|error| error.to_string())?.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
    }
}

/// Takes what comes until there is a batch, or somebody is in a hurry.
async fn fill(from: &mut mpsc::Receiver<Order>, orders: &mut Vec<Order>) {
    while orders.len() < BATCH
        && let Some(order) = from.recv().await
    {
        let hurry = matches!(order, Order::Deliver(_));
        orders.push(order);
        if hurry {
            return;
        }
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
