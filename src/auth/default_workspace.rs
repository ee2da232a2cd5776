//! The workspace of a session that names none: the project's default one, from `/me`. Called by
//! the corridor for paths that ask for it.
//! Invariants: asked for once a day and project of a login, however many requests need it at
//! once; a slow answer holds up no other project.

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
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

const KEPT: Duration = Duration::from_secs(86_400);
/// Projects that are remembered; a caller who asks for more gets them looked up anew.
const MOST: usize = 10_000;

/// What was found so far.
#[derive(Debug, Default)]
pub struct DefaultWorkspaces(Mutex<HashMap<Key, Arc<Slot>>>);

/// A login and a project.
type Key = (String, ProjectId);

/// The answer for one project; locked while the server is asked, so that whoever else needs it
/// waits for this one, and nobody else does.
type Slot = tokio::sync::Mutex<Option<Answer>>;

#[derive(Debug)]
struct Answer {
    said: Result<WorkspaceId, Refusal>,
    at: Instant,
}

impl Answer {
    /// Good for a day; a failure only for those who waited for it.
    fn holds(&self, asked: Instant) -> bool {
        if self.said.is_ok() { self.at.elapsed() < KEPT } else { self.at >= asked }
    }
}

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
        let asked = Instant::now();
        let slot = self.slot((authorization.login(), session.project.clone()));
        let mut slot = slot.lock().await;
        if let Some(answer) = slot.as_ref().filter(|answer| answer.holds(asked)) {
            return answer.said.clone();
        }
        let said = ask(session, resolvers).await;
        *slot = Some(Answer { said: said.clone(), at: Instant::now() });
        said
    }

    fn slot(&self, key: Key) -> Arc<Slot> {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= MOST && !found.contains_key(&key) {
            found.clear();
        }
        Arc::clone(found.entry(key).or_default())
    }
}

async fn ask(session: &Session, resolvers: &TokenResolvers) -> Result<WorkspaceId, Refusal> {
    let all = me(session, Freshness::Cached, resolvers).await?;
    all.default_workspace(&session.project).map(|one| one.id).ok_or_else(|| {
        let message = format!(
            "`/me` of account `{}` knows no workspace of project `{}`",
            session.account.name, session.project
        );
        Refusal::new(Code::ProjectNotFound, message)
            .hint("run: mp-proxy project list --refresh, or send the header X-Mp-Workspace: ID")
    })
}
