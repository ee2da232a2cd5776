//! The answers of the stand-in, shaped like Mixpanel's. Called by `stand_in` and `oauth_server`.
//! Invariant: bodies without end are made as they are taken.

use super::switches::Fault;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::mpsc;

/// A body of the stand-in.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A JSON answer.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Response<Body> {
    full(status, "application/json", body.to_string())
}

/// A page.
pub(super) fn html(status: StatusCode, page: String) -> Response<Body> {
    let mut response = full(status, "text/html; charset=utf-8", page);
    let policy = HeaderValue::from_static(
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    );
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// A redirect. RFC 9700 §4.12: 303, so that a form is not posted on.
pub(super) fn redirect(location: &str) -> Response<Body> {
    let mut response = full(StatusCode::SEE_OTHER, "text/plain", String::new());
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The answer of an endpoint with a fault; `None` if it answers itself, perhaps after a pause.
pub(super) async fn faulty(fault: &Fault) -> Option<Response<Body>> {
    match fault {
        Fault::Fine => None,
        Fault::Slow(pause) => {
            tokio::time::sleep(*pause).await;
            None
        }
        Fault::Status(status, retry_after) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::IM_A_TEAPOT);
            let mut response = json_answer(status, &json!({"error": "asked for by the test"}));
            if status.is_redirection() {
                let elsewhere = HeaderValue::from_static("/followed");
                response.headers_mut().insert(header::LOCATION, elsewhere);
            }
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
            }
            Some(response)
        }
        Fault::Body(body) => Some(full(StatusCode::OK, "application/json", body.clone())),
        Fault::Huge(bytes) => {
            let filler = "x".repeat(*bytes);
            let body =
                format!("{{\"access_token\": \"demo-access-huge\", \"filler\": \"{filler}\"}}");
            Some(full(StatusCode::OK, "application/json", body))
        }
        Fault::Cut => {
            let (pieces, taken) = mpsc::channel(2);
            let half = Bytes::from_static(b"{\"access_token\": \"demo-access-cut");
            let _ = pieces.try_send(Ok(Frame::data(half)));
            let _ = pieces.try_send(Err(io::Error::other("cut as asked")));
            Some(Response::new(StreamBody::new(Pieces(taken)).boxed_unsync()))
        }
    }
}

/// Rows as NDJSON, made as they are taken: `rows` or `bytes` of them, `pause_ms` apart; with
/// `cut=1` the connection breaks in the middle.
pub(super) fn export(query: &str) -> Response<Body> {
    let pause = Duration::from_millis(number(query, "pause_ms").unwrap_or(0).min(10_000));
    let limit = number(query, "bytes");
    let rows = limit.map_or_else(|| number(query, "rows").unwrap_or(5), |_| u64::MAX);
    let cut = number(query, "cut") == Some(1);
    let (rows_in, rows_out) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(2);
    tokio::spawn(async move {
        let mut sent = 0;
        for number in 0..rows {
            if limit.is_some_and(|limit| sent >= limit) {
                return;
            }
            let chunk = if limit.is_some() { row(number).repeat(512) } else { row(number) };
            sent += chunk.len() as u64;
            if rows_in.send(Ok(Frame::data(Bytes::from(chunk)))).await.is_err() {
                return;
            }
            if cut && number >= 2 {
                let _ = rows_in.send(Err(io::Error::other("cut as asked"))).await;
                return;
            }
            tokio::time::sleep(pause).await;
        }
    });
    let mut response = Response::new(StreamBody::new(Pieces(rows_out)).boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A number of the query.
pub(super) fn number(query: &str, name: &str) -> Option<u64> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

/// The built-in answer of `/api/app/me`.
pub(super) fn me() -> Value {
    json!({"status": "ok", "results": {
        "user_id": 42, "user_email": "demo@example.com", "user_name": "Demo",
        "organizations": {"1": {"id": 1, "name": "Acme"}},
        "projects": {
            "1001": {"name": "Shop", "organization_id": 1, "timezone": "US/Pacific", "domain": "mixpanel.com"},
            "2002": {"name": "Shop EU", "organization_id": 1, "timezone": "Europe/Berlin", "domain": "eu.mixpanel.com"},
        },
        "workspaces": {"7": {"id": 7, "name": "All Project Data", "project_id": 2002, "is_default": true, "is_global": true, "is_visible": true}},
    }})
}

fn full(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let full = Full::new(Bytes::from(body)).map_err(|never| match never {});
    let mut response = Response::new(full.boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn row(number: u64) -> String {
    let row = json!({"event": "Login", "properties": {
        "time": 1_767_225_600 + number, "distinct_id": format!("u{number}"), "$insert_id": format!("row-{number}"),
    }});
    format!("{row}\n")
}

struct Pieces(mpsc::Receiver<Result<Frame<Bytes>, io::Error>>);

impl futures_core::Stream for Pieces {
    type Item = Result<Frame<Bytes>, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}
