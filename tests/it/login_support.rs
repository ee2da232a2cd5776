//! A login that waits for its browser, and the simplest browser there is: sockets.

use crate::support::{Answer, Home, Upstream};
use oauth2::url::Url;
use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The callback ports are four and the same for every program of the machine: one test at a time,
/// whichever process or checkout it runs in.
pub struct Ports(#[expect(dead_code, reason = "the lock is what counts")] File);

impl Ports {
    pub fn mine() -> Self {
        let path = std::env::temp_dir().join("mp-proxy-tests-callback-ports.lock");
        let file = File::options().create(true).append(true).open(path).unwrap();
        file.lock().unwrap();
        Self(file)
    }
}

/// Ends with its test: a login that waits for five minutes would keep its port from all others.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Login {
    child: Ended,
    pub stdin: Option<ChildStdin>,
    pub url: Option<Url>,
    stderr: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
    out: JoinHandle<String>,
    since: Instant,
}

pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Done {
    /// The refusal that a `--json` command ended with.
    pub fn error(&self) -> serde_json::Value {
        let last = self.stderr.lines().last().unwrap_or_default();
        let error: serde_json::Value = serde_json::from_str(last).expect(&self.stderr);
        error["error"].clone()
    }
}

impl Login {
    /// Starts a login and waits for the address that it prints; `None` if it ends before.
    pub fn start(home: &Home, upstream: &Upstream, args: &[&str]) -> Self {
        Self::start_at(home, &upstream.url(), args)
    }

    pub fn start_at(home: &Home, upstream: &str, args: &[&str]) -> Self {
        Self::start_with(home.command(args), upstream)
    }

    pub fn start_with(mut command: Command, upstream: &str) -> Self {
        let mut child = command
            .env("MP_PROXY_UPSTREAM", upstream)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let since = Instant::now();
        let mut stdout = child.stdout.take().unwrap();
        let out = thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (found, url) = std::sync::mpsc::channel();
        let all = Arc::clone(&stderr);
        let reading = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("/oauth/authorize/") {
                    let _ = found.send(Url::parse(line.trim()).unwrap());
                }
                let mut all = all.lock().unwrap();
                all.push_str(&line);
                all.push('\n');
            }
        });
        let url = url.recv_timeout(Duration::from_secs(20)).ok();
        Self { stdin: child.stdin.take(), child: Ended(child), url, stderr, reading, out, since }
    }

    pub fn url(&self) -> &Url {
        self.url.as_ref().unwrap_or_else(|| panic!("no address: {}", self.stderr.lock().unwrap()))
    }

    pub fn finish(mut self) -> Done {
        let status = self.child.0.wait().unwrap();
        let took = self.since.elapsed();
        self.reading.join().unwrap();
        let stderr = self.stderr.lock().unwrap().clone();
        let done = Done { code: status.code(), stdout: self.out.join().unwrap(), stderr, took };
        for secret in ["demo-access", "demo-refresh", "demo-code"] {
            assert!(!done.stderr.contains(secret), "{}", done.stderr);
            assert!(!done.stdout.contains(secret), "{}", done.stdout);
        }
        done
    }

    /// The redirect of this login, of whatever port.
    pub fn redirect(&self) -> Url {
        let redirect = self.url().query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1;
        Url::parse(&redirect).unwrap()
    }
}

/// One request, the raw answer.
pub fn send(url: &Url, head: &str, body: &str) -> Answer {
    let (host, port) = (url.host_str().unwrap(), url.port().unwrap());
    let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let text = format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).unwrap();
    // Not every server closes when it is asked to.
    let (mut all, mut piece) = (Vec::new(), [0_u8; 16 * 1024]);
    loop {
        let read = stream.read(&mut piece).unwrap_or(0);
        all.extend_from_slice(&piece[..read]);
        let end = all.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else {
            assert!(read > 0, "no whole head from {url}");
            continue;
        };
        let head = String::from_utf8(all[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let answer = Answer { status, head, body: all[end + 4..].to_vec() };
        let length = answer.header("content-length").and_then(|text| text.parse::<usize>().ok());
        if read == 0 || length.is_some_and(|length| answer.body.len() >= length) {
            return answer;
        }
    }
}

pub fn get(url: &Url) -> Answer {
    let target = &url[oauth2::url::Position::BeforePath..oauth2::url::Position::AfterQuery];
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    send(url, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n"), "")
}

/// Opens the consent page, presses `allow` or `deny`, and gives where that leads.
pub fn press(url: &Url, decision: &str) -> Url {
    let page = String::from_utf8(get(url).body).unwrap();
    let ask = page.split("name=\"ask\" value=\"").nth(1).expect("the consent page");
    let form = format!("ask={}&decision={decision}", ask.split('"').next().unwrap());
    let answer = send(url, "POST /oauth/authorize/decide/ HTTP/1.1\r\nHost: stand-in\r\n", &form);
    Url::parse(answer.header("location").expect("a redirect")).unwrap()
}
