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
    sys::env::Env,
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
        self.together(name, fresh, || {
            edit(self.env, |draft| {
                if draft.has_account(name.as_str()) {
                    return Err(Refusal::new(
                        Code::AccountExists,
                        format!("account `{name}` exists already"),
                    )
                    .hint(format!("run: mp-proxy login --name {name}, to log in again")));
                }
                draft.add_account(account)?;
                activate(draft, name)
            })
        })
    }

    /// Writes the new tokens of an account that exists, and its project if it had none.
    ///
    /// # Errors
    /// `CONFIG_ERROR`; then both are as they were.
    pub fn refresh(
        &self,
        account: &Account,
        fresh: &Tokens,
        project: Option<&ProjectId>,
    ) -> Result<(), Refusal> {
        self.together(&account.name, Some(fresh), || match (&account.default_project, project) {
            (None, Some(project)) => self.set_project(&account.name, project),
            _ => Ok(()),
        })
    }

    /// Writes tokens and what goes with them: both or neither.
    fn together(
        &self,
        name: &Name,
        fresh: Option<&Tokens>,
        rest: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let Some(fresh) = fresh else { return rest() };
        // The token file is locked first, so that nobody uses it before the account is there.
        let file = tokens::lock(self.env, name, LOCK_WAIT)?;
        let before = file.read().map_err(|error| error.refusal())?;
        tokens::write(&file, fresh)?;
        let done = rest();
        if done.is_err() {
            // Tokens without an account would be used by nobody and found by anybody.
            match before {
                Some(old) => file.write(&old),
                None => file.remove().map(drop),
            }
            .map_err(|error| error.refusal())?;
        }
        done
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

    fn set_project(&self, name: &Name, project: &ProjectId) -> Result<(), Refusal> {
        edit(self.env, |draft| draft.set_project(require(draft, name.as_str())?.as_str(), project))
    }
}

fn activate(draft: &mut Draft, name: &Name) -> Result<(), Refusal> {
    draft.set_active_account(name.as_str())?;
    draft.set_active_workspace(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::account::Credential, ops::accounts};
    use secrecy::SecretString;
    use std::path::Path;

    fn account(name: &str) -> Account {
        Account {
            name: Name::parse(name).unwrap(),
            region: Region::Us,
            default_project: None,
            credential: Credential::OauthBrowser,
        }
    }

    fn fresh(word: &str) -> Tokens {
        Tokens {
            access_token: SecretString::from(word),
            refresh_token: None,
            expires_at_micros: 1_700_000_000_000_000,
            scope: String::new(),
            token_type: "Bearer".into(),
            client_id: None,
            lifetime_seconds: None,
            login: None,
        }
    }

    fn env(home: &Path) -> Env {
        Env::new([("HOME", home.to_str().unwrap())], home)
    }

    #[test]
    fn tokens_are_published_with_their_account_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let env = env(home.path());
        let book = Book::open(&env).unwrap();
        let path = |name: &str| tokens::path(&env, &Name::parse(name).unwrap()).unwrap();
        // Somebody else took the name since the book was opened.
        accounts::add(&env, &account("taken")).unwrap();
        let refusal = book.publish(&account("taken"), Some(&fresh("new"))).unwrap_err();
        assert_eq!(refusal.code, Code::AccountExists);
        assert!(!path("taken").exists(), "tokens of an account that was not added");
        tokens::save(&env, &Name::parse("taken").unwrap(), &fresh("old")).unwrap();
        let before = std::fs::read(path("taken")).unwrap();
        book.publish(&account("taken"), Some(&fresh("new"))).unwrap_err();
        assert_eq!(std::fs::read(path("taken")).unwrap(), before);
        book.publish(&account("free"), Some(&fresh("new"))).unwrap();
        assert!(path("free").exists());
        assert_eq!(accounts::show(&env, None).unwrap().name, "free");
    }

    #[test]
    fn an_account_that_is_not_there_is_named_with_the_command_that_makes_it() {
        let home = tempfile::tempdir().unwrap();
        let env = env(home.path());
        let book = Book::open(&env).unwrap();
        let refusal = book.unknown(&Name::parse("me").unwrap());
        assert_eq!(refusal.hint.as_deref(), Some("run: mp-proxy login --name me"));
        assert!(book.region_of(&Name::parse("me").unwrap()).is_none());
        // Nor is anything of it written.
        let project = ProjectId::parse("7").unwrap();
        book.refresh(&account("me"), &fresh("new"), Some(&project)).unwrap_err();
        assert!(!tokens::path(&env, &account("me").name).unwrap().exists());
        accounts::add(&env, &account("me")).unwrap();
        book.refresh(&account("me"), &fresh("new"), Some(&project)).unwrap();
        assert_eq!(accounts::show(&env, Some("me")).unwrap().project_id.as_deref(), Some("7"));
    }
}
