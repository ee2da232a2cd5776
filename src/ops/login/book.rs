//! The config as a login reads and changes it. Called by `ops::login`.
//! Invariants: one read-modify-write under the lock a change, with comments and layout kept;
//! every account block is checked before anything is written; tokens are published with their
//! account or not at all.

use crate::{
    auth::resolve::own_headers,
    model::{
        account::Account,
        id::{Name, ProjectId},
        refusal::{Code, Refusal},
        region::Region,
        session::{CustomHeader, CustomHeaders},
        tokens::Tokens,
    },
    ops::accounts::require,
    store::{
        config::Config,
        config_edit::{Draft, edit},
        snapshot, tokens,
    },
    sys::{env::Env, locked_file::LockedFile},
};
use std::{sync::Arc, time::Duration};

const LOCK_WAIT: Duration = Duration::from_secs(10);

/// The config, read once.
#[derive(Debug)]
pub struct Book<'a> {
    env: &'a Env,
    config: Config,
    headers: CustomHeaders,
}

impl<'a> Book<'a> {
    /// Reads the config.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if it is unsafe or malformed, or its custom header may not be sent.
    pub fn open(env: &'a Env) -> Result<Self, Refusal> {
        let config = snapshot::load_once(env).config.clone()?;
        let headers = own_headers(env, &config)?;
        Ok(Self { env, config, headers })
    }

    /// What goes with every question to Mixpanel, as with every later request.
    #[must_use]
    pub fn headers(&self) -> &[CustomHeader] {
        &self.headers
    }

    /// One account; `None` if there is no such one.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if its block is malformed.
    pub fn account(&self, name: &Name) -> Result<Option<Arc<Account>>, Refusal> {
        if !self.names().contains(&name.as_str()) {
            return Ok(None);
        }
        self.config.account(name.as_str()).map(Some)
    }

    /// The refusal for an account that is not there.
    #[must_use]
    pub fn unknown(&self, name: &Name) -> Refusal {
        match self.config.account(name.as_str()) {
            Err(refusal) => refusal,
            Ok(_) => Refusal::config(format!("account `{name}` cannot be used")),
        }
        .hint(format!("run: mp-proxy login --name {name}"))
    }

    /// The names that are taken.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.config.account_names()
    }

    /// The region of a configured account.
    #[must_use]
    pub fn region_of(&self, name: &Name) -> Option<Region> {
        self.account(name).ok().flatten().map(|account| account.region)
    }

    /// Adds an account, with its tokens if it has any, and activates it.
    ///
    /// # Errors
    /// `ACCOUNT_EXISTS` if somebody else added it meanwhile, or `CONFIG_ERROR`; then neither
    /// account nor tokens are there.
    pub fn publish(&self, account: &Account, fresh: Option<&Tokens>) -> Result<(), Refusal> {
        let name = &account.name;
        // The token file is locked first, so that nobody uses it before the account is there.
        let file = fresh.map(|_| tokens::lock(self.env, name, LOCK_WAIT)).transpose()?;
        let before = file.as_ref().map(LockedFile::read).transpose().map_err(|e| e.refusal())?;
        if let (Some(file), Some(fresh)) = (&file, fresh) {
            tokens::write(file, fresh)?;
        }
        let added = edit(self.env, |draft| {
            if draft.has_account(name.as_str()) {
                return Err(Refusal::new(
                    Code::AccountExists,
                    format!("account `{name}` exists already"),
                )
                .hint(format!("run: mp-proxy login --name {name}, to log in again")));
            }
            draft.add_account(account)?;
            activate(draft, name)
        });
        if let (Err(_), Some(file)) = (&added, &file) {
            // Tokens without an account would be used by nobody and found by anybody.
            match before.flatten() {
                Some(old) => file.write(&old),
                None => file.remove().map(drop),
            }
            .map_err(|error| error.refusal())?;
        }
        added
    }

    /// Writes the credential of an account that exists, and activates it.
    ///
    /// # Errors
    /// `CONFIG_ERROR`.
    pub fn renew(&self, account: &Account) -> Result<(), Refusal> {
        edit(self.env, |draft| {
            let name = require(draft, account.name.as_str())?;
            draft.set_credential(name.as_str(), &account.credential)?;
            activate(draft, &name)
        })
    }

    /// Makes the account the active one; the workspace of the last one goes.
    ///
    /// # Errors
    /// `CONFIG_ERROR`.
    pub fn activate(&self, name: &Name) -> Result<(), Refusal> {
        edit(self.env, |draft| activate(draft, &require(draft, name.as_str())?))
    }

    /// Fills in the account's project.
    ///
    /// # Errors
    /// `CONFIG_ERROR`.
    pub fn set_project(&self, name: &Name, project: &ProjectId) -> Result<(), Refusal> {
        edit(self.env, |draft| draft.set_project(require(draft, name.as_str())?.as_str(), project))
    }
}

fn activate(draft: &mut Draft, name: &Name) -> Result<(), Refusal> {
    draft.set_active_account(name)?;
    draft.set_active_workspace(None)
}
