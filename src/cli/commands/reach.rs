//! `mp-proxy account test`, `project list`, `workspace list`: what `/me` says of a credential.

use crate::{
    auth::me::Freshness,
    cli::{
        args::{
            Axes, axes,
            reach::{ListProjects, ListWorkspaces, Test},
        },
        output::{Answer, Column, Notes},
        terminal::Wait,
    },
    model::refusal::Refusal,
    ops::{accounts::AccountTestResult, reach},
    sys::env::Env,
};
use std::process::ExitCode;

const PROJECTS: [Column; 5] = [
    Column::shown("id", "ID"),
    Column::shown("name", "NAME"),
    Column::shown("organization_id", "ORG"),
    Column::hidden("timezone"),
    Column::shown("is_active", "ACTIVE"),
];
const WORKSPACES: [Column; 3] = [
    Column::shown("id", "ID"),
    Column::shown("name", "NAME"),
    Column::shown("is_default", "DEFAULT"),
];

const ASKING: &str = "asking Mixpanel what this account reaches";

/// Runs `account test`: 0 if the credential is accepted, 2 if it is not (quirk M12).
#[must_use]
pub fn test(args: &Test, outer: Axes, env: &Env, notes: Notes) -> ExitCode {
    let chosen = Axes::default().or(outer, env).selection();
    let waiting = Wait::with(args.output.door(notes).notes(), ASKING);
    let result = match &chosen {
        Ok(chosen) => reach::test(env, args.name.as_deref(), chosen),
        Err(refusal) => {
            AccountTestResult::failed(args.name.as_deref().unwrap_or("(none)"), refusal)
        }
    };
    drop(waiting);
    let code = args.output.door(notes).finish(Answer::one(&result, for_people(&result)));
    match (code == ExitCode::SUCCESS, result.is_ok()) {
        (true, false) => ExitCode::from(2),
        _ => code,
    }
}

/// Runs `project list`.
#[must_use]
pub fn projects(args: &ListProjects, outer: Axes, env: &Env, notes: Notes) -> ExitCode {
    let listed = || {
        let chosen = Axes::default().or(outer, env).selection()?;
        let _waiting = Wait::with(args.output.door(notes).notes(), ASKING);
        let all = reach::projects(env, &chosen, freshness(args.refresh))?;
        Answer::records(&all, &PROJECTS, "(no projects accessible via /me)")
    };
    args.output.door(notes).finish(listed())
}

/// Runs `workspace list`.
#[must_use]
pub fn workspaces(args: &ListWorkspaces, outer: Axes, env: &Env, notes: Notes) -> ExitCode {
    let listed = || -> Result<Answer, Refusal> {
        let mut chosen = Axes::default().or(outer, env).selection()?;
        if let Some(text) = &args.project {
            chosen.project = Some(axes::project("--project", text)?);
        }
        let _waiting = Wait::with(args.output.door(notes).notes(), ASKING);
        let all = reach::workspaces(env, &chosen, freshness(args.refresh))?;
        Answer::records(&all, &WORKSPACES, "(no workspaces accessible via /me)")
    };
    args.output.door(notes).finish(listed())
}

const fn freshness(refresh: bool) -> Freshness {
    if refresh { Freshness::Asked } else { Freshness::Cached }
}

fn for_people(result: &AccountTestResult) -> String {
    let name = result.account_name();
    let hint = result.hint().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
    match (result.error(), result.user()) {
        (Some(error), _) => format!("Account '{name}' does not work: {error}{hint}"),
        (None, Some(user)) => format!("Account '{name}' works: {}", user.email),
        (None, None) => format!("Account '{name}' works"),
    }
}
