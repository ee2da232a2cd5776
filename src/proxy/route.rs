//! Path to host, signature and injected parameters: the table of `routes.json`.
//! Called by `handler` before a secret is read.
//! Invariant: whole path segments, first match wins, case-sensitive; anything else goes nowhere.

use crate::{
    auth::credential::Scheme,
    model::{
        origin::Family,
        refusal::{Code, Refusal},
    },
};

/// Where a path goes and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The path prefix; also the route's name in logs.
    pub prefix: &'static str,
    /// The family of hosts.
    pub family: Family,
    /// How it is signed; `None` adds no credential.
    pub scheme: Option<Scheme>,
    /// What is appended to the query.
    pub inject: Inject,
}

/// Parameters appended to the query where the caller gave none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inject {
    /// The query stays as it is.
    Nothing,
    /// `project_id`.
    Project,
    /// `project_id`, then `workspace_id`.
    ProjectAndWorkspace,
}

const fn route(
    prefix: &'static str,
    family: Family,
    scheme: Option<Scheme>,
    inject: Inject,
) -> Route {
    Route { prefix, family, scheme, inject }
}

const SESSION: Option<Scheme> = Some(Scheme::Session);

/// The table, in matching order.
pub const ROUTES: [Route; 20] = [
    route("/api/2.0/export", Family::Data, SESSION, Inject::Project),
    route("/api/2.0/nessie", Family::Data, SESSION, Inject::Project),
    route("/api/2.0", Family::App, SESSION, Inject::ProjectAndWorkspace),
    route("/api/query", Family::App, SESSION, Inject::ProjectAndWorkspace),
    route("/api/app/data-retrievals", Family::App, Some(Scheme::Bearer), Inject::Nothing),
    route("/api/app/data-deletions", Family::App, Some(Scheme::Bearer), Inject::Nothing),
    route("/api/app", Family::App, SESSION, Inject::Nothing),
    route("/oauth", Family::App, None, Inject::Nothing),
    route("/s", Family::App, SESSION, Inject::Nothing),
    route("/import", Family::Ingestion, SESSION, Inject::Project),
    route("/lookup-tables", Family::Ingestion, SESSION, Inject::Project),
    route("/flags", Family::Ingestion, SESSION, Inject::Project),
    route("/track", Family::Ingestion, None, Inject::Nothing),
    route("/engage", Family::Ingestion, None, Inject::Nothing),
    route("/groups", Family::Ingestion, None, Inject::Nothing),
    route("/record", Family::Ingestion, None, Inject::Nothing),
    route("/decide", Family::Ingestion, None, Inject::Nothing),
    route("/mcp", Family::Mcp, Some(Scheme::Mcp), Inject::Nothing),
    route("/.well-known/oauth-protected-resource", Family::Mcp, None, Inject::Nothing),
    route("/.well-known/oauth-authorization-server", Family::Mcp, None, Inject::Nothing),
];

/// Finds the route of a path.
///
/// # Errors
/// No route has it, or it has dot segments.
pub fn find(path: &str) -> Result<&'static Route, Refusal> {
    // SECURITY: `/track/../api/app` would be routed as one thing and answered as another.
    // Most paths have none of these bytes, and then no such segment in any spelling.
    let suspect = path.bytes().any(|byte| matches!(byte, b'.' | b'%' | b'\\'));
    if suspect && path.split('/').any(is_dot_segment) {
        return Err(Refusal::new(Code::BadRequest, "the path has `.` or `..` segments")
            .hint("send the path already resolved"));
    }
    ROUTES
        .iter()
        .find(|route| path.strip_prefix(route.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        .ok_or_else(|| {
            Refusal::new(Code::RouteNotFound, format!("no Mixpanel API is served under `{path}`"))
                .hint("paths start with /api/query, /api/2.0, /api/app, /import, /lookup-tables, /flags, /track, /engage, /groups, /oauth, /s or /mcp")
        })
}

/// `.` or `..`, percent-encoded or not, and also where `%2F` or `\` hides the slash.
fn is_dot_segment(segment: &str) -> bool {
    if !segment.bytes().any(|byte| byte == b'%' || byte == b'\\') {
        return segment == "." || segment == "..";
    }
    let plain = segment
        .to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "/")
        .replace('\\', "/");
    plain.split('/').any(|part| part == "." || part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_segments_first_match_case_sensitive() {
        let prefix = |path| find(path).map(|route| route.prefix).map_err(|refusal| refusal.code);
        assert_eq!(prefix("/api/2.0/export"), Ok("/api/2.0/export"));
        assert_eq!(prefix("/api/2.0/exports"), Ok("/api/2.0"));
        assert_eq!(prefix("/api/query/a%2Fb//c/"), Ok("/api/query"));
        for path in ["/", "/api", "/API/query", "/api/queryx", "//api/query", "/report/1", "/st"] {
            assert_eq!(prefix(path), Err(Code::RouteNotFound), "{path}");
        }
        for path in ["/track/../api/app", "/track/%2E%2e/x", "/s/./x", "/s/..%2fx", "/s/..\\x"] {
            assert_eq!(prefix(path), Err(Code::BadRequest), "{path}");
        }
    }
}
