//! Every parser that reads outside bytes, as a function of bytes. `fuzz_targets/` throws random ones
//! at them, `tests/it/fuzz_corpus.rs` replays the kept corpus through the very same functions.
//! Invariant: none panics; what is accepted obeys the rules that the rest of the proxy relies on.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
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
        overrides,
        rewrite::{self, ClientAuthorization},
        route,
    },
    store::{bridge::Bridge, config::Config, policy_file, snapshot::Snapshot, tokens},
    sys::{env::Env, http::HttpClient},
};
use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

/// A target's name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 9] = [
    ("config", config),
    ("bridge", bridge),
    ("tokens", token_file),
    ("policy", policy),
    ("overrides", override_headers),
    ("rewrite", headers),
    ("route", paths),
    ("callback", callback),
    ("paste", paste),
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
    if rewrite::request_headers(&mut request, &ready.session, Some(&signed), policy).is_ok() {
        assert_eq!(request.get_all("authorization").iter().count(), 1);
        assert_eq!(request.get("authorization"), Some(signed.value()));
        assert!(!request.keys().any(overrides::is_ours));
        assert!(!request.contains_key("connection") && !request.contains_key("te"));
    }
    let mut answer = http::Response::new(());
    *answer.headers_mut() = fields(bytes);
    let answer = rewrite::response(answer).into_parts().0.headers;
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
