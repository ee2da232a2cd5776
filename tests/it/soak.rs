//! A soak: many requests over a few connections, with faults injected by the upstream and by the
//! clients. Every answer is accounted for, memory stays flat, no descriptor is lost.
//! `MP_PROXY_SOAK=1000000` runs the full size; `MP_PROXY_EXPORT_GIB=10` that of the export,
//! `MP_PROXY_SIGTERMS=100` that of the shutdowns.

use crate::{
    support::{CONFIG, Home, Upstream, not_tested},
    wire::Wire,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// A line of `/proc/PID/status`, in KiB.
fn memory(pid: u32, line: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    found.trim_matches([':', ' ', '\t']).split(' ').next().unwrap().trim().parse().unwrap()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// An upstream that does to each request what its path says.
fn moody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || mood(stream));
        }
    });
    address
}

fn mood(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            let mut piece = [0; 4096];
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(count) => buffer.extend_from_slice(&piece[..count]),
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 4);
        let number = head.split("n=").nth(1).and_then(|rest| rest.split(['&', ' ']).next());
        let number = number.unwrap_or_default().to_owned();
        let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{number}", number.len());
        let (bytes, over) = match head.split(['/', '?']).nth(3).unwrap_or_default() {
            "cut" => (format!("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{number}"), true),
            "drop" => (String::new(), true),
            "garbage" => ("garbage\r\n\r\n".to_owned(), true),
            "close" => (whole.replace("200 OK\r\n", "200 OK\r\nConnection: close\r\n"), true),
            "busy" => ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned(), false),
            _ => (whole, false),
        };
        if stream.write_all(bytes.as_bytes()).is_err() || over {
            return;
        }
    }
}

/// One client: a share of the requests; counts what came, by kind and answer.
fn client(proxy: SocketAddr, share: usize, seed: usize, seen: &Mutex<BTreeMap<String, usize>>) {
    let mut counts = BTreeMap::<String, usize>::new();
    let mut wire = Wire::connect(proxy);
    for number in 0..share {
        let kind = match (number + seed) % 100 {
            0 => "cut",
            1 => "drop",
            2 => "garbage",
            3 => "close",
            4 => "busy",
            5 => "leave",
            6 => "nowhere",
            _ => "fine",
        };
        let tag = format!("{seed}-{number}");
        let path = if kind == "nowhere" {
            "/nowhere".to_owned()
        } else {
            format!("/api/query/{kind}?n={tag}")
        };
        let sent = write!(wire.stream, "GET {path} HTTP/1.1\r\nHost: {proxy}\r\n\r\n");
        if kind == "leave" || sent.is_err() {
            *counts.entry(format!("{kind} left {}", sent.is_ok())).or_default() += 1;
            wire = Wire::connect(proxy);
            continue;
        }
        let outcome = match wire.answer("GET", false) {
            Ok(Some(got)) if got.status == 200 && got.whole => {
                assert_eq!(got.body, tag.as_bytes(), "an answer of another request");
                "200".to_owned()
            }
            Ok(Some(got)) => {
                let own =
                    got.fields.iter().any(|field| field.0.eq_ignore_ascii_case("proxy-status"));
                format!(
                    "{}{}{}",
                    got.status,
                    if got.whole { "" } else { " cut" },
                    if own { " ours" } else { "" }
                )
            }
            Ok(None) => "none".to_owned(),
            Err(why) => why,
        };
        if outcome.contains("cut") || outcome == "none" {
            wire = Wire::connect(proxy);
        }
        *counts.entry(format!("{kind} {outcome}")).or_default() += 1;
    }
    let mut seen = seen.lock().unwrap();
    for (key, count) in counts {
        *seen.entry(key).or_default() += count;
    }
}

#[test]
fn a_soak_loses_no_answer_no_memory_and_no_descriptor() {
    let total = size("MP_PROXY_SOAK", 4000);
    let home = Home::new(CONFIG);
    let upstream = moody();
    let proxy = home.serve(&format!("http://{upstream}"), &["--log-level", "error"]);
    let pid = proxy.child.id();
    let run = |requests: usize| {
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        thread::scope(|scope| {
            for seed in 0..8 {
                let seen = Arc::clone(&seen);
                let address = proxy.address;
                scope.spawn(move || client(address, requests / 8, seed * 13, &seen));
            }
        });
        thread::sleep(Duration::from_millis(500));
        Arc::try_unwrap(seen).unwrap().into_inner().unwrap()
    };
    // The first round fills pools and the allocator.
    run((total / 10).max(2000));
    let (memory_before, open_before) = (memory(pid, "VmRSS"), descriptors(pid));
    let seen = run(total);
    let (memory_after, open_after) = (memory(pid, "VmRSS"), descriptors(pid));
    println!(
        "{total} requests: {seen:?}; VmRSS {memory_before} to {memory_after} KiB, descriptors {open_before} to {open_after}"
    );
    assert_eq!(seen.values().sum::<usize>(), total / 8 * 8, "{seen:?}");
    let expected = [
        "fine 200",
        "close 200",
        "busy 503",
        "cut 200 cut",
        "drop 502 ours",
        "garbage 502 ours",
        "leave left true",
        "nowhere 404 ours",
    ];
    let odd: Vec<_> = seen.keys().filter(|key| !expected.contains(&key.as_str())).collect();
    assert!(odd.is_empty(), "{odd:?} of {seen:?}");
    assert!(memory_after < memory_before + 4096, "{memory_before} to {memory_after} KiB");
    assert!(open_after <= open_before + 8, "{open_before} to {open_after} descriptors");
}

#[test]
fn large_bodies_pass_in_little_memory() {
    let gib = size("MP_PROXY_EXPORT_GIB", 0);
    let export = if gib == 0 { 64 << 20 } else { gib << 30 };
    let upload = if gib == 0 { 16 << 20 } else { 100 << 20 };
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &[]);
    let pid = proxy.child.id();
    let read_export = |bytes: usize| {
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        write!(
            stream,
            "GET /api/2.0/export?bytes={bytes} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            proxy.address
        )
        .unwrap();
        let (mut piece, mut all, mut tail) = (vec![0; 1 << 16], 0, Vec::new());
        loop {
            let count = stream.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            all += count;
            tail.extend_from_slice(&piece[count.saturating_sub(5)..count]);
            tail.drain(..tail.len().saturating_sub(5));
        }
        assert!(all >= bytes, "{all} of {bytes} bytes");
        assert_eq!(tail, b"0\r\n\r\n", "the export was not ended cleanly");
    };
    read_export(8 << 20);
    let before = memory(pid, "VmRSS");
    read_export(export);
    let after = memory(pid, "VmRSS");
    let mut wire = Wire::connect(proxy.address);
    write!(
        wire.stream,
        "POST /api/app/x HTTP/1.1\r\nHost: {}\r\nContent-Length: {upload}\r\n\r\n",
        proxy.address
    )
    .unwrap();
    let piece = vec![b'a'; 1 << 16];
    for _ in 0..upload / piece.len() {
        wire.stream.write_all(&piece).unwrap();
    }
    let got = wire.answer("POST", false).unwrap().unwrap();
    assert_eq!(got.status, 200);
    assert_eq!(upstream.last().body_len as usize, upload);
    let peak = memory(pid, "VmHWM");
    println!(
        "export of {export} bytes: VmRSS {before} to {after} KiB; upload of {upload} bytes; VmHWM {peak} KiB"
    );
    assert!(after <= before + 4096, "grew from {before} to {after} KiB");
    assert!(peak < 40 * 1024, "{peak} KiB at the peak");
}

/// As PID 1 of a namespace of its own, as in a container: SIGTERM under load cuts no request.
#[test]
fn sigterm_as_process_one_cuts_no_request() {
    let rounds = size("MP_PROXY_SIGTERMS", 3);
    let allowed =
        Command::new("unshare").args(["--pid", "--fork", "true"]).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        return not_tested("SIGTERM as PID 1: no right to make a process namespace here");
    }
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let mut finished = 0;
    for _ in 0..rounds {
        let mut inner =
            home.command(&["serve", "--listen", "127.0.0.1:0", "--upstream", &upstream.url()]);
        inner.env("PATH", "/usr/bin:/bin");
        let program = inner.get_program().to_owned();
        let mut outer = Command::new("unshare");
        outer.args(["--pid", "--fork", "--kill-child"]).arg(program).args(inner.get_args());
        outer.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut child = outer
            .current_dir(home.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        let address: SocketAddr = line.trim().strip_prefix("http://").unwrap().parse().unwrap();
        let first = thread::scope(|scope| {
            let requests: Vec<_> = (0..8)
                .map(|number| {
                    scope.spawn(move || {
                        let mut wire = Wire::connect(address);
                        let path = if number % 2 == 0 {
                            "/api/query/x?delay_ms=250"
                        } else {
                            "/api/2.0/export?rows=4&pause_ms=80"
                        };
                        write!(wire.stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")
                            .unwrap();
                        wire.answer("GET", false).unwrap().unwrap()
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(120));
            let inside =
                fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
            let inside = inside.split_whitespace().next().unwrap().to_owned();
            assert!(Command::new("kill").args(["-TERM", &inside]).status().unwrap().success());
            requests.into_iter().map(|request| request.join().unwrap()).collect::<Vec<_>>()
        });
        for got in &first {
            assert!(
                got.status == 200 && got.whole,
                "a request was cut: {} {}",
                got.status,
                got.whole
            );
        }
        finished += first.len();
        assert!(child.wait().unwrap().success());
    }
    println!("{rounds} SIGTERMs, {finished} requests, none cut");
    assert_eq!(finished, rounds * 8);
}
