//! Connections to the upstream over real TLS: opened ahead of the first request, kept, replaced
//! when the other side closed them, and resumed.

use crate::{
    support::{CONFIG, Home, Serving},
    tls::{ALWAYS, Certificate},
    wire::Wire,
};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};
use tokio_rustls::rustls::{
    HandshakeKind, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

/// What the upstream saw, in order; each connection has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// A whole handshake: the certificate was shown.
    Full(usize),
    /// One that resumed an earlier session.
    Resumed(usize),
    /// A request, by its first line.
    Request(usize, String),
    /// The upstream closed, at rest or with a request unanswered.
    Closed(usize),
}

/// When the upstream closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Patient,
    /// After so long without a request.
    Idle(Duration),
    /// With the second request read and not answered.
    Second,
}

#[derive(Clone)]
struct TlsUpstream {
    url: String,
    events: Arc<(Mutex<Vec<Event>>, Condvar)>,
    certificate: Arc<Certificate>,
}

impl TlsUpstream {
    fn start(version: &'static SupportedProtocolVersion, manner: Manner) -> Self {
        let certificate = Arc::new(Certificate::new(&["localhost"], ALWAYS));
        let config = Arc::new(certificate.server(&[version]));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let upstream = Self { url, events: Arc::default(), certificate };
        let serving = upstream.clone();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let (serving, config) = (serving.clone(), Arc::clone(&config));
                thread::spawn(move || serving.serve(number, stream, config, manner));
            }
        });
        upstream
    }

    /// A home that trusts it.
    fn home(&self, config: &str) -> Home {
        let home = Home::new(config);
        home.write("ca.pem", &self.certificate.pem);
        let roots = home.path("ca.pem");
        home.with("SSL_CERT_FILE", roots.to_str().unwrap())
    }

    fn note(&self, event: Event) {
        self.events.0.lock().unwrap().push(event);
        self.events.1.notify_all();
    }

    fn events(&self) -> Vec<Event> {
        self.events.0.lock().unwrap().clone()
    }

    /// What was seen, once there is something that `enough` likes.
    fn until(&self, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let end = Instant::now() + Duration::from_secs(10);
        let mut events = self.events.0.lock().unwrap();
        while !enough(&events) {
            assert!(Instant::now() < end, "not seen: {events:?}");
            events = self.events.1.wait_timeout(events, Duration::from_millis(50)).unwrap().0;
        }
        events.clone()
    }

    fn serve(&self, number: usize, stream: TcpStream, config: Arc<ServerConfig>, manner: Manner) {
        stream.set_nodelay(true).unwrap();
        let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        while tls.conn.is_handshaking() {
            if tls.conn.complete_io(&mut tls.sock).is_err() {
                return;
            }
        }
        self.note(match tls.conn.handshake_kind() {
            Some(HandshakeKind::Resumed) => Event::Resumed(number),
            _ => Event::Full(number),
        });
        if let Manner::Idle(time) = manner {
            tls.sock.set_read_timeout(Some(time)).unwrap();
        }
        for count in 1.. {
            let Some(line) = request(&mut tls) else { break };
            self.note(Event::Request(number, line));
            if manner == Manner::Second && count == 2 {
                break;
            }
            if tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
        self.note(Event::Closed(number));
    }
}

/// The first line of the next request, body and all read; `None` where no more comes.
fn request(tls: &mut StreamOwned<ServerConnection, TcpStream>) -> Option<String> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return head.lines().next().map(str::to_owned);
            }
        }
        match tls.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

fn is_request(event: &Event) -> bool {
    matches!(event, Event::Request(..))
}

/// A request on a connection that is kept open.
fn ask(wire: &mut Wire, proxy: &Serving, method: &str) -> u16 {
    let body = if method == "POST" { "Content-Length: 2\r\n\r\nhi" } else { "\r\n" };
    let host = proxy.address;
    write!(wire.stream, "{method} /api/query/x HTTP/1.1\r\nHost: {host}\r\n{body}").unwrap();
    wire.answer(method, false).unwrap().unwrap().status
}

fn log_has(proxy: &Serving, text: &str) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if fs::read_to_string(&proxy.log).unwrap().contains(text) {
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}

const AHEAD: &str = "connected ahead of the first request";

#[test]
fn a_warm_connection_is_there_before_the_first_request_and_carries_it() {
    let upstream = TlsUpstream::start(&TLS13, Manner::Patient);
    for (flag, variable) in [(Some("--warm-up"), None), (None, Some("true"))] {
        upstream.events.0.lock().unwrap().clear();
        let home = variable
            .into_iter()
            .fold(upstream.home(CONFIG), |home, value| home.with("MP_PROXY_WARM_UP", value));
        let mut args = vec!["--threads", "3"];
        args.extend(flag);
        let proxy = home.serve(&upstream.url, &args);
        assert!(log_has(&proxy, AHEAD));
        thread::sleep(Duration::from_millis(300));
        let before = upstream.events();
        let [Event::Full(number)] = before[..] else { panic!("not one handshake: {before:?}") };
        assert_eq!(proxy.get("/api/query/x", "").status, 200);
        let after = upstream.events();
        let [_, Event::Request(over, line)] = &after[..] else { panic!("not one more: {after:?}") };
        assert_eq!((*over, line.as_str()), (number, "GET /api/query/x?project_id=123 HTTP/1.1"));
    }
}

#[test]
fn nothing_is_opened_unasked_or_for_nobody() {
    let upstream = TlsUpstream::start(&TLS13, Manner::Patient);
    for (config, flag) in [(CONFIG, None), ("", Some("--warm-up")), ("[", Some("--warm-up"))] {
        let home = upstream.home(config).with("MP_PROXY_WARM_UP", "");
        let args: Vec<_> = flag.into_iter().collect();
        let proxy = home.serve(&upstream.url, &args);
        assert_eq!(proxy.get("/_mp/livez", "").status, 200);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(upstream.events(), [], "{config:?} {flag:?}");
        assert!(!fs::read_to_string(&proxy.log).unwrap().contains("ahead"), "{config:?} {flag:?}");
    }
}

/// The proxy serves at once, is ready, and says in one line what was not to be had.
#[test]
fn a_warm_up_that_fails_hinders_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stranger = TlsUpstream::start(&TLS13, Manner::Patient);
    for (url, code) in [
        (format!("https://{}", silent.local_addr().unwrap()), "UPSTREAM_TIMEOUT"),
        (format!("https://{nobody}"), "UPSTREAM_UNREACHABLE"),
        (stranger.url.clone(), "UPSTREAM_TLS"),
    ] {
        let other = TlsUpstream::start(&TLS13, Manner::Patient);
        let home = other.home(CONFIG);
        let proxy = home.serve(&url, &["--warm-up", "--connect-timeout", "1"]);
        assert_eq!(proxy.get("/_mp/readyz", "").status, 200, "{code}");
        assert!(log_has(&proxy, "not connected ahead of the first request"), "{code}");
        let log = fs::read_to_string(&proxy.log).unwrap();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("ahead")).collect();
        assert!(lines.len() == 1 && lines[0].contains(code), "{code}: {log}");
        assert!(lines[0].contains("WARN") && !log.contains("hunter2"), "{code}: {log}");
        assert_eq!(proxy.get("/api/query/x", "").json()["code"], code);
    }
}

/// Closed at rest by the server: seen before use, so that even a POST goes out, and once only.
#[test]
fn a_connection_that_was_closed_at_rest_is_not_used() {
    for method in ["GET", "POST"] {
        for args in [&["--threads", "1"][..], &["--threads", "1", "--warm-up"]] {
            let upstream = TlsUpstream::start(&TLS13, Manner::Idle(Duration::from_millis(200)));
            let home = upstream.home(CONFIG);
            let proxy = home.serve(&upstream.url, args);
            let mut wire = Wire::connect(proxy.address);
            if args.contains(&"--warm-up") {
                assert!(log_has(&proxy, AHEAD));
            } else {
                assert_eq!(ask(&mut wire, &proxy, method), 200);
            }
            upstream.until(|events| events.contains(&Event::Closed(0)));
            thread::sleep(Duration::from_millis(400));
            assert_eq!(ask(&mut wire, &proxy, method), 200, "{method} {args:?}");
            let events = upstream.events();
            let over = |number| move |event: &&Event| matches!(event, Event::Request(of, _) if *of == number);
            assert_eq!(events.iter().filter(over(1)).count(), 1, "{method}: {events:?}");
            assert!(events.contains(&Event::Resumed(1)), "{method}: {events:?}");
        }
    }
}

/// Closed in the very moment that the request went out, after a rest: what is idempotent goes out
/// once more on a fresh connection (RFC 9110 §9.2.2), anything else is answered honestly.
#[test]
fn a_request_that_met_a_close_is_repeated_once_where_that_is_allowed() {
    for (method, status, sent) in [("GET", 200, 3), ("DELETE", 200, 3), ("POST", 502, 2)] {
        let upstream = TlsUpstream::start(&TLS13, Manner::Second);
        let home = upstream.home(CONFIG);
        let proxy = home.serve(&upstream.url, &["--threads", "1"]);
        let mut wire = Wire::connect(proxy.address);
        assert_eq!(ask(&mut wire, &proxy, method), 200);
        thread::sleep(Duration::from_millis(700));
        assert_eq!(ask(&mut wire, &proxy, method), status, "{method}");
        let events = upstream.events();
        assert_eq!(events.iter().filter(|event| is_request(event)).count(), sent, "{events:?}");
    }
}

/// One full handshake in the life of a process, whichever of its threads needs a connection.
#[test]
fn tls_sessions_are_resumed_across_threads() {
    for version in [&TLS12, &TLS13] {
        let upstream = TlsUpstream::start(version, Manner::Patient);
        let home = upstream.home(CONFIG);
        let proxy = home.serve(&upstream.url, &["--threads", "4"]);
        // Each is kept, so that the next one goes to another thread, which has no connection yet.
        let mut wires: Vec<_> = (0..4).map(|_| Wire::connect(proxy.address)).collect();
        for wire in &mut wires {
            assert_eq!(ask(wire, &proxy, "GET"), 200);
        }
        let opened: Vec<_> =
            upstream.events().into_iter().filter(|event| !is_request(event)).collect();
        let expected = [Event::Full(0), Event::Resumed(1), Event::Resumed(2), Event::Resumed(3)];
        assert_eq!(opened, expected, "{version:?}");
        for wire in &mut wires {
            assert_eq!(ask(wire, &proxy, "GET"), 200);
        }
        let events = upstream.events();
        assert_eq!(events.len(), opened.len() + 8, "not reused: {events:?}");
    }
}
