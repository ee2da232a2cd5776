//! The whole login in a real browser: the program opens it, a click on the consent page, the page
//! that it lands on, tokens on disk, the next request through the proxy.

use crate::{
    chromium::Chromium,
    login_support::{Login, Ports},
    support::{Home, Upstream, header},
};
use mp_proxy::demo::switches::{Bearers, Fault, StateEcho};
use oauth2::url::Url;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

const CONFIG: &str = "[accounts.me]\ntype = \"oauth_browser\"\nregion = \"us\"\n";

/// A home whose "browser" writes down what it was asked to open.
fn home_with_browser() -> Home {
    let home = Home::new(CONFIG);
    let script = format!("#!/bin/sh\nprintf %s \"$1\" > '{}'\n", home.path("opened").display());
    home.write("bin/xdg-open", &script);
    fs::set_permissions(home.path("bin/xdg-open"), fs::Permissions::from_mode(0o700)).unwrap();
    let path = home.path("bin").display().to_string();
    home.with("PATH", &path)
}

fn opened(path: &Path) -> Url {
    for _ in 0..200 {
        if let Ok(url) = fs::read_to_string(path).unwrap_or_default().parse() {
            fs::remove_file(path).unwrap();
            return url;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("no browser was opened");
}

#[test]
fn a_click_logs_in_and_the_next_request_works() {
    let _ports = Ports::mine();
    let (home, upstream) = (home_with_browser(), Upstream::start());
    let oauth = upstream.stand_in.as_ref().unwrap().oauth();
    oauth.set(|switches| switches.bearers = Bearers::Granted);
    let chromium = Chromium::start();

    let login = Login::start(&home, &upstream, &["account", "login", "me"]);
    chromium.open(&opened(&home.path("opened")));
    chromium.click("#allow");
    let page = chromium.wait_for("Logged in");
    assert!(page.contains("demo@example.com") && page.contains("close this page"), "{page}");
    assert!(chromium.run("return location.href").starts_with("http://localhost:1928"));
    // Its style came through its own policy, and nothing was asked for that the policy forbids.
    let border = "return getComputedStyle(document.querySelector('main')).borderTopWidth";
    assert_eq!(chromium.run(border), "6px");
    assert_eq!(chromium.run("return document.scripts.length + ''"), "0");
    assert_eq!(chromium.run("return performance.getEntriesByType('resource').length + ''"), "0");
    assert_eq!(chromium.complaints(), Vec::<String>::new());
    let done = login.finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("waiting for the browser"), "{}", done.stderr);

    let tokens = fs::read_to_string(home.path(".mp/accounts/me/tokens.json")).unwrap();
    assert!(tokens.contains("demo-refresh-"));
    let proxy = home.serve(&upstream.url(), &["--account", "me"]);
    assert_eq!(proxy.get("/api/query/events/names", "").status, 200);
    let bearer = header(&upstream.last(), "authorization").unwrap().to_owned();
    assert!(tokens.contains(bearer.strip_prefix("Bearer ").unwrap()));

    // A reload of the page finds nobody, and the address is of no use any more.
    let counts = oauth.counts();
    assert_eq!((counts.registrations, counts.authorizations, counts.exchanges), (1, 1, 1));
}

#[test]
fn a_page_says_what_was_wrong_with_the_answer_and_shows_nothing_of_it() {
    let _ports = Ports::mine();
    let (home, upstream) = (home_with_browser(), Upstream::start());
    let oauth = upstream.stand_in.as_ref().unwrap().oauth();
    let chromium = Chromium::start();
    let args = ["account", "login", "me", "--json", "--timeout", "20"];
    for (fault, said) in [
        (Fault::Body("<html>demo-access-1</html>".into()), "not a token answer"),
        (Fault::Body("{\"access_token\": \"demo-access-2\"}".into()), "not a token answer"),
        (Fault::Huge(3 * 1024 * 1024), "larger than"),
        (Fault::Cut, "broke off"),
        (Fault::Status(429, Some(60)), "in 60 seconds"),
    ] {
        oauth.set(|switches| switches.token = fault.clone());
        let login = Login::start(&home, &upstream, &args);
        chromium.open(&opened(&home.path("opened")));
        // Strays of a real browser: its icon, and another path of the port.
        let stray = login.redirect().join("/elsewhere?code=x").unwrap();
        let fetched = format!(
            "return fetch('{stray}', {{mode: 'no-cors'}}).then(() => 'answered', () => 'refused')"
        );
        chromium.run(&fetched);
        chromium.click("#allow");
        let page = chromium.wait_for("OAUTH_TOKEN_ERROR");
        assert!(page.contains(said) && page.contains("close this page"), "{fault:?}: {page}");
        assert!(!page.contains("demo-access"), "{page}");
        let done = login.finish();
        let code = done.error()["code"].clone();
        assert_eq!((done.code, code.as_str()), (Some(2), Some("OAUTH_TOKEN_ERROR")), "{fault:?}");
        assert!(done.error()["hint"].is_string() && done.stdout.is_empty());
        assert!(!home.path(".mp/accounts").exists(), "something was written");
    }
}

#[test]
fn the_demo_walks_a_person_through_the_login() {
    let _ports = Ports::mine();
    let home = Home::new("");
    let chromium = Chromium::start();
    let args = ["demo", "--login", "--no-browser", "--once"];
    let login = Login::start_at(&home, "http://127.0.0.1:9", &args);
    chromium.open(login.url());
    chromium.click("#allow");
    chromium.wait_for("Logged in");
    let done = login.finish();
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("registrations 1, consent pages 1, codes exchanged 1"));
    assert!(done.stdout.contains("Authorization: Bearer …"), "{}", done.stdout);
    assert!(done.stdout.contains("answer:  200"), "{}", done.stdout);
}

#[test]
fn the_browser_is_told_of_denial_wrong_state_and_failure() {
    let _ports = Ports::mine();
    let (home, upstream) = (home_with_browser(), Upstream::start());
    let oauth = upstream.stand_in.as_ref().unwrap().oauth();
    let chromium = Chromium::start();
    let args = ["account", "login", "me", "--json", "--timeout", "20"];

    let login = Login::start(&home, &upstream, &args);
    chromium.open(&opened(&home.path("opened")));
    chromium.click("#deny");
    chromium.wait_for("OAUTH_AUTH_DENIED");
    assert_eq!(login.finish().error()["code"], "OAUTH_AUTH_DENIED");

    // A wrong state does not end the login; the right one, after it, does.
    oauth.set(|switches| switches.state = StateEcho::Other);
    let login = Login::start(&home, &upstream, &args);
    let url = opened(&home.path("opened"));
    chromium.open(&url);
    chromium.click("#allow");
    chromium.wait_for("OAUTH_STATE_MISMATCH");
    oauth.set(|switches| {
        switches.state = StateEcho::Same;
        switches.token = Fault::Status(503, None);
    });
    chromium.open(&url);
    chromium.click("#allow");
    let page = chromium.wait_for("OAUTH_TOKEN_ERROR");
    assert!(page.contains("The login failed") && page.contains("503"), "{page}");
    let done = login.finish();
    assert_eq!((done.code, done.error()["code"].as_str()), (Some(2), Some("OAUTH_TOKEN_ERROR")));
    assert!(!home.path(".mp/accounts/me").join("tokens.json").exists());
}
