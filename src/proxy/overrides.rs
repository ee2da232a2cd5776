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
use http::{HeaderMap, HeaderName, HeaderValue};

const PREFIX: &str = "x-mp-";

/// Whether the name is one of ours in any spelling (`X_Mp_Target` too: RFC 3875 gateways
/// fold `_` and `-`).
#[must_use]
pub fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    name.len() >= PREFIX.len()
        && name
            .iter()
            .zip(PREFIX.as_bytes())
            .all(|(have, want)| have == want || (*have == b'_' && *want == b'-'))
}

/// Whether the name is one of those that say whom the request is sent as.
#[must_use]
pub fn is_switch(name: &HeaderName) -> bool {
    is_ours(name) && name != TOKEN_HEADER
}

/// Reads what the request wants to be sent as, in one walk over its fields.
///
/// # Errors
/// A repeated, empty, misspelt or ill-formed header.
pub fn parse(headers: &HeaderMap) -> Result<Switch, Refusal> {
    let mut wanted = Switch::default();
    for (name, value) in headers.iter().filter(|(name, _)| is_ours(name)) {
        let name = name.as_str();
        if name.contains('_') {
            return Err(
                invalid(format!("header `{name}` is spelt with `_`")).hint("write it with `-`")
            );
        }
        match name.strip_prefix(PREFIX) {
            Some("account") => once(&mut wanted.account, name, text(name, value)?.to_owned())?,
            Some("project") => {
                once(&mut wanted.project, name, id(name, value, ProjectId::parse)?)?;
            }
            Some("workspace") => {
                once(&mut wanted.workspace, name, id(name, value, WorkspaceId::parse)?)?;
            }
            Some("target") => once(&mut wanted.target, name, text(name, value)?.to_owned())?,
            _ => {}
        }
    }
    Ok(wanted)
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), Refusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(invalid(format!("header `{name}` is repeated")).hint("send it once")),
    }
}

fn id<T, E: std::fmt::Display>(
    name: &str,
    value: &HeaderValue,
    parse: fn(&str) -> Result<T, E>,
) -> Result<T, Refusal> {
    let text = text(name, value)?;
    parse(text).map_err(|rule| {
        invalid(format!("header `{name}` is {text:?}, it {rule}"))
            .hint("send the number that Mixpanel shows in the project settings")
    })
}

fn text<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str, Refusal> {
    match value.to_str().map(str::trim) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(invalid(format!("header `{name}` is empty or not ASCII"))
            .hint("give it a value, or leave it out")),
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::config(message).reason(Code::OverrideInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(lines: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn our_names_are_known_in_every_spelling_and_no_others() {
        let name = HeaderName::from_static;
        for ours in ["x-mp-account", "x_mp_target", "x-mp_x", "x_mp-", "x-mp-proxy-token"] {
            assert!(is_ours(&name(ours)), "{ours}");
            assert_eq!(is_switch(&name(ours)), ours != "x-mp-proxy-token", "{ours}");
        }
        for other in ["x-mp", "x-m", "x-mpx-a", "x-mixpanel-cluster", "a-mp-x", "xx-mp-a", "xamp-a"]
        {
            assert!(!is_ours(&name(other)) && !is_switch(&name(other)), "{other}");
        }
    }

    #[test]
    fn what_the_headers_say_is_read() {
        assert_eq!(
            parse(&headers(&[("accept", b"x"), ("x_other", b"y")])).unwrap(),
            Switch::default()
        );
        let all = headers(&[
            ("x-mp-account", b" team "),
            ("x-mp-project", b"12"),
            ("x-mp-workspace", b"3"),
            ("x-mp-target", b"ecom"),
        ]);
        let wanted = Switch {
            account: Some("team".into()),
            project: Some(ProjectId::parse("12").unwrap()),
            workspace: Some(WorkspaceId::parse("3").unwrap()),
            target: Some("ecom".into()),
        };
        assert_eq!(parse(&all).unwrap(), wanted);
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        for lines in [
            &[("x_mp_account", &b"team"[..])][..],
            &[("x-mp_other", b"team")],
            &[("x-mp-account", b"a"), ("x-mp-account", b"a")],
            &[("x-mp-account", b"")],
            &[("x-mp-target", b" \t ")],
            &[("x-mp-target", b"\xff")],
            &[("x-mp-project", b"12a")],
            &[("x-mp-project", b"")],
            &[("x-mp-workspace", b"0")],
            &[("x-mp-workspace", b"1"), ("x-mp-workspace", b"2")],
        ] {
            let refusal = parse(&headers(lines)).unwrap_err();
            let said = (refusal.code, refusal.reason);
            assert_eq!(said, (Code::ConfigError, Some(Code::OverrideInvalid)), "{lines:?}");
            assert!(refusal.message.contains(lines[0].0) && refusal.hint.is_some(), "{refusal}");
        }
    }
}
