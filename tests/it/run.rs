//! `mp-proxy run`: a private proxy for one program, which gets no secret.

use crate::{
    reference::environment,
    support::{CONFIG, Home, Upstream},
};
use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
};

fn run(home: &Home, upstream: &Upstream, command: &[&str]) -> Output {
    home.run(&[&["run", "--upstream", &upstream.url(), "--"], command].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_program_is_let_in_and_sees_no_secret() {
    let home = Home::new(&CONFIG.replace("token = \"tok-secret\"", "token_env = \"CI_TOKEN\""))
        .with("PATH", "/usr/bin:/bin")
        .with("CI_TOKEN", "s3cr3t-ci")
        .with("MP_USERNAME", "u")
        .with("MP_SECRET", "s3cr3t-env")
        .with("MP_PROJECT_ID", "4")
        .with("MP_REGION", "us")
        .with("MP_PROXY_LISTEN", "127.0.0.1:1")
        .with("HTTP_PROXY", "http://127.0.0.1:1");
    let upstream = Upstream::start();
    let script = "curl -sS \"$MP_API_BASE_URL/api/query/events/names\" && \
                  curl -sS -H \"X-Mp-Proxy-Token: $MP_PROXY_TOKEN\" \"$MP_PROXY_URL/api/app/me\" && \
                  curl -s -o /dev/null -w '%{http_code}' \"$MP_PROXY_URL/api/app/me\"; env; cat /proc/$PPID/cmdline";
    let output = run(&home, &upstream, &["sh", "-c", script]);
    let seen = text(&output.stdout);
    assert!(output.status.success(), "{seen}{}", text(&output.stderr));
    assert!(seen.contains("Login") && seen.contains("demo@example.com"), "{seen}");
    assert!(seen.contains("\n401") || seen.contains("}401"), "a caller without token: {seen}");
    assert!(!seen.contains("s3cr3t"), "the program sees a secret: {seen}");
    // What arrived is signed by us, and knows nothing of the token between program and proxy.
    let received = upstream.received();
    assert_eq!(received.len(), 2);
    for request in received {
        assert_eq!(
            crate::support::header(&request, "authorization"),
            Some("Basic dTpzM2NyM3QtZW52")
        );
        assert_eq!(crate::support::header(&request, "x-mp-proxy-token"), None);
    }
}

#[test]
fn umask_and_limits_are_the_programs_own() {
    let home = Home::new(CONFIG).with("PATH", "/usr/bin:/bin");
    let upstream = Upstream::start();
    let own = "umask; ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc";
    let script = format!("umask 027; ulimit -Sn 200; exec \"$@\" sh -c '{own}'");
    let with = |runner: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).args(runner);
        command.env_clear().env("HOME", home.dir.path()).env("PATH", "/usr/bin:/bin");
        text(&command.current_dir(home.dir.path()).output().unwrap().stdout)
    };
    let proxy = env!("CARGO_BIN_EXE_mp-proxy");
    let through = with(&[proxy, "run", "--upstream", &upstream.url(), "--"]);
    let plain = with(&["env"]);
    assert!(plain.starts_with("0027\n200\n"), "{plain}");
    assert_eq!(through, plain);
}

#[test]
fn exit_codes_and_signals_pass_through() {
    let home = Home::new(CONFIG).with("PATH", "/usr/bin:/bin");
    let upstream = Upstream::start();
    let code = |command: &[&str]| run(&home, &upstream, command).status.code();
    assert_eq!(code(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(code(&["sh", "-c", "kill -KILL $$"]), Some(137));
    assert_eq!(code(&["/nowhere/program"]), Some(127));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
    assert_eq!(code(&[]), Some(3));
    for (signal, name) in [("-TERM", "TERM"), ("-INT", "INT"), ("-USR1", "USR1")] {
        let script =
            format!("trap 'echo got {name}; exit 9' {name}; echo up; while :; do sleep 0.05; done");
        let mut child = home
            .command(&["run", "--upstream", &upstream.url(), "--", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "up");
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), format!("got {name}"));
        assert_eq!(child.wait().unwrap().code(), Some(9));
    }
}

#[test]
fn the_reference_client_runs_in_it() {
    let home = Home::new(CONFIG).with("PATH", "/usr/bin:/bin").with("NO_COLOR", "1");
    let upstream = Upstream::start();
    let mp = environment().join("bin/mp").display().to_string();
    let output = run(&home, &upstream, &[&mp, "inspect", "events"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("Signup"));
    // The account of the environment stays the one that is used, although its secret is gone.
    let home = Home::new(CONFIG)
        .with("PATH", "/usr/bin:/bin")
        .with("NO_COLOR", "1")
        .with("MP_OAUTH_TOKEN", "tok-of-env")
        .with("MP_PROJECT_ID", "4")
        .with("MP_REGION", "us");
    let output = run(&home, &upstream, &[&mp, "inspect", "events"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let last = upstream.last();
    assert_eq!(crate::support::header(&last, "authorization"), Some("Bearer tok-of-env"));
    assert!(last.target.contains("project_id=4"), "{}", last.target);
}

/// What a person sees who runs it on a terminal.
fn on_a_terminal(home: &Home, upstream: &Upstream, no_color: &str) -> String {
    let program = env!("CARGO_BIN_EXE_mp-proxy");
    let inner = "test -t 0 && test -t 1 && echo on-a-terminal; curl -s $MP_API_BASE_URL/nowhere";
    let line = format!("{program} run --upstream {} -- sh -c '{inner}'", upstream.url());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env_clear()
        .env("HOME", home.dir.path())
        .env("PATH", "/usr/bin:/bin")
        .env("SHELL", "/bin/sh")
        .env("NO_COLOR", no_color)
        .current_dir(home.dir.path())
        .stdin(Stdio::null())
        .output()
        .expect("script: apt-get install bsdutils");
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

#[test]
fn on_a_terminal_the_program_has_it_too_and_the_log_has_colours() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let seen = on_a_terminal(&home, &upstream, "");
    assert!(seen.contains("on-a-terminal"), "{seen}");
    assert!(seen.contains("\x1b[") && seen.contains("ROUTE_NOT_FOUND"), "{seen}");
    assert!(!seen.contains("tracing"), "{seen}");
    let plain = on_a_terminal(&home, &upstream, "1");
    assert!(plain.contains("ROUTE_NOT_FOUND") && !plain.contains("\x1b["), "{plain}");
}
