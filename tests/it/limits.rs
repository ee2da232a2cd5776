//! The limits of the listener and the hardening of the process, on the real program.

use crate::support::{CONFIG, Home, Serving, Upstream};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

fn start(args: &[&str]) -> (Home, Upstream, Serving) {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let serving = home.serve(&upstream.url(), args);
    (home, upstream, serving)
}

/// A request that runs for as long as the stream is kept.
fn running(proxy: &Serving, lines: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let host = proxy.address;
    write!(
        stream,
        "GET /api/2.0/export?rows=100&pause_ms=200 HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"
    )
    .unwrap();
    let mut first = [0_u8; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

#[test]
fn heads_are_limited_in_bytes_and_in_fields() {
    let (_home, upstream, proxy) = start(&["--max-header-bytes", "8192", "--max-headers", "8"]);
    assert_eq!(proxy.get("/api/query/x", "A: 1\r\nB: 1\r\n").status, 200);
    assert_eq!(proxy.get("/api/query/x", &format!("A: {}\r\n", "a".repeat(9000))).status, 431);
    let many: String = (0..8).map(|number| format!("A{number}: 1\r\n")).collect();
    assert_eq!(proxy.get("/api/query/x", &many).status, 431);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_head_that_comes_too_slowly_ends_its_connection() {
    let (_home, upstream, proxy) = start(&["--header-read-timeout", "1"]);
    let mut slow = TcpStream::connect(proxy.address).unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let begun = Instant::now();
    let mut ended = false;
    while !ended && begun.elapsed() < Duration::from_secs(15) {
        ended = slow.write_all(b"a").is_err() || matches!(slow.read(&mut [0; 64]), Ok(0));
    }
    assert!(ended, "the connection was kept");
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn one_connection_too_many_is_told_when_to_come_again() {
    let (_home, _upstream, proxy) = start(&["--max-connections", "2"]);
    let kept = (running(&proxy, ""), running(&proxy, ""));
    let answer = proxy.get("/api/query/x", "");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.head);
    assert_eq!(answer.json()["code"], "LIMIT_EXCEEDED");
    assert!(answer.json()["hint"].as_str().unwrap().contains("--max-connections"));
    drop(kept);
    let begun = Instant::now();
    while proxy.get("/api/query/x", "").status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(15), "the places were not given back");
    }
}

#[test]
fn each_caller_has_its_own_requests_in_flight() {
    let home = Home::new(CONFIG);
    home.write(
        "tokens",
        "[callers.a]\ntoken = \"aaaaaaaaaaaaaaaaaaaa\"\n[callers.b]\ntoken = \"bbbbbbbbbbbbbbbbbbbb\"\n",
    );
    let upstream = Upstream::start();
    let args = ["--client-token-file", "tokens", "--max-requests-per-caller", "1"];
    let proxy = home.serve(&upstream.url(), &args);
    let (a, b) = (
        "X-Mp-Proxy-Token: aaaaaaaaaaaaaaaaaaaa\r\n",
        "X-Mp-Proxy-Token: bbbbbbbbbbbbbbbbbbbb\r\n",
    );
    let kept = running(&proxy, a);
    let answer = proxy.get("/api/query/x", a);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("LIMIT_EXCEEDED")));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(proxy.get("/api/query/x", b).status, 200);
    drop(kept);
    let begun = Instant::now();
    while proxy.get("/api/query/x", a).status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(15), "the place was not given back");
    }
}

#[test]
fn limits_are_reported_and_fit_the_descriptors() {
    let (_home, _upstream, proxy) = start(&["--max-requests-per-caller", "7"]);
    let limits = proxy.get("/_mp/limits", "").json();
    assert_eq!(limits["max_requests_per_caller"], 7);
    let descriptors = limits["descriptors"].as_u64().unwrap();
    assert!(limits["max_connections"].as_u64().unwrap() <= descriptors / 2);
    assert!(fs::read_to_string(&proxy.log).unwrap().contains("max_requests_per_caller"));
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_is_closed_to_others() {
    let (_home, _upstream, proxy) = start(&[]);
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", proxy.child.id())).unwrap();
    assert!(of("status").lines().any(|line| line == "Umask:\t0077"), "{}", of("status"));
    let limits = of("limits");
    let row = |name: &str| -> Vec<String> {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("Max core file size")[..2], ["0", "0"]);
    let files = row("Max open files");
    assert_eq!(files[0], files[1]);
}
