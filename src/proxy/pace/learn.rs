//! What an answer says about quotas: `RateLimit`, `RateLimit-Policy` and `Retry-After`, in the
//! forms that draft-ietf-httpapi-ratelimit-headers had over the years. Called by `pace` with the
//! head of each counted answer.
//! Invariant: outside bytes; what cannot be read says nothing.

use http::{HeaderMap, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parser};

/// What the server says.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Lesson {
    /// The limit of the window.
    pub limit: Option<u32>,
    /// The length of that window in seconds, if it is said.
    pub window: Option<u32>,
    /// How many requests are left in it.
    pub left: Option<u32>,
    /// Seconds until that changes.
    pub reset: Option<f64>,
    /// How many may be in flight at once.
    pub at_once: Option<u32>,
    /// Whether that is what the request was refused for.
    pub crowded: bool,
    /// Seconds after which it is worth trying again.
    pub retry_after: Option<f64>,
}

/// The name of the window's policy.
const WINDOW: &str = "project";
/// The name of the policy for requests in flight.
const AT_ONCE: &str = "project-concurrency";

/// Reads the head of an answer; `now` is in seconds since the Unix epoch.
#[must_use]
pub fn lesson(status: StatusCode, headers: &HeaderMap, now: f64) -> Lesson {
    let mut lesson = Lesson { retry_after: retry_after(headers, now), ..Lesson::default() };
    policy(&mut lesson, list(headers, "ratelimit-policy"));
    let state = list(headers, "ratelimit");
    if state.is_empty() {
        state_before_08(&mut lesson, headers);
    }
    for item in state {
        let left = parameter(&item, "r");
        match name(&item) {
            Some(WINDOW) => {
                lesson.left = left;
                lesson.reset = parameter(&item, "t").map(f64::from);
            }
            Some(AT_ONCE) => {
                lesson.crowded = status == StatusCode::TOO_MANY_REQUESTS && left == Some(0);
            }
            _ => {}
        }
    }
    lesson
}

/// `"project";q=60;w=3600` since draft 08; `60;w=3600` before, and `100, 60;w=3600` up to 06,
/// where the longest window is meant.
fn policy(lesson: &mut Lesson, items: Vec<Item>) {
    let positive = |limit: &u32| *limit > 0;
    for item in items {
        let window = parameter(&item, "w");
        match name(&item) {
            Some(WINDOW) => {
                lesson.limit = parameter(&item, "q").filter(positive);
                lesson.window = window;
            }
            Some(AT_ONCE) => lesson.at_once = parameter(&item, "q").filter(positive),
            Some(_) => {}
            None => {
                let limit = integer(&item.bare_item).filter(positive);
                if limit.is_some() && window.is_some() && window > lesson.window {
                    (lesson.limit, lesson.window) = (limit, window);
                }
            }
        }
    }
}

/// `RateLimit: limit=60, remaining=0, reset=30` (draft 07), or one field each (up to 06).
fn state_before_08(lesson: &mut Lesson, headers: &HeaderMap) {
    let together = joined(headers, "ratelimit");
    let parsed: Dictionary = Parser::new(&together).parse().unwrap_or_default();
    let member = |key: &str, field: &str| match parsed.get(key) {
        Some(ListEntry::Item(item)) => integer(&item.bare_item),
        _ => integer(&list(headers, field).first()?.bare_item),
    };
    lesson.left = member("remaining", "ratelimit-remaining");
    lesson.reset = member("reset", "ratelimit-reset").map(f64::from);
    if lesson.limit.is_none() {
        policy(lesson, list(headers, "ratelimit-limit"));
    }
}

/// A structured list (RFC 9651 §3.1) over all lines of the field; empty if it is malformed.
fn list(headers: &HeaderMap, field: &str) -> Vec<Item> {
    let parsed: List = Parser::new(&joined(headers, field)).parse().unwrap_or_default();
    let item = |entry| match entry {
        ListEntry::Item(item) => Some(item),
        ListEntry::InnerList(_) => None,
    };
    parsed.into_iter().filter_map(item).collect()
}

/// All lines of a field as one; nothing if it is too long to be true.
fn joined(headers: &HeaderMap, field: &str) -> Vec<u8> {
    let lines: Vec<&[u8]> = headers.get_all(field).iter().map(|value| value.as_bytes()).collect();
    let joined = lines.join(&b", "[..]);
    if joined.len() > 4096 { Vec::new() } else { joined }
}

fn integer(item: &BareItem) -> Option<u32> {
    u32::try_from(i64::from(item.as_integer()?)).ok()
}

fn name(item: &Item) -> Option<&str> {
    match &item.bare_item {
        BareItem::String(text) => Some(text.as_str()),
        BareItem::Token(text) => Some(text.as_str()),
        _ => None,
    }
}

fn parameter(item: &Item, name: &str) -> Option<u32> {
    let (_, value) = item.params.iter().find(|(key, _)| key.as_str() == name)?;
    integer(value)
}

/// RFC 9110 §10.2.3: seconds or a date. At most an hour is believed.
fn retry_after(headers: &HeaderMap, now: f64) -> Option<f64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<u32>() {
        Ok(seconds) => f64::from(seconds),
        Err(_) => {
            let date = text.strip_suffix("GMT").map(|date| format!("{date}+0000"));
            let at: Timestamp = rfc2822::DateTimeParser::new()
                .parse_timestamp(date.as_deref().unwrap_or(text))
                .ok()?;
            at.as_second() as f64 - now
        }
    };
    Some(seconds.clamp(0.0, 3600.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn read(status: u16, fields: &[(&'static str, &'static str)]) -> Lesson {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        lesson(StatusCode::from_u16(status).unwrap(), &headers, 1_767_225_600.0)
    }

    #[test]
    fn the_fields_of_mixpanel() {
        let policy = r#""project";q=60;w=3600, "project-concurrency";q=5;qu="concurrent-requests""#;
        let full = read(
            429,
            &[
                ("ratelimit-policy", policy),
                ("ratelimit", r#""project";r=0;t=3600, "project-concurrency";r=3"#),
            ],
        );
        assert_eq!(
            (full.limit, full.left, full.reset, full.at_once),
            (Some(60), Some(0), Some(3600.0), Some(5))
        );
        assert!(!full.crowded);
        let crowded = read(
            429,
            &[
                ("ratelimit-policy", policy),
                ("ratelimit", r#""project";r=9;t=1"#),
                ("ratelimit", r#""project-concurrency";r=0"#),
            ],
        );
        assert!(crowded.crowded && crowded.left == Some(9));
        assert_eq!(
            read(503, &[("retry-after", "7")]),
            Lesson { retry_after: Some(7.0), ..Lesson::default() }
        );
        let date = read(429, &[("retry-after", "Thu, 01 Jan 2026 00:00:30 GMT")]);
        assert_eq!(date.retry_after, Some(30.0));
        assert_eq!(read(429, &[("retry-after", "999999")]).retry_after, Some(3600.0));
    }

    #[test]
    fn the_fields_of_older_drafts() {
        let told = |lesson: Lesson| (lesson.limit, lesson.window, lesson.left, lesson.reset);
        let expected = (Some(60), Some(3600), Some(0), Some(30.0));
        let seven = read(
            429,
            &[
                ("ratelimit-policy", "3;w=1, 60;w=3600;comment=\"hour\""),
                ("ratelimit", "limit=60, remaining=0, reset=30"),
            ],
        );
        assert_eq!(told(seven), expected);
        let six = read(
            429,
            &[
                ("ratelimit-limit", "60, 3;w=1, 60;w=3600"),
                ("ratelimit-remaining", "0"),
                ("ratelimit-reset", "30"),
            ],
        );
        assert_eq!(told(six), expected);
        // A limit whose window is not said is no lesson; what is left is.
        let bare = read(200, &[("ratelimit-limit", "60"), ("ratelimit-remaining", "7")]);
        assert_eq!(told(bare), (None, None, Some(7), None));
        for value in ["limit=60, remaining=x", "remaining=-1", "remaining=(1)", "remaining"] {
            assert_eq!(told(read(429, &[("ratelimit", value)])).2, None, "{value}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for value in [
            "",
            "\"project\"",
            "\"project\";r=x",
            "\"project\";r=-1",
            "\"project",
            "(\"project\");r=0",
            "\"other\";r=0",
            "\"project\";r=99999999999",
            "\"project\";r=0;",
        ] {
            assert_eq!(read(429, &[("ratelimit", value)]), Lesson::default(), "{value}");
        }
        for value in ["-1", "soon", "", "1.5", "Thu, 99 Jan 2026 00:00:30 GMT"] {
            assert_eq!(read(429, &[("retry-after", value)]), Lesson::default(), "{value}");
        }
        assert_eq!(read(429, &[("ratelimit-policy", "\"project\";q=0")]).limit, None);
    }
}
