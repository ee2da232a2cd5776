//! One renewal of one login, from the lock to the file. Run by `login`, one at a time.
//! Invariants: the refresh token that is sent was read under the lock; what the server gives is
//! on disk before it is used; a login counts as ended only after the files were read once more.

use super::{
    flight::Need,
    keeper::{Found, Keeper, Locks, Saved},
    login::Login,
    state::Outcome,
    stats::Event,
};
use crate::{
    auth::oauth::grant::Grant,
    model::{
        refusal::{Code, Refusal},
        tokens::Tokens,
    },
};
use oauth2::ClientId;
use std::{sync::Arc, time::Duration};

/// How long to look for the tokens of another program, which writes them a moment after the
/// server told it, and us that we were late.
const LATE: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_millis(1000),
];
/// How many refresh tokens are tried, each newer than the one before.
const TRIES: usize = 3;

impl<K: Keeper> Login<K> {
    /// Renews the tokens, or finds that somebody else did.
    pub(super) async fn renew(self: Arc<Self>, need: Need) -> Outcome {
        let outcome = Arc::clone(&self).renew_locked(need).await;
        if let Err(refusal) = &outcome {
            let event = match refusal.code {
                Code::OauthRefreshRevoked => Event::Revoked,
                _ => Event::Failed,
            };
            self.record(event, Some(refusal.code));
            self.lock().pause.fail(self.parts.clock.now().mono, refusal.clone());
        }
        outcome
    }

    async fn renew_locked(self: Arc<Self>, need: Need) -> Outcome {
        let me = Arc::clone(&self);
        let locks = blocking(move || me.keeper.lock()).await?;
        // Somebody may have renewed them while we waited for the lock.
        let mut found = match self.look_for(need.clone()).await? {
            Looked::Met(outcome) => return Ok(outcome),
            Looked::Unmet(found) => found,
        };
        let mut tries = 1;
        loop {
            let (client, grant) = self.ask(found.clone()).await;
            let refusal = match grant {
                Ok(grant) => return self.land(locks, found, client, grant).await,
                Err(refusal) => refusal,
            };
            match self.look_late(need.clone(), found.clone(), refusal.code).await {
                Some(Looked::Met(outcome)) => return Ok(outcome),
                Some(Looked::Unmet(newer)) if tries < TRIES => {
                    (found, tries) = (newer, tries + 1);
                }
                _ => return Err(refusal),
            }
        }
    }

    /// Asks the server.
    async fn ask(&self, found: Found) -> (ClientId, Result<Grant, Refusal>) {
        let client = match self.keeper.client_id(&found.tokens) {
            Ok(client) => ClientId::new(client),
            Err(refusal) => return (ClientId::new(String::new()), Err(refusal)),
        };
        let Some(refresh) = &found.tokens.refresh_token else {
            return (client, Err(self.no_refresh_token()));
        };
        let name = &self.parts.account.name;
        let asked = self.parts.endpoint.refresh(name, &client, refresh).await;
        let asked = asked.map_err(|refusal| match refusal.code {
            Code::OauthRefreshRevoked => refusal.hint(self.keeper.login_hint()),
            _ => refusal,
        });
        (client, asked)
    }

    /// Reads the files under the lock.
    async fn look_for(self: &Arc<Self>, need: Need) -> Result<Looked, Refusal> {
        let me = Arc::clone(self);
        let broken = blocking(move || {
            let mut state = me.lock();
            me.look(&mut state);
            state.broken.clone().map_or(Ok(()), Err)
        });
        broken.await?;
        if let Some(token) =
            self.held().filter(|token| need.is_met_by(token, self.parts.clock.now()))
        {
            self.record(Event::Adopted, None);
            return Ok(Looked::Met(token));
        }
        self.lock().current.clone().map(Looked::Unmet).ok_or_else(|| self.no_refresh_token())
    }

    /// After a refusal: whether another program brought newer tokens. Only if the server says
    /// that ours are spent is it worth waiting for them.
    async fn look_late(self: &Arc<Self>, need: Need, tried: Found, code: Code) -> Option<Looked> {
        let waits = if code == Code::OauthRefreshRevoked { &LATE[..] } else { &LATE[..1] };
        for wait in waits {
            tokio::time::sleep(*wait).await;
            if !self.is_changed() {
                continue;
            }
            match self.look_for(need.clone()).await.ok()? {
                Looked::Unmet(found)
                    if found.tokens.refresh_fingerprint() == tried.tokens.refresh_fingerprint() => {
                }
                looked => return Some(looked),
            }
        }
        None
    }

    /// Writes what the server granted, then lets it be used.
    async fn land(
        self: Arc<Self>,
        locks: Locks,
        found: Found,
        client: ClientId,
        grant: Grant,
    ) -> Outcome {
        let old = found.tokens;
        let now = self.parts.clock.now().wall_micros;
        let mut new = grant.into_tokens(now, &client, old.refresh_token.clone());
        new.login = Some(old.login());
        if new.scope.is_empty() {
            new.scope.clone_from(&old.scope);
        }
        let new: Arc<Tokens> = Arc::new(new);
        let me = Arc::clone(&self);
        let saved = blocking(move || {
            let saved = me.keeper.save(&locks, &old, &new);
            let mut state = me.lock();
            state.renewed(&old, &new);
            state.read_only = matches!(saved, Ok(Saved::ReadOnly));
            me.look(&mut state);
            Ok(saved)
        });
        if let Err(refusal) = saved.await? {
            // The old refresh token is spent: dropping the new one would lose the login.
            tracing::warn!(account = %self.parts.account.name, "renewed tokens could not be written and are kept in memory: {refusal}");
            self.save_in_background(&mut self.lock());
        }
        self.record(Event::Refreshed, None);
        self.held().ok_or_else(|| self.no_refresh_token())
    }
}

/// What the files held.
enum Looked {
    /// A token that will do.
    Met(Arc<super::ready_token::ReadyToken>),
    /// Tokens that need to be renewed.
    Unmet(Found),
}

/// Runs file work where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Refusal::new(Code::OauthRefreshError, "the refresh was stopped before it was done")
            .hint("try again"))
    })
}
