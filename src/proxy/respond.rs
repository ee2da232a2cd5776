//! Our own answers: the single home of HTTP status codes of refusals (RFC 9457, RFC 9209).
//! Called by `handler` and `health`. Invariant: an upstream's answer never passes here.

use super::{
    body::{ResponseBody, full},
    guard::METHODS,
};
use crate::model::refusal::{Code, Refusal};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

/// Whether the request itself named who it wants to be sent as; decides whose fault an
/// unresolved session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// It carried `X-Mp-*` headers.
    ByRequest,
    /// The base session was asked for.
    Base,
}

/// The answer to a refused request.
#[must_use]
pub fn refuse(refusal: &Refusal, named: Named) -> Response<ResponseBody> {
    let status = status(refusal, named);
    let code = refusal.code.as_str();
    let retryable = refusal.retry_after.is_some() || matches!(status.as_u16(), 502..=504);
    let mut body = json!({
        "type": format!("urn:mp-proxy:error:{}", refusal.reason.unwrap_or(refusal.code).as_str()),
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": refusal.message,
        "code": code,
        "retryable": retryable,
        "error": {"code": code, "message": refusal.message},
    });
    if let Some(hint) = &refusal.hint {
        body["hint"] = json!(hint);
    }
    if let Some(reason) = refusal.reason {
        body["reason"] = json!(reason.as_str());
    }
    let mut response = json_answer(status, &body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert("proxy-status", HeaderValue::from_static(proxy_status(refusal.code)));
    if refusal.code == Code::BadRequest {
        // RFC 9112 §6.3: where the framing is in doubt, nothing behind it may be read.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    match refusal.code {
        // RFC 9110 §15.5.6 and §15.5.2: what such answers have to say.
        Code::MethodNotAllowed => {
            headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
        }
        Code::CallerUnknown => {
            for scheme in [r#"Bearer realm="mp-proxy""#, r#"Basic realm="mp-proxy""#] {
                headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
        }
        _ => {}
    }
    if let Some(seconds) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A whole answer of our own as it stands on the wire, for where there is no HTTP server yet.
pub async fn bytes(answer: Response<ResponseBody>) -> Vec<u8> {
    let (head, body) = answer.into_parts();
    // Our own answers are whole and cannot fail.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut out = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).into_bytes();
    for (name, value) in &head.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let end = format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    out.extend_from_slice(end.as_bytes());
    out.extend_from_slice(&body);
    out
}

/// An answer of our own in JSON.
#[must_use]
pub fn json_answer(status: StatusCode, body: &Value) -> Response<ResponseBody> {
    let mut response = Response::new(full(format!("{body}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The answer to OPTIONS: never forwarded, and without CORS fields.
#[must_use]
pub fn options() -> Response<ResponseBody> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(METHODS));
    response
}

fn status(refusal: &Refusal, named: Named) -> StatusCode {
    match refusal.reason.unwrap_or(refusal.code) {
        Code::AccountNotFound
        | Code::TargetNotFound
        | Code::ProjectNotFound
        | Code::SessionUnresolved
        | Code::NoActiveAccount => match named {
            Named::ByRequest => StatusCode::BAD_REQUEST,
            Named::Base => StatusCode::SERVICE_UNAVAILABLE,
        },
        Code::ConfigError | Code::Draining => StatusCode::SERVICE_UNAVAILABLE,
        Code::AmbiguousAccount => StatusCode::CONFLICT,
        Code::AccountExists | Code::AccountInUse => StatusCode::CONFLICT,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::CallerUnknown => StatusCode::UNAUTHORIZED,
        Code::LimitExceeded => StatusCode::SERVICE_UNAVAILABLE,
        Code::InvalidArgument
        | Code::TargetMutuallyExclusive
        | Code::OverrideInvalid
        | Code::OverrideConflict
        | Code::BadRequest => StatusCode::BAD_REQUEST,
        Code::RouteNotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::GuardHost
        | Code::GuardOrigin
        | Code::GuardFetchSite
        | Code::ClientAuthorization
        | Code::PolicyDenied
        | Code::BearerRequired => StatusCode::FORBIDDEN,
        Code::LoopDetected => StatusCode::LOOP_DETECTED,
        Code::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        // What is left lies behind us: a credential that cannot be had (`is_authentication`), or the
        // upstream itself.
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// The error types of RFC 9209 §2.3.
const fn proxy_status(code: Code) -> &'static str {
    match code {
        Code::UpstreamUnreachable => "mp-proxy; error=connection_refused",
        Code::UpstreamTls => "mp-proxy; error=tls_certificate_error",
        Code::UpstreamBroken => "mp-proxy; error=http_protocol_error",
        Code::UpstreamTimeout => "mp-proxy; error=http_response_timeout",
        Code::LoopDetected => "mp-proxy; error=proxy_loop_detected",
        Code::ConfigError | Code::OauthTokenError | Code::OauthRefreshError => {
            "mp-proxy; error=proxy_configuration_error"
        }
        _ => "mp-proxy; error=http_request_denied",
    }
}
