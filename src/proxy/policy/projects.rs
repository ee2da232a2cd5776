//! Project rules: every project that a request may act on has to be allowed. Called by `policy`.
//! Invariant: a request that cannot be tied to allowed projects is refused, unless the rules
//! say otherwise.

use super::{
    Subject, denied, forbidden,
    mentions::Mentions,
    spelling::{Segments, fold},
};
use crate::{
    auth::credential::Scheme,
    model::{
        id::{ProjectId, WorkspaceId},
        origin::Family,
        policy::{Rules, Unchecked},
        refusal::Refusal,
    },
    proxy::{overrides, rewrite, route::Inject},
};

/// Checks path, query and session.
///
/// # Errors
/// `POLICY_DENIED` for a project that is not allowed, not written plainly, or not known.
pub fn check(rules: &Rules, subject: &Subject<'_>, readings: &[Segments]) -> Result<(), Refusal> {
    let mut named = Mentions::default();
    for segments in readings {
        named.path(segments)?;
    }
    for (name, value) in subject.headers {
        if !overrides::is_ours(name) {
            named.header(name.as_str(), value.as_bytes())?;
        }
    }
    let query = subject.uri.query();
    named.form(query.unwrap_or_default(), "query")?;
    let injected = subject.route.inject != Inject::Nothing && !rewrite::names_project(query);
    if injected || named.own_project {
        named.projects.push(subject.session.project.clone());
    }
    ids(rules, subject, &named)?;
    let by_token = named.by_token.is_some()
        || (subject.route.family == Family::Ingestion && subject.route.scheme.is_none());
    if by_token {
        token(rules, subject)?;
    }
    // Where nothing is appended to the query, nobody knows that it is heard: the path decides.
    let by_query = subject.route.inject != Inject::Nothing;
    let token_is_heard =
        subject.route.family == Family::Ingestion || subject.route.scheme == Some(Scheme::Bearer);
    let scoped = by_query || (by_token && token_is_heard) || readings.iter().all(is_of_a_project);
    if !scoped && !harmless(readings) && rules.unscoped == Unchecked::Refuse {
        return Err(denied(format!(
            "`{}` names no project, so project rules cannot judge it ({})",
            subject.uri.path(),
            rules.source
        ))
        .hint(
            "use a path with /projects/ID/, or set `unscoped = \"pass\"` in `[proxy.projects]`",
        ));
    }
    Ok(())
}

/// Checks a request that names its project by a token.
///
/// # Errors
/// `POLICY_DENIED`, unless the rules let such requests pass.
pub fn token(rules: &Rules, subject: &Subject<'_>) -> Result<(), Refusal> {
    if rules.by_token == Unchecked::Pass {
        return Ok(());
    }
    Err(denied(format!(
        "`{}` names its project by a token, which project rules cannot judge ({})",
        subject.uri.path(),
        rules.source
    ))
    .hint("use an operation that takes `project_id`, or set `by_token = \"pass\"` in `[proxy.projects]`"))
}

/// Checks ids wherever they were found.
///
/// # Errors
/// `POLICY_DENIED` for the first that is not allowed.
pub fn ids(rules: &Rules, subject: &Subject<'_>, named: &Mentions) -> Result<(), Refusal> {
    for project in &named.projects {
        // `0123` from a config would be the project 123 to Mixpanel.
        let plain = !project.as_str().starts_with('0');
        if !plain || !rules.projects.allows(|one| one == project) {
            return Err(forbidden("project", project.as_str(), "projects", rules));
        }
    }
    for workspace in named.workspaces.iter().chain(&subject.wanted.workspace) {
        if !known(rules, subject, *workspace) {
            return Err(denied(format!(
                "workspace `{workspace}` is not known to belong to an allowed project ({})",
                rules.source
            ))
            .hint("add it to `workspaces` in `[proxy.projects]`, or leave the workspace out"));
        }
    }
    Ok(())
}

/// Whether somebody other than the caller says which project the workspace belongs to.
fn known(rules: &Rules, subject: &Subject<'_>, workspace: WorkspaceId) -> bool {
    let allowed = |project: &ProjectId| rules.projects.allows(|one| one == project);
    let session = subject.session;
    let own = subject.wanted.workspace.is_none()
        && subject.wanted.project.is_none()
        && session.workspace == Some(workspace)
        && allowed(&session.project);
    let targets = || {
        subject.snapshot.config.as_ref().is_ok_and(|config| {
            config.target_names().into_iter().any(|name| {
                config.target(name).is_ok_and(|target| {
                    target.workspace == Some(workspace) && allowed(&target.project)
                })
            })
        })
    };
    own || rules.workspaces.contains(&workspace) || targets()
}

/// `/api/app/projects/ID/…` and `/api/app/workspaces/ID/…`; the id was judged.
fn is_of_a_project(segments: &Segments) -> bool {
    match segments.as_slice() {
        [api, app, axis, id, ..] => {
            api == "api"
                && app == "app"
                && ["projects", "workspaces"].contains(&fold(axis).as_str())
                && (id == "~" || id.bytes().all(|byte| byte.is_ascii_digit()))
        }
        _ => false,
    }
}

/// Who am I, and what the MCP server says of itself: no data of any project.
fn harmless(readings: &[Segments]) -> bool {
    readings.iter().all(|segments| {
        let words: Vec<_> = segments.iter().map(String::as_str).collect();
        matches!(words.as_slice(), ["api", "app", "me"] | [".well-known", ..])
    })
}
