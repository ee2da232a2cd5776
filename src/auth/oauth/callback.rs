//! The loopback listener that the browser comes back to (RFC 8252 §7.3). Called by `login`.
//! Invariants: only this machine can reach it; the first redirect with the right state ends the
//! wait and all else is answered and ignored; the browser gets its page when the outcome is known.

use super::{
    authorize::{CALLBACK_PORTS, redirect_url},
    page::Page,
    redirect::{Redirect, read},
};
use crate::model::refusal::{Code, Refusal};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use oauth2::{AuthorizationCode, CsrfToken, RedirectUrl};
use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// How long a request may take to arrive, and how long the last page may take to leave.
const REQUEST: Duration = Duration::from_secs(10);
const LAST_PAGE: Duration = Duration::from_secs(2);
/// A browser opens a handful; more than this is somebody else.
const CONNECTIONS: usize = 32;

/// A bound callback port.
#[derive(Debug)]
pub struct Callback {
    port: u16,
    listeners: Vec<TcpListener>,
}

impl Callback {
    /// Binds the first free of the callback ports, `first` before all others.
    ///
    /// # Errors
    /// `OAUTH_PORT_ERROR` if all are busy.
    pub async fn bind(first: Option<u16>) -> Result<Self, Refusal> {
        let others = CALLBACK_PORTS.into_iter().filter(|port| Some(*port) != first);
        for port in first.into_iter().chain(others) {
            let Ok(four) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await else { continue };
            match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
                Ok(six) => return Ok(Self { port, listeners: vec![four, six] }),
                // SECURITY: `localhost` may mean [::1], and there somebody else would get the code.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                // This machine has no IPv6.
                Err(_) => return Ok(Self { port, listeners: vec![four] }),
            }
        }
        let ports = CALLBACK_PORTS.map(|port| port.to_string()).join(", ");
        Err(Refusal::new(
            Code::OauthPortError,
            format!("every port that a login can come back to is taken: {ports}"),
        )
        .hint(
            "end other logins that wait; `ss -ltnp | grep 1928` says which programs have the ports",
        ))
    }

    /// Where the browser has to be sent back to.
    ///
    /// # Errors
    /// As [`redirect_url`].
    pub fn redirect(&self) -> Result<RedirectUrl, Refusal> {
        redirect_url(self.port)
    }

    /// Starts answering. Must be called within a runtime.
    #[must_use]
    pub fn listen(self, state: &CsrfToken) -> Listening {
        let (found, arrival) = oneshot::channel();
        let (stop, stopped) = watch::channel(());
        let waiting = Arc::new(Waiting {
            port: self.port,
            state: CsrfToken::new(state.secret().clone()),
            found: Mutex::new(Some(found)),
            other_states: AtomicUsize::new(0),
        });
        let accepting = self
            .listeners
            .into_iter()
            .map(|listener| tokio::spawn(accept(listener, Arc::clone(&waiting), stopped.clone())))
            .collect();
        Listening { arrival, waiting, closer: Closer { stop, accepting } }
    }
}

/// A callback that waits for the browser.
#[derive(Debug)]
pub struct Listening {
    /// Done when the browser has brought an outcome.
    pub arrival: oneshot::Receiver<Arrival>,
    waiting: Arc<Waiting>,
    /// Ends the listening.
    pub closer: Closer,
}

impl Listening {
    /// How many redirects of other logins came.
    #[must_use]
    pub fn other_states(&self) -> usize {
        self.waiting.other_states.load(Ordering::Relaxed)
    }
}

/// What the browser brought, and the page that it waits for.
#[derive(Debug)]
pub struct Arrival {
    /// The code, or the refusal.
    pub outcome: Result<AuthorizationCode, Refusal>,
    /// Where the page goes.
    pub page: oneshot::Sender<Page>,
}

/// Ends the listening, after the pages that are on their way.
#[derive(Debug)]
pub struct Closer {
    stop: watch::Sender<()>,
    accepting: Vec<JoinHandle<()>>,
}

impl Closer {
    /// Waits until every page has left, two seconds at most.
    pub async fn close(self) {
        drop(self.stop);
        for task in self.accepting {
            let _ = task.await;
        }
    }
}

struct Waiting {
    port: u16,
    state: CsrfToken,
    found: Mutex<Option<oneshot::Sender<Arrival>>>,
    other_states: AtomicUsize,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("port", &self.port).finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, waiting: Arc<Waiting>, mut stopped: watch::Receiver<()>) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, or a peer that is gone: neither may spin nor end the login.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if graceful.count() >= CONNECTIONS {
            continue;
        }
        let waiting = Arc::clone(&waiting);
        let service = service_fn(move |request| {
            let waiting = Arc::clone(&waiting);
            async move { Ok::<_, Infallible>(waiting.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST)
            .serve_connection(TokioIo::new(stream), service);
        // A connection that breaks is the browser's business.
        tokio::spawn(graceful.watch(connection));
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST_PAGE, graceful.shutdown()).await;
}

impl Waiting {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let page = match self.judge(&request) {
            Ok(outcome) => self.deliver(outcome).await,
            Err(page) => page,
        };
        let mut response = page.response();
        if request.method() == Method::HEAD {
            *response.body_mut() = Full::default();
        }
        response
    }

    /// The outcome that the request brings, or the page for a stray.
    fn judge(
        &self,
        request: &Request<Incoming>,
    ) -> Result<Result<AuthorizationCode, Refusal>, Page> {
        let stray = |status, what| Err(Page::Stray(status, what));
        // SECURITY: a name that was rebound to this machine is not us.
        let hosts = ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("{host}:{}", self.port));
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| hosts.iter().any(|ours| ours == host)) {
            return stray(StatusCode::MISDIRECTED_REQUEST, "This host is not served here.");
        }
        if request.method() != Method::GET {
            return stray(StatusCode::METHOD_NOT_ALLOWED, "Only GET is answered here.");
        }
        if request.uri().path() != "/callback" {
            return stray(StatusCode::NOT_FOUND, "There is only one page here, and it is another.");
        }
        match read(request.uri().query().unwrap_or_default(), &self.state) {
            Redirect::Code(code) => Ok(Ok(code)),
            Redirect::Denied(refusal) => Ok(Err(refusal)),
            Redirect::OtherState => {
                self.other_states.fetch_add(1, Ordering::Relaxed);
                stray(
                    StatusCode::BAD_REQUEST,
                    "This answer belongs to another login: its state differs (<code>OAUTH_STATE_MISMATCH</code>).",
                )
            }
            Redirect::Malformed => stray(
                StatusCode::BAD_REQUEST,
                "This is not an answer of the authorize page: it needs a code, or an error, and a state.",
            ),
        }
    }

    /// Hands the first outcome over and waits for what becomes of it.
    async fn deliver(&self, outcome: Result<AuthorizationCode, Refusal>) -> Page {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(found) = found else { return Page::Over };
        let (page, shown) = oneshot::channel();
        if found.send(Arrival { outcome, page }).is_err() {
            return Page::Over;
        }
        shown.await.unwrap_or(Page::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    /// On any port, so that no other login is in the way.
    async fn listening() -> (u16, Listening) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let callback = Callback { port, listeners: vec![listener] };
        (port, callback.listen(&CsrfToken::new("st".into())))
    }

    async fn ask(port: u16, method: &str, target: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_first_redirect_counts_and_what_comes_after_it_is_told_so() {
        let (port, mut listening) = listening().await;
        assert!(!format!("{listening:?}").contains("st\""), "{listening:?}");
        let head = ask(port, "HEAD", "/callback?code=c&state=st").await;
        assert!(head.starts_with("HTTP/1.1 405") && head.ends_with("\r\n\r\n"), "{head}");
        let first =
            tokio::spawn(async move { ask(port, "GET", "/callback?code=c&state=st").await });
        let Arrival { outcome, page } = (&mut listening.arrival).await.unwrap();
        assert_eq!(outcome.unwrap().secret(), "c");
        let second = ask(port, "GET", "/callback?code=d&state=st").await;
        assert!(second.starts_with("HTTP/1.1 410"), "{second}");
        page.send(Page::Done(None)).unwrap();
        listening.closer.close().await;
        assert!(first.await.unwrap().contains("Logged in"));
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err(), "still open");
    }

    #[tokio::test]
    async fn a_login_that_is_gone_leaves_no_browser_waiting() {
        let (port, listening) = listening().await;
        let Listening { arrival, closer, .. } = listening;
        drop(arrival);
        let answer = ask(port, "GET", "/callback?code=c&state=st").await;
        assert!(answer.starts_with("HTTP/1.1 410") && answer.contains("Already used"), "{answer}");
        closer.close().await;
    }

    #[tokio::test]
    async fn a_flood_of_connections_is_cut_and_the_login_goes_on() {
        let (port, mut listening) = listening().await;
        let mut flood = Vec::new();
        for _ in 0..CONNECTIONS {
            flood.push(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap());
        }
        // The one too many is closed without an answer.
        let mut over = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        assert_eq!(over.read(&mut [0; 16]).await.unwrap_or(0), 0);
        drop(flood);
        let asking = async {
            loop {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                let head = format!(
                    "GET /callback?code=c&state=st HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer).await;
                if !answer.is_empty() {
                    return answer;
                }
            }
        };
        let arriving = async {
            let arrival = (&mut listening.arrival).await.unwrap();
            arrival.page.send(Page::Done(None)).unwrap();
        };
        let (answer, ()) = tokio::join!(asking, arriving);
        assert!(answer.contains("Logged in"), "{answer}");
    }
}
