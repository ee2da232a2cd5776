//! The `X-Mp-*` headers of a request, parsed at the door. Called by `handler`.
//! Invariant: no such header, in whatever spelling, reaches the upstream.

use super::callers::TOKEN_HEADER;
use crate::{
    auth::switch::Switch,
    model::{
        id::{ProjectId, WorkspaceId},
        refusal::{Code, Refusal},
    },
};
use http::{HeaderMap, HeaderName};

/// Whether the name is one of ours in any spelling (`X_Mp_Target` too: RFC 3875 gateways
/// fold `_` and `-`).
#[must_use]
pub fn is_ours(name: &HeaderName) -> bool {
    let prefix = b"x-mp-";
    let name = name.as_str().as_bytes();
    name.len() >= prefix.len()
        && name
            .iter()
            .zip(prefix)
            .all(|(have, want)| have == want || (*have == b'_' && *want == b'-'))
}

/// Whether the name is one of those that say whom the request is sent as.
#[must_use]
pub fn is_switch(name: &HeaderName) -> bool {
    is_ours(name) && name != TOKEN_HEADER
}

/// Reads what the request wants to be sent as.
///
/// # Errors
/// A repeated, empty, misspelt or ill-formed header.
pub fn parse(headers: &HeaderMap) -> Result<Switch, Refusal> {
    if let Some(name) = headers.keys().find(|name| is_ours(name) && name.as_str().contains('_')) {
        return Err(invalid(format!("header `{name}` is spelt with `_`")).hint("write it with `-`"));
    }
    Ok(Switch {
        account: one(headers, "x-mp-account")?.map(str::to_owned),
        project: id(headers, "x-mp-project", ProjectId::parse)?,
        workspace: id(headers, "x-mp-workspace", WorkspaceId::parse)?,
        target: one(headers, "x-mp-target")?.map(str::to_owned),
    })
}

fn id<T, E: std::fmt::Display>(
    headers: &HeaderMap,
    name: &'static str,
    parse: fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Refusal> {
    one(headers, name)?
        .map(|text| {
            parse(text).map_err(|rule| {
                invalid(format!("header `{name}` is {text:?}, it {rule}"))
                    .hint("send the number that Mixpanel shows in the project settings")
            })
        })
        .transpose()
}

fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(format!("header `{name}` is repeated")).hint("send it once"));
    }
    match value.to_str() {
        Ok(text) if !text.trim().is_empty() => Ok(Some(text.trim())),
        _ => Err(invalid(format!("header `{name}` is empty or not ASCII"))
            .hint("give it a value, or leave it out")),
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::config(message).reason(Code::OverrideInvalid)
}
