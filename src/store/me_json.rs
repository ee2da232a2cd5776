//! The JSON of `/me`, read as a stream and written for the cache. Called by `me_cache` and by
//! `auth/me.rs`.
//! Invariant: memory goes with the number of projects and workspaces, not with the length of the
//! text: lists of members and whatever else is long is skipped as it passes.

mod entry;
mod read;
mod small;
mod write;

use self::read::Answer;
use crate::model::me::Me;
use serde::de::DeserializeSeed as _;
use std::{cell::Cell, io::Read};
pub use write::{Extras, write};

/// How many bytes of keys that we have no use for are kept in all.
const BUDGET: usize = 256 * 1024;

/// What an answer or a cache file says.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The answer itself.
    pub me: Me,
    /// Whether there was anything that looks like an answer of `/me`.
    pub recognized: bool,
}

/// The text was not JSON, or broke off. Holds the place only, nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid JSON at line {line}, column {column}")]
pub struct NotJson {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
}

/// Reads one answer, in its envelope or without it.
///
/// # Errors
/// [`NotJson`].
pub fn parse(reader: impl Read) -> Result<Parsed, NotJson> {
    let mut json = serde_json::Deserializer::from_reader(std::io::BufReader::new(reader));
    let mut parsed = Parsed::default();
    let budget = Cell::new(BUDGET);
    Answer { into: &mut parsed, budget: &budget }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| NotJson { line: error.line(), column: error.column() })?;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::{
        small::{LONGEST, MOST},
        *,
    };
    use serde_json::{Map, json};

    fn read(text: &str) -> Parsed {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_is_read_with_and_without_its_envelope() {
        let bare = r#"{"user_id": 42, "user_email": "a@b.c", "user_name": null, "flag": true,
            "organizations": {"1": {"id": 1, "name": "Acme", "role": "admin", "permissions": ["x", "y"]}},
            "projects": {"9": {"name": "Shop", "organization_id": 1, "domain": "mixpanel.com", "deep": {"a": 1}},
                         "not-an-id": {"name": "x"}},
            "workspaces": {"70": {"id": 70, "name": "First", "project_id": 9}, "7": {"id": 7, "name": "All", "project_id": 9, "is_global": true,
                                 "member_list": [{"a": [1, 2]}, 3]}}}"#;
        for text in [bare.to_owned(), format!(r#"{{"status": "ok", "results": {bare}}}"#)] {
            let Parsed { me, recognized } = read(&text);
            assert!(recognized);
            assert_eq!((me.user_id, me.user_email.as_deref()), (Some(42), Some("a@b.c")));
            assert_eq!(me.organizations[0].extra["permissions"], json!(["x", "y"]));
            assert_eq!(me.projects.len(), 1);
            assert_eq!(me.projects[0].domain.as_deref(), Some("mixpanel.com"));
            assert_eq!(me.workspaces[0].id.get(), 70, "the order is the server's");
            assert_eq!(me.workspaces[1].is_global, Some(true));
            assert!(me.workspaces[1].extra.is_empty() && me.projects[0].extra.is_empty());
            let before = Map::from_iter([("cached_at".to_owned(), json!(1.5))]);
            let mut again = parse(write(&me, Extras::Kept, &before).as_slice()).unwrap().me;
            assert_eq!(again.extra.remove("cached_at"), Some(json!(1.5)));
            assert_eq!(again, me);
            let lean = String::from_utf8(write(&me, Extras::Dropped, &before)).unwrap();
            assert!(!lean.contains("permissions") && lean.contains("mixpanel.com"));
        }
        assert!(
            !read(r#"{"status": "ok", "results": [1]}"#.replace("[1]", "{}").as_str()).recognized
        );
    }

    #[test]
    fn what_is_no_answer_is_an_error_that_quotes_nothing() {
        for text in
            ["", "[]", "s3cr3t", r#"{"a": s3cr3t}"#, r#"{"results": {"projects": {"#, "{} x"]
        {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn long_values_pass_by() {
        let long = "x".repeat(LONGEST + 1);
        let many = vec!["1"; MOST + 1].join(",");
        let text = format!(
            r#"{{"user_id": 1, "a": "{long}", "b": [{many}], "c": {{"d": "{long}"}}, "e": [[1]], "f": [1]}}"#
        );
        let me = read(&text).me;
        assert_eq!(me.extra.keys().collect::<Vec<_>>(), ["f"]);
        let wide: Vec<String> = (0..20_000).map(|n| format!(r#""k{n}": 1"#)).collect();
        let me = read(&format!(r#"{{"user_id": 1, {}, "user_name": "n"}}"#, wide.join(","))).me;
        assert!(me.extra.len() < 16_000, "the budget holds: {}", me.extra.len());
        assert_eq!(me.user_name.as_deref(), Some("n"));
    }
}
