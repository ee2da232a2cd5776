//! The first door: is this request one that a program on this machine meant to send?
//! Called by `handler` before anything else. Each refusal names the check, the value, and the
//! flag that changes it if there is one.
//! Invariant: an [`Admitted`] exists only for requests that passed every check.

use super::{
    health,
    hosts::{self, Hosts, Transport},
};
use crate::model::refusal::{Code, Refusal};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request::Parts};

/// Proof that a request passed the guard.
#[derive(Debug)]
pub struct Admitted(());

/// The methods that Mixpanel's API has; OPTIONS is answered here.
pub const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Checks the request head against what the listener is called.
///
/// # Errors
/// The first check that fails.
pub fn admit(parts: &Parts, hosts: &Hosts) -> Result<Admitted, Refusal> {
    let fields = Fields::of(&parts.headers);
    framing(parts, &fields)?;
    host(parts, &fields, hosts)?;
    web_page(parts, &fields)?;
    method(parts)?;
    Ok(Admitted(()))
}

/// What the checks look for, gathered in one walk over the header fields: most are not there,
/// and looking for each by name would cost more than all the rest of the guard.
#[derive(Default)]
struct Fields<'a> {
    host: Field<'a>,
    transfer_encoding: Field<'a>,
    content_length: Field<'a>,
    fetch_site: Field<'a>,
    /// The first name that only a web page sends, as it is spelt in messages.
    page: Option<(&'static str, &'a HeaderValue)>,
    /// What asks for another protocol.
    upgrade: Option<&'static str>,
    disguised: Option<&'a HeaderName>,
}

/// The lines of one field.
#[derive(Default, Clone, Copy)]
struct Field<'a> {
    first: Option<&'a HeaderValue>,
    count: usize,
}

impl<'a> Field<'a> {
    fn note(&mut self, value: &'a HeaderValue) {
        self.first.get_or_insert(value);
        self.count += 1;
    }

    const fn is_there(&self) -> bool {
        self.count > 0
    }

    /// The value, if there is exactly one line.
    fn only(&self) -> Option<&'a HeaderValue> {
        self.first.filter(|_| self.count == 1)
    }
}

impl<'a> Fields<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            let page = match name.as_str() {
                "host" => {
                    fields.host.note(value);
                    None
                }
                "transfer-encoding" => {
                    fields.transfer_encoding.note(value);
                    None
                }
                "content-length" => {
                    fields.content_length.note(value);
                    None
                }
                "sec-fetch-site" => {
                    fields.fetch_site.note(value);
                    None
                }
                // What asks for another protocol: RFC 9110 §7.8, RFC 6455 §4.1, RFC 7540 §3.2.
                "connection" => {
                    if asks_for_upgrade(value) {
                        fields.upgrade = Some("Connection: upgrade");
                    }
                    None
                }
                "upgrade" => {
                    fields.upgrade.get_or_insert("upgrade");
                    None
                }
                "sec-websocket-key" => {
                    fields.upgrade.get_or_insert("sec-websocket-key");
                    None
                }
                "http2-settings" => {
                    fields.upgrade.get_or_insert("http2-settings");
                    None
                }
                "origin" => Some("Origin"),
                "access-control-request-method" => Some("access-control-request-method"),
                "access-control-request-headers" => Some("access-control-request-headers"),
                "access-control-request-private-network" => {
                    Some("access-control-request-private-network")
                }
                "access-control-request-local-network" => {
                    Some("access-control-request-local-network")
                }
                _ => {
                    if fields.disguised.is_none() && is_disguised(name) {
                        fields.disguised = Some(name);
                    }
                    None
                }
            };
            if let Some(page) = page {
                fields.page.get_or_insert((page, value));
            }
        }
        fields
    }
}

fn asks_for_upgrade(connection: &HeaderValue) -> bool {
    let mut tokens = connection.as_bytes().split(|byte| *byte == b',');
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// What hyper leaves to us of RFC 9112: codings, upgrades, and the request target.
fn framing(parts: &Parts, fields: &Fields<'_>) -> Result<(), Refusal> {
    let bad = |text: String| {
        Err(Refusal::new(Code::BadRequest, text).hint("send a plain HTTP/1.1 request"))
    };
    if fields.transfer_encoding.is_there() {
        let one = fields.transfer_encoding.only();
        // RFC 9112 §6.1: a coding that we do not understand, or one besides chunked, is not ours to forward.
        if !one.is_some_and(|one| one.as_bytes().eq_ignore_ascii_case(b"chunked")) {
            return bad("the only transfer coding accepted is one `chunked`".to_owned());
        }
        // hyper drops the length and closes after the answer (§6.3); this holds if it ever does not.
        if fields.content_length.is_there() {
            return bad("a request has either `Content-Length` or `Transfer-Encoding`".to_owned());
        }
        if parts.version == Version::HTTP_10 {
            return bad("HTTP/1.0 has no transfer codings".to_owned());
        }
    }
    // SECURITY: what stands behind us may fold `_` to `-`, and would then frame it anew.
    if let Some(name) = fields.disguised {
        return bad(format!("header `{name}` is spelt with `_`"));
    }
    // RFC 9110 §7.8: in HTTP/1.0 it means nothing, and comes off as what belongs to one hop.
    if let Some(name) = fields.upgrade.filter(|_| parts.version != Version::HTTP_10) {
        return bad(format!("upgrades are not supported, and this request has `{name}`"));
    }
    // RFC 9112 §3.2: origin-form, absolute-form, or `OPTIONS *`.
    let path = parts.uri.path();
    let asterisk = path == "*" && parts.method == Method::OPTIONS;
    if !path.starts_with('/') && !asterisk && parts.method != Method::CONNECT {
        return bad("the request target has no path".to_owned());
    }
    Ok(())
}

/// `Transfer_Encoding` and its like.
fn is_disguised(name: &HeaderName) -> bool {
    const FIELDS: [&str; 8] = [
        "transfer-encoding",
        "content-length",
        "proxy-authorization",
        "keep-alive",
        "proxy-connection",
        "sec-fetch-site",
        "http2-settings",
        "content-encoding",
    ];
    let name = name.as_str();
    name.contains('_') && FIELDS.contains(&name.replace('_', "-").as_str())
}

fn host(parts: &Parts, fields: &Fields<'_>, hosts: &Hosts) -> Result<(), Refusal> {
    let Some(host) = fields.host.only() else {
        return Err(Refusal::new(
            Code::BadRequest,
            format!("a request has exactly one `Host`, this one has {}", fields.host.count),
        )
        .hint(format!("send requests to {hosts}")));
    };
    let refused = |what: &str, value: String| {
        Err(Refusal::new(
            Code::GuardHost,
            format!("{what} is {value}, which is not this proxy (a defence against DNS rebinding)"),
        )
        .hint(format!("send requests to {hosts}; --allow-host adds a name")))
    };
    if !host.to_str().is_ok_and(|host| hosts.accept(host)) {
        // RFC 9112 §3.2: what is no host at all is malformed, not forbidden.
        if !hosts::is_well_formed(host) {
            return Err(Refusal::new(
                Code::BadRequest,
                format!("`Host` is {}, which is not a host with or without a port", shown(host)),
            )
            .hint(format!("send requests to {hosts}")));
        }
        return refused("`Host`", shown(host));
    }
    // RFC 9112 §3.2.2: the authority of absolute-form is what counts, so it is checked as well.
    if let Some(authority) = parts.uri.authority()
        && !hosts.accept(authority.as_str())
    {
        return refused("the host of the request target", format!("{:?}", authority.host()));
    }
    match parts.uri.scheme_str() {
        Some(scheme) if !scheme.eq_ignore_ascii_case(hosts.transport().scheme()) => {
            let how = if hosts.transport() == Transport::Tls { "TLS" } else { "plain HTTP" };
            refused("the scheme of the request target", format!("{scheme:?} on {how}"))
        }
        _ => Ok(()),
    }
}

/// What only a web page sends. No flag turns these off.
fn web_page(parts: &Parts, fields: &Fields<'_>) -> Result<(), Refusal> {
    if let Some((name, value)) = fields.page {
        return Err(Refusal::new(
            Code::GuardOrigin,
            format!("requests with an `{name}` header are refused (it is {})", shown(value)),
        )
        .hint("web pages cannot use this proxy, and no flag changes that; call it from a program that sends no Origin"));
    }
    // Not `Sec-Fetch-Mode`: fetch of Node.js sends it, alone. Browsers always send the site too.
    if !fields.fetch_site.is_there() {
        return Ok(());
    }
    let own_page = health::is_own(parts.uri.path());
    let allowed = |site: &HeaderValue| *site == "none" || (own_page && *site == "same-origin");
    if fields.fetch_site.only().is_some_and(allowed) {
        return Ok(());
    }
    let values: Vec<_> = parts.headers.get_all("sec-fetch-site").iter().map(shown).collect();
    Err(Refusal::new(
        Code::GuardFetchSite,
        format!("`Sec-Fetch-Site` is {}: a web page sent this request", values.join(" and ")),
    )
    .hint("web pages cannot use this proxy, and no flag changes that; call it from a program"))
}

/// SECURITY: a closed list. `TRACE` would answer with the credential, `CONNECT` would tunnel, and
/// what `track`, `trace` or `FOO` do at the other end nobody knows.
fn method(parts: &Parts) -> Result<(), Refusal> {
    match parts.method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => Ok(()),
        _ => Err(Refusal::new(
            Code::MethodNotAllowed,
            format!("method `{}` is never forwarded", parts.method.as_str().escape_debug()),
        )
        .hint(format!("use one of {METHODS}"))),
    }
}

/// A value as a message may show it: escaped, and not without end.
fn shown(value: &HeaderValue) -> String {
    const LONGEST: usize = 100;
    let bytes = value.as_bytes();
    let end = if bytes.len() > LONGEST { "…" } else { "" };
    format!("`{}{end}`", bytes[..bytes.len().min(LONGEST)].escape_ascii())
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
    if received_by.any(|name| name.eq_ignore_ascii_case(super::rewrite::PSEUDONYM)) {
        return Err(Refusal::new(
            Code::LoopDetected,
            "this request has already passed through an mp-proxy",
        )
        .hint("check --upstream: it points back at this proxy"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn check(request: http::request::Builder) -> Result<(), Code> {
        let hosts = Hosts::tcp("127.0.0.1:8787".parse().unwrap(), Transport::Plain, Vec::new());
        let parts = request.body(()).unwrap().into_parts().0;
        admit(&parts, &hosts).map(drop).map_err(|refusal| {
            assert!(refusal.hint.is_some(), "{refusal}");
            refusal.code
        })
    }

    fn get(target: &str) -> http::request::Builder {
        Request::get(target).header("host", "localhost:8787")
    }

    #[test]
    fn a_program_is_let_in() {
        for method in METHODS.split(", ") {
            assert_eq!(check(get("/api/query/x").method(method)), Ok(()), "{method}");
        }
        assert_eq!(check(get("/x").header("sec-fetch-site", "none")), Ok(()));
        assert_eq!(check(get("/x").header("sec-fetch-mode", "cors")), Ok(()), "Node.js");
        assert_eq!(check(get("/x").header("transfer-encoding", "Chunked")), Ok(()));
        assert_eq!(check(get("/x").header("connection", "keep-alive, x-upgrade")), Ok(()));
        assert_eq!(check(get("/x").header("x_other", "1")), Ok(()));
        assert_eq!(check(get("http://127.0.0.1:8787/x")), Ok(()));
        assert_eq!(check(get("HTTP://localhost:8787/x")), Ok(()));
        assert_eq!(check(get("*").method("OPTIONS")), Ok(()));
    }

    #[test]
    fn a_web_page_is_not() {
        for origin in ["null", "", "http://localhost:8787", "https://evil.example"] {
            assert_eq!(check(get("/x").header("origin", origin)), Err(Code::GuardOrigin));
        }
        for name in [
            "access-control-request-method",
            "access-control-request-headers",
            "access-control-request-private-network",
            "access-control-request-local-network",
        ] {
            assert_eq!(check(get("/x").header(name, "x")), Err(Code::GuardOrigin), "{name}");
        }
        for site in ["cross-site", "same-site", "same-origin", "NONE", "", "none, none"] {
            let checked = check(get("/x").header("sec-fetch-site", site));
            assert_eq!(checked, Err(Code::GuardFetchSite), "{site}");
        }
        let twice = get("/x").header("sec-fetch-site", "none").header("sec-fetch-site", "none");
        assert_eq!(check(twice), Err(Code::GuardFetchSite));
    }

    #[test]
    fn our_own_pages_may_fetch_from_us_and_nothing_else() {
        let from = |path: &str, site: &str| check(get(path).header("sec-fetch-site", site));
        assert_eq!(from("/_mp/session", "same-origin"), Ok(()));
        assert_eq!(from("/_mp/session", "same-site"), Err(Code::GuardFetchSite));
        assert_eq!(from("/_mp/session", "cross-site"), Err(Code::GuardFetchSite));
        assert_eq!(from("/_mpx", "same-origin"), Err(Code::GuardFetchSite));
        assert_eq!(from("/api/app/me", "same-origin"), Err(Code::GuardFetchSite));
        let own = get("/_mp/session").header("origin", "http://localhost:8787");
        assert_eq!(check(own), Err(Code::GuardOrigin));
    }

    #[test]
    fn exactly_one_host_and_it_is_ours() {
        assert_eq!(check(Request::get("/x")), Err(Code::BadRequest));
        assert_eq!(check(get("/x").header("host", "localhost:8787")), Err(Code::BadRequest));
        for host in ["", "evil.example", "localhost", "127.0.0.1:1", "localhost:08787"] {
            let checked = check(Request::get("/x").header("host", host));
            assert_eq!(checked, Err(Code::GuardHost), "{host}");
        }
        for malformed in [
            &b"localhost\xff:8787"[..],
            b"localhost:80 80",
            b"localhost:8787, evil.example",
            b"u@localhost:8787",
            b"[::1:8787",
            b"localhost:80:87",
            b"local/host",
            b"a%4",
        ] {
            let host = HeaderValue::from_bytes(malformed).unwrap();
            assert_eq!(check(Request::get("/x").header("host", host)), Err(Code::BadRequest));
        }
        for foreign in ["[fe80::1%25eth0]:8787", "[::1]", "x_y~z"] {
            let checked = check(Request::get("/x").header("host", foreign));
            assert_eq!(checked, Err(Code::GuardHost), "{foreign}");
        }
        for target in [
            "http://evil.example/x",
            "http://u:p@localhost:8787/x",
            "http://localhost:8788/x",
            "https://localhost:8787/x",
            "ftp://localhost:8787/x",
        ] {
            assert_eq!(check(get(target)), Err(Code::GuardHost), "{target}");
        }
        let both = Request::get("http://localhost:8787/x").header("host", "evil.example");
        assert_eq!(check(both), Err(Code::GuardHost));
    }

    #[test]
    fn tls_is_asked_for_by_https_only() {
        let hosts = Hosts::tcp("127.0.0.1:443".parse().unwrap(), Transport::Tls, Vec::new());
        let check = |target: &str| {
            let request = Request::get(target).header("host", "localhost").body(()).unwrap();
            admit(&request.into_parts().0, &hosts).map(drop).map_err(|refusal| refusal.message)
        };
        assert_eq!(check("https://localhost/x"), Ok(()));
        assert!(
            check("http://localhost/x")
                .unwrap_err()
                .contains("`\"http\" on TLS`".trim_matches('`'))
        );
    }

    #[test]
    fn framing_that_two_readers_could_read_two_ways() {
        for coding in ["gzip, chunked", "chunked, chunked", "identity", "xchunked", ""] {
            let checked = check(get("/x").header("transfer-encoding", coding));
            assert_eq!(checked, Err(Code::BadRequest), "{coding}");
        }
        let chunked = || get("/x").header("transfer-encoding", "chunked");
        assert_eq!(check(chunked().header("transfer-encoding", "chunked")), Err(Code::BadRequest));
        assert_eq!(check(chunked().header("content-length", "3")), Err(Code::BadRequest));
        assert_eq!(check(chunked().version(Version::HTTP_10)), Err(Code::BadRequest));
        for name in ["transfer_encoding", "content_length", "Content_Length", "sec_fetch_site"] {
            assert_eq!(check(get("/x").header(name, "3")), Err(Code::BadRequest), "{name}");
        }
    }

    #[test]
    fn upgrades_and_targets_without_a_path() {
        for (name, value) in [
            ("upgrade", "websocket"),
            ("upgrade", "h2c"),
            ("connection", "Upgrade"),
            ("connection", "close, UPGRADE"),
            ("sec-websocket-key", "x"),
            ("http2-settings", "AA"),
        ] {
            assert_eq!(check(get("/x").header(name, value)), Err(Code::BadRequest), "{name}");
        }
        assert_eq!(check(get("*")), Err(Code::BadRequest));
        assert_eq!(check(get("localhost:8787")), Err(Code::BadRequest));
    }

    #[test]
    fn methods_are_a_closed_list() {
        for method in ["TRACE", "trace", "TRACK", "get", "FOO", "PRI", "PROPFIND"] {
            assert_eq!(check(get("/x").method(method)), Err(Code::MethodNotAllowed), "{method}");
        }
        let tunnel = get("localhost:8787").method("CONNECT");
        assert_eq!(check(tunnel), Err(Code::MethodNotAllowed));
    }

    #[test]
    fn a_refusal_shows_the_value_escaped_and_cut() {
        let shown = |bytes: &[u8]| super::shown(&HeaderValue::from_bytes(bytes).unwrap());
        assert_eq!(shown(b"a\"\xff"), "`a\\\"\\xff`");
        assert_eq!(shown(&[b'a'; 100]), format!("`{}`", "a".repeat(100)));
        assert_eq!(shown(&[b'a'; 101]), format!("`{}…`", "a".repeat(100)));
    }

    #[test]
    fn a_request_that_was_here_before_is_refused() {
        let via = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(header::VIA, value.parse().unwrap());
            no_loop(&headers).map_err(|refusal| refusal.code)
        };
        assert_eq!(via("1.1 other, 1.0 mp-proxy-2"), Ok(()));
        assert_eq!(via("1.0 a, 1.1 mp-proxy"), Err(Code::LoopDetected));
        assert_eq!(via("1.1 MP-Proxy (x)"), Err(Code::LoopDetected));
    }
}
