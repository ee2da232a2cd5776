//! A stand-in Mixpanel on loopback: answers shaped like the real ones, and a record of what
//! arrived. Used by `mp-proxy demo` and by the tests.
//! Invariant: plain HTTP on 127.0.0.1; it dials nobody.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
};

const KEPT: usize = 1000;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// One request as it arrived.
#[derive(Clone)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query, the bytes as received.
    pub target: String,
    /// Header fields in order of arrival.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body.
    pub body_len: u64,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The fields hold a credential.
        f.debug_struct("Received")
            .field("method", &self.method)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// The service without a listener, so that tests can put TLS around a connection.
#[derive(Clone, Default)]
pub struct StandInService {
    log: Arc<Mutex<VecDeque<Received>>>,
}

impl StandInService {
    /// Every request so far, the last thousand at most.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Serves one connection to its end.
    pub async fn serve_connection<I>(&self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = self.clone();
        let answer = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        // A connection that breaks is the client's business.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(io), answer)
            .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, mut body) = request.into_parts();
        let mut received = Received {
            method: parts.method.to_string(),
            target: parts.uri.to_string(),
            headers: parts
                .headers
                .iter()
                .map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                })
                .collect(),
            body_len: 0,
        };
        while let Some(Ok(frame)) = body.frame().await {
            received.body_len += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        let bytes = received.body_len;
        {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == KEPT {
                log.pop_front();
            }
            log.push_back(received);
        }
        let path = parts.uri.path();
        let query = parts.uri.query().unwrap_or_default();
        if needs_credential(path) && !parts.headers.contains_key(header::AUTHORIZATION) {
            return answer_json(
                StatusCode::UNAUTHORIZED,
                &json!({"status": "error", "error": "Unauthorized"}),
            );
        }
        tokio::time::sleep(Duration::from_millis(
            number(query, "delay_ms").unwrap_or(0).min(60_000),
        ))
        .await;
        match path.trim_end_matches('/') {
            "/api/2.0/export" => export(query),
            "/api/app/me" => answer_json(StatusCode::OK, &me()),
            "/api/query/events/names" => {
                answer_json(StatusCode::OK, &json!(["Login", "Signup", "Purchase"]))
            }
            "/api/query/segmentation" => answer_json(
                StatusCode::OK,
                &json!({"data": {"series": ["2026-01-01"], "values": {"Login": {"2026-01-01": 7}}}, "legend_size": 1}),
            ),
            _ if parts.method == Method::POST => {
                answer_json(StatusCode::OK, &json!({"ok": true, "bytes": bytes}))
            }
            _ => answer_json(
                StatusCode::OK,
                &json!({"echo": {"method": parts.method.as_str(), "target": parts.uri.to_string()}}),
            ),
        }
    }
}

/// A running stand-in.
pub struct StandIn {
    service: StandInService,
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl StandIn {
    /// Starts on any free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port could be bound.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(TcpListener::bind(("127.0.0.1", 0)).await?).await
    }

    /// Starts on a bound listener.
    ///
    /// # Errors
    /// The listener has no address.
    #[expect(clippy::unused_async, reason = "must be called within a runtime")]
    pub async fn start_on(listener: TcpListener) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let service = StandInService::default();
        let serving = service.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let service = serving.clone();
                tokio::spawn(async move { service.serve_connection(stream).await });
            }
        });
        Ok(Self { service, addr, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Every request so far, the last thousand at most.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.service.received()
    }

    /// Stops accepting.
    pub async fn shutdown(mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn needs_credential(path: &str) -> bool {
    let tracking = ["/track", "/engage", "/groups", "/record", "/decide", "/oauth", "/.well-known"];
    !tracking.iter().any(|prefix| path.starts_with(prefix))
}

fn number(query: &str, name: &str) -> Option<u64> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

/// Rows as NDJSON, made as they are taken: `rows` or `bytes` of them, `pause_ms` apart; with
/// `cut=1` the connection breaks in the middle.
fn export(query: &str) -> Response<Body> {
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
    let stream = Rows(rows_out);
    let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn row(number: u64) -> String {
    let row = json!({"event": "Login", "properties": {
        "time": 1_767_225_600 + number, "distinct_id": format!("u{number}"), "$insert_id": format!("row-{number}"),
    }});
    format!("{row}\n")
}

struct Rows(mpsc::Receiver<Result<Frame<Bytes>, io::Error>>);

impl futures_core::Stream for Rows {
    type Item = Result<Frame<Bytes>, io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

fn me() -> Value {
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

fn answer_json(status: StatusCode, body: &Value) -> Response<Body> {
    let full = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {});
    let mut response = Response::new(full.boxed_unsync());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
