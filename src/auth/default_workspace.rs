//! The workspace of a session that names none: the project's default one, from `/me`. Called by
//! the corridor for paths that ask for it. Invariant: asked for once a day and project of a
//! login, however many requests need it at once.

use super::{
    credential::{self, Scheme},
    me::{Freshness, me},
    token_resolver::TokenResolvers,
};
use crate::model::{
    id::{ProjectId, WorkspaceId},
    refusal::{Code, Refusal},
    session::Session,
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

const KEPT: Duration = Duration::from_secs(86_400);
/// Projects that are remembered; a caller who asks for more gets them looked up anew.
const MOST: usize = 10_000;

/// What was found so far.
#[derive(Debug, Default)]
pub struct DefaultWorkspaces(Mutex<HashMap<(String, ProjectId), (WorkspaceId, Instant)>>);

impl DefaultWorkspaces {
    /// The session's own workspace, else the default one of its project.
    ///
    /// # Errors
    /// As [`me`]; `PROJECT_NOT_FOUND` for a project that has no workspace which the credential
    /// reaches.
    pub async fn of(
        &self,
        session: &Session,
        resolvers: &TokenResolvers,
    ) -> Result<WorkspaceId, Refusal> {
        if let Some(own) = session.workspace {
            return Ok(own);
        }
        let scheme = Scheme::Session;
        let authorization =
            credential::authorize(session, scheme, resolvers.env(), resolvers).await?;
        let key = (authorization.login(), session.project.clone());
        // Held while the server is asked: whoever else needs an answer waits for this one.
        let mut found = self.0.lock().await;
        if let Some((id, since)) = found.get(&key)
            && since.elapsed() < KEPT
        {
            return Ok(*id);
        }
        let all = me(session, Freshness::Cached, resolvers).await?;
        let id = all.default_workspace(&session.project).map(|one| one.id).ok_or_else(|| {
            let message = format!(
                "`/me` of account `{}` knows no workspace of project `{}`",
                session.account.name, session.project
            );
            Refusal::new(Code::ProjectNotFound, message)
                .hint("run: mp-proxy project list --refresh, or send the header X-Mp-Workspace: ID")
        })?;
        if found.len() >= MOST {
            found.clear();
        }
        found.insert(key, (id, Instant::now()));
        Ok(id)
    }
}
