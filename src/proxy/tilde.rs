//! `~` in `/api/app/projects/~/…` and `/api/app/workspaces/~/…`: the session's own project or
//! workspace, so that a script need not know the number. Called by `handler`.
//! Invariant: of these two shapes one segment is replaced; every other byte stays.

use super::shared::Proxy;
use crate::model::{
    refusal::{Code, Refusal},
    session::Session,
};
use bytes::Bytes;
use http::{Uri, uri::PathAndQuery};

/// What the `~` of a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// The project.
    Project,
    /// The workspace.
    Workspace,
}

const PROJECTS: &str = "/api/app/projects/";
const WORKSPACES: &str = "/api/app/workspaces/";

/// What the path leaves to the session, if anything.
#[must_use]
pub fn find(path: &str) -> Option<Stands> {
    let left = |start: &str| path.strip_prefix(start).is_some_and(|rest| rest.starts_with("~/"));
    match path {
        _ if left(PROJECTS) => Some(Stands::Project),
        _ if left(WORKSPACES) => Some(Stands::Workspace),
        _ => None,
    }
}

/// The request target with the number in place of `~`.
///
/// # Errors
/// The workspace is not known and `/me` does not tell it.
pub async fn fill(
    stands: Stands,
    uri: &Uri,
    session: &Session,
    proxy: &Proxy,
) -> Result<Uri, Refusal> {
    match stands {
        Stands::Project => put(uri, PROJECTS, session.project.as_str()),
        Stands::Workspace => {
            let id = proxy.workspaces.of(session, &proxy.tokens).await?;
            put(uri, WORKSPACES, &id.to_string())
        }
    }
}

fn put(uri: &Uri, start: &str, id: &str) -> Result<Uri, Refusal> {
    let malformed = || {
        Refusal::new(Code::BadRequest, "the request target is too long or malformed")
            .hint("shorten the query or send it as a body")
    };
    let given = uri.path_and_query().ok_or_else(malformed)?.as_str();
    let rest = given.strip_prefix(start).and_then(|rest| rest.strip_prefix('~'));
    let filled = format!("{start}{id}{}", rest.ok_or_else(malformed)?);
    let filled = PathAndQuery::from_maybe_shared(Bytes::from(filled)).map_err(|_| malformed())?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(filled);
    Uri::from_parts(parts).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_shapes_and_nothing_else() {
        assert_eq!(find("/api/app/projects/~/x"), Some(Stands::Project));
        assert_eq!(find("/api/app/workspaces/~/"), Some(Stands::Workspace));
        for path in [
            "/api/app/projects/~",
            "/api/app/projects/~x/y",
            "/api/app/projects/%7E/x",
            "/api/app//projects/~/x",
            "/api/app/projects/1/~/x",
            "/api/query/projects/~/x",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn every_other_byte_stays() {
        for (given, wanted) in [
            ("/api/app/projects/~/a%2Fb//~/?q=~&r=%7e", "/api/app/projects/12/a%2Fb//~/?q=~&r=%7e"),
            ("http://127.0.0.1:1/api/app/projects/~/", "http://127.0.0.1:1/api/app/projects/12/"),
        ] {
            let filled = put(&given.parse().unwrap(), PROJECTS, "12").unwrap();
            assert_eq!(filled, wanted.parse::<Uri>().unwrap());
            assert_eq!(filled.to_string(), wanted);
        }
    }
}
