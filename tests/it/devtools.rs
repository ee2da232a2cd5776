//! A real, headless Chromium on a pipe (Chrome DevTools Protocol), for what WebDriver cannot do:
//! answer the browser's question for a password. Used by `inspector_token`.
//! `.ci/run` installs the browser; without it these tests fail and say so.

use serde_json::{Value, json};
use std::{
    cell::{Cell, RefCell},
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Page {
    browser: Child,
    input: RefCell<ChildStdin>,
    messages: Receiver<Value>,
    /// Events that came while an answer was awaited.
    early: RefCell<Vec<Value>>,
    session: Option<String>,
    serial: Cell<u64>,
    _profile: tempfile::TempDir,
}

impl Page {
    /// An empty page of a browser of its own.
    pub fn open() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let program = std::env::var("MP_PROXY_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        // The browser reads commands at descriptor 3 and writes to 4, which Rust cannot place
        // without unsafe code; the shell can.
        let mut browser = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null", &program])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--no-proxy-server", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().join("data").display()))
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium: apt-get install chromium");
        let input = RefCell::new(browser.stdin.take().unwrap());
        let output = BufReader::new(browser.stdout.take().unwrap());
        let (send, messages) = channel();
        thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let Ok(value) = serde_json::from_slice(&message) else { return };
                if send.send(value).is_err() {
                    return;
                }
            }
        });
        let mut page = Self {
            browser,
            input,
            messages,
            early: RefCell::default(),
            session: None,
            serial: Cell::new(0),
            _profile: profile,
        };
        let made = page.call("Target.createTarget", json!({"url": "about:blank"}));
        let joined = page
            .call("Target.attachToTarget", json!({"targetId": made["targetId"], "flatten": true}));
        page.session = Some(joined["sessionId"].as_str().expect("a session").to_owned());
        page
    }

    /// Runs a command and returns its result.
    pub fn call(&self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        let (answer, early) = self.until(|message| message["id"] == id);
        self.early.borrow_mut().extend(early);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Starts a command without waiting for its result.
    pub fn send(&self, method: &str, params: Value) -> u64 {
        let id = self.serial.get() + 1;
        self.serial.set(id);
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.borrow_mut().write_all(&bytes).unwrap();
        id
    }

    /// The parameters of the next event of this name.
    pub fn event(&self, name: &str) -> Value {
        let known = self.early.borrow().iter().position(|message| message["method"] == name);
        if let Some(at) = known {
            return self.early.borrow_mut().remove(at)["params"].clone();
        }
        let (event, others) = self.until(|message| message["method"] == name);
        self.early.borrow_mut().extend(others);
        event["params"].clone()
    }

    /// How often an event of this name came that nobody took yet.
    pub fn pending(&self, name: &str) -> usize {
        self.early.borrow().iter().filter(|message| message["method"] == name).count()
    }

    /// The value of an expression, as text.
    pub fn text(&self, expression: &str) -> String {
        let answer =
            self.call("Runtime.evaluate", json!({"expression": expression, "awaitPromise": true}));
        answer["result"]["value"].as_str().map_or_else(|| answer.to_string(), Into::into)
    }

    /// All text of the page once it has this in it.
    pub fn wait_for(&self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let seen = self.text("document.body ? document.body.textContent : ''");
            if seen.contains(text) {
                return seen;
            }
            assert!(begun.elapsed() < PATIENCE, "no {text:?} in {seen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn until(&self, wanted: impl Fn(&Value) -> bool) -> (Value, Vec<Value>) {
        let mut others = Vec::new();
        loop {
            let message = self.messages.recv_timeout(PATIENCE).expect("the browser says nothing");
            if wanted(&message) {
                return (message, others);
            }
            others.push(message);
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // Its own way out ends its helpers too; a closed pipe does the same.
        let end = b"{\"id\":0,\"method\":\"Browser.close\"}\0";
        if self.input.borrow_mut().write_all(end).is_err() {
            let _ = self.browser.kill();
        }
        let _ = self.browser.wait();
    }
}
