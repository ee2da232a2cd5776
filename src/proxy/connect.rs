//! A new connection to a destination: TCP (happy eyeballs), through `HTTPS_PROXY` if the
//! environment names one, then TLS. Called by `pool` when no idle connection is left.
//! Invariant: a credential leaves the machine over verified TLS only.

use super::{
    destination::Destination,
    error::{BoxError, ThroughProxy},
    gather::Gather,
    read_ahead::ReadAhead,
};
use crate::{model::refusal::Refusal, sys::env::Env};
use http::Uri;
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, dns::GaiResolver, proxy::Tunnel},
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
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_service::Service as _;

/// RFC 8305 §8: the recommended connection attempt delay.
const NEXT_FAMILY: Duration = Duration::from_millis(250);

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
        let tcp = tcp(GaiResolver::new(), limit);
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
            let stream = self.tcp.clone().call(destination.base.clone()).await?;
            return Ok(Transport::Plain(Gather(stream.into_inner())));
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
        let ahead = ReadAhead::new(Gather(stream.into_inner()));
        let stream = self.tls.connect(name.clone(), ahead).await?;
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

/// Happy eyeballs: the other family of addresses begins when the first one has not answered for a
/// while, and the addresses of one family share the time that there is.
fn tcp<R>(resolver: R, limit: Duration) -> HttpConnector<R> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    tcp.set_happy_eyeballs_timeout(Some(NEXT_FAMILY));
    tcp.set_connect_timeout(Some(limit));
    tcp
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
    Plain(Gather<TcpStream>),
    /// To Mixpanel.
    Tls(Box<TlsStream<ReadAhead<Gather<TcpStream>>>>),
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

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_util::client::legacy::connect::dns::Name;
    use std::{
        convert::Infallible,
        future::{Ready, ready},
        net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
        vec,
    };

    /// Answers with these addresses, in this order, whatever is asked.
    #[derive(Clone)]
    struct Addresses([IpAddr; 2]);

    impl tower_service::Service<Name> for Addresses {
        type Response = vec::IntoIter<SocketAddr>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Name) -> Self::Future {
            ready(Ok(self.0.map(|address| (address, 0).into()).to_vec().into_iter()))
        }
    }

    /// A listener that lets no more handshakes through, and what fills it.
    fn black_hole(address: SocketAddr) -> io::Result<(TcpListener, Vec<std::net::TcpStream>)> {
        let listener = TcpListener::bind(address)?;
        rustix::net::listen(&listener, 0)?;
        let patience = Duration::from_millis(200);
        let mut filling = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, patience) {
            filling.push(stream);
        }
        Ok((listener, filling))
    }

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const OTHER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    #[tokio::test]
    async fn an_address_that_does_not_answer_does_not_hide_the_other() {
        for first in [V6, OTHER_V4] {
            let listener = TcpListener::bind((V4, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let url: Uri = format!("https://two.test:{port}/").parse().unwrap();
            let limit = Duration::from_secs(4);
            let dial = async || {
                let mut tcp = tcp(Addresses([first, V4]), limit);
                let stream = tokio::time::timeout(limit, tcp.call(url.clone())).await??;
                Ok::<_, BoxError>(stream.into_inner().peer_addr()?)
            };
            // Nobody listens there: refused.
            assert_eq!(dial().await.unwrap(), SocketAddr::from((V4, port)));
            let (_hole, _filling) = black_hole((first, port).into()).unwrap();
            assert_eq!(dial().await.unwrap(), SocketAddr::from((V4, port)));
            drop(listener);
            assert!(dial().await.is_err(), "somebody answered for nobody");
        }
    }
}
