//! Feature `otlp`: spans of the real program at a collector of ours.

use crate::{
    support::{CONFIG, Home, Upstream, header},
    tls::{ALWAYS, Certificate, tls_upstream},
};
use mp_proxy::demo::stand_in::StandInService;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
};

#[test]
fn spans_arrive_as_children_of_the_callers_trace() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let home = Home::new(CONFIG).with("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &[]);
    let trace = "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    // Its trace is not sampled.
    proxy.get("/api/query/insights", &trace.replace("-01\r", "-00\r"));
    proxy.get("/api/query/events/names?limit=s3cr3t", trace);
    proxy.get("/nowhere", "");
    let mut spans: Vec<Value> = Vec::new();
    while spans.len() < 2 {
        let (mut stream, _) = collector.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut line) = (String::new(), String::from("first"));
        while line.trim_end() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            head.push_str(&line.to_ascii_lowercase());
        }
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}")
            .unwrap();
        let text = String::from_utf8(body).unwrap();
        for secret in ["s3cr3t", "hunter2"] {
            assert!(!text.contains(secret), "{text}");
        }
        let message: Value = serde_json::from_str(&text).unwrap();
        let scope = &message["resourceSpans"][0]["scopeSpans"][0];
        spans.extend(scope["spans"].as_array().unwrap().iter().cloned());
    }
    let (query, refused) = (&spans[0], &spans[1]);
    assert_eq!(query["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(query["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(query["name"], "GET /api/query");
    let attribute = |span: &Value, key: &str| {
        let all = span["attributes"].as_array().unwrap();
        all.iter().find(|one| one["key"] == key).map(|one| one["value"].clone()).unwrap()
    };
    assert_eq!(attribute(query, "http.response.status_code")["intValue"], "200");
    assert_eq!(attribute(query, "mp_proxy.account")["stringValue"], "team");
    assert_eq!(attribute(refused, "error.type")["stringValue"], "ROUTE_NOT_FOUND");
    let time = |name: &str| query[name].as_str().unwrap().parse::<u128>().unwrap();
    assert!(time("endTimeUnixNano") > time("startTimeUnixNano"));
}

#[test]
fn a_collector_elsewhere_gets_its_key_over_tls_and_the_last_spans_too() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let collector = StandInService::default();
    let certificate = Certificate::new(&["localhost"], ALWAYS);
    let port = tls_upstream(&runtime, collector.clone(), &certificate);
    let home = Home::new(CONFIG);
    home.write("roots.pem", &certificate.pem);
    let roots = home.path("roots.pem");
    let home = home
        .with("SSL_CERT_FILE", roots.to_str().unwrap())
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("https://localhost:{port}/otlp"))
        .with("OTEL_EXPORTER_OTLP_HEADERS", "api-key=collector%2Dkey")
        .with("OTEL_SERVICE_NAME", "reports");
    let upstream = Upstream::start();
    let mut proxy = home.serve(&upstream.url(), &["--log-level", "trace"]);
    proxy.get("/api/query/events/names", "");
    kill_process(Pid::from_child(&proxy.child), Signal::TERM).unwrap();
    assert!(proxy.child.wait().unwrap().success());
    let received = collector.received();
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(received[0].target, "/otlp/v1/traces");
    assert_eq!(header(&received[0], "api-key"), Some("collector-key"));
    assert!(received[0].body_len > 300);
    let log = std::fs::read_to_string(&proxy.log).unwrap();
    assert!(!log.contains("collector-key"), "{log}");
}

#[test]
fn a_key_does_not_leave_in_clear_text() {
    let home = Home::new(CONFIG)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318")
        .with("OTEL_EXPORTER_OTLP_HEADERS", "api-key=collector-key");
    let tried = home.run(&["serve", "--listen", "127.0.0.1:0"]);
    let text = String::from_utf8_lossy(&tried.stderr).into_owned();
    assert_eq!(tried.status.code(), Some(1), "{text}");
    assert!(text.contains("plain http") && text.contains("unset OTEL_EXPORTER"), "{text}");
    assert!(!text.contains("collector-key"), "{text}");
}
