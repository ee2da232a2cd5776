//! The way out through a company's proxy: `HTTPS_PROXY` and `NO_PROXY`, on the data path and for
//! our own calls, against a CONNECT proxy on loopback.

use crate::{
    support::{CONFIG, Home, Serving},
    tls::{Certificate, tls_upstream},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mp_proxy::demo::stand_in::StandInService;
use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

const PASSWORD: &str = "pr0xy-sekrit";

/// A CONNECT proxy that keeps the heads that it was sent and every byte that went through it.
#[derive(Clone)]
struct Tunnel {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    passed: Arc<Mutex<Vec<u8>>>,
}

impl Tunnel {
    /// `refusal`: answered in place of a tunnel.
    fn start(refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tunnel = Self {
            address: listener.local_addr().unwrap(),
            heads: Arc::default(),
            passed: Arc::default(),
        };
        let shared = tunnel.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let tunnel = shared.clone();
                thread::spawn(move || tunnel.serve(stream, refusal));
            }
        });
        tunnel
    }

    fn serve(&self, mut near: TcpStream, refusal: Option<&str>) -> io::Result<()> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            near.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        self.heads.lock().unwrap().push(head);
        if let Some(refusal) = refusal {
            return near.write_all(refusal.as_bytes());
        }
        let mut far = TcpStream::connect(target)?;
        near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let (mut back, mut forth) = (far.try_clone()?, near.try_clone()?);
        let keeper = self.clone();
        thread::spawn(move || {
            let _ = io::copy(&mut back, &mut forth);
            let _ = forth.shutdown(Shutdown::Both);
        });
        let mut piece = [0; 8192];
        loop {
            match near.read(&mut piece)? {
                0 => return far.shutdown(Shutdown::Both),
                count => {
                    keeper.passed.lock().unwrap().extend_from_slice(&piece[..count]);
                    far.write_all(&piece[..count])?;
                }
            }
        }
    }

    fn url(&self) -> String {
        format!("http://agent:{PASSWORD}@{}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// An upstream behind TLS and a home that trusts it.
fn trusted(runtime: &tokio::runtime::Runtime) -> (Home, StandInService, String) {
    let service = StandInService::default();
    let certificate = Certificate::new(&["localhost"], (2020, 2120));
    let port = tls_upstream(runtime, service.clone(), &certificate);
    let home = Home::new(CONFIG);
    home.write("trusted.pem", &certificate.pem);
    let trusted = home.path("trusted.pem");
    let home = home.with("SSL_CERT_FILE", trusted.to_str().unwrap());
    (home, service, format!("https://localhost:{port}"))
}

/// The password of the proxy is nowhere, in no spelling that a log or an answer could have.
fn no_password(proxy: &Serving, texts: &[&str]) {
    let read = || fs::read_to_string(&proxy.log).unwrap();
    // The lines of requests are written a moment after their answers.
    let until = Instant::now() + Duration::from_secs(10);
    while !read().contains("/api/query/") && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    let log = read();
    assert!(log.contains("/api/query/"), "the request was not logged:\n{log}");
    let encoded = STANDARD.encode(format!("agent:{PASSWORD}"));
    for text in texts.iter().copied().chain([log.as_str()]) {
        assert!(!text.contains(PASSWORD) && !text.contains(&encoded), "{text}");
    }
}

#[test]
fn requests_and_our_own_calls_go_through_https_proxy() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (home, service, url) = trusted(&runtime);
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let tunnel = Tunnel::start(None);
        let environment = [(variable, tunnel.url()), ("MP_PROXY_UPSTREAM", url.clone())];
        let mut command = home.command(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--log-level",
            "trace",
            "--threads",
            "1",
        ]);
        let proxy = home.spawn(command.envs(environment.clone()));
        let before = service.received().len();
        let answer = proxy.get("/api/query/events/names", "");
        assert_eq!(answer.status, 200, "{variable}: {}", answer.head);
        assert_eq!(proxy.get("/api/query/events/names", "").status, 200);
        assert_eq!(service.received().len(), before + 2);
        let target = url.strip_prefix("https://").unwrap();
        let heads = tunnel.heads();
        assert_eq!(heads.len(), 1, "one tunnel for both: {heads:?}");
        assert!(heads[0].starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{heads:?}");
        let basic = STANDARD.encode(format!("agent:{PASSWORD}"));
        assert!(heads[0].contains(&format!("Proxy-Authorization: Basic {basic}\r\n")), "{heads:?}");
        let tested =
            home.command(&["account", "test", "team", "--json"]).envs(environment).output();
        let tested = tested.unwrap();
        assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
        assert_eq!(tunnel.heads().len(), 2, "`/me` went another way");
        // What the company's proxy sees: a name, and bytes that it cannot read.
        let passed = tunnel.passed.lock().unwrap().clone();
        let passed = String::from_utf8_lossy(&passed).into_owned();
        assert!(passed.len() > 500 && !passed.contains("HTTP/1.1"), "not through TLS");
        let received = service.received();
        let leaked = received.iter().flat_map(|one| &one.headers).any(|(name, value)| {
            name.eq_ignore_ascii_case("proxy-authorization") || value.contains(&basic)
        });
        assert!(!leaked, "the upstream was told the password of the proxy");
        no_password(&proxy, &[&answer.head, &String::from_utf8_lossy(&tested.stdout)]);
    }
}

#[test]
fn no_proxy_and_plain_stand_ins_are_reached_directly() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (home, service, url) = trusted(&runtime);
    let tunnel = Tunnel::start(None);
    for (no_proxy, through) in
        [("localhost", 0), ("other.test,.localhost,127.0.0.0/8", 0), ("*", 0), ("other.test", 1)]
    {
        let mut command = home.command(&["serve", "--listen", "127.0.0.1:0", "--upstream", &url]);
        let proxy = home.spawn(command.env("HTTPS_PROXY", tunnel.url()).env("NO_PROXY", no_proxy));
        let before = tunnel.heads().len();
        assert_eq!(proxy.get("/api/query/x", "").status, 200, "{no_proxy}");
        assert_eq!(tunnel.heads().len() - before, through, "NO_PROXY={no_proxy}");
    }
    assert_eq!(service.received().len(), 4);
    let plain = crate::support::Upstream::start();
    let mut command =
        home.command(&["serve", "--listen", "127.0.0.1:0", "--upstream", &plain.url()]);
    let proxy = home.spawn(command.env("HTTPS_PROXY", tunnel.url()));
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(tunnel.heads().len(), 1, "plain http to loopback went through the proxy");
}

#[test]
fn a_proxy_that_does_not_help_is_named_with_what_to_check() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (home, service, url) = trusted(&runtime);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusing = |answer| Tunnel::start(Some(answer)).url();
    for (fault, variable, detail) in [
        (
            "407",
            refusing(
                "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
            ),
            "proxy authorization required",
        ),
        ("403", refusing("HTTP/1.1 403 Forbidden\r\n\r\nno"), "unsuccessful"),
        ("an end", refusing(""), "unexpected end of file"),
        ("garbage", refusing("\0\x01\x02\r\n\r\n"), "unsuccessful"),
        ("nobody", format!("http://agent:{PASSWORD}@{gone}"), "refused"),
        ("socks", format!("socks5://agent:{PASSWORD}@{gone}"), "http:// proxy"),
        ("TLS", format!("https://agent:{PASSWORD}@{gone}"), "http:// proxy"),
    ] {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--upstream", &url];
        let mut command = home.command(&arguments);
        command.args(["--log-level", "trace"]).env("HTTPS_PROXY", variable);
        let proxy = home.spawn(&mut command);
        let answer = proxy.get("/api/query/x", "");
        let problem = answer.json();
        let got = (answer.status, problem["code"].as_str());
        assert_eq!(got, (502, Some("UPSTREAM_UNREACHABLE")), "{fault}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{fault}: {problem}");
        assert!(problem["hint"].as_str().unwrap().contains("HTTPS_PROXY"), "{fault}: {problem}");
        no_password(&proxy, &[&problem.to_string()]);
    }
    assert!(service.received().is_empty(), "something went past the proxy");
}

#[test]
fn a_proxy_variable_that_is_none_is_not_gone_around() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (home, service, url) = trusted(&runtime);
    for value in [format!("ftp://agent:{PASSWORD}@127.0.0.1:1"), format!("http://{PASSWORD} x")] {
        let mut command = home.command(&["serve", "--listen", "127.0.0.1:0", "--upstream", &url]);
        let output = command.env("HTTPS_PROXY", &value).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("`HTTPS_PROXY`") && text.contains("hint:"), "{text}");
        assert!(!text.contains(PASSWORD), "{text}");
    }
    assert!(service.received().is_empty());
}
