//! The pooled client towards Mixpanel. Called by `handler` with a finished request.
//! Invariant: no redirect is followed, no body is buffered or changed.

use super::{
    body::{Passing, Progress, ResponseBody},
    error::{silent, upstream_failure},
};
use crate::model::refusal::{Code, Refusal};
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{io, pin::Pin, time::Duration};

/// How long to wait for what. There is no total time: exports may run for hours.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For TCP and TLS together.
    pub connect: Duration,
    /// For response headers, counted from the last byte of the upload that moved.
    pub header: Duration,
    /// For the next bytes of a body.
    pub idle: Duration,
}

/// The client with its pool.
#[derive(Clone)]
pub struct Forwarder {
    client: Client<ConnectWithin, Passing<Incoming>>,
    timeouts: Timeouts,
}

impl Forwarder {
    /// Reads the root certificates (platform, or `SSL_CERT_FILE`) once.
    ///
    /// # Errors
    /// No root certificate could be read.
    pub fn new(timeouts: Timeouts) -> io::Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let connector = ConnectWithin { inner: https, limit: timeouts.connect };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        Ok(Self { client, timeouts })
    }

    /// Sends the request and answers with the upstream's response, its body streaming.
    ///
    /// # Errors
    /// Unreachable, bad certificate, broken or silent upstream.
    pub async fn send(
        &self,
        request: Request<Incoming>,
        host: &str,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let progress = Progress::default();
        let request = request.map(|body| Passing::new(body, self.timeouts.idle, progress.clone()));
        let mut answer = self.client.request(request);
        let mut mark = progress.mark();
        let response = loop {
            match tokio::time::timeout(self.timeouts.header, &mut answer).await {
                Ok(Ok(response)) => break response,
                Ok(Err(error)) => return Err(upstream_failure(host, &error, error.is_connect())),
                // The upload is still moving: it is not the upstream that is late.
                Err(_) if progress.mark() != mark => mark = progress.mark(),
                Err(_) => return Err(silent(host)),
            }
        };
        self.check(&response, host)?;
        Ok(response
            .map(|body| Passing::new(body, self.timeouts.idle, Progress::default()).boxed_unsync()))
    }

    /// What hyper leaves to us: an unasked 101, and codings that cannot be passed on.
    fn check(&self, response: &Response<Incoming>, host: &str) -> Result<(), Refusal> {
        let odd = |value: &http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"chunked");
        let codings = response.headers().get_all(header::TRANSFER_ENCODING);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS || codings.iter().any(odd) {
            return Err(Refusal::new(
                Code::UpstreamBroken,
                format!("`{host}` answered with an upgrade or an unknown transfer coding"),
            )
            .hint("check what stands between this machine and Mixpanel"));
        }
        Ok(())
    }
}

/// A connector with one limit over TCP and TLS together.
#[derive(Clone)]
struct ConnectWithin {
    inner: HttpsConnector<HttpConnector>,
    limit: Duration,
}

type Connected = <HttpsConnector<HttpConnector> as tower_service::Service<Uri>>::Response;
type ConnectError = Box<dyn std::error::Error + Send + Sync>;

impl tower_service::Service<Uri> for ConnectWithin {
    type Response = Connected;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, ConnectError>> + Send>>;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), ConnectError>> {
        tower_service::Service::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tower_service::Service::call(&mut self.inner, uri);
        let limit = self.limit;
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}
