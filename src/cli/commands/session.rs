//! `mp-proxy session show`: what a request would be sent as, and why.

use crate::{
    auth::{credential::Scheme, describe::session_json, once, resolve::resolve},
    cli::{
        args::Show,
        error::{Form, report},
        output::Notes,
    },
    model::{refusal::Refusal, session::Session},
    store::snapshot::SnapshotStore,
    sys::env::Env,
};
use serde_json::{Value, json};
use std::{fmt::Write as _, process::ExitCode, sync::Arc};

/// Runs the command.
#[must_use]
pub fn show(args: Show, env: Arc<Env>) -> ExitCode {
    let form = args.output.door(Notes::Show).form();
    let secrets = args.show_secrets;
    let session = args.axes.selection().and_then(|chosen| {
        let snapshot = SnapshotStore::new(Arc::clone(&env)).current();
        resolve(&snapshot, &chosen)
    });
    let session = match session {
        Ok(session) => session,
        Err(refusal) => return report(&refusal, form),
    };
    let authorization =
        secrets.then(|| once::authorize(&session, Scheme::Session, &env)).transpose();
    let mut document = session_json(&session);
    if let Ok(Some(value)) = &authorization {
        document["authorization"] = json!(String::from_utf8_lossy(value.value().as_bytes()));
    }
    let text = if form == Form::Json {
        format!("{document:#}\n")
    } else {
        for_people(&session, &document)
    };
    if crate::cli::commands::print(&text).is_err() {
        return ExitCode::FAILURE;
    }
    match authorization {
        Ok(_) => ExitCode::SUCCESS,
        Err(refusal) => report(&Refusal { ..refusal }, form),
    }
}

fn for_people(session: &Session, document: &Value) -> String {
    let mut out = String::new();
    let account = &session.account;
    let mut row = |name: &str, value: &str, source: &str| {
        let _ = writeln!(out, "{name:<10} {value:<40} {source}");
    };
    let who = format!("{} ({}, {})", account.name, account.type_name(), account.region);
    row("account", &who, &session.sources.account);
    row("project", session.project.as_str(), &session.sources.project);
    let workspace = session.workspace.map_or_else(|| "none".to_owned(), |id| id.to_string());
    row("workspace", &workspace, session.sources.workspace.as_deref().unwrap_or("-"));
    for header in session.headers.iter() {
        row(
            "header",
            &format!("{}: {}", header.spelling, String::from_utf8_lossy(header.value.as_bytes())),
            "",
        );
    }
    if let Some(value) = document["authorization"].as_str() {
        row("authorization", value, "");
    }
    for warning in &session.warnings {
        row("warning", warning, "");
    }
    out
}
