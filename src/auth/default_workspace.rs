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
        match self.said {
            Ok(_) => asked.saturating_duration_since(self.at) < KEPT,
            Err(_) => self.at >= asked,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_a_day_and_a_failure_for_those_who_waited() {
        let at = Instant::now();
        let good = Answer { said: Ok(WorkspaceId::try_from(7).unwrap()), at };
        let bad = Answer { said: Err(Refusal::config("no")), at };
        let moment = Duration::from_nanos(1);
        for (asked, expected) in [
            (at, (true, true)),
            (at + moment, (true, false)),
            (at + KEPT - moment, (true, false)),
            (at + KEPT, (false, false)),
        ] {
            assert_eq!((good.holds(asked), bad.holds(asked)), expected, "{:?}", asked - at);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let all = DefaultWorkspaces::default();
        let key =
            |number: usize| ("login".to_owned(), ProjectId::parse(&number.to_string()).unwrap());
        let first = all.slot(key(1));
        for number in 2..=MOST {
            all.slot(key(number));
        }
        assert!(Arc::ptr_eq(&first, &all.slot(key(1))), "the same for all who ask for it");
        all.slot(key(MOST + 1));
        assert_eq!(all.0.lock().unwrap().len(), 1);
    }
}
