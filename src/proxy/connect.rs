//! A new connection to a destination: TCP (happy eyeballs), through `HTTPS_PROXY` if the
//! environment names one, then TLS. Called by `pool` when no idle connection is left.
//! Invariant: a credential leaves the machine over verified TLS only.

use super::{
    destination::Destination,
    error::{BoxError, ThroughProxy},
};
use crate::{model::refusal::Refusal, sys::env::Env};
use http::Uri;
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::Matcher,
    },
    rt::TokioIo,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_service::Service as _;

/// rustls asks for 4 KiB at a time; one read of a whole TLS record costs a quarter of the calls.
const READ_AHEAD: usize = 17 * 1024;

/// Opens connections. Cheap to clone; TLS sessions are resumed across all clones.
#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector,
    tls: TlsConnector,
    proxies: Arc<Matcher>,
    limit: Duration,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads the root certificates (platform, or `SSL_CERT_FILE`) once; `limit` is for TCP and
    /// TLS together.
    ///
    /// # Errors
    /// No root certificate could be read.
    pub fn new(env: &Env, limit: Duration) -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let proxies = Matcher::builder()
            .https(first(env, HTTPS_PROXY))
            .all(first(env, ALL_PROXY))
            .no(first(env, ["NO_PROXY", "no_proxy"]))
            .build();
        let tls = TlsConnector::from(Arc::new(tls_config()?));
        Ok(Self { tcp, tls, proxies: Arc::new(proxies), limit })
    }

    /// Connects, and shakes hands if the destination is https.
    ///
    /// # Errors
    /// Unreachable, too slow, or a certificate that does not hold.
    pub async fn connect(&self, destination: &Destination) -> Result<Transport, BoxError> {
        match tokio::time::timeout(self.limit, self.dial(destination)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    async fn dial(&self, destination: &Destination) -> Result<Transport, BoxError> {
        let Some(name) = &destination.tls else {
            return Ok(Transport::Plain(
                self.tcp.clone().call(destination.base.clone()).await?.into_inner(),
            ));
        };
        let stream = match self.proxies.intercept(&destination.base) {
            None => self.tcp.clone().call(destination.base.clone()).await?,
            Some(proxy) if proxy.uri().scheme_str() == Some("http") => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                let through = tunnel.call(with_port(&destination.base)).await;
                through.map_err(|error| ThroughProxy(error.into()))?
            }
            Some(_) => return Err(ThroughProxy(ProxyScheme.into()).into()),
        };
        let buffered = BufReader::with_capacity(READ_AHEAD, stream.into_inner());
        let stream = self.tls.connect(name.clone(), buffered).await?;
        Ok(Transport::Tls(Box::new(stream)))
    }
}

const HTTPS_PROXY: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const ALL_PROXY: [&str; 2] = ["ALL_PROXY", "all_proxy"];

fn first(env: &Env, names: [&str; 2]) -> String {
    names.into_iter().find_map(|name| env.get(name)).unwrap_or_default().to_owned()
}

/// Whether the variables name proxies: what is none would be gone around without a word.
///
/// # Errors
/// `CONFIG_ERROR` naming the variable, not its value, which may hold a password.
pub fn check_variables(env: &Env) -> Result<(), Refusal> {
    let any = Uri::from_static("https://mixpanel.com/");
    for names in [HTTPS_PROXY, ALL_PROXY] {
        let value = first(env, names);
        let matcher = Matcher::builder().all(value.as_str()).build();
        if !value.is_empty() && matcher.intercept(&any).is_none() {
            return Err(Refusal::config(format!("`{}` is not a proxy URL", names[0])).hint(
                format!("set it like http://proxy.example:3128, or run: unset {}", names[0]),
            ));
        }
    }
    Ok(())
}

/// `HTTPS_PROXY` names something other than a plain CONNECT proxy.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("HTTPS_PROXY must be an http:// proxy")]
pub struct ProxyScheme;

/// RFC 9110 §9.3.6: the target of CONNECT always has a port.
fn with_port(base: &Uri) -> Uri {
    let host = base.host().unwrap_or_default();
    let port = base.port_u16().unwrap_or(443);
    Uri::builder()
        .scheme("https")
        .authority(format!("{host}:{port}"))
        .path_and_query("/")
        .build()
        .unwrap_or_else(|_| base.clone())
}

fn tls_config() -> io::Result<ClientConfig> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(io::Error::other(why));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A connected byte stream.
#[derive(Debug)]
pub enum Transport {
    /// To a stand-in on loopback.
    Plain(TcpStream),
    /// To Mixpanel.
    Tls(Box<TlsStream<BufReader<TcpStream>>>),
}

impl Transport {
    /// As hyper wants it.
    #[must_use]
    pub fn into_io(self) -> TokioIo<Self> {
        TokioIo::new(self)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
