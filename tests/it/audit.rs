//! The audit trail on real files: what is on it, what never is, rotation, a full disk.

use crate::support::{CONFIG, Home, Serving, Upstream};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// The lines of a trail once there are at least so many.
fn lines(path: &Path, least: usize) -> Vec<Value> {
    for _ in 0..100 {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.lines().count() >= least && text.ends_with('\n') {
            return text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{} lines did not come about: {}", least, fs::read_to_string(path).unwrap_or_default());
}

fn requests(all: &[Value]) -> Vec<&Value> {
    all.iter().filter(|line| line["event"] == "request").collect()
}

#[test]
fn one_line_for_each_request_and_no_secret_on_any() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let trail = home.path("audit.ndjson");
    let args = [
        "--audit-file",
        "audit.ndjson",
        "--deny-project",
        "666",
        "--cache-ttl",
        "60",
        "--log-level",
        "trace",
    ];
    let proxy = home.serve(&upstream.url(), &args);
    let secret = "Authorization: Bearer callers-own-secret\r\nX-Request-Id: id-7\r\n";
    proxy.get("/api/query/insights?where=private-value&project_id=7", secret);
    proxy.get("/api/query/insights", "X-Mp-Target: ecom\r\n");
    proxy.get(
        "/api/query/insights?project_id=666&where=private-value",
        "Cookie: c=cookie-secret\r\n",
    );
    proxy.get("/report/1?q=private-value", "");
    proxy.get("/api/query/events/names", "");
    proxy.get("/api/query/events/names", "");
    let host = proxy.address;
    proxy.raw(format!("POST /import HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 13\r\n\r\nprivate-value").as_bytes());
    proxy.get("/_mp/session", "");
    let all = lines(&trail, 9);
    let seen = requests(&all);
    assert_eq!(seen.len(), 7, "{all:#?}");
    let first = seen[0];
    for (key, value) in [
        ("id", json!("id-7")),
        ("caller", json!("local")),
        ("account", json!("team")),
        ("project", json!("7")),
        ("method", json!("GET")),
        ("route", json!("/api/query")),
        ("path", json!("/api/query/insights")),
        ("status", json!(200)),
        ("answered_by", json!("mixpanel")),
    ] {
        assert_eq!(first[key], value, "{key}: {first}");
    }
    assert!(first["bytes_down"].as_u64().unwrap() > 10 && first["ms"].is_u64(), "{first}");
    assert!(first["waited_ms"].is_u64(), "{first}");
    assert!(first["time"].as_str().unwrap().ends_with('Z'), "{first}");
    assert_eq!(
        (&seen[1]["account"], &seen[1]["project"], &seen[1]["workspace"]),
        (&json!("ci"), &json!("77"), &json!(3))
    );
    assert_eq!(
        (&seen[2]["status"], &seen[2]["code"], &seen[2]["answered_by"]),
        (&json!(403), &json!("POLICY_DENIED"), &json!("proxy"))
    );
    assert_eq!((&seen[3]["status"], &seen[3]["code"]), (&json!(404), &json!("ROUTE_NOT_FOUND")));
    assert_eq!(
        (&seen[4]["answered_by"], &seen[5]["answered_by"]),
        (&json!("mixpanel"), &json!("cache"))
    );
    assert_eq!(seen[6]["bytes_up"], 13);
    let loaded: Vec<_> = all.iter().filter(|line| line["event"] == "credential").collect();
    assert_eq!(loaded.len(), 2, "{loaded:?}");
    assert_eq!((&loaded[0]["what"], &loaded[0]["account"]), (&json!("loaded"), &json!("team")));
    let text = fs::read_to_string(&trail).unwrap();
    for hidden in ["secret", "private-value", "c2E6", "Basic", "Bearer", "where="] {
        assert!(!text.contains(hidden), "{hidden} is on the trail: {text}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&trail).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_credential_that_mixpanel_refuses_is_on_record() {
    let home = Home::new(&CONFIG.replace("account = \"team\"", "account = \"ci\""));
    let upstream = Upstream::start();
    upstream.stand_in.as_ref().unwrap().oauth().set(|switches| {
        switches.bearers = mp_proxy::demo::switches::Bearers::Granted;
    });
    let proxy = home.serve(&upstream.url(), &["--audit-file", "a"]);
    assert_eq!(proxy.get("/api/query/insights", "").status, 401);
    let all = lines(&home.path("a"), 3);
    let refused = all.iter().find(|line| line["what"] == "refused").expect("the event");
    assert_eq!(refused["account"], "ci");
    assert_eq!(requests(&all)[0]["status"], 401);
}

/// What became of credentials, in order.
fn events(all: &[Value]) -> Vec<String> {
    let events = all.iter().filter(|line| line["event"] == "credential");
    events
        .map(|line| {
            format!("{} {}", line["what"].as_str().unwrap(), line["account"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn a_login_leaves_a_line_when_it_is_loaded_refreshed_refused_and_revoked() {
    // Good for a while, then refused by the server although the clock says otherwise.
    let (home, upstream) = crate::tokens::start(7200);
    let proxy = home.serve(&upstream.url(), &["--audit-file", "a"]);
    let trail = home.path("a");
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(events(&lines(&trail, 2)), ["loaded me"]);
    crate::tokens::oauth(&upstream).revoke_everything();
    assert_eq!(proxy.get("/api/query/x", "").status, 401);
    let all = lines(&trail, 5);
    assert_eq!(events(&all), ["loaded me", "revoked me", "refused me"], "{all:#?}");
    // Run out when the proxy starts.
    let (home, upstream) = crate::tokens::start(-10);
    let proxy = home.serve(&upstream.url(), &["--audit-file", "a"]);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    let all = lines(&home.path("a"), 4);
    // Under the lock it is read once more, as another program may have renewed it.
    assert_eq!(events(&all), ["loaded me", "loaded me", "refreshed me"], "{all:#?}");
    assert_eq!(requests(&all)[0]["account"], "me");
    for trail in [trail, home.path("a")] {
        let text = fs::read_to_string(trail).unwrap();
        assert!(!text.contains("demo-access") && !text.contains("demo-refresh"), "{text}");
    }
}

#[test]
fn a_request_that_waited_says_how_long() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let sent = vec![now.as_secs_f64() - 3608.5; 60];
    let host = upstream.url().trim_start_matches("http://").replace(':', "_");
    let text = json!({"v": 1, "limit": 60, "sent": sent});
    home.write(&format!(".mp/pacer/{host}/123-query.json"), &text.to_string());
    let proxy = home.serve(&upstream.url(), &["--pace", "queue", "--audit-file", "a"]);
    assert_eq!(proxy.get("/api/query/insights", "").status, 200);
    let all = lines(&home.path("a"), 2);
    let line = requests(&all)[0];
    let (waited, ms) = (line["waited_ms"].as_u64().unwrap(), line["ms"].as_u64().unwrap());
    assert!(waited > 0 && waited <= ms, "{line}");
}

#[test]
fn a_file_that_is_copied_and_emptied_goes_on_at_its_beginning() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let (trail, old) = (home.path("audit.ndjson"), home.path("audit.1"));
    let proxy = home.serve(&upstream.url(), &["--audit-file", "audit.ndjson"]);
    for _ in 0..3 {
        proxy.get("/api/app/me", "");
    }
    assert_eq!(requests(&lines(&trail, 4)).len(), 3);
    // As logrotate's `copytruncate` does.
    fs::copy(&trail, &old).unwrap();
    fs::File::options().write(true).open(&trail).unwrap().set_len(0).unwrap();
    for _ in 0..2 {
        proxy.get("/api/app/me", "");
    }
    let all = lines(&trail, 2);
    assert_eq!(requests(&all).len(), 2, "{all:?}");
    assert!(!fs::read(&trail).unwrap().contains(&0), "a hole where the old lines were");
}

#[test]
fn a_directory_that_is_gone_is_a_trail_that_cannot_be_written() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    home.write("trail/here", "");
    let args = ["--audit-file", "trail/a", "--audit-required"];
    let proxy = home.serve(&upstream.url(), &args);
    assert_eq!(proxy.get("/api/app/me", "").status, 200);
    let before = lines(&home.path("trail/a"), 2).len();
    fs::rename(home.path("trail"), home.path("gone")).unwrap();
    thread::sleep(Duration::from_millis(250));
    let mut passed = 0;
    for _ in 0..100 {
        match proxy.get("/api/app/me", "").status {
            200 => passed += 1,
            503 => break,
            other => panic!("{other}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(passed < 100, "lines went where nobody finds them");
    fs::create_dir(home.path("trail")).unwrap();
    let all = lines(&home.path("trail/a"), passed);
    assert!(
        requests(&all).iter().filter(|line| line["status"] == 200).count() == passed,
        "{all:?}"
    );
    assert_eq!(lines(&home.path("gone/a"), before).len(), before);
    assert_eq!(proxy.get("/api/app/me", "").status, 200);
}

#[test]
fn rotation_loses_nothing_and_the_file_only_grows() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    home.write("audit.ndjson", "{\"event\":\"earlier\"}\n");
    let (trail, old) = (home.path("audit.ndjson"), home.path("audit.1"));
    let proxy = home.serve(&upstream.url(), &["--audit-file", "audit.ndjson"]);
    for _ in 0..5 {
        proxy.get("/api/app/me", "");
    }
    let before = lines(&trail, 7);
    assert_eq!(before[0]["event"], "earlier");
    fs::rename(&trail, &old).unwrap();
    thread::sleep(Duration::from_millis(250));
    for _ in 0..5 {
        proxy.get("/api/app/me", "");
    }
    assert_eq!(requests(&lines(&trail, 5)).len(), 5);
    drop(proxy);
    assert_eq!(requests(&lines(&old, 7)).len(), 5);
}

#[test]
fn a_file_that_is_not_safe_stops_the_start() {
    let home = Home::new(CONFIG);
    std::os::unix::fs::symlink("/nowhere", home.path("link")).unwrap();
    for (args, expected, code) in [
        (vec!["--audit-file", "link"], "symbolic link", 1),
        (vec!["--audit-file", "none/a"], "audit file", 1),
        (vec!["--audit-file", "."], "audit file", 1),
        (vec!["--audit-required"], "needs a file", 3),
    ] {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
        all.extend(&args);
        let output = home.run(&all);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(expected) && text.contains("hint:"), "{args:?}: {text}");
    }
}

/// A proxy whose files may have 4 KiB, as on a disk that is full.
fn cramped(home: &Home, upstream: &Upstream, args: &str) -> Serving {
    let log = home.path("proxy.log");
    let binary = env!("CARGO_BIN_EXE_mp-proxy");
    let script = format!(
        "trap '' XFSZ; ulimit -f 8; exec {binary} --quiet serve --listen 127.0.0.1:0 --pace off --upstream {} --audit-file audit.ndjson {args}",
        upstream.url()
    );
    let mut child = Command::new("dash")
        .args(["-c", &script])
        .env_clear()
        .env("HOME", home.dir.path())
        .current_dir(home.dir.path())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").expect("the bound address").parse().unwrap();
    Serving { child, address, log }
}

#[test]
fn a_full_disk_stops_what_must_be_on_record_and_nothing_else() {
    for (args, stops) in [("", false), ("--audit-required", true)] {
        let home = Home::new(CONFIG);
        let upstream = Upstream::start();
        let proxy = cramped(&home, &upstream, args);
        let mut refused = 0;
        for _ in 0..40 {
            let answer = proxy.get("/api/app/me", "");
            match answer.status {
                200 => {}
                503 => {
                    refused += 1;
                    assert!(answer.header("retry-after").is_some());
                }
                other => panic!("{other}: {}", answer.head),
            }
        }
        assert_eq!(refused > 0, stops, "{args}");
        assert_eq!(
            upstream.received().len(),
            40 - refused,
            "{args}: something unrecorded was sent"
        );
        fs::rename(home.path("audit.ndjson"), home.path("audit.1")).unwrap();
        for _ in 0..100 {
            if home.path("audit.ndjson").exists() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        fs::rename(home.path("audit.ndjson"), home.path("audit.2")).unwrap();
        thread::sleep(Duration::from_millis(1200));
        assert_eq!(proxy.get("/api/app/me", "").status, 200, "{args}: it did not heal");
    }
}
