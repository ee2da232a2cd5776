//! The upstream over real TLS: a certificate that is trusted, and one that is not.

use crate::support::{CONFIG, Home};
use mp_proxy::demo::stand_in::StandInService;
use std::sync::Arc;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

/// A stand-in behind TLS on any free port; gives its port and its certificate in PEM.
fn tls_upstream(runtime: &tokio::runtime::Runtime, service: StandInService) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
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
    (port, made.cert.pem())
}

#[test]
fn only_a_trusted_certificate_gets_the_credential() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = StandInService::default();
    let (port, pem) = tls_upstream(&runtime, service.clone());
    let (_, other_pem) = tls_upstream(&runtime, StandInService::default());
    let url = format!("https://localhost:{port}");
    let home = Home::new(CONFIG);
    home.write("trusted.pem", &pem);
    home.write("other.pem", &other_pem);

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
