//! `mp-proxy project use|show` and `mp-proxy workspace use|show`: the persisted axes one by one.
//! `list` asks `/me` and stands in `reach`.

use super::reach;
use crate::{
    auth::resolve::Selection,
    cli::{
        args::{Axes, ProjectCommand, WorkspaceCommand, axes},
        output::{Answer, Notes},
    },
    model::refusal::Refusal,
    ops::session,
    sys::env::Env,
};
use serde_json::json;
use std::process::ExitCode;

/// Runs `project …`.
#[must_use]
pub fn project(command: &ProjectCommand, outer: Axes, env: &Env, notes: Notes) -> ExitCode {
    let (output, outcome) = match command {
        ProjectCommand::List(args) => return reach::projects(args, outer, env, notes),
        ProjectCommand::Use(args) => (args.output, use_project(&args.id, env)),
        ProjectCommand::Show(args) => (args.output, show_project(env)),
    };
    output.door(notes).finish(outcome)
}

/// Runs `workspace …`.
#[must_use]
pub fn workspace(command: &WorkspaceCommand, outer: Axes, env: &Env, notes: Notes) -> ExitCode {
    let (output, outcome) = match command {
        WorkspaceCommand::List(args) => return reach::workspaces(args, outer, env, notes),
        WorkspaceCommand::Use(args) => (args.output, use_workspace(&args.id, env)),
        WorkspaceCommand::Show(args) => (args.output, show_workspace(env)),
    };
    output.door(notes).finish(outcome)
}

fn use_project(text: &str, env: &Env) -> Result<Answer, Refusal> {
    if session::show(env)?.account.is_none() {
        return Err(session::no_account_for_project());
    }
    let project = axes::project_field(text)?;
    let change = Selection { project: Some(project), ..Selection::default() };
    let account = session::update(env, &change)?.account;
    let text = format!("Project of account '{}': {text}", account.as_deref().unwrap_or_default());
    Answer::one(
        &json!({"account": account, "project": change.project.as_ref().map(|id| id.as_str())}),
        text,
    )
}

fn show_project(env: &Env) -> Result<Answer, Refusal> {
    let account = session::active_account(env)?;
    let project = account.as_ref().and_then(|account| account.project_id.as_deref());
    let document =
        json!({"account": account.as_ref().map(|account| &account.name), "project": project});
    Answer::one(&document, project.unwrap_or("(no active project)"))
}

fn use_workspace(text: &str, env: &Env) -> Result<Answer, Refusal> {
    let workspace = axes::workspace_field(text)?;
    let change = Selection { workspace: Some(workspace), ..Selection::default() };
    let active = session::update(env, &change)?;
    Answer::one(&active, format!("Active workspace: {workspace}"))
}

fn show_workspace(env: &Env) -> Result<Answer, Refusal> {
    let active = session::show(env)?;
    let text = active.workspace.map_or_else(
        || {
            "(none: a request is sent without one, and auto-resolved where its path has a `~`)"
                .to_owned()
        },
        |workspace| workspace.to_string(),
    );
    Answer::one(&active, text)
}
