//! `/me`: what a session's credential reaches, kept for a day, and the ids that a path leaves to
//! the session.

use crate::{
    support::{CONFIG, Home, Serving, Upstream},
    tokens::{BROWSER, TOKENS, oauth, tokens},
};
use mp_proxy::demo::switches::{Bearers, Fault};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::Duration,
};

fn asked(upstream: &Upstream) -> usize {
    upstream.received().iter().filter(|received| received.target == "/api/app/me").count()
}

fn workspaces(project: u64) -> Value {
    json!({"results": {
        "user_id": 1, "user_email": "a@b.c",
        "projects": {project.to_string(): {"name": "P", "organization_id": 1}},
        "workspaces": {
            "8": {"id": 8, "name": "Hidden", "project_id": project, "is_visible": false},
            "9": {"id": 9, "name": "All Project Data", "project_id": project},
            "10": {"id": 10, "name": "Other", "project_id": 77, "is_global": true},
        },
    }})
}

#[test]
fn a_tilde_is_the_sessions_project_or_workspace_and_nothing_else_changes() {
    let (home, upstream) = (Home::new(CONFIG), Upstream::start());
    oauth(&upstream).set(|switches| switches.me_body = Some(workspaces(123)));
    let proxy = home.serve(&upstream.url(), &[]);
    let sent = |path: &str, lines: &str| {
        let answer = proxy.get(path, lines);
        assert_eq!(answer.status, 200, "{path}: {}", answer.head);
        upstream.last().target
    };
    assert_eq!(sent("/api/app/projects/~/a%2Fb//?q=~", ""), "/api/app/projects/123/a%2Fb//?q=~");
    let switched = sent("/api/app/projects/~/x", "X-Mp-Project: 31\r\n");
    assert_eq!(switched, "/api/app/projects/31/x");
    assert_eq!(sent("/api/app/projects/%7E/x", ""), "/api/app/projects/%7E/x");
    assert_eq!(sent("/api/app/projects/~", ""), "/api/app/projects/~");
    assert_eq!(asked(&upstream), 0, "a project needs no `/me`");
    let own = sent("/api/app/workspaces/~/x", "X-Mp-Workspace: 4\r\n");
    assert_eq!((own.as_str(), asked(&upstream)), ("/api/app/workspaces/4/x", 0));
    for _ in 0..3 {
        assert_eq!(sent("/api/app/workspaces/~/x?a=1", ""), "/api/app/workspaces/9/x?a=1");
    }
    assert_eq!(asked(&upstream), 1);
    let unknown = proxy.get("/api/app/workspaces/~/x", "X-Mp-Project: 31\r\n");
    assert_eq!(unknown.json()["code"], "PROJECT_NOT_FOUND");
    assert!(unknown.json()["hint"].as_str().unwrap().contains("X-Mp-Workspace"));
    // The next process finds it on disk, and so does the reference.
    drop(proxy);
    let proxy = home.serve(&upstream.url(), &[]);
    assert_eq!(proxy.get("/api/app/workspaces/~/x", "").status, 200);
    assert_eq!(asked(&upstream), 1);
    let python = crate::reference::environment().join("bin/python");
    let script = "from mixpanel_headless._internal.me import MeCache\n\
                  me = MeCache(account_name='team').get()\n\
                  print(me.user_email, [w.id for w in me.workspaces.values()], me.projects['123'].name)";
    let read = Command::new(python)
        .args(["-c", script])
        .env_clear()
        .env("HOME", home.dir.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&read.stdout), "a@b.c [10, 8, 9] P\n", "{read:?}");
    // Another credential under the same name does not see it.
    home.write(".mp/config.toml", &CONFIG.replace("hunter2-secret", "other-secret"));
    assert_eq!(proxy.get("/api/app/workspaces/~/x", "").status, 200);
    assert_eq!(asked(&upstream), 2);
    assert!(
        !fs::read_to_string(home.path(".mp/accounts/team/me.json")).unwrap().contains("secret")
    );
}

/// Every type of account, with a workspace of its own and without one.
#[test]
fn a_tilde_stands_for_the_ids_of_every_type_of_account() {
    let upstream = Upstream::start();
    oauth(&upstream).set(|switches| {
        switches.bearers = Bearers::Granted;
        switches.me_body = Some(workspaces(9));
    });
    let (grant, client) = oauth(&upstream).mint();
    let config = format!(
        "[accounts.sa]\ntype = \"service_account\"\nregion = \"us\"\ndefault_project = \"9\"\nusername = \"u\"\nsecret = \"s\"\n\
         [accounts.ci]\ntype = \"oauth_token\"\nregion = \"us\"\ndefault_project = \"9\"\ntoken = {0}\n\
         [accounts.pointed]\ntype = \"oauth_token\"\nregion = \"us\"\ndefault_project = \"9\"\ntoken_env = \"T\"\n\
         [accounts.me]\ntype = \"oauth_browser\"\nregion = \"us\"\ndefault_project = \"9\"\n\
         [targets.four]\naccount = \"ci\"\nproject = \"9\"\nworkspace = 4\n",
        grant["access_token"]
    );
    let home = Home::new(&config).with("T", grant["access_token"].as_str().unwrap());
    home.write(TOKENS, &tokens(&grant, Some(&client), 3600).to_string());
    let proxy = home.serve(&upstream.url(), &[]);
    let sent = |proxy: &Serving, path: &str, lines: &str| {
        let answer = proxy.get(path, lines);
        assert_eq!(answer.status, 200, "{lines}: {}", answer.head);
        upstream.last().target
    };
    for name in ["sa", "ci", "pointed", "me"] {
        let account = format!("X-Mp-Account: {name}\r\n");
        assert_eq!(sent(&proxy, "/api/app/projects/~/x", &account), "/api/app/projects/9/x");
        assert_eq!(sent(&proxy, "/api/app/workspaces/~/x", &account), "/api/app/workspaces/9/x");
        let own = format!("{account}X-Mp-Workspace: 6\r\n");
        assert_eq!(sent(&proxy, "/api/app/workspaces/~/x", &own), "/api/app/workspaces/6/x");
    }
    let target = "X-Mp-Target: four\r\n";
    assert_eq!(sent(&proxy, "/api/app/workspaces/~/x", target), "/api/app/workspaces/4/x");
    drop(proxy);
    // The environment's own accounts, and a workspace of the command.
    let token = grant["access_token"].as_str().unwrap();
    for given in [vec![("MP_OAUTH_TOKEN", token)], vec![("MP_USERNAME", "u"), ("MP_SECRET", "s")]] {
        let home = Home::new("").with("MP_PROJECT_ID", "9").with("MP_REGION", "us");
        let home = given.iter().fold(home, |home, (name, value)| home.with(name, value));
        let proxy = home.serve(&upstream.url(), &[]);
        assert_eq!(sent(&proxy, "/api/app/workspaces/~/x", ""), "/api/app/workspaces/9/x");
        let proxy = home.serve(&upstream.url(), &["--workspace", "5"]);
        assert_eq!(sent(&proxy, "/api/app/workspaces/~/x", ""), "/api/app/workspaces/5/x");
    }
    // A bridge, with and without one.
    for (pinned, wanted) in [(Value::Null, 9), (json!(3), 3)] {
        let home = Home::new("");
        let mut bridge = crate::tokens_bridge::bridge(&grant, Some(&client), 3600);
        (bridge["project"], bridge["workspace"]) = (json!("9"), pinned);
        home.write("mixpanel_auth.json", &bridge.to_string());
        let proxy = home.serve(&upstream.url(), &[]);
        let wanted = format!("/api/app/workspaces/{wanted}/x");
        assert_eq!(sent(&proxy, "/api/app/workspaces/~/x", ""), wanted);
    }
}

#[test]
fn a_me_that_hangs_holds_up_nobody_else_and_one_that_fails_is_not_asked_by_all() {
    let (home, upstream) = (Home::new(CONFIG), Upstream::start());
    let slow = |seconds: f64, body: Value| {
        let pause = Fault::Slow(Duration::from_secs_f64(seconds));
        oauth(&upstream).set(|one| {
            one.me_body = Some(body);
            one.me = vec![("eu.mixpanel.com".into(), pause)];
        });
    };
    let ask = |proxy: &Serving| {
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        let head = format!(
            "GET /api/app/workspaces/~/x HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            proxy.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    slow(600.0, workspaces(9));
    let proxy = home.serve(&upstream.url(), &[]);
    let waiting = ask(&proxy);
    crate::tokens::until("the question", || asked(&upstream) == 1);
    let other = proxy.get("/api/app/workspaces/~/x", "X-Mp-Account: ci\r\n");
    assert_eq!(other.status, 200, "{}", other.head);
    drop(waiting);
    // One whose `/me` is no `/me`, after a while: those who wait share the answer.
    slow(0.5, json!({"no": "me"}));
    let proxy = home.serve(&upstream.url(), &[]);
    let before = asked(&upstream);
    let streams: Vec<_> = (0..40).map(|_| ask(&proxy)).collect();
    for mut stream in streams {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.contains("UPSTREAM_BROKEN"), "{answer}");
    }
    let questions = asked(&upstream) - before;
    assert!(questions < 10, "{questions} questions");
}

#[test]
fn an_entry_outlives_the_tokens_of_a_login_but_not_the_login() {
    let (home, upstream) = (Home::new(BROWSER), Upstream::start());
    oauth(&upstream).set(|switches| {
        switches.bearers = Bearers::Granted;
        switches.me_body = Some(workspaces(5));
    });
    let log_in = || {
        let (grant, client) = oauth(&upstream).mint();
        home.write(TOKENS, &tokens(&grant, Some(&client), 3600).to_string());
    };
    let once = || {
        let proxy = home.serve(&upstream.url(), &[]);
        assert_eq!(proxy.get("/api/app/workspaces/~/x", "").status, 200);
        asked(&upstream)
    };
    log_in();
    assert_eq!(once(), 1);
    let before = fs::read(home.path(TOKENS)).unwrap();
    oauth(&upstream).end_access_tokens();
    assert_eq!(once(), 1);
    assert_ne!(fs::read(home.path(TOKENS)).unwrap(), before, "the token was not renewed");
    assert_eq!(once(), 1);
    log_in();
    assert_eq!(once(), 2);
    // A token that `/me` is the first to reject is renewed for it.
    fs::remove_file(home.path(".mp/accounts/me/me.json")).unwrap();
    oauth(&upstream).end_access_tokens();
    assert_eq!(once(), 4);
}

#[test]
fn what_me_says_instead_of_an_answer_has_its_code() {
    let (home, upstream) = (Home::new(CONFIG), Upstream::start());
    let proxy = home.serve(&upstream.url(), &[]);
    for (fault, code) in [
        (Fault::Status(401, None), "AUTH_FAILED"),
        (Fault::Status(403, None), "AUTH_FAILED"),
        (Fault::Status(429, Some(9)), "RATE_LIMITED"),
        (Fault::Status(500, None), "UPSTREAM_BROKEN"),
        (Fault::Body("s3cr3t".into()), "UPSTREAM_BROKEN"),
        (Fault::Body("{\"s3cr3t\": 1}".into()), "UPSTREAM_BROKEN"),
        (Fault::Cut, "UPSTREAM_UNREACHABLE"),
    ] {
        oauth(&upstream).set(|one| one.me = vec![("eu.mixpanel.com".into(), fault.clone())]);
        let answer = proxy.get("/api/app/workspaces/~/x", "");
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{fault:?}: {problem}");
        assert!(problem["hint"].is_string() && !problem.to_string().contains("s3cr3t"));
    }
    oauth(&upstream).set(|one| one.me = Vec::new());
    assert!(!fs::read_to_string(&proxy.log).unwrap().contains("s3cr3t"));
}

/// The most memory that a process has had, in KiB.
fn peak(proxy: &Serving) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// `MP_PROXY_TEST_ME_MB=50` for the full size.
#[test]
fn a_long_me_does_not_need_memory_of_its_length() {
    let megabytes = std::env::var("MP_PROXY_TEST_ME_MB").map_or(12, |text| text.parse().unwrap());
    let (home, upstream) = (Home::new(CONFIG), Upstream::start());
    let mut body = workspaces(123);
    let member = json!({"id": 1, "email": "somebody@example.com", "about": "x".repeat(500)});
    let list = Value::Array(vec![member; megabytes * 460]);
    for id in ["8", "9", "10", "11"] {
        body["results"]["workspaces"][id]["member_list"] = list.clone();
    }
    let length = body.to_string().len();
    assert!(length > megabytes * 1_000_000, "{length}");
    oauth(&upstream).set(|switches| switches.me_body = Some(body));
    let proxy = home.serve(&upstream.url(), &[]);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    let before = peak(&proxy);
    assert_eq!(proxy.get("/api/app/workspaces/~/x", "").status, 200);
    assert_eq!(upstream.last().target, "/api/app/workspaces/9/x");
    let grown = peak(&proxy) - before;
    println!("{length} bytes of `/me` took {grown} KiB more at the peak");
    assert!(grown < 6 * 1024, "{grown} KiB for {length} bytes");
    let kept = fs::metadata(home.path(".mp/accounts/team/me.json")).unwrap().len();
    assert!(kept < 10_000, "{kept} bytes in the cache");
}
