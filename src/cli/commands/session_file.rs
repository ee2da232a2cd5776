//! `mp-proxy session use`, and what `session show` says of the files alone: `--persisted` and
//! `--bridge`. Invariant: no secret; what `/me` said is read from the cache, never fetched.

use crate::{
    auth::resolve::Selection,
    cli::{
        args::{
            axes,
            session::{Show, Use},
        },
        output::{Answer, Notes},
    },
    model::refusal::Refusal,
    ops::{persisted::Persisted, session},
    store::snapshot::load_once,
    sys::env::Env,
};
use serde_json::{Map, json};
use std::process::ExitCode;

/// Runs `session use`.
#[must_use]
pub fn activate(args: &Use, env: &Env, notes: Notes) -> ExitCode {
    args.output.door(notes).finish(used(args, env))
}

fn used(args: &Use, env: &Env) -> Result<Answer, Refusal> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let change = Selection {
        account: given(&args.account),
        project: given(&args.project).map(|text| axes::project_field(&text)).transpose()?,
        workspace: given(&args.workspace).map(|text| axes::workspace_field(&text)).transpose()?,
        target: given(&args.target),
    };
    let active = session::update(env, &change)?;
    let none = || "(none)".to_owned();
    let text = format!(
        "Active account: {}\nActive workspace: {}",
        active.account.clone().unwrap_or_else(none),
        active.workspace.map_or_else(none, |id| id.to_string())
    );
    Answer::one(&active, text)
}

/// Runs `session show --persisted` and `session show --bridge`.
#[must_use]
pub fn show(args: &Show, env: &Env, notes: Notes) -> ExitCode {
    let shown = if args.bridge { bridge(env) } else { persisted(env) };
    args.output.door(notes).finish(shown)
}

fn persisted(env: &Env) -> Result<Answer, Refusal> {
    let persisted = Persisted::read(env)?;
    let text = persisted.to_string();
    Answer::one(&persisted, text)
}

fn bridge(env: &Env) -> Result<Answer, Refusal> {
    let snapshot = load_once(env);
    let Some(bridge) = snapshot.bridge.as_ref().map_err(Clone::clone)? else {
        return Answer::one(&json!({"bridge": null}), "There is no bridge file");
    };
    let headers: Map<_, _> = bridge
        .headers
        .iter()
        .map(|custom| {
            let value = String::from_utf8_lossy(custom.value.as_bytes()).into_owned();
            (custom.spelling.clone(), value.into())
        })
        .collect();
    let account = &bridge.account;
    let project = bridge.project.as_ref().map(|id| id.as_str());
    let workspace = bridge.workspace.map(|id| id.get());
    let mut text = format!(
        "Bridge:    {}\nAccount:   {} ({}, {})\nProject:   {}\nWorkspace: {}",
        bridge.path.display(),
        account.name,
        account.type_name(),
        account.region,
        project.unwrap_or("(not pinned)"),
        workspace.map_or_else(|| "(not pinned)".to_owned(), |id| id.to_string()),
    );
    for custom in &bridge.headers {
        text += &format!("\nHeader:    {}", custom.spelling);
    }
    let document = json!({"bridge": {
        "path": bridge.path,
        "version": 2,
        "account": {"name": account.name.as_str(), "type": account.type_name(), "region": account.region.as_str()},
        "project": project,
        "workspace": workspace,
        "headers": headers,
    }});
    Answer::one(&document, text)
}
