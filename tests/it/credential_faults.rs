//! What can be wrong with a credential between its file and Mixpanel's answer: each fault has its
//! code and its own hint, and nothing of the credential is in either.

use crate::{
    recorder::{Recorder, Step},
    support::{CONFIG, Home, Upstream},
    tokens::{BROWSER, TOKENS, last_sent, oauth, on_disk, tokens, until},
    tokens_bridge::bridge,
};
use mp_proxy::{
    auth::{
        credential::{self, Scheme},
        oauth::{
            authorize::redirect_url,
            endpoint::Endpoint,
            redirect::{Redirect, read},
        },
        ready::ReadySession,
        resolve::{Selection, resolve},
        token_resolver::TokenResolvers,
    },
    demo::switches::{Bearers, Fault},
    model::{id::Name, refusal::Code, region::Region},
    store::{self, snapshot::load_once},
    sys::{env::Env, http::HttpClient},
};
use serde_json::{Value, json};
use std::{fs, process::Command, sync::Arc, thread, time::Duration};

fn tested(home: &Home, name: &str) -> Value {
    let output = home.run(&["account", "test", name, "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    })
}

#[test]
fn each_no_of_me_has_the_hint_for_its_kind_of_account() {
    let upstream = Upstream::start();
    let home = Home::new(CONFIG).with("MP_PROXY_UPSTREAM", &upstream.url());
    let (grant, client) = oauth(&upstream).mint();
    home.write(TOKENS, &tokens(&grant, Some(&client), 7200).to_string());
    // Much longer than what the parser has to see of it.
    let page = format!("<html>{}", "s3cr3t".repeat(400_000));
    for (name, fault, code, hint) in [
        ("team", Fault::Status(401, None), "AUTH_FAILED", "account update team --secret-stdin"),
        ("team", Fault::Status(403, None), "AUTH_FAILED", "`user_details`"),
        ("ci", Fault::Status(401, None), "AUTH_FAILED", "account update ci --token-stdin"),
        ("ci", Fault::Status(403, None), "AUTH_FAILED", "may read `/me`"),
        ("me", Fault::Status(401, None), "AUTH_FAILED", "account login me"),
        ("ci", Fault::Status(429, None), "RATE_LIMITED", "in a few minutes"),
        ("ci", Fault::Body(page), "UPSTREAM_BROKEN", "MP_PROXY_UPSTREAM"),
    ] {
        let hosts = ["eu.mixpanel.com", "mixpanel.com", "in.mixpanel.com"];
        let everywhere = hosts.map(|host| (host.to_owned(), fault.clone()));
        oauth(&upstream).set(|switches| switches.me = everywhere.to_vec());
        let result = tested(&home, name);
        assert_eq!(result["error_code"], code, "{name}: {result}");
        let given = result["error_details"]["hint"].as_str().unwrap();
        assert!(given.contains(hint), "{name}: {result}");
        assert!(!result.to_string().contains("s3cr3t"), "{name}");
    }
}

/// A refresh: the words of the server that matter are told apart, those that may be anything are
/// not repeated.
#[test]
fn each_no_of_the_token_endpoint_has_its_code() {
    let home = Home::new(BROWSER);
    let upstream = Recorder::start();
    let home = home.with("MP_PROXY_UPSTREAM", &upstream.url());
    for (status, body, code, says) in [
        (400, r#"{"error":"invalid_client"}"#, "OAUTH_REFRESH_ERROR", "`invalid_client`"),
        (401, r#"{"error":"unauthorized_client"}"#, "OAUTH_REFRESH_ERROR", "`unauthorized_client`"),
        (400, r#"{"error":"s3cr3t"}"#, "OAUTH_REFRESH_ERROR", "RFC 6749 does not define"),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"s3cr3t"}"#,
            "OAUTH_REFRESH_REVOKED",
            "revoked",
        ),
        (400, "s3cr3t", "OAUTH_REFRESH_ERROR", "account `me`"),
        (
            200,
            r#"{"access_token":"s3cr3t","token_type":"Bearer"}"#,
            "OAUTH_REFRESH_ERROR",
            "expires_in",
        ),
        (503, "", "OAUTH_REFRESH_ERROR", "503"),
        (
            200,
            "{\"access_token\":\"s3cr3t\\u0001\",\"token_type\":\"Bearer\",\"expires_in\":600}",
            "OAUTH_REFRESH_ERROR",
            "no `access_token`",
        ),
    ] {
        let grant = json!({"access_token": "old-s3cr3t", "refresh_token": "old-s3cr3t-too"});
        home.write(TOKENS, &tokens(&grant, Some("c"), -10).to_string());
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        upstream.expect(vec![Step::Bytes(answer.into_bytes()), Step::Close], false);
        let result = tested(&home, "me");
        assert_eq!(result["error_code"], code, "{status} {body}: {result}");
        assert!(result["error"].as_str().unwrap().contains(says), "{status} {body}: {result}");
        assert!(result["error_details"]["hint"].is_string(), "{result}");
        assert!(!result.to_string().contains("s3cr3t"), "{result}");
    }
}

#[test]
fn a_token_type_of_the_server_is_kept_and_bearer_is_sent() {
    let (home, upstream) = (Home::new(BROWSER), Upstream::start());
    let (grant, client) = oauth(&upstream).mint();
    home.write(TOKENS, &tokens(&grant, Some(&client), -10).to_string());
    let body = json!({"access_token": "new", "token_type": "mac", "expires_in": 3600, "refresh_token": "r"});
    oauth(&upstream).set(|switches| switches.token = Fault::Body(body.to_string()));
    let proxy = home.serve(&upstream.url(), &[]);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(last_sent(&upstream), "Bearer new");
    assert_eq!(
        (&on_disk(&home)["token_type"], &on_disk(&home)["refresh_token"]),
        (&json!("mac"), &json!("r"))
    );
}

/// The refresh is refused, and another program brings newer tokens while we look: they are used,
/// or renewed in their turn.
#[test]
fn tokens_that_another_program_brings_after_a_refusal_are_adopted() {
    for seconds in [3600, -10] {
        let (home, upstream) = (Home::new(BROWSER), Upstream::start());
        oauth(&upstream).set(|switches| switches.bearers = Bearers::Granted);
        let (old, client) = oauth(&upstream).mint();
        home.write(TOKENS, &tokens(&old, Some(&client), -10).to_string());
        oauth(&upstream).revoke_everything();
        let (new, client) = oauth(&upstream).mint();
        let proxy = home.serve(&upstream.url(), &[]);
        let status = thread::scope(|scope| {
            let asked = scope.spawn(|| proxy.get("/api/query/x", "").status);
            until("the refusal", || oauth(&upstream).counts().refused_refreshes == 1);
            home.write(TOKENS, &tokens(&new, Some(&client), seconds).to_string());
            asked.join().unwrap()
        });
        assert_eq!(status, 200, "{seconds}");
        let counts = oauth(&upstream).counts();
        let renewals = u64::from(seconds < 0);
        assert_eq!((counts.refreshes, counts.refused_refreshes), (1 + renewals, 1), "{seconds}");
        assert_eq!(
            last_sent(&upstream),
            format!("Bearer {}", on_disk(&home)["access_token"].as_str().unwrap())
        );
    }
}

#[test]
fn a_broken_token_file_matters_only_where_no_bridge_brings_tokens() {
    let (home, upstream) = (Home::new(BROWSER), Upstream::start());
    let (grant, client) = oauth(&upstream).mint();
    home.write(TOKENS, "{\"access_token\": \"s3cr3t\"");
    let proxy = home.serve(&upstream.url(), &[]);
    let problem = proxy.get("/api/query/x", "").json();
    assert_eq!(problem["code"], "OAUTH_TOKEN_ERROR");
    assert!(problem["hint"].as_str().unwrap().contains("account login me"), "{problem}");
    home.write("mixpanel_auth.json", &bridge(&grant, Some(&client), 3600).to_string());
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    let sent = format!("Bearer {}", grant["access_token"].as_str().unwrap());
    assert_eq!(last_sent(&upstream), sent);
    // A bridge without tokens for this account leaves it with the broken file.
    let mut bare = bridge(&grant, Some(&client), 3600);
    bare["account"]["name"] = json!("other");
    home.write("mixpanel_auth.json", &bare.to_string());
    let problem = proxy.get("/api/query/x", "X-Mp-Account: me\r\n").json();
    assert_eq!(problem["code"], "OAUTH_TOKEN_ERROR", "{problem}");
    let log = fs::read_to_string(&proxy.log).unwrap();
    assert!(!log.contains("s3cr3t") && !problem.to_string().contains("s3cr3t"));
}

/// A token with a control character in it, in the file and in the variable of `token_env`.
#[test]
fn a_token_that_cannot_stand_in_a_header_is_never_sent() {
    let config = CONFIG.replace("token = \"tok-secret\"", "token_env = \"CI_TOKEN\"");
    let home = Home::new(&config).with("CI_TOKEN", "s3cr3t\u{1}");
    let upstream = Upstream::start();
    let grant = json!({"access_token": "s3cr3t\u{1}", "refresh_token": "r"});
    home.write(TOKENS, &tokens(&grant, Some("c"), 3600).to_string());
    let proxy = home.serve(&upstream.url(), &[]);
    for (account, hint) in [("ci", "account update ci"), ("me", "account login me")] {
        let problem = proxy.get("/api/query/x", &format!("X-Mp-Account: {account}\r\n")).json();
        assert_eq!(problem["code"], "OAUTH_TOKEN_ERROR", "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains(hint), "{problem}");
        assert!(!problem.to_string().contains("s3cr3t"), "{problem}");
    }
    assert!(upstream.received().is_empty());
    assert!(!fs::read_to_string(&proxy.log).unwrap().contains("s3cr3t"));
}

/// The kernel refuses every write, as on a disk that is full: what the server granted is used, an
/// answer of `/me` too, the files stay as they were, and are written once there is room.
#[test]
fn a_full_disk_stops_no_request_and_loses_no_login() {
    let config = BROWSER.replace("\"5\"", "\"2002\"");
    let (home, upstream) = (Home::new(&config), Upstream::start());
    oauth(&upstream).set(|switches| switches.bearers = Bearers::Granted);
    let (grant, client) = oauth(&upstream).mint();
    home.write(TOKENS, &tokens(&grant, Some(&client), -10).to_string());
    let before = on_disk(&home);
    let inner = home.command(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        &upstream.url(),
        "--pace",
        "off",
    ]);
    let mut outer = Command::new("bash");
    outer.args(["-c", "ulimit -S -f 0; trap '' XFSZ; exec \"$@\"", "-"]);
    outer.arg(inner.get_program()).args(inner.get_args()).env_clear();
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer.env("PATH", "/usr/bin:/bin").current_dir(home.dir.path());
    outer.env_remove("LLVM_PROFILE_FILE");
    let proxy = home.spawn(&mut outer);
    for _ in 0..3 {
        assert_eq!(proxy.get("/api/query/x", "").status, 200);
    }
    let answer = proxy.get("/api/app/workspaces/~/x", "");
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(on_disk(&home), before, "half a file");
    assert!(!home.path(".mp/accounts/me/me.json").exists());
    let left = |directory: &str| -> Vec<String> {
        let entries = fs::read_dir(home.path(directory)).unwrap().flatten();
        entries.map(|one| one.file_name().into_string().unwrap()).collect()
    };
    assert!(
        !left(".mp/accounts/me").iter().any(|name| name.ends_with(".tmp")),
        "{:?}",
        left(".mp/accounts/me")
    );
    let pid = proxy.child.id().to_string();
    let room = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(room.unwrap().success());
    until("the write", || on_disk(&home) != before);
    assert_eq!(proxy.get("/api/app/workspaces/~/x", "").status, 200);
    let counts = oauth(&upstream).counts();
    assert_eq!((counts.refreshes, counts.revoked_families), (1, 0));
    assert!(oauth(&upstream).accepts(on_disk(&home)["access_token"].as_str().unwrap()));
}

#[test]
fn words_of_a_redirect_have_their_hints() {
    let state = oauth2::CsrfToken::new("state".to_owned());
    for (word, hint) in [
        ("access_denied", "press Authorize"),
        ("server_error", "in a few minutes"),
        ("temporarily_unavailable", "in a few minutes"),
        ("invalid_scope", "to register anew"),
        ("unauthorized_client", "to register anew"),
    ] {
        let Redirect::Denied(refusal) = read(&format!("error={word}&state=state"), &state) else {
            panic!("{word} is no refusal");
        };
        assert_eq!(refusal.code, Code::OauthAuthDenied);
        assert!(refusal.hint.unwrap().contains(hint), "{word}");
    }
    let Redirect::Denied(odd) = read("error=s3cr3t&state=state", &state) else {
        panic!("no refusal")
    };
    assert!(!odd.to_string().contains("s3cr3t"), "{odd}");
}

#[test]
fn a_client_id_may_be_a_number_and_nothing_else_odd() {
    let upstream = Upstream::start();
    let environment = Env::new([("MP_PROXY_UPSTREAM", upstream.url())], "/");
    let endpoint = Endpoint::new(HttpClient::from_env(&environment).unwrap(), Region::In);
    assert_eq!(endpoint.region(), Region::In);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redirect = redirect_url(19284).unwrap();
    let register = |body: &str| {
        oauth(&upstream).set(|switches| switches.register = Fault::Body(body.to_owned()));
        runtime.block_on(endpoint.register(&redirect)).map_err(|refusal| refusal.code)
    };
    assert_eq!(register("{\"client_id\": 7}").unwrap().as_str(), "7");
    for body in [
        "{\"client_id\": \"\"}",
        "{\"client_id\": [\"a\"]}",
        "{\"client_id\": null}",
        "{}",
        "[]",
        "7",
    ] {
        assert_eq!(register(body).unwrap_err(), Code::OauthRegistrationError, "{body}");
    }
}

#[test]
fn without_a_place_for_tokens_the_hint_names_the_variable() {
    let nowhere = Env::new([("PATH", "/bin")], "/");
    let name = Name::parse("me").unwrap();
    assert!(store::tokens::load(&nowhere, &name).unwrap().is_none());
    let refusal = store::tokens::lock(&nowhere, &name, Duration::ZERO).err().unwrap();
    assert_eq!(refusal.code, Code::ConfigError);
    assert!(refusal.hint.unwrap().contains("MP_STORAGE_DIR"));
}

/// `{:?}` of whatever holds a credential, as a careless log line would have it.
#[test]
fn nothing_that_holds_a_credential_prints_it() {
    let home = Home::new(CONFIG);
    let grant = json!({"access_token": "acc-s3cr3t", "refresh_token": "ref-s3cr3t"});
    home.write(TOKENS, &tokens(&grant, Some("c"), 7200).to_string());
    let environment = Arc::new(Env::new(
        [
            ("HOME", home.dir.path().to_str().unwrap()),
            ("HTTPS_PROXY", "http://u:pr0xy-s3cr3t@127.0.0.1:1"),
        ],
        home.dir.path(),
    ));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let http = HttpClient::new(&environment, None);
    let resolvers =
        TokenResolvers::new(Arc::clone(&environment), http.clone(), runtime.handle().clone());
    let snapshot = load_once(&environment);
    let mut shown = vec![format!("{http:?} {snapshot:?} {environment:?}")];
    for name in ["team", "ci", "me"] {
        let selection = Selection { account: Some(name.to_owned()), ..Selection::default() };
        let session = resolve(&snapshot, &selection).unwrap();
        shown.push(format!("{session:?}"));
        let login = resolvers.of(&session);
        assert_eq!(login.is_some(), name == "me");
        if let Some(login) = &login {
            let bearer = runtime.block_on(login.bearer()).unwrap();
            shown.push(format!("{login:?} {bearer:?} {:?}", bearer.authorization()));
            let lasting = credential::lasting(&session, Scheme::Session, &environment);
            let refusal = lasting.err().unwrap();
            assert_eq!(refusal.code, Code::OauthTokenError);
            assert!(refusal.hint.unwrap().contains("account test me"));
        }
        let ready = ReadySession::new(session, &environment, &resolvers);
        let signed = runtime.block_on(ready.authorization(Scheme::Session)).unwrap();
        assert!(signed.value().is_sensitive());
        shown.push(format!("{ready:?} {signed:?}"));
    }
    shown.push(format!("{resolvers:?} {:?}", resolvers.stats()));
    assert!(shown.iter().any(|text| text.contains("TokenResolver(")), "{shown:?}");
    for secret in [
        "hunter2-secret",
        "tok-secret",
        "acc-s3cr3t",
        "ref-s3cr3t",
        "pr0xy-s3cr3t",
        "c2E6aHVudGVyMi1zZWNyZXQ",
    ] {
        for text in &shown {
            assert!(!text.contains(secret), "`{secret}` shows in {text}");
        }
    }
}
