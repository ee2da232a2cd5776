//! Every scenario at trace level: no known secret, plain or encoded, in a log, an answer of our own,
//! the command line or the environment of a child.

use crate::{
    recorder::{Recorder, Step},
    support::{CONFIG, Home},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    fs,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

const TOKENS: &str = r#"{"access_token":"acc-sekrit-1","expires_at":"2999-01-01T00:00:00Z","scope":"s","token_type":"Bearer","refresh_token":"ref-sekrit-2"}"#;
const SECRETS: [&str; 6] = [
    "hunter2-secret",
    "tok-secret",
    "acc-sekrit-1",
    "ref-sekrit-2",
    "sa:hunter2-secret",
    "callers-own-sekrit",
];

/// The spellings in which a secret may show.
fn spellings(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let unpadded = STANDARD.encode(secret).trim_end_matches('=').to_owned();
    let reversed = secret.chars().rev().collect();
    vec![secret.to_owned(), hex.clone(), hex.to_uppercase(), percent, unpadded, reversed]
}

fn check(place: &str, text: &str) {
    for secret in SECRETS {
        for spelling in spellings(secret) {
            assert!(!text.contains(&spelling), "`{secret}` shows in {place}:\n{text}");
        }
    }
}

#[test]
fn no_secret_shows_anywhere() {
    let home = Home::new(CONFIG);
    home.write(".mp/accounts/me/tokens.json", TOKENS);
    let upstream = Recorder::start();
    let trace = ["--log-level", "trace", "--header-timeout", "1"];
    let proxy = home.serve(&upstream.url(), &trace);
    let canned = |text: &str| vec![Step::Bytes(text.as_bytes().to_vec()), Step::Close];
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut own = 0;
    let replies = [
        good,
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "garbage\r\n\r\n",
        "",
    ];
    let lines = [
        "",
        "X-Mp-Account: ci\r\n",
        "X-Mp-Account: me\r\n",
        "X-Mp-Account: nobody\r\n",
        "X-Mp-Target: ecom\r\n",
        "X-Mp-Project: x\r\n",
        "Authorization: Bearer callers-own-sekrit\r\n",
        "Proxy-Authorization: Basic callers-own-sekrit\r\n",
        "Origin: http://evil.test\r\n",
        "Connection: authorization\r\nUpgrade: x\r\n",
        "Via: 1.1 mp-proxy\r\n",
    ];
    let paths = [
        "/api/query/x",
        "/api/app/data-deletions/v3",
        "/mcp",
        "/nowhere",
        "/_mp/session",
        "/_mp/metrics",
        "/_mp/readyz",
        "/_mp/",
    ];
    for reply in replies {
        upstream.expect(canned(reply), false);
        for line in lines {
            for path in paths {
                let answer = proxy.get(path, line);
                check("the head of an answer", &answer.head);
                check("an answer", &String::from_utf8_lossy(&answer.body));
                own += usize::from(answer.head.contains("roxy-status: mp-proxy"));
            }
        }
    }
    assert!(own > 100, "only {own} answers of our own were looked at");
    // Files that are broken where a secret stands.
    for (path, text) in [
        (
            ".mp/config.toml",
            CONFIG.replace("secret = \"hunter2-secret\"", "secret = hunter2-secret"),
        ),
        (".mp/config.toml", CONFIG.replace("username = \"sa\"", "username = [\"hunter2-secret\"]")),
        (".mp/accounts/me/tokens.json", TOKENS.replace("\"scope\"", "scope")),
        (".claude/mixpanel/auth.json", format!("{{\"account\": {TOKENS}}}")),
        (".claude/mixpanel/auth.json", "{\"account\": hunter2-secret}".to_owned()),
    ] {
        home.write(path, &text);
        for line in ["", "X-Mp-Account: ci\r\n", "X-Mp-Account: me\r\n"] {
            for path in ["/api/query/x", "/_mp/session", "/_mp/readyz"] {
                check("an answer", &String::from_utf8_lossy(&proxy.get(path, line).body));
            }
        }
        let output = home.run(&["session", "show", "--json", "--account", "me"]);
        check("the command's errors", &String::from_utf8_lossy(&output.stderr));
        check("the command's output", &String::from_utf8_lossy(&output.stdout));
        home.write(".mp/config.toml", CONFIG);
    }
    let log = fs::read_to_string(&proxy.log).unwrap();
    assert!(log.lines().count() > 300 && log.contains("DEBUG"), "only this was logged:\n{log}");
    check("the log", &log);
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let second = home.serve(&format!("http://{dead}"), &trace);
    check("an answer", &String::from_utf8_lossy(&second.get("/api/query/x", "").body));
    check("the second log", &fs::read_to_string(&second.log).unwrap());
    let pid = proxy.child.id();
    check("the command line", &fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap());
}

/// The program that `run` starts, as the system shows it to others: its environment and its
/// command line, and the command line of the proxy above it.
#[test]
fn no_secret_shows_in_a_child_or_on_a_command_line() {
    let config = CONFIG.replace("token = \"tok-secret\"", "token_env = \"CI_TOKEN\"");
    let home = Home::new(&config)
        .with("PATH", "/usr/bin:/bin")
        .with("CI_TOKEN", "tok-secret")
        .with("MP_OAUTH_TOKEN", "acc-sekrit-1")
        .with("MP_SECRET", "hunter2-secret")
        .with("MP_CUSTOM_HEADER_NAME", "X-Mine")
        .with("MP_CUSTOM_HEADER_VALUE", "ref-sekrit-2")
        .with("MP_PROXY_CLIENT_TOKEN", "callers-own-sekrit")
        .with("NOT_A_SECRET", "still-here");
    let upstream = Recorder::start();
    let arguments = ["run", "--upstream", &upstream.url(), "--", "sleep", "30"];
    let mut run = home.command(&arguments).spawn().unwrap();
    let mut shown = String::new();
    let until = Instant::now() + Duration::from_secs(20);
    // Until the program is there, past the moment between fork and exec.
    while !shown.contains("still-here") && Instant::now() < until {
        let children = format!("/proc/{0}/task/{0}/children", run.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        for child in children.split_whitespace() {
            let of = |file: &str| fs::read(format!("/proc/{child}/{file}")).unwrap_or_default();
            let (environment, line) = (of("environ"), of("cmdline"));
            if line.starts_with(b"sleep") {
                shown = String::from_utf8_lossy(&[environment, line].concat()).into_owned();
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    let above = fs::read_to_string(format!("/proc/{}/cmdline", run.id())).unwrap();
    // A signal that it passes on.
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    run.wait().unwrap();
    assert!(shown.contains("still-here") && shown.contains("MP_PROXY_TOKEN="), "{shown}");
    check("the environment of the program", &shown);
    check("the command line", &above);
}
