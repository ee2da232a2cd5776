//! Tokens that a bridge brought: where they are kept when they are renewed, and which of several
//! count.

use crate::{
    support::{Home, Serving, Upstream},
    tokens::{BROWSER, TOKENS, at_once, clean, last_sent, oauth, on_disk, tokens, until},
};
use mp_proxy::demo::switches::{Bearers, Fault};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

/// A bridge file of this grant.
pub fn bridge(grant: &Value, client: Option<&str>, seconds: i64) -> Value {
    json!({
        "version": 2, "project": "5", "headers": {"X-Keep": "1"},
        "account": {"type": "oauth_browser", "name": "me", "region": "us"},
        "tokens": tokens(grant, client, seconds),
    })
}

#[test]
fn an_expired_bridge_is_renewed_where_it_is_ours_and_in_memory_where_it_is_not() {
    for mode in [0o600, 0o400] {
        let (home, upstream) = (Home::new(""), Upstream::start());
        oauth(&upstream).set(|switches| switches.bearers = Bearers::Granted);
        let path = home.path("mixpanel_auth.json");
        let put = |grant: &Value, client: Option<&str>, seconds| {
            home.write("mixpanel_auth.json", &bridge(grant, client, seconds).to_string());
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let (grant, client) = oauth(&upstream).mint();
        put(&grant, None, -10);
        let proxy = home.serve(&upstream.url(), &[]);
        let problem = proxy.get("/api/query/x", "").json();
        assert_eq!(problem["code"], "OAUTH_REFRESH_ERROR");
        assert!(problem["hint"].as_str().unwrap().contains("on the host"), "{problem}");
        put(&grant, Some(&client), -10);
        let before = fs::read(&path).unwrap();
        for _ in 0..3 {
            assert_eq!(proxy.get("/api/query/x", "").status, 200);
        }
        assert_eq!(oauth(&upstream).counts().refreshes, 1);
        let after: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if mode == 0o600 {
            assert_ne!(after["tokens"]["refresh_token"], grant["refresh_token"]);
            assert_eq!(after["headers"], json!({"X-Keep": "1"}));
        } else {
            assert_eq!(fs::read(&path).unwrap(), before, "a read-only bridge was written");
        }
        assert!(!home.path(".mp/accounts/me/tokens.json").exists(), "tokens left the bridge");
        // The host knows better.
        let (grant, client) = oauth(&upstream).mint();
        put(&grant, Some(&client), 3600);
        assert_eq!(proxy.get("/api/query/x", "").status, 200);
        let sent = format!("Bearer {}", grant["access_token"].as_str().unwrap());
        assert_eq!(last_sent(&upstream), sent);
        let counts = oauth(&upstream).counts();
        assert_eq!((counts.refreshes, counts.revoked_families), (1, 0));
        // A login that has ended cannot be renewed here.
        put(&grant, Some(&client), -10);
        oauth(&upstream).revoke_everything();
        let problem = proxy.get("/api/query/x", "").json();
        assert_eq!(problem["code"], "OAUTH_REFRESH_REVOKED", "{problem}");
        assert!(problem["hint"].as_str().unwrap().starts_with("on the host, run: "), "{problem}");
        clean(&proxy.log);
    }
}

/// A mounted secret: several processes of one home, and those that come after them, renew its
/// login once. The server would end it if the old refresh token came back.
#[test]
fn a_bridge_that_cannot_be_written_is_renewed_once_for_all_of_a_home() {
    let home = Home::new("").with("MP_AUTH_FILE", "mounted/auth.json");
    let upstream = Upstream::start();
    oauth(&upstream).set(|switches| {
        switches.bearers = Bearers::Granted;
        switches.token = Fault::Slow(Duration::from_millis(300));
    });
    let path = home.path("mounted/auth.json");
    let put = |grant: &Value, client: &str, seconds| {
        home.write("mounted/auth.json", &bridge(grant, Some(client), seconds).to_string());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    };
    let (grant, client) = oauth(&upstream).mint();
    put(&grant, &client, -10);
    let before = fs::read(&path).unwrap();
    let proxies: Vec<Serving> = (0..3).map(|_| home.serve(&upstream.url(), &[])).collect();
    let all: Vec<&Serving> = proxies.iter().collect();
    let counted = |refreshes: u64| {
        let counts = oauth(&upstream).counts();
        assert_eq!((counts.refreshes, counts.revoked_families), (refreshes, 0));
    };
    let statuses = at_once(&all, 10);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    counted(1);
    // Again, from what came of it, and for a process that knows only the files.
    oauth(&upstream).end_access_tokens();
    let statuses = at_once(&all, 10);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    counted(2);
    drop(proxies);
    let proxy = home.serve(&upstream.url(), &[]);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    counted(2);
    assert_eq!(fs::read(&path).unwrap(), before, "a read-only bridge was written");
    let beside: Vec<_> = fs::read_dir(home.path("mounted")).unwrap().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    let kept: Vec<_> = fs::read_dir(home.path(".mp/bridges")).unwrap().flatten().collect();
    assert!(kept.iter().all(|one| one.metadata().unwrap().permissions().mode() & 0o77 == 0));
    // The host knows better, and what came of the bridge before counts no more.
    let (grant, client) = oauth(&upstream).mint();
    put(&grant, &client, 3600);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    let sent = format!("Bearer {}", grant["access_token"].as_str().unwrap());
    assert_eq!(last_sent(&upstream), sent);
    counted(2);
    // It goes with the bridge.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(home.run(&["account", "remove-bridge"]).status.success());
    assert_eq!(fs::read_dir(home.path(".mp/bridges")).unwrap().count(), 0);
    clean(&proxy.log);
}

/// Neither the bridge nor our own storage can be written: then memory has to do.
#[test]
fn a_bridge_is_renewed_in_memory_where_nothing_can_be_written() {
    let (home, upstream) = (Home::new(""), Upstream::start());
    oauth(&upstream).set(|switches| switches.bearers = Bearers::Granted);
    let (grant, client) = oauth(&upstream).mint();
    home.write("mixpanel_auth.json", &bridge(&grant, Some(&client), -10).to_string());
    let path = home.path("mixpanel_auth.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    home.write("storage", "a file where a directory would have to be");
    let home = home.with("MP_STORAGE_DIR", "storage");
    let proxy = home.serve(&upstream.url(), &[]);
    for _ in 0..3 {
        assert_eq!(proxy.get("/api/query/x", "").status, 200);
    }
    oauth(&upstream).end_access_tokens();
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    let counts = oauth(&upstream).counts();
    assert_eq!((counts.refreshes, counts.revoked_families), (2, 0));
    clean(&proxy.log);
}

#[test]
fn of_bridge_and_disk_the_later_one_is_used_and_resolving_writes_nothing() {
    let (home, upstream) = (Home::new(BROWSER), Upstream::start());
    let ((older, _), (newer, _)) = (oauth(&upstream).mint(), oauth(&upstream).mint());
    let sent = |grant: &Value| format!("Bearer {}", grant["access_token"].as_str().unwrap());
    let proxy = home.serve(&upstream.url(), &[]);
    for (in_bridge, on_disk, wanted) in [(7200, 3600, &newer), (3600, 7200, &older)] {
        home.write("mixpanel_auth.json", &bridge(&newer, None, in_bridge).to_string());
        home.write(TOKENS, &tokens(&older, None, on_disk).to_string());
        let before = fs::read(home.path(TOKENS)).unwrap();
        assert_eq!(proxy.get("/api/query/x", "").status, 200);
        assert_eq!(last_sent(&upstream), sent(wanted));
        assert_eq!(fs::read(home.path(TOKENS)).unwrap(), before);
    }
    // Another region's tokens are no concern of this account.
    let mut other = bridge(&newer, None, 99_999);
    other["account"]["region"] = json!("eu");
    home.write("mixpanel_auth.json", &other.to_string());
    assert_eq!(proxy.get("/api/query/x", "X-Mp-Account: me\r\n").status, 200);
    assert_eq!(last_sent(&upstream), sent(&older));
}

/// The reference puts the bridge's tokens over those on disk; a copy that was renewed on disk is
/// renewed in the bridge too, so that nobody ever sends the old one again.
#[test]
fn copies_of_one_login_are_renewed_together() {
    let (home, upstream) = (Home::new(BROWSER), Upstream::start());
    let (grant, client) = oauth(&upstream).mint();
    home.write("mixpanel_auth.json", &bridge(&grant, Some(&client), -10).to_string());
    home.write(TOKENS, &tokens(&grant, Some(&client), -10).to_string());
    let proxy = home.serve(&upstream.url(), &[]);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    let bridged: Value =
        serde_json::from_slice(&fs::read(home.path("mixpanel_auth.json")).unwrap()).unwrap();
    assert_eq!(bridged["tokens"]["access_token"], on_disk(&home)["access_token"]);
    // The old copy comes back: what we renewed from it is put there again.
    let renewed = on_disk(&home)["refresh_token"].clone();
    home.write(TOKENS, &tokens(&grant, Some(&client), -10).to_string());
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    until("the repair", || on_disk(&home)["refresh_token"] == renewed);
    let counts = oauth(&upstream).counts();
    assert_eq!((counts.refreshes, counts.revoked_families), (1, 0));
}
