//! The outbound request: same path and query bytes, parameters appended, fields of one hop
//! taken off, the credential put on last. Called by `handler`; also cleans responses.
//! Invariant: at most one `Authorization`, none of ours (`X-Mp-*`), no hop-by-hop field.

use super::{
    overrides::is_ours,
    route::{Inject, Route},
};
use crate::{
    auth::{credential::Authorization, ready::ReadySession, switch::Switch},
    model::{
        refusal::{Code, Refusal},
        session::Session,
    },
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header, uri::PathAndQuery};
use std::borrow::Cow;

/// Our name in `Via`.
pub const PSEUDONYM: &str = "mp-proxy";

/// RFC 9110 §7.6.3: with the version that the message came in with, not the one it goes out with.
const fn via(received: Version) -> HeaderValue {
    match received {
        Version::HTTP_10 => HeaderValue::from_static("1.0 mp-proxy"),
        _ => HeaderValue::from_static("1.1 mp-proxy"),
    }
}

/// Path and query for the upstream: the caller's bytes, with what is missing appended.
///
/// # Errors
/// The path or the query names another project or workspace than the headers do.
pub fn path_and_query(
    uri: &Uri,
    route: &Route,
    ready: &ReadySession,
    switch: &Switch,
) -> Result<PathAndQuery, Refusal> {
    let query = uri.query();
    if let Some(project) = &switch.project {
        let in_path = path_id(uri.path(), "projects");
        agree("X-Mp-Project", project.as_str(), parameter(query, "project_id").chain(in_path))?;
    }
    if let Some(workspace) = &switch.workspace {
        let in_path = path_id(uri.path(), "workspaces");
        let given = parameter(query, "workspace_id").chain(in_path);
        agree("X-Mp-Workspace", &workspace.to_string(), given)?;
    }
    let mut missing = [None, None];
    if route.inject != Inject::Nothing {
        let mut projects = parameter(query, "project_id").peekable();
        if projects.peek().is_none() {
            missing[0] = Some(ready.project_parameter.as_str());
        }
        // A workspace belongs to one project: it goes only where that project is the one in effect.
        if route.inject == Inject::ProjectAndWorkspace
            && projects.all(|project| project == ready.session.project.as_str())
            && parameter(query, "workspace_id").next().is_none()
        {
            missing[1] = ready.workspace_parameter.as_deref();
        }
    }
    append(uri, missing)
}

/// Whether the caller's query names a project, so that none is appended.
#[must_use]
pub fn names_project(query: Option<&str>) -> bool {
    parameter(query, "project_id").next().is_some()
}

/// The caller's bytes, untouched, and behind them the parameters.
fn append(uri: &Uri, parameters: [Option<&str>; 2]) -> Result<PathAndQuery, Refusal> {
    let malformed = || {
        Refusal::new(Code::BadRequest, "the request target is too long or malformed")
            .hint("shorten the query or send it as a body")
    };
    let given = uri.path_and_query().ok_or_else(malformed)?;
    if parameters == [None, None] {
        return Ok(given.clone());
    }
    let room = parameters.iter().flatten().map(|parameter| parameter.len() + 1).sum::<usize>();
    let mut out = String::with_capacity(given.as_str().len() + room);
    out.push_str(given.as_str());
    let mut glue = match given.query() {
        None => "?",
        Some(query) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    for parameter in parameters.into_iter().flatten() {
        out.push_str(glue);
        out.push_str(parameter);
        glue = "&";
    }
    PathAndQuery::from_maybe_shared(Bytes::from(out)).map_err(|_| malformed())
}

fn agree<'a>(
    name: &str,
    value: &str,
    others: impl Iterator<Item = Cow<'a, str>>,
) -> Result<(), Refusal> {
    for other in others {
        if other != value {
            return Err(Refusal::new(
                Code::OverrideConflict,
                format!("header `{name}` says `{value}` and the request itself says `{other}`"),
            )
            .hint(format!("leave out `{name}`, or make the two agree")));
        }
    }
    Ok(())
}

/// Every value of a query parameter, percent-decoded, so that no spelling hides one.
fn parameter<'a>(query: Option<&'a str>, name: &'static str) -> impl Iterator<Item = Cow<'a, str>> {
    query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(move |(key, _)| *key == name || (is_encoded(key) && decode(key) == name))
        .map(|(_, value)| decode(value))
}

/// The id that follows `projects` or `workspaces` in an application path.
fn path_id<'a>(path: &'a str, axis: &str) -> Option<Cow<'a, str>> {
    let rest = path.strip_prefix("/api/app/")?;
    let mut segments = rest.split('/').map(decode);
    segments.by_ref().find(|segment| segment == axis)?;
    segments.next().filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))
}

fn is_encoded(text: &str) -> bool {
    text.bytes().any(|byte| byte == b'%' || byte == b'+')
}

fn decode(text: &str) -> Cow<'_, str> {
    if !is_encoded(text) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

/// What happens to an `Authorization` that the caller sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ClientAuthorization {
    /// Ours takes its place.
    #[default]
    Replace,
    /// The request is refused.
    Reject,
    /// The caller's is sent instead of ours.
    Pass,
}

/// Makes the caller's header fields, which came in by `received`, those of the outbound request.
///
/// # Errors
/// The caller sent `Authorization` and the policy is to reject it.
pub fn request_headers(
    headers: &mut HeaderMap,
    received: Version,
    session: &Session,
    authorization: Option<&Authorization>,
    policy: ClientAuthorization,
) -> Result<(), Refusal> {
    if policy == ClientAuthorization::Reject && headers.contains_key(header::AUTHORIZATION) {
        return Err(Refusal::new(
            Code::ClientAuthorization,
            "requests with their own `Authorization` are refused here",
        )
        .hint("leave it out, or start mp-proxy with --client-authorization replace"));
    }
    // SECURITY: first off, then on; else `Connection: authorization` would remove our own.
    let own =
        headers.get(header::AUTHORIZATION).filter(|_| policy == ClientAuthorization::Pass).cloned();
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    strip(headers, |name| *name == header::PROXY_AUTHORIZATION || *name == header::AUTHORIZATION);
    if chunked {
        // Our own framing, not the caller's: without it hyper sends no body with a GET.
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    for custom in session.headers.iter() {
        headers.insert(&custom.name, custom.value.clone());
    }
    if let Some(value) = own.or_else(|| authorization.map(|ours| ours.value().clone())) {
        headers.insert(header::AUTHORIZATION, value);
    }
    headers.append(header::VIA, via(received));
    Ok(())
}

/// Makes the upstream's header fields those of our answer.
pub fn response_headers(headers: &mut HeaderMap, received: Version) {
    // RFC 9112 §6.3: the coding overrides a length, which must not be passed on.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    } else if let Some(length) = headers.get(header::CONTENT_LENGTH).and_then(one_of_list) {
        headers.insert(header::CONTENT_LENGTH, length);
    }
    // A Mixpanel cookie on localhost would be sent to every other local server, and what Mixpanel
    // allows its own pages is nothing that we allow any page.
    strip(headers, |name| {
        *name == header::SET_COOKIE || name.as_str().starts_with("access-control-")
    });
    headers.append(header::VIA, via(received));
}

/// RFC 9110 §8.6: in place of a list of equal lengths goes the one that it means. hyper has refused
/// every other list.
fn one_of_list(length: &HeaderValue) -> Option<HeaderValue> {
    let bytes = length.as_bytes();
    let comma = bytes.iter().position(|byte| *byte == b',')?;
    HeaderValue::from_bytes(bytes[..comma].trim_ascii()).ok()
}

/// Looks for the credential that the request was sent with in the header fields of the answer.
///
/// # Errors
/// `UPSTREAM_BROKEN` if one holds it: the answer is withheld.
pub fn no_echo(headers: &HeaderMap, shown: Option<&HeaderValue>) -> Result<(), Refusal> {
    /// What is shorter may stand in a header by chance.
    const TELLING: usize = 8;
    let secret = shown.and_then(|value| value.as_bytes().rsplit(|byte| *byte == b' ').next());
    let Some(secret) = secret.filter(|secret| secret.len() >= TELLING) else { return Ok(()) };
    // Its first byte first: nearly every place is passed over by that.
    let holds = |value: &HeaderValue| {
        value.as_bytes().windows(secret.len()).any(|part| part[0] == secret[0] && part == secret)
    };
    match headers.iter().find(|(_, value)| holds(value)) {
        None => Ok(()),
        Some((name, _)) => Err(Refusal::new(
            Code::UpstreamBroken,
            format!(
                "the upstream sent the credential back in header `{name}`; its answer is withheld"
            ),
        )
        .hint("check what stands between this machine and Mixpanel, and renew the credential")),
    }
}

/// Takes off what belongs to one hop (RFC 9110 §7.6.1), whatever `Connection` names, what is ours,
/// and what `also` says. One look at each name that is there costs less than asking for every name.
fn strip(headers: &mut HeaderMap, also: impl Fn(&HeaderName) -> bool) {
    let mut gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_hop_by_hop(name) || is_ours(name) || also(name))
        .cloned()
        .collect();
    if gone.contains(&header::CONNECTION) {
        let named = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            // Framing belongs to the message, not to the hop's wishes.
            .filter(|name| name != header::CONTENT_LENGTH && name != header::HOST);
        gone.extend(named);
    }
    for name in gone {
        headers.remove(name);
    }
}

/// SECURITY: without `Trailer` hyper sends no trailers, which could carry fields of ours, a
/// cookie or a credential past every check (RFC 9110 §6.5.1 lets an intermediary drop them).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}
