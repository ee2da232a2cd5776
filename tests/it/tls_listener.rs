//! TLS on the listener with the real program: who is let in, how the pair is followed, what stops
//! a start, and that everything that looks after a proxy knows it.

use crate::support::{CONFIG, Home, Serving, Upstream, header};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

const FLAGS: [&str; 4] = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];

/// A new certificate with its key, in PEM.
fn made() -> (String, String) {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn home() -> Home {
    let home = Home::new(CONFIG).with("PATH", "/usr/bin:/bin");
    let (cert, key) = made();
    home.write("cert.pem", &cert);
    home.write("key.pem", &key);
    home
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// curl that trusts `cert.pem`; gives the status and what it said.
fn curl(home: &Home, proxy: &Serving, path: &str, args: &[&str]) -> (String, String) {
    let output = Command::new("curl")
        .args(["-sS", "--cacert", home.path("cert.pem").to_str().unwrap()])
        .args(["-w", "\n%{http_code}"])
        .args(args)
        .arg(format!("https://{}{path}", proxy.address))
        .output()
        .unwrap();
    let said = text(&output.stdout);
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.to_owned(), format!("{body}{}", text(&output.stderr)))
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn requests_come_in_through_tls_and_only_so() {
    let home = home();
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &FLAGS);
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let (status, said) = curl(&home, &proxy, "/api/query/events/names", &version);
        assert!(status == "200" && said.contains("Login"), "{version:?}: {status} {said}");
    }
    assert_eq!(header(&upstream.last(), "authorization"), Some("Basic c2E6aHVudGVyMi1zZWNyZXQ="));
    let before = upstream.received().len();
    let own = |path: &str| format!("https://{}{path}", proxy.address);
    for (args, status) in [
        (vec!["--http2"], "200"),
        (vec!["--request-target", own("/api/query/x").leak()], "200"),
        (vec!["--request-target", format!("http://{}/api/query/x", proxy.address).leak()], "403"),
        (vec!["-H", "Origin: https://127.0.0.1"], "403"),
        (vec!["-H", "Host: evil.example"], "403"),
        (vec!["-H", "Host: 127.0.0.1"], "403"),
    ] {
        let (got, said) = curl(&home, &proxy, "/api/query/x", &args);
        assert_eq!(got, status, "{args:?}: {said}");
    }
    assert_eq!(upstream.received().len(), before + 2);
    // Nothing is answered to plain HTTP, to older TLS, or to a caller who speaks HTTP/2 only.
    let mut plain = TcpStream::connect(proxy.address).unwrap();
    let request = format!("GET /_mp/livez HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.address);
    let _ = plain.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "{}", text(&answer));
    for args in [["-alpn", "h2"].as_slice(), &["-tls1_1"]] {
        let tried = Command::new("openssl")
            .args(["s_client", "-connect", &proxy.address.to_string()])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!tried.status.success(), "{args:?}: {}", text(&tried.stdout));
    }
}

#[test]
fn a_new_pair_is_used_at_once_and_a_broken_one_never() {
    let home = home();
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &FLAGS);
    assert_eq!(curl(&home, &proxy, "/_mp/livez", &[]).0, "200");
    let old = fs::read_to_string(home.path("cert.pem")).unwrap();
    let (cert, key) = made();
    home.write("key.pem", &key);
    home.write("cert.pem", &cert);
    assert_eq!(curl(&home, &proxy, "/_mp/livez", &[]).0, "200", "the new one is trusted");
    home.write("old.pem", &old);
    let old = ["--cacert", home.path("old.pem").to_str().unwrap().to_owned().leak()];
    let (_, said) = curl(&home, &proxy, "/_mp/livez", &old);
    assert!(said.contains("certificate"), "the old one is still shown: {said}");
    // Broken: the pair that was good stays, and it is said everywhere.
    home.write("key.pem", "not a key, s3cr3t");
    let (status, ready) = curl(&home, &proxy, "/_mp/readyz", &[]);
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    assert_eq!((status.as_str(), &ready["tls"]["status"]), ("200", &"stale".into()), "{ready}");
    assert!(ready["tls"]["detail"].as_str().unwrap().contains("key.pem"), "{ready}");
    let (_, metrics) = curl(&home, &proxy, "/_mp/metrics", &[]);
    for line in [
        "mp_proxy_tls_stale 1",
        "mp_proxy_tls_generation 2",
        "mp_proxy_tls_reloads_total{outcome=\"broken\"} ",
    ] {
        assert!(metrics.contains(line), "{line}:\n{metrics}");
    }
    let log = fs::read_to_string(&proxy.log).unwrap();
    assert!(log.contains("the old one stays in force") && log.contains("key.pem"), "{log}");
    assert!(!log.contains("s3cr3t"), "{log}");
    home.write("key.pem", &key);
    let (_, ready) = curl(&home, &proxy, "/_mp/readyz", &[]);
    assert!(ready.contains(r#""status":"in force""#) && !ready.contains("stale"), "{ready}");
    assert!(curl(&home, &proxy, "/_mp/metrics", &[]).1.contains("mp_proxy_tls_stale 0"));
}

#[test]
fn what_looks_after_a_proxy_takes_its_certificate_and_no_other() {
    let home = home();
    let (other, _) = made();
    home.write("other.pem", &other);
    let upstream = Upstream::start();
    let mut proxy = home.serve(&upstream.url(), &FLAGS);
    let address = proxy.address.to_string();
    let run = |args: &[&str]| {
        let output: Output = home.run(&[args, &["--listen", &address]].concat());
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let cert = ["--tls-cert", "cert.pem"];
    assert_eq!(run(&[&["health"], &cert[..]].concat()).1, "healthy\n");
    assert_eq!(run(&[&["wait"], &cert[..]].concat()).1, "ready\n");
    for wrong in [
        vec!["health"],
        vec!["health", "--tls-cert", "other.pem"],
        vec!["health", "--tls-cert", "none.pem"],
    ] {
        let (code, said) = run(&wrong);
        assert!(code == Some(1) && said.contains("no mp-proxy answers"), "{wrong:?}: {said}");
    }
    let mut tail = home
        .command(&["tail", "--listen", &address, "--tls-cert", "cert.pem"])
        .stdout(fs::File::create(home.path("tail.txt")).unwrap())
        .spawn()
        .unwrap();
    until("nothing was heard", || {
        curl(&home, &proxy, "/api/query/events/names", &[]);
        fs::read_to_string(home.path("tail.txt")).unwrap().contains(" 200 GET ")
    });
    tail.kill().unwrap();
    tail.wait().unwrap();
    let second = home.run(&[&["serve", "--listen", &address], &FLAGS[..]].concat());
    assert!(text(&second.stderr).contains("taken by another mp-proxy"), "{}", text(&second.stderr));
    // A private proxy has nothing to do with the certificate of a shared one.
    let private = home
        .command(&["run", "--upstream", &upstream.url(), "--", "sh", "-c", "echo $MP_PROXY_URL"])
        .env("MP_PROXY_TLS_CERT", "cert.pem")
        .output()
        .unwrap();
    assert!(text(&private.stdout).starts_with("http://127.0.0.1:"), "{}", text(&private.stderr));
    let stopped = run(&[&["stop"], &cert[..]].concat());
    assert_eq!(stopped.1, "stopped\n");
    assert!(proxy.child.wait().unwrap().success());
}

#[test]
fn the_watchdog_asks_through_tls_and_goes_by_the_pair_in_force() {
    let home = home();
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let notify = home.path("notify").to_str().unwrap().to_owned();
    let home = home.with("NOTIFY_SOCKET", &notify).with("WATCHDOG_USEC", "300000");
    let upstream = Upstream::start();
    let _proxy = home.serve(&upstream.url(), &FLAGS);
    let hear = || {
        for _ in 0..20 {
            let mut bytes = [0; 1024];
            let length = manager.recv(&mut bytes).expect("word from the proxy");
            if text(&bytes[..length]).contains("WATCHDOG=1") {
                return;
            }
        }
        panic!("the watchdog is silent");
    };
    hear();
    // A broken change must not have the manager kill us.
    home.write("cert.pem", &made().0);
    std::thread::sleep(Duration::from_millis(400));
    while manager.set_nonblocking(true).is_ok() && manager.recv(&mut [0; 1024]).is_ok() {}
    manager.set_nonblocking(false).unwrap();
    hear();
}

#[test]
fn a_pair_that_is_wrong_stops_the_start_and_says_why() {
    let home = home();
    let refused = |args: &[&str], code: i32, said: &[&str]| {
        let output = home.run(&[&["serve", "--listen", "127.0.0.1:0"], args].concat());
        let text = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(said.iter().all(|word| text.contains(word)), "{args:?}: {text}");
    };
    refused(&["--tls-cert", "cert.pem"], 3, &["--tls-key"]);
    refused(&["--tls-key", "key.pem"], 3, &["--tls-cert"]);
    refused(&["--tls-cert", "no.pem", "--tls-key", "key.pem"], 1, &["no.pem", "not found"]);
    refused(&["--tls-cert", "cert.pem", "--tls-key", "no.pem"], 1, &["no.pem", "does not exist"]);
    refused(&["--tls-cert", "key.pem", "--tls-key", "key.pem"], 1, &["no certificate"]);
    home.write("other.pem", &made().1);
    refused(&["--tls-cert", "cert.pem", "--tls-key", "other.pem"], 1, &["is not that of"]);
    fs::set_permissions(home.path("other.pem"), fs::Permissions::from_mode(0o640)).unwrap();
    refused(&["--tls-cert", "cert.pem", "--tls-key", "other.pem"], 1, &["chmod 600"]);
    std::os::unix::fs::symlink("key.pem", home.path("link.pem")).unwrap();
    refused(&["--tls-cert", "cert.pem", "--tls-key", "link.pem"], 1, &["symbolic link"]);
    let output = home.run(&[&["serve", "--unix-socket", "s.sock"], &FLAGS[..]].concat());
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("only a unix socket"), "{said}");
    assert!(!home.path("s.sock").exists());
}

#[test]
fn a_handshake_is_held_to_the_limits_and_does_not_hold_up_the_end() {
    let home = home();
    let upstream = Upstream::start();
    let args = [&FLAGS[..], &["--header-read-timeout", "1", "--max-connections", "2"]].concat();
    let proxy = home.serve(&upstream.url(), &args);
    let silent: Vec<_> = (0..2).map(|_| TcpStream::connect(proxy.address).unwrap()).collect();
    // Both places are taken by callers who say nothing, until their time is over.
    until("the place was not given back", || curl(&home, &proxy, "/_mp/livez", &[]).0 == "200");
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)), "it is still open");
    }
    drop(proxy);
    let args = [&FLAGS[..], &["--header-read-timeout", "3600"]].concat();
    let mut proxy = home.serve(&upstream.url(), &args);
    let mut silent = TcpStream::connect(proxy.address).unwrap();
    // Half of a handshake, so that it is under way for certain.
    silent.write_all(&[22, 3, 1]).unwrap();
    assert_eq!(curl(&home, &proxy, "/_mp/livez", &[]).0, "200");
    let begun = Instant::now();
    Command::new("kill").args(["-TERM", &proxy.child.id().to_string()]).status().unwrap();
    assert!(proxy.child.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(8), "the end waited for a handshake");
}
