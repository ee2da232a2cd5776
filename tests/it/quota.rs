//! Quotas over real sockets, shared by several proxies and by doubles of the newer `mp`.

use crate::support::{CONFIG, Home, Serving, Upstream};
use mp_proxy::demo::quotas::{Counts, Limits};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn ledger(home: &Home, upstream: &Upstream, family: &str) -> PathBuf {
    let host = upstream.url().trim_start_matches("http://").replace(':', "_");
    home.path(&format!(".mp/pacer/{host}/123-{family}.json"))
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap_or_else(|_| "{}".into())).unwrap()
}

fn entries(path: &Path) -> usize {
    read(path)["sent"].as_array().map_or(0, Vec::len)
}

fn write(home: &Home, path: &Path, sent: &[f64]) {
    let text = json!({"v": 1, "limit": 60, "limit_source": "default", "learned_at": null,
        "blocked_until": null, "blocked_at": null, "blocked_streak": 0, "sent": sent});
    home.write(path.strip_prefix(home.dir.path()).unwrap().to_str().unwrap(), &text.to_string());
}

fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} did not come about");
}

#[test]
fn observing_counts_and_delays_nothing() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let path = ledger(&home, &upstream, "query");
    write(&home, &path, &vec![now() - 10.0; 58]);
    let proxy = home.serve(&upstream.url(), &[]);
    let quota = |answer: &crate::support::Answer| answer.header("x-mp-quota").map(str::to_owned);
    let first = proxy.get("/api/query/insights", "");
    let text = quota(&first).unwrap();
    assert!(text.starts_with("query; limit=60; used=59; remaining=1; next=0; waited=0"), "{text}");
    for _ in 0..9 {
        assert_eq!(proxy.get("/api/query/funnels?x=1", "").status, 200);
    }
    let last = quota(&proxy.get("/api/query/events", "")).unwrap();
    assert!(last.starts_with("query; limit=60; used=69; remaining=0; next=3"), "{last}");
    assert!(last.ends_with("waited=0.000"), "{last}");
    // Not counted: other routes, further pages, and what the server refuses.
    assert_eq!(quota(&proxy.get("/api/app/me", "")), None);
    assert_eq!(quota(&proxy.get("/api/query/engage?session_id=x", "")), None);
    until("the ledger", || entries(&path) == 69);
    upstream.stand_in.as_ref().unwrap().quotas().enforce(Limits {
        limit: 1,
        window: Duration::from_secs(3600),
        at_once: 5,
    });
    assert_eq!(proxy.get("/api/query/insights", "").status, 200);
    let refused = proxy.get("/api/query/insights", "");
    assert_eq!(refused.status, 429);
    assert!(refused.header("proxy-status").is_none(), "Mixpanel's own answer passes untouched");
    assert!(quota(&refused).unwrap().starts_with("query; limit=1;"), "the server named its limit");
    until("the ledger", || entries(&path) == 70 && read(&path)["limit_source"] == "server");
    assert_eq!(read(&path)["limit"], 1);
    let lock = path.with_file_name("123-query.json.lock");
    for file in [&path, &lock] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(
        proxy.get("/api/2.0/export", "").header("x-mp-quota").unwrap(),
        "export; limit=60; used=1; remaining=59; next=0; waited=0.000"
    );
}

#[test]
fn a_wait_that_is_too_long_is_refused_and_nothing_is_sent() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let path = ledger(&home, &upstream, "query");
    write(&home, &path, &vec![now() - 600.0; 60]);
    let proxy = home.serve(&upstream.url(), &["--pace", "queue"]);
    let answer = proxy.get("/api/query/insights", "");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert_eq!((answer.status, answer.json()["code"].as_str()), (429, Some("RATE_LIMITED")));
    assert!((3000..=3010).contains(&wait), "{wait}");
    assert!(answer.header("proxy-status").is_some() && answer.json()["retryable"] == true);
    assert!(upstream.received().is_empty());
    assert_eq!(entries(&path), 60, "a refused request took a slot");
    assert_eq!(proxy.get("/api/app/me", "").status, 200);
    assert_eq!(proxy.get("/api/query/insights?project_id=7", "").status, 200);
    let off = home.serve(&upstream.url(), &["--pace", "off"]);
    assert!(off.get("/api/query/insights", "").header("x-mp-quota").is_none());
    let knob = Home::new(CONFIG).with("MP_PACER", "off");
    let off = knob.serve(&upstream.url(), &[]);
    assert!(off.get("/api/query/insights", "").header("x-mp-quota").is_none());
}

#[test]
fn a_queued_request_is_sent_when_its_slot_comes() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let path = ledger(&home, &upstream, "query");
    let full = now() - 3608.5;
    write(&home, &path, &vec![full; 60]);
    let proxy = home.serve(&upstream.url(), &["--pace", "queue"]);
    let answer = proxy.get("/api/query/insights", "");
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert!(now() >= full + 3610.0, "it went out before its slot");
    let waited = answer.header("x-mp-quota").unwrap().rsplit_once("waited=").unwrap().1.to_owned();
    assert!(waited.parse::<f64>().unwrap() > 0.0, "{waited}");
    // The slot is given back when nobody is there to be asked. Those of an hour ago are pruned
    // sooner or later.
    let recent = || {
        let ledger = read(&path);
        let sent = ledger["sent"].as_array().into_iter().flatten();
        sent.filter(|at| at.as_f64().unwrap() > full + 60.0).count()
    };
    assert_eq!(recent(), 1);
    drop(upstream);
    assert_eq!(proxy.get("/api/query/insights", "").status, 502);
    until("the slot", || recent() == 1);
}

#[test]
fn a_ledger_that_cannot_be_used_stops_nothing() {
    for spoil in ["file", "garbage", "link"] {
        let home = Home::new(CONFIG);
        let upstream = Upstream::start();
        let path = ledger(&home, &upstream, "query");
        match spoil {
            "file" => home.write(".mp/pacer", "not a directory"),
            "garbage" => home.write(
                path.strip_prefix(home.dir.path()).unwrap().to_str().unwrap(),
                "{\"v\": 1, \"sent\": 7}",
            ),
            _ => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::os::unix::fs::symlink("/nowhere", path.with_file_name("123-query.json.lock"))
                    .unwrap();
            }
        }
        for mode in ["observe", "queue"] {
            let proxy = home.serve(&upstream.url(), &["--pace", mode]);
            for _ in 0..3 {
                let answer = proxy.get("/api/query/insights", "");
                assert_eq!(answer.status, 200, "{spoil} {mode}");
                assert!(answer.header("x-mp-quota").unwrap().starts_with("query; limit=60"));
            }
        }
        assert!(!Path::new("/nowhere").exists());
    }
}

/// The lock that `mp` takes, held by somebody who does not let go.
#[test]
fn observing_waits_for_no_lock_and_no_budget() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let path = ledger(&home, &upstream, "query");
    write(&home, &path, &vec![now() - 10.0; 60]);
    let blocked = json!({"v": 1, "limit": 60, "limit_source": "server", "learned_at": now(),
        "blocked_until": now() + 3000.0, "blocked_at": now(), "blocked_streak": 3, "sent": vec![now(); 60]});
    fs::write(&path, blocked.to_string()).unwrap();
    let lock = path.with_file_name("123-query.json.lock");
    let holder = Command::new("python3")
        .args(["-c", "import fcntl,os,sys,time; f=os.open(sys.argv[1],os.O_RDWR|os.O_CREAT,0o600); fcntl.flock(f,fcntl.LOCK_EX); print(flush=True); time.sleep(600)"])
        .arg(&lock)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut holder = Killed(holder);
    let mut line = [0];
    use std::io::Read as _;
    holder.0.stdout.take().unwrap().read_exact(&mut line).unwrap();
    let proxy = home.serve(&upstream.url(), &["--audit-file", "a"]);
    for _ in 0..40 {
        let answer = proxy.get("/api/query/insights", "");
        assert_eq!(answer.status, 200);
        assert!(answer.header("x-mp-quota").unwrap().contains("remaining=0"), "{}", answer.head);
    }
    assert_eq!(upstream.received().len(), 40);
    // What the proxy measured itself, around the step that counts.
    until("the trail", || {
        fs::read_to_string(home.path("a")).is_ok_and(|text| text.lines().count() > 40)
    });
    let text = fs::read_to_string(home.path("a")).unwrap();
    let waited: u64 = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["waited_ms"].as_u64())
        .sum();
    // A look at the file now and then; a lock that is waited for takes a second each time.
    assert!(waited < 1000, "{waited} ms");
    assert_eq!(entries(&path), 60, "it was written without the lock");
    // In queue mode too the lock stops nothing, and there is nobody else's budget to be had.
    let queue = home.serve(&upstream.url(), &["--pace", "queue"]);
    let answer = queue.get("/api/query/insights", "");
    assert_eq!(answer.json()["code"], "RATE_LIMITED");
    assert_eq!(queue.get("/api/query/insights?project_id=7", "").status, 200);
    drop(holder);
    until("what was observed is written in the end", || entries(&path) == 100);
}

/// Where nothing can be made at all, not even by root.
#[test]
fn a_storage_root_that_cannot_be_written_stops_nothing() {
    let home = Home::new(CONFIG).with("MP_STORAGE_DIR", "/proc/nowhere");
    let upstream = Upstream::start();
    for mode in ["observe", "queue"] {
        let proxy = home.serve(&upstream.url(), &["--pace", mode]);
        for used in 1..4 {
            let answer = proxy.get("/api/query/insights", "");
            assert_eq!(answer.status, 200, "{mode}");
            let quota = answer.header("x-mp-quota").unwrap();
            assert!(quota.starts_with(&format!("query; limit=60; used={used};")), "{mode} {quota}");
        }
    }
}

/// What we write, read by somebody who takes the description of the file at its word.
#[test]
fn the_ledger_is_the_one_that_was_described() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let path = ledger(&home, &upstream, "query");
    let proxy = home.serve(&upstream.url(), &["--pace", "queue"]);
    for _ in 0..3 {
        assert_eq!(proxy.get("/api/query/insights", "").status, 200);
    }
    upstream.stand_in.as_ref().unwrap().quotas().enforce(Limits {
        limit: 1,
        window: Duration::from_secs(3600),
        at_once: 5,
    });
    assert_eq!(proxy.get("/api/query/insights", "").status, 200);
    until("the lesson", || read(&path)["limit_source"] == "server");
    let script = r#"
import json, sys, time
data = json.load(open(sys.argv[1]))
assert list(data) == ["v", "limit", "limit_source", "learned_at", "blocked_until", "blocked_at", "blocked_streak", "sent"], list(data)
assert type(data["v"]) is int and data["v"] == 1
assert type(data["limit"]) is int and type(data["blocked_streak"]) is int
assert data["limit_source"] in ("default", "configured", "server")
for name in ("learned_at", "blocked_until", "blocked_at"):
    assert data[name] is None or type(data[name]) is float, name
assert all(type(at) is float and abs(at - time.time()) < 60 for at in data["sent"]), data
assert data["sent"] == sorted(data["sent"]) and len(data["sent"]) == 4, data
assert json.loads(json.dumps(data)) == data
"#;
    let output = Command::new("python3").args(["-c", script]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // And what a newer program adds stays.
    let mut more = read(&path);
    more["of_a_newer_one"] = json!({"a": 1});
    fs::write(&path, more.to_string()).unwrap();
    let refused = proxy.get("/api/query/insights", "");
    assert_eq!(refused.status, 429, "the server's limit of one holds");
    assert!(refused.header("proxy-status").is_some() && upstream.received().len() == 4);
    let raised = home.serve(&upstream.url(), &["--pace", "observe"]);
    raised.get("/api/query/insights", "");
    until("the entry", || read(&path)["blocked_streak"].is_u64());
    assert_eq!(read(&path)["of_a_newer_one"], json!({"a": 1}));
}

#[test]
fn five_at_once_over_all_processes() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let quotas = upstream.stand_in.as_ref().unwrap().quotas();
    quotas.enforce(Limits { limit: 1000, window: Duration::from_secs(3600), at_once: 5 });
    let args = ["--pace", "queue", "--pace-query-limit", "1000"];
    let proxies: Vec<Serving> = (0..3).map(|_| home.serve(&upstream.url(), &args)).collect();
    thread::scope(|scope| {
        for proxy in &proxies {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..2 {
                        let answer = proxy.get("/api/query/insights?delay_ms=150", "");
                        assert_eq!(answer.status, 200, "{}", answer.head);
                    }
                });
            }
        }
    });
    let counts = quotas.counts();
    assert_eq!((counts.accepted, counts.crowded), (36, 0));
    assert!(quotas.busiest() >= 2, "they went one by one");
}

#[test]
fn the_command_shows_what_is_left_and_who_used_it() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let empty = home.run(&["quota"]);
    assert!(empty.status.success() && String::from_utf8_lossy(&empty.stdout).contains("untouched"));
    let path = ledger(&home, &upstream, "query");
    write(&home, &path, &vec![now() - 100.0; 57]);
    let proxy = home.serve(&upstream.url(), &[]);
    for _ in 0..3 {
        assert_eq!(proxy.get("/api/query/insights", "").status, 200);
    }
    assert_eq!(proxy.get("/api/2.0/export", "X-Mp-Project: 7\r\n").status, 200);
    until("the ledgers", || {
        entries(&path) == 60 && entries(&path.with_file_name("7-export.json")) == 1
    });
    let rows = |args: &[&str]| -> Value {
        let output = home.run(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let all = rows(&["quota", "--format", "json"]);
    let query = &all[0];
    assert_eq!((&query["project"], &query["family"]), (&json!("123"), &json!("query")));
    assert_eq!(
        (&query["used"], &query["remaining"], &query["limit"]),
        (&json!(60), &json!(0), &json!(60))
    );
    let next = query["next_seconds"].as_u64().unwrap();
    assert!((3480..=3510).contains(&next), "{next}");
    assert_eq!(query["used_by"], json!(["mp or another program: 57", "local as team: 3"]));
    assert_eq!(
        (&all[1]["project"], &all[1]["family"], &all[1]["remaining"]),
        (&json!("7"), &json!("export"), &json!(59))
    );
    assert_eq!(rows(&["quota", "-p", "7", "--json"]).as_array().unwrap().len(), 1);
    let more = rows(&["quota", "--json", "--pace-query-limit", "100"]);
    assert_eq!((&more[0]["remaining"], &more[0]["next_seconds"]), (&json!(40), &json!(0)));
    let table = String::from_utf8(home.run(&["quota"]).stdout).unwrap();
    assert!(table.contains("PROJECT") && table.contains("local as team: 3"), "{table}");
}

#[test]
fn the_command_asks_the_proxy_that_runs() {
    let home = Home::new(CONFIG).with("MP_PROXY_TOKEN", "callers-token-of-32-letters-here");
    let upstream = Upstream::start();
    let path = ledger(&home, &upstream, "query");
    // The next slot is 20 s away, and the one after it 21 s.
    let sent: Vec<f64> = (0..60).map(|place| now() - 3590.0 + f64::from(place)).collect();
    write(&home, &path, &sent);
    home.write("token", "callers-token-of-32-letters-here\n");
    let args = ["--pace", "queue", "--client-token-file", "token"];
    let proxy = home.serve(&upstream.url(), &args);
    let listen = proxy.address.to_string();
    let ask = |more: &[&str]| {
        let output = home.run(&[&["quota", "--listen", &listen][..], more].concat());
        assert!(output.status.success());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&output.stdout), text(&output.stderr))
    };
    let rows = || -> Value { serde_json::from_str(&ask(&["--json"]).0).unwrap() };
    // It was asked for nothing yet: the ledger is all there is.
    assert_eq!((&rows()[0]["source"], &rows()[0]["waiting"]), (&json!("ledger"), &Value::Null));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut stream = std::net::TcpStream::connect(proxy.address).unwrap();
            use std::io::Write as _;
            write!(stream, "GET /api/query/insights HTTP/1.1\r\nHost: {listen}\r\nX-Mp-Proxy-Token: callers-token-of-32-letters-here\r\n\r\n").unwrap();
            stream
        });
        let stream = waiting.join().unwrap();
        until("one that waits", || rows()[0]["waiting"] == 1);
        let row = &rows()[0];
        assert_eq!(row["source"], "proxy");
        // Its own slot is taken: the next one is that of the request after it.
        assert_eq!((&row["used"], &row["remaining"]), (&json!(61), &json!(0)));
        let next = row["next_seconds"].as_u64().unwrap();
        assert!((15..=21).contains(&next), "{row}");
        let (table, note) = ask(&[]);
        assert!(table.contains("WAITING") && table.contains("default as team: 1"), "{table}");
        assert!(note.contains(&listen) && !note.contains("no mp-proxy"), "{note}");
        // What another program writes counts at once.
        write(&home, &path, &[]);
        assert_eq!(rows()[0]["used"], 0);
        drop(stream);
        until("nobody that waits", || rows()[0]["waiting"] == 0);
    });
    let stranger = Home::new(CONFIG);
    let output = stranger.run(&["quota", "--listen", &listen]);
    let note = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && note.contains("401") && note.contains("MP_PROXY_TOKEN"),
        "{note}"
    );
    drop(proxy);
    let (table, note) = ask(&[]);
    assert!(note.contains("no mp-proxy answers") && table.contains("123"), "{note} {table}");
}

/// What answers teach, in queue mode: the limit and the block of the forms that the draft had, and
/// `Retry-After` where nothing else is said.
#[test]
fn answers_teach_the_limit_and_the_pause() {
    use crate::proxy::canned;
    let quota = |answer: &crate::support::Answer| answer.header("x-mp-quota").unwrap().to_owned();
    for (bytes, expected) in [
        (&b"HTTP/1.1 429 X\r\nRateLimit-Policy: \"project\";q=2;w=3600\r\nRateLimit: \"project\";r=0;t=900\r\nContent-Length: 0\r\n\r\n"[..], (2, 1800)),
        (b"HTTP/1.1 429 X\r\nRateLimit-Policy: \"project\";q=2;w=3600\r\nRateLimit: \"project\";r=0\r\nRetry-After: 2400\r\nContent-Length: 0\r\n\r\n", (2, 2400)),
        (b"HTTP/1.1 429 X\r\nRateLimit-Policy: 3;w=1, 30;w=3600\r\nRateLimit: limit=30, remaining=0, reset=700\r\nContent-Length: 0\r\n\r\n", (30, 700)),
        (b"HTTP/1.1 429 X\r\nRateLimit-Limit: 30, 30;w=3600\r\nRateLimit-Remaining: 0\r\nRateLimit-Reset: 600\r\nContent-Length: 0\r\n\r\n", (30, 600)),
        (b"HTTP/1.1 429 X\r\nRateLimit-Policy: \"project\";q=3;w=1\r\nRetry-After: 77\r\nContent-Length: 0\r\n\r\n", (60, 77)),
        (b"HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n", (60, 1)),
    ] {
        let home = Home::new(CONFIG);
        let proxy = home.serve(&canned(bytes), &["--pace", "queue", "--pace-max-wait", "0"]);
        let first = proxy.get("/api/query/insights", "");
        let (limit, pause) = expected;
        assert!(first.status == 429 && first.header("proxy-status").is_none(), "{}", first.head);
        let text = quota(&first);
        assert!(text.starts_with(&format!("query; limit={limit}; used=0;")), "{expected:?}: {text}");
        assert!(text.contains(&format!("next={pause};")), "{expected:?}: {text}");
        // Whoever comes now is not sent, and told the truth.
        let second = proxy.get("/api/query/insights", "");
        assert_eq!(second.json()["code"], "RATE_LIMITED", "{expected:?}");
        let wait: u64 = second.header("retry-after").unwrap().parse().unwrap();
        assert!((pause - pause.min(20)..=pause.max(1)).contains(&wait), "{expected:?}: {wait}");
    }
}

/// The newest `mp` on PyPI keeps no ledger yet: what it is spared is spared by the proxy.
#[test]
fn the_real_client_waits_for_its_slot_behind_two_proxies() {
    let venv = crate::reference::environment();
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let quotas = upstream.stand_in.as_ref().unwrap().quotas();
    quotas.enforce(Limits { limit: 2, window: Duration::from_secs(6), at_once: 5 });
    let args = ["--pace", "queue", "--pace-window", "6", "--pace-query-limit", "2"];
    let proxies: Vec<Serving> = (0..2).map(|_| home.serve(&upstream.url(), &args)).collect();
    thread::scope(|scope| {
        for number in 0..4 {
            let (proxy, mp, home) = (&proxies[number % 2], venv.join("bin/mp"), &home);
            scope.spawn(move || {
                let output = Command::new(mp)
                    .args(["inspect", "events"])
                    .env_clear()
                    .env("HOME", home.dir.path())
                    .env("MP_API_BASE_URL", format!("http://{}", proxy.address))
                    .env("NO_COLOR", "1")
                    .current_dir(home.dir.path())
                    .output()
                    .unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success() && text.contains("Signup"), "{text}{wrong}");
            });
        }
    });
    assert_eq!(quotas.counts(), Counts { accepted: 4, full: 0, crowded: 0 });
    // One that cannot wait so long is told when to come again, and says so as for Mixpanel's own.
    let args = ["--pace", "queue", "--pace-max-wait", "0", "--pace-query-limit", "2"];
    let strict = home.serve(&upstream.url(), &args);
    let answer = strict.get("/api/query/events/names", "");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(answer.status == 429 && (3000..=3610).contains(&wait), "{}", answer.head);
    assert_eq!(quotas.counts().accepted, 4, "it was sent");
}

/// Kills and reaps what a test started.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `MP_PROXY_TEST_QUOTA=WINDOW,WINDOWS` (seconds, count) gives the size; `60,4` is the full one.
fn size() -> (u32, u32) {
    let text = std::env::var("MP_PROXY_TEST_QUOTA").unwrap_or_else(|_| "6,1".to_owned());
    let (window, windows) = text.split_once(',').expect("WINDOW,WINDOWS");
    (window.parse().unwrap(), windows.parse().unwrap())
}

#[test]
fn eight_processes_keep_to_one_budget() {
    let (window, windows) = size();
    let limit = 60;
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let quotas = upstream.stand_in.as_ref().unwrap().quotas();
    quotas.enforce(Limits { limit, window: Duration::from_secs(window.into()), at_once: 5 });
    // Queries of five seconds, in time that is sped up as the window is.
    let target = format!("/api/query/insights?delay_ms={}", window * 5000 / 3600);
    let seconds = window.to_string();
    let args = ["--pace", "queue", "--pace-max-wait", "600", "--pace-window", &seconds];
    let proxies: Vec<Serving> = (0..4).map(|_| home.serve(&upstream.url(), &args)).collect();
    let path = ledger(&home, &upstream, "query");
    let double = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/ledger_double.py");
    let margin = (f64::from(window) / 360.0).clamp(0.5, 10.0).to_string();
    let doubles: Vec<Killed> = (0..4)
        .map(|_| {
            let child = Command::new("python3")
                .arg(&double)
                .arg(format!("{}{target}&project_id=123", upstream.url()))
                .arg(&path)
                .args([&limit.to_string(), &seconds, &margin, "600", "100000"])
                .env_clear()
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            Killed(child)
        })
        .collect();
    until("the first request", || quotas.counts().accepted > 0);
    // It ends half a window after the last turn of one, whatever was sent by then. In that time the
    // best of all senders, who needs no time for a request, sends one lot at once and another one at
    // each turn, and no sender more.
    let took =
        Duration::from_secs(window.into()) * windows + Duration::from_secs(window.into()) / 2;
    let allowed = limit * (windows as usize + 1);
    let (enough, ours) = (AtomicBool::new(false), AtomicUsize::new(0));
    let began = Instant::now();
    let (counts, by_window) = thread::scope(|scope| {
        for proxy in &proxies {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !enough.load(Ordering::Relaxed) {
                        let mut stream = std::net::TcpStream::connect(proxy.address).unwrap();
                        use std::io::{Read as _, Write as _};
                        write!(
                            stream,
                            "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                            proxy.address
                        )
                        .unwrap();
                        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                        let mut answer = Vec::new();
                        // While it waits for its slot the test may be over.
                        while !enough.load(Ordering::Relaxed) {
                            let mut some = [0; 4096];
                            match stream.read(&mut some) {
                                Ok(0) => break,
                                Ok(count) => answer.extend_from_slice(&some[..count]),
                                Err(_) => {}
                            }
                        }
                        if !answer.is_empty() {
                            assert!(
                                answer.starts_with(b"HTTP/1.1 200"),
                                "{}",
                                String::from_utf8_lossy(&answer)
                            );
                            ours.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        }
        let mut by_window = Vec::new();
        while began.elapsed() < took {
            thread::sleep(Duration::from_millis(10));
            if began.elapsed().as_secs() / u64::from(window) > by_window.len() as u64 {
                by_window.push(quotas.counts().accepted);
            }
        }
        let outcome = (quotas.counts(), by_window);
        enough.store(true, Ordering::Relaxed);
        outcome
    });
    drop(doubles);
    let share = counts.accepted as f64 / allowed as f64;
    println!(
        "{} requests in {} s, {} of them through the proxies; the budget allows {allowed}: {:.1} %; at the end of each window: {by_window:?}",
        counts.accepted,
        took.as_secs_f64(),
        ours.load(Ordering::Relaxed),
        100.0 * share
    );
    assert_eq!(
        counts,
        Counts { accepted: counts.accepted, full: 0, crowded: 0 },
        "the stand-in answered 429"
    );
    assert!(ours.load(Ordering::Relaxed) > 0);
    if window >= 60 {
        assert!(share >= 0.95, "less than the budget allows");
    }
}
