//! The limits of the listener and the hardening of the process, on the real program.

use crate::support::{CONFIG, Home, Serving, Upstream, not_tested};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::MetadataExt as _,
    thread,
    time::{Duration, Instant},
};

fn start(args: &[&str]) -> (Home, Upstream, Serving) {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let serving = home.serve(&upstream.url(), args);
    (home, upstream, serving)
}

/// A request that runs for as long as the stream is kept.
fn running(proxy: &Serving, lines: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let host = proxy.address;
    write!(
        stream,
        "GET /api/2.0/export?rows=100&pause_ms=200 HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"
    )
    .unwrap();
    let mut first = [0_u8; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

#[test]
fn heads_are_limited_in_bytes_and_in_fields() {
    let (_home, upstream, proxy) = start(&["--max-header-bytes", "8192", "--max-headers", "8"]);
    assert_eq!(proxy.get("/api/query/x", "A: 1\r\nB: 1\r\n").status, 200);
    assert_eq!(proxy.get("/api/query/x", &format!("A: {}\r\n", "a".repeat(9000))).status, 431);
    let many: String = (0..8).map(|number| format!("A{number}: 1\r\n")).collect();
    assert_eq!(proxy.get("/api/query/x", &many).status, 431);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_head_that_comes_too_slowly_ends_its_connection() {
    let (_home, upstream, proxy) = start(&["--header-read-timeout", "1"]);
    let mut slow = TcpStream::connect(proxy.address).unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let begun = Instant::now();
    let mut ended = false;
    while !ended && begun.elapsed() < Duration::from_secs(15) {
        ended = slow.write_all(b"a").is_err() || matches!(slow.read(&mut [0; 64]), Ok(0));
    }
    assert!(ended, "the connection was kept");
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn one_connection_too_many_is_told_when_to_come_again() {
    let (_home, _upstream, proxy) = start(&["--max-connections", "2"]);
    let kept = (running(&proxy, ""), running(&proxy, ""));
    let answer = proxy.get("/api/query/x", "");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.head);
    assert_eq!(answer.json()["code"], "LIMIT_EXCEEDED");
    assert!(answer.json()["hint"].as_str().unwrap().contains("--max-connections"));
    drop(kept);
    let begun = Instant::now();
    while proxy.get("/api/query/x", "").status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(15), "the places were not given back");
    }
}

#[test]
fn each_caller_has_its_own_requests_in_flight() {
    let home = Home::new(CONFIG);
    home.write(
        "tokens",
        "[callers.a]\ntoken = \"aaaaaaaaaaaaaaaaaaaa\"\n[callers.b]\ntoken = \"bbbbbbbbbbbbbbbbbbbb\"\n",
    );
    let upstream = Upstream::start();
    let args = ["--client-token-file", "tokens", "--max-requests-per-caller", "1"];
    let proxy = home.serve(&upstream.url(), &args);
    let (a, b) = (
        "X-Mp-Proxy-Token: aaaaaaaaaaaaaaaaaaaa\r\n",
        "X-Mp-Proxy-Token: bbbbbbbbbbbbbbbbbbbb\r\n",
    );
    let kept = running(&proxy, a);
    let answer = proxy.get("/api/query/x", a);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("LIMIT_EXCEEDED")));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(proxy.get("/api/query/x", b).status, 200);
    drop(kept);
    let begun = Instant::now();
    while proxy.get("/api/query/x", a).status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(15), "the place was not given back");
    }
}

/// One request on a connection that stays open.
fn once(stream: &mut TcpStream, host: &str) {
    write!(stream, "GET /_mp/livez HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}\n") {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the connection was closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

fn ends(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    matches!(stream.read(&mut [0; 64]), Ok(0))
}

#[test]
fn an_idle_connection_is_kept_for_a_time_of_its_own() {
    let (_home, _upstream, proxy) =
        start(&["--header-read-timeout", "1", "--keep-alive-timeout", "60"]);
    let host = proxy.address.to_string();
    let mut kept = TcpStream::connect(proxy.address).unwrap();
    once(&mut kept, &host);
    // Longer than a head may take.
    thread::sleep(Duration::from_millis(2500));
    once(&mut kept, &host);
    // A head that has begun is held to its own time, on a kept connection too.
    kept.write_all(b"G").unwrap();
    assert!(ends(&mut kept), "half a head was kept");
    // And nothing at all is no reason to wait longer for the first.
    assert!(ends(&mut TcpStream::connect(proxy.address).unwrap()), "silence was kept");
    let (_home, _upstream, proxy) =
        start(&["--header-read-timeout", "3600", "--keep-alive-timeout", "1"]);
    let mut idle = TcpStream::connect(proxy.address).unwrap();
    once(&mut idle, &proxy.address.to_string());
    assert!(ends(&mut idle), "an idle connection was kept");
}

#[test]
fn every_limit_is_set_by_flag_by_variable_or_by_default_and_reported() {
    let flags: [(&str, u64, u64, u64); 7] = [
        ("max-header-bytes", 65_536, 10_000, 20_000),
        ("max-headers", 100, 50, 60),
        ("header-read-timeout", 30, 31, 32),
        ("keep-alive-timeout", 75, 76, 77),
        ("max-connections", 4096, 30, 40),
        ("max-requests-per-caller", 1024, 10, 11),
        ("max-open-files", 0, 300, 400),
    ];
    let upstream = Upstream::start();
    let mut home = Home::new(CONFIG);
    let key = |flag: &str| match flag {
        "header-read-timeout" | "keep-alive-timeout" => {
            format!("{}_seconds", flag.replace('-', "_"))
        }
        flag => flag.replace('-', "_"),
    };
    let check = |proxy: &Serving, expected: &dyn Fn(usize) -> u64| {
        let limits = proxy.get("/_mp/limits", "").json();
        let metrics = proxy.get("/_mp/metrics", "");
        let metrics = String::from_utf8(metrics.body).unwrap();
        let log = fs::read_to_string(&proxy.log).unwrap();
        for (number, (flag, ..)) in flags.iter().enumerate() {
            let (key, value) = (key(flag), expected(number));
            assert_eq!(limits[&key], value, "--{flag}: {limits}");
            let line = format!("mp_proxy_limit{{limit=\"{key}\"}} {value}\n");
            assert!(metrics.contains(&line), "{line}{metrics}");
            assert!(log.contains(&format!("\"{key}\":{value}")), "--{flag}: {log}");
        }
        assert!(limits["now"]["connections"].as_u64().unwrap() >= 1, "{limits}");
        assert!(metrics.contains("\nmp_proxy_connections "), "{metrics}");
        assert!(metrics.contains("mp_proxy_connections_refused_total"), "{metrics}");
    };
    let proxy = home.serve(&upstream.url(), &[]);
    let most = proxy.get("/_mp/limits", "").json()["max_open_files"].as_u64().unwrap();
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", proxy.child.id())).unwrap();
    assert!(of("limits").lines().any(|line| {
        line.starts_with("Max open files")
            && line.split_whitespace().nth(3) == Some(&most.to_string())
    }));
    let room = (most - 64) / 2;
    check(&proxy, &|number| match flags[number] {
        ("max-open-files", ..) => most,
        ("max-connections", default, ..) => default.min(room),
        (_, default, ..) => default,
    });
    drop(proxy);
    for (flag, _, variable, _) in flags {
        let name = format!("MP_PROXY_{}", flag.replace('-', "_").to_uppercase());
        home = home.with(&name, &variable.to_string());
    }
    check(&home.serve(&upstream.url(), &[]), &|number| flags[number].2);
    let args: Vec<String> = flags
        .iter()
        .flat_map(|(flag, _, _, value)| [format!("--{flag}"), value.to_string()])
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    check(&home.serve(&upstream.url(), &args), &|number| flags[number].3);
    // Connections fit the descriptors, whatever was asked for.
    let few =
        home.serve(&upstream.url(), &["--max-open-files", "200", "--max-connections", "4096"]);
    assert_eq!(few.get("/_mp/limits", "").json()["max_connections"], (200 - 64) / 2);
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_is_closed_to_others() {
    let (_home, _upstream, proxy) = start(&[]);
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", proxy.child.id())).unwrap();
    assert!(of("status").lines().any(|line| line == "Umask:\t0077"), "{}", of("status"));
    let limits = of("limits");
    let row = |name: &str| -> Vec<String> {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("Max core file size")[..2], ["0", "0"]);
    let files = row("Max open files");
    assert_eq!(files[0], files[1]);
}

/// The kernel gives `/proc/PID` of a process that may not be looked into to root.
#[test]
#[cfg(target_os = "linux")]
fn nobody_of_the_same_user_may_look_into_the_memory() {
    use std::os::unix::{fs::PermissionsExt as _, process::CommandExt as _};
    let home = Home::new(CONFIG);
    if fs::metadata(home.dir.path()).unwrap().uid() != 0 {
        // Without root there is no other user to be; the unit test of `hardening` stands alone.
        let (_home, _upstream, proxy) = start(&[]);
        let file = fs::metadata(format!("/proc/{}/environ", proxy.child.id())).unwrap();
        assert_eq!(file.uid(), 0);
        return not_tested("the same for a user of its own: only root can be another user");
    }
    const NOBODY: u32 = 65534;
    let bin = home.path("mp-proxy");
    fs::copy(env!("CARGO_BIN_EXE_mp-proxy"), &bin).unwrap();
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let owner_of = |program: &std::path::Path, args: &[&str]| {
        let mut child = std::process::Command::new(program)
            .args(args)
            .env_clear()
            .env("HOME", "/nonexistent")
            .current_dir("/")
            .uid(NOBODY)
            .gid(NOBODY)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Once it says where it listens it has done what it does first.
        let mut first = [0; 1];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let owner = fs::metadata(format!("/proc/{}/environ", child.id())).unwrap().uid();
        child.kill().unwrap();
        child.wait().unwrap();
        owner
    };
    assert_eq!(owner_of("/bin/sh".as_ref(), &["-c", "echo; sleep 20"]), NOBODY);
    assert_eq!(owner_of(&bin, &["serve", "--listen", "127.0.0.1:0"]), 0);
}

#[test]
fn a_crowd_of_half_requests_is_sent_home_and_takes_no_descriptor_for_good() {
    let (_home, upstream, proxy) =
        start(&["--max-open-files", "160", "--header-read-timeout", "1"]);
    let most = proxy.get("/_mp/limits", "").json()["max_connections"].as_u64().unwrap();
    assert_eq!(most, (160 - 64) / 2);
    let crowd: Vec<_> = (0..2 * most)
        .map(|_| {
            let mut stream = TcpStream::connect(proxy.address).unwrap();
            stream.write_all(b"GET /api/query/x HTTP/1.1\r\nX-Slow: ").unwrap();
            stream
        })
        .collect();
    let begun = Instant::now();
    while proxy.get("/_mp/livez", "").status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(15), "the crowd was not sent home");
        thread::sleep(Duration::from_millis(50));
    }
    // Each was answered with 503 or closed; none is kept.
    let (mut refused, mut closed) = (0, 0);
    for mut stream in crowd {
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) if answer.starts_with(b"HTTP/1.1 503 ") => refused += 1,
            Ok(0) => closed += 1,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => closed += 1,
            other => panic!("{other:?}: {}", String::from_utf8_lossy(&answer)),
        }
    }
    assert!(refused > 0 && closed >= 1, "{refused} refused, {closed} closed");
    let limits = proxy.get("/_mp/limits", "").json();
    let counted = &limits["now"]["connections_refused"];
    assert!(counted["too_many"].as_u64().unwrap() >= refused, "{limits}");
    assert!(counted["too_slow"].as_u64().unwrap() >= 1, "{limits}");
    let log = fs::read_to_string(&proxy.log).unwrap();
    assert!(!log.contains("accepting a connection failed"), "out of descriptors: {log}");
    assert!(upstream.received().is_empty());
}

/// What is no request gets a bare status of the HTTP library: it is on record all the same.
#[test]
fn what_is_no_request_is_counted_and_logged() {
    let (_home, upstream, proxy) = start(&["--max-header-bytes", "100000"]);
    let host = proxy.address;
    let long = "a".repeat(70_000);
    let cases = [
        ("malformed", 400, "no request at all\r\n\r\n".to_owned()),
        ("malformed", 400, format!("GET / HTTP/1.1\r\nHost: {host}\r\nHo st: x\r\n\r\n")),
        (
            "malformed",
            400,
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: s3cr3t\r\n\r\n"),
        ),
        ("too_large", 431, format!("GET / HTTP/1.1\r\nHost: {host}\r\nA: {long}{long}\r\n\r\n")),
        ("too_large", 414, format!("GET /{long} HTTP/1.1\r\nHost: {host}\r\n\r\n")),
    ];
    for (why, status, bytes) in &cases {
        let answer = proxy.raw(bytes.as_bytes());
        assert_eq!((answer.status, answer.body.len()), (*status, 0), "{why}: {}", answer.head);
        assert_eq!(answer.header("proxy-status"), None, "{why}");
    }
    let metrics = String::from_utf8(proxy.get("/_mp/metrics", "").body).unwrap();
    for (why, count) in [("malformed", 3), ("too_large", 2), ("too_slow", 0), ("too_many", 0)] {
        let line = format!("mp_proxy_connections_refused_total{{reason=\"{why}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let log = fs::read_to_string(&proxy.log).unwrap();
    assert_eq!(log.matches("is not HTTP/1.1 and got a bare 400").count(), 3, "{log}");
    assert_eq!(log.matches("too large and got a bare 431 or 414").count(), 2, "{log}");
    assert!(!log.contains("s3cr3t") && !log.contains("no request at all"), "{log}");
    assert!(upstream.received().is_empty());
}

/// While the program does not run at all: who comes then need not try again a second later.
#[test]
fn a_burst_of_connections_may_wait() {
    let (_home, _upstream, proxy) = start(&[]);
    let allowed = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let burst = allowed.trim().parse::<usize>().unwrap().min(400);
    let pid = rustix::process::Pid::from_child(&proxy.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let patience = Duration::from_secs(5);
    let connect = |_| TcpStream::connect_timeout(&proxy.address, patience);
    let waiting: Result<Vec<_>, _> = (0..burst).map(connect).collect();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(waiting.unwrap().len(), burst);
    assert_eq!(proxy.get("/_mp/livez", "").status, 200);
}
