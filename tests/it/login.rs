//! `mp-proxy account login` and `mp-proxy login` with the stand-in's OAuth server: what is on disk
//! afterwards, and every way in which a login can fail.

use crate::{
    login_support::{Done, Login, Ports, get, press, send},
    support::{Home, Upstream, header},
};
use mp_proxy::demo::switches::{Bearers, Fault, StateEcho};
use oauth2::url::Url;
use serde_json::{Value, json};
use std::{
    fs, io::Write as _, net::TcpListener, os::unix::fs::PermissionsExt as _, time::Duration,
};

const CONFIG: &str = "# mine\n[accounts.me]\ntype = \"oauth_browser\"\nregion = \"us\" # not eu\n";
const EXPLICIT: [&str; 5] = ["account", "login", "me", "--no-browser", "--json"];

fn stand_in() -> Upstream {
    let upstream = Upstream::start();
    oauth(&upstream).set(|switches| switches.bearers = Bearers::Granted);
    upstream
}

fn oauth(upstream: &Upstream) -> &mp_proxy::demo::oauth_server::OauthServer {
    upstream.stand_in.as_ref().unwrap().oauth()
}

fn json_file(home: &Home, path: &str) -> Value {
    let path = home.path(path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The whole of it, with an obedient person.
fn logged_in(home: &Home, upstream: &Upstream, args: &[&str]) -> Done {
    let login = Login::start(home, upstream, args);
    let page = get(&press(login.url(), "allow"));
    assert_eq!(page.status, 200, "{}", page.head);
    let done = login.finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done
}

#[test]
fn an_account_logs_in_and_the_next_request_uses_it() {
    let _ports = Ports::mine();
    let (home, upstream) = (Home::new(CONFIG), stand_in());
    let done = logged_in(&home, &upstream, &EXPLICIT);
    let answer: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(answer["account_name"], "me");
    assert_eq!(answer["user"], json!({"id": 42, "email": "demo@example.com"}));
    let tokens = json_file(&home, ".mp/accounts/me/tokens.json");
    let client = json_file(&home, ".mp/oauth/client_us.json");
    assert_eq!(tokens["expires_at"], answer["expires_at"]);
    assert_eq!(tokens["client_id"], client["client_id"]);
    assert_eq!(client["redirect_uri"], "http://localhost:19284/callback");
    let config = fs::read_to_string(home.path(".mp/config.toml")).unwrap();
    assert!(config.starts_with(CONFIG.trim_end()), "{config}");
    assert!(config.contains("default_project = \"1001\""), "{config}");

    // Again: the same client, the same project.
    logged_in(&home, &upstream, &EXPLICIT);
    assert_eq!(oauth(&upstream).counts().registrations, 1);
    assert_ne!(json_file(&home, ".mp/accounts/me/tokens.json"), tokens);
    assert_eq!(fs::read_to_string(home.path(".mp/config.toml")).unwrap(), config);

    let proxy = home.serve(&upstream.url(), &["--account", "me"]);
    assert_eq!(proxy.get("/api/query/events/names", "").status, 200);
    assert_eq!(upstream.last().target, "/api/query/events/names?project_id=1001");
    assert!(header(&upstream.last(), "authorization").unwrap().starts_with("Bearer demo-access-"));
}

#[test]
fn strays_are_answered_and_the_login_goes_on() {
    let _ports = Ports::mine();
    let (home, upstream) = (Home::new(CONFIG), stand_in());
    let login = Login::start(&home, &upstream, &EXPLICIT);
    let callback = login.redirect();
    let at = |text: &str| callback.join(text).unwrap();
    let host = format!("Host: localhost:{}\r\n", callback.port().unwrap());
    for (target, status) in [
        ("/favicon.ico", 404),
        ("/", 404),
        ("/callback", 400),
        ("/callback?code=c", 400),
        ("/callback?code=c&state=guess", 400),
        ("/callback?error=access_denied&state=guess", 400),
    ] {
        let answer = get(&at(target));
        assert_eq!(answer.status, status, "{target}");
        assert!(
            answer.header("content-security-policy").unwrap().starts_with("default-src 'none'")
        );
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let good = press(login.url(), "allow");
    let target = &good[oauth2::url::Position::BeforePath..];
    for (head, status) in [
        (format!("GET {target} HTTP/1.1\r\nHost: evil.example\r\n"), 421),
        (format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n"), 421),
        (format!("POST {target} HTTP/1.1\r\n{host}"), 405),
        ("GET /callback HTTP/1.1\r\n".to_owned(), 421),
    ] {
        assert_eq!(send(&good, &head, "").status, status, "{head}");
    }
    drop(std::net::TcpStream::connect(("127.0.0.1", callback.port().unwrap())).unwrap());
    // Both loopback addresses are ours.
    let mut six = good.clone();
    six.set_host(Some("[::1]")).unwrap();
    let page = if TcpListener::bind("[::1]:0").is_ok() { get(&six) } else { get(&good) };
    assert_eq!(page.status, 200, "{}", page.head);
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains("demo@example.com") && text.contains("close this page"), "{text}");
    assert_eq!(login.finish().code, Some(0));
}

#[test]
fn a_redirect_can_be_pasted() {
    let _ports = Ports::mine();
    let (home, upstream) = (Home::new(CONFIG), stand_in());
    let mut login = Login::start(&home, &upstream, &EXPLICIT);
    let back = press(login.url(), "allow");
    writeln!(login.stdin.as_mut().unwrap(), "\n{back}").unwrap();
    let done = login.finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for (line, code) in [
        ("hello s3cr3t", "OAUTH_PASTE_ERROR"),
        ("code=s3cr3t&state=s3cr3t", "OAUTH_STATE_MISMATCH"),
    ] {
        let mut login = Login::start(&home, &upstream, &EXPLICIT);
        writeln!(login.stdin.as_mut().unwrap(), "{line}").unwrap();
        let done = login.finish();
        assert_eq!((done.code, done.error()["code"].as_str()), (Some(2), Some(code)));
        assert!(!done.stderr.contains("s3cr3t"), "{}", done.stderr);
        assert!(done.error()["hint"].as_str().unwrap().contains("run the same command"));
    }
}

#[test]
fn a_closed_stdin_is_no_paste_and_the_browser_may_still_come() {
    let _ports = Ports::mine();
    let (home, upstream) = (Home::new(CONFIG), stand_in());
    let mut login = Login::start(&home, &upstream, &EXPLICIT);
    drop(login.stdin.take());
    let back = press(login.url(), "allow");
    assert_eq!(get(&back).status, 200);
    assert_eq!(login.finish().code, Some(0));
    // A last line without an end of line counts.
    let mut login = Login::start(&home, &upstream, &EXPLICIT);
    let back = press(login.url(), "allow");
    let mut stdin = login.stdin.take().unwrap();
    write!(stdin, "{back}").unwrap();
    drop(stdin);
    let done = login.finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

/// What a failed login leaves: nothing but the registered client.
fn untouched(home: &Home) {
    assert!(!home.path(".mp/accounts/me/tokens.json").exists(), "tokens of a failed login");
    assert_eq!(fs::read_to_string(home.path(".mp/config.toml")).unwrap(), CONFIG);
}

#[test]
fn a_no_and_every_fault_after_it_end_the_login_at_once() {
    let _ports = Ports::mine();
    let (home, upstream) = (Home::new(CONFIG), stand_in());
    let me = |fault: Fault| vec![("mixpanel.com".to_owned(), fault)];
    let token =
        |text: &str| (Fault::Body(text.to_owned()), Fault::Fine, "allow", "OAUTH_TOKEN_ERROR");
    for (token, who, decision, code) in [
        (Fault::Fine, Fault::Fine, "deny", "OAUTH_AUTH_DENIED"),
        (Fault::Status(500, None), Fault::Fine, "allow", "OAUTH_TOKEN_ERROR"),
        (Fault::Huge(3 * 1024 * 1024), Fault::Fine, "allow", "OAUTH_TOKEN_ERROR"),
        (Fault::Cut, Fault::Fine, "allow", "OAUTH_TOKEN_ERROR"),
        token("demo-access"),
        token("{\"access_token\": \"demo-access\", \"token_type\": \"Bearer\"}"),
        token(
            "{\"access_token\": \"demo-access\\n\", \"token_type\": \"Bearer\", \"expires_in\": 9}",
        ),
        (Fault::Fine, Fault::Status(401, None), "allow", "OAUTH_TOKEN_ERROR"),
        (Fault::Fine, Fault::Status(503, None), "allow", "OAUTH_TOKEN_ERROR"),
        (Fault::Fine, Fault::Cut, "allow", "OAUTH_TOKEN_ERROR"),
        (Fault::Fine, Fault::Body("{}".into()), "allow", "OAUTH_TOKEN_ERROR"),
        (Fault::Fine, Fault::Status(429, Some(3)), "allow", "RATE_LIMITED"),
    ] {
        let what = format!("{token:?} {who:?} {decision}");
        oauth(&upstream).set(|switches| {
            (switches.token, switches.me) = (token, me(who));
        });
        let login = Login::start(&home, &upstream, &EXPLICIT);
        let page = get(&press(login.url(), decision));
        let text = String::from_utf8(page.body).unwrap();
        assert!(text.contains("The login failed") && text.contains(code), "{what}: {text}");
        assert!(!text.contains("demo-access"), "{text}");
        let done = login.finish();
        let exit = if code == "RATE_LIMITED" { 5 } else { 2 };
        assert_eq!((done.code, done.error()["code"].as_str()), (Some(exit), Some(code)), "{what}");
        assert!(done.error()["hint"].is_string() && done.stdout.is_empty());
        assert!(done.took < Duration::from_secs(60), "{what} waited for something");
        untouched(&home);
    }
}

/// A disk that takes nothing: the browser is not told of a success that there was not.
#[test]
fn a_login_that_cannot_be_written_is_none() {
    let _ports = Ports::mine();
    let (home, upstream) = (Home::new(CONFIG), stand_in());
    // Stands where the new file is made first, so that every write fails.
    let obstacle = |path: &str| {
        let path = home.path(path);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let tokens = obstacle(".mp/accounts/me/.tokens.json.tmp");
    let guided = ["login", "--name", "new", "--project", "1001", "--no-browser", "--json"];
    let config = obstacle(".mp/.config.toml.tmp");
    for args in [&EXPLICIT[..], &guided] {
        let login = Login::start(&home, &upstream, args);
        let page = String::from_utf8(get(&press(login.url(), "allow")).body).unwrap();
        assert!(page.contains("The login failed") && page.contains("CONFIG_ERROR"), "{page}");
        let done = login.finish();
        assert_eq!((done.code, done.error()["code"].as_str()), (Some(1), Some("CONFIG_ERROR")));
        untouched(&home);
        assert!(!home.path(".mp/accounts/new/tokens.json").exists(), "tokens without an account");
    }
    fs::remove_dir(tokens).unwrap();
    fs::remove_dir(config).unwrap();
    logged_in(&home, &upstream, &EXPLICIT);
    // No place at all is said before the server is asked.
    let before = upstream.received().len();
    let mut command = home.command(&["login", "--no-browser", "--json"]);
    command.env_remove("HOME");
    let done = Login::start_with(command, &upstream.url()).finish();
    assert_eq!((done.code, done.error()["code"].as_str()), (Some(1), Some("CONFIG_ERROR")));
    assert!(done.error()["hint"].as_str().unwrap().contains("MP_STORAGE_DIR"));
    assert_eq!(upstream.received().len(), before);
}

#[test]
fn a_server_that_goes_away_after_the_consent_ends_the_login_at_once() {
    let _ports = Ports::mine();
    let (home, upstream) = (Home::new(CONFIG), stand_in());
    let login = Login::start(&home, &upstream, &EXPLICIT);
    let back = press(login.url(), "allow");
    drop(upstream);
    let page = String::from_utf8(get(&back).body).unwrap();
    assert!(page.contains("OAUTH_TOKEN_ERROR") && page.contains("cannot connect"), "{page}");
    let done = login.finish();
    assert_eq!((done.code, done.error()["code"].as_str()), (Some(2), Some("OAUTH_TOKEN_ERROR")));
    assert!(done.error()["hint"].as_str().unwrap().contains("check the network"));
    untouched(&home);
}

#[test]
fn a_login_that_cannot_begin_says_so_at_once() {
    let _ports = Ports::mine();
    let (home, upstream) = (Home::new(CONFIG), stand_in());
    let ended = |login: Login, exit: i32, code: &str| {
        assert!(login.url.is_none(), "{:?}", login.url);
        let done = login.finish();
        assert_eq!(
            (done.code, done.error()["code"].as_str()),
            (Some(exit), Some(code)),
            "{}",
            done.stderr
        );
        assert!(done.error()["hint"].is_string(), "{}", done.stderr);
        untouched(&home);
        done
    };
    // 429 at the registration.
    oauth(&upstream).set(|switches| switches.register = Fault::Status(429, Some(77)));
    let done = ended(Login::start(&home, &upstream, &EXPLICIT), 2, "OAUTH_REGISTRATION_ERROR");
    assert!(done.stderr.contains("in 77 seconds"), "{}", done.stderr);
    oauth(&upstream).set(|switches| switches.register = Fault::Fine);
    // Server down.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let down = Login::start_at(&home, &format!("http://{dead}"), &EXPLICIT);
    ended(down, 2, "OAUTH_REGISTRATION_ERROR");
    // No browser, and nobody to print for.
    let mut command = home.command(&["account", "login", "me", "--json"]);
    command.env("PATH", "/nowhere");
    let login = Login::start_with(command, &upstream.url());
    ended(login, 2, "OAUTH_BROWSER_ERROR");
    // Every port busy, one of them on the other loopback address only.
    let mut busy: Vec<_> =
        (19284..19287).map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap()).collect();
    let six = TcpListener::bind("[::1]:19287");
    busy.push(six.unwrap_or_else(|_| TcpListener::bind("127.0.0.1:19287").unwrap()));
    let done = ended(Login::start(&home, &upstream, &EXPLICIT), 2, "OAUTH_PORT_ERROR");
    assert!(done.stderr.contains("19284") && done.stderr.contains("19287"), "{}", done.stderr);
    drop(busy);
    // Not an account, not of this type, not a number of seconds.
    let unknown = ["account", "login", "nobody", "--json"];
    ended(Login::start(&home, &upstream, &unknown), 1, "CONFIG_ERROR");
    home.write(".mp/config.toml", crate::support::CONFIG);
    let output = home.run(&["account", "login", "team", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("service_account"));
    assert_eq!(home.run(&["account", "login", "me", "--timeout", "0"]).status.code(), Some(3));
}

#[test]
fn nobody_coming_back_is_a_time_out_that_knows_of_other_states() {
    let _ports = Ports::mine();
    let (home, upstream) = (Home::new(CONFIG), stand_in());
    let within = |seconds: &'static str| [EXPLICIT.as_slice(), &["--timeout", seconds]].concat();
    let done = Login::start(&home, &upstream, &within("1")).finish();
    assert_eq!((done.code, done.error()["code"].as_str()), (Some(2), Some("OAUTH_TIMEOUT")));
    assert_eq!(done.error()["reason"], Value::Null);
    oauth(&upstream).set(|switches| switches.state = StateEcho::Other);
    let args = within("3");
    let login = Login::start(&home, &upstream, &args);
    let page = get(&press(login.url(), "allow"));
    assert_eq!(page.status, 400);
    assert!(String::from_utf8(page.body).unwrap().contains("OAUTH_STATE_MISMATCH"));
    let done = login.finish();
    assert_eq!(done.error()["code"], "OAUTH_TIMEOUT");
    assert_eq!(done.error()["reason"], "OAUTH_STATE_MISMATCH");
    untouched(&home);
}

#[test]
fn a_busy_port_never_costs_another_account_its_client() {
    let _ports = Ports::mine();
    let (home, upstream) = (Home::new(CONFIG), stand_in());
    logged_in(&home, &upstream, &EXPLICIT);
    let first = json_file(&home, ".mp/oauth/client_us.json");
    let mut text = fs::read_to_string(home.path(".mp/config.toml")).unwrap();
    text.push_str("\n[accounts.two]\ntype = \"oauth_browser\"\nregion = \"us\"\n");
    home.write(".mp/config.toml", &text);
    let busy = TcpListener::bind("127.0.0.1:19284").unwrap();
    let done = logged_in(&home, &upstream, &["account", "login", "two", "--no-browser"]);
    assert!(done.stderr.contains("needs it"), "{}", done.stderr);
    assert_eq!(json_file(&home, ".mp/oauth/client_us.json"), first);
    let own = json_file(&home, ".mp/accounts/two/tokens.json")["client_id"].clone();
    assert_ne!(own, first["client_id"]);
    // Nobody else depends on it: then the file follows.
    fs::remove_dir_all(home.path(".mp/accounts/me")).unwrap();
    fs::set_permissions(home.path(".mp/oauth/client_us.json"), fs::Permissions::from_mode(0o644))
        .unwrap();
    logged_in(&home, &upstream, &["account", "login", "two", "--no-browser"]);
    let second = json_file(&home, ".mp/oauth/client_us.json");
    assert_eq!(second["redirect_uri"], "http://localhost:19285/callback");
    drop(busy);
    // And the port that it is registered for is taken first.
    let login = Login::start(&home, &upstream, &["account", "login", "two", "--no-browser"]);
    assert_eq!(login.redirect(), Url::parse("http://localhost:19285/callback").unwrap());
    get(&press(login.url(), "allow"));
    assert_eq!(login.finish().code, Some(0));
}
