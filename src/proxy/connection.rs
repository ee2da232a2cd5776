//! HTTP over one connection, whatever it is made of. Called by `threads`.
//! Invariant: what goes wrong here, a panic included, ends this connection and no other.

use super::{limits::Limits, listener::Door, worker::Worker};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::Watcher,
};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why a connection ended before its time.
pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Serves the connection to its end; a shutdown lets its request finish.
pub(super) async fn serve(
    worker: Arc<Worker>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    door: Door,
    watcher: Watcher,
) -> Result<(), Error> {
    let limits = worker.proxy.limits;
    let service = service_fn(move |request| {
        // Boxed: hyper would move all of it along with the connection's own state.
        Box::pin(Arc::clone(&worker).handle(request, door))
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_header_size(limits.header_bytes);
    if limits.headers != Limits::default().headers {
        // hyper keeps its default number on the stack, any other on the heap.
        http.max_headers(limits.headers);
    }
    let connection = http.serve_connection(TokioIo::new(stream), service);
    watcher.watch(connection).await?;
    Ok(())
}
