//! What a line shows and what it never shows.

use super::{
    super::{
        seen::{Times, Whom},
        trace_context::TraceContext,
    },
    *,
};
use http::{Method, StatusCode};

fn seen<'a>() -> Seen<'a> {
    Seen {
        method: &Method::GET,
        path: "/api/query/a\"b\\",
        query: Some("from=s3cr3t&to=x&s3cr3t-alone"),
        route: "/api/query",
        status: StatusCode::OK,
        answered_by: AnsweredBy::Upstream,
        whom: Some(Whom { account: "team", project: "123", workspace: Some(7) }),
        caller: "local",
        request_id: "abc",
        trace: Some(TraceContext { trace_id: 10, parent_id: 1, flags: 1 }),
        times: Times {
            own: Duration::from_micros(81),
            upstream: Duration::from_micros(12_345),
            total: Duration::from_millis(1_013),
            paced: Duration::ZERO,
        },
        bytes_up: 0,
        bytes_down: 1_234_567,
        end: End::Whole,
    }
}

#[test]
fn text_is_one_line_without_query_values() {
    let mut out = Vec::new();
    text(&mut out, &seen(), "T", Colour::None);
    let line = String::from_utf8(out).unwrap();
    assert_eq!(
        line,
        "T  INFO GET /api/query/a\\\"b\\\\ 200 1013.000ms own=0.081ms upstream=12.345ms up=0 \
         down=1234567 as=team/123/7 caller=local id=abc trace=0000000000000000000000000000000a\n"
    );
}

#[test]
fn json_parses_and_shows_names_of_parameters_only_on_demand() {
    for queries in [Queries::Hidden, Queries::Names] {
        let refused = Seen {
            path: "/x\u{80}\n",
            answered_by: AnsweredBy::Refusal { code: "GUARD_HOST", detail: "`Host` is \"x\"\n" },
            status: StatusCode::FORBIDDEN,
            whom: None,
            ..seen()
        };
        for seen in [seen(), refused] {
            let mut out = Vec::new();
            json(&mut out, &seen, "T", queries);
            assert!(!out.contains(&b'\n'));
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(value["path"], seen.path);
            assert_eq!(value["upstream_ms"], 12.345);
            assert!(!value.to_string().contains("s3cr3t"));
            match queries {
                Queries::Hidden => assert!(value.get("query").is_none()),
                Queries::Names => assert_eq!(value["query"], serde_json::json!(["from", "to"])),
            }
        }
    }
}

#[test]
fn levels_follow_whose_answer_it_was() {
    let own = Seen { answered_by: AnsweredBy::Endpoint, route: "/_mp", ..seen() };
    assert_eq!(level(&seen()), Level::Info);
    assert_eq!(level(&own), Level::Debug);
    assert_eq!(level(&Seen { end: End::Cut, ..own }), Level::Debug);
    assert_eq!(level(&Seen { end: End::Cut, ..seen() }), Level::Warn);
}
