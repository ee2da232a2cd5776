//! An idle proxy sleeps: no thread of it wakes up, with everything switched on.
//! Size and time to start are measured by `benches/idle.py`, on a release build.

use crate::support::{CONFIG, Home, Serving, Upstream};
use std::{fs, thread, time::Duration};

/// How often each thread went to sleep so far, which it has to wake up for.
fn sleeps(proxy: &Serving) -> Vec<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.child.id())).unwrap();
    let mut all: Vec<_> = tasks
        .map(|task| {
            let path = task.unwrap().path();
            let name = fs::read_to_string(path.join("comm")).unwrap().trim().to_owned();
            let status = fs::read_to_string(path.join("status")).unwrap();
            let count = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
                .unwrap();
            (
                format!("{name} {}", path.file_name().unwrap().display()),
                count.trim().parse().unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
fn an_idle_proxy_does_not_wake_up() {
    let home = Home::new(CONFIG);
    home.write("tokens.toml", "[callers.me]\ntoken = \"my-token-0123456789\"\n");
    home.write("policy.toml", "[proxy]\nread_only = true\n");
    home.write(
        ".mp/accounts/me/tokens.json",
        r#"{"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "scope": "x", "expires_at": "2999-01-01T00:00:00+00:00"}"#,
    );
    let upstream = Upstream::start();
    let args = [
        ["--client-token-file", "tokens.toml"],
        ["--policy-file", "policy.toml"],
        ["--audit-file", "audit.ndjson"],
        ["--unix-socket", "proxy.sock"],
        ["--pace", "queue"],
        ["--cache-ttl", "60"],
        ["--account", "me"],
    ];
    let proxy = home.serve(&upstream.url(), &args.concat());
    for path in
        ["/api/query/events/names", "/api/app/projects/5/dashboards", "/nowhere", "/_mp/metrics"]
    {
        proxy.get(path, "X-Mp-Proxy-Token: my-token-0123456789\r\n");
    }
    assert_eq!(upstream.received().len(), 2);
    // What the requests left to do behind them: the log, the ledger, connections that close.
    thread::sleep(Duration::from_secs(2));
    let before = sleeps(&proxy);
    assert!(before.len() >= 4, "{before:?}");
    thread::sleep(Duration::from_secs(6));
    assert_eq!(sleeps(&proxy), before);
}
