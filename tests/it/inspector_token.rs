//! The inspector where callers need a token, in a real Chromium: the browser asks for a password
//! once, and then page, live events and fetches have it; who gives none is told what to do.

use crate::{
    devtools::Page,
    support::{CONFIG, Home, Upstream},
};
use serde_json::{Value, json};
use std::process::Command;

const TOKEN: &str = "caller-token-0123456789";

fn answer(page: &Page, request: &Value, answer: Value) {
    let id = &request["requestId"];
    page.call("Fetch.continueWithAuth", json!({"requestId": id, "authChallengeResponse": answer}));
}

#[test]
fn the_browsers_own_question_for_a_password_opens_page_events_and_fetches() {
    let home = Home::new(CONFIG);
    home.write("tokens.toml", &format!("[callers.me]\ntoken = \"{TOKEN}\"\n"));
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &["--client-token-file", "tokens.toml"]);
    let url = format!("http://{}/_mp/", proxy.address);
    let page = Page::open();
    // The page alone: what it loads has to get along with what the browser then knows.
    let only = json!([{"urlPattern": &url}]);
    page.call("Fetch.enable", json!({"handleAuthRequests": true, "patterns": only}));

    // The question is turned down: the page says what to do, and has none of what it guards.
    let asked = open_until_asked(&page, &url);
    assert_eq!(asked["authChallenge"]["realm"], "mp-proxy");
    assert_eq!(asked["authChallenge"]["scheme"], "basic");
    answer(&page, &asked, json!({"response": "CancelAuth"}));
    let text = page.wait_for("as the password, a caller token");
    assert!(text.contains("--client-token-file") && !text.contains("team"), "{text}");
    let grounds = "getComputedStyle(document.body).display";
    assert_eq!(page.text(grounds), "grid", "its style is not blocked by its own policy");

    // Wrong once, then right.
    let asked = open_until_asked(&page, &url);
    let give = |token: &str| json!({"response": "ProvideCredentials", "username": "me", "password": token});
    answer(&page, &asked, give("wrong"));
    let asked = page.event("Fetch.authRequired");
    answer(&page, &asked, give(TOKEN));
    // Nobody answers from here on: what is still asked for a password has none.
    page.call("Fetch.disable", json!({}));
    let text = page.wait_for("config:[active]");
    assert!(text.contains("ready") && text.contains("$MP_PROXY_TOKEN"), "{text}");
    let lines = format!("X-Mp-Proxy-Token: {TOKEN}\r\n");
    proxy.get("/api/query/events/names?from_date=1", &lines);
    page.wait_for("/api/query/events/names?from_date");
    page.text("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'j'})); ''");
    let curl = page.text("document.getElementById('curl').textContent");
    assert!(
        curl.starts_with("curl -H \"X-Mp-Proxy-Token: $MP_PROXY_TOKEN\" -H 'X-Mp-Account"),
        "{curl}"
    );

    works(&curl);

    // The token is nowhere: not in the address, not on the page, not in what was asked for.
    let places = "location.href + document.documentElement.outerHTML + JSON.stringify(localStorage) \
                  + performance.getEntries().map(entry => entry.name).join()";
    let seen = page.text(places);
    assert!(seen.contains("/_mp/overview") && !seen.contains(TOKEN), "{seen}");
    assert_eq!(page.pending("Fetch.authRequired"), 0);
    assert!(!std::fs::read_to_string(&proxy.log).unwrap().contains(TOKEN));
}

#[test]
fn a_copied_call_names_no_account_that_cannot_be_named() {
    let home = Home::new("")
        .with("MP_USERNAME", "sa.env")
        .with("MP_SECRET", "env-secret")
        .with("MP_PROJECT_ID", "4")
        .with("MP_REGION", "us");
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &[]);
    let page = Page::open();
    page.send("Page.navigate", json!({"url": format!("http://{}/_mp/", proxy.address)}));
    page.wait_for("env-service-account");
    proxy.get("/api/app/projects/4/a[b]", "");
    page.wait_for("/a[b]");
    page.text("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'j'})); ''");
    let curl = page.text("document.getElementById('curl').textContent");
    assert!(!curl.contains("X-Mp-Account") && curl.contains("X-Mp-Project: 4"), "{curl}");
    works(&curl);
    assert_eq!(upstream.last().target, "/api/app/projects/4/a[b]");
}

/// What is copied works in a shell, which knows the token.
fn works(curl: &str) {
    let run = Command::new("sh")
        .args(["-c", &curl.replacen("curl", "curl -sf", 1).replace('…', "1")])
        .env("MP_PROXY_TOKEN", TOKEN)
        .output()
        .unwrap();
    assert!(run.status.success(), "{curl}: {run:?}");
}

/// Opens the page; returns the browser's question for a password.
fn open_until_asked(page: &Page, url: &str) -> Value {
    page.send("Page.navigate", json!({"url": url}));
    let paused = page.event("Fetch.requestPaused");
    page.send("Fetch.continueRequest", json!({"requestId": paused["requestId"]}));
    page.event("Fetch.authRequired")
}
