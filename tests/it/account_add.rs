//! `mp-proxy account add` where region or name are left out: what is asked, whom, and what is
//! stored; and where the secret comes from.

use crate::{
    accounts::piped,
    support::{Home, Upstream, header},
    tokens::oauth,
};
use mp_proxy::demo::switches::Fault;
use serde_json::{Value, json};
use std::{fs, path::Path};

const SERVICE: [&str; 7] =
    ["account", "add", "--type", "service_account", "--username", "u", "--secret-stdin"];
const TOKEN: [&str; 6] = ["account", "add", "--type", "oauth_token", "--token-env", "T"];

/// A machine without a config, and a Mixpanel where only these regions refuse.
fn start(refusing: &[&str]) -> (Home, Upstream) {
    let upstream = Upstream::start();
    let hosts = refusing.iter().map(|host| ((*host).to_owned(), Fault::Status(401, None)));
    oauth(&upstream).set(|switches| switches.me = hosts.collect());
    let home = Home::new("").with("MP_PROXY_UPSTREAM", &upstream.url()).with("T", "t-1");
    fs::remove_dir_all(home.path(".mp")).unwrap();
    (home, upstream)
}

fn added(home: &Home, args: &[&str]) -> Value {
    let output = piped(home, &[args, &["--json"]].concat(), "s3cr3t\n");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(home: &Home, args: &[&str]) -> (i32, Value) {
    let output = piped(home, &[args, &["--json"]].concat(), "s3cr3t\n");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("s3cr3t") && !said.contains("t-1"), "{said}");
    let error: Value = serde_json::from_str(&said).unwrap();
    (output.status.code().unwrap(), error["error"].clone())
}

/// The hosts that were asked for `/me`, in order, and what with.
fn asked(upstream: &Upstream) -> Vec<(String, String)> {
    let all = upstream.received();
    let ours = all.iter().filter(|received| received.target == "/api/app/me");
    let of = |name: &str, received| header(received, name).unwrap_or_default().to_owned();
    ours.map(|one| (of("x-mp-proxy-origin", one), of("authorization", one))).collect()
}

fn hosts(upstream: &Upstream) -> Vec<String> {
    let host = |(origin, _): (String, String)| origin.trim_start_matches("https://").to_owned();
    asked(upstream).into_iter().map(host).collect()
}

#[test]
fn region_and_name_are_found_out() {
    let (home, upstream) = start(&["mixpanel.com"]);
    let done = added(&home, &SERVICE);
    let what = (&done["name"], &done["region"], &done["is_active"]);
    assert_eq!(what, (&json!("acme"), &json!("eu"), &json!(true)));
    assert_eq!(hosts(&upstream), ["mixpanel.com", "eu.mixpanel.com", "eu.mixpanel.com"]);
    assert!(asked(&upstream).iter().all(|(_, sent)| sent == "Basic dTpzM2NyM3Q="));
    // The same organization again: another name, not another account of the same one.
    let done = added(&home, &TOKEN);
    assert_eq!((&done["name"], &done["is_active"]), (&json!("acme-2"), &json!(false)));
    let text = fs::read_to_string(home.path(".mp/config.toml")).unwrap();
    assert!(text.contains("token_env = \"T\"") && !text.contains("t-1"), "{text}");
}

#[test]
fn only_what_was_left_out_is_asked_for() {
    let (home, upstream) = start(&["mixpanel.com", "eu.mixpanel.com"]);
    let done = added(&home, &[&SERVICE[..], &["mine"]].concat());
    assert_eq!((&done["name"], &done["region"]), (&json!("mine"), &json!("in")));
    assert_eq!(hosts(&upstream), ["mixpanel.com", "eu.mixpanel.com", "in.mixpanel.com"]);
    let done = added(&home, &[&TOKEN[..], &["--region", "in"]].concat());
    assert_eq!((&done["name"], &done["region"]), (&json!("acme"), &json!("in")));
    assert_eq!(hosts(&upstream)[3..], ["in.mixpanel.com"]);
    let done = added(&home, &["account", "add", "web", "--type", "oauth_browser"]);
    assert_eq!(done["region"], "us");
    added(&home, &[&SERVICE[..], &["all", "--region", "eu"]].concat());
    assert_eq!(hosts(&upstream).len(), 4, "nothing to find out, nobody asked");
}

#[test]
fn what_cannot_be_found_out_changes_nothing() {
    let (home, upstream) = start(&["mixpanel.com", "eu.mixpanel.com", "in.mixpanel.com"]);
    let untouched = |home: &Home| assert!(!Path::exists(&home.path(".mp/config.toml")));
    let (exit, error) = refused(&home, &SERVICE);
    assert_eq!((exit, &error["code"]), (2, &json!("OAUTH_REGION_PROBE_FAILED")));
    untouched(&home);
    let (exit, error) = refused(&home, &[&TOKEN[..], &["--region", "eu"]].concat());
    assert_eq!((exit, &error["code"]), (2, &json!("AUTH_FAILED")), "{error}");
    untouched(&home);
    let (exit, error) = refused(&home, &["account", "add", "--type", "oauth_browser"]);
    assert_eq!((exit, &error["code"]), (3, &json!("INVALID_ARGUMENT")));
    assert!(error["hint"].as_str().unwrap().contains("mp-proxy login"), "{error}");
    let (exit, error) =
        refused(&home, &["account", "add", "--type", "oauth_token", "--token-env", "UNSET"]);
    assert_eq!((exit, &error["code"]), (3, &json!("INVALID_ARGUMENT")));
    assert!(error["hint"].as_str().unwrap().contains("set UNSET"), "{error}");
    untouched(&home);
    assert_eq!(hosts(&upstream).len(), 4);
    // Nobody there: not the credential's fault, and said so.
    drop(upstream);
    let (exit, error) = refused(&home, &SERVICE);
    assert_eq!((exit, &error["code"]), (2, &json!("OAUTH_NETWORK_UNREACHABLE")));
    untouched(&home);
}

#[test]
fn variables_stand_in_for_flags_and_flags_win() {
    let secret = |home: &Home, name: &str, key: &str| {
        let text = fs::read_to_string(home.path(".mp/config.toml")).unwrap();
        let document: toml_edit::DocumentMut = text.parse().unwrap();
        document["accounts"][name][key].as_str().map(str::to_owned)
    };
    let home = Home::new("")
        .with("MP_SECRET", "from-env")
        .with("MP_OAUTH_TOKEN", "token-from-env")
        .with("MP_PROJECT_ID", "42");
    let region = ["--region", "us"];
    added(&home, &[&SERVICE[..6], &["a"], &region].concat());
    assert_eq!(secret(&home, "a", "secret").as_deref(), Some("from-env"));
    assert_eq!(secret(&home, "a", "default_project").as_deref(), Some("42"));
    added(&home, &[&SERVICE[..], &["b", "--project", "7"], &region].concat());
    assert_eq!(secret(&home, "b", "secret").as_deref(), Some("s3cr3t"));
    assert_eq!(secret(&home, "b", "default_project").as_deref(), Some("7"));
    added(&home, &[&TOKEN[..4], &["c"], &region].concat());
    assert_eq!(secret(&home, "c", "token").as_deref(), Some("token-from-env"));
    added(&home, &[&TOKEN[..4], &["--token-stdin", "d"], &region].concat());
    assert_eq!(secret(&home, "d", "token").as_deref(), Some("s3cr3t"));
    added(&home, &[&TOKEN[..], &["e"], &region].concat());
    assert_eq!(secret(&home, "e", "token_env").as_deref(), Some("T"));
    let home = Home::new("").with("MP_PROJECT_ID", "4x");
    let (exit, error) = refused(&home, &[&SERVICE[..], &["f"], &region].concat());
    assert!(exit == 1 && error["message"].as_str().unwrap().contains("4x"), "{error}");
}
