//! Caller tokens against the real program: who is let in, as whom, and what Mixpanel sees of it.

use crate::support::{CONFIG, Home, Serving, Upstream, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::fs;

const FILE: &str = r#"
[callers.ci]
token = "ci-token-0123456789"
target = "ecom"
read_only = true

[callers.me]
token = "my-token-0123456789"
"#;

fn start(home: &Home, args: &[&str]) -> (Upstream, Serving) {
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), args);
    (upstream, proxy)
}

fn status(proxy: &Serving, lines: &str) -> u16 {
    proxy.get("/api/query/x", lines).status
}

#[test]
fn a_token_opens_from_three_places_and_never_reaches_mixpanel() {
    let home = Home::new(CONFIG).with("MP_PROXY_CLIENT_TOKEN", "env-token-0123456789");
    let (upstream, proxy) = start(&home, &[]);
    let basic = STANDARD.encode("anybody:env-token-0123456789");
    for lines in [
        "Authorization: Bearer env-token-0123456789\r\n".to_owned(),
        format!("Authorization: Basic {basic}\r\n"),
        "X-Mp-Proxy-Token: env-token-0123456789\r\n".to_owned(),
    ] {
        assert_eq!(status(&proxy, &lines), 200, "{lines}");
        let arrived = upstream.last();
        assert_eq!(header(&arrived, "authorization"), Some("Basic c2E6aHVudGVyMi1zZWNyZXQ="));
        assert!(!format!("{:?}", arrived.headers).contains("env-token"), "{:?}", arrived.headers);
    }
    let before = upstream.received().len();
    for lines in [
        "",
        "Authorization: Bearer env-token-012345678\r\n",
        "Authorization: Basic c2E6aHVudGVyMi1zZWNyZXQ=\r\n",
        "X-Mp-Proxy-Token: wrong\r\nAuthorization: Bearer env-token-0123456789\r\n",
        "X_Mp_Proxy_Token: env-token-0123456789\r\n",
    ] {
        let answer = proxy.get("/api/query/x", lines);
        assert_eq!(answer.status, 401, "{lines}");
        assert_eq!(answer.json()["code"], "CALLER_UNKNOWN");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer realm="));
    }
    for (path, expected) in
        [("/_mp/livez", 200), ("/_mp/readyz", 200), ("/_mp/version", 200), ("/_mp/session", 401)]
    {
        assert_eq!(proxy.get(path, "").status, expected, "{path}");
    }
    assert_eq!(upstream.received().len(), before);
    assert!(!fs::read_to_string(&proxy.log).unwrap().contains("env-token"));
}

/// Of our own endpoints it has the probes and its session; what lists others is refused, and what
/// goes wrong is told without them.
#[test]
fn a_bound_caller_is_shown_nothing_of_others() {
    let home = Home::new(CONFIG);
    home.write("tokens.toml", FILE);
    let (_upstream, proxy) = start(&home, &["--client-token-file", "tokens.toml"]);
    let ci = "X-Mp-Proxy-Token: ci-token-0123456789\r\n";
    let me = "X-Mp-Proxy-Token: my-token-0123456789\r\n";
    assert_eq!(proxy.get("/api/query/of-another", me).status, 200);
    let others = ["team", "of-another", "`me`", "123"];
    let check = |path: &str, lines: &str| {
        let answer = proxy.get(path, lines);
        let text = format!("{}{}", answer.head, String::from_utf8_lossy(&answer.body));
        for other in others {
            assert!(!text.contains(other), "{path} shows {other}: {text}");
        }
        answer
    };
    for path in ["/_mp/", "/_mp/overview", "/_mp/metrics", "/_mp/quota", "/_mp/limits"] {
        assert_eq!(proxy.get(path, me).status, 200, "{path}");
        assert_eq!(proxy.get(path, "").status, 401, "{path}");
        let answer = check(path, ci);
        assert_eq!((answer.status, &answer.json()["code"]), (403, &"POLICY_DENIED".into()));
        assert!(answer.json()["hint"].as_str().unwrap().contains("/_mp/session"), "{path}");
    }
    for path in ["/_mp", "/_mp/events", "/_mp/inspector.js", "/_mp/overview.js", "/_mp/x"] {
        assert_eq!(check(path, ci).status, 403, "{path}");
    }
    let session = check("/_mp/session", ci);
    assert_eq!((session.status, &session.json()["project"]), (200, &"77".into()));
    for path in ["/_mp/livez", "/_mp/readyz", "/_mp/version"] {
        assert_eq!(check(path, ci).status, 200, "{path}");
    }
    // What `tail` and `quota` ask for is refused as well, with what to do about it.
    for command in ["tail", "quota"] {
        let listen = proxy.address.to_string();
        let mut command = home.command(&[command, "--listen", &listen]);
        let output = command.env("MP_PROXY_TOKEN", "ci-token-0123456789").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("use the token of a caller without `target`"), "{said}");
        assert!(!String::from_utf8(output.stdout).unwrap().contains("of-another"));
    }
    // Without its target: whoever is bound to nothing is told which ones there are.
    home.write(".mp/config.toml", &CONFIG.replace("[targets.ecom]", "[targets.team-b]"));
    for path in ["/_mp/session", "/api/query/insights"] {
        let answer = check(path, ci);
        assert!(answer.status >= 400 && answer.status != 401, "{path}: {}", answer.head);
        let hint = answer.json()["hint"].as_str().unwrap().to_owned();
        assert!(hint.contains("mp-proxy session show --target ecom"), "{path}: {hint}");
        let answer = proxy.get(path, &format!("{me}X-Mp-Target: ecom\r\n"));
        assert!(answer.json().to_string().contains("team-b"), "{path}: {}", answer.json());
    }
    // Nor is anybody without a token told by the probe.
    let active = "account = \"team\"\n\n[accounts.team]";
    home.write(".mp/config.toml", &CONFIG.replace(active, "\n[accounts.team]"));
    assert!(proxy.get("/_mp/session", me).json().to_string().contains("`team`"));
    for lines in ["", ci, me] {
        let answer = check("/_mp/readyz", lines);
        assert_eq!((answer.status, &answer.json()["reason"]), (409, &"ACCOUNT_AMBIGUOUS".into()));
    }
}

#[test]
fn a_bound_caller_stays_with_its_target() {
    let home = Home::new(CONFIG);
    home.write("tokens.toml", FILE);
    let (upstream, proxy) = start(&home, &["--client-token-file", "tokens.toml"]);
    let ci = "X-Mp-Proxy-Token: ci-token-0123456789\r\n";
    assert_eq!(proxy.get("/api/query/insights", ci).status, 200);
    assert_eq!(upstream.last().target, "/api/query/insights?project_id=77&workspace_id=3");
    assert_eq!(header(&upstream.last(), "authorization"), Some("Bearer tok-secret"));
    let named = format!("{ci}X-Mp-Target: ecom\r\n");
    assert_eq!(proxy.get("/api/query/insights", &named).status, 200);
    assert_eq!(proxy.get("/api/query/insights?project_id=77", ci).status, 200);
    let before = upstream.received().len();
    for (target, lines) in [
        ("/api/query/insights", "X-Mp-Account: team\r\n"),
        ("/api/query/insights", "X-Mp-Project: 1\r\n"),
        ("/api/query/insights", "X-Mp-Workspace: 1\r\n"),
        ("/api/query/insights", "X-Mp-Target: other\r\n"),
        ("/_mp/session", "X-Mp-Account: team\r\n"),
    ] {
        let answer = proxy.get(target, &format!("{ci}{lines}"));
        let problem = answer.json();
        assert_eq!(answer.status, 403, "{lines}");
        assert!(problem.to_string().contains("POLICY_DENIED"), "{lines}: {problem}");
    }
    for target in [
        "/api/query/insights?project_id=123",
        "/api/query/insights?project%5Fid=123",
        "/api/query/insights?project_id=77&project_id=123",
        "/api/query/insights?workspace_id=4",
        "/api/app/projects/123/schemas",
        "/api/app//projects/123/schemas",
        "/api/query/x",
    ] {
        assert_eq!(proxy.get(target, ci).status, 403, "{target}");
    }
    // In a body as well: the target is a rule of its caller, whatever the policy says.
    for (kind, body) in [
        ("application/json", "{\"project_id\": 123}"),
        ("application/json", "{\"a\": [{\"workspace_id\": 4}]}"),
        ("application/x-www-form-urlencoded", "project%5Fid=123"),
    ] {
        let host = proxy.address;
        let length = body.len();
        let answer = proxy.raw(
            format!("POST /api/query/insights HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{ci}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
                .as_bytes(),
        );
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (403, &"POLICY_DENIED".into()),
            "{body}"
        );
    }
    assert_eq!(upstream.received().len(), before);
    assert_eq!(proxy.get("/_mp/session", ci).json()["project"], "77");
    let me = "Authorization: Bearer my-token-0123456789\r\n";
    assert_eq!(status(&proxy, &format!("{me}X-Mp-Project: 5\r\n")), 200);
    assert_eq!(upstream.last().target, "/api/query/x?project_id=5");
}

#[test]
fn a_variable_cannot_pull_a_bound_caller_off_its_target() {
    let home = Home::new(CONFIG).with("MP_PROJECT_ID", "4");
    home.write("tokens.toml", FILE);
    let (upstream, proxy) = start(&home, &["--client-token-file", "tokens.toml"]);
    let answer = proxy.get("/api/query/x", "X-Mp-Proxy-Token: ci-token-0123456789\r\n");
    assert_eq!(answer.status, 403);
    assert!(answer.json()["detail"].as_str().unwrap().contains("MP_PROJECT_ID"));
    assert!(upstream.received().is_empty());
}

#[test]
fn the_file_is_read_again_and_a_broken_one_lets_nobody_in() {
    let home = Home::new(CONFIG);
    home.write("token", "first-token-0123456789\n");
    let path = home.path("token");
    let (upstream, proxy) = start(&home, &["--client-token-file", path.to_str().unwrap()]);
    let with = |token: &str| status(&proxy, &format!("X-Mp-Proxy-Token: {token}\r\n"));
    assert_eq!(with("first-token-0123456789"), 200);
    home.write("token", FILE);
    assert_eq!((with("first-token-0123456789"), with("my-token-0123456789")), (401, 200));
    home.write("token", "[callers.x]\ntoken = s3cr3t\n");
    let answer = proxy.get("/api/query/x", "X-Mp-Proxy-Token: my-token-0123456789\r\n");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("CONFIG_ERROR")));
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("token:2") && !detail.contains("s3cr3t"), "{detail}");
    fs::remove_file(&path).unwrap();
    assert_eq!(with("my-token-0123456789"), 503);
    home.write("token", FILE);
    assert_eq!(with("my-token-0123456789"), 200);
    assert_eq!(upstream.received().len(), 3);
    let readable = home.path("readable");
    fs::write(&readable, FILE).unwrap();
    let output = home.run(&["serve", "--client-token-file", readable.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("chmod 600"));
}

#[test]
fn with_reject_and_pass_the_token_is_consumed_first() {
    let home = Home::new(CONFIG).with("MP_PROXY_CLIENT_TOKEN", "env-token-0123456789");
    let bearer = "Authorization: Bearer env-token-0123456789\r\n";
    let own = "X-Mp-Proxy-Token: env-token-0123456789\r\nAuthorization: Bearer own\r\n";
    let (upstream, proxy) = start(&home, &["--client-authorization", "reject"]);
    assert_eq!((status(&proxy, bearer), status(&proxy, own)), (200, 403));
    assert_eq!(upstream.received().len(), 1);
    let (upstream, proxy) = start(&home, &["--client-authorization", "pass"]);
    assert_eq!(status(&proxy, bearer), 200);
    assert_eq!(header(&upstream.last(), "authorization"), Some("Basic c2E6aHVudGVyMi1zZWNyZXQ="));
    assert_eq!(status(&proxy, own), 200);
    assert_eq!(header(&upstream.last(), "authorization"), Some("Bearer own"));
}

#[test]
fn off_loopback_a_token_is_mandatory_unless_waived() {
    let home = Home::new(CONFIG);
    let output = home.run(&["serve", "--listen", "0.0.0.0:0"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("--client-token-file") && text.contains("--insecure-allow-remote"),
        "{text}"
    );
    let upstream = Upstream::start();
    let proxy = home.serve_on("0.0.0.0:0", &upstream.url(), &["--insecure-allow-remote"]);
    assert_eq!(local(&proxy, ""), 200);
    assert!(fs::read_to_string(&proxy.log).unwrap().contains("without a token"));
    let home = Home::new(CONFIG).with("MP_PROXY_CLIENT_TOKEN", "env-token-0123456789");
    let proxy = home.serve_on("0.0.0.0:0", &upstream.url(), &[]);
    assert_eq!(local(&proxy, ""), 401);
    assert_eq!(local(&proxy, "X-Mp-Proxy-Token: env-token-0123456789\r\n"), 200);
}

/// A request by loopback to a proxy that listens everywhere.
fn local(proxy: &Serving, lines: &str) -> u16 {
    let port = proxy.address.port();
    let text = format!(
        "GET /api/query/x HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n{lines}\r\n"
    );
    proxy.raw(text.as_bytes()).status
}
