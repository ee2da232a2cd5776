//! What the pure steps of the corridor cost a request, in time and in allocations:
//! `cargo bench --bench steps`.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Uri, header};
use mp_proxy::{
    auth::{
        credential::Scheme,
        ready::ReadySession,
        resolve::{Selection, resolve},
        switch::{Switch, switch},
        token_resolver::TokenResolvers,
    },
    proxy::{
        overrides,
        rewrite::{self, ClientAuthorization},
        route,
    },
    store::snapshot::{Snapshot, load_once},
    sys::{env::Env, http::HttpClient},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{
    alloc::System, fmt::Write as _, fs, hint::black_box, os::unix::fs::PermissionsExt as _,
    sync::Arc,
};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A snapshot of a config with so many accounts and targets.
fn snapshot(accounts: usize) -> Arc<Snapshot> {
    let home = tempfile::tempdir().unwrap();
    let mut text = String::from("[active]\naccount = \"a0\"\n");
    for number in 0..accounts {
        write!(
            text,
            "[accounts.a{number}]\ntype = \"service_account\"\nregion = \"us\"\nusername = \"u\"\nsecret = \"s\"\n\
             default_project = \"{number}\"\n[targets.t{number}]\naccount = \"a{number}\"\nproject = \"1\"\nworkspace = 7\n"
        )
        .unwrap();
    }
    fs::create_dir(home.path().join(".mp")).unwrap();
    let path = home.path().join(".mp/config.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    load_once(&Env::new([("HOME", home.path().to_str().unwrap())], home.path()))
}

/// What curl and most HTTP libraries send.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8787"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("python-requests/2.32"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    headers
}

/// Times a step, and says how often it allocates.
fn step(criterion: &mut Criterion, name: &str, mut run: impl FnMut()) {
    run();
    let region = Region::new(GLOBAL);
    for _ in 0..1000 {
        run();
    }
    println!("{name}: {:.1} allocations", region.change().allocations as f64 / 1000.0);
    criterion.bench_function(name, |bench| bench.iter(&mut run));
}

fn steps(criterion: &mut Criterion) {
    for accounts in [1, 1000] {
        let snapshot = snapshot(accounts);
        let base = Selection::default();
        step(criterion, &format!("resolve, {accounts} accounts"), || {
            black_box(resolve(&snapshot, &base).unwrap());
        });
        let wanted = Switch { target: Some(format!("t{}", accounts - 1)), ..Switch::default() };
        step(criterion, &format!("switch to a target, {accounts} accounts"), || {
            black_box(switch(&snapshot, &base, &wanted).unwrap());
        });
    }
    let snapshot = snapshot(1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let http = HttpClient::new(&snapshot.env, None);
    let tokens = TokenResolvers::new(Arc::clone(&snapshot.env), http, runtime.handle().clone());
    let session = resolve(&snapshot, &Selection::default()).unwrap();
    let ready = ReadySession::new(session, &snapshot.env, &tokens);
    let plain = headers();
    let mut switched = headers();
    switched.insert("x-mp-project", HeaderValue::from_static("123"));
    step(criterion, "overrides, none", || {
        black_box(plain.keys().any(overrides::is_ours));
    });
    step(criterion, "overrides, one", || {
        black_box(overrides::parse(&switched).unwrap());
    });
    let uri: Uri = "/api/query/segmentation?event=Login&from_date=2026-01-01&to_date=2026-01-31"
        .parse()
        .unwrap();
    step(criterion, "route", || {
        black_box(route::find(uri.path()).unwrap());
    });
    let found = route::find(uri.path()).unwrap();
    step(criterion, "path and query", || {
        black_box(rewrite::path_and_query(&uri, found, &ready, &Switch::default()).unwrap());
    });
    let authorization = runtime.block_on(ready.authorization(Scheme::Session)).unwrap();
    step(criterion, "headers (their copy included)", || {
        let mut headers = plain.clone();
        let policy = ClientAuthorization::Replace;
        rewrite::request_headers(
            &mut headers,
            http::Version::HTTP_11,
            &ready.session,
            Some(&authorization),
            policy,
        )
        .unwrap();
        black_box(headers);
    });
}

criterion_group!(benches, steps);
criterion_main!(benches);
