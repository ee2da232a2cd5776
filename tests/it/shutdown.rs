//! How requests end that get no whole answer: cut off by a second signal or at the end of the time
//! to finish, or left by their caller. Each of them is in the log and in the counts.

use crate::support::{CONFIG, Home, Serving, Upstream};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

/// An upstream that answers requests for the export with half an answer, and others not at all.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap();
            if head[..count].windows(6).any(|word| word == b"export") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
            }
            kept.push(stream);
        }
    });
    url
}

fn ask(proxy: &Serving, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.address).unwrap();
    stream
}

/// One request whose answer has begun, and one that waits for its own.
fn running(proxy: &Serving) -> [TcpStream; 2] {
    let waiting = ask(proxy, "/api/query/waiting");
    let mut begun = ask(proxy, "/api/2.0/export");
    begun.read_exact(&mut [0; 100]).unwrap();
    until(|| in_flight(proxy) == 2);
    [waiting, begun]
}

fn in_flight(proxy: &Serving) -> u64 {
    metric(proxy, "mp_proxy_requests_in_flight ").unwrap()
}

fn metric(proxy: &Serving, start: &str) -> Option<u64> {
    let text = String::from_utf8(proxy.get("/_mp/metrics", "").body).unwrap();
    text.lines().find_map(|line| line.strip_prefix(start)?.trim().parse().ok())
}

fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it never came");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Both requests of [`running`] are in the log, and that there were two.
fn check(log: &str) {
    assert!(log.contains("what is still running is cut off requests=2"), "{log}");
    let line = |part: &str| log.lines().find(|line| line.contains(part)).unwrap_or_default();
    let waiting = line("GET /api/query/waiting 499 ");
    assert!(waiting.contains(" WARN ") && waiting.contains(" as=team/123 "), "{log}");
    assert!(waiting.ends_with(" cut"), "{log}");
    let begun = line("GET /api/2.0/export 200 ");
    assert!(begun.contains(" WARN ") && begun.ends_with(" cut"), "{log}");
}

#[test]
fn a_second_signal_ends_it_at_once_with_its_log_written() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let mut proxy = home.serve(&upstream.url(), &[]);
    // Something that a shutdown waits for.
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    let path = "/api/2.0/export?rows=1000&pause_ms=100";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.address).unwrap();
    stream.read_exact(&mut [0; 100]).unwrap();
    proxy.get("/api/query/events/names?last", "X-Request-Id: the-last-one\r\n");
    // Two kinds, since two of a kind may arrive as one.
    let pid = Pid::from_child(&proxy.child);
    let begun = Instant::now();
    kill_process(pid, Signal::TERM).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = proxy.child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(5), "it waited for the export");
    let log = fs::read_to_string(&proxy.log).unwrap();
    assert!(log.contains("the-last-one"), "{log}");
}

#[test]
fn what_a_second_signal_cuts_off_is_logged() {
    let home = Home::new(CONFIG);
    let mut proxy = home.serve(&silent(), &["--audit-file", "audit"]);
    let _running = running(&proxy);
    let pid = Pid::from_child(&proxy.child);
    kill_process(pid, Signal::TERM).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(proxy.child.wait().unwrap().code(), Some(130));
    check(&fs::read_to_string(&proxy.log).unwrap());
    let audit = fs::read_to_string(home.path("audit")).unwrap();
    assert_eq!(audit.matches(r#""cut":true"#).count(), 2, "{audit}");
}

/// Nobody reads the log, and the pipe to nobody is full.
#[test]
fn a_reader_of_the_log_that_stands_still_does_not_hold_up_a_forced_end() {
    let home = Home::new(CONFIG);
    let mut serve = home.command(&["serve", "--listen", "127.0.0.1:0", "--upstream", &silent()]);
    let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().trim_start_matches("http://").parse().unwrap();
    let mut proxy = Serving { child, address, log: home.path("none") };
    let _running = running(&proxy);
    let path = format!("/nowhere/{}", "x".repeat(500));
    for _ in 0..300 {
        assert_eq!(proxy.get(&path, "").status, 404);
    }
    let pid = Pid::from_child(&proxy.child);
    let begun = Instant::now();
    kill_process(pid, Signal::TERM).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(proxy.child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(5), "it waited for a reader");
}

#[test]
fn what_is_cut_off_when_the_time_to_finish_is_over_is_logged() {
    let home = Home::new(CONFIG);
    let mut proxy = home.serve(&silent(), &[]);
    let _running = running(&proxy);
    kill_process(Pid::from_child(&proxy.child), Signal::TERM).unwrap();
    assert_eq!(proxy.child.wait().unwrap().code(), Some(0));
    check(&fs::read_to_string(&proxy.log).unwrap());
}

#[test]
fn a_caller_that_hangs_up_is_logged_counted_and_no_longer_under_way() {
    let home = Home::new(CONFIG);
    let proxy = home.serve(&silent(), &["--audit-file", "audit"]);
    for stream in running(&proxy) {
        stream.shutdown(Shutdown::Both).unwrap();
    }
    until(|| in_flight(&proxy) == 0);
    assert_eq!(metric(&proxy, "mp_proxy_answers_cut_total{side=\"down\"} "), Some(2));
    let log = || fs::read_to_string(&proxy.log).unwrap();
    until(|| log().matches(" cut\n").count() == 2);
    assert!(log().contains("GET /api/query/waiting 499 "), "{}", log());
    let audit = || fs::read_to_string(home.path("audit")).unwrap();
    until(|| audit().contains(r#""status":499,"answered_by":"nobody""#));
    assert_eq!(audit().matches(r#""cut":true"#).count(), 2, "{}", audit());
}
