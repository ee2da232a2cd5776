//! The state of the proxy in one document, for the page and for programs. Called by `inspector`.
//! Invariant: no secret, no request; reads files, dials nobody.

use crate::{
    auth::{describe::session_json, resolve::resolve},
    model::{
        account::{Account, Credential, TokenSource},
        refusal::Refusal,
    },
    proxy::{
        health,
        observe::{gauges::Quota, labels::MOST},
        pace::{self, lane::Lane},
        shared::Proxy,
    },
    store::{snapshot::Snapshot, tokens},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Who a request would be sent as and why, accounts, targets, traffic.
#[must_use]
pub fn overview(proxy: &Proxy) -> Value {
    let snapshot = proxy.snapshot();
    let observer = proxy.observer();
    observer.files(&snapshot);
    let totals = observer.totals();
    let (session, failure) = match resolve(&snapshot, proxy.base()) {
        Ok(session) => (session_json(&session), Value::Null),
        Err(refusal) => (Value::Null, problem(&refusal)),
    };
    let policy = proxy.governance.policy.current();
    let asked = totals.counts.requests.iter().filter(|(key, _)| key.route != "/_mp");
    let quotas = quotas(proxy);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": observer.since.elapsed().as_secs(),
        "ready": health::ready(proxy).is_ok(),
        "generation": snapshot.generation,
        "token_required": proxy.callers.are_asked(),
        "session": session,
        "problem": failure,
        "warnings": snapshot.warnings,
        "accounts": accounts(&snapshot),
        "targets": targets(&snapshot),
        "policy": {
            "generation": policy.generation,
            "stale": policy.stale.as_ref().map(problem),
        },
        "quotas": quotas.iter().map(|quota| json!({
            "project": quota.project, "api": quota.api, "left": quota.left, "limit": quota.limit,
        })).collect::<Vec<_>>(),
        "requests": asked.map(|(_, count)| count).sum::<u64>(),
        "refused": totals.counts.refusals.values().sum::<u64>(),
        "in_flight": totals.in_flight,
        "connections": {
            "opened": totals.pool.iter().map(|counts| counts.opened).sum::<u64>(),
            "reused": totals.pool.iter().map(|counts| counts.reused).sum::<u64>(),
            "idle": totals.pool.iter().map(|counts| counts.idle).sum::<usize>(),
        },
    })
}

/// What is left of each budget that was drawn on, the first [`MOST`] projects.
#[must_use]
pub fn quotas(proxy: &Proxy) -> Vec<Quota> {
    let now = pace::now();
    let lanes = proxy.governance.pacer.lanes(MOST);
    let quota = |lane: &Arc<Lane>| {
        let left = lane.left(now);
        Quota {
            project: lane.project.clone(),
            api: lane.budget.family.as_str(),
            left: left.remaining.into(),
            limit: left.limit.into(),
        }
    };
    lanes.iter().map(quota).collect()
}

/// When each browser login of the config expires, in seconds since the epoch.
#[must_use]
pub fn token_expiry(snapshot: &Snapshot) -> Vec<(String, f64)> {
    let Ok(config) = &snapshot.config else { return Vec::new() };
    let expiry = |name: &str| {
        let account = config.account(name).ok()?;
        let at = expires_at(snapshot, &account)?;
        Some((name.to_owned(), at as f64))
    };
    config.account_names().into_iter().filter_map(expiry).collect()
}

fn problem(refusal: &Refusal) -> Value {
    json!({
        "code": refusal.code.as_str(),
        "detail": refusal.message,
        "hint": refusal.hint,
    })
}

fn accounts(snapshot: &Snapshot) -> Vec<Value> {
    let Ok(config) = &snapshot.config else { return Vec::new() };
    let one = |name: &str| match config.account(name) {
        Ok(account) => json!({
            "name": name,
            "type": account.type_name(),
            "region": account.region.as_str(),
            "default_project": account.default_project.as_ref().map(|id| id.as_str()),
            "active": config.is_active(name),
            "credential": credential(&account),
            "expires_at": expires_at(snapshot, &account),
        }),
        Err(refusal) => json!({"name": name, "problem": problem(&refusal)}),
    };
    config.account_names().into_iter().map(one).collect()
}

/// What proves the account, without the proof.
fn credential(account: &Account) -> String {
    match &account.credential {
        Credential::ServiceAccount { .. } => "secret in the config".to_owned(),
        Credential::OauthBrowser => "browser login".to_owned(),
        Credential::OauthToken(TokenSource::Inline(_)) => "token in the config".to_owned(),
        Credential::OauthToken(TokenSource::Env(name)) => format!("token in ${name}"),
    }
}

fn expires_at(snapshot: &Snapshot, account: &Account) -> Option<i64> {
    matches!(account.credential, Credential::OauthBrowser).then_some(())?;
    let tokens = tokens::load(&snapshot.env, &account.name).ok()??;
    Some(tokens.expires_at_micros / 1_000_000)
}

fn targets(snapshot: &Snapshot) -> Vec<Value> {
    let Ok(config) = &snapshot.config else { return Vec::new() };
    let one = |name: &str| match config.target(name) {
        Ok(target) => json!({
            "name": name,
            "account": target.account.as_str(),
            "project": target.project.as_str(),
            "workspace": target.workspace.map(|id| id.get()),
        }),
        Err(refusal) => json!({"name": name, "problem": problem(&refusal)}),
    };
    config.target_names().into_iter().map(one).collect()
}
