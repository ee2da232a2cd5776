//! Reads that share an answer: in flight (`--coalesce`) and for a while (`--cache-ttl`).

use crate::support::{Answer, CONFIG, Home, Serving, Upstream};
use std::thread;

fn start(args: &[&str]) -> (Home, Upstream, Serving) {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let serving = home.serve(&upstream.url(), args);
    (home, upstream, serving)
}

fn said(answer: &Answer) -> Option<&str> {
    assert_eq!(answer.status, 200, "{}", answer.head);
    answer.header("x-mp-cache")
}

/// The answers to equal requests that are sent at once.
fn together(proxy: &Serving, count: usize, target: &str, lines: &str) -> Vec<Answer> {
    thread::scope(|scope| {
        let all: Vec<_> = (0..count).map(|_| scope.spawn(|| proxy.get(target, lines))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn count(answers: &[Answer], word: &str) -> usize {
    answers.iter().filter(|answer| said(answer) == Some(word)).count()
}

#[test]
fn equal_reads_in_flight_share_one_call() {
    let (_home, upstream, proxy) = start(&["--coalesce"]);
    let answers = together(&proxy, 8, "/api/query/segmentation?delay_ms=600", "");
    assert_eq!((count(&answers, "miss"), count(&answers, "coalesced")), (1, 7));
    assert_eq!(upstream.received().len(), 1);
    for answer in &answers {
        assert_eq!(answer.json()["data"]["values"]["Login"]["2026-01-01"], 7);
        assert_eq!(answer.header("x-mp-resolved"), Some("account=team; project=123; region=eu"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let counted = answers.iter().filter(|answer| answer.header("x-mp-quota").is_some()).count();
    assert_eq!(counted, 1, "one call was counted");
    // One after the other is not at the same time.
    assert_eq!(said(&proxy.get("/api/query/segmentation", "")), Some("miss"));
    assert_eq!(said(&proxy.get("/api/query/segmentation", "")), Some("miss"));
    assert_eq!(upstream.received().len(), 3);
}

#[test]
fn another_session_or_form_is_another_read_and_writes_are_alone() {
    let (_home, upstream, proxy) = start(&["--coalesce"]);
    thread::scope(|scope| {
        for lines in [
            "",
            "X-Mp-Target: ecom\r\n",
            "X-Mp-Project: 4\r\n",
            "Accept: a/b\r\n",
            "Accept-Encoding: gzip\r\n",
        ] {
            let proxy = &proxy;
            scope.spawn(move || {
                let answer = proxy.get("/api/query/segmentation?delay_ms=400", lines);
                assert_eq!(said(&answer), Some("miss"), "{lines}");
            });
        }
    });
    assert_eq!(upstream.received().len(), 5);
    for lines in ["Cache-Control: no-cache\r\n", "Range: bytes=0-1\r\n", "If-None-Match: \"x\"\r\n"]
    {
        let answers = together(&proxy, 2, "/api/query/segmentation?delay_ms=200", lines);
        assert_eq!(count(&answers, "bypass"), 2, "{lines}");
    }
    let answers = together(&proxy, 2, "/api/2.0/export?delay_ms=200", "");
    assert!(answers.iter().all(|answer| said(answer).is_none()), "an export is never held");
    let host = proxy.address;
    let write = format!(
        "POST /api/app/projects/123/annotations?delay_ms=200 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let before = upstream.received().len();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(said(&proxy.raw(write.as_bytes())), None));
        }
    });
    assert_eq!(upstream.received().len(), before + 2);
}

#[test]
fn what_may_not_be_shared_is_fetched_by_each() {
    let (_home, upstream, proxy) = start(&["--coalesce", "--cache-ttl", "60"]);
    for field in ["cache_control=no-store", "vary=*", "vary=User-Agent"] {
        let target = format!("/api/app/projects/123/annotations?delay_ms=200&{field}");
        let before = upstream.received().len();
        let answers = together(&proxy, 3, &target, "");
        assert_eq!(count(&answers, "bypass"), 3, "{field}");
        assert_eq!(upstream.received().len(), before + 3, "{field}");
    }
}

#[test]
fn a_refusal_or_a_leader_that_hangs_up_leaves_nobody_waiting() {
    use std::io::Write as _;
    let (_home, upstream, proxy) = start(&["--coalesce"]);
    let mut leader = std::net::TcpStream::connect(proxy.address).unwrap();
    write!(
        leader,
        "GET /api/query/segmentation?delay_ms=1500 HTTP/1.1\r\nHost: {}\r\n\r\n",
        proxy.address
    )
    .unwrap();
    for _ in 0..100 {
        if !upstream.received().is_empty() {
            break;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    thread::scope(|scope| {
        let follower = scope.spawn(|| proxy.get("/api/query/segmentation?delay_ms=1500", ""));
        thread::sleep(std::time::Duration::from_millis(200));
        drop(leader);
        assert_eq!(said(&follower.join().unwrap()), Some("miss"));
    });
    drop(upstream);
    let answers = together(&proxy, 4, "/api/query/segmentation", "");
    assert!(answers.iter().all(|answer| answer.status == 502));
}

#[test]
fn metadata_is_kept_for_the_credential_that_read_it() {
    let (_home, upstream, proxy) = start(&["--cache-ttl", "60"]);
    let names = "/api/query/events/names";
    assert_eq!(said(&proxy.get(names, "")), Some("miss"));
    let hit = proxy.get(names, "");
    assert_eq!((said(&hit), hit.header("age")), (Some("hit"), Some("0")));
    assert_eq!(hit.json()[1], "Signup");
    assert!(hit.header("x-mp-quota").is_none() && hit.header("x-mp-resolved").is_some());
    assert_eq!(upstream.received().len(), 1);
    for lines in ["X-Mp-Target: ecom\r\n", "X-Mp-Project: 7\r\n", "Accept: text/csv\r\n"] {
        assert_eq!(said(&proxy.get(names, lines)), Some("miss"), "{lines}");
    }
    assert_eq!(said(&proxy.get(names, "Cache-Control: no-cache\r\n")), Some("bypass"));
    assert_eq!(said(&proxy.get("/api/query/segmentation", "")), None, "results are not metadata");
    assert_eq!(said(&proxy.get("/api/app/me?cache_control=no-cache", "")), Some("miss"));
    assert_eq!(said(&proxy.get("/api/app/me?cache_control=no-cache", "")), Some("miss"));
    assert_eq!(said(&proxy.get("/api/app/me?cache_control=max-age=1", "")), Some("miss"));
    assert_eq!(said(&proxy.get("/api/app/me?cache_control=max-age=1", "")), Some("hit"));
    thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(said(&proxy.get("/api/app/me?cache_control=max-age=1", "")), Some("miss"));
    // A write may change what was read.
    assert_eq!(said(&proxy.get(names, "")), Some("hit"));
    let host = proxy.address;
    proxy.raw(format!("POST /api/app/projects/123/annotations HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").as_bytes());
    assert_eq!(said(&proxy.get(names, "")), Some("miss"));
    let (_home, _upstream, off) = start(&[]);
    assert_eq!(said(&off.get(names, "")), None);
}

#[test]
fn heads_errors_and_large_answers_are_not_kept() {
    let (_home, upstream, proxy) = start(&["--cache-ttl", "60", "--coalesce"]);
    let host = proxy.address;
    let names = "/api/query/events/names";
    let head = format!("HEAD {names} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for _ in 0..2 {
        let answer = proxy.raw(head.as_bytes());
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    }
    assert_eq!(upstream.received().len(), 2);
    // A HEAD before it leaves no empty body for a GET, nor does a GET answer a HEAD.
    let first = proxy.get(names, "");
    assert_eq!((said(&first), first.json()[1].as_str()), (Some("miss"), Some("Signup")));
    assert_eq!(proxy.raw(head.as_bytes()).header("x-mp-cache"), None);
    assert_eq!(said(&proxy.get(names, "")), Some("hit"));
    assert_eq!(said(&proxy.get(names, "Range: bytes=0-1\r\n")), Some("bypass"));
    // What is counted is counted once for all who share it, and not at all for what is kept.
    let counted = |answer: &Answer| answer.header("x-mp-quota").is_some();
    assert!(counted(&first) && !counted(&proxy.get(names, "")));
    // Refused by the server: each asks again.
    upstream.stand_in.as_ref().unwrap().quotas().enforce(mp_proxy::demo::quotas::Limits {
        limit: 0,
        window: std::time::Duration::from_secs(60),
        at_once: 5,
    });
    let before = upstream.received().len();
    for _ in 0..2 {
        let answer = proxy.get("/api/query/events/top?x=1", "");
        assert_eq!((answer.status, answer.header("x-mp-cache")), (429, Some("miss")));
    }
    assert_eq!(upstream.received().len(), before + 2);
}

#[test]
fn an_answer_over_the_bound_goes_to_each_for_himself() {
    let (_home, upstream, proxy) = start(&["--cache-ttl", "60", "--coalesce"]);
    let text = format!("[\"{}\"]", "x".repeat(1024 * 1024 + 1));
    let length = text.len();
    let body = serde_json::from_str::<serde_json::Value>(&text).unwrap();
    upstream.stand_in.as_ref().unwrap().oauth().set(|switches| switches.me_body = Some(body));
    for lines in ["", "", "X-Mp-Target: ecom\r\n"] {
        let answer = proxy.get("/api/app/me", lines);
        assert_eq!((said(&answer), answer.body.len()), (Some("bypass"), length), "{lines}");
    }
    assert_eq!(upstream.received().len(), 3);
}
