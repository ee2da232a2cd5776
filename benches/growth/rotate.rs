//! A load generator for `run.py`: opens many connections, keeps a few requests in flight, and lets
//! them rotate over those that are in use and over as many targets as it is told.
//! Arguments: PORT CONNECTIONS IN_USE IN_FLIGHT TARGETS PATH. It says `ready` once each connection has had
//! an answer; then each line on stdin is a number of requests, answered with a line of JSON.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a tool of the benchmark"
)]

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    env, io,
    rc::Rc,
    time::Instant,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Builder,
    task::LocalSet,
};

fn main() {
    let [port, connections, in_use, in_flight, targets] = [1, 2, 3, 4, 5]
        .map(|n| env::args().nth(n).and_then(|text| text.parse().ok()).expect("number"));
    let path = env::args().nth(6).expect("PATH");
    let head = |target| format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{target}\r\n");
    let mut requests: Vec<_> =
        (0..targets).map(|number| head(format!("X-Mp-Target: t{number}\r\n"))).collect();
    if requests.is_empty() {
        requests.push(head(String::new()));
    }
    let load = Rc::new(Load { idle: RefCell::default(), requests, next: Cell::new(0) });
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // One answer each: nobody has to queue for `accept`.
        for _ in 0..connections {
            let stream =
                TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).await.unwrap();
            stream.set_nodelay(true).unwrap();
            load.idle.borrow_mut().push_back(stream);
            load.exchange().await;
        }
    });
    let _at_rest = load.idle.borrow_mut().split_off(in_use);
    println!("ready");
    for line in io::stdin().lines() {
        let wanted: usize = line.unwrap().parse().expect("a number of requests");
        let left = Rc::new(Cell::new(wanted));
        let begun = Instant::now();
        let mut took = runtime.block_on(LocalSet::new().run_until(async {
            let walks: Vec<_> = (0..in_flight)
                .map(|_| tokio::task::spawn_local(Rc::clone(&load).walk(Rc::clone(&left))))
                .collect();
            let mut took = Vec::with_capacity(wanted);
            for walk in walks {
                took.extend(walk.await.unwrap());
            }
            took
        }));
        let seconds = begun.elapsed().as_secs_f64();
        took.sort_unstable();
        let at = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)];
        println!(
            "{{\"requests\": {}, \"seconds\": {seconds}, \"p50\": {}, \"p99\": {}}}",
            took.len(),
            at(50),
            at(99)
        );
    }
}

struct Load {
    /// The connection that rested longest is next.
    idle: RefCell<VecDeque<TcpStream>>,
    requests: Vec<String>,
    next: Cell<usize>,
}

impl Load {
    /// Requests one after the other until none is left; the microseconds of each.
    async fn walk(self: Rc<Self>, left: Rc<Cell<usize>>) -> Vec<u64> {
        let mut took = Vec::new();
        while left.get() > 0 {
            left.set(left.get() - 1);
            let begun = Instant::now();
            self.exchange().await;
            took.push(u64::try_from(begun.elapsed().as_micros()).unwrap());
        }
        took
    }

    async fn exchange(&self) {
        let mut stream =
            self.idle.borrow_mut().pop_front().expect("fewer connections than in flight");
        let number = self.next.get();
        self.next.set((number + 1) % self.requests.len());
        stream.write_all(self.requests[number].as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        let mut length = 0;
        while !whole(&answer[..length]) {
            let read = stream.read(&mut answer[length..]).await.unwrap();
            assert!(read > 0, "the proxy closed a connection");
            length += read;
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "not answered: {}",
            String::from_utf8_lossy(&answer[..length])
        );
        self.idle.borrow_mut().push_back(stream);
    }
}

/// Whether head and body are there.
fn whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    answer.len() >= end + 4 + length.unwrap_or(0)
}
