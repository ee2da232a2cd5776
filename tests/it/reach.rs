//! `account test`, `project list`, `workspace list` against `/me`.

use crate::{
    support::{CONFIG, Home, Upstream},
    tokens::{BROWSER, TOKENS, oauth, tokens},
};
use mp_proxy::demo::switches::{Bearers, Fault};
use serde_json::{Value, json};

fn run(home: &Home, args: &[&str]) -> (i32, Value, String) {
    let output = home.run(args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), document, error)
}

fn asked(upstream: &Upstream) -> usize {
    upstream.received().iter().filter(|received| received.target == "/api/app/me").count()
}

#[test]
fn an_account_is_tested_with_what_a_request_would_use() {
    let upstream = Upstream::start();
    let home = Home::new(CONFIG).with("MP_PROXY_UPSTREAM", &upstream.url());
    let (exit, result, error) = run(&home, &["account", "test", "--json"]);
    assert_eq!(exit, 0, "{error}");
    assert_eq!(
        result,
        json!({
            "account_name": "team", "ok": true, "user": {"id": 42, "email": "demo@example.com"},
            "accessible_project_count": 2, "error": null, "error_code": null, "error_details": null,
        })
    );
    let arrived = upstream.last();
    let sent = |name: &str| crate::support::header(&arrived, name).map(str::to_owned);
    assert_eq!(sent("authorization").as_deref(), Some("Basic c2E6aHVudGVyMi1zZWNyZXQ="));
    assert_eq!(sent("x-mixpanel-cluster").as_deref(), Some("internal-1"), "custom headers count");
    assert_eq!(sent("x-mp-proxy-origin").as_deref(), Some("https://eu.mixpanel.com"));
    // By name it is that account, whatever the environment says.
    let home = home
        .with("MP_USERNAME", "u")
        .with("MP_SECRET", "s")
        .with("MP_PROJECT_ID", "4")
        .with("MP_REGION", "us");
    assert_eq!(run(&home, &["account", "test", "ci", "--json"]).1["account_name"], "ci");
    assert_eq!(run(&home, &["account", "test", "--json"]).1["account_name"], "env-service-account");
    assert_eq!(asked(&upstream), 3, "a test never takes an answer from the cache");
}

#[test]
fn a_test_that_fails_says_so_and_exits_2() {
    let upstream = Upstream::start();
    let home = Home::new(CONFIG).with("MP_PROXY_UPSTREAM", &upstream.url());
    for (name, fault, code) in [
        ("team", Fault::Status(401, None), "AUTH_FAILED"),
        ("team", Fault::Status(403, None), "AUTH_FAILED"),
        ("team", Fault::Status(429, Some(3)), "RATE_LIMITED"),
        ("team", Fault::Body("s3cr3t".into()), "UPSTREAM_BROKEN"),
        ("me", Fault::Fine, "OAUTH_TOKEN_ERROR"),
        ("nobody", Fault::Fine, "CONFIG_ERROR"),
    ] {
        oauth(&upstream).set(|one| one.me = vec![("eu.mixpanel.com".into(), fault.clone())]);
        let (exit, result, error) = run(&home, &["account", "test", name, "--json"]);
        assert_eq!((exit, &result["ok"]), (2, &json!(false)), "{name} {fault:?}: {error}");
        assert_eq!((&result["error_code"], &result["account_name"]), (&json!(code), &json!(name)));
        assert!(result["error"].is_string() && result["user"].is_null());
        assert!(result["error_details"]["hint"].is_string(), "{result}");
        assert!(!result.to_string().contains("s3cr3t"));
    }
}

#[test]
fn projects_and_workspaces_are_listed_from_a_days_cache() {
    let upstream = Upstream::start();
    let home = Home::new(&CONFIG.replace("\"123\"", "\"2002\""))
        .with("MP_PROXY_UPSTREAM", &upstream.url());
    let (exit, projects, error) = run(&home, &["project", "list", "--json"]);
    assert_eq!(exit, 0, "{error}");
    let names: Vec<_> = projects.as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["Shop", "Shop EU"]);
    assert_eq!(
        projects[1],
        json!({"id": "2002", "name": "Shop EU", "organization_id": 1, "timezone": "Europe/Berlin", "is_active": true})
    );
    let (exit, workspaces, error) = run(&home, &["workspace", "list", "--json"]);
    assert_eq!(exit, 0, "{error}");
    assert_eq!(workspaces, json!([{"id": 7, "name": "All Project Data", "is_default": true}]));
    assert_eq!(run(&home, &["workspace", "list", "--json", "-p", "1001"]).1, json!([]));
    assert_eq!(asked(&upstream), 1);
    assert_eq!(run(&home, &["project", "list", "--json", "--refresh"]).0, 0);
    assert_eq!(asked(&upstream), 2);
}

#[test]
fn a_slow_answer_is_waited_for_in_sight_of_a_person_and_in_silence_elsewhere() {
    let upstream = Upstream::start();
    let home = Home::new(CONFIG).with("MP_PROXY_UPSTREAM", &upstream.url());
    let slow = Fault::Slow(std::time::Duration::from_millis(2500));
    oauth(&upstream).set(|one| one.me = vec![("eu.mixpanel.com".into(), slow)]);
    let program = env!("CARGO_BIN_EXE_mp-proxy");
    for command in ["account test", "project list --refresh", "workspace list --refresh"] {
        let shown = std::process::Command::new("/usr/bin/script")
            .args(["-qec", &format!("{program} {command}"), "/dev/null"])
            .env_clear()
            .env("HOME", home.dir.path())
            .env("TERM", "xterm")
            .env("MP_PROXY_UPSTREAM", upstream.url())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.status.success(), "{text}");
        assert!(text.contains("asking Mixpanel what this account reaches … 1 s"), "{text}");
    }
    let (exit, _, error) = run(&home, &["project", "list", "--json", "--refresh"]);
    assert_eq!((exit, error.as_str()), (0, ""));
}

#[test]
fn a_login_without_a_project_lists_its_projects() {
    let upstream = Upstream::start();
    let home = Home::new(&BROWSER.replace("default_project = \"5\"\n", ""))
        .with("MP_PROXY_UPSTREAM", &upstream.url());
    oauth(&upstream).set(|switches| switches.bearers = Bearers::Granted);
    let (grant, client) = oauth(&upstream).mint();
    home.write(TOKENS, &tokens(&grant, Some(&client), -10).to_string());
    let (exit, projects, error) = run(&home, &["project", "list", "--json"]);
    assert_eq!(exit, 0, "{error}");
    assert!(projects.as_array().unwrap().iter().all(|one| one["is_active"] == false));
    assert_eq!(oauth(&upstream).counts().refreshes, 1);
    let (exit, _, error) = run(&home, &["workspace", "list", "--json"]);
    assert_eq!(exit, 1, "a project is needed for this one: {error}");
    assert_eq!(run(&home, &["account", "test", "--json"]).0, 0);
}
