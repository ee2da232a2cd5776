//! `mp-proxy serve` and `mp-proxy demo` over real sockets.

use crate::support::{CONFIG, Home, Serving, Upstream, header};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

fn start(config: &str, args: &[&str]) -> (Home, Upstream, Serving) {
    let home = Home::new(config);
    let upstream = Upstream::start();
    let serving = home.serve(&upstream.url(), args);
    (home, upstream, serving)
}

#[test]
fn a_request_is_resolved_signed_and_forwarded() {
    let (_home, upstream, proxy) = start(CONFIG, &[]);
    let answer =
        proxy.get("/api/query/a%2Fb//?x=1", "Authorization: Bearer callers-own\r\nX-Keep: 1\r\n");
    assert_eq!(answer.status, 200, "{}", answer.head);
    let arrived = upstream.last();
    assert_eq!(arrived.target, "/api/query/a%2Fb//?x=1&project_id=123");
    assert_eq!(header(&arrived, "authorization"), Some("Basic c2E6aHVudGVyMi1zZWNyZXQ="));
    assert_eq!(arrived.headers.iter().filter(|(name, _)| name == "authorization").count(), 1);
    assert_eq!(header(&arrived, "x-mixpanel-cluster"), Some("internal-1"));
    assert_eq!(header(&arrived, "x-mp-proxy-origin"), Some("https://eu.mixpanel.com"));
    assert_eq!(header(&arrived, "x-keep"), Some("1"));
    assert_eq!(header(&arrived, "via"), Some("1.1 mp-proxy"));
    assert_eq!(answer.header("x-mp-resolved"), Some("account=team; project=123; region=eu"));
}

#[test]
fn headers_switch_one_request_and_never_reach_the_upstream() {
    let (_home, upstream, proxy) = start(CONFIG, &[]);
    let answer = proxy.get("/api/query/x", "X-Mp-Target: ecom\r\n");
    assert_eq!(answer.status, 200, "{}", answer.head);
    let arrived = upstream.last();
    assert_eq!(arrived.target, "/api/query/x?project_id=77&workspace_id=3");
    assert_eq!(header(&arrived, "authorization"), Some("Bearer tok-secret"));
    assert!(
        arrived
            .headers
            .iter()
            .all(|(name, _)| !name.starts_with("x-mp-") || name == "x-mp-proxy-origin")
    );
    proxy.get("/api/query/x?project_id=6", "");
    assert_eq!(upstream.last().target, "/api/query/x?project_id=6");
    proxy.get("/api/query/x", "X-Mp-Project: 31\r\nX-Mp-Workspace: 4\r\n");
    assert_eq!(upstream.last().target, "/api/query/x?project_id=31&workspace_id=4");
    let before = upstream.received().len();
    for (target, lines, status) in [
        ("/api/query/x", "X-Mp-Target: ecom\r\nX-Mp-Project: 1\r\n", 400),
        ("/api/query/x", "X_Mp_Target: ecom\r\n", 400),
        ("/api/query/x", "X-Mp-Account: team\r\nX-Mp-Account: ci\r\n", 400),
        ("/api/query/x", "X-Mp-Account: nobody\r\n", 400),
        ("/api/query/x", "X-Mp-Target: nowhere\r\n", 400),
        ("/api/query/x", "X-Mp-Project: abc\r\n", 400),
        ("/api/query/x?project_id=2", "X-Mp-Project: 3\r\n", 400),
        ("/api/query/x?project%5Fid=2", "X-Mp-Project: 3\r\n", 400),
        ("/api/app/projects/2/x", "X-Mp-Project: 3\r\n", 400),
        ("/api/app/workspaces/2/x", "X-Mp-Workspace: 3\r\n", 400),
        ("/api/app/data-deletions/v3", "", 403),
        ("/api/query/../app/me", "", 400),
        ("/report/1", "", 404),
        ("/api/query/x", "X-Mp-Account: me\r\n", 502),
    ] {
        let answer = proxy.get(target, lines);
        assert_eq!(answer.status, status, "{target} {lines}: {}", answer.head);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(answer.header("proxy-status").unwrap().starts_with("mp-proxy; error="));
        let problem = answer.json();
        assert!(problem["code"].is_string() && problem["hint"].is_string(), "{problem}");
        assert_eq!(problem["code"], problem["error"]["code"]);
    }
    assert_eq!(upstream.received().len(), before, "a refused request went out");
}

#[test]
fn the_guard_refuses_what_a_web_page_can_send() {
    let (_home, upstream, proxy) = start(CONFIG, &[]);
    let host = proxy.address;
    for (request, status) in [
        (
            "GET /api/query/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
                .to_owned(),
            403,
        ),
        (
            "GET /api/query/x HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n\r\n"
                .to_owned(),
            403,
        ),
        (
            format!(
                "GET http://evil.example/api/query/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            ),
            403,
        ),
        ("GET /api/query/x HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), 400),
        (
            format!(
                "GET /api/query/x HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            ),
            400,
        ),
        (
            format!(
                "GET /api/query/x HTTP/1.1\r\nHost: {host}\r\nOrigin: null\r\nConnection: close\r\n\r\n"
            ),
            403,
        ),
        (
            format!(
                "GET /api/query/x HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: same-site\r\nConnection: close\r\n\r\n"
            ),
            403,
        ),
        (format!("TRACE /api/query/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), 405),
        (
            format!(
                "GET /api/query/x HTTP/1.1\r\nHost: {host}\r\nVia: 1.0 a, 1.1 mp-proxy\r\nConnection: close\r\n\r\n"
            ),
            508,
        ),
        (
            format!(
                "POST /api/query/x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (
            format!("OPTIONS /api/query/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            204,
        ),
    ] {
        let answer = proxy.raw(request.as_bytes());
        assert_eq!(answer.status, status, "{request}{}", answer.head);
        assert!(answer.header("access-control-allow-origin").is_none());
    }
    assert!(upstream.received().is_empty());
    assert_eq!(proxy.get("/api/query/x", "Sec-Fetch-Site: none\r\n").status, 200);
}

#[test]
fn connection_cannot_take_the_credential_off() {
    let (_home, upstream, proxy) = start(CONFIG, &[]);
    let host = proxy.address;
    let answer = proxy.raw(format!("GET /api/query/x HTTP/1.1\r\nHost: {host}\r\nConnection: close, authorization, x-drop\r\nX-Drop: 1\r\nTE: trailers\r\n\r\n").as_bytes());
    assert_eq!(answer.status, 200);
    let arrived = upstream.last();
    assert!(header(&arrived, "authorization").is_some());
    assert!(header(&arrived, "x-drop").is_none() && header(&arrived, "te").is_none());
}

#[test]
fn edited_files_count_from_the_next_request_and_heal() {
    let (home, upstream, proxy) = start(CONFIG, &[]);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    home.write(".mp/config.toml", &CONFIG.replace("account = \"team\"", "account = \"ci\""));
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(upstream.last().target, "/api/query/x?project_id=9");
    home.write(".mp/config.toml", "[broken\n");
    let answer = proxy.get("/api/query/x", "");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("CONFIG_ERROR")));
    assert_eq!(proxy.get("/_mp/readyz", "").status, 503);
    assert_eq!(proxy.get("/_mp/livez", "").status, 200);
    home.write(".mp/config.toml", CONFIG);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(proxy.get("/_mp/readyz", "").status, 200);
    assert_eq!(proxy.get("/_mp/session", "X-Mp-Account: ci\r\n").json()["account"]["name"], "ci");
    assert!(!fs::read_to_string(&proxy.log).unwrap().contains("secret"), "a secret in the log");
}

/// Where the files are watched they are not asked for a while: the watch alone tells of the edit.
#[test]
fn an_edit_after_a_long_silence_counts_from_the_next_request() {
    let (home, upstream, proxy) = start(CONFIG, &["--threads", "1"]);
    let next = CONFIG.replace("account = \"team\"", "account = \"ci\"");
    let edits: [(&dyn Fn(), &str); 3] = [
        (&|| home.write(".mp/config.toml", &next), "9"),
        (&|| fs::write(home.path(".mp/config.toml"), CONFIG).unwrap(), "123"),
        (&|| home.write("mixpanel_auth.json", "{}"), "none"),
    ];
    for (edit, project) in edits {
        for _ in 0..25 {
            proxy.get("/api/query/before", "");
            thread::sleep(Duration::from_millis(60));
        }
        proxy.get("/api/query/before", "");
        edit();
        let answer = proxy.get("/api/query/x", "");
        if project == "none" {
            assert_eq!(answer.status, 503, "the bridge is broken: {}", answer.head);
        } else {
            assert_eq!(upstream.last().target, format!("/api/query/x?project_id={project}"));
        }
    }
}

#[test]
fn a_base_session_that_does_not_resolve_harms_only_who_needs_it() {
    let (_home, _upstream, proxy) = start(&CONFIG.replace("account = \"team\"", ""), &[]);
    let answer = proxy.get("/api/query/x", "");
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (409, Some("ACCOUNT_AMBIGUOUS")));
    assert_eq!(proxy.get("/api/query/x", "X-Mp-Account: ci\r\n").status, 200);
}

/// An upstream that answers every connection with the same bytes and closes.
/// An upstream that answers eight requests with these bytes.
pub fn canned(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().take(8) {
            let mut stream = stream.unwrap();
            let mut seen = [0_u8; 4096];
            let _ = stream.read(&mut seen);
            let _ = stream.write_all(bytes);
        }
    });
    url
}

#[test]
fn dead_broken_and_odd_upstreams_have_their_answer() {
    let home = Home::new(CONFIG);
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = home.serve(&format!("http://{dead}"), &[]);
    let answer = proxy.get("/api/query/x", "");
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (502, Some("UPSTREAM_UNREACHABLE"))
    );
    let proxy = home.serve(&canned(b"garbage\r\n\r\n"), &[]);
    assert_eq!(proxy.get("/api/query/x", "").json()["code"], "UPSTREAM_BROKEN");
    let proxy = home.serve(
        &canned(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        &[],
    );
    let cut = proxy.get("/api/query/x", "");
    assert!(!cut.body.ends_with(b"0\r\n\r\n"), "a cut body was ended cleanly");
    let proxy = home.serve(&canned(b"HTTP/1.1 302 Found\r\nLocation: https://mixpanel.com/login\r\nSet-Cookie: a=b\r\nX-Mp-Resolved: fake\r\nContent-Length: 0\r\n\r\n"), &[]);
    let moved = proxy.get("/api/query/x", "");
    assert_eq!((moved.status, moved.header("location")), (302, Some("https://mixpanel.com/login")));
    assert!(moved.header("set-cookie").is_none() && moved.header("proxy-status").is_none());
    assert!(moved.header("x-mp-resolved").unwrap().starts_with("account=team"));
}

#[test]
fn a_silent_upstream_times_out() {
    let home = Home::new(CONFIG);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy =
        home.serve(&format!("http://{}", silent.local_addr().unwrap()), &["--header-timeout", "1"]);
    let answer = proxy.get("/api/query/x", "");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (504, Some("UPSTREAM_TIMEOUT")));
}

#[test]
fn sigterm_lets_a_running_export_finish() {
    let (_home, _upstream, mut proxy) = start(CONFIG, &[]);
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "GET /api/2.0/export?rows=4&pause_ms=300 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        proxy.address
    )
    .unwrap();
    let mut first = [0_u8; 1];
    stream.read_exact(&mut first).unwrap();
    assert!(Command::new("kill").arg(proxy.child.id().to_string()).status().unwrap().success());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the export was cut: {}", String::from_utf8_lossy(&rest));
    assert!(proxy.child.wait().unwrap().success());
}

#[test]
fn a_taken_port_is_explained() {
    let (home, _upstream, proxy) = start(CONFIG, &[]);
    let output = home.run(&["serve", "--listen", &proxy.address.to_string()]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("taken by another mp-proxy") && text.contains("--listen"), "{text}");
}

#[test]
fn the_demo_shows_itself() {
    let home = Home::new("");
    let output = home.run(&["demo", "--once"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("https://eu.mixpanel.com") && text.contains("workspace_id=7"), "{text}");
}
