//! The config as a login reads and changes it. Called by `ops::login`.
//! Invariants: one read-modify-write under the lock a change, with comments and layout kept;
//! every account block is checked before anything is written; tokens are published with their
//! account or not at all.

use crate::{
    model::{
        account::{Account, Credential, TokenSource},
        id::{Name, ProjectId},
        refusal::{Code, Refusal},
        region::Region,
        tokens::Tokens,
    },
    store::{config::Config, snapshot, tokens},
    sys::{env::Env, locked_file::LockedFile},
};
use secrecy::ExposeSecret as _;
use std::{path::PathBuf, sync::Arc, time::Duration};
use toml_edit::{DocumentMut, Item, Table, value};

const LOCK_WAIT: Duration = Duration::from_secs(10);

/// The config, read once.
#[derive(Debug)]
pub struct Book<'a> {
    env: &'a Env,
    config: Config,
}

impl<'a> Book<'a> {
    /// Reads the config.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if it is unsafe or malformed.
    pub fn open(env: &'a Env) -> Result<Self, Refusal> {
        let config = snapshot::load_once(env).config.clone()?;
        Ok(Self { env, config })
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
        let added = self.edit(|document| {
            let accounts = table(document.as_table_mut(), "accounts")?;
            accounts.set_implicit(true);
            if accounts.contains_key(name.as_str()) {
                return Err(Refusal::new(
                    Code::AccountExists,
                    format!("account `{name}` exists already"),
                )
                .hint(format!("run: mp-proxy login --name {name}, to log in again")));
            }
            let mut block = Table::new();
            block["type"] = value(account.type_name());
            block["region"] = value(account.region.as_str());
            if let Some(project) = &account.default_project {
                block["default_project"] = value(project.as_str());
            }
            fill(&mut block, &account.credential);
            accounts[name.as_str()] = Item::Table(block);
            activate(document, name)
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
        self.edit(|document| {
            fill(block(document, &account.name)?, &account.credential);
            activate(document, &account.name)
        })
    }

    /// Makes the account the active one; the workspace of the last one goes.
    ///
    /// # Errors
    /// `CONFIG_ERROR`.
    pub fn activate(&self, name: &Name) -> Result<(), Refusal> {
        self.edit(|document| activate(document, name))
    }

    /// Fills in the account's project.
    ///
    /// # Errors
    /// `CONFIG_ERROR`.
    pub fn set_project(&self, name: &Name, project: &ProjectId) -> Result<(), Refusal> {
        self.edit(|document| {
            block(document, name)?["default_project"] = value(project.as_str());
            Ok(())
        })
    }

    fn path(&self) -> Result<PathBuf, Refusal> {
        self.env.config_path().ok_or_else(|| {
            Refusal::config(
                "there is no place for the config: neither `HOME` nor `MP_CONFIG_PATH` is set",
            )
            .hint("set MP_CONFIG_PATH")
        })
    }

    fn edit(
        &self,
        change: impl FnOnce(&mut DocumentMut) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let path = self.path()?;
        let file = LockedFile::acquire(&path, self.env.home(), LOCK_WAIT)
            .map_err(|error| error.refusal())?;
        let text = file.read().map_err(|error| error.refusal())?.unwrap_or_default();
        let check = |text: &[u8]| {
            let config = Config::parse(text, &path)?;
            config.account_names().iter().try_for_each(|name| config.account(name).map(drop))
        };
        check(&text)?;
        let malformed = || Refusal::config(format!("`{}` cannot be edited", path.display()));
        let text = String::from_utf8(text).map_err(|_| malformed())?;
        let mut document: DocumentMut = text.parse().map_err(|_| malformed())?;
        // Comments without a table would all end up below the first one.
        let comments = if document.is_empty() { text } else { String::new() };
        if document.is_empty() {
            document = DocumentMut::new();
        }
        change(&mut document)?;
        let text = match comments.trim_end() {
            "" => document.to_string(),
            comments => format!("{comments}\n\n{document}"),
        };
        check(text.as_bytes())?;
        file.write(text.as_bytes()).map_err(|error| error.refusal())
    }
}

fn activate(document: &mut DocumentMut, name: &Name) -> Result<(), Refusal> {
    let active = table(document.as_table_mut(), "active")?;
    active["account"] = value(name.as_str());
    active.remove("workspace");
    Ok(())
}

/// The keys of the credential; those of the other source of a token go.
fn fill(block: &mut Table, credential: &Credential) {
    match credential {
        Credential::OauthBrowser => {}
        Credential::ServiceAccount { username, secret } => {
            block["username"] = value(username.as_str());
            block["secret"] = value(secret.expose_secret());
        }
        Credential::OauthToken(TokenSource::Inline(token)) => {
            block.remove("token_env");
            block["token"] = value(token.expose_secret());
        }
        Credential::OauthToken(TokenSource::Env(name)) => {
            block.remove("token");
            block["token_env"] = value(name.as_str());
        }
    }
}

fn block<'d>(document: &'d mut DocumentMut, name: &Name) -> Result<&'d mut Table, Refusal> {
    let accounts = table(document.as_table_mut(), "accounts")?;
    match accounts.get_mut(name.as_str()).and_then(Item::as_table_mut) {
        Some(block) => Ok(block),
        None => Err(Refusal::config(format!("account `{name}` has no block of its own"))
            .hint(format!("write it as [accounts.{name}], or run: mp-proxy login"))),
    }
}

fn table<'d>(parent: &'d mut Table, key: &str) -> Result<&'d mut Table, Refusal> {
    let entry = parent.entry(key).or_insert_with(|| Item::Table(Table::new()));
    entry.as_table_mut().ok_or_else(|| {
        Refusal::config(format!("`{key}` of the config is not a table of its own"))
            .hint(format!("write it as [{key}]"))
    })
}
