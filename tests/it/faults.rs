//! What a bad network and a bad disk do: each fault has its answer, harms only its own request, and
//! leaves no descriptor behind.

use crate::{
    recorder::{OK, Recorder, Step},
    support::{CONFIG, Home, Serving},
    tokens::{BROWSER, tokens},
    tokens_bridge::bridge,
    wire::Wire,
};
use rustix::net::sockopt::set_socket_linger;
use serde_json::json;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn each_fault_has_its_answer_and_harms_only_its_request() {
    let home = Home::new(CONFIG);
    let upstream = Recorder::start();
    let proxy = home.serve(&upstream.url(), &["--header-timeout", "1", "--idle-timeout", "1"]);
    let text = |text: &str| Step::Bytes(text.as_bytes().to_vec());
    let huge = format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n\r\n", "a".repeat(600_000));
    let faults: [(&str, Vec<Step>, u16, &str); 9] = [
        ("reset", vec![Step::Close], 502, "UPSTREAM_BROKEN"),
        ("silent", vec![Step::Pause(2500)], 504, "UPSTREAM_TIMEOUT"),
        ("half-closed", vec![Step::Fin], 502, "UPSTREAM_BROKEN"),
        ("half a head", vec![text("HTTP/1.1 200 O"), Step::Close], 502, "UPSTREAM_BROKEN"),
        ("garbage", vec![text("\0\x01garbage\r\n\r\n"), Step::Close], 502, "UPSTREAM_BROKEN"),
        ("huge fields", vec![text(&huge), Step::Close], 502, "UPSTREAM_BROKEN"),
        ("an old protocol", vec![text("<html>"), Step::Close], 502, "UPSTREAM_BROKEN"),
        (
            "an upgrade",
            vec![text("HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")],
            502,
            "UPSTREAM_BROKEN",
        ),
        (
            "two lengths",
            vec![
                text("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok"),
                Step::Close,
            ],
            502,
            "UPSTREAM_BROKEN",
        ),
    ];
    upstream.expect(vec![Step::Bytes(OK.to_vec())], false);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    let before = descriptors(proxy.child.id());
    for (fault, reply, status, code) in faults {
        upstream.expect(reply, false);
        let answer = proxy.get("/api/query/x", "");
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (status, Some(code)),
            "{fault}"
        );
        upstream.expect(vec![Step::Bytes(OK.to_vec())], false);
        assert_eq!(proxy.get("/api/query/x", "").status, 200, "after {fault}");
    }
    // Silence within a body breaks it; it is never ended cleanly.
    upstream.expect(
        vec![
            text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
            Step::Pause(2500),
        ],
        false,
    );
    let mut wire = Wire::connect(proxy.address);
    write!(wire.stream, "GET /api/query/x HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.address).unwrap();
    let got = wire.answer("GET", false).unwrap().unwrap();
    assert_eq!((got.status, got.body.as_slice(), got.whole), (200, b"ok".as_slice(), false));
    drop(wire);
    upstream.expect(vec![Step::Bytes(OK.to_vec())], false);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    thread::sleep(Duration::from_millis(300));
    let after = descriptors(proxy.child.id());
    assert!(after <= before + 4, "{before} descriptors before, {after} after");
}

#[test]
fn a_refused_connection_heals_when_somebody_listens() {
    let home = Home::new(CONFIG);
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    drop(held);
    let proxy = home.serve(&format!("http://{address}"), &[]);
    assert_eq!(proxy.get("/api/query/x", "").json()["code"], "UPSTREAM_UNREACHABLE");
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = stream.write_all(OK);
        }
    });
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
}

/// Config and tokens are replaced, truncated, made unreadable, while requests run: each answer is
/// one of the two accounts or a clear refusal, never a mixture and never without a credential.
#[test]
fn files_replaced_at_the_worst_moment() {
    let home = Home::new(CONFIG);
    let upstream = Recorder::start();
    upstream.expect(vec![Step::Bytes(OK.to_vec())], false);
    let proxy = home.serve(&upstream.url(), &[]);
    let other = CONFIG.replace("account = \"team\"", "account = \"ci\"");
    let stop = AtomicBool::new(false);
    let path = home.path(".mp/config.toml");
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                match round % 6 {
                    0 | 2 => home.write(".mp/config.toml", CONFIG),
                    1 => home.write(".mp/config.toml", &other),
                    // In place and in two steps, as a careless editor does it.
                    3 => fs::write(&path, &other[..other.len() / 2]).unwrap(),
                    4 => fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap(),
                    _ => drop(fs::remove_file(&path)),
                }
                round += 1;
                thread::sleep(Duration::from_millis(3));
            }
        });
        for _ in 0..400 {
            let answer = proxy.get("/api/query/x", "");
            let key = match answer.header("x-mp-resolved") {
                Some(who) => who.to_owned(),
                None => answer.json()["code"].as_str().unwrap().to_owned(),
            };
            *seen.entry(key).or_default() += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    let fine = [
        "account=team; project=123; region=eu",
        "account=ci; project=9; region=us",
        "CONFIG_ERROR",
    ];
    assert!(seen.keys().all(|key| fine.contains(&key.as_str())), "{seen:?}");
    assert!(seen.len() == 3, "{seen:?}");
    for message in upstream.messages(1) {
        let signed = message.all("authorization");
        let team =
            signed == ["Basic c2E6aHVudGVyMi1zZWNyZXQ="] && message.line.contains("project_id=123");
        let ci = signed == ["Bearer tok-secret"] && message.line.contains("project_id=9");
        assert!(team || ci, "a mixture went out: {}", message.line);
    }
    home.write(".mp/config.toml", CONFIG);
    assert_eq!(proxy.get("/api/query/x", "").status, 200, "it heals by itself");
}

/// The log goes to a file on a full disk, or to a pipe whose reader is gone: requests are answered
/// all the same, and a command still has its exit code.
#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let upstream = Recorder::start();
    upstream.expect(vec![Step::Bytes(OK.to_vec())], false);
    for sink in ["full", "gone"] {
        let home = Home::new(CONFIG);
        let stderr = || match sink {
            "full" => Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap()),
            _ => Stdio::from(std::io::pipe().unwrap().1),
        };
        let arguments = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            &upstream.url(),
            "--log-level",
            "trace",
        ];
        let mut child =
            home.command(&arguments).stdout(Stdio::piped()).stderr(stderr()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").expect(sink).parse().unwrap();
        let mut proxy = Serving { child, address, log: home.path("none") };
        for target in ["/api/query/x", "/nowhere", "/_mp/session", "/api/query/x"] {
            let status = proxy.get(target, "").status;
            assert_eq!(status, if target == "/nowhere" { 404 } else { 200 }, "{sink} {target}");
        }
        let pid = rustix::process::Pid::from_child(&proxy.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(proxy.child.wait().unwrap().code(), Some(0), "{sink}");
        let mut wrong = home.command(&["account", "show", "nobody"]);
        assert_eq!(wrong.stderr(stderr()).status().unwrap().code(), Some(1), "{sink}");
    }
}

/// Tokens and bridge, too: between one look and the next the file is another login's, half of it, a
/// link to a third one, or gone. What is sent is one of the two, never the one behind the link.
#[test]
fn tokens_and_bridges_swapped_for_links_are_never_followed() {
    for path in [".mp/accounts/me/tokens.json", "mixpanel_auth.json"] {
        let home = Home::new(if path.starts_with(".mp") { BROWSER } else { "" });
        let upstream = Recorder::start();
        upstream.expect(vec![Step::Bytes(OK.to_vec())], false);
        let proxy = home.serve(&upstream.url(), &[]);
        let file = |token: &str| {
            let grant = json!({"access_token": token, "refresh_token": null});
            match path.starts_with(".mp") {
                true => tokens(&grant, None, 7200).to_string(),
                false => bridge(&grant, None, 7200).to_string(),
            }
        };
        let (one, other) = (file("token-one"), file("token-other"));
        home.write("elsewhere", &file("token-behind-the-link"));
        home.write(path, &one);
        let place = home.path(path);
        let stop = AtomicBool::new(false);
        let mut seen = std::collections::BTreeMap::<String, usize>::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                let link = home.path("link");
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    match round % 6 {
                        0 => home.write(path, &one),
                        2 => home.write(path, &other),
                        3 => fs::write(&place, &one[..one.len() / 2]).unwrap(),
                        4 => drop(fs::remove_file(&place)),
                        _ => {
                            symlink(home.path("elsewhere"), &link).unwrap();
                            fs::rename(&link, &place).unwrap();
                        }
                    }
                    round += 1;
                    thread::sleep(Duration::from_millis(2));
                }
            });
            for _ in 0..300 {
                let answer = proxy.get("/api/query/x", "");
                let key = match answer.header("x-mp-resolved") {
                    Some(_) => "sent".to_owned(),
                    None => answer.json()["code"].as_str().unwrap().to_owned(),
                };
                *seen.entry(key).or_default() += 1;
            }
            stop.store(true, Ordering::Relaxed);
        });
        let fine = ["sent", "CONFIG_ERROR", "OAUTH_TOKEN_ERROR"];
        assert!(seen.keys().all(|key| fine.contains(&key.as_str())), "{path}: {seen:?}");
        assert!(seen.len() >= 2 && seen.contains_key("sent"), "{path}: {seen:?}");
        for message in upstream.messages(1) {
            let signed = message.all("authorization");
            let known = ["Bearer token-one", "Bearer token-other"];
            assert!(signed.len() == 1 && known.contains(&signed[0]), "{path}: {signed:?}");
        }
        home.write(path, &other);
        assert_eq!(proxy.get("/api/query/x", "").status, 200, "{path}: it heals by itself");
    }
}

/// A reset instead of an end: no lingering, so that what was on its way is lost.
#[test]
fn a_reset_is_a_502_before_the_head_and_a_cut_behind_it() {
    for (said, status) in [
        ("", 502),
        ("HTTP/1.1 200 O", 502),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", 200),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(said.as_bytes());
                thread::sleep(Duration::from_millis(100));
                set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            }
        });
        let home = Home::new(CONFIG);
        let proxy = home.serve(&url, &[]);
        let mut wire = Wire::connect(proxy.address);
        let host = proxy.address;
        write!(
            wire.stream,
            "POST /api/query/x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\nx"
        )
        .unwrap();
        let got = wire.answer("POST", false).unwrap().unwrap();
        assert_eq!((got.status, got.whole), (status, status == 502), "{said}");
        if status == 502 {
            let problem: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
            assert_eq!(problem["code"], "UPSTREAM_BROKEN");
            assert!(problem["hint"].is_string());
        }
    }
}

/// Slower than the idle time in all, never within: each byte is waited for.
#[test]
fn a_slow_upstream_is_waited_for_byte_by_byte() {
    let home = Home::new(CONFIG);
    let upstream = Recorder::start();
    let proxy = home.serve(&upstream.url(), &["--header-timeout", "6", "--idle-timeout", "1"]);
    let slow: Vec<Step> =
        OK.chunks(4).flat_map(|piece| [Step::Bytes(piece.to_vec()), Step::Pause(150)]).collect();
    upstream.expect(slow, false);
    let answer = proxy.get("/api/query/x", "");
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"ok".as_slice()));
}
