//! The corridor: the whole walk of a request in one function. Called by `server`.
//! Invariant: each step takes what only the step before can make; any refusal is answered
//! in one place, and logged there once.

use super::{
    body::ResponseBody,
    forward::Forwarder,
    guard, health, overrides,
    respond::{self, Named},
    rewrite::{self, ClientAuthorization},
    route,
    upstream::Upstream,
};
use crate::{
    auth::{credential, resolve::Selection, switch::switch},
    model::{
        origin::Origin,
        refusal::{Code, Refusal},
        session::Session,
    },
    store::snapshot::{Snapshot, SnapshotStore},
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header, uri};
use hyper::body::Incoming;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// Everything that requests share.
pub struct Proxy {
    pub(super) snapshots: SnapshotStore,
    pub(super) base: Selection,
    pub(super) forwarder: Forwarder,
    pub(super) upstream: Option<Upstream>,
    pub(super) client_authorization: ClientAuthorization,
    pub(super) port: u16,
    pub(super) draining: AtomicBool,
}

impl Proxy {
    /// The files and the environment as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.current()
    }

    /// What the flags of the running proxy chose.
    #[must_use]
    pub const fn base(&self) -> &Selection {
        &self.base
    }

    /// Whether shutdown has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Answers one request, and logs it in one line.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let started = Instant::now();
        let method = request.method().clone();
        // SECURITY: the query can hold values of users; only the path is logged.
        let path = request.uri().path().to_owned();
        let named = if request.headers().keys().any(overrides::is_ours) {
            Named::ByRequest
        } else {
            Named::Base
        };
        let outcome = self.walk(request).await;
        let ms = started.elapsed().as_millis();
        match outcome {
            Ok(response) => {
                let status = response.status().as_u16();
                let who = response
                    .headers()
                    .get(RESOLVED)
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or("-");
                if health::is_own(&path) {
                    tracing::debug!(%method, path, status, ms, "answered");
                } else {
                    tracing::info!(%method, path, status, ms, who, "forwarded");
                }
                response
            }
            Err(refusal) => {
                let response = respond::refuse(&refusal, named);
                let status = response.status().as_u16();
                tracing::warn!(%method, path, status, ms, code = refusal.code.as_str(), detail = %refusal, "refused");
                response
            }
        }
    }

    async fn walk(&self, request: Request<Incoming>) -> Result<Response<ResponseBody>, Refusal> {
        let (mut parts, body) = request.into_parts();
        // First of all: nothing is done for a caller who may be a web page.
        guard::admit(&parts, self.port)?;
        if health::is_own(parts.uri.path()) {
            return Ok(health::answer(self, &parts));
        }
        if parts.method == Method::OPTIONS {
            return Ok(respond::options());
        }
        guard::no_loop(&parts.headers)?;
        // Who: one snapshot for the whole request, so that it never sees half of two.
        let wanted = overrides::parse(&parts.headers)?;
        let snapshot = self.snapshot();
        // Where: an unroutable path is refused before a secret is read.
        let route = route::find(parts.uri.path())?;
        let session = switch(&snapshot, &self.base, &wanted)?;
        let target = rewrite::path_and_query(&parts.uri, route, &session, &wanted)?;
        let origin = Origin::new(route.family, session.account.region);
        // What proves it: the last step that can refuse, since a token may have to be read.
        let authorization = route
            .scheme
            .map(|scheme| credential::authorize(&session, scheme, &snapshot.env))
            .transpose()?;
        rewrite::request_headers(
            &mut parts.headers,
            &session,
            authorization.as_ref(),
            self.client_authorization,
        )?;
        parts.uri = self.address(origin, target, &mut parts.headers)?;
        parts.version = http::Version::HTTP_11;
        let mut response =
            self.forwarder.send(Request::from_parts(parts, body), origin.host()).await?;
        rewrite::response_headers(response.headers_mut());
        say_who(response.headers_mut(), &session);
        Ok(response)
    }

    /// The address to dial: the host of the table, or the stand-in for all of them.
    fn address(
        &self,
        origin: Origin,
        target: String,
        headers: &mut HeaderMap,
    ) -> Result<Uri, Refusal> {
        let (scheme, authority) = match &self.upstream {
            Some(upstream) => {
                let value = HeaderValue::try_from(format!("https://{}", origin.host()))
                    .map_err(|_| unaddressable())?;
                headers.insert("x-mp-proxy-origin", value);
                (upstream.scheme.clone(), upstream.authority.clone())
            }
            None => (uri::Scheme::HTTPS, uri::Authority::from_static(origin.host())),
        };
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| unaddressable())?;
        headers.insert(header::HOST, host);
        Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(target)
            .build()
            .map_err(|_| unaddressable())
    }
}

fn unaddressable() -> Refusal {
    Refusal::new(Code::BadRequest, "the request target is too long or malformed")
        .hint("shorten the query or send it as a body")
}

const RESOLVED: &str = "x-mp-resolved";

/// Tells the caller as whom the request went, and what the environment overruled.
fn say_who(headers: &mut HeaderMap, session: &Session) {
    let mut text = format!("account={}; project={}", session.account.name, session.project);
    if let Some(workspace) = session.workspace {
        text.push_str(&format!("; workspace={workspace}"));
    }
    text.push_str(&format!("; region={}", session.account.region));
    if !session.overruled.is_empty() {
        let names = session.overruled.join(" ");
        tracing::warn!(overruled_by = names, "the environment overruled a header of the request");
        text.push_str(&format!("; overruled-by={}", session.overruled.join(",")));
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(RESOLVED, value);
    }
}
