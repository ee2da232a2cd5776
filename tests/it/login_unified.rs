//! `mp-proxy login`: type, region, project and name found out, accounts renewed, and the files
//! that it shares with the reference client.

use crate::{
    login_support::{Done, Login, Ports, get, press},
    reference::environment,
    support::{Home, Upstream, header},
};
use mp_proxy::demo::switches::{Bearers, Fault};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    process::{Command, Output, Stdio},
    time::Duration,
};

const SERVICE: [(&str, &str); 2] = [("MP_USERNAME", "sa.x"), ("MP_SECRET", "s3cr3t-one")];

fn upstream() -> Upstream {
    let upstream = Upstream::start();
    oauth(&upstream).set(|switches| switches.bearers = Bearers::Granted);
    upstream
}

fn oauth(upstream: &Upstream) -> &mp_proxy::demo::oauth_server::OauthServer {
    upstream.stand_in.as_ref().unwrap().oauth()
}

fn config(home: &Home) -> String {
    fs::read_to_string(home.path(".mp/config.toml")).unwrap_or_default()
}

/// A login of no browser.
fn run(home: &Home, upstream: &str, vars: &[(&str, &str)], args: &[&str], stdin: &str) -> Output {
    let mut child = home
        .command(&[&["login", "--json"], args].concat())
        .env("MP_PROXY_UPSTREAM", upstream)
        .envs(vars.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(!String::from_utf8_lossy(&all).contains("s3cr3t"), "a secret was printed");
    output
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Exit code, code and hint of a refusal.
fn refusal(output: &Output) -> (Option<i32>, String, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).expect(&text);
    let part = |name: &str| last["error"][name].as_str().unwrap_or_default().to_owned();
    (output.status.code(), part("code"), part("hint"))
}

/// A browser login of an obedient person.
fn browse(home: &Home, upstream: &Upstream, args: &[&str]) -> Done {
    let login =
        Login::start(home, upstream, &[&["login", "--no-browser", "--json"], args].concat());
    get(&press(login.url(), "allow"));
    login.finish()
}

#[test]
fn a_browser_login_finds_project_and_name_and_activates() {
    let _ports = Ports::mine();
    let (home, upstream) = (Home::new(""), upstream());
    let done = browse(&home, &upstream, &["--project", "1001"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let wanted = json!({
        "name": "acme", "type": "oauth_browser", "region": "us", "status": "ok",
        "is_active": true, "referenced_by_targets": [],
        "user_email": "demo@example.com", "project_id": "1001", "project_name": "Shop",
    });
    assert_eq!(serde_json::from_str::<Value>(&done.stdout).unwrap(), wanted);
    assert!(config(&home).contains("[active]\naccount = \"acme\""), "{}", config(&home));
    assert!(home.path(".mp/accounts/acme/tokens.json").exists());

    let done = browse(&home, &upstream, &["--region", "eu", "--project", "2002"]);
    assert_eq!(serde_json::from_str::<Value>(&done.stdout).unwrap()["name"], "acme-2");
    assert!(config(&home).contains("account = \"acme-2\""));
    let before = config(&home);
    for (args, exit, code, hint) in [
        (vec!["--project", "2002"], 1, "CONFIG_ERROR", "mp-proxy login --region eu --project 2002"),
        (vec!["--project", "31"], 4, "PROJECT_NOT_FOUND", "--project"),
        (vec![], 1, "CONFIG_ERROR", "--project ID"),
    ] {
        let done = browse(&home, &upstream, &args);
        assert_eq!((done.code, done.error()["code"].as_str()), (Some(exit), Some(code)));
        assert!(done.error()["hint"].as_str().unwrap().contains(hint), "{}", done.stderr);
        assert_eq!(config(&home), before);
    }
    let names: Vec<_> = fs::read_dir(home.path(".mp/accounts")).unwrap().collect();
    assert_eq!(names.len(), 2, "a failed login left something: {names:?}");

    // Again, by name: new tokens, the same project, active again.
    let tokens = || fs::read_to_string(home.path(".mp/accounts/acme/tokens.json")).unwrap();
    let old = tokens();
    let done = browse(&home, &upstream, &["--name", "acme", "--project", "2002"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(serde_json::from_str::<Value>(&done.stdout).unwrap(), wanted);
    assert!(tokens() != old && config(&home).contains("account = \"acme\""));
    let (exit, code, hint) =
        refusal(&run(&home, &upstream.url(), &[], &["--name", "acme", "--region", "in"], ""));
    assert_eq!((exit, code.as_str()), (Some(1), "CONFIG_ERROR"));
    assert!(hint.contains("mp-proxy account remove acme"), "{hint}");
}

#[test]
fn a_service_account_is_found_in_its_region() {
    let (home, upstream) = (Home::new("# mine\n"), upstream());
    let url = upstream.url();
    let me = |faults: [Fault; 3]| {
        let hosts = ["mixpanel.com", "eu.mixpanel.com", "in.mixpanel.com"].map(str::to_owned);
        oauth(&upstream).set(|switches| switches.me = hosts.into_iter().zip(faults).collect());
    };
    let no = || Fault::Status(401, None);
    me([no(), Fault::Fine, no()]);
    let output = run(&home, &url, &SERVICE, &["--project", "2002"], "");
    let done = answer(&output);
    assert_eq!((&done["name"], &done["region"]), (&json!("acme"), &json!("eu")));
    // People see what takes its time, programs the answer alone.
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let other = Home::new("");
    let output = other
        .command(&["login", "--project", "2002"])
        .env("MP_PROXY_UPSTREAM", &url)
        .envs(SERVICE)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("looking for the region: `eu`"));
    let text = config(&home);
    assert!(text.starts_with("# mine\n") && text.contains("secret = \"s3cr3t-one\""), "{text}");

    // A region that hangs costs five seconds and no more.
    me([Fault::Slow(Duration::from_secs(30)), no(), Fault::Fine]);
    let done = answer(&run(&home, &url, &SERVICE, &["--project", "1001", "--name", "b"], ""));
    assert_eq!(done["region"], "in");
    me([no(), no(), Fault::Status(500, None)]);
    let (exit, code, _) = refusal(&run(&home, &url, &SERVICE, &["--name", "c"], ""));
    assert_eq!((exit, code.as_str()), (Some(2), "OAUTH_REGION_PROBE_FAILED"));
    let (exit, code, _) =
        refusal(&run(&home, &url, &SERVICE, &["--name", "c", "--region", "us"], ""));
    assert_eq!((exit, code.as_str()), (Some(2), "AUTH_FAILED"));
    let dead =
        format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let (exit, code, _) = refusal(&run(&home, &dead, &SERVICE, &["--name", "c"], ""));
    assert_eq!((exit, code.as_str()), (Some(2), "OAUTH_NETWORK_UNREACHABLE"));

    // A new secret for an account that is there, by stdin; the project stays.
    me([Fault::Fine, Fault::Fine, Fault::Fine]);
    let user = [("MP_USERNAME", "sa.y")];
    let args = ["-S", "--secret-stdin", "--name", "acme"];
    let done = answer(&run(&home, &url, &user, &args, " s3cr3t-two\n"));
    assert_eq!((&done["region"], &done["project_id"]), (&json!("eu"), &json!("2002")));
    let text = config(&home);
    assert!(text.contains("secret = \"s3cr3t-two\"") && text.contains("username = \"sa.y\""));
    assert_eq!(text.matches("s3cr3t-one").count(), 1, "{text}");
    assert!(text.contains("account = \"acme\""), "{text}");

    let before = config(&home);
    for (vars, args, exit, code) in [
        (&SERVICE[..], &["--no-browser"][..], 3, "INVALID_ARGUMENT"),
        (&[], &["--secret-stdin"], 3, "INVALID_ARGUMENT"),
        (&SERVICE, &["-S", "--token-env", "T"], 3, "INVALID_ARGUMENT"),
        (&[], &["--token-env", "NOT_SET"], 1, "CONFIG_ERROR"),
        (&[], &["-S"], 1, "CONFIG_ERROR"),
        (&user, &["-S", "--secret-stdin"], 3, "INVALID_ARGUMENT"),
        (&[("T", "x")], &["--token-env", "T", "--name", "acme"], 1, "CONFIG_ERROR"),
        (&SERVICE, &["--name", "acme", "--region", "us"], 1, "CONFIG_ERROR"),
    ] {
        let refused = refusal(&run(&home, &url, vars, args, ""));
        assert_eq!((refused.0, refused.1.as_str()), (Some(exit), code), "{args:?}");
        assert!(!refused.2.is_empty(), "{args:?} has no hint");
    }
    assert_eq!(config(&home), before);
    assert_eq!(home.run(&["login", "--region", "mars"]).status.code(), Some(3));
}

/// How often `/me` was asked, and the values that came with each question under a name.
fn questions(upstream: &Upstream, name: &str) -> Vec<Option<String>> {
    let all = upstream.received();
    let asked = all.iter().filter(|received| received.target == "/api/app/me");
    asked.map(|received| header(received, name).map(str::to_owned)).collect()
}

#[test]
fn a_login_asks_with_the_custom_header_and_remembers_the_answer() {
    let _ports = Ports::mine();
    let config =
        "[settings]\ncustom_header = { name = \"X-Mixpanel-Cluster\", value = \"internal-1\" }\n";
    let upstream = upstream();
    let home = Home::new(config)
        .with("MP_CUSTOM_HEADER_NAME", "X-Of-The-Environment")
        .with("MP_CUSTOM_HEADER_VALUE", "yes");
    // The question of a browser login; of another one, those that look for the region too.
    let done = browse(&home, &upstream, &["--project", "1001", "--name", "me"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    answer(&run(&home, &upstream.url(), &SERVICE, &["--project", "1001", "--name", "sa"], ""));
    answer(&run(&home, &upstream.url(), &SERVICE, &["--name", "sa"], ""));
    for (name, value) in [("x-mixpanel-cluster", "internal-1"), ("x-of-the-environment", "yes")] {
        let sent = questions(&upstream, name);
        assert_eq!(sent, vec![Some(value.to_owned()); 4], "{name}");
    }
    // What it said is known from then on, to the reference too.
    let asked = |home: &Home, args: &[&str]| {
        let output = home
            .command(args)
            .env("MP_PROXY_UPSTREAM", upstream.url())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    for name in ["me", "sa"] {
        assert!(home.run(&["account", "use", name]).status.success());
        let projects = asked(&home, &["project", "list", "--json"]);
        assert_eq!(projects[0]["name"], "Shop", "{projects}");
        let shown = asked(&home, &["account", "show", name, "--json"]);
        let known = (&shown["status"], &shown["user_email"], &shown["project_name"]);
        assert_eq!(known, (&json!("ok"), &json!("demo@example.com"), &json!("Shop")));
    }
    assert_eq!(questions(&upstream, "authorization").len(), 4, "`/me` was asked once more");
    let script = "from mixpanel_headless._internal.me import MeCache\n\
                  print([MeCache(account_name=name).get().user_email for name in ('me', 'sa')])";
    let read = Command::new(environment().join("bin/python"))
        .args(["-c", script])
        .env_clear()
        .env("HOME", home.dir.path())
        .output()
        .unwrap();
    let wanted = "['demo@example.com', 'demo@example.com']\n";
    assert_eq!(String::from_utf8_lossy(&read.stdout), wanted, "{read:?}");
    // Another person logs in to the same account: what was remembered of the first one goes.
    let other = json!({"results": {"user_id": 7, "user_email": "other@example.com",
        "projects": {"1001": {"name": "Shop", "organization_id": 1}}}});
    oauth(&upstream).set(|switches| switches.me_body = Some(other));
    let login = Login::start(&home, &upstream, &["account", "login", "me", "--no-browser"]);
    get(&press(login.url(), "allow"));
    assert_eq!(login.finish().code, Some(0));
    let shown = asked(&home, &["account", "show", "me", "--json"]);
    assert_eq!(shown["user_email"], "other@example.com");
    // A header that may not be sent ends a login before anything is asked.
    home.write(".mp/config.toml", &config.replace("X-Mixpanel-Cluster", "Host"));
    let before = upstream.received().len();
    let (exit, code, _) = refusal(&run(&home, &upstream.url(), &SERVICE, &[], ""));
    assert_eq!((exit, code.as_str()), (Some(1), "CONFIG_ERROR"));
    assert_eq!(upstream.received().len(), before);
}

#[test]
fn a_token_is_kept_where_it_was() {
    let (home, upstream) = (Home::new(""), upstream());
    let token = oauth(&upstream).mint().0["access_token"].as_str().unwrap().to_owned();
    let url = upstream.url();
    let pointed = [("MINE", token.as_str())];
    answer(&run(&home, &url, &pointed, &["--token-env", "MINE", "--project", "1001"], ""));
    assert!(config(&home).contains("token_env = \"MINE\"") && !config(&home).contains(&token));
    let inline = [("MP_OAUTH_TOKEN", token.as_str()), ("MP_PROJECT_ID", "1001")];
    let done = answer(&run(&home, &url, &inline, &["--name", "inline"], ""));
    assert_eq!((&done["type"], &done["project_id"]), (&json!("oauth_token"), &json!("1001")));
    assert!(config(&home).contains(&format!("token = \"{token}\"")));
    // A stale project is warned of, and then the terminal would be asked.
    let stale = [("MP_OAUTH_TOKEN", token.as_str()), ("MP_PROJECT_ID", "31")];
    let output = run(&home, &url, &stale, &["--name", "stale"], "");
    assert_eq!(refusal(&output).0, Some(1));
    let mut told = home.command(&["login", "--name", "stale"]);
    let told = told.env("MP_PROXY_UPSTREAM", &url).envs(stale).output().unwrap();
    assert!(String::from_utf8_lossy(&told.stderr).contains("`MP_PROJECT_ID` names a project"));
    // Logged in again without flags, it goes on being read from its variable.
    let both = [("MINE", token.as_str()), ("MP_OAUTH_TOKEN", token.as_str())];
    answer(&run(&home, &url, &both, &["--name", "acme"], ""));
    assert!(config(&home).contains("token_env = \"MINE\""), "{}", config(&home));
}

#[test]
fn a_project_is_picked_on_a_terminal_by_number_or_arrows_in_three_tries() {
    let (home, upstream) = (Home::new(""), upstream());
    let picked = |name: &str, keys: &[&str]| {
        let program = env!("CARGO_BIN_EXE_mp-proxy");
        let mut child = Command::new("/usr/bin/script")
            .args(["-qec", &format!("{program} login --region us --name {name}"), "/dev/null"])
            .env_clear()
            .env("HOME", home.dir.path())
            .env("TERM", "xterm")
            .env("MP_PROXY_UPSTREAM", upstream.url())
            .envs(SERVICE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut seen = String::new();
        let mut piece = [0_u8; 4096];
        for key in keys {
            // A key is pressed when it is asked for, as a person would.
            let (what, key) = key.split_once(' ').unwrap();
            while !seen.contains(what) {
                let read = stdout.read(&mut piece).unwrap_or(0);
                assert!(read > 0, "no {what:?} in {seen}");
                seen.push_str(&String::from_utf8_lossy(&piece[..read]));
            }
            seen.clear();
            stdin.write_all(key.as_bytes()).unwrap();
        }
        let mut rest = Vec::new();
        let _ = stdout.read_to_end(&mut rest);
        (child.wait().unwrap().code(), String::from_utf8_lossy(&rest).into_owned())
    };
    let (code, text) = picked("one", &["keys: 2\n"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Logged in as demo@example.com → one · Shop EU"), "{text}");
    let (code, text) = picked("two", &["keys: 9\n", "keys: x\n", "keys: 1\n"]);
    assert!(code == Some(0) && text.contains("→ two · Shop"), "{text}");
    let (code, text) = picked("three", &["keys: 9\n", "keys: x\n", "keys: 0\n"]);
    assert!(code == Some(1) && text.contains("3 tries"), "{text}");
    let (code, text) = picked("four", &["keys: \n", "Shop \u{1b}[B\n"]);
    assert!(code == Some(0) && text.contains("→ four · Shop EU"), "{text}");
    assert!(!config(&home).contains("three"));
}

#[test]
fn the_reference_reads_our_login_and_we_read_its() {
    let _ports = Ports::mine();
    let venv = environment();
    let (home, upstream) = (Home::new(""), upstream());
    let done = browse(&home, &upstream, &["--project", "1001", "--name", "me"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let reference = |program: &str, args: &[&str]| {
        let output = Command::new(venv.join("bin").join(program))
            .args(args)
            .env_clear()
            .env("HOME", home.dir.path())
            .current_dir(home.dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let file = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(home.path(path)).unwrap()).unwrap()
    };
    let tokens = file(".mp/accounts/me/tokens.json");
    let printed: String = reference("mp", &["account", "token", "me"]).split_whitespace().collect();
    assert_eq!(printed, tokens["access_token"].as_str().unwrap());
    assert!(reference("mp", &["account", "list"]).contains("oauth_browser"));
    let client = "from mixpanel_headless._internal.auth.storage import OAuthStorage\n\
                  c = OAuthStorage().load_client_info('us')\nprint(c.client_id, c.redirect_uri)";
    let wanted = format!(
        "{} http://localhost:19284/callback",
        file(".mp/oauth/client_us.json")["client_id"].as_str().unwrap()
    );
    assert_eq!(reference("python", &["-c", client]).trim(), wanted);

    // Its writing, our reading: tokens are used and the client is not registered anew.
    let write = format!(
        "from datetime import datetime, timezone, timedelta\n\
         from pydantic import SecretStr\n\
         from mixpanel_headless._internal.auth.token import OAuthTokens, OAuthClientInfo, token_payload_bytes\n\
         from mixpanel_headless._internal.auth.storage import OAuthStorage, ensure_account_dir\n\
         from mixpanel_headless._internal.io_utils import atomic_write_bytes\n\
         now = datetime.now(timezone.utc)\n\
         t = OAuthTokens(access_token=SecretStr('{}'), refresh_token=SecretStr('r'), expires_at=now + timedelta(hours=1), scope='s', token_type='Bearer')\n\
         atomic_write_bytes(ensure_account_dir('me') / 'tokens.json', token_payload_bytes(t))\n\
         OAuthStorage().save_client_info(OAuthClientInfo(client_id='{}', region='us', redirect_uri='http://localhost:19285/callback', scope='s', created_at=now))\n",
        tokens["access_token"].as_str().unwrap(),
        tokens["client_id"].as_str().unwrap(),
    );
    reference("python", &["-c", &write]);
    let proxy = home.serve(&upstream.url(), &[]);
    assert_eq!(proxy.get("/api/query/events/names", "").status, 200);
    assert!(header(&upstream.last(), "authorization").unwrap().ends_with(&printed));
    let login = Login::start(
        &home,
        &upstream,
        &["account", "login", "me", "--no-browser", "--timeout", "1"],
    );
    assert_eq!(login.redirect().port(), Some(19285));
    assert!(login.url().as_str().contains(tokens["client_id"].as_str().unwrap()));
    assert_eq!(oauth(&upstream).counts().registrations, 1);
    login.finish();
}
