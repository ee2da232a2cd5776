//! A clock that was set forward or back: what was written under the other time is met again, and is
//! neither believed for ever nor in the way. (The clock itself is moved under the resolver in
//! `tokens.rs`, and a certificate's dates in `tls.rs`.)

use crate::{
    support::{CONFIG, Home, Upstream},
    tokens::{TOKENS, oauth, on_disk, start},
};
use serde_json::{Value, json};
use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const DAY: f64 = 86_400.0;

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn rewrite(home: &Home, path: &str, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&fs::read(home.path(path)).unwrap()).unwrap();
    change(&mut json);
    home.write(path, &json.to_string());
}

/// Set forward by years, or back by as many: the first is renewed once, the second is good until the
/// server says otherwise, and then it is renewed once.
#[test]
fn a_token_of_another_time_costs_one_refresh_at_most() {
    for (expires, sent, refreshes) in [
        (json!("1971-01-01T00:00:00+00:00"), 3, 1),
        (json!("9999-12-31T23:59:59+00:00"), 3, 0),
        (json!(4_102_444_800_i64), 3, 0),
    ] {
        let (home, upstream) = start(3600);
        rewrite(&home, TOKENS, |tokens| tokens["expires_at"] = expires.clone());
        let proxy = home.serve(&upstream.url(), &[]);
        for _ in 0..sent {
            assert_eq!(proxy.get("/api/query/x", "").status, 200, "{expires}");
        }
        assert_eq!(oauth(&upstream).counts().refreshes, refreshes, "{expires}");
        let metrics = String::from_utf8(proxy.get("/_mp/metrics", "").body).unwrap();
        assert!(metrics.contains("mp_proxy_token_expiry_timestamp_seconds{account=\"me\"}"));
        // The server has another time, or another mind.
        oauth(&upstream).end_access_tokens();
        for _ in 0..sent {
            assert_eq!(proxy.get("/api/query/x", "").status, 200, "{expires}");
        }
        assert_eq!(oauth(&upstream).counts().refreshes, refreshes + 1, "{expires}");
        let left = on_disk(&home)["expires_at"].as_str().unwrap().to_owned();
        assert!(("2025".."2999").contains(&left.as_str()), "{left}");
    }
}

#[test]
fn a_list_of_projects_from_the_future_or_too_old_is_asked_for_again() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let home = home.with("MP_PROXY_UPSTREAM", &upstream.url());
    let asked =
        || upstream.received().iter().filter(|sent| sent.target.starts_with("/api/app/me")).count();
    let list = || assert!(home.run(&["project", "list"]).status.success());
    list();
    list();
    assert_eq!(asked(), 1, "the second time it is known");
    for (number, at) in [now() + 2.0 * DAY, now() - 2.0 * DAY, 1e18, -1.0].into_iter().enumerate() {
        rewrite(&home, ".mp/accounts/team/me.json", |cache| cache["cached_at"] = json!(at));
        list();
        assert_eq!(asked(), number + 2, "cached at {at}");
    }
}

/// Entries, a block and a limit that were written under a clock which was ahead by a year.
#[test]
fn a_ledger_from_the_future_holds_nobody_up() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let host = upstream.url().trim_start_matches("http://").replace(':', "_");
    let path = format!(".mp/pacer/{host}/123-query.json");
    let ahead = now() + 365.0 * DAY;
    let ledger = json!({
        "v": 1, "limit": 1, "limit_source": "server", "learned_at": ahead,
        "blocked_until": ahead + 3600.0, "blocked_at": ahead, "blocked_streak": 3,
        "sent": vec![ahead; 60],
    });
    home.write(&path, &ledger.to_string());
    let proxy = home.serve(&upstream.url(), &["--pace", "queue", "--pace-max-wait", "1"]);
    let answer = proxy.get("/api/query/insights", "");
    let quota = answer.header("x-mp-quota").unwrap_or_default();
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(
        quota.starts_with("query; limit=60; used=1;") && quota.contains("waited=0.0"),
        "{quota}"
    );
}

/// A time of change in the future proves nothing: each change is seen, also one of the same length.
#[test]
fn a_config_from_the_future_is_followed() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &[]);
    let ahead = SystemTime::now() + Duration::from_secs(365 * 86_400);
    for project in ["124", "125", "126", "127"] {
        home.write(".mp/config.toml", &CONFIG.replace("\"123\"", &format!("\"{project}\"")));
        let file = fs::File::options().write(true).open(home.path(".mp/config.toml")).unwrap();
        file.set_modified(ahead).unwrap();
        for _ in 0..2 {
            let answer = proxy.get("/api/query/insights", "");
            let resolved = answer.header("x-mp-resolved").unwrap();
            assert!(resolved.contains(&format!("project={project}")), "{resolved}");
        }
    }
}
