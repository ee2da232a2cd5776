//! A home of its own for each test, the binary run in it, and a raw HTTP client.

use mp_proxy::demo::stand_in::{Received, StandIn};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

pub const CONFIG: &str = r#"
[active]
account = "team"

[accounts.team]
type = "service_account"
region = "eu"
default_project = "123"
username = "sa"
secret = "hunter2-secret"

[accounts.ci]
type = "oauth_token"
region = "us"
default_project = "9"
token = "tok-secret"

[accounts.me]
type = "oauth_browser"
region = "in"
default_project = "5"

[targets.ecom]
account = "ci"
project = "77"
workspace = 3

[settings]
custom_header = { name = "X-Mixpanel-Cluster", value = "internal-1" }
"#;

/// For what this machine does not let a test do: it is said at the end of the run (see
/// `.config/nextest.toml`), and with `MP_PROXY_TEST_ALL` set the test fails.
pub fn not_tested(why: &str) {
    assert!(std::env::var_os("MP_PROXY_TEST_ALL").is_none(), "NOT TESTED: {why}");
    eprintln!("NOT TESTED: {why}");
}

pub struct Home {
    pub dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Home {
    pub fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Self { dir, env: Vec::new() };
        home.write(".mp/config.toml", config);
        home
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let next = path.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(next, path).unwrap();
    }

    /// The binary with nothing of the real environment but what the test gives.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mp-proxy"));
        command.args(args).env_clear().env("HOME", self.dir.path()).current_dir(self.dir.path());
        // Where `.ci/coverage` wants its counts; not a variable that the program reads.
        command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
        command.envs(self.env.iter().cloned());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    pub fn serve(&self, upstream: &str, args: &[&str]) -> Serving {
        self.serve_on("127.0.0.1:0", upstream, args)
    }

    pub fn serve_on(&self, listen: &str, upstream: &str, args: &[&str]) -> Serving {
        let mut all = vec!["serve", "--listen", listen, "--upstream", upstream];
        all.extend(args);
        self.spawn(&mut self.command(&all))
    }

    /// A `serve` that the test put together itself.
    pub fn spawn(&self, serve: &mut Command) -> Serving {
        let log = self.path("proxy.log");
        let mut child =
            serve.stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_scheme, address) = line.trim().split_once("://").expect("the bound address");
        let address = address.parse().unwrap();
        Serving { child, address, log }
    }
}

pub struct Serving {
    pub child: Child,
    pub address: SocketAddr,
    pub log: PathBuf,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A killed program writes no counts for `.ci/coverage`.
        if std::env::var_os("LLVM_PROFILE_FILE").is_some() {
            let pid = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let until = Instant::now() + Duration::from_secs(3);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (have, value) = line.split_once(':')?;
            have.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Serving {
    /// Sends raw bytes and reads until the proxy closes.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(all[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: all[end + 4..].to_vec() }
    }

    /// A GET with extra header lines (each with its `\r\n`).
    pub fn get(&self, target: &str, lines: &str) -> Answer {
        let host = self.address;
        self.raw(
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n")
                .as_bytes(),
        )
    }
}

/// A stand-in with a runtime of its own.
pub struct Upstream {
    pub stand_in: Option<StandIn>,
    runtime: tokio::runtime::Runtime,
}

impl Upstream {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stand_in = runtime.block_on(StandIn::start()).unwrap();
        Self { stand_in: Some(stand_in), runtime }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.stand_in.as_ref().unwrap().addr())
    }

    pub fn received(&self) -> Vec<Received> {
        self.stand_in.as_ref().unwrap().received()
    }

    pub fn last(&self) -> Received {
        self.received().pop().expect("a request at the upstream")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        drop(self.stand_in.take());
    }
}

pub fn header<'a>(received: &'a Received, name: &str) -> Option<&'a str> {
    received
        .headers
        .iter()
        .find(|(have, _)| have.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}
