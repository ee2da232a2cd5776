//! Feature `otlp`: spans of the real program at a collector of ours.

use crate::support::{CONFIG, Home, Upstream};
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
