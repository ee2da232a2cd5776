//! `mp-proxy account list|update|remove|use|show|logout|token`: arguments to an operation, its
//! outcome to the door. `add` and the bridge have files of their own.

use crate::{
    auth::first_run,
    cli::{
        args::{
            account::{List, Maybe, Named, Remove, Update},
            axes,
        },
        output::{Answer, Column, Notes},
        secret,
    },
    model::{
        account::TokenSource,
        refusal::{Code, Refusal},
        region::Region,
    },
    ops::accounts::{self, AccountSummary, Change, Force, Purge},
    sys::env::Env,
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::process::ExitCode;

const COLUMNS: [Column; 9] = [
    Column::shown("name", "NAME"),
    Column::shown("type", "TYPE"),
    Column::shown("region", "REGION"),
    Column::shown("is_active", "ACTIVE"),
    Column::shown("status", "STATUS"),
    Column::shown("project_id", "PROJECT"),
    Column::shown("referenced_by_targets", "TARGETS"),
    Column::hidden("user_email"),
    Column::hidden("project_name"),
];

/// Runs `account list`.
#[must_use]
pub fn list(args: &List, env: &Env, notes: Notes) -> ExitCode {
    let listed = accounts::list(env).and_then(|all| {
        let answer = Answer::records(&all, &COLUMNS, "(no accounts configured)")?;
        Ok(if all.is_empty() { answer.note(first_run::text()) } else { answer })
    });
    args.output.door(notes).finish(listed)
}

/// Runs `account show`.
#[must_use]
pub fn show(args: &Maybe, env: &Env, notes: Notes) -> ExitCode {
    let shown = accounts::show(env, args.name.as_deref())
        .and_then(|summary| Answer::one_row(&summary, &COLUMNS));
    args.output.door(notes).finish(shown)
}

/// Runs `account update`.
#[must_use]
pub fn update(args: &Update, env: &Env, notes: Notes) -> ExitCode {
    args.output.door(notes).finish(updated(args, env))
}

fn updated(args: &Update, env: &Env) -> Result<Answer, Refusal> {
    let name = &args.name;
    let region = args.region.as_deref().map(region).transpose()?;
    let credential = &args.credential;
    credential.check()?;
    let command = |flag: &str| format!("mp-proxy account update {name} {flag}");
    let secret = credential
        .secret_stdin
        .then(|| secret::from_stdin("secret", &command("--secret-stdin")))
        .transpose()?;
    let token = match &credential.token_env {
        Some(variable) => Some(TokenSource::Env(variable.clone())),
        None if credential.token_stdin => {
            Some(TokenSource::Inline(secret::from_stdin("token", &command("--token-stdin"))?))
        }
        None => None,
    };
    let default_project = args.project.as_deref().map(axes::project_field).transpose()?;
    let change =
        Change { region, default_project, username: credential.username.clone(), secret, token };
    let mut changed = Vec::new();
    if let Some(region) = change.region {
        changed.push(format!("region {region}"));
    }
    if let Some(project) = &change.default_project {
        changed.push(format!("project {project}"));
    }
    changed.extend(change.username.is_some().then(|| "user name".to_owned()));
    changed.extend(change.secret.is_some().then(|| "secret".to_owned()));
    match &change.token {
        Some(TokenSource::Env(variable)) => changed.push(format!("token from {variable}")),
        Some(TokenSource::Inline(_)) => changed.push("token".to_owned()),
        None => {}
    }
    let summary = accounts::update(env, name, &change)?;
    let what = if changed.is_empty() { "nothing to change".into() } else { changed.join(", ") };
    Answer::one(&summary, format!("Updated account '{name}': {what}"))
}

/// Runs `account remove`.
#[must_use]
pub fn remove(args: &Remove, env: &Env, notes: Notes) -> ExitCode {
    let force = if args.force { Force::Yes } else { Force::No };
    let purge = if args.purge { Purge::Yes } else { Purge::No };
    let removed = accounts::remove(env, &args.name, force, purge).and_then(|removed| {
        let mut text = format!("Removed account '{}'", removed.name);
        if !removed.orphaned_targets.is_empty() {
            text += &format!("\nTargets without an account now: {}", removed.orphaned_targets.join(", "));
        }
        let answer = Answer::one(&removed, text)?;
        Ok(if removed.tokens_kept {
            answer.note(format!(
                "note: its tokens are on this machine still; --purge removes them with the account ({})",
                env.storage_root().unwrap_or_default().join("accounts").join(&removed.name).display()
            ))
        } else {
            answer
        })
    });
    args.output.door(notes).finish(removed)
}

/// Runs `account use`.
#[must_use]
pub fn activate(args: &Named, env: &Env, notes: Notes) -> ExitCode {
    let name = &args.name;
    let used = accounts::activate(env, name).and_then(|()| {
        Answer::one(&json!({"account": name, "workspace": null}), format!("Active account: {name}"))
    });
    args.output.door(notes).finish(used)
}

/// Runs `account logout`.
#[must_use]
pub fn logout(args: &Named, env: &Env, notes: Notes) -> ExitCode {
    let name = &args.name;
    let done = accounts::logout(env, name).and_then(|removed| {
        let text = if removed {
            format!("Removed the tokens of '{name}'")
        } else {
            format!("There are no tokens of '{name}' to remove")
        };
        Answer::one(&json!({"account": name, "removed": removed}), text)
    });
    args.output.door(notes).finish(done)
}

/// Runs `account token`. The token is the data here: it goes to stdout, on one line (quirk M3).
#[must_use]
pub fn token(args: &Maybe, env: &Env, notes: Notes) -> ExitCode {
    let found = accounts::token(env, args.name.as_deref()).and_then(|token| {
        let token = token.as_ref().map(|token| token.expose_secret());
        Answer::one(&json!({"token": token}), token.unwrap_or("N/A"))
    });
    args.output.door(notes).finish(found)
}

/// A region from the command line.
pub(super) fn region(text: &str) -> Result<Region, Refusal> {
    text.parse().map_err(|rule| {
        Refusal::new(Code::InvalidArgument, format!("`--region` is {text:?}, {rule}"))
            .hint("pass --region us, --region eu or --region in")
    })
}

/// How an account is told of in one line.
pub(super) fn line(summary: &AccountSummary) -> String {
    format!("'{}' ({}, {})", summary.name, summary.kind, summary.region)
}
