//! `mp-proxy target …`: arguments to an operation, its outcome to the door.

use crate::{
    cli::{
        args::{
            TargetCommand, axes,
            target::{Add, Remove},
        },
        output::{Answer, Column, Notes},
    },
    model::{id::Name, refusal::Refusal},
    ops::targets::{self, Target},
    sys::env::Env,
};
use serde_json::json;
use std::{
    io::{self, BufRead as _, Write as _},
    process::ExitCode,
};

const COLUMNS: [Column; 4] = [
    Column::shown("name", "NAME"),
    Column::shown("account", "ACCOUNT"),
    Column::shown("project", "PROJECT"),
    Column::shown("workspace", "WORKSPACE"),
];

/// Runs the command.
#[must_use]
pub fn target(command: &TargetCommand, env: &Env, notes: Notes) -> ExitCode {
    let (output, outcome) = match command {
        TargetCommand::List(args) => (args.output, list(env)),
        TargetCommand::Add(args) => (args.output, add(args, env)),
        TargetCommand::Remove(args) => (args.output, remove(args, env)),
        TargetCommand::Use(args) => (args.output, activate(&args.name, env)),
        TargetCommand::Show(args) => (args.output, show(&args.name, env)),
    };
    output.door(notes).finish(outcome)
}

fn list(env: &Env) -> Result<Answer, Refusal> {
    Answer::records(&targets::list(env)?, &COLUMNS, "(no targets configured)")
}

fn add(args: &Add, env: &Env) -> Result<Answer, Refusal> {
    let name = Name::parse(&args.name).map_err(|rule| {
        Refusal::config(format!("the target's name is {:?}, it {rule}", args.name))
            .hint("choose another NAME")
    })?;
    let project = axes::project_field(&args.project)?;
    let workspace = args.workspace.as_deref().map(axes::workspace_field).transpose()?;
    let target = targets::add(env, &name, &args.account, &project, workspace)?;
    Answer::one(&target, format!("Added target: {}", target.name))
}

fn remove(args: &Remove, env: &Env) -> Result<Answer, Refusal> {
    let name = &args.name;
    if !args.yes && !confirmed(name)? {
        return Answer::one(
            &json!({"name": name, "removed": false}),
            format!("Kept target: {name}"),
        );
    }
    targets::remove(env, name)?;
    Answer::one(&json!({"name": name, "removed": true}), format!("Removed target: {name}"))
}

/// Asks on stderr, and takes an answer by pipe too.
fn confirmed(name: &str) -> Result<bool, Refusal> {
    let mut err = io::stderr().lock();
    loop {
        // A closed stderr asks nobody; the answer may come all the same.
        let _ = write!(err, "Remove target '{name}'? [y/N]: ").and_then(|()| err.flush());
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        if !read.is_ok_and(|bytes| bytes > 0) {
            let _ = writeln!(err);
            return Err(Refusal::config(format!("nobody confirmed to remove target `{name}`"))
                .hint(format!("run: mp-proxy target remove {name} --yes")));
        }
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "" | "n" | "no" => return Ok(false),
            _ => {}
        }
    }
}

fn activate(name: &str, env: &Env) -> Result<Answer, Refusal> {
    let target = targets::activate(env, name)?;
    Answer::one(&target, format!("Active target: {name}"))
}

fn show(name: &str, env: &Env) -> Result<Answer, Refusal> {
    let target = targets::show(env, name)?;
    let text = for_people(&target);
    Answer::one(&target, text)
}

fn for_people(target: &Target) -> String {
    let workspace = target.workspace.map_or_else(|| "-".to_owned(), |id| id.to_string());
    format!(
        "name:      {}\naccount:   {}\nproject:   {}\nworkspace: {workspace}",
        target.name, target.account, target.project
    )
}
