//! `serve --unix-socket` with the real program: who can connect, what is replaced and what is
//! not, and that everything that looks after a proxy finds it there.

use crate::support::{Answer, CONFIG, Home, Upstream, header};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
        net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

struct Proxy {
    child: Child,
    line: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(home: &Home, upstream: &Upstream, args: &[&str]) -> Proxy {
    let url = upstream.url();
    let all = [&["serve", "--upstream", &url], args].concat();
    let log = fs::File::create(home.path("proxy.log")).unwrap();
    let mut child = home.command(&all).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Proxy { child, line: line.trim().to_owned() }
}

fn ask(path: &Path, target: &str, host: &str, lines: &str) -> Answer {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: all[end + 4..].to_vec() }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How many TCP sockets the process listens on.
fn tcp_listeners(pid: u32) -> usize {
    let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap_or_default();
    let tables = of("tcp") + &of("tcp6");
    let listening: BTreeSet<String> = tables
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(3) == Some(&"0A"))
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect();
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|link| listening.contains(&*link.to_string_lossy()))
        .count()
}

#[test]
fn the_socket_stands_alone_and_is_for_its_owner() {
    let home = Home::new(CONFIG).with("PATH", "/usr/bin:/bin");
    let upstream = Upstream::start();
    let path = home.path("run/mp.sock");
    let flag = path.to_str().unwrap();
    let mut proxy = start(&home, &upstream, &["--unix-socket", flag]);
    assert_eq!(proxy.line, format!("unix:{}", path.canonicalize().unwrap().display()));
    let meta = fs::symlink_metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.mode() & 0o7777, 0o600);
    assert_eq!(tcp_listeners(proxy.child.id()), 0, "it listens elsewhere too");
    // No token is asked for, and the request is signed.
    let url = "http://localhost/api/query/events/names";
    let curl = Command::new("curl").args(["-sS", "--unix-socket", flag, url]).output().unwrap();
    assert!(text(&curl.stdout).contains("Login"), "{}{}", text(&curl.stdout), text(&curl.stderr));
    assert_eq!(header(&upstream.last(), "authorization"), Some("Basic c2E6aHVudGVyMi1zZWNyZXQ="));
    let before = upstream.received().len();
    for (host, lines, status) in [
        ("localhost:1234", "", 200),
        ("localhost", "Origin: null\r\n", 403),
        ("localhost", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("evil.example", "", 403),
        ("127.0.0.1", "", 403),
    ] {
        let answer = ask(&path, "/api/query/x", host, lines);
        assert_eq!(answer.status, status, "{host} {lines}: {}", answer.head);
    }
    let absolute = ask(&path, "http://localhost/api/query/x", "localhost", "");
    assert_eq!(absolute.status, 200, "{}", absolute.head);
    assert_eq!(upstream.received().len(), before + 2);
    // What looks after it finds it, by flag and by variable.
    let run = |args: &[&str]| home.run(&[args, &["--unix-socket", flag]].concat());
    assert_eq!(text(&run(&["health"]).stdout), "healthy\n");
    assert_eq!(text(&run(&["wait"]).stdout), "ready\n");
    let by_variable = home.command(&["health"]).env("MP_PROXY_UNIX_SOCKET", flag).output();
    assert_eq!(text(&by_variable.unwrap().stdout), "healthy\n");
    let mut tail =
        home.command(&["tail", "--unix-socket", flag]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let (sender, heard) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let _ = sender.send(lines.next());
    });
    while !reading.is_finished() {
        ask(&path, "/api/query/events/names", "localhost", "");
        std::thread::sleep(Duration::from_millis(50));
    }
    let line = heard.recv().unwrap().expect("a line").unwrap();
    assert!(line.contains(" 200 GET "), "{line}");
    tail.kill().unwrap();
    tail.wait().unwrap();
    let stopped = run(&["stop"]);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    assert!(proxy.child.wait().unwrap().success());
    assert!(!path.exists(), "the file is left behind");
    let gone = run(&["health"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("mp-proxy serve --unix-socket"), "{}", text(&gone.stderr));
    assert_eq!(run(&["stop"]).status.code(), Some(1));
}

#[test]
fn socket_and_port_stand_side_by_side() {
    let home = Home::new(CONFIG).with("MP_PROXY_UNIX_SOCKET", "both.sock");
    let upstream = Upstream::start();
    let mut proxy = home.serve(&upstream.url(), &[]);
    let path = home.path("both.sock");
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(ask(&path, "/api/query/x", "localhost", "").status, 200);
    // Each door has names of its own: the port belongs to the name on TCP.
    let raw = b"GET /api/query/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(proxy.raw(raw).status, 403);
    assert_eq!(ask(&path, "/api/query/x", &proxy.address.to_string(), "").status, 403);
    assert_eq!(text(&home.run(&["health"]).stdout), "healthy\n", "by the socket of the variable");
    // Found by either, and the port alone by its own flag.
    let stopped = home
        .command(&["stop", "--listen", &proxy.address.to_string()])
        .env_remove("MP_PROXY_UNIX_SOCKET")
        .output()
        .unwrap();
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    assert!(proxy.child.wait().unwrap().success());
    assert!(!path.exists());
}

#[test]
fn only_a_dead_socket_is_replaced() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let path = home.path("s.sock");
    let flag = path.to_str().unwrap().to_owned();
    let refused = |what: &str| {
        let output: Output = home.run(&["serve", "--unix-socket", &flag]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&flag) && said.contains(what), "{what}: {said}");
        assert!(output.stdout.is_empty());
    };
    fs::write(&path, "precious").unwrap();
    refused("is a regular file");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    symlink("elsewhere.sock", &path).unwrap();
    refused("is a symbolic link");
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    refused("a program listens on it");
    assert!(path.exists());
    // Its program is gone, its file is not.
    drop(other);
    let mut first = start(&home, &upstream, &["--unix-socket", &flag]);
    refused("mp-proxy stop --unix-socket");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert!(path.exists(), "a kill leaves the file");
    let second = start(&home, &upstream, &["--unix-socket", &flag]);
    assert_eq!(ask(&path, "/api/query/x", "localhost", "").status, 200);
    drop(second);
    let open = home.path("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let output = home.run(&["serve", "--unix-socket", "open/s.sock"]);
    assert!(text(&output.stderr).contains("chmod go-w"), "{}", text(&output.stderr));
    assert!(!home.path("open/s.sock").exists());
}

#[test]
fn run_stays_private_whatever_is_set_for_a_shared_proxy() {
    let home =
        Home::new(CONFIG).with("PATH", "/usr/bin:/bin").with("MP_PROXY_UNIX_SOCKET", "shared.sock");
    let upstream = Upstream::start();
    let script = "curl -sS \"$MP_API_BASE_URL/api/query/events/names\"; ls";
    let output = home.run(&["run", "--upstream", &upstream.url(), "--", "sh", "-c", script]);
    let seen = text(&output.stdout);
    assert!(seen.contains("Login"), "{seen}{}", text(&output.stderr));
    assert!(!seen.contains("shared.sock"), "{seen}");
}

#[test]
fn systemd_hands_over_a_unix_socket_and_the_watchdog_asks_through_it() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let path = home.path("activated.sock");
    let mut child = Command::new("systemd-socket-activate")
        .args(["-l", path.to_str().unwrap()])
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
    while UnixStream::connect(&path).is_err() {
        assert!(Instant::now() < end, "nobody listens");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(ask(&path, "/api/query/x", "localhost", "").status, 200);
    let mut seen = String::new();
    for _ in 0..20 {
        let mut bytes = [0; 1024];
        let length = manager.recv(&mut bytes).expect("word from the proxy");
        seen.push_str(&text(&bytes[..length]));
        if seen.contains("WATCHDOG=1") {
            break;
        }
    }
    assert!(seen.contains(&format!("STATUS=listening on unix:{}", path.display())), "{seen}");
    assert!(seen.contains("WATCHDOG=1"), "{seen}");
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(path.exists(), "the manager's socket is the manager's");
}
