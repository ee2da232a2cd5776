//! `mp-proxy account token`: the bearer of an account of the config, of its `tokens.json`, or of
//! the bridge that brought it; beside what the reference prints.

use crate::{
    reference::environment,
    support::{Home, Upstream},
    tokens::{BROWSER, TOKENS, oauth, tokens},
    tokens_bridge::bridge,
};
use serde_json::{Value, json};
use std::{fs, process::Command};

const BRIDGE: &str = "mixpanel_auth.json";

/// Exit code, stdout and stderr of `account token`.
fn token(home: &Home, args: &[&str]) -> (Option<i32>, String, String) {
    let output = home.run(&[&["account", "token"], args].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn given(home: &Home, args: &[&str]) -> String {
    let (exit, out, err) = token(home, args);
    assert_eq!(exit, Some(0), "{args:?}: {err}");
    out
}

#[test]
fn a_bridge_alone_gives_its_token() {
    let home = Home::new("").with("CARRIED", "t-env");
    let put = |account: Value| {
        home.write(BRIDGE, &json!({"version": 2, "account": account}).to_string());
    };
    put(json!({"type": "oauth_token", "name": "vm", "region": "us", "token": "t-1"}));
    assert_eq!((given(&home, &[]), given(&home, &["vm"])), ("t-1".into(), "t-1".into()));
    assert_eq!(given(&home, &["--json"]), "{\n  \"token\": \"t-1\"\n}");
    let (exit, _, error) = token(&home, &["another"]);
    assert!(exit == Some(1) && error.contains("another"), "{error}");
    put(json!({"type": "oauth_token", "name": "vm", "region": "us", "token_env": "CARRIED"}));
    assert_eq!(given(&home, &[]), "t-env");
    put(
        json!({"type": "service_account", "name": "vm", "region": "us", "username": "u", "secret": "s"}),
    );
    assert_eq!(given(&home, &[]), "N/A");
    home.write(BRIDGE, "{");
    let (exit, _, error) = token(&home, &[]);
    assert!(exit == Some(1) && error.contains("not valid JSON"), "{error}");
}

#[test]
fn an_expired_bridge_is_renewed_for_it() {
    let upstream = Upstream::start();
    let home = Home::new("").with("MP_PROXY_UPSTREAM", &upstream.url());
    let (grant, client) = oauth(&upstream).mint();
    home.write(BRIDGE, &bridge(&grant, Some(&client), -10).to_string());
    let fresh = given(&home, &["me"]);
    assert_ne!(Some(fresh.as_str()), grant["access_token"].as_str());
    let kept: Value = serde_json::from_slice(&fs::read(home.path(BRIDGE)).unwrap()).unwrap();
    assert_eq!(kept["tokens"]["access_token"], fresh);
    assert_eq!(given(&home, &[]), fresh, "once is enough");
    assert_eq!(oauth(&upstream).counts().refreshes, 1);
    // Without a client nobody can, and it is said what to do.
    home.write(BRIDGE, &bridge(&grant, None, -10).to_string());
    let (exit, _, error) = token(&home, &[]);
    assert!(exit == Some(2) && error.contains("export-bridge"), "{error}");
}

/// What `mp account token` prints in the same home, or its exit code.
fn reference(home: &Home, args: &[&str]) -> Result<String, i32> {
    let output = Command::new(environment().join("bin/mp"))
        .args(["account", "token"])
        .args(args)
        .env_clear()
        .env("HOME", home.dir.path())
        .current_dir(home.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    if output.status.success() { Ok(text) } else { Err(output.status.code().unwrap()) }
}

fn ours(home: &Home, args: &[&str]) -> Result<String, i32> {
    match token(home, args) {
        (Some(0), text, _) => Ok(text),
        (exit, ..) => Err(exit.unwrap()),
    }
}

/// The reference looks at the config and at `tokens.json`. So do we, first; where it has nothing,
/// the bridge counts (it would copy the bridge's tokens there with the next session, quirk B1).
#[test]
fn beside_the_reference() {
    let config = format!(
        "{BROWSER}[accounts.tok]\ntype = \"oauth_token\"\nregion = \"us\"\ntoken = \"t-2\"\n\
         [accounts.sa]\ntype = \"service_account\"\nregion = \"us\"\nusername = \"u\"\nsecret = \"s\"\n"
    );
    let home = Home::new(&config);
    let grant = |name: &str| json!({"access_token": name, "refresh_token": "r"});
    let disk = |seconds| home.write(TOKENS, &tokens(&grant("disk"), None, seconds).to_string());
    let bridged =
        |seconds| home.write(BRIDGE, &bridge(&grant("brought"), None, seconds).to_string());
    bridged(7200);
    disk(3600);
    for args in [&["tok"][..], &["sa"], &["nobody"]] {
        assert_eq!(ours(&home, args), reference(&home, args), "{args:?}");
    }
    // Better: of two copies of one login the one that lasts longer, as a request has it.
    for args in [&[][..], &["me"]] {
        assert_eq!(reference(&home, args), Ok("disk".into()));
        assert_eq!(ours(&home, args), Ok("brought".into()));
    }
    disk(9000);
    assert_eq!((ours(&home, &[]), reference(&home, &[])), (Ok("disk".into()), Ok("disk".into())));
    fs::remove_file(home.path(TOKENS)).unwrap();
    assert_eq!((ours(&home, &[]), reference(&home, &[])), (Ok("brought".into()), Err(2)));
    // What this machine has itself is given even beside a broken bridge.
    home.write(BRIDGE, "{");
    disk(3600);
    assert_eq!((ours(&home, &[]), reference(&home, &[])), (Ok("disk".into()), Ok("disk".into())));
    // No account is active: the bridge's.
    home.write(".mp/config.toml", &config.replace("[active]\naccount = \"me\"", ""));
    assert_eq!((ours(&home, &[]), reference(&home, &[])), (Err(1), Err(1)));
    bridged(7200);
    assert_eq!((ours(&home, &[]), reference(&home, &[])), (Ok("brought".into()), Err(1)));
    fs::remove_file(home.path(BRIDGE)).unwrap();
    assert_eq!((ours(&home, &[]), reference(&home, &[])), (Err(1), Err(1)));
}

#[test]
fn a_bridge_counts_as_a_login_in_the_summary() {
    let home = Home::new(BROWSER);
    let status = || {
        let output = home.run(&["account", "show", "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["status"].clone()
    };
    assert_eq!(status(), "needs_login");
    let grant = json!({"access_token": "brought", "refresh_token": "r"});
    home.write(BRIDGE, &bridge(&grant, None, 3600).to_string());
    assert_eq!(status(), "untested");
    let mut other = bridge(&grant, None, 3600);
    other["account"]["region"] = json!("eu");
    home.write(BRIDGE, &other.to_string());
    assert_eq!(status(), "needs_login", "another region is another login");
}
