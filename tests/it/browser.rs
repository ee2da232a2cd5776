//! Web pages against the proxy, in a real Chromium: nothing that a page can do reaches the upstream.
//! Every page also attacks a server without a guard, which proves that the attack itself works.
//! `MP_PROXY_CHROMIUM` names the browser; without one on the PATH and without the variable there is
//! nothing to test with, and the test says so. `.ci/run` sets it, so that there it cannot be missing.

use crate::{
    recorder::{Recorder, Step},
    support::{CONFIG, Home, Upstream, not_tested},
};
use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

const ATTACKS: &str = include_str!("../browser/attacks.js");

/// The attacker's server; keeps the kinds whose pages were loaded.
struct Attacker {
    port: u16,
    opened: Arc<Mutex<BTreeSet<String>>>,
}

impl Attacker {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let opened = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = Arc::clone(&opened);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                thread::spawn(move || answer(stream, &seen));
            }
        });
        Self { port, opened }
    }
}

fn answer(mut stream: TcpStream, opened: &Mutex<BTreeSet<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let value = |name: &str| {
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        percent_encoding::percent_decode_str(pair.unwrap_or_default())
            .decode_utf8_lossy()
            .into_owned()
    };
    let page = "<!doctype html><body><script src=/attacks.js></script>".to_owned();
    let html = "Content-Type: text/html\r\n".to_owned();
    let script = "Content-Type: text/javascript\r\n".to_owned();
    let (status, fields, body) = match path {
        "/index" => ("200 OK", html, page),
        "/attack" => {
            opened.lock().unwrap().insert(value("k"));
            ("200 OK", html, page)
        }
        "/attacks.js" => ("200 OK", script, ATTACKS.to_owned()),
        "/refresh" => ("200 OK", format!("{html}Refresh: 0;url={}\r\n", value("u")), String::new()),
        "/preload" => {
            let link = format!("{html}Link: <{}>; rel=preload; as=image\r\n", value("u"));
            ("200 OK", link, "x".to_owned())
        }
        "/csp" => {
            let policy = format!(
                "{html}Content-Security-Policy: img-src 'none'; report-uri {}\r\n",
                value("u")
            );
            ("200 OK", policy, "<img src=/x.png>".to_owned())
        }
        "/sw.js" => {
            let body = format!(
                "self.oninstall = () => fetch({:?}, {{mode: 'no-cors'}}).catch(() => {{}})",
                value("u")
            );
            ("200 OK", script, body)
        }
        path => match path.strip_prefix("/redirect/") {
            Some(code) => {
                let status = match code {
                    "301" => "301 Moved",
                    "302" => "302 Found",
                    "303" => "303 See Other",
                    "307" => "307 Temporary",
                    _ => "308 Permanent",
                };
                (status, format!("Location: {}\r\n", value("u")), String::new())
            }
            None => ("404 Not Found", html, String::new()),
        },
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}"
    );
}

fn chromium() -> Option<String> {
    if let Ok(path) = std::env::var("MP_PROXY_CHROMIUM") {
        return Some(path);
    }
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .map(str::to_owned)
}

struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens the index on several origins, all attacking `targets`.
fn browse(program: &str, home: &Home, attacker: u16, targets: &[String]) -> Browser {
    let list = serde_json::to_string(targets).unwrap();
    let list = percent_encoding::utf8_percent_encode(&list, percent_encoding::NON_ALPHANUMERIC);
    // Foreign, same-site (another port of this machine), and pages without a usable origin.
    let origins = ["evil.test", "localhost"];
    let opens: String = origins
        .iter()
        .map(|host| {
            format!("<script>open('http://{host}:{attacker}/index?targets={list}')</script>")
        })
        .collect();
    let images: String =
        targets.iter().map(|t| format!("<img src={t}/api/query/x?kind=file-page>")).collect();
    let fetches: String = targets
        .iter()
        .map(|t| format!("<script>fetch('{t}/api/query/x?kind=file-fetch').catch(()=>0)</script>"))
        .collect();
    // The first page is a file; one without any origin is in it; it opens the rest.
    let data = images.replace("file-page", "data-page");
    let page =
        format!("<body>{images}{fetches}<iframe src='data:text/html,{data}'></iframe>{opens}");
    home.write("page.html", &page);
    let first = format!("file://{}", home.path("page.html").display());
    let child = Command::new(program)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--no-first-run", "--disable-popup-blocking", "--disable-background-networking"])
        .args(["--disable-background-timer-throttling", "--disable-renderer-backgrounding"])
        .arg("--disable-backgrounding-occluded-windows")
        .args(["--disable-component-update", "--mute-audio", "--disable-extensions"])
        .arg("--host-resolver-rules=MAP evil.test 127.0.0.1, MAP rebind.test 127.0.0.1, MAP *.test 127.0.0.1, EXCLUDE localhost")
        .arg(format!("--unsafely-treat-insecure-origin-as-secure=http://evil.test:{attacker}"))
        .arg(format!("--user-data-dir={}", home.path("chromium").display()))
        .arg(first)
        .env_clear()
        .env("HOME", home.dir.path())
        .env("PATH", "/usr/bin:/bin")
        .stdout(Stdio::null())
        .stderr(fs::File::create(home.path("chromium.log")).unwrap())
        .spawn()
        .unwrap();
    Browser(child)
}

fn kinds(lines: &[String]) -> BTreeSet<String> {
    lines
        .iter()
        .filter_map(|line| line.split("kind=").nth(1)?.split([' ', '&']).next().map(str::to_owned))
        .collect()
}

#[test]
fn no_page_reaches_the_upstream() {
    let Some(program) = chromium() else {
        return not_tested("attacks from a browser: no Chromium here, set MP_PROXY_CHROMIUM");
    };
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &["--log-level", "warn"]);
    let (attacker, naked) = (Attacker::start(), Recorder::start());
    // As careless as can be: every preflight is granted.
    let open = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\n\
                Access-Control-Allow-Methods: *\r\nAccess-Control-Allow-Headers: *, authorization\r\n\
                Access-Control-Allow-Private-Network: true\r\n\r\nok";
    naked.expect(vec![Step::Bytes(open.as_bytes().to_vec())], false);
    let port = proxy.address.port();
    // The last one is DNS rebinding: a name of the attacker that has become this machine.
    let targets = [
        format!("http://{}", naked.address),
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("http://rebind.test:{port}"),
    ];
    let browser = browse(&program, &home, attacker.port, &targets);
    let (mut last, mut quiet) = (0, Instant::now());
    let until = Instant::now() + Duration::from_secs(50);
    while Instant::now() < until && (last == 0 || quiet.elapsed() < Duration::from_secs(4)) {
        thread::sleep(Duration::from_millis(200));
        let now = naked.lines().len() + fs::metadata(&proxy.log).unwrap().len() as usize;
        if now != last {
            (last, quiet) = (now, Instant::now());
        }
    }
    drop(browser);
    let opened = attacker.opened.lock().unwrap().clone();
    let reached = kinds(&naked.lines());
    let log = fs::read_to_string(&proxy.log).unwrap();
    let refused = log.lines().filter(|line| line.contains("GUARD_")).count();
    println!(
        "{} kinds opened, {} reach a server without a guard, {refused} requests refused here",
        opened.len(),
        reached.len()
    );
    println!("not seen at the other server: {:?}", opened.difference(&reached).collect::<Vec<_>>());
    assert!(opened.len() >= 50, "only {} kinds of pages were opened", opened.len());
    assert!(reached.len() >= 50, "only {} kinds work at all: {reached:?}", reached.len());
    assert!(refused >= 100, "only {refused} requests were refused");
    let arrived: Vec<_> = upstream.received().into_iter().map(|one| one.target).collect();
    assert!(arrived.is_empty(), "pages reached the upstream: {arrived:?}");
    assert_eq!(proxy.get("/api/query/x", "").status, 200, "the proxy works for programs");
}
