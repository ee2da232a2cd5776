//! A session with all that its requests share, made once: the `Authorization` values that do
//! not expire, what the answer says of it, the parameters that are appended.
//! Kept by the proxy's workers for as long as the snapshot stays the same.

use super::{
    credential::{self, Authorization, Scheme},
    token_resolver::{TokenResolver, TokenResolvers},
};
use crate::{
    model::{account::Credential, refusal::Refusal, session::Session},
    sys::env::Env,
};
use http::HeaderValue;
use std::sync::Arc;

/// A resolved session, ready to be sent as.
#[derive(Debug)]
pub struct ReadySession {
    /// The session itself.
    pub session: Session,
    /// The value of `X-Mp-Resolved`.
    pub resolved: HeaderValue,
    /// `project_id=…`.
    pub project_parameter: String,
    /// `workspace_id=…`, if the session has a workspace.
    pub workspace_parameter: Option<String>,
    /// The login that the session is signed by, if it is a browser's.
    pub login: Option<Arc<dyn TokenResolver>>,
    lasting: Option<Lasting>,
}

/// The header values of a credential that does not expire, or why there is none.
#[derive(Debug)]
struct Lasting {
    session: Result<Authorization, Refusal>,
    bearer: Result<Authorization, Refusal>,
    mcp: Result<Authorization, Refusal>,
}

impl ReadySession {
    /// Prepares a session.
    #[must_use]
    pub fn new(session: Session, env: &Env, resolvers: &TokenResolvers) -> Self {
        let lasting = match session.account.credential {
            Credential::OauthBrowser => None,
            Credential::ServiceAccount { .. } | Credential::OauthToken(_) => Some(Lasting {
                session: credential::lasting(&session, Scheme::Session, env),
                bearer: credential::lasting(&session, Scheme::Bearer, env),
                mcp: credential::lasting(&session, Scheme::Mcp, env),
            }),
        };
        Self {
            resolved: resolved(&session),
            project_parameter: format!("project_id={}", session.project),
            workspace_parameter: session.workspace.map(|id| format!("workspace_id={id}")),
            login: resolvers.of(&session),
            session,
            lasting,
        }
    }

    /// The header for a route; waits only if the token of a browser login has to be renewed.
    ///
    /// # Errors
    /// As [`credential::authorize`].
    pub async fn authorization(&self, scheme: Scheme) -> Result<Authorization, Refusal> {
        match (self.lasting(scheme), &self.login) {
            (None, Some(login)) => credential::from_login(&**login).await,
            (Some(lasting), _) => lasting,
            // Made together: a session has one or the other.
            (None, None) => Err(Refusal::config("the session has no credential")),
        }
    }

    /// The credential, unless it is one that expires.
    fn lasting(&self, scheme: Scheme) -> Option<Result<Authorization, Refusal>> {
        let lasting = self.lasting.as_ref()?;
        Some(match scheme {
            Scheme::Session => lasting.session.clone(),
            Scheme::Bearer => lasting.bearer.clone(),
            Scheme::Mcp => lasting.mcp.clone(),
        })
    }
}

/// As whom the request went, and what the environment overruled.
fn resolved(session: &Session) -> HeaderValue {
    let mut text = format!("account={}; project={}", session.account.name, session.project);
    if let Some(workspace) = session.workspace {
        text.push_str(&format!("; workspace={workspace}"));
    }
    text.push_str(&format!("; region={}", session.account.region));
    if !session.overruled.is_empty() {
        text.push_str(&format!("; overruled-by={}", session.overruled.join(",")));
    }
    // Names and ids are ASCII by construction.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
