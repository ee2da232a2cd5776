//! Which requests Mixpanel counts. Called by `handler` for each request.
//! Invariant: what is not certain to be free counts.

use crate::proxy::route::Route;
use http::Uri;
use percent_encoding::percent_decode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A budget that users of a project share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// The Query API: 60 an hour, 5 at once.
    Query,
    /// The raw export: 60 an hour, 3 a second.
    Export,
}

impl Family {
    /// Its name in files, headers and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Export => "export",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The first segments after `/api/query/` that count.
const QUERIES: [&str; 21] = [
    "arb_funnels",
    "cohorts",
    "correlate",
    "custom-query",
    "data_definitions",
    "engage",
    "events",
    "experiments",
    "flows",
    "formulas",
    "funnels",
    "impact",
    "insights",
    "metrics",
    "query",
    "integrations",
    "jql",
    "retention",
    "segmentation",
    "stream",
    "trends",
];

/// The budget that a request counts in; `body` is what is known of its body.
#[must_use]
pub fn family(route: &Route, uri: &Uri, body: Option<&[u8]>) -> Option<Family> {
    match route.prefix {
        "/api/2.0/export" => Some(Family::Export),
        "/api/query" => {
            let mut segments = uri
                .path()
                .as_bytes()
                .split(|byte| *byte == b'/')
                .filter(|part| !part.is_empty())
                .skip(2);
            let decode = |part| percent_decode(part).decode_utf8_lossy();
            let first = segments.next().map(decode)?;
            if !QUERIES.contains(&first.as_ref()) {
                return None;
            }
            let second = segments.next().map(decode);
            let free =
                first == "engage" && (second.as_deref() == Some("aliases") || continues(uri, body));
            (!free).then_some(Family::Query)
        }
        _ => None,
    }
}

/// Whether it asks for a further page of a result, which is free.
fn continues(uri: &Uri, body: Option<&[u8]>) -> bool {
    let text = body.and_then(|body| std::str::from_utf8(body).ok()).unwrap_or_default();
    let pairs = uri.query().unwrap_or_default().split('&').chain(text.split('&'));
    pairs
        .filter_map(|pair| pair.split_once('='))
        .any(|(name, value)| name == "session_id" && !value.is_empty())
}

/// The project that a request counts for: the last one in the query, as servers read it.
#[must_use]
pub fn project<'a>(query: Option<&'a str>, session: &'a str) -> &'a str {
    let pairs = query.unwrap_or_default().rsplit('&');
    let named = pairs
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == "project_id")
        .map(|(_, value)| value);
    let plain = |id: &&str| (1..=20).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
    named.filter(plain).unwrap_or(session)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::route::find;

    #[test]
    fn what_mixpanel_counts() {
        for (target, body, expected) in [
            ("/api/query/insights?a=b", "", Some(Family::Query)),
            ("/api/query//%69nsights/x", "", Some(Family::Query)),
            ("/api/query/engage", "where=x", Some(Family::Query)),
            ("/api/query/engage", "page=1&session_id=abc", None),
            ("/api/query/engage?session_id=abc", "", None),
            ("/api/query/engage?session_id=", "", Some(Family::Query)),
            ("/api/query/engage/aliases", "", None),
            ("/api/query/insights?session_id=abc", "", Some(Family::Query)),
            ("/api/query/unknown", "", None),
            ("/api/query", "", None),
            ("/api/2.0/export?x", "", Some(Family::Export)),
            ("/api/2.0/annotations", "", None),
            ("/api/app/me", "", None),
        ] {
            let uri: Uri = target.parse().unwrap();
            let route = find(uri.path()).unwrap();
            assert_eq!(family(route, &uri, Some(body.as_bytes())), expected, "{target} {body}");
        }
    }

    #[test]
    fn whose_budget_it_is() {
        let of = |text: &str| project(text.split_once('?').map(|both| both.1), "9").to_owned();
        assert_eq!(of("/api/query/x"), "9");
        assert_eq!(of("/api/query/x?project_id=1&a=b&project_id=2"), "2");
        assert_eq!(of("/api/query/x?project_id=../../x"), "9");
    }
}
