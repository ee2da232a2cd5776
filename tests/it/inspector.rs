//! The inspector in a real Chromium: load, live update, colours, copy, ten thousand requests.

use crate::{
    chromium::Chromium,
    support::{CONFIG, Home, Serving, Upstream},
};
use oauth2::url::Url;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

fn page(proxy: &Serving) -> Url {
    format!("http://{}/_mp/", proxy.address).parse().unwrap()
}

/// All text of the page once it has this in it; rows out of sight are not drawn, but there.
fn wait_for(chromium: &Chromium, text: &str) -> String {
    let mut seen = String::new();
    for _ in 0..300 {
        seen = chromium.run("return document.body.textContent");
        if seen.contains(text) {
            return seen;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("no {text:?} in {seen}");
}

/// Presses a key, as the page sees it.
fn press(chromium: &Chromium, key: &str) {
    chromium.run(&format!(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}})); return ''"
    ));
}

#[test]
fn it_loads_updates_itself_switches_colours_and_copies() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &[]);
    let chromium = Chromium::start();
    chromium.open(&page(&proxy));
    let text = wait_for(&chromium, "config:[active]");
    for part in ["ready", "team", "account.default_project", "X-Mixpanel-Cluster", "ci / 77 / 3"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(text.contains("not logged in") && text.contains("Waiting for requests"), "{text}");

    // Live: nothing is reloaded, and values of parameters are not shown.
    proxy.get("/api/query/events/names?from_date=s3cr3t", "X-Mp-Target: ecom\r\n");
    wait_for(&chromium, "/api/query/events/names?from_date");
    proxy.get("/nowhere", "");
    let text = wait_for(&chromium, "ROUTE_NOT_FOUND");
    assert!(text.contains("ci / 77"), "{text}");
    assert_eq!(chromium.run("return document.getElementById('blank').hidden + ''"), "true");

    // By keyboard: the newest, then the one before it.
    press(&chromium, "j");
    press(&chromium, "j");
    let curl = chromium.run("return document.getElementById('curl').textContent");
    let url = format!("http://{}/api/query/events/names?from_date=…", proxy.address);
    let whole =
        format!("curl -H 'X-Mp-Account: ci' -H 'X-Mp-Project: 77' -H 'X-Mp-Workspace: 3' '{url}'");
    assert_eq!(curl, whole);
    chromium.click("#copy");
    wait_for(&chromium, "Copied");
    press(&chromium, "Escape");
    assert_eq!(chromium.run("return document.getElementById('detail').hidden + ''"), "true");

    // Colours: auto, light, dark; kept over a reload.
    let ground = "return getComputedStyle(document.body).backgroundColor";
    chromium.click("#theme");
    let light = chromium.run(ground);
    chromium.click("#theme");
    let dark = chromium.run(ground);
    assert_eq!((light.as_str(), dark.as_str()), ("rgb(245, 246, 248)", "rgb(15, 17, 21)"));
    chromium.open(&page(&proxy));
    wait_for(&chromium, "config:[active]");
    assert_eq!(chromium.run(ground), dark);

    // A broken file is said on the page, with what to do.
    home.write(".mp/config.toml", "broken");
    wait_for(&chromium, "not ready");
    assert!(wait_for(&chromium, "CONFIG_ERROR").contains("config.toml"));

    // Nothing came from elsewhere, and nothing broke the policy of the page.
    let outside = "return performance.getEntriesByType('resource').map(e => e.name)\
                   .filter(name => !name.startsWith(location.origin + '/_mp/')).join()";
    assert_eq!(chromium.run(outside), "");
    assert_eq!(chromium.complaints(), Vec::<String>::new());
    let html = chromium.run("return document.documentElement.outerHTML");
    for secret in ["s3cr3t", "hunter2", "tok-secret"] {
        assert!(!html.contains(secret), "{secret} is on the page");
    }
}

#[test]
fn ten_thousand_requests_leave_the_page_small_and_usable() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &["--log-level", "error"]);
    let chromium = Chromium::start();
    chromium.open(&page(&proxy));
    wait_for(&chromium, "config:[active]");
    // Until the stream stands, requests would go unseen.
    chromium.run(
        "window.gap = 0; let last = performance.now(); const tick = () => { const now = performance.now(); \
         window.gap = Math.max(window.gap, now - last); last = now; requestAnimationFrame(tick); }; \
         tick(); return ''",
    );
    proxy.get("/first", "");
    wait_for(&chromium, "/first");
    let address = proxy.address;
    let callers: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..25 {
                    let mut stream = TcpStream::connect(address).unwrap();
                    let one = format!("GET /nowhere HTTP/1.1\r\nHost: {address}\r\n\r\n");
                    let last = one.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
                    // Pipelined; the answers are read to the end.
                    let mut reader = stream.try_clone().unwrap();
                    let reading =
                        thread::spawn(move || reader.read_to_end(&mut Vec::new()).unwrap());
                    stream.write_all((one.repeat(99) + &last).as_bytes()).unwrap();
                    reading.join().unwrap();
                }
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    // All of them are accounted for: shown, or counted as more than can be shown.
    let count =
        "return document.getElementById('shown').textContent.split(',').slice(0, 2).join('')";
    let mut seen = String::new();
    for _ in 0..200 {
        seen = chromium.run(count);
        if seen.starts_with("10001") {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(seen.starts_with("10001"), "{seen}");
    let rows = chromium.run("return document.querySelectorAll('.row').length");
    assert!(rows.parse::<usize>().unwrap() <= 250, "{rows} rows");
    let nodes = chromium.run("return document.querySelectorAll('*').length");
    assert!(nodes.parse::<usize>().unwrap() < 6000, "{nodes} nodes");
    // It still answers: a new request shows up, a filter finds it alone.
    proxy.get("/api/query/after", "");
    wait_for(&chromium, "/api/query/after");
    chromium.run(
        "const f = document.getElementById('filter'); f.value = 'after'; \
         f.dispatchEvent(new Event('input')); return ''",
    );
    assert_eq!(chromium.run("return document.querySelectorAll('.row').length"), "1");
    println!(
        "longest time between two frames: {} ms",
        chromium.run("return Math.round(window.gap)")
    );
    assert_eq!(chromium.complaints(), Vec::<String>::new());
}
