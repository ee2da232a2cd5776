//! The upstream over real TLS: a certificate that is trusted, and one that is not.

use crate::support::{CONFIG, Home};
use mp_proxy::demo::stand_in::StandInService;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        DEFAULT_VERSIONS, ServerConfig, SupportedProtocolVersion,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};

/// The years of a certificate that is good now.
pub const ALWAYS: (i32, i32) = (2020, 2120);

/// A certificate that signs itself, and its key.
pub struct Certificate {
    der: CertificateDer<'static>,
    key: KeyPair,
    pub pem: String,
}

impl Certificate {
    /// For these names, from the first day of one year to that of another.
    pub fn new(names: &[&str], years: (i32, i32)) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0].as_str());
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self { der: made.der().clone(), key, pem: made.pem() }
    }

    /// A server that shows it, and speaks these versions.
    pub fn server(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)
            .unwrap()
    }
}

/// A stand-in behind TLS on any free port.
pub fn tls_upstream(
    runtime: &tokio::runtime::Runtime,
    service: StandInService,
    certificate: &Certificate,
) -> u16 {
    let acceptor = TlsAcceptor::from(Arc::new(certificate.server(DEFAULT_VERSIONS)));
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, service) = (acceptor.clone(), service.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    service.serve_connection(stream).await;
                }
            });
        }
    });
    port
}

#[test]
fn only_a_trusted_certificate_gets_the_credential() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = StandInService::default();
    let certificate = Certificate::new(&["localhost"], ALWAYS);
    let port = tls_upstream(&runtime, service.clone(), &certificate);
    let other = Certificate::new(&["localhost"], ALWAYS);
    let url = format!("https://localhost:{port}");
    let home = Home::new(CONFIG);
    home.write("trusted.pem", &certificate.pem);
    home.write("other.pem", &other.pem);

    let other = home.path("other.pem");
    let home = home.with("SSL_CERT_FILE", other.to_str().unwrap());
    let refused = home.serve(&url, &[]).get("/api/query/events/names", "");
    assert_eq!((refused.status, refused.json()["code"].as_str()), (502, Some("UPSTREAM_TLS")));
    assert!(refused.json()["hint"].as_str().unwrap().contains("SSL_CERT_FILE"));
    assert!(service.received().is_empty(), "a request reached an upstream that is not trusted");

    let trusted = home.path("trusted.pem");
    let home = home.with("SSL_CERT_FILE", trusted.to_str().unwrap());
    let answer = home.serve(&url, &[]).get("/api/query/events/names", "");
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(service.received().len(), 1);
}

/// On the data path and for our own calls: the fault is named, and nothing is sent.
#[test]
fn each_fault_of_a_certificate_has_its_own_hint() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (names, years, trusted, detail, hint) in [
        (["localhost"], (2001, 2002), true, "expired", "clock of this machine"),
        (["localhost"], (2900, 2901), true, "not valid yet", "clock of this machine"),
        (["mixpanel.test"], ALWAYS, true, "not valid for name", "another host answered"),
        (["localhost"], ALWAYS, false, "UnknownIssuer", "SSL_CERT_FILE"),
    ] {
        let service = StandInService::default();
        let certificate = Certificate::new(&names, years);
        let port = tls_upstream(&runtime, service.clone(), &certificate);
        let home = Home::new(CONFIG);
        let stranger = Certificate::new(&["stranger.test"], ALWAYS);
        home.write("roots.pem", if trusted { &certificate.pem } else { &stranger.pem });
        let roots = home.path("roots.pem");
        let url = format!("https://localhost:{port}");
        let home =
            home.with("SSL_CERT_FILE", roots.to_str().unwrap()).with("MP_PROXY_UPSTREAM", &url);
        let answer = home.serve(&url, &[]).get("/api/query/events/names", "");
        let problem = answer.json();
        assert_eq!((answer.status, problem["code"].as_str()), (502, Some("UPSTREAM_TLS")));
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{detail}: {problem}");
        assert!(problem["hint"].as_str().unwrap().contains(hint), "{detail}: {problem}");
        let tested = home.run(&["account", "test", "team", "--json"]);
        let text = String::from_utf8_lossy(&[tested.stdout, tested.stderr].concat()).into_owned();
        assert_eq!(tested.status.code(), Some(2), "{text}");
        assert!(text.contains(detail), "{detail}: {text}");
        assert!(service.received().is_empty(), "{detail}: a request got through");
    }
}

/// What answers on the port of TLS, and is none.
#[test]
fn a_handshake_that_comes_to_nothing_is_told_apart() {
    for (answer, code, hint) in [
        (Some("HTTP/1.1 400 Bad Request\r\n\r\n"), "UPSTREAM_TLS", "does not speak TLS"),
        (Some(""), "UPSTREAM_UNREACHABLE", "check the network"),
        (None, "UPSTREAM_TIMEOUT", "--connect-timeout"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let _ = stream.read(&mut [0; 4096]);
                    match answer {
                        Some(text) => drop(stream.write_all(text.as_bytes())),
                        None => thread::sleep(Duration::from_secs(20)),
                    }
                });
            }
        });
        let home = Home::new(CONFIG);
        let problem = home.serve(&url, &["--connect-timeout", "1"]).get("/api/query/x", "").json();
        assert_eq!(problem["code"], code, "{answer:?}: {problem}");
        assert!(problem["hint"].as_str().unwrap().contains(hint), "{answer:?}: {problem}");
    }
}
