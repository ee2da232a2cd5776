//! The guard over real sockets: what is refused before anything else, and by which words.

use crate::support::{Answer, CONFIG, Home, Serving, Upstream};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Output,
    thread,
};

fn start(args: &[&str]) -> (Home, Upstream, Serving) {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let serving = home.serve(&upstream.url(), args);
    (home, upstream, serving)
}

fn send(proxy: &Serving, line: &str, host: &str, lines: &str) -> Answer {
    let text = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n");
    proxy.raw(text.as_bytes())
}

fn port(proxy: &Serving) -> u16 {
    proxy.address.port()
}

#[test]
fn each_refusal_names_the_check_and_the_value_and_what_to_do() {
    let (_home, upstream, proxy) = start(&[]);
    let own = proxy.address.to_string();
    for (host, lines, code, value, hint) in [
        ("evil.example:1", "", "GUARD_HOST", "evil.example:1", "--allow-host"),
        (
            &own,
            "Origin: https://evil.example\r\n",
            "GUARD_ORIGIN",
            "https://evil.example",
            "no flag",
        ),
        (&own, "oRiGiN: null\r\n", "GUARD_ORIGIN", "an `Origin` header", "no flag"),
        (
            &own,
            "Access-Control-Request-Method: POST\r\n",
            "GUARD_ORIGIN",
            "an `access-control-request-method` header",
            "no flag",
        ),
        (&own, "Sec-Fetch-Site: cross-site\r\n", "GUARD_FETCH_SITE", "cross-site", "no flag"),
    ] {
        let answer = send(&proxy, "GET /api/query/x", host, lines);
        assert_eq!(answer.status, 403, "{}", answer.head);
        let problem = answer.json();
        assert_eq!(problem["code"], code);
        assert!(problem["detail"].as_str().unwrap().contains(value), "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains(hint), "{problem}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn no_answer_ever_has_cors_fields() {
    let (_home, upstream, proxy) = start(&[]);
    let own = proxy.address.to_string();
    for (line, lines) in [
        ("OPTIONS /api/query/x", ""),
        ("OPTIONS *", ""),
        ("OPTIONS /_mp/session", ""),
        (
            "OPTIONS /api/query/x",
            "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n",
        ),
        ("GET /api/query/x", "Origin: https://evil.example\r\n"),
        ("GET /_mp/session", ""),
        ("GET /api/query/x", ""),
    ] {
        let answer = send(&proxy, line, &own, lines);
        assert!(!answer.head.to_ascii_lowercase().contains("access-control-"), "{}", answer.head);
        if line.starts_with("OPTIONS") && lines.is_empty() {
            assert_eq!(answer.status, 204, "{line}");
            assert!(answer.header("allow").is_some());
        }
    }
    assert_eq!(upstream.received().len(), 1, "OPTIONS went out");
}

#[test]
fn methods_are_a_closed_list_and_405_says_which() {
    let (_home, upstream, proxy) = start(&[]);
    let own = proxy.address.to_string();
    for method in ["TRACE", "TRACK", "get", "FOO"] {
        let answer = send(&proxy, &format!("{method} /api/query/x"), &own, "");
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.header("allow").unwrap().contains("PATCH"));
    }
    assert_eq!(send(&proxy, &format!("CONNECT {own}"), &own, "").status, 405);
    let own_endpoint = send(&proxy, "POST /_mp/session", &own, "");
    assert_eq!(
        (own_endpoint.status, own_endpoint.header("allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
    for lines in ["Upgrade: websocket\r\n", "Sec-WebSocket-Key: eA==\r\n", "HTTP2-Settings: AA\r\n"]
    {
        assert_eq!(send(&proxy, "GET /api/query/x", &own, lines).status, 400, "{lines}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn our_own_pages_may_fetch_from_us_but_not_through_us() {
    let (_home, upstream, proxy) = start(&[]);
    let same = "Sec-Fetch-Site: same-origin\r\n";
    assert_eq!(proxy.get("/_mp/session", same).status, 200);
    assert_eq!(proxy.get("/api/query/x", same).status, 403);
    assert_eq!(proxy.get("/_mp/session", "Sec-Fetch-Site: cross-site\r\n").status, 403);
    assert!(upstream.received().is_empty());
}

#[test]
fn allow_host_adds_names_by_flag_and_by_variable() {
    let (_home, upstream, proxy) =
        start(&["--allow-host", "proxy.internal", "--allow-host", "mapped:9000,other"]);
    let own_port = port(&proxy);
    for (host, status) in [
        ("proxy.internal".to_owned(), 200),
        (format!("PROXY.internal:{own_port}"), 200),
        ("mapped:9000".to_owned(), 200),
        ("other".to_owned(), 200),
        (format!("localhost:{own_port}"), 200),
        ("proxy.internal:1".to_owned(), 403),
        (format!("mapped:{own_port}"), 403),
        ("x.proxy.internal".to_owned(), 403),
    ] {
        let answer = send(&proxy, "GET /api/query/x", &host, "");
        assert_eq!(answer.status, status, "{host}: {}", answer.head);
    }
    assert_eq!(upstream.received().len(), 5);
    let home = Home::new(CONFIG).with("MP_PROXY_ALLOW_HOST", "one,two:7");
    let proxy = home.serve(&upstream.url(), &[]);
    assert_eq!(send(&proxy, "GET /api/query/x", "two:7", "").status, 200);
    let wildcard: Output = home.run(&["serve", "--allow-host", "*.internal"]);
    assert_eq!(wildcard.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&wildcard.stderr).contains("wildcards are not supported"));
}

#[test]
fn an_answer_that_shows_the_credential_is_withheld() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (number, stream) in listener.incoming().take(2).enumerate() {
            let mut stream = stream.unwrap();
            let mut seen = [0_u8; 4096];
            let count = stream.read(&mut seen).unwrap();
            let head = String::from_utf8_lossy(&seen[..count]).into_owned();
            let line = head.lines().find(|line| line.starts_with("authorization: ")).unwrap();
            let end = if number == 0 { line.len() } else { line.len() - 1 };
            let echo = &line["authorization: Basic ".len()..end];
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nX-Debug: got={echo};\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
    });
    let home = Home::new(CONFIG);
    let proxy = home.serve(&url, &[]);
    let answer = proxy.get("/api/query/x", "");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (502, Some("UPSTREAM_BROKEN")));
    assert!(answer.json()["detail"].as_str().unwrap().contains("x-debug"));
    assert!(!answer.head.contains("c2E6aHVudGVyMi1zZWNyZXQ"), "{}", answer.head);
    let harmless = proxy.get("/api/query/x", "");
    assert_eq!(harmless.status, 200, "{}", harmless.head);
}
