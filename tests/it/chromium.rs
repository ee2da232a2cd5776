//! A real, headless Chromium, driven by its chromedriver over plain HTTP (W3C WebDriver).
//! `.ci/run` installs both; without them these tests fail and say so.

use crate::login_support::send;
use oauth2::url::Url;
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Chromium {
    driver: Child,
    session: Url,
    _profile: tempfile::TempDir,
}

impl Chromium {
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", profile.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: apt-get install chromium chromium-driver");
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver did not start");
        let base = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        let data = format!("--user-data-dir={}", profile.path().join("data").display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-default-apps",
            "--no-proxy-server",
            &data,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let made = call(&base.join("session").unwrap(), "POST", &wanted);
        let id = made["sessionId"].as_str().expect("a session");
        let session = base.join(&format!("session/{id}/")).unwrap();
        Self { driver, session, _profile: profile }
    }

    pub fn open(&self, url: &Url) {
        self.post("url", &json!({"url": url.as_str()}));
    }

    /// Clicks the first element of a CSS selector.
    pub fn click(&self, selector: &str) {
        let found = self.post("element", &json!({"using": "css selector", "value": selector}));
        let id = found[ELEMENT].as_str().expect("an element");
        self.post(&format!("element/{id}/click"), &json!({}));
    }

    /// The text of the page once it has this in it.
    pub fn wait_for(&self, text: &str) -> String {
        let mut seen = String::new();
        for _ in 0..300 {
            seen = self.run("return document.body ? document.body.innerText : ''");
            if seen.contains(text) {
                return seen;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("no {text:?} at {}: {seen}", self.run("return location.href"));
    }

    /// A script of the test, which the page's own policy does not bind.
    pub fn run(&self, script: &str) -> String {
        let value = self.post("execute/sync", &json!({"script": script, "args": []}));
        value.as_str().map_or_else(|| value.to_string(), Into::into)
    }

    /// What the pages complained of so far.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({"type": "browser"}));
        let lines = log.as_array().unwrap().iter();
        // The icon that no page of ours has is asked for by the browser itself.
        lines
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .filter(|line| !line.contains("favicon.ico"))
            .collect()
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        call(&self.session.join(command).unwrap(), "POST", body)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Ends the browser; the driver would leave it behind.
        let url = self.session.as_str().trim_end_matches('/').parse().unwrap();
        if !thread::panicking() {
            call(&url, "DELETE", &json!({}));
        } else {
            let _ = std::panic::catch_unwind(|| call(&url, "DELETE", &json!({})));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn call(url: &Url, method: &str, body: &Value) -> Value {
    let head = format!(
        "{method} {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n",
        url.path(),
        url.port().unwrap()
    );
    let answer = send(url, &head, &body.to_string());
    assert_eq!(answer.status, 200, "{url}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()["value"].clone()
}
