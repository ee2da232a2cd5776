//! A stand-in Mixpanel on loopback: answers shaped like the real ones, and a record of what
//! arrived. Used by `mp-proxy demo` and by the tests.
//! Invariant: plain HTTP on 127.0.0.1; it dials nobody.

use super::{
    answers::{Body, export, faulty, json_answer, me, number},
    oauth_server::OauthServer,
    quotas::Quotas,
    switches::Fault,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
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
    task::JoinHandle,
};

const KEPT: usize = 1000;
/// As much of an OAuth request's body as is kept.
const FORM_BYTES: usize = 64 * 1024;

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
    oauth: Arc<OauthServer>,
    quotas: Quotas,
}

impl StandInService {
    /// Every request so far, the last thousand at most.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Its OAuth server: switches and counters.
    #[must_use]
    pub fn oauth(&self) -> &OauthServer {
        &self.oauth
    }

    /// Its quotas, off until they are enforced.
    #[must_use]
    pub const fn quotas(&self) -> &Quotas {
        &self.quotas
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
        let path = parts.uri.path();
        let mut form = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            let Some(data) = frame.data_ref() else { continue };
            received.body_len += data.len() as u64;
            if path.starts_with("/oauth/") && form.len() + data.len() <= FORM_BYTES {
                form.extend_from_slice(data);
            }
        }
        let bytes = received.body_len;
        {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == KEPT {
                log.pop_front();
            }
            log.push_back(received);
        }
        let query = parts.uri.query().unwrap_or_default();
        if let Some(answer) = faulty(&self.fault(path, &parts.headers)).await {
            return answer;
        }
        if path.starts_with("/oauth/") {
            return self.oauth.answer(&parts.method, path, query, &form);
        }
        if needs_credential(path) && !self.admits(&parts.headers) {
            return json_answer(
                StatusCode::UNAUTHORIZED,
                &json!({"status": "error", "error": "Unauthorized"}),
            );
        }
        let counted = match self.quotas.admit(path, query) {
            Ok(counted) => counted,
            Err(refused) => return *refused,
        };
        tokio::time::sleep(Duration::from_millis(
            number(query, "delay_ms").unwrap_or(0).min(60_000),
        ))
        .await;
        let mut answer = match path.trim_end_matches('/') {
            "/api/2.0/export" => export(query),
            "/api/app/me" => self.oauth.read(|switches| match &switches.me_body {
                Some(body) => json_answer(StatusCode::OK, body),
                None => json_answer(StatusCode::OK, &me()),
            }),
            "/api/query/events/names" => {
                json_answer(StatusCode::OK, &json!(["Login", "Signup", "Purchase"]))
            }
            "/api/query/segmentation" => json_answer(
                StatusCode::OK,
                &json!({"data": {"series": ["2026-01-01"], "values": {"Login": {"2026-01-01": 7}}}, "legend_size": 1}),
            ),
            _ if parts.method == Method::POST => {
                json_answer(StatusCode::OK, &json!({"ok": true, "bytes": bytes}))
            }
            _ => json_answer(
                StatusCode::OK,
                &json!({"echo": {"method": parts.method.as_str(), "target": parts.uri.to_string()}}),
            ),
        };
        for (parameter, field) in [("cache_control", header::CACHE_CONTROL), ("vary", header::VARY)]
        {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let asked = pairs.find(|(name, _)| *name == parameter);
            if let Some(value) = asked.and_then(|(_, value)| HeaderValue::from_str(value).ok()) {
                answer.headers_mut().insert(field, value);
            }
        }
        if let Some(counted) = counted {
            answer.headers_mut().extend(counted.headers.clone());
        }
        answer
    }
}

impl StandInService {
    fn fault(&self, path: &str, headers: &HeaderMap) -> Fault {
        self.oauth.read(|switches| match path {
            "/oauth/mcp/register/" => switches.register.clone(),
            "/oauth/token/" => switches.token.clone(),
            "/api/app/me" => {
                let origin = headers.get("x-mp-proxy-origin").and_then(|value| value.to_str().ok());
                let host = origin.unwrap_or_default().trim_start_matches("https://");
                let mut of_host = switches.me.iter().filter(|(name, _)| name == host);
                of_host.next().map_or(Fault::Fine, |(_, fault)| fault.clone())
            }
            _ => Fault::Fine,
        })
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| {
            value.strip_prefix("Bearer ").is_none_or(|bearer| self.oauth.accepts(bearer))
        })
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

    /// Its quotas, off until they are enforced.
    #[must_use]
    pub const fn quotas(&self) -> &Quotas {
        self.service.quotas()
    }

    /// Its OAuth server: switches and counters.
    #[must_use]
    pub fn oauth(&self) -> &OauthServer {
        self.service.oauth()
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
