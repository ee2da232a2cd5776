//! `mp-proxy session show` against real files and environments.

use crate::support::{CONFIG, Home};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt as _};

fn shown(home: &Home, args: &[&str]) -> Value {
    let mut all = vec!["session", "show", "--json"];
    all.extend(args);
    let output = home.run(&all);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(home: &Home, args: &[&str]) -> (i32, Value) {
    let mut all = vec!["session", "show", "--json"];
    all.extend(args);
    let output = home.run(&all);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    (output.status.code().unwrap(), error["error"].clone())
}

#[test]
fn the_active_account_and_the_contract() {
    let home = Home::new(CONFIG);
    assert_eq!(
        shown(&home, &[]),
        json!({
            "account": {"name": "team", "type": "service_account", "region": "eu", "default_project": "123"},
            "project": "123", "workspace": null, "headers": {"X-Mixpanel-Cluster": "internal-1"},
            "sources": {"account": "config:[active]", "project": "account.default_project"},
            "endpoints": {
                "query": "https://eu.mixpanel.com/api/query",
                "export": "https://data-eu.mixpanel.com/api/2.0",
                "engage": "https://eu.mixpanel.com/api/query/engage",
                "app": "https://eu.mixpanel.com/api/app",
            },
            "warnings": [],
        })
    );
    let secret = shown(&home, &["--show-secrets"]);
    assert_eq!(secret["authorization"], "Basic c2E6aHVudGVyMi1zZWNyZXQ=");
}

#[test]
fn env_beats_flag_beats_target_beats_bridge_beats_config() {
    let home = Home::new(CONFIG);
    home.write(
        "mixpanel_auth.json",
        r#"{"version": 2, "project": "55", "headers": {"x-mixpanel-cluster": "b"},
        "account": {"type": "oauth_token", "name": "vm", "region": "in", "token": "t"}}"#,
    );
    let bridge = shown(&home, &[]);
    assert_eq!((&bridge["account"]["name"], &bridge["project"]), (&json!("vm"), &json!("55")));
    assert_eq!(bridge["headers"], json!({"x-mixpanel-cluster": "b"}));
    let target = shown(&home, &["--target", "ecom"]);
    assert_eq!(
        (&target["account"]["name"], &target["project"], &target["workspace"]),
        (&json!("ci"), &json!("77"), &json!(3))
    );
    let flag = shown(&home, &["-a", "team", "-p", "8", "-w", "2"]);
    assert_eq!(
        (&flag["account"]["name"], &flag["project"], &flag["workspace"]),
        (&json!("team"), &json!("8"), &json!(2))
    );
    let home = home
        .with("MP_USERNAME", "u")
        .with("MP_SECRET", "s")
        .with("MP_PROJECT_ID", "4")
        .with("MP_REGION", "us");
    let env = shown(&home, &["-a", "team", "-p", "8"]);
    assert_eq!(
        (&env["account"]["name"], &env["project"]),
        (&json!("env-service-account"), &json!("4"))
    );
    assert!(!env["warnings"].as_array().unwrap().is_empty(), "an overruled flag is said");
}

#[test]
fn refusals_have_code_exit_and_reason() {
    let home = Home::new(CONFIG);
    let (exit, error) = refused(&home, &["--target", "ecom", "--account", "ci"]);
    assert_eq!((exit, &error["code"]), (3, &json!("WS1_TARGET_MUTUALLY_EXCLUSIVE")));
    let (exit, error) = refused(&home, &["--account", "nobody"]);
    assert_eq!(
        (exit, &error["code"], &error["reason"]),
        (1, &json!("CONFIG_ERROR"), &json!("ACCOUNT_NOT_FOUND"))
    );
    let (exit, error) = refused(&home, &["--target", "nowhere"]);
    assert_eq!((exit, &error["reason"]), (1, &json!("TARGET_NOT_FOUND")));
    let (exit, error) = refused(&home, &["--project", "1_0"]);
    assert_eq!((exit, &error["code"]), (3, &json!("INVALID_ARGUMENT")));
    let (exit, error) = refused(&home, &["--account", "me", "--show-secrets"]);
    assert_eq!((exit, &error["code"]), (2, &json!("OAUTH_TOKEN_ERROR")));
    let (_, error) = refused(&Home::new(CONFIG).with("MP_REGION", "mars"), &[]);
    assert_eq!(error["code"], "CONFIG_ERROR");
    let (_, error) = refused(&Home::new(&CONFIG.replace("[active]\naccount = \"team\"", "")), &[]);
    assert_eq!(error["reason"], "ACCOUNT_AMBIGUOUS");
}

#[test]
fn unsafe_or_broken_files_are_refused_and_name_the_place() {
    let home = Home::new("[active]\naccount = \"team\"\nthis is not toml, hunter2-secret\n");
    let (exit, error) = refused(&home, &[]);
    let message = error["message"].as_str().unwrap();
    assert_eq!(exit, 1);
    assert!(message.contains("config.toml") && message.contains('3'), "{message}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    home.write(".mp/config.toml", CONFIG);
    fs::set_permissions(home.path(".mp/config.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let (_, error) = refused(&home, &[]);
    assert!(error.to_string().contains("chmod 600"), "{error}");
    fs::rename(home.path(".mp/config.toml"), home.path("real.toml")).unwrap();
    fs::set_permissions(home.path("real.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(home.path("real.toml"), home.path(".mp/config.toml")).unwrap();
    let (_, error) = refused(&home, &[]);
    assert!(error["message"].as_str().unwrap().contains("symbolic link"), "{error}");
}

#[test]
fn browser_tokens_are_read_and_their_expiry_is_kept() {
    let home = Home::new(CONFIG);
    let tokens = |expires: &str, refresh: &str| {
        format!(
            r#"{{"access_token":"acc-1","expires_at":{expires},"scope":"s","token_type":"Bearer"{refresh}}}"#
        )
    };
    home.write(".mp/accounts/me/tokens.json", &tokens("\"2999-01-01T00:00:00+00:00\"", ""));
    assert_eq!(shown(&home, &["-a", "me", "--show-secrets"])["authorization"], "Bearer acc-1");
    home.write(".mp/accounts/me/tokens.json", &tokens("\"2020-01-01T00:00:00Z\"", ""));
    assert_eq!(refused(&home, &["-a", "me", "--show-secrets"]).1["code"], "OAUTH_TOKEN_ERROR");
    home.write(
        ".mp/accounts/me/tokens.json",
        &tokens("\"2020-01-01T00:00:00Z\"", r#","refresh_token":"r""#),
    );
    assert_eq!(refused(&home, &["-a", "me", "--show-secrets"]).1["code"], "OAUTH_REFRESH_ERROR");
    home.write(".mp/accounts/me/tokens.json", &tokens("\"2999-01-01T00:00:00\"", ""));
    assert_eq!(refused(&home, &["-a", "me", "--show-secrets"]).1["code"], "OAUTH_TOKEN_ERROR");
}
