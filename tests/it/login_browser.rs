//! The browser that a login starts: which program, and what it gets to know.

use crate::{
    login_support::{Login, Ports, get, press},
    support::{Home, Upstream},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

const CONFIG: &str = "[accounts.me]\ntype = \"oauth_browser\"\nregion = \"us\"\n\n\
    [accounts.ci]\ntype = \"oauth_token\"\nregion = \"us\"\ntoken_env = \"MY_CI_TOKEN\"\n";
const LOGIN: [&str; 6] = ["account", "login", "me", "--json", "--timeout", "20"];

/// A program that writes down its environment and what it was asked to open.
fn program(home: &Home, name: &str) {
    let out = home.path(name);
    let script = format!(
        "#!/bin/sh\n/usr/bin/env > '{0}.env'\nprintf %s \"$*\" > '{0}.part'\n/bin/mv '{0}.part' '{0}.opened'\n",
        out.display()
    );
    let path = format!("bin/{name}");
    home.write(&path, &script);
    fs::set_permissions(home.path(&path), fs::Permissions::from_mode(0o700)).unwrap();
}

fn opened(home: &Home, name: &str) -> Option<String> {
    let path = home.path(&format!("{name}.opened"));
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if let Ok(text) = fs::read_to_string(&path) {
            return Some(text);
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Starts a login that opens `name`; gives the environment that it got.
fn environment_of(home: &Home, upstream: &Upstream, name: &str) -> String {
    let login = Login::start(home, upstream, &LOGIN);
    let asked = opened(home, name).expect("nothing was opened");
    assert!(asked.ends_with(login.url().as_str()), "{asked}");
    get(&press(login.url(), "allow"));
    let done = login.finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    fs::read_to_string(home.path(&format!("{name}.env"))).unwrap()
}

fn path_of(home: &Home) -> String {
    home.path("bin").display().to_string()
}

#[test]
fn the_browser_gets_none_of_our_variables() {
    let _ports = Ports::mine();
    let upstream = Upstream::start();
    let home = Home::new(CONFIG);
    program(&home, "xdg-open");
    let path = path_of(&home);
    let home = home
        .with("PATH", &path)
        .with("DISPLAY", ":7")
        .with("MP_CUSTOM_HEADER_NAME", "X-Mine")
        .with("MP_CUSTOM_HEADER_VALUE", "s3cr3t-1")
        .with("MP_SECRET", "s3cr3t-2")
        .with("MP_OAUTH_TOKEN", "s3cr3t-3")
        .with("MP_PROXY_CLIENT_TOKEN", "s3cr3t-4")
        .with("MY_CI_TOKEN", "s3cr3t-5");
    let env = environment_of(&home, &upstream, "xdg-open");
    assert!(env.contains("DISPLAY=:7\n") && env.contains("HOME="), "{env}");
    assert!(!env.contains("s3cr3t"), "{env}");
    assert!(!env.lines().any(|line| line.starts_with("MP_")), "{env}");
}

#[test]
fn the_variable_browser_comes_first_and_the_desktop_after_it() {
    let _ports = Ports::mine();
    let upstream = Upstream::start();
    let home = Home::new(CONFIG);
    program(&home, "mine");
    program(&home, "xdg-open");
    let path = path_of(&home);
    let home = home.with("PATH", &path).with("BROWSER", "not-there:mine --new %s");
    environment_of(&home, &upstream, "mine");
    let asked = opened(&home, "mine").unwrap();
    assert!(asked.starts_with("--new http://"), "{asked}");
    assert!(!home.path("xdg-open.opened").exists(), "two browsers were opened");
    // One that fails at once gives way to the next.
    home.write("bin/mine", "#!/bin/sh\nexit 3\n");
    fs::set_permissions(home.path("bin/mine"), fs::Permissions::from_mode(0o700)).unwrap();
    environment_of(&home, &upstream, "xdg-open");
    // None that works: it is said, with what to do.
    home.write("bin/xdg-open", "#!/bin/sh\nexit 3\n");
    fs::set_permissions(home.path("bin/xdg-open"), fs::Permissions::from_mode(0o700)).unwrap();
    let login = Login::start(&home, &upstream, &LOGIN);
    assert!(login.url.is_none());
    let done = login.finish();
    assert_eq!(done.error()["code"], "OAUTH_BROWSER_ERROR", "{}", done.stderr);
    assert!(done.error()["hint"].as_str().unwrap().contains("--no-browser"));
    assert!(!Path::new(&home.path(".mp/accounts/ci")).exists());
}
