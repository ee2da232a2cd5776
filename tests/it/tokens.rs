//! Tokens from expiry to renewal: the real program, an OAuth server that rotates refresh tokens
//! and ends the whole login when an old one comes back.

use crate::support::{Home, Serving, Upstream, header};
use mp_proxy::demo::{
    oauth_server::OauthServer,
    switches::{Bearers, Fault, Renewal},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub const BROWSER: &str = r#"
[active]
account = "me"

[accounts.me]
type = "oauth_browser"
region = "us"
default_project = "5"
"#;

pub const TOKENS: &str = ".mp/accounts/me/tokens.json";

pub fn oauth(upstream: &Upstream) -> &OauthServer {
    upstream.stand_in.as_ref().unwrap().oauth()
}

/// `tokens.json` of a grant, expiring in so many seconds.
pub fn tokens(grant: &Value, client: Option<&str>, seconds: i64) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut tokens = json!({
        "access_token": grant["access_token"], "refresh_token": grant["refresh_token"],
        "expires_at": i64::try_from(now).unwrap() + seconds, "scope": "s", "token_type": "Bearer",
    });
    if let Some(client) = client {
        tokens["client_id"] = json!(client);
    }
    tokens
}

/// A home whose login expires in so many seconds, and the server that granted it.
pub fn start(seconds: i64) -> (Home, Upstream) {
    let (home, upstream) = (Home::new(BROWSER), Upstream::start());
    oauth(&upstream).set(|switches| switches.bearers = Bearers::Granted);
    log_in(&home, &upstream, seconds);
    (home, upstream)
}

fn log_in(home: &Home, upstream: &Upstream, seconds: i64) {
    let (grant, client) = oauth(upstream).mint();
    home.write(TOKENS, &tokens(&grant, Some(&client), seconds).to_string());
}

pub fn on_disk(home: &Home) -> Value {
    serde_json::from_slice(&fs::read(home.path(TOKENS)).unwrap()).expect("a whole file")
}

/// Sends so many requests at once over connections of their own; gives the statuses.
pub fn at_once(proxies: &[&Serving], each: usize) -> Vec<u16> {
    let mut streams = Vec::new();
    for _ in 0..each {
        for proxy in proxies {
            let stream = TcpStream::connect(proxy.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            streams.push((stream, proxy.address));
        }
    }
    for (stream, address) in &mut streams {
        let head =
            format!("GET /api/query/x HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
    }
    let read = |(mut stream, _): (TcpStream, _)| {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).split(' ').nth(1).map_or(0, |text| text.parse().unwrap())
    };
    streams.into_iter().map(read).collect()
}

/// Waits until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !so() {
        assert!(Instant::now() < end, "{what} did not happen");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The `Authorization` of the last request that was no token request.
pub fn last_sent(upstream: &Upstream) -> String {
    let all = upstream.received();
    let last = all.iter().rev().find(|received| !received.target.starts_with("/oauth/")).unwrap();
    header(last, "authorization").unwrap_or_default().to_owned()
}

/// No token and no refresh token of the stand-in in what a program wrote.
pub fn clean(log: &Path) {
    let text = fs::read_to_string(log).unwrap();
    assert!(!text.contains("demo-access") && !text.contains("demo-refresh"), "{text}");
}

#[test]
fn a_thousand_requests_on_an_expired_token_make_one_refresh() {
    let (home, upstream) = start(-10);
    oauth(&upstream).set(|switches| switches.token = Fault::Slow(Duration::from_millis(300)));
    let proxy = home.serve(&upstream.url(), &["--log-level", "trace"]);
    let statuses = at_once(&[&proxy], 1000);
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1000, "{statuses:?}");
    assert_eq!(oauth(&upstream).counts().refreshes, 1);
    let kept = on_disk(&home);
    assert!(kept["client_id"].is_string() && kept["refresh_token"].is_string());
    assert_eq!(kept["expires_in"], 36_000);
    let mode = fs::metadata(home.path(TOKENS)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    clean(&proxy.log);
}

#[test]
fn eight_processes_on_one_home_make_one_refresh_and_nobody_is_logged_out() {
    let (home, upstream) = start(-10);
    oauth(&upstream).set(|switches| switches.token = Fault::Slow(Duration::from_millis(300)));
    let proxies: Vec<Serving> = (0..8).map(|_| home.serve(&upstream.url(), &[])).collect();
    let all: Vec<&Serving> = proxies.iter().collect();
    let statuses = at_once(&all, 125);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let counts = oauth(&upstream).counts();
    assert_eq!((counts.refreshes, counts.revoked_families), (1, 0));
    // The same again for a login that has an hour to go and dies at the server.
    oauth(&upstream).end_access_tokens();
    let statuses = at_once(&all, 10);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let counts = oauth(&upstream).counts();
    assert_eq!((counts.refreshes, counts.revoked_families), (2, 0));
}

#[test]
fn a_good_token_is_renewed_ahead_and_nobody_waits_for_it() {
    let (home, upstream) = start(240);
    oauth(&upstream).set(|switches| switches.token = Fault::Slow(Duration::from_secs(2)));
    let before = on_disk(&home);
    let proxy = home.serve(&upstream.url(), &[]);
    for _ in 0..5 {
        assert_eq!(proxy.get("/api/query/x", "").status, 200);
        let sent = format!("Bearer {}", before["access_token"].as_str().unwrap());
        assert_eq!(last_sent(&upstream), sent);
    }
    // It goes on though no request comes any more.
    until("the refresh", || on_disk(&home)["access_token"] != before["access_token"]);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    let sent = format!("Bearer {}", on_disk(&home)["access_token"].as_str().unwrap());
    assert_eq!(last_sent(&upstream), sent);
    assert_eq!(oauth(&upstream).counts().refreshes, 1);
}

#[test]
fn a_short_lived_token_is_renewed_on_time_without_requests() {
    let (home, upstream) = start(-10);
    oauth(&upstream).set(|switches| switches.expires_in = 8);
    let proxy = home.serve(&upstream.url(), &[]);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(oauth(&upstream).counts().refreshes, 1, "a fresh token was thrown away");
    until("the second refresh", || oauth(&upstream).counts().refreshes == 2);
    // Nobody used that one: it is left to expire.
    thread::sleep(Duration::from_secs(9));
    assert_eq!(oauth(&upstream).counts().refreshes, 2, "an idle login was kept alive");
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(oauth(&upstream).counts().refreshes, 3);
}

#[test]
fn a_token_that_the_server_rejects_is_renewed_once_and_the_request_replayed() {
    let (home, upstream) = start(3600);
    let proxy = home.serve(&upstream.url(), &[]);
    oauth(&upstream).end_access_tokens();
    let host = proxy.address;
    let post = |length: usize| {
        let head = format!(
            "POST /api/query/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        proxy.raw(&[head.as_bytes(), &vec![b'x'; length]].concat())
    };
    let answer = post(1000);
    assert_eq!((answer.status, answer.json()["bytes"].as_u64()), (200, Some(1000)));
    assert_eq!(oauth(&upstream).counts().refreshes, 1);
    // A body that is not kept cannot be replayed: the caller gets the server's own answer.
    oauth(&upstream).end_access_tokens();
    assert_eq!(post(200_000).status, 401);
    assert_eq!(oauth(&upstream).counts().refreshes, 1);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(oauth(&upstream).counts().refreshes, 2);
    // Somebody else renewed it: that one is taken.
    oauth(&upstream).end_access_tokens();
    log_in(&home, &upstream, 3600);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(oauth(&upstream).counts().refreshes, 2);
    clean(&proxy.log);
}

#[test]
fn a_server_that_rejects_every_token_is_not_asked_for_ever() {
    let (home, upstream) = start(3600);
    let proxy = home.serve(&upstream.url(), &[]);
    for _ in 0..40 {
        oauth(&upstream).end_access_tokens();
        proxy.get("/api/query/x", "");
    }
    let refreshes = oauth(&upstream).counts().refreshes;
    assert!((1..=6).contains(&refreshes), "{refreshes} refreshes");
}

#[test]
fn a_failing_token_endpoint_is_tried_seldom_and_healed_by_a_new_file() {
    let (home, upstream) = start(-10);
    oauth(&upstream).set(|switches| switches.token = Fault::Status(503, None));
    let proxy = home.serve(&upstream.url(), &[]);
    let tries = || {
        let all = upstream.received();
        all.iter().filter(|received| received.target == "/oauth/token/").count()
    };
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let answer = proxy.get("/api/query/x", "");
        assert_eq!(answer.status, 502);
        let problem = answer.json();
        assert_eq!(problem["code"], "OAUTH_REFRESH_ERROR");
        assert!(problem["hint"].is_string(), "{problem}");
    }
    assert!((2..=6).contains(&tries()), "{} tries in four seconds", tries());
    let answer = proxy.get("/api/query/x", "");
    assert!(answer.header("retry-after").is_some(), "{}", answer.head);
    log_in(&home, &upstream, 3600);
    assert_eq!(proxy.get("/api/query/x", "").status, 200, "a new login was not seen at once");
    // A login that has ended is said so, and not asked about again.
    oauth(&upstream).set(|switches| switches.token = Fault::Fine);
    log_in(&home, &upstream, -10);
    oauth(&upstream).revoke_everything();
    for _ in 0..5 {
        let problem = proxy.get("/api/query/x", "").json();
        assert_eq!(problem["code"], "OAUTH_REFRESH_REVOKED", "{problem}");
        assert_eq!(problem["hint"], "run: mp-proxy account login me");
    }
    assert_eq!(oauth(&upstream).counts().refreshes, 1);
    log_in(&home, &upstream, 3600);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    fs::remove_file(home.path(TOKENS)).unwrap();
    assert_eq!(proxy.get("/api/query/x", "").json()["code"], "OAUTH_TOKEN_ERROR");
    clean(&proxy.log);
}

#[test]
fn a_refresh_token_that_stays_is_kept_and_the_regions_client_will_do() {
    let (home, upstream) = (Home::new(BROWSER), Upstream::start());
    let (grant, client) = oauth(&upstream).mint();
    oauth(&upstream).set(|switches| switches.renewal = Renewal::Keep);
    home.write(TOKENS, &tokens(&grant, None, -10).to_string());
    let show = |home: &Home| {
        let output = home.run(&["session", "show", "--json", "--show-secrets"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), text, String::from_utf8(output.stdout).unwrap())
    };
    let home = home.with("MP_PROXY_UPSTREAM", &upstream.url());
    let (exit, error, shown) = show(&home);
    assert_eq!(exit, 2, "{error}");
    assert!(error.contains("OAUTH_REFRESH_ERROR") && error.contains("account login me"), "{error}");
    assert!(shown.contains("\"project\": \"5\""), "the session is shown all the same: {shown}");
    assert_eq!(oauth(&upstream).counts().refreshes, 0);
    let file = json!({"client_id": client, "region": "us", "redirect_uri": "http://localhost:19284/callback", "scope": "", "created_at": "2026-01-01T00:00:00Z"});
    home.write(".mp/oauth/client_us.json", &file.to_string());
    let (exit, error, shown) = show(&home);
    assert_eq!(exit, 0, "{error}");
    let kept = on_disk(&home);
    assert!(shown.contains(kept["access_token"].as_str().unwrap()));
    assert_eq!(kept["refresh_token"], grant["refresh_token"]);
    assert_eq!(kept["client_id"], json!(client));
    assert_ne!(kept["access_token"], grant["access_token"]);
}

/// `kill -9` at random moments of renewals: the file is always complete.
/// `MP_PROXY_TEST_KILLS=1000` for the full size.
#[test]
fn a_kill_during_a_renewal_leaves_a_whole_file() {
    let kills = std::env::var("MP_PROXY_TEST_KILLS").ok().map_or(40, |text| text.parse().unwrap());
    let upstream = Upstream::start();
    let home = Home::new(BROWSER).with("MP_PROXY_UPSTREAM", &upstream.url());
    let mut renewed = 0;
    for round in 0..kills {
        let (grant, client) = oauth(&upstream).mint();
        home.write(TOKENS, &tokens(&grant, Some(&client), -10).to_string());
        let before = oauth(&upstream).counts().refreshes;
        let mut child = home
            .command(&["session", "show", "--show-secrets"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Half of the kills at any moment, half right after the server has answered.
        if round % 2 == 0 {
            thread::sleep(Duration::from_millis(round as u64 * 7 % 60));
        } else {
            let end = Instant::now() + Duration::from_secs(10);
            while oauth(&upstream).counts().refreshes == before && Instant::now() < end {
                thread::yield_now();
            }
            thread::sleep(Duration::from_micros(round as u64 * 131 % 4000));
        }
        let _ = child.kill();
        child.wait().unwrap();
        let kept = on_disk(&home);
        for key in ["access_token", "refresh_token", "expires_at", "scope", "token_type"] {
            assert!(!kept[key].is_null(), "{key} is missing after kill {round}");
        }
        renewed += u32::from(kept["access_token"] != grant["access_token"]);
    }
    println!("{kills} kills, {renewed} after the new file was in place");
    // What a killed writer left goes with the next one.
    log_in(&home, &upstream, -10);
    assert!(home.run(&["session", "show", "--show-secrets"]).status.success());
    let names: Vec<String> = fs::read_dir(home.path(".mp/accounts/me"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().all(|name| !name.ends_with(".tmp")), "{names:?}");
}

/// Who of two that renew at the same time asks the server first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum First {
    Theirs,
    Ours,
}

/// The real client renews without a lock: both send the same refresh token, every time. A login
/// that the final state of the file could have saved is never lost.
/// `MP_PROXY_TEST_MEETINGS=40` for the full size.
#[test]
fn the_reference_renews_at_the_same_time() {
    let rounds = std::env::var("MP_PROXY_TEST_MEETINGS").map_or(5, |text| text.parse().unwrap());
    let upstream = Upstream::start();
    let home = Home::new(BROWSER);
    let kinds = [
        (Renewal::Refuse, First::Theirs),
        (Renewal::Refuse, First::Ours),
        (Renewal::Keep, First::Theirs),
        (Renewal::Keep, First::Ours),
        (Renewal::Rotate, First::Theirs),
    ];
    let mut ends = 0;
    for (renewal, first) in kinds.into_iter().cycle().take(rounds) {
        oauth(&upstream).set(|switches| {
            switches.bearers = Bearers::Granted;
            switches.renewal = renewal;
            switches.token = Fault::Slow(Duration::from_millis(800));
        });
        let before = oauth(&upstream).counts();
        let (ours, theirs) = meeting(&home, &upstream, first);
        let counts = oauth(&upstream).counts();
        let sent = counts.refreshes - before.refreshes;
        assert!(sent >= 2, "they did not meet");
        let kept = on_disk(&home);
        let alive = oauth(&upstream).accepts(kept["access_token"].as_str().unwrap());
        // Only a server that ends the login of a token that comes back leaves nothing to save.
        if counts.revoked_families > before.revoked_families {
            assert_eq!(renewal, Renewal::Rotate);
            ends += 1;
            continue;
        }
        assert_eq!(sent, 2, "{renewal:?} {first:?}");
        assert!(alive, "{renewal:?} {first:?}: a dead login is in the file: {theirs}");
        assert_eq!(ours, 200, "{renewal:?} {first:?}: {theirs}");
        let proxy = home.serve(&upstream.url(), &[]);
        assert_eq!(proxy.get("/api/query/x", "").status, 200);
        assert_eq!(oauth(&upstream).counts().refreshes - before.refreshes, 2);
    }
    println!("{rounds} meetings, {ends} logins ended by a server that ends them");
}

/// `mp` and we renew the same expired login; gives our status, and what `mp` said.
fn meeting(home: &Home, upstream: &Upstream, first: First) -> (u16, String) {
    let (grant, client) = oauth(upstream).mint();
    let file = json!({"client_id": client, "region": "us", "redirect_uri": "http://localhost:19284/callback", "scope": "s", "created_at": "2026-01-01T00:00:00Z"});
    home.write(".mp/oauth/client_us.json", &file.to_string());
    home.write(TOKENS, &tokens(&grant, None, -10).to_string());
    let proxy = home.serve(&upstream.url(), &[]);
    // `mp` can be told another host for its API, not for OAuth: the host is swapped inside it.
    let script = format!(
        "import httpx, sys\n\
         from mixpanel_headless._internal.auth import flow\n\
         old = httpx.Client.post\n\
         httpx.Client.post = lambda self, url, **kw: old(self, url.replace('https://mixpanel.com', '{}'), **kw)\n\
         from mixpanel_headless._internal.auth.token_resolver import OnDiskTokenResolver\n\
         print('ready', flush=True)\n\
         sys.stdin.readline()\n\
         try:\n    print('bearer', OnDiskTokenResolver().get_browser_token('me', 'us'))\n\
         except Exception as error:\n    print('error', getattr(error, 'code', error))\n",
        upstream.url()
    );
    let mut theirs = Command::new(crate::reference::environment().join("bin/python"))
        .args(["-c", &script])
        .env_clear()
        .env("HOME", home.dir.path())
        .current_dir(home.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(theirs.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let asked = || {
        let all = upstream.received();
        all.iter().filter(|received| received.target == "/oauth/token/").count()
    };
    let before = asked();
    let one_has_asked = || until("the first question", || asked() > before);
    let mut stdin = theirs.stdin.take().unwrap();
    let ours = thread::scope(|scope| {
        if first == First::Theirs {
            stdin.write_all(b"\n").unwrap();
            one_has_asked();
        }
        let ours = scope.spawn(|| proxy.get("/api/query/x", "").status);
        if first == First::Ours {
            one_has_asked();
            stdin.write_all(b"\n").unwrap();
        }
        ours.join().unwrap()
    });
    line.clear();
    said.read_line(&mut line).unwrap();
    assert!(theirs.wait().unwrap().success());
    assert!(line.contains("bearer") || line.contains("error"), "{line}");
    (ours, line)
}

/// Sleep and set clocks: what the resolver does when the wall clock jumps under it.
#[test]
fn a_clock_that_jumps_costs_one_refresh_at_most() {
    use mp_proxy::{
        auth::{
            resolve::{Selection, resolve},
            token_resolver::TokenResolvers,
        },
        store::snapshot::load_once,
        sys::{clock::Clock, env::Env, http::HttpClient},
    };
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    };
    let (home, upstream) = start(7200);
    let vars =
        [("HOME", home.dir.path().to_str().unwrap()), ("MP_PROXY_UPSTREAM", &upstream.url())];
    let env = Arc::new(Env::new(vars, home.dir.path()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let off = Arc::new(AtomicI64::new(0));
    let resolvers = TokenResolvers::with_clock(
        Arc::clone(&env),
        HttpClient::from_env(&env).unwrap(),
        runtime.handle().clone(),
        Clock::set_by(Arc::clone(&off)),
    );
    let session = resolve(&load_once(&env), &Selection::default()).unwrap();
    let login = resolvers.of(&session).unwrap();
    let refreshes_at = |hours: i64| {
        off.store(hours * 3_600_000_000, Ordering::Relaxed);
        runtime.block_on(async {
            login.bearer().await.unwrap();
            // The files were just written: let them settle, so that `ready` has an opinion.
            tokio::time::sleep(Duration::from_millis(60)).await;
            login.bearer().await.unwrap();
        });
        oauth(&upstream).counts().refreshes
    };
    assert_eq!(refreshes_at(0), 0);
    assert_eq!(refreshes_at(3), 1, "slept past the expiry");
    assert!(login.ready().is_some(), "the token in hand is good and nothing changed");
    assert_eq!(refreshes_at(0), 1, "set back");
    assert_eq!(refreshes_at(-48), 1, "set back by days");
    assert_eq!(refreshes_at(24), 2);
    let left = resolvers.expiries()[0].2;
    assert!((35_900..=36_000).contains(&left), "by the clock that is in force: {left}");
    let counts = resolvers.stats().counts();
    assert_eq!((counts.refreshed, counts.failed, counts.revoked), (2, 0, 0));
}

/// What the server granted is not thrown away since it cannot be written just now.
#[test]
fn tokens_that_cannot_be_written_are_used_and_written_later() {
    let (home, upstream) = start(-10);
    // Stands where the new file is made first, so that every write fails.
    let obstacle = home.path(".mp/accounts/me/.tokens.json.tmp");
    fs::create_dir(&obstacle).unwrap();
    let before = on_disk(&home);
    let proxy = home.serve(&upstream.url(), &[]);
    for _ in 0..3 {
        assert_eq!(proxy.get("/api/query/x", "").status, 200);
    }
    assert_eq!(on_disk(&home), before);
    fs::remove_dir(&obstacle).unwrap();
    until("the write", || on_disk(&home) != before);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    let counts = oauth(&upstream).counts();
    assert_eq!((counts.refreshes, counts.revoked_families), (1, 0));
    assert!(oauth(&upstream).accepts(on_disk(&home)["access_token"].as_str().unwrap()));
}
