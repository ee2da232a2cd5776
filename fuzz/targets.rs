//! Every parser that reads outside bytes, as a function of bytes. `fuzz_targets/` throws random ones
//! at them, `tests/it/fuzz_corpus.rs` replays the kept corpus through the very same functions.
//! Invariant: none panics; what is accepted obeys the rules that the rest of the proxy relies on.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use mp_proxy::{
    auth::{
        credential::{self, Scheme},
        oauth::redirect,
        ready::ReadySession,
        resolve::{Selection, resolve},
        switch::Switch,
        token_resolver::TokenResolvers,
    },
    proxy::{
        callers::{Callers, TOKEN_HEADER},
        guard,
        hosts::{AllowedHost, Hosts, Transport},
        overrides,
        pace::learn,
        policy::{mentions::Mentions, spelling},
        rewrite::{self, ClientAuthorization},
        route,
    },
    store::{
        bridge::Bridge,
        callers,
        config::Config,
        me_json::{self, Extras},
        pacer_ledger::Ledger,
        policy_file,
        snapshot::Snapshot,
        tokens,
    },
    sys::{env::Env, http::HttpClient},
};
use secrecy::SecretString;
use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

/// A target's name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 15] = [
    ("config", config),
    ("bridge", bridge),
    ("tokens", token_file),
    ("policy", policy),
    ("overrides", override_headers),
    ("rewrite", headers),
    ("route", paths),
    ("callback", callback),
    ("paste", paste),
    ("ratelimit", ratelimit),
    ("ledger", ledger),
    ("callers", token_file_of_callers),
    ("guard", guard_and_callers),
    ("mentions", mentions),
    ("me", me),
];

/// `config.toml`, and whatever a session makes of it.
pub fn config(bytes: &[u8]) {
    let Ok(config) = Config::parse(bytes, Path::new("c.toml")) else { return };
    let names: Vec<String> = config.account_names().iter().map(|name| (*name).to_owned()).collect();
    let targets: Vec<String> =
        config.target_names().iter().map(|name| (*name).to_owned()).collect();
    let snapshot = snapshot(Ok(config), None);
    let _ = resolve(&snapshot, &Selection::default());
    for name in names {
        let _ = resolve(&snapshot, &Selection { account: Some(name), ..Selection::default() });
    }
    for name in targets {
        let _ = resolve(&snapshot, &Selection::of_target(&name));
    }
}

/// A bridge file, and the session that it gives.
pub fn bridge(bytes: &[u8]) {
    let Ok(bridge) = Bridge::parse(bytes, Path::new("b.json")) else { return };
    let _ = resolve(&snapshot(Ok(Config::empty()), Some(bridge)), &Selection::default());
}

/// `tokens.json`; what was read is written as something that reads the same.
pub fn token_file(bytes: &[u8]) {
    let Ok(read) = tokens::parse(bytes) else { return };
    let again = tokens::parse(tokens::to_value(&read).to_string().as_bytes());
    let Ok(again) = again else { panic!("what was written is not read") };
    // Past the last moment that can be written in every zone, the year 9999 is as good as any.
    let last = 253_402_207_200_000_000;
    assert!(again.expires_at_micros == read.expires_at_micros || read.expires_at_micros > last);
    assert_eq!(again.scope, read.scope);
}

/// A policy file.
pub fn policy(bytes: &[u8]) {
    let _ = policy_file::parse(bytes, Path::new("p.toml"));
}

/// The `X-Mp-*` fields of a request.
pub fn override_headers(bytes: &[u8]) {
    if let Ok(switch) = overrides::parse(&fields(bytes)) {
        assert!(switch.project.is_none_or(|id| id.as_str().bytes().all(|b| b.is_ascii_digit())));
    }
}

/// The fields of an outbound request and of an answer.
pub fn headers(bytes: &[u8]) {
    let Some(ready) = &*READY else { return };
    let mut request = fields(bytes);
    let signed = credential::lasting(&ready.session, Scheme::Session, &Env::new([("A", "")], "/"));
    let Ok(signed) = signed else { return };
    let policy = ClientAuthorization::Replace;
    if rewrite::request_headers(
        &mut request,
        http::Version::HTTP_11,
        &ready.session,
        Some(&signed),
        policy,
    )
    .is_ok()
    {
        assert_eq!(request.get_all("authorization").iter().count(), 1);
        assert_eq!(request.get("authorization"), Some(signed.value()));
        assert!(!request.keys().any(overrides::is_ours));
        assert!(!request.contains_key("connection") && !request.contains_key("te"));
    }
    let mut answer = fields(bytes);
    rewrite::response_headers(&mut answer, http::Version::HTTP_11);
    assert!(!answer.contains_key("set-cookie") && !answer.contains_key("connection"));
}

/// A request target.
pub fn paths(bytes: &[u8]) {
    let Ok(uri) = Uri::try_from(bytes) else { return };
    let (Ok(route), Some(ready)) = (route::find(uri.path()), &*READY) else { return };
    let Ok(out) = rewrite::path_and_query(&uri, route, ready, &Switch::default()) else { return };
    let given = uri.path_and_query().map_or("", |given| given.as_str());
    assert!(out.as_str().starts_with(given), "the caller's bytes were changed");
}

/// The query of an OAuth redirect.
pub fn callback(bytes: &[u8]) {
    if let Ok(query) = std::str::from_utf8(bytes) {
        let _ = redirect::read(query, &state());
    }
}

/// A pasted redirect.
pub fn paste(bytes: &[u8]) {
    if let Ok(line) = std::str::from_utf8(bytes) {
        let _ = redirect::read_paste(line, &state());
    }
}

/// `RateLimit`, `RateLimit-Policy` and `Retry-After` of an answer.
pub fn ratelimit(bytes: &[u8]) {
    const NOW: f64 = 1_767_225_600.0;
    let headers = fields(bytes);
    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let lesson = learn::lesson(status, &headers, NOW);
        // What the schedule relies on: no limit of nothing, no wait that is none or has no end.
        assert_ne!(lesson.limit, Some(0));
        assert_ne!(lesson.at_once, Some(0));
        assert!(lesson.retry_after.is_none_or(|wait| (0.0..=3600.0).contains(&wait)));
        assert!(lesson.reset.is_none_or(|reset| (0.0..=f64::from(u32::MAX)).contains(&reset)));
        assert!(!lesson.crowded || status == StatusCode::TOO_MANY_REQUESTS);
    }
}

/// The ledger that `mp` writes too.
pub fn ledger(bytes: &[u8]) {
    const NOW: f64 = 1_767_225_600.0;
    let mut ledger = Ledger::parse(bytes, 60, NOW);
    assert!(ledger.sent.is_sorted_by(|a, b| a <= b));
    assert!(ledger.sent.iter().all(|at| at.is_finite() && *at > 0.0));
    assert_ne!(ledger.learned(NOW), Some(0));
    let before = ledger.used(NOW);
    ledger.add(NOW + 1.0);
    assert_eq!(ledger.used(NOW), before + 1);
    assert!(ledger.remove(NOW + 1.0).is_some());
    assert_eq!(ledger.used(NOW), before);
    let written = serde_json::to_vec(&ledger).unwrap_or_default();
    let again = Ledger::parse(&written, 60, NOW);
    // A time may move by the last bit of its number; keys of others are kept as they are read.
    assert_eq!((again.limit, again.sent.len()), (ledger.limit, ledger.sent.len()));
    assert!(again.sent.iter().zip(&ledger.sent).all(|(a, b)| (a - b).abs() < 0.001));
}

/// The file of caller tokens: each entry has a token of its own, and no message shows one.
pub fn token_file_of_callers(bytes: &[u8]) {
    match callers::parse(bytes, Path::new("t")) {
        Ok(entries) => {
            assert!(!entries.is_empty());
            for (number, entry) in entries.iter().enumerate() {
                let same = |other: &callers::Entry| other.digest == entry.digest;
                assert!(!entries[..number].iter().any(same), "one token, two callers");
                assert!(!entry.caller.name.is_empty());
            }
        }
        Err(refusal) => assert!(refusal.message.starts_with("`t:"), "{refusal}"),
    }
}

/// A request head: its method, its target, and one field a line. Who is let in has shown what the
/// guard and the callers ask for.
pub fn guard_and_callers(bytes: &[u8]) {
    const TOKEN: &str = "0123456789abcdef";
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let (method, target) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(target)) else { return };
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = fields(lines.next().unwrap_or_default());
    let mut parts = request.into_parts().0;
    let listening = std::net::SocketAddr::from(([127, 0, 0, 1], 8787));
    let allowed = "proxy.internal".parse::<AllowedHost>().into_iter().collect();
    let hosts = Hosts::tcp(listening, Transport::Plain, allowed);
    match guard::admit(&parts, &hosts) {
        Ok(_) => {
            let values: Vec<_> = parts.headers.get_all(header::HOST).iter().collect();
            let [host] = values.as_slice() else { panic!("{} hosts", values.len()) };
            let host = String::from_utf8_lossy(host.as_bytes()).to_ascii_lowercase();
            let names = ["localhost:8787", "127.0.0.1:8787", "[::1]:8787"];
            let added = ["proxy.internal", "proxy.internal:8787"];
            assert!(names.iter().chain(&added).any(|name| *name == host), "{host}");
            for name in ["origin", "upgrade", "content_length", "access-control-request-method"] {
                assert!(!parts.headers.contains_key(name), "{name}");
            }
            assert!(guard::METHODS.split(", ").any(|method| parts.method == method));
        }
        Err(refusal) => assert!(refusal.hint.is_some(), "{refusal}"),
    }
    let Ok(callers) = Callers::new(None, Some(&SecretString::from(TOKEN)), None) else { return };
    if callers.identify(&mut parts.headers).is_ok() {
        let sent = fields(bytes.splitn(3, |byte| *byte == b'\n').nth(2).unwrap_or_default());
        let shown = |value: &HeaderValue| {
            let value = String::from_utf8_lossy(value.as_bytes());
            // As the password of Basic it is encoded, and cannot be told here.
            value.contains(TOKEN) || value.to_ascii_lowercase().starts_with("basic ")
        };
        assert!(sent.get(TOKEN_HEADER).or(sent.get(header::AUTHORIZATION)).is_some_and(shown));
        assert!(!parts.headers.contains_key(TOKEN_HEADER));
    }
}

/// What a path, a query and a body name: every reading of a path is whole.
pub fn mentions(bytes: &[u8]) {
    let mut named = Mentions::default();
    let _ = named.json(bytes, "body");
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = named.form(text, "query");
    if let Ok(readings) = spelling::readings(text) {
        for reading in readings {
            let _ = named.path(&reading);
        }
    }
    assert!(named.projects.iter().all(|id| id.as_str().bytes().all(|b| b.is_ascii_digit())));
}

/// An answer of `/me`, or its cache; what was read is written as something that reads the same.
pub fn me(bytes: &[u8]) {
    let Ok(read) = me_json::parse(bytes) else { return };
    let written = me_json::write(&read.me, Extras::Dropped, &serde_json::Map::new());
    let again = me_json::parse(written.as_slice());
    let Ok(again) = again else { panic!("what was written is not read") };
    assert_eq!(again.me.user_id, read.me.user_id);
    assert!(
        again.me.projects.iter().map(|one| &one.id).eq(read.me.projects.iter().map(|one| &one.id))
    );
    let workspaces = |me: &mp_proxy::model::me::Me| -> Vec<_> {
        me.workspaces.iter().map(|one| (one.id, one.project_id.clone())).collect()
    };
    assert_eq!(workspaces(&again.me), workspaces(&read.me));
}

fn state() -> oauth2::CsrfToken {
    oauth2::CsrfToken::new("state".to_owned())
}

/// One field a line, `name: value`.
fn fields(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(halves.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(halves.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

fn snapshot(
    config: Result<Config, mp_proxy::model::refusal::Refusal>,
    bridge: Option<Bridge>,
) -> Snapshot {
    let env = Arc::new(Env::new([("HOME", "/nowhere")], "/nowhere"));
    Snapshot { env, config, bridge: Ok(bridge), generation: 1, warnings: Vec::new() }
}

static READY: LazyLock<Option<ReadySession>> = LazyLock::new(ready);

fn ready() -> Option<ReadySession> {
    let text = b"[active]\naccount = \"a\"\nworkspace = 2\n[accounts.a]\ntype = \"oauth_token\"\n\
                 region = \"eu\"\ntoken = \"t\"\ndefault_project = \"1\"\n";
    let snapshot = snapshot(Config::parse(text, Path::new("c.toml")), None);
    let session = resolve(&snapshot, &Selection::default()).ok()?;
    // Nothing runs on it: the account has no login.
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let http = HttpClient::new(&snapshot.env, None);
    let resolvers = TokenResolvers::new(Arc::clone(&snapshot.env), http, runtime.handle().clone());
    Some(ReadySession::new(session, &snapshot.env, &resolvers))
}
