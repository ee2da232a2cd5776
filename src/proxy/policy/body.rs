//! Project rules and request bodies: what is looked into, and what is refused unseen.
//! Called by `policy` for the decision and by `handler` with the bytes.
//! Invariant: a body is never changed; what was looked into is sent byte for byte.

use super::{
    Subject, denied,
    mentions::{
        self, Json, Mentions,
        multipart::{self, Wrong},
    },
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
        // Queries and pipelines may take `project_id` from the form, MCP tools from the call.
        Bodies::Inspect
            if ["/api/query", "/api/2.0/nessie", "/api/2.0", "/mcp", "/flags"]
                .contains(&route.prefix) =>
        {
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

/// Looks into the bytes of a body for projects that are not allowed, and for another method.
///
/// # Errors
/// `POLICY_DENIED` for a project, for what two readers may read differently, or, under
/// [`Look::Must`], for what is neither JSON nor a form.
fn check(sets: &[Rules], subject: &Subject<'_>, look: Look, bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    if sets.iter().all(|set| set.projects.is_open()) {
        return match std::str::from_utf8(bytes) {
            Ok(text) if is_form(declared(subject)?) => mentions::no_method(text.trim_end(), "body"),
            _ => Ok(()),
        };
    }
    let mut named = Mentions::default();
    let readable = read(&mut named, declared(subject)?, bytes)?;
    if look == Look::Must && readable == Readable::No {
        return Err(unreadable("is neither JSON nor a form"));
    }
    // A flag request may bring the token of its project; elsewhere tokens in documents are data.
    let by_token =
        named.by_token.is_some() || (named.token_within && subject.route.prefix == "/flags");
    for set in sets.iter().filter(|set| !set.projects.is_open()) {
        projects::ids(set, subject, &named)?;
        if by_token {
            projects::token(set, subject)?;
        }
    }
    Ok(())
}

/// Whether anything could be made of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readable {
    Yes,
    No,
}

/// Reads a body in every way in which a server may read it: what the caller declares decides
/// only where the bytes leave it open.
fn read(named: &mut Mentions, kind: Option<&str>, bytes: &[u8]) -> Result<Readable, Refusal> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Python's `json` finds out by itself that a text is UTF-16 or UTF-32.
    let wide = bytes.starts_with(b"\xff\xfe")
        || bytes.starts_with(b"\xfe\xff")
        || bytes.iter().take(4).any(|byte| *byte == 0);
    if wide && bytes.iter().any(|byte| b"{[".contains(byte)) {
        return Err(unreadable("may be JSON that is not in UTF-8"));
    }
    let multipart = kind.filter(|kind| begins(kind, "multipart/"));
    if let Some(kind) = multipart {
        return match multipart::read(named, kind, bytes) {
            Ok(()) => Ok(Readable::Yes),
            Err(Wrong::Refused(refusal)) => Err(refusal),
            Err(Wrong::Unreadable) => Err(unreadable("is in parts that cannot be told apart")),
        };
    }
    if named.json(bytes, "body")? == Json::Whole {
        return Ok(Readable::Yes);
    }
    let first = bytes.trim_ascii_start().first();
    if first.is_some_and(|first| b"{[".contains(first)) {
        return Err(unreadable("begins as JSON and is none after RFC 8259"));
    }
    let form = is_form(kind);
    match std::str::from_utf8(bytes) {
        Err(_) if form => Err(unreadable("is a form that is not in UTF-8")),
        Err(_) => Ok(Readable::No),
        Ok(text) => {
            let text = text.trim_end_matches(['\r', '\n']);
            if form || !text.contains(['\n', '\r']) {
                named.form(text, "body")?;
            }
            Ok(if form { Readable::Yes } else { Readable::No })
        }
    }
}

/// What the caller says that the body is.
///
/// # Errors
/// Said twice, or in a charset in which the bytes spell something else.
fn declared<'a>(subject: &Subject<'a>) -> Result<Option<&'a str>, Refusal> {
    let mut kinds = subject.headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds.next().map(|kind| kind.to_str());
    match (kind, kinds.next()) {
        (None, _) => Ok(None),
        (Some(Ok(kind)), None) => {
            let charsets = kind.to_ascii_lowercase().matches("charset").count();
            match multipart::parameter(kind, "charset") {
                None if charsets == 0 => Ok(Some(kind)),
                Some(charset) if charsets == 1 && multipart::is_utf8(&charset) => Ok(Some(kind)),
                _ => Err(unreadable("is declared to be in a charset that is not UTF-8")),
            }
        }
        _ => Err(unreadable("has no plain Content-Type")),
    }
}

fn is_form(kind: Option<&str>) -> bool {
    kind.is_some_and(|kind| begins(kind, "application/x-www-form-urlencoded"))
}

fn begins(kind: &str, start: &str) -> bool {
    kind.trim_start().get(..start.len()).is_some_and(|have| have.eq_ignore_ascii_case(start))
}

fn unreadable(why: &str) -> Refusal {
    denied(format!("the body {why}, so project rules cannot judge it")).hint(
        "send a JSON or form body of at most 1 MiB in UTF-8, not compressed; or drop --strict-bodies where that is what refuses",
    )
}
