//! What callers may do, as data: made by `store::policy_file` and from flags, judged by
//! `proxy::policy`. Invariant: an absent `allow` list allows all, an empty one nothing.

use super::id::{ProjectId, WorkspaceId};

/// One set of rules. The default forbids nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Where the rules stand, for messages: a file, or the flags.
    pub source: String,
    /// Whether writes and secrets are refused.
    pub access: Access,
    /// Accounts, by name.
    pub accounts: Lists<String>,
    /// Targets, by name.
    pub targets: Lists<String>,
    /// Projects.
    pub projects: Lists<ProjectId>,
    /// Routes and operations.
    pub routes: Lists<RouteRule>,
    /// Methods, in capitals.
    pub methods: Lists<String>,
    /// Workspaces that are known to belong to allowed projects.
    pub workspaces: Vec<WorkspaceId>,
    /// Requests that name their project by its token. Matters under project rules only.
    pub by_token: Unchecked,
    /// Requests that name no project at all. Matters under project rules only.
    pub unscoped: Unchecked,
    /// Bodies that cannot be looked into. Matters under project rules only.
    pub bodies: Bodies,
}

/// What a caller may do with what it reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    /// Anything.
    #[default]
    Full,
    /// Operations that only read.
    ReadOnly,
}

/// What becomes of a request that project rules cannot judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unchecked {
    /// It is refused.
    #[default]
    Refuse,
    /// It passes.
    Pass,
}

/// What becomes of request bodies under project rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bodies {
    /// Small JSON and form bodies are looked into; of the others, those of operations that take
    /// their project from the body are refused.
    #[default]
    Inspect,
    /// Whatever cannot be looked into is refused.
    Strict,
}

/// Who is allowed and who is not; `deny` wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lists<T> {
    /// If present, only these.
    pub allow: Option<Vec<T>>,
    /// None of these.
    pub deny: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { allow: None, deny: Vec::new() }
    }
}

impl<T> Lists<T> {
    /// Whether they forbid nothing.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }

    /// Whether something is allowed, given how it fits an entry.
    #[must_use]
    pub fn allows(&self, fits: impl Fn(&T) -> bool) -> bool {
        !self.deny.iter().any(&fits)
            && self.allow.as_ref().is_none_or(|allow| allow.iter().any(&fits))
    }
}

/// A route prefix, for one method or for all: `/api/query` or `GET /api/query/insights`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// The method, in capitals.
    pub method: Option<String>,
    /// The leading segments; `*` takes any one.
    pub segments: Vec<String>,
}

impl RouteRule {
    /// Parses `[METHOD ]/PATH`.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(method), path.trim()),
            None => (None, text),
        };
        if method.is_some_and(|method| !is_method(method)) {
            return Err("must begin with a method in capitals or with `/`");
        }
        let Some(path) = path.strip_prefix('/') else {
            return Err("must hold a path that begins with `/`");
        };
        if path.contains(['%', '?', '#', ' ', '\\', ';']) {
            return Err("must be a plain path, not encoded and without a query");
        }
        let segments = path.trim_end_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>();
        if segments.iter().any(|part| part.is_empty() || part == "." || part == "..") {
            return Err("must have no empty and no dot segments");
        }
        Ok(Self { method: method.map(str::to_owned), segments })
    }

    /// Whether a method and path segments fall under the rule; `same` compares two segments.
    pub fn fits(
        &self,
        method: &str,
        segments: &[String],
        same: impl Fn(&str, &str) -> bool,
    ) -> bool {
        self.method.as_deref().is_none_or(|want| want == method)
            && self.segments.len() <= segments.len()
            && self
                .segments
                .iter()
                .zip(segments)
                .all(|(want, have)| want == "*" || same(want, have))
    }
}

/// Whether the text can be a method: capitals only, so that no case slips past a list.
#[must_use]
pub fn is_method(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_wins_and_an_empty_allow_allows_nothing() {
        let lists = |allow: Option<&[i32]>, deny: &[i32]| Lists {
            allow: allow.map(<[i32]>::to_vec),
            deny: deny.to_vec(),
        };
        let ok = |lists: &Lists<i32>, value: i32| lists.allows(|one| *one == value);
        assert!(ok(&lists(None, &[]), 1) && lists(None, &[]).is_open());
        assert!(!ok(&lists(Some(&[]), &[]), 1) && !lists(Some(&[]), &[]).is_open());
        assert!(ok(&lists(Some(&[1]), &[]), 1) && !ok(&lists(Some(&[1]), &[]), 2));
        assert!(!ok(&lists(Some(&[1]), &[1]), 1) && !ok(&lists(None, &[1]), 1));
    }

    #[test]
    fn a_route_rule_is_a_prefix_of_whole_segments() {
        let fits = |rule: &str, method: &str, path: &str| {
            let segments: Vec<_> = path[1..].split('/').map(str::to_owned).collect();
            RouteRule::parse(rule).unwrap().fits(method, &segments, |a, b| a == b)
        };
        assert!(fits("/api/query", "GET", "/api/query/insights"));
        assert!(fits("/api/*/projects/", "GET", "/api/app/projects/1"));
        assert!(!fits("/api/query", "GET", "/api/queryx"));
        assert!(!fits("/api/query/x", "GET", "/api/query"));
        assert!(fits("POST /import", "POST", "/import") && !fits("POST /import", "GET", "/import"));
        for bad in ["api", "get /x", "/", "/a//b", "/a/../b", "/a%2Fb", "/a?b", "GET", "", "GET x"]
        {
            assert!(RouteRule::parse(bad).is_err(), "{bad:?}");
        }
    }
}
