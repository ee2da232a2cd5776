//! `config.toml`, parsed once; called by the snapshot, the resolver and the commands.
//! Invariants: a broken block matters only to those who ask for it (quirk C7), and every error
//! names the file, the line and the block, never a value.

mod blocks;
mod file;

use self::{
    blocks::{active, active_account, active_workspace, references, target},
    file::{File, place},
};
use super::{
    account_block::{self, Problem},
    toml_one,
};
use crate::model::{
    account::{Account, Active, Credential, Target, TokenSource},
    id::{Name, WorkspaceId},
    refusal::{Code, Refusal},
};
use std::{collections::BTreeMap, path::Path, sync::Arc};

type Header = crate::model::session::CustomHeader;
type Blocks<T> = Result<BTreeMap<String, Result<T, Refusal>>, Refusal>;

/// The config file, each block with its own verdict.
#[derive(Debug, Clone)]
pub struct Config {
    accounts: Blocks<Arc<Account>>,
    targets: Blocks<Target>,
    active: Result<Active, Refusal>,
    active_account: Result<Option<String>, Refusal>,
    active_workspace: Result<Option<WorkspaceId>, Refusal>,
    custom_header: Result<Option<Header>, Refusal>,
    /// Target and account of every target block, whatever else is in it.
    references: Vec<(String, String)>,
    /// `[active].account`, whatever else is in the block.
    marked: Option<String>,
}

impl Config {
    /// The config of a file that does not exist.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            accounts: Ok(BTreeMap::new()),
            targets: Ok(BTreeMap::new()),
            active: Ok(Active::default()),
            active_account: Ok(None),
            active_workspace: Ok(None),
            custom_header: Ok(None),
            references: Vec::new(),
            marked: None,
        }
    }

    /// Parses the file; `path` is for messages only.
    ///
    /// # Errors
    /// `CONFIG_ERROR` for what is not UTF-8 or not TOML. Everything else is kept with its block.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, Refusal> {
        let hint = format!("edit `{}`", path.display());
        let text = std::str::from_utf8(text).map_err(|error| {
            let place = place(text, error.valid_up_to());
            Refusal::config(format!("`{}:{place}`: not valid UTF-8", path.display())).hint(&hint)
        })?;
        let document = toml_one::parse(text).map_err(|error| {
            let place = place(text.as_bytes(), error.at);
            let message = format!("`{}:{place}`: not valid TOML: {}", path.display(), error.why);
            Refusal::config(message).hint(&hint)
        })?;
        if let Some((at, why)) = toml_one::newer(text, &document) {
            let place = place(text.as_bytes(), at);
            let message = format!("`{}:{place}`: not valid TOML 1.0: {why}", path.display());
            return Err(Refusal::config(message).hint(hint));
        }
        let file = File { text, path };
        let root = document.as_table();
        let block = root.get("active");
        Ok(Self {
            accounts: file.blocks(root, "accounts", |name, block| {
                let name = Name::parse(name)
                    .map_err(|error| Problem { key: None, text: format!("the name {error}") })?;
                account_block::account(name, block, false).map(Arc::new)
            }),
            targets: file.blocks(root, "targets", target),
            active: block
                .map_or(Ok(Active::default()), |item| file.block("[active]", item, None, active)),
            active_account: block
                .map_or(Ok(None), |item| file.block("[active]", item, None, active_account)),
            active_workspace: block
                .map_or(Ok(None), |item| file.block("[active]", item, None, active_workspace)),
            custom_header: file.custom_header(root),
            references: references(root),
            marked: block
                .and_then(|item| Some(item.as_table_like()?.get("account")?.as_str()?.to_owned())),
        })
    }

    /// One account.
    ///
    /// # Errors
    /// `CONFIG_ERROR`, with the reason `ACCOUNT_NOT_FOUND` if there is no such account.
    pub fn account(&self, name: &str) -> Result<Arc<Account>, Refusal> {
        find(&self.accounts, name, "account", Code::AccountNotFound)
    }

    /// One target.
    ///
    /// # Errors
    /// `CONFIG_ERROR`, with the reason `TARGET_NOT_FOUND` if there is no such target.
    pub fn target(&self, name: &str) -> Result<Target, Refusal> {
        find(&self.targets, name, "target", Code::TargetNotFound)
    }

    /// The `[active]` block; all empty if there is none.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if the block is malformed.
    pub fn active(&self) -> Result<Active, Refusal> {
        self.active.clone()
    }

    /// `[active].account` for the account axis: a workspace that is no positive number matters
    /// only to the workspace axis (quirk C7).
    ///
    /// # Errors
    /// `CONFIG_ERROR` if the block is malformed.
    pub fn active_account(&self) -> Result<Option<&str>, Refusal> {
        self.active_account.as_ref().map(Option::as_deref).map_err(Clone::clone)
    }

    /// `[active].workspace` for the workspace axis, whatever the account is called.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if the block is malformed.
    pub fn active_workspace(&self) -> Result<Option<WorkspaceId>, Refusal> {
        self.active_workspace.clone()
    }

    /// Whether `[active]` names this account, whatever else is wrong with the block.
    #[must_use]
    pub fn is_active(&self, account: &str) -> bool {
        self.marked.as_deref() == Some(account)
    }

    /// That every account block is whole, which the summaries of the reference ask for.
    ///
    /// # Errors
    /// `CONFIG_ERROR` of the first one that is broken, or of a section that is no table.
    pub fn accounts_are_whole(&self) -> Result<(), Refusal> {
        let blocks = self.accounts.as_ref().map_err(Clone::clone)?;
        blocks.values().try_for_each(|block| block.as_ref().map(drop).map_err(Clone::clone))
    }

    /// The environment variables that hold tokens of accounts (`token_env`).
    #[must_use]
    pub fn token_variables(&self) -> Vec<String> {
        let accounts = self.account_names().into_iter().filter_map(|name| self.account(name).ok());
        let variable = |account: Arc<Account>| match &account.credential {
            Credential::OauthToken(TokenSource::Env(variable)) => Some(variable.clone()),
            _ => None,
        };
        accounts.filter_map(variable).collect()
    }

    /// `[settings].custom_header`.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if it is malformed or names a header that the proxy owns.
    pub fn custom_header(&self) -> Result<Option<Header>, Refusal> {
        self.custom_header.clone()
    }

    /// Whether `accounts` is a table at all, whatever its blocks hold.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if it is not.
    pub fn accounts_are_a_table(&self) -> Result<(), Refusal> {
        self.accounts.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Whether `targets` is a table at all, whatever its blocks hold.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if it is not.
    pub fn targets_are_a_table(&self) -> Result<(), Refusal> {
        self.targets.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// The names of all account blocks, broken ones included, in order.
    #[must_use]
    pub fn account_names(&self) -> Vec<&str> {
        names(&self.accounts)
    }

    /// The names of the targets that refer to this account, broken ones included, in order.
    #[must_use]
    pub fn targets_of(&self, account: &str) -> Vec<String> {
        let of = self.references.iter().filter(|(_, other)| other == account);
        let mut names: Vec<_> = of.map(|(target, _)| target.clone()).collect();
        names.sort_unstable();
        names
    }

    /// The names of all target blocks, broken ones included, in order.
    #[must_use]
    pub fn target_names(&self) -> Vec<&str> {
        names(&self.targets)
    }
}

fn names<T>(blocks: &Blocks<T>) -> Vec<&str> {
    blocks.iter().flat_map(BTreeMap::keys).map(String::as_str).collect()
}

fn find<T: Clone>(blocks: &Blocks<T>, name: &str, what: &str, code: Code) -> Result<T, Refusal> {
    if let Some(block) = blocks.as_ref().map_err(Clone::clone)?.get(name) {
        return block.clone();
    }
    let names = names(blocks);
    let hint = if names.is_empty() {
        format!("no {what} is configured; run: mp-proxy {what} add NAME")
    } else {
        format!("configured {what}s: `{}`", names.join("`, `"))
    };
    let message = format!("{what} `{}` is not configured", name.escape_debug());
    Err(Refusal::config(message).reason(code).hint(hint))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
