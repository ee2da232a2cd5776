//! `mp-proxy account export-bridge|remove-bridge`: arguments to an operation, its outcome to the
//! door.

use crate::{
    cli::{
        args::{
            account::{ExportBridge, RemoveBridge},
            axes,
        },
        output::{Answer, Notes},
    },
    model::refusal::Refusal,
    ops::bridge,
    sys::env::Env,
};
use std::process::ExitCode;

/// Runs `account export-bridge`. A bad argument is one, not a broken bridge (quirk M13).
#[must_use]
pub fn export(args: &ExportBridge, env: &Env, notes: Notes) -> ExitCode {
    args.output.door(notes).finish(exported(args, env))
}

fn exported(args: &ExportBridge, env: &Env) -> Result<Answer, Refusal> {
    let project = args.project.as_deref();
    let workspace = args.workspace.as_deref();
    let export = bridge::Export {
        account: args.account.as_deref(),
        to: &args.to,
        project: project.map(|text| axes::project("--project", text)).transpose()?,
        workspace: workspace.map(|text| axes::workspace("--workspace", text)).transpose()?,
    };
    let done = bridge::export(env, &export)?;
    let text =
        format!("Wrote account '{}' with its secrets to {}", done.account, done.path.display());
    Answer::one(&done, text)
}

/// Runs `account remove-bridge`; that there is none is no error.
#[must_use]
pub fn remove(args: &RemoveBridge, env: &Env, notes: Notes) -> ExitCode {
    let done = bridge::remove(env, args.at.as_deref()).and_then(|done| {
        let path = done.path.as_deref().unwrap_or(std::path::Path::new("")).display();
        let text = if done.removed {
            format!("Removed bridge file {path}")
        } else {
            "There is no bridge file to remove".to_owned()
        };
        Answer::one(&done, text)
    });
    args.output.door(notes).finish(done)
}
