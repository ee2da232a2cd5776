//! HTTP over one connection, whatever it is made of. Called by `threads`.
//! Invariant: what goes wrong here, a panic included, ends this connection and no other, and what
//! was counted for it is given back.

use super::{
    limits::{Limits, Open, Refused},
    listener::Door,
    patience::{HeadTimer, Heard, Patience},
    worker::Worker,
};
use hyper::{
    body::{Body, Incoming},
    service::{HttpService, service_fn},
};
use hyper_util::{rt::TokioIo, server::graceful::Watcher};
use std::{convert::Infallible, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
    task::JoinHandle,
};

/// Why a connection ended before its time.
pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Lets a connection run by itself on a thread; `counted` lives as long as it does. A panic is
/// reported by the hook of `sys::hardening`.
pub(super) fn spawn(
    thread: &Handle,
    counted: impl Send + 'static,
    serving: impl Future<Output = Result<(), Error>> + Send + 'static,
) -> JoinHandle<()> {
    thread.spawn(async move {
        let _counted = counted;
        if let Err(error) = serving.await {
            tracing::debug!(%error, "connection ended");
        }
    })
}

/// Serves the connection to its end; a shutdown lets its request finish.
pub(super) async fn serve(
    worker: Arc<Worker>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    door: Door,
    watcher: Watcher,
) -> Result<(), Error> {
    let proxy = Arc::clone(&worker.proxy);
    let service = service_fn(move |request| Arc::clone(&worker).handle(request, door));
    http(stream, service, &proxy.limits, &proxy.open, watcher).await
}

async fn http<V, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    service: V,
    limits: &Limits,
    open: &Open,
    watcher: Watcher,
) -> Result<(), Error>
where
    V: HttpService<Incoming, ResBody = B, Error = Infallible>,
    B: Body + 'static,
    B::Error: Into<Error>,
{
    let patience = Patience { head: limits.header_read, idle: limits.keep_alive };
    let (stream, timer): (Heard<_>, _) = patience.of(stream);
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(timer.clone())
        .header_read_timeout(limits.header_read)
        .max_header_size(limits.header_bytes);
    if limits.headers != Limits::default().headers {
        // hyper keeps its default number on the stack, any other on the heap.
        http.max_headers(limits.headers);
    }
    let ended = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await;
    if let Some(why) = ended.as_ref().err().and_then(|error| refused(error, &timer)) {
        open.refuse(why);
    }
    Ok(ended?)
}

/// Why there was no request that could be answered. hyper has answered with a bare status, and
/// nobody else can: it has no hook for it (its issue 3844).
fn refused(error: &hyper::Error, timer: &HeadTimer) -> Option<Refused> {
    if error.is_parse_too_large() {
        tracing::info!(
            "a request head was too large and got a bare 431 or 414: see --max-header-bytes and --max-headers"
        );
        return Some(Refused::TooLarge);
    }
    if error.is_parse() {
        tracing::info!(%error, "what a caller sent is not HTTP/1.1 and got a bare 400");
        return Some(Refused::Malformed);
    }
    (error.is_timeout() && timer.has_begun()).then_some(Refused::TooSlow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{proxy::limits::Open, sys::hardening};
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper_util::server::graceful::GracefulShutdown;
    use std::{
        io::{self, Write},
        sync::Mutex,
    };
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    async fn ask(stream: &mut DuplexStream, path: &str) -> String {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_connection_and_shows_nothing() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
        let _logged = tracing::subscriber::set_default(subscriber);
        let before = std::panic::take_hook();
        hardening::silence_panics();
        let graceful = GracefulShutdown::new();
        let open = Open::default();
        let connect = || {
            let (caller, ours) = duplex(4096);
            let service = service_fn(|request: Request<Incoming>| async move {
                let secret = "s3cr3t";
                assert!(request.uri().path() != "/panic", "made of {secret}");
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"served"))))
            });
            let (limits, watcher) = (Limits::default(), graceful.watcher());
            let serving =
                async move { http(ours, service, &limits, &Open::default(), watcher).await };
            (caller, spawn(&Handle::current(), open.count(), serving))
        };
        let ((mut first, ended), (mut second, _)) = (connect(), connect());
        assert_eq!(open.now(), 2);
        assert_eq!(ask(&mut first, "/panic").await, "", "an answer");
        assert!(ended.await.unwrap_err().is_panic());
        assert_eq!(open.now(), 1);
        assert!(ask(&mut second, "/").await.ends_with("served"));
        let (mut third, _) = connect();
        assert!(ask(&mut third, "/").await.ends_with("served"));
        std::panic::set_hook(before);
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains("connection.rs:") && !log.contains("s3cr3t"), "{log}");
    }
}
