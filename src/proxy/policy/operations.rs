//! What an operation does: the table `operations.tsv`, method and path to a class.
//! Called by `policy` for `--read-only`, by the cache and by the audit trail.
//! Invariant: what the table does not have is a write.

use http::Method;
use std::sync::LazyLock;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It only reads.
    Read,
    /// It changes something, or nobody knows.
    Write,
    /// It mints or returns a secret, or a link that works like one.
    Secret,
}

impl Class {
    /// The word of the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Secret => "secret",
        }
    }
}

/// The class of a method and the decoded, non-empty segments of a path.
#[must_use]
pub fn classify(method: &Method, segments: &[impl AsRef<str>]) -> Class {
    lookup(method, segments).unwrap_or(Class::Write)
}

/// The same; `None` if the table does not have the operation.
#[must_use]
pub fn lookup(method: &Method, segments: &[impl AsRef<str>]) -> Option<Class> {
    let method = if *method == Method::HEAD { Method::GET } else { method.clone() };
    let fits = |row: &&Row| row.method == method.as_str() && row.fits(segments);
    // Of `annotations/tags` and `annotations/{id}` the one with more words is meant.
    TABLE.iter().filter(fits).max_by_key(|row| (row.words(), row.class)).map(|row| row.class)
}

static TABLE: LazyLock<Vec<Row>> =
    LazyLock::new(|| include_str!("operations.tsv").lines().flat_map(rows).collect());

struct Row {
    class: Class,
    method: &'static str,
    /// `None` takes any one segment.
    segments: Vec<Option<&'static str>>,
}

impl Row {
    fn fits(&self, segments: &[impl AsRef<str>]) -> bool {
        self.segments.len() == segments.len()
            && self
                .segments
                .iter()
                .zip(segments)
                .all(|(want, have)| want.is_none_or(|want| want == have.as_ref()))
    }

    fn words(&self) -> usize {
        self.segments.iter().flatten().count()
    }
}

const SCOPES: [&str; 3] = ["projects/{id}", "workspaces/{id}", "projects/{id}/workspaces/{id}"];

/// One line of the file: none for a comment, three for a `{scope}`.
fn rows(line: &'static str) -> Vec<Row> {
    let mut fields = line.split('\t');
    let class = match fields.next() {
        Some("read") => Class::Read,
        Some("write") => Class::Write,
        Some("secret") => Class::Secret,
        _ => return Vec::new(),
    };
    let (Some(method), Some(path)) = (fields.next(), fields.next()) else { return Vec::new() };
    let row = |parts: Vec<&'static str>| Row {
        class,
        method,
        segments: parts.into_iter().map(|part| (!part.starts_with('{')).then_some(part)).collect(),
    };
    let split = |text: &'static str| text.split('/').filter(|part| !part.is_empty());
    match path.split_once("{scope}") {
        None => vec![row(split(path).collect())],
        Some((before, after)) => SCOPES
            .iter()
            .map(|scope| row(split(before).chain(split(scope)).chain(split(after)).collect()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(method: Method, path: &str) -> Class {
        let segments: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        classify(&method, &segments)
    }

    #[test]
    fn every_line_of_the_table_is_read_once() {
        let lines: Vec<_> = include_str!("operations.tsv")
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        for line in &lines {
            assert!(!rows(line).is_empty(), "not understood: {line}");
            assert_eq!(lines.iter().filter(|other| *other == line).count(), 1, "twice: {line}");
        }
    }

    #[test]
    fn every_published_operation_has_a_class() {
        let published = include_str!("../../../tests/data/operations.tsv");
        let mut seen = 0;
        let mut specs = std::collections::BTreeSet::new();
        for line in published.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<_> = line.split('\t').collect();
            let [spec, id, method, path] = fields.as_slice() else { panic!("{line}") };
            let segments: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
            // A row of its own, word for word: one with a `{…}` in place of a word would hide
            // that the operation is missing.
            let shape: Vec<_> =
                segments.iter().map(|part| (!part.starts_with('{')).then_some(*part)).collect();
            let rows = TABLE.iter().filter(|row| row.method == *method && row.segments == shape);
            assert_eq!(rows.count(), 1, "no row, or several, for {spec} {id}: {line}");
            specs.insert(*spec);
            seen += 1;
        }
        assert_eq!((specs.len(), seen), (13, 105));
    }

    #[test]
    fn reads_by_post_pass_and_the_unknown_is_a_write() {
        for path in ["/api/query/engage", "/api/query/cohorts/list", "/api/query/jql"] {
            assert_eq!(class(Method::POST, path), Class::Read, "{path}");
        }
        for (method, path, expected) in [
            (Method::HEAD, "/api/query/insights", Class::Read),
            (Method::GET, "/api/app/workspaces/1/dashboards/2", Class::Read),
            (Method::GET, "/api/app/projects/1/annotations/tags/", Class::Read),
            (Method::POST, "/api/app/projects/1/annotations/tags", Class::Write),
            (Method::GET, "/api/app/anything/new", Class::Write),
            (Method::GET, "/api/query/Insights", Class::Write),
            (Method::DELETE, "/api/query/insights", Class::Write),
            (Method::POST, "/mcp", Class::Write),
            (Method::POST, "/api/app/organizations/1/service-accounts", Class::Secret),
            (Method::POST, "/oauth/token", Class::Secret),
            (Method::GET, "/api/app/projects/1/webhooks", Class::Secret),
            (Method::GET, "/api/app/data-retrievals/v3.0/9", Class::Secret),
        ] {
            assert_eq!(class(method.clone(), path), expected, "{method} {path}");
        }
    }
}
