//! Our own endpoints under `/_mp/` (and `/healthz`). Called by `handler` after the guard.
//! Invariant: none of them dials Mixpanel, none shows a secret.

use super::{
    body::ResponseBody,
    bound, callers, inspector,
    observe::process::ProcessStats,
    overrides, pace,
    respond::{Named, json_answer, refuse},
    shared::Proxy,
};
use crate::{
    auth::{describe::session_json, resolve::resolve, switch::switch},
    model::{
        caller::Caller,
        refusal::{Code, Refusal},
    },
};
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whether the path is ours rather than Mixpanel's.
#[must_use]
pub fn is_own(path: &str) -> bool {
    path == "/healthz" || path == "/_mp" || path.starts_with("/_mp/")
}

/// Whether the path is answered without a caller token: probes, and the icon, which browsers
/// fetch without the password that they have.
#[must_use]
pub fn is_public(path: &str) -> bool {
    ["/_mp/livez", "/healthz", "/_mp/readyz", "/_mp/version", "/_mp/icon.svg"].contains(&path)
}

/// Answers one of our own paths.
///
/// # Errors
/// An unknown path, or what the endpoint itself refuses.
pub fn answer(
    proxy: &Proxy,
    parts: &Parts,
    caller: &Caller,
) -> Result<Response<ResponseBody>, Refusal> {
    if ![Method::GET, Method::HEAD].contains(&parts.method) {
        let message = format!("`{}` is read with GET", parts.uri.path());
        let refusal = Refusal::new(Code::MethodNotAllowed, message).hint("use GET");
        let mut response = refuse(&refusal, Named::Base);
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
        return Ok(response);
    }
    bound::may_look(caller, parts.uri.path())?;
    let json = |value| json_answer(StatusCode::OK, &value);
    match parts.uri.path() {
        "/_mp/livez" | "/healthz" => Ok(json(json!({"status": "ok"}))),
        "/_mp/readyz" => match ready(proxy) {
            Ok(()) => Ok(json(ready_json(proxy))),
            // Answered without a token; where one is asked for, others are not told who we are.
            Err(refusal) if proxy.callers.are_asked() => Err(bound::for_anybody(&refusal)),
            Err(refusal) => Err(refusal),
        },
        "/_mp/version" => {
            Ok(json(json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")})))
        }
        "/_mp/limits" => Ok(json(limits(proxy))),
        "/_mp/quota" => Ok(json(quota(proxy))),
        "/_mp/session" => session(proxy, parts, caller).map(json),
        path => inspector::answer(proxy, path).unwrap_or_else(|| {
            Err(Refusal::new(Code::RouteNotFound, format!("there is no endpoint `{path}`")).hint(
                "endpoints: /_mp/ (a page for the browser), /_mp/livez, /_mp/readyz, \
                 /_mp/session, /_mp/version, /_mp/limits, /_mp/quota, /_mp/metrics, /_mp/overview, /_mp/events",
            ))
        }),
    }
}

/// Whether a request without `X-Mp-*` headers would be sent.
///
/// # Errors
/// Why it would not be.
pub fn ready(proxy: &Proxy) -> Result<(), Refusal> {
    if proxy.is_draining() {
        return Err(Refusal::new(Code::Draining, "the proxy is shutting down")
            .hint("try again when it is back"));
    }
    resolve(&proxy.snapshot(), proxy.base()).map(drop)
}

/// A broken change of the policy or of the certificate does not make the proxy unready, as the
/// old ones still do.
fn ready_json(proxy: &Proxy) -> Value {
    let policy = proxy.governance.policy.current();
    let mut all = json!({
        "status": "ready",
        "policy": in_force(policy.generation, policy.stale.as_ref()),
    });
    if let Some(tls) = proxy.doors.tls() {
        let tls = tls.current();
        all["tls"] = in_force(tls.generation, tls.stale.as_ref());
    }
    all
}

fn in_force(generation: u64, stale: Option<&Refusal>) -> Value {
    match stale {
        None => json!({"status": "in force", "generation": generation}),
        Some(refusal) => json!({
            "status": "stale",
            "generation": generation,
            "detail": refusal.message,
            "hint": refusal.hint,
        }),
    }
}

/// The limits, and how much of them is taken.
fn limits(proxy: &Proxy) -> Value {
    let mut all = proxy.limits.json();
    all["now"] = json!({
        "connections": proxy.open.now(),
        "connections_refused": proxy.open.refused().into_iter().collect::<BTreeMap<_, _>>(),
        "requests_of_callers": proxy.in_flight.now(),
        "open_files": ProcessStats::now().open_fds,
    });
    all
}

/// What is left of each budget that was drawn on, and who used it.
fn quota(proxy: &Proxy) -> Value {
    let pacer = &proxy.governance.pacer;
    let reports: Vec<_> =
        pacer.lanes(usize::MAX).iter().map(|lane| lane.report(pace::now())).collect();
    json!({"pace": pacer.options().mode, "quotas": reports})
}

fn session(proxy: &Proxy, parts: &Parts, caller: &Caller) -> Result<Value, Refusal> {
    let wanted = callers::bind(caller, overrides::parse(&parts.headers)?)?;
    let session = switch(&proxy.snapshot(), proxy.base(), &wanted);
    session
        .map(|session| session_json(&session))
        .map_err(|refusal| bound::for_caller(caller, refusal))
}
