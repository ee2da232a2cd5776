//! Project rules and request bodies: what is looked into, and what is refused unseen.
//! Called by `policy` for the decision and by `handler` with the bytes.
//! Invariant: a body is never changed; what was looked into is sent byte for byte.

use super::{
    Subject, denied,
    mentions::{Json, Mentions},
    projects,
};
use crate::{
    model::{
        policy::{Bodies, Rules},
        refusal::Refusal,
    },
    proxy::{body::RequestBody, error::broken_upload, route::Route},
};
use http::header;
use http_body::Body as _;

/// The largest body that is looked into.
pub const LIMIT: usize = 1024 * 1024;

/// What happens to a body before it is sent, least strict first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// Nothing.
    Not,
    /// It is looked into if that is possible.
    IfPossible,
    /// It is looked into, or refused.
    Must,
}

/// What the rules want for bodies on this route.
#[must_use]
pub fn look(bodies: Bodies, route: &Route) -> Look {
    // Bulk data: the project is the one of the query, and a body may be any size.
    if ["/import", "/lookup-tables"].contains(&route.prefix) {
        return Look::Not;
    }
    match bodies {
        Bodies::Strict => Look::Must,
        // Pipelines take `project_id` from the form, MCP tools from the call.
        Bodies::Inspect if ["/api/2.0/nessie", "/api/2.0", "/mcp"].contains(&route.prefix) => {
            Look::Must
        }
        Bodies::Inspect => Look::IfPossible,
    }
}

/// Holds a body back until it was looked into, as far as `look` and its size want it.
///
/// # Errors
/// `POLICY_DENIED` for what the rules rule out, `BAD_REQUEST` for a body that broke off.
pub async fn inspect(
    sets: &[Rules],
    subject: &Subject<'_>,
    look: Look,
    body: RequestBody,
) -> Result<RequestBody, Refusal> {
    if look == Look::Not {
        return Ok(body);
    }
    let mut codings = subject.headers.get_all(header::CONTENT_ENCODING).iter();
    let plain = codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let body = if plain || body.is_end_stream() {
        body.hold(LIMIT).await.map_err(|error| broken_upload(&error))?
    } else {
        body
    };
    match &body {
        RequestBody::Whole(bytes) => check(sets, subject, look, bytes)?,
        RequestBody::Streaming { .. } if look == Look::Must => {
            return Err(unreadable(if plain { "is larger than 1 MiB" } else { "is compressed" }));
        }
        RequestBody::Streaming { .. } => {}
    }
    Ok(body)
}

/// Looks into the bytes of a body for projects that are not allowed.
///
/// # Errors
/// `POLICY_DENIED` for a project, or, under [`Look::Must`], for what is neither JSON nor a form.
fn check(sets: &[Rules], subject: &Subject<'_>, look: Look, bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let mut named = Mentions::default();
    // Not the type that the caller declares decides, but what a server may make of the bytes.
    let json = named.json(bytes, "body")? == Json::Whole;
    let text = std::str::from_utf8(bytes).ok().filter(|_| !json);
    let form = subject.headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes().to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
    });
    if let Some(text) = text {
        let trimmed = text.trim_end_matches(['\r', '\n']);
        if form || !trimmed.contains(['\n', '\r']) {
            named.form(trimmed, "body")?;
        }
    }
    if look == Look::Must && !json && !form {
        return Err(unreadable("is neither JSON nor a form"));
    }
    for set in sets.iter().filter(|set| !set.projects.is_open()) {
        projects::ids(set, subject, &named)?;
    }
    Ok(())
}

fn unreadable(why: &str) -> Refusal {
    denied(format!("the body {why}, so project rules cannot judge it")).hint(
        "send a JSON or form body of at most 1 MiB, not compressed; or drop --strict-bodies where that is what refuses",
    )
}
