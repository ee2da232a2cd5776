//! A fast TLS upstream for the comparison: fixed answers, one thread a core. Started by
//! `run.py` with a port, a certificate and a key.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a tool of the benchmark"
)]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, env, fs, net, pin::Pin, sync::Arc, task, thread};
use tokio::{io::BufReader, net::TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

fn main() {
    let [port, certificate, key] = [1, 2, 3].map(|n| env::args().nth(n).expect("PORT CERT KEY"));
    let chain = CertificateDer::pem_slice_iter(&fs::read(certificate).unwrap())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(&fs::read(key).unwrap()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = net::TcpListener::bind(("127.0.0.1", port.parse::<u16>().unwrap())).unwrap();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let handle = runtime.handle().clone();
            thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
            handle
        })
        .collect();
    println!("ready");
    for (number, stream) in listener.incoming().enumerate() {
        let stream = stream.unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        let acceptor = acceptor.clone();
        workers[number % workers.len()].spawn(async move {
            let stream = BufReader::with_capacity(32 * 1024, TcpStream::from_std(stream).unwrap());
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            }
        });
    }
}

static SMALL: [u8; 200] = [b'x'; 200];
static TEN_KILOBYTES: [u8; 10_240] = [b'x'; 10_240];
static CHUNK: [u8; 65_536] = [b'x'; 65_536];

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (parts, mut body) = request.into_parts();
    while let Some(Ok(_)) = body.frame().await {}
    let body = match parts.uri.path() {
        "/api/query/ten" => Full::new(Bytes::from_static(&TEN_KILOBYTES)).boxed(),
        "/api/2.0/export" => {
            let bytes = parts.uri.query().and_then(|query| {
                query.split('&').find_map(|pair| pair.strip_prefix("bytes=")?.parse().ok())
            });
            StreamBody::new(Chunks(bytes.unwrap_or(0))).boxed()
        }
        _ => Full::new(Bytes::from_static(&SMALL)).boxed(),
    };
    Ok(Response::new(body))
}

struct Chunks(u64);

impl futures_core::Stream for Chunks {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> task::Poll<Option<Self::Item>> {
        let size = self.0.min(CHUNK.len() as u64);
        self.0 -= size;
        let chunk = Bytes::from_static(&CHUNK[..usize::try_from(size).unwrap()]);
        task::Poll::Ready((size > 0).then(|| Ok(Frame::data(chunk))))
    }
}
