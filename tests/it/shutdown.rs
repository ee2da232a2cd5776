//! The end of a proxy by signals: a second one ends it at once, and no finished request is
//! missing from the log.

use crate::support::{CONFIG, Home, Upstream};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

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
