//! Our own endpoints under `/_mp/` (and `/healthz`). Called by `handler` after the guard.
//! Invariant: none of them dials Mixpanel, none shows a secret.

use super::{
    body::ResponseBody,
    overrides,
    respond::{Named, json_answer, refuse},
    shared::Proxy,
};
use crate::{
    auth::{describe::session_json, resolve::resolve, switch::switch},
    model::refusal::{Code, Refusal},
};
use http::{Method, Response, StatusCode, request::Parts};
use serde_json::{Value, json};

/// Whether the path is ours rather than Mixpanel's.
#[must_use]
pub fn is_own(path: &str) -> bool {
    path == "/healthz" || path == "/_mp" || path.starts_with("/_mp/")
}

/// Answers one of our own paths.
#[must_use]
pub fn answer(proxy: &Proxy, parts: &Parts) -> Response<ResponseBody> {
    if ![Method::GET, Method::HEAD].contains(&parts.method) {
        let refusal = Refusal::new(
            Code::MethodNotAllowed,
            format!("`{}` is read with GET", parts.uri.path()),
        );
        return refuse(&refusal.hint("use GET"), Named::Base);
    }
    match parts.uri.path() {
        "/_mp/livez" | "/healthz" => json_answer(StatusCode::OK, &json!({"status": "ok"})),
        "/_mp/readyz" => match ready(proxy) {
            Ok(()) => json_answer(StatusCode::OK, &ready_json(proxy)),
            Err(refusal) => refuse(&refusal, Named::Base),
        },
        "/_mp/version" => json_answer(
            StatusCode::OK,
            &json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")}),
        ),
        "/_mp/session" => session(proxy, parts),
        path => refuse(
            &Refusal::new(Code::RouteNotFound, format!("there is no endpoint `{path}`"))
                .hint("endpoints: /_mp/livez, /_mp/readyz, /_mp/session, /_mp/version"),
            Named::Base,
        ),
    }
}

fn ready(proxy: &Proxy) -> Result<(), Refusal> {
    if proxy.is_draining() {
        return Err(Refusal::new(Code::Draining, "the proxy is shutting down")
            .hint("try again when it is back"));
    }
    resolve(&proxy.snapshot(), proxy.base()).map(drop)
}

/// A broken change of the policy does not make the proxy unready, as the old rules protect it.
fn ready_json(proxy: &Proxy) -> Value {
    let policy = proxy.governance.policy.current();
    let mut all = json!({"status": "ready", "policy": {"status": "in force", "generation": policy.generation}});
    if let Some(refusal) = &policy.stale {
        all["policy"] = json!({
            "status": "stale",
            "generation": policy.generation,
            "detail": refusal.message,
            "hint": refusal.hint,
        });
    }
    all
}

fn session(proxy: &Proxy, parts: &Parts) -> Response<ResponseBody> {
    let wanted = match overrides::parse(&parts.headers) {
        Ok(wanted) => wanted,
        Err(refusal) => return refuse(&refusal, Named::ByRequest),
    };
    match switch(&proxy.snapshot(), proxy.base(), &wanted) {
        Ok(session) => json_answer(StatusCode::OK, &session_json(&session)),
        Err(refusal) => {
            refuse(&refusal, if wanted.is_empty() { Named::Base } else { Named::ByRequest })
        }
    }
}
