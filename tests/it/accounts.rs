//! `mp-proxy account|target|session|project|workspace` on real files: outcome, exit code, what
//! stays as it was; many writers at once; death in the middle of a write.

use crate::support::Home;
use serde_json::{Value, json};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    process::{Child, Output, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A file with comments everywhere and settings that nobody knows.
pub const COMMENTED: &str = r#"# My accounts.

[active]
# the one I work with
account = "team"  # mine
workspace = 7

# The team's.
[accounts.team]
type = "service_account"
region = 'eu'       # where the data is
username = "sa"
secret = "hunter2-secret"

# Token of the pipeline.
[accounts.ci]
type = "oauth_token"
region = "us"
token_env = "CI_TOKEN"

[accounts.me]
type = "oauth_browser"
region = "in"

# The shop.
[targets.shop]
account = "ci"
project = "77"
workspace = 3

[settings]
# unknown to every tool
colour = "blue"
limits = [1,
  2]
custom_header = { name = "X-A", value = "v" }
# the end
"#;

pub fn piped(home: &Home, args: &[&str], stdin: &str) -> Output {
    let mut command = home.command(args);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child: Child = child.unwrap();
    // A command that refuses first does not read.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn ok(home: &Home, args: &[&str]) -> String {
    let output = piped(home, args, "s3cr3t\n");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn config(home: &Home) -> String {
    fs::read_to_string(home.path(".mp/config.toml")).unwrap()
}

/// Runs what must be refused; gives exit code and error.
fn refused(home: &Home, args: &[&str], stdin: &str) -> (i32, Value) {
    let mut all = args.to_vec();
    all.push("--json");
    let output = piped(home, &all, stdin);
    assert!(output.stdout.is_empty(), "{args:?}");
    let error: Value = serde_json::from_slice(&output.stderr)
        .unwrap_or_else(|_| panic!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), error["error"].clone())
}

#[test]
fn the_first_account_is_active_and_the_whole_life_of_some() {
    let home = Home::new("").with("CI_TOKEN", "t");
    fs::remove_dir_all(home.path(".mp")).unwrap();
    let add = ["account", "add", "team", "--type", "service_account", "--region", "eu"];
    ok(&home, &[&add[..], &["--username", "sa", "--secret-stdin", "--project", "12"]].concat());
    ok(
        &home,
        &[
            "account",
            "add",
            "ci",
            "--type",
            "oauth_token",
            "--region",
            "us",
            "--token-env",
            "CI_TOKEN",
        ],
    );
    ok(
        &home,
        &["account", "add", "own", "--type", "oauth_token", "--region", "in", "--token-stdin"],
    );
    ok(&home, &["account", "add", "me", "--type", "oauth_browser"]);
    for (path, mode) in [(".mp", 0o700), (".mp/config.toml", 0o600)] {
        assert_eq!(fs::metadata(home.path(path)).unwrap().mode() & 0o777, mode, "{path}");
    }
    let list: Value = serde_json::from_str(&ok(&home, &["account", "list", "--json"])).unwrap();
    let rows: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!(
                "{} {} {} {} {}",
                row["name"], row["type"], row["region"], row["is_active"], row["status"]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        rows,
        [
            "ci oauth_token us false untested",
            "me oauth_browser us false needs_login",
            "own oauth_token in false untested",
            "team service_account eu true untested",
        ]
    );
    assert!(!list.to_string().contains("s3cr3t"));
    assert_eq!(ok(&home, &["account", "token", "own"]), "s3cr3t\n", "stripped, on one line");
    assert_eq!(ok(&home, &["account", "token"]), "N/A\n");
    ok(&home, &["target", "add", "shop", "-a", "ci", "-p", "77", "-w", "3"]);
    ok(&home, &["target", "use", "shop"]);
    assert_eq!(ok(&home, &["project", "show"]), "77\n");
    assert_eq!(ok(&home, &["workspace", "show"]), "3\n");
    ok(&home, &["session", "use", "--account", "team"]);
    assert_eq!(ok(&home, &["workspace", "show"]), "3\n", "M15: it stays");
    ok(&home, &["account", "use", "own"]);
    assert!(!config(&home).contains("workspace = 3\n\n[a"), "cleared by account use");
    let persisted: Value =
        serde_json::from_str(&ok(&home, &["session", "show", "--persisted", "--json"])).unwrap();
    assert_eq!(
        persisted,
        json!({"account": {"name": "own", "type": "oauth_token", "region": "in"}, "project": null,
               "workspace": null, "user": null, "me_cached": false})
    );
    let (exit, error) = refused(&home, &["account", "remove", "ci"], "");
    assert_eq!((exit, &error["code"]), (1, &json!("ACCOUNT_IN_USE")));
    let removed = ok(&home, &["account", "remove", "ci", "--force", "--json"]);
    assert!(removed.contains("shop"), "{removed}");
    let (exit, error) = refused(&home, &["target", "use", "shop"], "");
    assert_eq!((exit, &error["reason"]), (1, &json!("ACCOUNT_NOT_FOUND")));
    assert_eq!(piped(&home, &["target", "remove", "shop"], "n\n").status.code(), Some(0));
    assert_eq!(piped(&home, &["target", "remove", "shop"], "").status.code(), Some(1));
    assert_eq!(piped(&home, &["target", "remove", "shop"], "y\n").status.code(), Some(0));
    ok(&home, &["account", "remove", "own"]);
    assert!(!config(&home).contains("[active]"));
    let (exit, error) = refused(&home, &["project", "use", "5"], "");
    assert_eq!((exit, &error["reason"]), (4, &json!("NO_ACTIVE_ACCOUNT")));
}

#[test]
fn comments_order_and_layout_survive_every_verb() {
    let home = Home::new(COMMENTED);
    let verbs: [&[&str]; 12] = [
        &["account", "update", "team", "--region", "us", "--secret-stdin"],
        &["account", "update", "ci", "--token-stdin"],
        &["account", "add", "new", "--type", "oauth_browser", "--region", "eu"],
        &["account", "use", "me"],
        &["session", "use", "-a", "team", "-p", "5", "-w", "6"],
        &["project", "use", "8"],
        &["workspace", "use", "9"],
        &["target", "add", "second", "-a", "new", "-p", "1"],
        &["target", "use", "shop"],
        &["target", "remove", "second", "--yes"],
        &["account", "remove", "new"],
        &["account", "remove", "me"],
    ];
    let comments: Vec<_> = COMMENTED.lines().filter(|line| line.contains('#')).collect();
    for verb in verbs {
        ok(&home, verb);
        let text = config(&home);
        for comment in &comments {
            let comment = &comment[comment.find('#').unwrap()..];
            assert!(text.contains(comment), "{verb:?} lost {comment:?}:\n{text}");
        }
        assert!(text.contains("colour = \"blue\"\nlimits = [1,\n  2]\n"), "{verb:?}:\n{text}");
    }
    assert!(config(&home).find("[settings]") < config(&home).find("# the end"));
}

#[test]
fn what_is_wrong_is_said_and_the_file_stays_byte_for_byte() {
    let home = Home::new(COMMENTED);
    let before = config(&home);
    let sa = ["--type", "service_account", "--region", "us", "--username", "u", "--secret-stdin"];
    let add = |name: &'static str, more: &[&'static str]| {
        [&["account", "add", name][..], &sa, more].concat()
    };
    let long = "x".repeat(65);
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (add("bad name", &[]), 1, "CONFIG_ERROR"),
        (vec!["account", "add", &long, "--type", "oauth_browser"], 1, "CONFIG_ERROR"),
        (add("n", &["--project", "12a"]), 1, "CONFIG_ERROR"),
        (add("team", &[]), 1, "ACCOUNT_EXISTS"),
        (vec!["account", "add", "n", "--type", "robot", "--region", "us"], 3, "INVALID_ARGUMENT"),
        (
            vec!["account", "add", "n", "--type", "oauth_browser", "--region", "mars"],
            3,
            "INVALID_ARGUMENT",
        ),
        (
            vec!["account", "add", "n", "--type", "oauth_browser", "--username", "u"],
            3,
            "INVALID_ARGUMENT",
        ),
        (
            vec!["account", "add", "n", "--type", "oauth_token", "--region", "us"],
            3,
            "INVALID_ARGUMENT",
        ),
        (vec!["account", "add", "--type", "oauth_browser"], 3, "INVALID_ARGUMENT"),
        (
            vec!["account", "add", "n", "--type", "service_account", "--region", "us"],
            3,
            "INVALID_ARGUMENT",
        ),
        (vec!["account", "update", "zz", "--region", "us"], 1, "ACCOUNT_NOT_FOUND"),
        (vec!["account", "update", "team", "--region", "US"], 3, "INVALID_ARGUMENT"),
        (vec!["account", "update", "team", "--project", "-"], 1, "CONFIG_ERROR"),
        (vec!["account", "update", "team", "--username", ""], 1, "CONFIG_ERROR"),
        (vec!["account", "update", "team", "--token-env", "T"], 1, "CONFIG_ERROR"),
        (vec!["account", "update", "me", "--secret-stdin"], 1, "CONFIG_ERROR"),
        (vec!["account", "use", "zz"], 1, "ACCOUNT_NOT_FOUND"),
        (vec!["account", "remove", "zz"], 1, "ACCOUNT_NOT_FOUND"),
        (vec!["account", "remove", "ci"], 1, "ACCOUNT_IN_USE"),
        (vec!["account", "show", "zz"], 1, "ACCOUNT_NOT_FOUND"),
        (vec!["account", "logout", "zz"], 1, "ACCOUNT_NOT_FOUND"),
        (vec!["account", "token", "me"], 2, "OAUTH_TOKEN_ERROR"),
        (vec!["account", "export-bridge", "--account", "me"], 2, "OAUTH_TOKEN_ERROR"),
        (vec!["account", "export-bridge", "--workspace", "0"], 3, "INVALID_ARGUMENT"),
        (vec!["target", "add", "a b", "-a", "ci", "-p", "1"], 1, "CONFIG_ERROR"),
        (vec!["target", "add", "n", "-a", "zz", "-p", "1"], 1, "ACCOUNT_NOT_FOUND"),
        (vec!["target", "add", "shop", "-a", "ci", "-p", "1"], 1, "CONFIG_ERROR"),
        (vec!["target", "add", "n", "-a", "ci", "-p", "x"], 1, "CONFIG_ERROR"),
        (vec!["target", "add", "n", "-a", "ci", "-p", "1", "-w", "0"], 1, "CONFIG_ERROR"),
        (vec!["target", "use", "zz"], 1, "TARGET_NOT_FOUND"),
        (vec!["target", "remove", "zz", "--yes"], 1, "TARGET_NOT_FOUND"),
        (vec!["project", "use", "x"], 1, "CONFIG_ERROR"),
        (vec!["workspace", "use", "0"], 1, "CONFIG_ERROR"),
        (vec!["workspace", "use", "x"], 3, "INVALID_ARGUMENT"),
        (vec!["session", "use", "-t", "shop", "-p", "1"], 3, "WS1_TARGET_MUTUALLY_EXCLUSIVE"),
        (vec!["session", "use", "-a", "zz"], 1, "ACCOUNT_NOT_FOUND"),
    ];
    for (args, exit, code) in cases {
        let (got, error) = refused(&home, &args, "s3cr3t");
        let finest = if error["reason"].is_string() { &error["reason"] } else { &error["code"] };
        assert_eq!((got, finest), (exit, &json!(code)), "{args:?}: {error}");
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
        assert_eq!(config(&home), before, "{args:?}");
    }
    for stdin in ["", "  \n", &"x".repeat(64 * 1024 + 1)] {
        let (exit, error) = refused(&home, &add("n", &[]), stdin);
        assert_eq!((exit, &error["code"]), (3, &json!("INVALID_ARGUMENT")));
    }
    assert!(!home.path("mixpanel_auth.json").exists());
}

#[test]
fn broken_files_are_never_written_over() {
    let add = ["account", "add", "n", "--type", "oauth_browser"];
    let malformed = [
        ("[active\n", ":1:8`"),
        ("a = 1\na = 2\n", ":2:1`"),
        ("a = { b = 1,\n c = 2 }\n", ":1:13`"),
        ("a = \"\\e\"\n", ":1:6`"),
        ("[accounts.a]\ntype = \"oauth_browser\"\nregion = \"us\"\nx = 1\n", ":4`"),
        ("[accounts.a]\ntype = \"oauth_browser\"\nregion = \"mars\"\n", ":3`"),
        ("[accounts.\"a b\"]\ntype = \"oauth_browser\"\nregion = \"us\"\n", ":1`"),
        ("[accounts.a]\nname = \"b\"\ntype = \"oauth_browser\"\nregion = \"us\"\n", ":2`"),
        ("accounts = 3\n", ":1`"),
    ];
    for (text, place) in malformed {
        let home = Home::new(text);
        let (exit, error) = refused(&home, &add, "");
        assert_eq!(exit, 1);
        assert!(error["message"].as_str().unwrap().contains(place), "{text:?}: {error}");
        assert_eq!(config(&home), text);
        assert_eq!(
            fs::read_dir(home.path(".mp")).unwrap().count(),
            1,
            "nothing was left beside it"
        );
    }
    // Nor does a summary leave the broken one out in silence.
    for (text, place) in [("[[accounts]]\nx = 1\n", ":1`"), ("accounts = 3\n", ":1`")] {
        for verb in [&["account", "list"][..], &["workspace", "use", "4"]] {
            let (exit, error) = refused(&Home::new(text), verb, "");
            assert!(exit == 1 && error["message"].as_str().unwrap().contains(place), "{error}");
        }
    }
    let beside = COMMENTED.replace("region = \"in\"", "region = \"mars\"");
    for verb in [&["account", "list"][..], &["account", "show", "ci"], &["account", "token", "ci"]]
    {
        let (exit, error) = refused(&Home::new(&beside), verb, "");
        assert!(exit == 1 && error["message"].as_str().unwrap().contains(".me]"), "{error}");
    }
    // A number with a sign is a bad value, not a flag.
    let home = Home::new(COMMENTED);
    for verb in [
        &["account", "update", "ci", "--project", "-1"][..],
        &["account", "add", "n", "--type", "oauth_browser", "--project", "-1"],
        &["target", "add", "n", "--account", "ci", "--project", "-1"],
    ] {
        let (exit, error) = refused(&home, verb, "");
        assert_eq!((exit, &error["code"]), (1, &json!("CONFIG_ERROR")), "{error}");
    }
    // The broken block itself can be mended and removed (M8).
    let broken = COMMENTED.replace("region = \"in\"", "region = \"mars\"");
    let home = Home::new(&broken);
    refused(&home, &add, "");
    ok(&home, &["account", "update", "me", "--region", "in"]);
    assert_eq!(config(&home), COMMENTED);
    home.write(".mp/config.toml", &broken);
    ok(&home, &["account", "remove", "me"]);
    ok(&home, &add);
}

#[test]
fn places_that_cannot_be_written_are_left_as_they_were() {
    let add = ["account", "add", "n", "--type", "oauth_browser"];
    let home = Home::new(COMMENTED);
    fs::set_permissions(home.path(".mp/config.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    let (_, error) = refused(&home, &add, "");
    assert!(error.to_string().contains("chmod 600"), "{error}");
    fs::set_permissions(home.path(".mp/config.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(home.path(".mp"), home.path("real")).unwrap();
    symlink("real", home.path(".mp")).unwrap();
    let (exit, error) = refused(&home, &add, "");
    assert!(exit == 1 && error["message"].as_str().unwrap().contains("symbolic link"), "{error}");
    fs::remove_file(home.path(".mp")).unwrap();
    fs::rename(home.path("real"), home.path(".mp")).unwrap();
    // A disk that is full: the kernel refuses the write of a larger file.
    let mut full = std::process::Command::new("bash");
    full.args([
        "-c",
        "ulimit -f 0; trap '' XFSZ; exec \"$@\"",
        "-",
        env!("CARGO_BIN_EXE_mp-proxy"),
    ])
    .args(add)
    .env_clear()
    .env("HOME", home.dir.path());
    let output = full.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("config.toml"), "{text}");
    assert_eq!(config(&home), COMMENTED);
    let left: Vec<_> = fs::read_dir(home.path(".mp")).unwrap().collect();
    assert_eq!(left.len(), 2, "config and lock: {left:?}");
    // A directory that is not writable, seen by somebody who is not root.
    if rustix_is_root() {
        let other = home.path(".");
        assert!(
            std::process::Command::new("chown")
                .args(["-R", "65534"])
                .arg(&other)
                .status()
                .unwrap()
                .success()
        );
        fs::set_permissions(home.path(".mp"), fs::Permissions::from_mode(0o500)).unwrap();
        fs::remove_file(home.path(".mp/.config.toml.lock")).unwrap();
        let output = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--clear-groups", "--"])
            .arg(reachable(&home))
            .args(add)
            .env_clear()
            .env("HOME", home.dir.path())
            .current_dir("/")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("permission"), "{text}");
        assert_eq!(config(&home), COMMENTED);
        fs::set_permissions(home.path(".mp"), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The program where every user can run it.
fn reachable(home: &Home) -> std::path::PathBuf {
    let copy = home.path("mp-proxy");
    fs::copy(env!("CARGO_BIN_EXE_mp-proxy"), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(home.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

#[test]
fn only_our_own_directory_is_closed() {
    let home = Home::new("").with("MP_CONFIG_PATH", "shared/c.toml");
    fs::create_dir(home.path("shared")).unwrap();
    fs::set_permissions(home.path("shared"), fs::Permissions::from_mode(0o755)).unwrap();
    ok(&home, &["account", "add", "n", "--type", "oauth_browser"]);
    assert_eq!(fs::metadata(home.path("shared")).unwrap().mode() & 0o777, 0o755, "M4");
    let home = Home::new("");
    fs::set_permissions(home.path(".mp"), fs::Permissions::from_mode(0o755)).unwrap();
    ok(&home, &["account", "add", "n", "--type", "oauth_browser"]);
    assert_eq!(fs::metadata(home.path(".mp")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn tokens_outlive_an_account_unless_purged_and_stay_in_their_region() {
    let home = Home::new(COMMENTED);
    let tokens = r#"{"access_token":"acc-1","expires_at":"2999-01-01T00:00:00+00:00","scope":"s","token_type":"Bearer","refresh_token":"r"}"#;
    home.write(".mp/accounts/me/tokens.json", tokens);
    home.write(".mp/oauth/client_in.json", r#"{"client_id":"cid","redirect_uri":"http://localhost:19284/callback","region":"in","scope":"s","created_at":"2026-01-01T00:00:00Z"}"#);
    let (exit, error) = refused(&home, &["account", "update", "me", "--region", "eu"], "");
    assert!(exit == 1 && error.to_string().contains("mp-proxy account logout me"), "M7: {error}");
    assert_eq!(ok(&home, &["account", "token", "me"]), "acc-1\n");
    ok(
        &home,
        &["account", "export-bridge", "--account", "me", "--to", "out/b.json", "--project", "4"],
    );
    let bridge: Value =
        serde_json::from_str(&fs::read_to_string(home.path("out/b.json")).unwrap()).unwrap();
    assert_eq!(bridge["tokens"]["client_id"], "cid", "B4: the other machine can refresh");
    assert_eq!((&bridge["version"], &bridge["headers"]["X-A"]), (&json!(2), &json!("v")));
    for (path, mode) in [("out", 0o700), ("out/b.json", 0o600)] {
        assert_eq!(fs::metadata(home.path(path)).unwrap().mode() & 0o777, mode);
    }
    assert_eq!(fs::read_dir(home.path("out")).unwrap().count(), 1, "no lock is left");
    assert!(
        ok(&home, &["account", "remove-bridge", "--at", "out/b.json", "--json"]).contains("true")
    );
    assert!(
        ok(&home, &["account", "remove-bridge", "--at", "out/b.json", "--json"]).contains("false")
    );
    let output = piped(&home, &["account", "remove", "me"], "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--purge"), "M2");
    assert!(home.path(".mp/accounts/me/tokens.json").exists());
    ok(&home, &["account", "add", "me", "--type", "oauth_browser", "--region", "in"]);
    ok(&home, &["account", "logout", "me"]);
    assert!(!home.path(".mp/accounts/me/tokens.json").exists());
    home.write(".mp/accounts/me/tokens.json", tokens);
    ok(&home, &["account", "remove", "me", "--purge"]);
    assert!(!home.path(".mp/accounts/me").exists());
}

#[test]
fn the_first_run_says_how_to_start() {
    let home = Home::new("");
    let output = piped(&home, &["account", "list"], "");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for command in [
        "mp-proxy login",
        "mp-proxy account add NAME --type service_account",
        "MP_OAUTH_TOKEN",
        "mp-proxy demo",
    ] {
        assert!(text.contains(command), "{text}");
        let shown = piped(&home, &["session", "show"], "");
        assert!(String::from_utf8_lossy(&shown.stderr).contains(command), "the same source");
    }
    assert!(piped(&home, &["-q", "account", "list"], "").stderr.is_empty());
    let proxy = home.serve("http://127.0.0.1:9", &[]);
    let log = fs::read_to_string(&proxy.log).unwrap();
    for line in text.lines() {
        assert!(log.contains(line), "`serve` says the same, a line each: {log}");
    }
    let answer = proxy.get("/api/query/x", "");
    assert_eq!(answer.status, 503);
    assert!(answer.json()["hint"].as_str().unwrap().contains("mp-proxy login"));
}

#[test]
fn what_me_said_is_remembered_for_that_credential_only() {
    let upstream = crate::support::Upstream::start();
    let home = Home::new(crate::support::CONFIG).with("MP_PROXY_UPSTREAM", &upstream.url());
    let status = || {
        let shown: Value =
            serde_json::from_str(&ok(&home, &["account", "show", "team", "--json"])).unwrap();
        (shown["status"].clone(), shown["user_email"].clone())
    };
    assert_eq!(status(), (json!("untested"), Value::Null));
    ok(&home, &["account", "test", "team"]);
    let (tested, email) = status();
    assert!(tested == "ok" && email.is_string(), "{tested} {email}");
    let persisted: Value =
        serde_json::from_str(&ok(&home, &["session", "show", "--persisted", "--json"])).unwrap();
    assert_eq!((&persisted["me_cached"], &persisted["user"]["email"]), (&json!(true), &email));
    ok(&home, &["account", "update", "team", "--secret-stdin"]);
    assert_eq!(status(), (json!("untested"), Value::Null), "another secret, another login");
}

#[test]
fn shells_complete_the_names_of_the_config() {
    let home = Home::new(COMMENTED);
    let complete = |shell: &str, words: &[&str]| {
        let index = (words.len() - 1).to_string();
        let output = home
            .command(&[&["--"], words].concat())
            .env("MP_PROXY_COMPLETE", shell)
            .env("_CLAP_IFS", "\n")
            .env("_CLAP_COMPLETE_INDEX", index)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let asked: [(&[&str], &str); 8] = [
        (&["mp-proxy", "account", "use", "t"], "team"),
        (&["mp-proxy", "account", "login", ""], "me"),
        (&["mp-proxy", "-a", "c"], "ci"),
        (&["mp-proxy", "session", "show", "--target", ""], "shop"),
        (&["mp-proxy", "target", "remove", "s"], "shop"),
        (&["mp-proxy", "serve", "--account", ""], "team"),
        (&["mp-proxy", "account", "add", "--type", "o"], "oauth_browser"),
        (&["mp-proxy", "account", "update", "ci", "--region", ""], "eu"),
    ];
    for shell in ["bash", "zsh", "fish", "powershell"] {
        for (words, wanted) in asked {
            let said = complete(shell, words);
            let found = said.lines().any(|line| line.split(['\t', ':']).next() == Some(wanted));
            assert!(found, "{shell} {words:?}: {said}");
        }
        assert!(!complete(shell, &["mp-proxy", "account", "use", ""]).contains("hunter2"));
        let script = ok(&home, &["completions", shell]);
        assert!(script.contains("MP_PROXY_COMPLETE") && script.contains("mp-proxy"), "{shell}");
    }
    // A real shell, as a person has it after `source <(mp-proxy completions bash)`.
    let script = "source <(mp-proxy completions bash); COMP_WORDS=(mp-proxy account use t); \
                  COMP_CWORD=3; _clap_complete_mp_proxy mp-proxy t use; echo \"${COMPREPLY[@]}\"";
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_mp-proxy")).parent().unwrap();
    let output = std::process::Command::new("bash")
        .args(["--norc", "-c", script])
        .env_clear()
        .env("HOME", home.dir.path())
        .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "team");
    // A broken config completes nothing and says nothing.
    home.write(".mp/config.toml", "[accounts\n");
    assert_eq!(complete("bash", &["mp-proxy", "account", "use", "t"]), "");
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let home = Home::new(COMMENTED);
    ok(&home, &["man", "--out", "man"]);
    for (command, told) in [
        ("mp-proxy", "verbose"),
        ("mp-proxy-account-add", "service_account"),
        ("mp-proxy-session-use", "target"),
        ("mp-proxy-workspace-list", "refresh"),
    ] {
        let page = fs::read_to_string(home.path(&format!("man/{command}.1"))).unwrap();
        assert!(page.starts_with(".ie") && page.contains(told), "{command}: {page}");
    }
    assert!(ok(&home, &["man"]).contains(".TH mp-proxy 1"));
}

#[test]
fn fifty_writers_at_once_lose_nothing() {
    let home = Home::new(COMMENTED);
    for number in 0..25 {
        ok(&home, &["account", "add", &format!("old{number}"), "--type", "oauth_browser"]);
    }
    let all: Vec<Child> = (0..25)
        .flat_map(|number| {
            let new = format!("new{number}");
            let old = format!("old{number}");
            let spawn = |args: &[&str]| {
                home.command(args)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::inherit())
                    .spawn()
                    .unwrap()
            };
            let second = if number % 2 == 0 {
                spawn(&["account", "remove", &old])
            } else {
                spawn(&["account", "update", &old, "--project", "5"])
            };
            [spawn(&["account", "add", &new, "--type", "oauth_browser"]), second]
        })
        .collect();
    for mut child in all {
        assert!(child.wait().unwrap().success());
    }
    let text = config(&home);
    let document: toml_edit::DocumentMut = text.parse().unwrap();
    for number in 0..25 {
        assert!(document["accounts"].get(format!("new{number}")).is_some(), "new{number}");
        let old = document["accounts"].get(format!("old{number}"));
        match number % 2 {
            0 => assert!(old.is_none(), "old{number}"),
            _ => assert_eq!(old.unwrap()["default_project"].as_str(), Some("5")),
        }
    }
    assert_eq!(fs::read_dir(home.path(".mp")).unwrap().count(), 2, "config and lock");
}

#[test]
fn a_kill_during_a_write_leaves_a_whole_file() {
    let writes: u64 =
        std::env::var("MP_PROXY_TEST_WRITES").map_or(40, |count| count.parse().unwrap());
    let home = Home::new(COMMENTED);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let mut random = u64::from(seed);
    // The moments are spread over the whole life of a write, and a little longer.
    let begun = Instant::now();
    ok(&home, &["account", "update", "team", "--project", "1"]);
    let life = u64::try_from(begun.elapsed().as_micros()).unwrap() * 3 / 2;
    let mut killed = 0;
    for number in 0..writes {
        let project = (1000 + number).to_string();
        let mut child = home
            .command(&["account", "update", "team", "--project", &project])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_micros((random >> 33) % life));
        let _ = child.kill();
        killed += u64::from(!child.wait().unwrap().success());
        let text = config(&home);
        let document: toml_edit::DocumentMut = text.parse().expect("a whole file");
        assert_eq!(document["settings"]["colour"].as_str(), Some("blue"));
        assert!(text.ends_with("# the end\n"), "{text}");
    }
    eprintln!("{killed} of {writes} writes were killed");
    ok(&home, &["account", "update", "team", "--project", "1"]);
    assert_eq!(fs::read_dir(home.path(".mp")).unwrap().count(), 2, "config and lock");
}
