//! The first door: is this request one that a program on this machine meant to send?
//! Called by `handler` before anything else. Each refusal names the check and the value.
//! Invariant: an [`Admitted`] exists only for requests that passed every check.

use crate::model::refusal::{Code, Refusal};
use http::{HeaderMap, Method, Version, header, request::Parts};

/// Proof that a request passed the guard.
#[derive(Debug)]
pub struct Admitted(());

/// Checks the request head; `port` is the one that we listen on.
///
/// # Errors
/// The first check that fails.
pub fn admit(parts: &Parts, port: u16) -> Result<Admitted, Refusal> {
    framing(parts)?;
    host(parts, port)?;
    if let Some(origin) = parts.headers.get(header::ORIGIN) {
        return Err(Refusal::new(
            Code::GuardOrigin,
            format!("requests with an `Origin` header are refused (it is {origin:?})"),
        )
        .hint("web pages cannot use this proxy; call it from a program that sends no Origin"));
    }
    fetch_site(parts)?;
    match parts.method {
        Method::TRACE | Method::CONNECT => Err(Refusal::new(
            Code::MethodNotAllowed,
            format!("method `{}` is never forwarded", parts.method),
        )
        .hint("use GET, POST, PUT, PATCH, DELETE or HEAD")),
        _ => Ok(Admitted(())),
    }
}

/// What hyper leaves to us of RFC 9112: codings, upgrades, and the request target.
fn framing(parts: &Parts) -> Result<(), Refusal> {
    let bad = |text: String| {
        Err(Refusal::new(Code::BadRequest, text).hint("send a plain HTTP/1.1 request"))
    };
    let codings: Vec<_> = parts.headers.get_all(header::TRANSFER_ENCODING).iter().collect();
    let chunked =
        matches!(codings.as_slice(), [one] if one.as_bytes().eq_ignore_ascii_case(b"chunked"));
    // RFC 9112 §6.1: a coding that we do not understand, or one besides chunked, is not ours to forward.
    if !codings.is_empty() && !chunked {
        return bad("the only transfer coding accepted is one `chunked`".to_owned());
    }
    if !codings.is_empty() && parts.headers.contains_key(header::CONTENT_LENGTH) {
        return bad("a request has either `Content-Length` or `Transfer-Encoding`".to_owned());
    }
    if !codings.is_empty() && parts.version == Version::HTTP_10 {
        return bad("HTTP/1.0 has no transfer codings".to_owned());
    }
    if parts.headers.contains_key(header::UPGRADE) {
        return bad("upgrades are not supported".to_owned());
    }
    Ok(())
}

fn host(parts: &Parts, port: u16) -> Result<(), Refusal> {
    let hosts: Vec<_> = parts.headers.get_all(header::HOST).iter().collect();
    let [host] = hosts.as_slice() else {
        return Err(Refusal::new(
            Code::BadRequest,
            format!("a request has exactly one `Host`, this one has {}", hosts.len()),
        )
        .hint(format!("send Host: localhost:{port}")));
    };
    let own = |text: &str| own_host(text, port);
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let scheme_ok = parts.uri.scheme_str().is_none_or(|scheme| scheme.eq_ignore_ascii_case("http"));
    if host.to_str().is_ok_and(own) && authority.is_none_or(own) && scheme_ok {
        return Ok(());
    }
    let value = authority.map_or_else(|| format!("{host:?}"), |authority| format!("{authority:?}"));
    Err(Refusal::new(
        Code::GuardHost,
        format!("`Host` is {value}, which is not this proxy (a defence against DNS rebinding)"),
    )
    .hint(format!("use http://localhost:{port}, http://127.0.0.1:{port} or http://[::1]:{port}")))
}

fn own_host(text: &str, port: u16) -> bool {
    let names = ["127.0.0.1", "localhost", "[::1]"];
    let named = |name: &str| names.iter().any(|own| name.eq_ignore_ascii_case(own));
    match text.rsplit_once(':') {
        Some((name, digits)) if named(name) => digits == port.to_string(),
        // RFC 9110 §4.2.1: port 80 may be left out.
        _ => port == 80 && named(text),
    }
}

fn fetch_site(parts: &Parts) -> Result<(), Refusal> {
    let values: Vec<_> = parts.headers.get_all("sec-fetch-site").iter().collect();
    let own_page = parts.uri.path().starts_with("/_mp/");
    let allowed = match values.as_slice() {
        [] => true,
        [one] => *one == "none" || (own_page && *one == "same-origin"),
        _ => false,
    };
    if allowed {
        return Ok(());
    }
    Err(Refusal::new(
        Code::GuardFetchSite,
        format!("`Sec-Fetch-Site` is {:?}: a web page sent this request", values[0]),
    )
    .hint("web pages cannot use this proxy; call it from a program"))
}

/// Whether this request has been through an mp-proxy before (RFC 9110 §7.6.3).
///
/// # Errors
/// `LOOP_DETECTED` if `Via` says so.
pub fn no_loop(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut received_by = headers
        .get_all(header::VIA)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|element| element.split_whitespace().nth(1));
    if received_by.any(|name| name == super::rewrite::PSEUDONYM) {
        return Err(Refusal::new(
            Code::LoopDetected,
            "this request has already passed through an mp-proxy",
        )
        .hint("check --upstream: it points back at this proxy"));
    }
    Ok(())
}
