//! The page under `/_mp/` and what feeds it: overview, live events, metrics. Called by `health`,
//! so behind the guard like everything else.
//! SECURITY: it only reads; nothing of it loads from elsewhere or runs inline, which the
//! Content-Security-Policy enforces; it holds names and times, never a secret.

pub mod overview;

use super::{
    audit::Audit,
    body::{ResponseBody, full},
    health,
    observe::{
        gauges::{Followed, Gauges, Readiness},
        metrics, stream,
    },
    respond::json_answer,
    shared::Proxy,
    tls::Tls,
};
use crate::model::refusal::{Code, Refusal};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};

/// Nothing from anywhere but this origin, no inline script or style, no form, no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Answers the paths of the inspector; `None` for any other.
pub fn answer(proxy: &Proxy, path: &str) -> Option<Result<Response<ResponseBody>, Refusal>> {
    Some(Ok(match path {
        "/_mp" => moved(),
        "/_mp/" => file("text/html; charset=utf-8", include_str!("inspector/index.html")),
        "/_mp/inspector.css" => {
            file("text/css; charset=utf-8", include_str!("inspector/inspector.css"))
        }
        "/_mp/inspector.js" => script(include_str!("inspector/inspector.js")),
        "/_mp/overview.js" => script(include_str!("inspector/overview.js")),
        "/_mp/dom.js" => script(include_str!("inspector/dom.js")),
        "/_mp/icon.svg" => file("image/svg+xml", include_str!("inspector/icon.svg")),
        "/_mp/overview" => json_answer(StatusCode::OK, &overview::overview(proxy)),
        "/_mp/events" => return Some(events(proxy)),
        "/_mp/metrics" => return Some(scrape(proxy)),
        _ => return None,
    }))
}

/// Whether a person waits for the page, rather than a program for a document.
#[must_use]
pub fn is_page(path: &str, headers: &HeaderMap) -> bool {
    matches!(path, "/_mp" | "/_mp/")
        && headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"))
}

/// What a person sees who gives no token: the same answer, but for reading. The browser shows it
/// after its own question for a password was turned down.
#[must_use]
pub fn closed(mut refused: Response<ResponseBody>) -> Response<ResponseBody> {
    let style = include_str!("inspector/closed.css");
    let page = concat!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
        "<title>mp-proxy: a token, please</title>\n<style>",
        include_str!("inspector/closed.css"),
        "</style>\n</head>\n",
        include_str!("inspector/closed.html"),
    );
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        STANDARD.encode(Sha256::digest(style))
    );
    let answer = typed("text/html; charset=utf-8", full(page));
    let headers = refused.headers_mut();
    // The status and what asks for the password stay.
    headers.extend(answer.headers().clone());
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    refused.map(|_| answer.into_body())
}

fn script(text: &'static str) -> Response<ResponseBody> {
    file("text/javascript; charset=utf-8", text)
}

fn file(content_type: &'static str, text: &'static str) -> Response<ResponseBody> {
    typed(content_type, full(text))
}

fn typed(content_type: &'static str, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn moved() -> Response<ResponseBody> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/_mp/"));
    response
}

fn events(proxy: &Proxy) -> Result<Response<ResponseBody>, Refusal> {
    let listener = proxy.observer().live.listen().ok_or_else(|| {
        Refusal::new(Code::LimitExceeded, "too many listen to live events already")
            .hint("close an inspector page or a `mp-proxy tail`")
    })?;
    Ok(typed("text/event-stream; charset=utf-8", stream::events(listener)))
}

fn tls(tls: &Tls) -> Followed {
    let now = tls.current();
    Followed { generation: now.generation, stale: now.stale.is_some(), failures: tls.failures() }
}

fn policy(proxy: &Proxy) -> Followed {
    let (live, now) = (&proxy.governance.policy, proxy.governance.policy.current());
    Followed { generation: now.generation, stale: now.stale.is_some(), failures: live.failures() }
}

fn scrape(proxy: &Proxy) -> Result<Response<ResponseBody>, Refusal> {
    let snapshot = proxy.snapshot();
    proxy.observer().files(&snapshot);
    let tokens = proxy.tokens().stats().counts();
    let gauges = Gauges {
        generation: snapshot.generation,
        session: health::ready(proxy).map_or(Readiness::NotReady, |()| Readiness::Ready),
        last_failure: proxy.observer().last_failure(),
        token_expiry: overview::token_expiry(&snapshot),
        refreshes: vec![
            ("refreshed", tokens.refreshed),
            ("adopted", tokens.adopted),
            ("failed", tokens.failed),
            ("revoked", tokens.revoked),
        ],
        quotas: overview::quotas(proxy),
        limits: proxy.limits.gauges(),
        connections: proxy.open.now() as u64,
        refused: proxy.open.refused(),
        policy: policy(proxy),
        tls: proxy.doors.tls().map(tls),
        audit_lost: proxy.governance.audit.as_deref().map(Audit::lost),
    };
    let text = metrics::render(proxy.observer(), gauges)
        .map_err(|_| Refusal::config("the metrics cannot be written"))?;
    Ok(typed(metrics::CONTENT_TYPE, full(text)))
}
