//! What callers and Mixpanel say about sharing: `Cache-Control`, `Vary`, conditions. Called by
//! `share`. Invariant: a doubt means that nothing is shared.

use super::key::FIELDS;
use http::{HeaderMap, HeaderName, StatusCode, header};
use std::time::Duration;

/// Whether a caller is content with an answer that somebody else asked for.
#[must_use]
pub fn may_share(headers: &HeaderMap) -> bool {
    // An answer to a condition or to a range is an answer to that caller.
    const OWN: [HeaderName; 6] = [
        header::RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
    ];
    let directives = directives(headers);
    let own = |one: &String| ["no-store", "no-cache", "max-age=0"].contains(&one.as_str());
    let refuses = directives.iter().any(own)
        || (headers.contains_key(header::PRAGMA) && directives.is_empty());
    !refuses && !OWN.iter().any(|name| headers.contains_key(name))
}

/// Whether an answer holds for others who asked the same.
#[must_use]
pub fn may_be_shared(headers: &HeaderMap) -> bool {
    let known = |name: &str| {
        // Not `Cookie`-free answers only: cookies are part of the key. There is no `Origin`.
        name == "authorization"
            || name == "origin"
            || FIELDS.iter().any(|field| field.as_str() == name)
    };
    let vary = headers.get_all(header::VARY).iter().map(|value| value.to_str().unwrap_or("*"));
    !directives(headers).iter().any(|one| one == "no-store")
        && vary
            .flat_map(|value| value.split(','))
            .all(|name| known(&name.trim().to_ascii_lowercase()) || name.trim().is_empty())
}

/// For how long an answer may be kept; `None` for not at all.
#[must_use]
pub fn fresh(status: StatusCode, headers: &HeaderMap, ttl: Duration) -> Option<Duration> {
    if status != StatusCode::OK || headers.contains_key(header::SET_COOKIE) {
        return None;
    }
    let mut fresh = ttl;
    // RFC 9111 §5.1: how long somebody before us has kept it already.
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    let age = Duration::from_secs(age.unwrap_or(0));
    for directive in directives(headers) {
        match directive.split_once('=').unwrap_or((&directive, "")) {
            ("no-cache" | "no-store", _) => return None,
            ("max-age", seconds) => {
                let seconds = seconds.trim_matches('"').parse().ok()?;
                fresh = fresh.min(Duration::from_secs(seconds).saturating_sub(age));
            }
            _ => {}
        }
    }
    Some(fresh).filter(|fresh| !fresh.is_zero())
}

/// Reads that tell what there is rather than what happened: they change seldom.
#[must_use]
pub fn is_metadata(segments: &[&str]) -> bool {
    match segments {
        ["api", "app", .., "download" | "export"] => false,
        // Asked for again and again to see whether something is done by now.
        ["api", "app", "data-deletions" | "data-retrievals", ..]
        | ["api", "app", .., "upload-status"] => false,
        ["api", "app", ..] => true,
        ["api", "query", rest @ ..] => matches!(
            rest,
            ["funnels", "list"]
                | ["events", "names" | "top"]
                | ["events", "properties", "top" | "values"]
                | ["data_definitions", "events"]
        ),
        ["lookup-tables"] | ["flags", "definitions"] => true,
        _ => false,
    }
}

fn directives(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        // What is not text may say anything.
        .map(|value| value.to_str().unwrap_or("no-store"))
        .flat_map(|value| value.split(','))
        .map(|one| one.trim().to_ascii_lowercase())
        .filter(|one| !one.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(pair).collect()
    }

    #[test]
    fn callers_may_ask_for_their_own() {
        assert!(may_share(&headers(&[("accept", "x"), ("cache-control", "max-stale")])));
        for field in [
            ("cache-control", "no-cache"),
            ("cache-control", "a, No-Store"),
            ("range", "bytes=0-1"),
            ("if-none-match", "x"),
            ("pragma", "no-cache"),
        ] {
            assert!(!may_share(&headers(&[field])), "{field:?}");
        }
    }

    #[test]
    fn mixpanel_may_forbid_it() {
        let ttl = Duration::from_secs(60);
        let keep = |field| fresh(StatusCode::OK, &headers(&[field]), ttl);
        assert_eq!(keep(("cache-control", "private")), Some(ttl));
        assert_eq!(keep(("cache-control", "max-age=7, private")), Some(Duration::from_secs(7)));
        let aged = headers(&[("cache-control", "max-age=7"), ("age", "5")]);
        assert_eq!(fresh(StatusCode::OK, &aged, ttl), Some(Duration::from_secs(2)));
        for field in [
            ("cache-control", "no-store"),
            ("cache-control", "no-cache"),
            ("cache-control", "max-age=0"),
            ("cache-control", "max-age=x"),
        ] {
            assert_eq!(keep(field), None, "{field:?}");
        }
        assert_eq!(fresh(StatusCode::NOT_FOUND, &headers(&[]), ttl), None);
        assert!(may_be_shared(&headers(&[("vary", "Accept-Encoding, Cookie")])));
        assert!(!may_be_shared(&headers(&[("vary", "*")])));
        assert!(!may_be_shared(&headers(&[("vary", "User-Agent")])));
        assert!(!may_be_shared(&headers(&[("cache-control", "no-store")])));
    }
}
