//! Metrics, log lines, request ids and live events of the real program.

use crate::support::{CONFIG, Home, Serving, Upstream, header};
use serde_json::Value;
use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

/// Reads the log until it has so many lines that hold the text.
fn logged(proxy: &Serving, text: &str, count: usize) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let log = fs::read_to_string(&proxy.log).unwrap();
        let lines: Vec<_> =
            log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect();
        if lines.len() >= count || Instant::now() > end {
            return lines;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every series of the text format, checked for its shape.
fn scrape(proxy: &Serving) -> HashMap<String, f64> {
    let answer = proxy.get("/_mp/metrics", "");
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(answer.body).unwrap();
    let mut all = HashMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(&family), "{line} stands in the family {family}");
            let name = name.trim_end_matches("{}").to_owned();
            assert!(all.insert(name, value.parse().unwrap()).is_none(), "{line} is there twice");
        }
    }
    all
}

#[test]
fn requests_are_counted_by_bounded_labels() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &[]);
    for _ in 0..3 {
        assert_eq!(proxy.get("/api/query/events/names", "").status, 200);
    }
    proxy.raw(
        format!(
            "POST /import HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 11\r\n\r\nhello world",
            proxy.address
        )
        .as_bytes(),
    );
    assert_eq!(proxy.get("/report/1", "").status, 404);
    assert_eq!(proxy.get("/api/query/x", "Origin: http://evil.test\r\n").status, 403);
    assert_eq!(proxy.raw(b"BREW / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status, 403);
    let all = scrape(&proxy);
    let query = r#"mp_proxy_requests_total{route="/api/query",method="GET",status="2xx",account="team",project="123"}"#;
    assert_eq!(all[query], 3.0, "{all:#?}");
    assert_eq!(all[r#"mp_proxy_refusals_total{code="GUARD_ORIGIN"}"#], 1.0);
    assert_eq!(all[r#"mp_proxy_refusals_total{code="ROUTE_NOT_FOUND"}"#], 1.0);
    assert!(
        all.keys().any(|name| name.contains(r#"method="OTHER""#)),
        "an unknown method is a label of its own"
    );
    assert_eq!(all[r#"mp_proxy_body_bytes_total{route="/import",direction="up"}"#], 11.0);
    assert!(all[r#"mp_proxy_body_bytes_total{route="/api/query",direction="down"}"#] > 0.0);
    assert_eq!(all[r#"mp_proxy_own_seconds_count{route="/api/query"}"#], 3.0);
    assert_eq!(all[r#"mp_proxy_upstream_seconds_bucket{route="/api/query",le="+Inf"}"#], 3.0);
    assert_eq!(all["mp_proxy_requests_in_flight"], 0.0, "the scrape itself is none");
    assert_eq!(all[r#"mp_proxy_token_refreshes_total{outcome="refreshed"}"#], 0.0);
    assert_eq!(all[r#"mp_proxy_quota_limit{project="123",api="query"}"#], 60.0);
    let connections =
        |kind: &str| all[&format!(r#"mp_proxy_upstream_connections_total{{kind="{kind}"}}"#)];
    assert_eq!(connections("opened") + connections("reused"), 4.0);
    assert_eq!(all["mp_proxy_config_generation"], 1.0);
    assert_eq!(all["mp_proxy_ready"], 1.0);
    assert!(all["process_resident_memory_bytes"] > 1e6);
    // A caller who makes up projects does not grow the metrics at will.
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for project in 1..=400 {
        let head = format!(
            "HEAD /api/query/x HTTP/1.1\r\nHost: {}\r\nX-Mp-Project: {project}\r\n\r\n",
            proxy.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
    }
    let all = scrape(&proxy);
    let series: Vec<_> =
        all.iter().filter(|(name, _)| name.starts_with("mp_proxy_requests_total")).collect();
    assert!(series.len() < 300, "{} series", series.len());
    let heads: f64 =
        series.iter().filter(|(name, _)| name.contains("HEAD")).map(|(_, count)| **count).sum();
    assert_eq!(heads, 400.0);
    assert!(series.iter().any(|(name, _)| name.contains(r#"project="other""#)));
}

#[test]
fn a_broken_file_shows_in_metrics_and_log() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &[]);
    assert!(!scrape(&proxy).contains_key("mp_proxy_config_last_failure_timestamp_seconds"));
    home.write(".mp/config.toml", "not toml");
    let all = scrape(&proxy);
    assert_eq!((all["mp_proxy_ready"], all["mp_proxy_config_generation"]), (0.0, 2.0));
    assert!(all["mp_proxy_config_last_failure_timestamp_seconds"] > 1.7e9);
    assert_eq!(logged(&proxy, "the files are broken", 1).len(), 1);
    home.write(".mp/config.toml", CONFIG);
    let all = scrape(&proxy);
    assert_eq!((all["mp_proxy_ready"], all["mp_proxy_config_generation"]), (1.0, 3.0));
}

#[test]
fn one_line_a_request_with_its_id_and_without_values() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &["--log-format", "json"]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let lines = format!("X-Request-Id: my-id.1\r\nTraceparent: {trace}\r\n");
    let answer = proxy.get("/api/query/events/names?limit=s3cr3t-value", &lines);
    assert_eq!(answer.header("x-request-id"), Some("my-id.1"));
    assert_eq!(header(&upstream.last(), "traceparent"), Some(trace));
    assert_eq!(header(&upstream.last(), "x-request-id"), Some("my-id.1"));
    let refused = proxy.get("/nowhere", "X-Request-Id: has space\r\n");
    let made = refused.header("x-request-id").unwrap().to_owned();
    assert!(made.len() == 20 && made.bytes().all(|c| c.is_ascii_hexdigit()), "{made}");
    let found = logged(&proxy, "\"request_id\"", 2);
    let lines: Vec<Value> =
        found.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.len(), 2, "{found:#?}");
    let (forwarded, refused) = (&lines[0], &lines[1]);
    assert_eq!(forwarded["message"], "forwarded");
    assert_eq!(forwarded["path"], "/api/query/events/names");
    assert_eq!(forwarded["status"], 200);
    assert_eq!(forwarded["account"], "team");
    assert_eq!(forwarded["request_id"], "my-id.1");
    assert_eq!(forwarded["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(forwarded["bytes_down"], answer.body.len());
    let ms = |name: &str| forwarded[name].as_f64().unwrap();
    assert!(ms("ms") >= ms("own_ms") + ms("upstream_ms"), "{forwarded}");
    assert_eq!(
        (&refused["code"], &refused["request_id"]),
        (&"ROUTE_NOT_FOUND".into(), &made.into())
    );
    assert!(!fs::read_to_string(&proxy.log).unwrap().contains("s3cr3t"));
}

#[test]
fn text_lines_follow_the_level_and_an_answer_that_breaks_is_said() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &["--log-level", "debug"]);
    proxy.get("/_mp/livez", "");
    proxy.get("/api/query/events/names", "");
    assert!(logged(&proxy, "GET /_mp/livez 200", 1)[0].contains("DEBUG"));
    let line = &logged(&proxy, "GET /api/query/events/names 200", 1)[0];
    assert!(line.contains(" INFO ") && line.contains("as=team/123 caller=local id="), "{line}");
    // The caller goes away in the middle of an export.
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    write!(
        stream,
        "GET /api/2.0/export?rows=100000&pause_ms=20 HTTP/1.1\r\nHost: {}\r\n\r\n",
        proxy.address
    )
    .unwrap();
    BufReader::new(&stream).read_line(&mut String::new()).unwrap();
    drop(stream);
    let cut = logged(&proxy, "/api/2.0/export", 1);
    assert!(cut[0].contains(" WARN ") && cut[0].contains(" cut"), "{cut:?}");
    let quiet = home.serve(&upstream.url(), &["--quiet"]);
    quiet.get("/nowhere", "");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(fs::read_to_string(&quiet.log).unwrap(), "");
}

#[test]
fn the_page_is_strict_and_events_arrive_while_they_happen() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &[]);
    let page = proxy.get("/_mp/", "");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let html = String::from_utf8(page.body).unwrap();
    assert!(!html.contains("http://") && !html.contains("https://"), "an outside resource");
    assert!(!html.contains("style=") && !html.contains("onclick"), "something inline");
    assert_eq!(proxy.get("/_mp", "").status, 308);
    let overview = proxy.get("/_mp/overview", "").json();
    assert_eq!(overview["session"]["account"]["name"], "team");
    assert_eq!(overview["session"]["sources"]["account"], "config:[active]");
    assert_eq!(overview["accounts"].as_array().unwrap().len(), 3);
    assert_eq!(overview["targets"][0]["project"], "77");
    for secret in ["hunter2-secret", "tok-secret"] {
        assert!(!overview.to_string().contains(secret), "{overview}");
    }
    // A web page of another site gets none of it, not even the events.
    for path in ["/_mp/", "/_mp/events", "/_mp/overview", "/_mp/metrics"] {
        assert_eq!(proxy.get(path, "Origin: http://evil.test\r\n").status, 403, "{path}");
        assert_eq!(proxy.get(path, "Sec-Fetch-Site: cross-site\r\n").status, 403, "{path}");
    }
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    write!(stream, "GET /_mp/events HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.address).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut until = |text: &str| {
        lines.by_ref().map(Result::unwrap).find(|line| line.contains(text)).expect("an event")
    };
    until("event: open");
    proxy.get("/api/query/events/names?from_date=s3cr3t&unit=s3cr3t", "");
    let data = until("/api/query/events/names");
    let message: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    let request = &message["requests"][0];
    assert_eq!(request["query"], serde_json::json!(["from_date", "unit"]));
    assert_eq!((&request["status"], &request["project"]), (&200.into(), &"123".into()));
    assert!(!data.contains("s3cr3t"));
}
