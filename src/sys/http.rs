//! The client for our own calls to Mixpanel: OAuth and `/me`. Called by `auth`; the data path of
//! the proxy has a client of its own.
//! SECURITY: the host comes from an [`Origin`] only, so a credential cannot leave for another
//! one. No redirect is followed, no cookie kept, no failed request sent again.

use crate::{
    model::{
        origin::Origin,
        refusal::{Code, Refusal},
        upstream::Upstream,
    },
    sys::{
        env::{self, Env},
        http_error::HttpError,
    },
};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use reqwest::{NoProxy, Proxy};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};
use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use zeroize::Zeroizing;

/// The header that tells a stand-in which host is meant.
const ORIGIN_HEADER: &str = "x-mp-proxy-origin";
const CONNECT: Duration = Duration::from_secs(10);
/// The longest silence within an answer.
const SILENCE: Duration = Duration::from_secs(30);

/// The client; cheap to clone. Root certificates are read at the first call.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    env: Env,
    upstream: Option<Upstream>,
    client: OnceLock<Result<reqwest::Client, HttpError>>,
}

impl HttpClient {
    /// A client that talks to Mixpanel, or to `upstream` in its place. Takes `HTTPS_PROXY`,
    /// `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR` from the environment.
    #[must_use]
    pub fn new(env: &Env, upstream: Option<Upstream>) -> Self {
        Self(Arc::new(Inner { env: env.clone(), upstream, client: OnceLock::new() }))
    }

    /// The same with the upstream of `MP_PROXY_UPSTREAM`, which holds for every command.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if the variable is no base URL.
    pub fn from_env(env: &Env) -> Result<Self, Refusal> {
        let upstream = env.get(env::MP_PROXY_UPSTREAM).map(|text| {
            text.parse().map_err(|error| {
                Refusal::new(Code::InvalidArgument, format!("`{}` {error}", env::MP_PROXY_UPSTREAM))
                    .hint(format!("correct it, or run: unset {}", env::MP_PROXY_UPSTREAM))
            })
        });
        Ok(Self::new(env, upstream.transpose()?))
    }

    /// `https://HOST`, or the upstream's base; without a slash at the end.
    #[must_use]
    pub fn base(&self, origin: Origin) -> String {
        match &self.0.upstream {
            Some(upstream) => format!("{}://{}", upstream.scheme, upstream.authority),
            None => format!("https://{}", origin.host()),
        }
    }

    /// Sends the request to this host and waits for the head of the answer. Of the request's URI
    /// only path and query count. `within` bounds everything, the body of the answer included.
    ///
    /// # Errors
    /// Whatever kept an HTTP answer from arriving; a status is no error.
    pub async fn send(
        &self,
        origin: Origin,
        request: Request<Vec<u8>>,
        within: Duration,
    ) -> Result<Answer, HttpError> {
        let host = self.shown(origin);
        let client = self.0.client.get_or_init(|| self.0.build()).clone()?;
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut sending = client
            .request(parts.method, format!("{}{path}", self.base(origin)))
            .headers(parts.headers)
            // SECURITY: a refresh token may be in it; it is wiped once it is sent.
            .body(Bytes::from_owner(Zeroizing::new(body)))
            .timeout(within);
        if self.0.upstream.is_some() {
            sending = sending.header(ORIGIN_HEADER, format!("https://{}", origin.host()));
        }
        // SECURITY: the path only; a query may hold a code or a token.
        let (asked, path) = (Instant::now(), parts.uri.path());
        match sending.send().await {
            Ok(response) => {
                let (status, ms) = (response.status().as_u16(), asked.elapsed().as_millis());
                tracing::debug!(host, path, status, ms, "asked Mixpanel");
                Ok(Answer { host, response })
            }
            Err(error) => {
                let error = HttpError::classify(host, &error);
                tracing::debug!(path, %error, "asked Mixpanel in vain");
                Err(error)
            }
        }
    }

    /// What a person is told that we talk to.
    fn shown(&self, origin: Origin) -> String {
        match &self.0.upstream {
            Some(upstream) => upstream.authority.to_string(),
            None => origin.host().to_owned(),
        }
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SECURITY: reqwest's own would show the proxy URL, which may hold a password.
        f.debug_struct("HttpClient").field("upstream", &self.0.upstream).finish_non_exhaustive()
    }
}

/// The head of an answer; its body is read as it comes.
#[derive(Debug)]
pub struct Answer {
    host: String,
    response: reqwest::Response,
}

impl Answer {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// `Retry-After` in seconds, where the answer gives it so.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.headers().get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// The body broke off or stood still.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        match self.response.chunk().await {
            Ok(chunk) => Ok(chunk),
            Err(error) => Err(HttpError::classify(self.host.clone(), &error)),
        }
    }

    /// The whole body, if it is no longer than `limit` bytes.
    ///
    /// # Errors
    /// [`HttpError::TooLarge`] as soon as it is known, without reading the rest.
    pub async fn bytes(mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > limit {
                return Err(HttpError::TooLarge { host: self.host, limit });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }
}

impl Inner {
    fn build(&self) -> Result<reqwest::Client, HttpError> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls()?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("mp-proxy/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // These calls are rare: a connection kept would be dead at the next one.
            .pool_max_idle_per_host(0);
        if let Some(proxy) = self.proxy()? {
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(|_| HttpError::Client)
    }

    /// The proxy for `https`; plain http goes to loopback only and needs none.
    fn proxy(&self) -> Result<Option<Proxy>, HttpError> {
        let either = |name: &str| {
            let lower = name.to_ascii_lowercase();
            self.env.get(name).or_else(|| self.env.get(&lower))
        };
        let Some(url) = either("HTTPS_PROXY").or_else(|| either("ALL_PROXY")) else {
            return Ok(None);
        };
        // SECURITY: the value may hold a password; the error names the variable only.
        // Nor may a value that reqwest cannot use make it go around the proxy.
        let usable = match url.split_once("://") {
            Some((scheme, rest)) => ["http", "https"].contains(&scheme) && !rest.is_empty(),
            None => true,
        };
        if !usable {
            return Err(HttpError::ProxyVariable);
        }
        let proxy = Proxy::https(url).map_err(|_| HttpError::ProxyVariable)?;
        Ok(Some(proxy.no_proxy(either("NO_PROXY").and_then(NoProxy::from_string))))
    }

    fn tls(&self) -> Result<ClientConfig, HttpError> {
        let mut roots = RootCertStore::empty();
        let plain = self.upstream.as_ref().is_some_and(|up| up.scheme == http::uri::Scheme::HTTP);
        if !plain {
            let path = |name| self.env.get(name).map(PathBuf::from);
            let found = match (path("SSL_CERT_FILE"), path("SSL_CERT_DIR")) {
                (None, None) => load_native_certs(),
                (file, dir) => load_certs_from_paths(file.as_deref(), dir.as_deref()),
            };
            let CertificateResult { certs, .. } = found;
            roots.add_parsable_certificates(certs);
            if roots.is_empty() {
                return Err(HttpError::Roots);
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| HttpError::Client)?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}
