//! `health`, `wait`, `stop`, `tail`, and the protocol of systemd, with the real program.

use crate::support::{CONFIG, Home, Upstream};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn health_and_wait_tell_ready_from_not_ready_from_not_there() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let nobody = free_port();
    let gone = home.run(&["health", "--listen", &nobody]);
    assert_eq!(gone.status.code(), Some(1));
    let text = String::from_utf8(gone.stderr).unwrap();
    assert!(text.contains(&nobody) && text.contains("mp-proxy serve"), "{text}");
    assert_eq!(home.run(&["wait", "--timeout", "0", "--listen", &nobody]).status.code(), Some(1));
    let proxy = home.serve(&upstream.url(), &[]);
    let address = proxy.address.to_string();
    let run = |args: &[&str]| {
        let output = home.run(&[args, &["--listen", &address]].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["health"]), (Some(0), String::new()));
    assert_eq!(run(&["wait", "--timeout", "5"]), (Some(0), String::new()));
    home.write(".mp/config.toml", "broken");
    let (code, text) = run(&["health"]);
    assert!(code == Some(1) && text.contains("CONFIG_ERROR"), "{text}");
    assert_eq!(run(&["health", "--live"]).0, Some(0));
    // `wait` returns as soon as it heals.
    let waiting =
        home.command(&["wait", "--listen", &address]).stdout(Stdio::piped()).spawn().unwrap();
    home.write(".mp/config.toml", CONFIG);
    assert_eq!(waiting.wait_with_output().unwrap().stdout, b"ready\n");
}

#[test]
fn stop_ends_the_right_process_and_lets_requests_finish() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let mut proxy = home.serve(&upstream.url(), &[]);
    let address = proxy.address.to_string();
    let note = home.path(&format!(".mp/run/{address}.json"));
    let end = Instant::now() + Duration::from_secs(10);
    while !note.exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(fs::metadata(&note).unwrap().permissions().mode() & 0o777, 0o600);
    let mut slow = TcpStream::connect(proxy.address).unwrap();
    write!(
        slow,
        "GET /api/query/x?delay_ms=400 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while upstream.received().is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    let stopped = home.run(&["stop", "--listen", &address]);
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    assert!(proxy.child.wait().unwrap().success());
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!note.exists());
    // A note whose writer is gone names nobody, whatever process has its id now.
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let stale = format!("{{\"pid\":{},\"namespace\":null}}", other.id());
    home.write(&format!(".mp/run/{address}.json"), &stale);
    let again = home.run(&["stop", "--listen", &address]);
    assert_eq!(again.status.code(), Some(1));
    assert!(other.try_wait().unwrap().is_none(), "another process was ended");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn tail_prints_requests_as_they_happen() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &[]);
    let address = proxy.address.to_string();
    let tail = |args: &[&str]| {
        let mut child = home
            .command(&[&["tail", "--listen", &address], args].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    };
    let (mut text, mut text_lines) = tail(&[]);
    let (mut json, mut json_lines) = tail(&["--json"]);
    // Until both listen, requests go unheard; so they are sent until one is heard.
    let (sender, heard) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let both = (text_lines.next().unwrap().unwrap(), json_lines.next().unwrap().unwrap());
        sender.send(()).unwrap();
        both
    });
    while heard.recv_timeout(Duration::from_millis(50)).is_err() {
        assert!(!reading.is_finished());
        proxy.get("/api/query/events/names?limit=s3cr3t", "");
    }
    let (line, object) = reading.join().unwrap();
    assert!(line.contains(" 200 GET ") && line.contains("team/123"), "{line}");
    assert!(line.ends_with("/api/query/events/names?limit"), "{line}");
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!((&object["status"], &object["account"]), (&200.into(), &"team".into()));
    for child in [&mut text, &mut json] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn systemd_hands_over_a_socket_and_is_told_how_we_are() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut text = [0; 1024];
        let length = manager.recv(&mut text).expect("word from the proxy");
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let until = |word: &str| {
        std::iter::repeat_with(told).take(20).find(|text| text.contains(word)).expect(word)
    };
    let address = free_port();
    // The real socket activator: it listens, and starts us at the first connection.
    let mut child = Command::new("systemd-socket-activate")
        .args(["-l", &address])
        .args(["-E", "HOME", "-E", "NOTIFY_SOCKET", "-E", "WATCHDOG_USEC"])
        .args([env!("CARGO_BIN_EXE_mp-proxy"), "serve", "--upstream", &upstream.url()])
        .env_clear()
        .env("HOME", home.dir.path())
        .env("NOTIFY_SOCKET", home.path("notify"))
        .env("WATCHDOG_USEC", "400000")
        .current_dir(home.dir.path())
        .stderr(fs::File::create(home.path("proxy.log")).unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let mut stream = loop {
        match TcpStream::connect(&address) {
            Ok(stream) => break stream,
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => panic!("{error}"),
        }
    };
    write!(stream, "GET /_mp/readyz HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 OK"), "{answer}{}", {
        fs::read_to_string(home.path("proxy.log")).unwrap()
    });
    assert!(until("READY=1").contains(&format!("STATUS=listening on http://{address}")));
    until("WATCHDOG=1");
    let signal = |name: &str| {
        let done = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
        assert!(done.success());
    };
    signal("-HUP");
    assert!(until("RELOADING=1").contains("MONOTONIC_USEC="));
    until("READY=1");
    signal("-TERM");
    until("STOPPING=1");
    assert!(child.wait().unwrap().success());
}
