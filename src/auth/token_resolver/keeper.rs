//! Where the tokens of one login are kept: what a login asks of its files, and the one that has
//! them on disk. The other is `in_bridge`. Used by `login`.
//! Invariants: reading changes nothing (quirks B1 to B3); nothing is written without the lock.

use crate::{
    model::{
        account::Account,
        id::Name,
        refusal::{Code, Refusal},
        tokens::Tokens,
    },
    store::{clients, tokens},
    sys::{
        env::Env,
        locked_file::LockedFile,
        private_file::{self, Stamp},
    },
};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// How long another process may hold the lock: longer than any refresh takes.
pub(super) const WAIT: Duration = Duration::from_secs(75);

/// A token set and where it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) tokens: Arc<Tokens>,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Disk,
    Bridge,
    /// In our own storage, for a bridge that cannot be written.
    Copy,
    /// Nowhere but here: what was renewed could not be written.
    Memory,
}

/// The locks that a refresh holds.
#[derive(Debug)]
pub(super) struct Locks {
    pub(super) disk: Option<LockedFile>,
    pub(super) bridge: Option<LockedFile>,
    /// Of the copy of a bridge.
    pub(super) copy: Option<LockedFile>,
}

/// What became of renewed tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saved {
    /// They are where the old ones were.
    Yes,
    /// They are not: what held the old ones cannot be written (a mounted secret).
    ReadOnly,
}

/// The files of one login. All calls but `stamps` block for as long as a disk does, `lock` for
/// as long as another process refreshes.
pub(super) trait Keeper: Send + Sync + 'static {
    /// The state of everything that a login depends on.
    fn stamps(&self) -> Vec<Stamp>;
    /// Every token set there is.
    fn load(&self) -> Result<Vec<Found>, Refusal>;
    /// Keeps other processes of ours from refreshing.
    fn lock(&self) -> Result<Locks, Refusal>;
    /// Puts `new` where `old` was, wherever that is.
    fn save(&self, locks: &Locks, old: &Tokens, new: &Tokens) -> Result<Saved, Refusal>;
    /// The OAuth client that may renew these tokens.
    fn client_id(&self, tokens: &Tokens) -> Result<String, Refusal>;
    /// What to run when this login has ended.
    fn login_hint(&self) -> String;
}

/// `accounts/NAME/tokens.json`.
#[derive(Debug)]
pub(super) struct OnDisk {
    pub(super) env: Arc<Env>,
    pub(super) account: Arc<Account>,
}

impl OnDisk {
    pub(super) fn name(&self) -> &Name {
        &self.account.name
    }

    pub(super) fn path(&self) -> PathBuf {
        tokens::path(&self.env, self.name()).unwrap_or_default()
    }

    pub(super) fn region_client(&self) -> Result<Option<String>, Refusal> {
        Ok(clients::load(&self.env, self.account.region)?.map(|client| client.client_id))
    }
}

impl Keeper for OnDisk {
    fn stamps(&self) -> Vec<Stamp> {
        let client = clients::path(&self.env, self.account.region).unwrap_or_default();
        vec![private_file::stamp(&self.path()), private_file::stamp(&client)]
    }

    fn load(&self) -> Result<Vec<Found>, Refusal> {
        let found = tokens::load(&self.env, self.name())?;
        Ok(found.into_iter().map(|tokens| found_at(tokens, Place::Disk)).collect())
    }

    fn lock(&self) -> Result<Locks, Refusal> {
        let disk = tokens::lock(&self.env, self.name(), WAIT)
            .map_err(|refusal| Refusal { code: Code::OauthRefreshError, ..refusal })?;
        Ok(Locks { disk: Some(disk), bridge: None, copy: None })
    }

    fn save(&self, locks: &Locks, _: &Tokens, new: &Tokens) -> Result<Saved, Refusal> {
        match &locks.disk {
            Some(file) => tokens::write(file, new).map(|()| Saved::Yes),
            None => Ok(Saved::ReadOnly),
        }
    }

    fn client_id(&self, tokens: &Tokens) -> Result<String, Refusal> {
        if let Some(own) = &tokens.client_id {
            return Ok(own.clone());
        }
        self.region_client()?.ok_or_else(|| {
            let (name, region) = (self.name(), self.account.region);
            Refusal::new(
                Code::OauthRefreshError,
                format!(
                    "the token of account `{name}` is expired and the OAuth client of region `{region}` that could renew it is not known here"
                ),
            )
            .hint(self.login_hint())
        })
    }

    fn login_hint(&self) -> String {
        format!("run: mp-proxy account login {}", self.name())
    }
}

pub(super) fn found_at(tokens: Tokens, place: Place) -> Found {
    Found { tokens: Arc::new(tokens), place }
}
