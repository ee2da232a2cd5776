//! `config.toml`, parsed once; called by the snapshot, the resolver and the commands.
//! Invariants: a broken block matters only to those who ask for it (quirk C7), and every error
//! names the file, the line and the block, never a value.

use super::{
    account_block::{self, Problem},
    headers, toml_one,
    wiped::Wiped,
};
use crate::model::{
    account::{Account, Active, Credential, Target, TokenSource},
    id::{Name, WorkspaceId},
    refusal::{Code, Refusal},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};
use toml_edit::{Item, TableLike};

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

fn target(name: &str, block: &Map<String, Value>) -> Result<Target, Problem> {
    account_block::known(block, &["account", "project", "workspace"])?;
    let missing = |key: &str| Problem::rule(key, "is missing");
    Ok(Target {
        name: name.into(),
        account: account_block::text(block, "account")?.ok_or_else(|| missing("account"))?.into(),
        project: account_block::project(block, "project")?.ok_or_else(|| missing("project"))?,
        workspace: account_block::workspace(block, "workspace")?,
    })
}

fn active(block: &Map<String, Value>) -> Result<Active, Problem> {
    active_keys(block)?;
    Ok(Active {
        account: account_block::text(block, "account")?.map(str::to_owned),
        workspace: account_block::workspace(block, "workspace")?,
    })
}

fn active_account(block: &Map<String, Value>) -> Result<Option<String>, Problem> {
    active_keys(block)?;
    account_block::whole_number(block, "workspace")?;
    Ok(account_block::text(block, "account")?.map(str::to_owned))
}

fn active_workspace(block: &Map<String, Value>) -> Result<Option<WorkspaceId>, Problem> {
    active_keys(block)?;
    account_block::text(block, "account")?;
    account_block::workspace(block, "workspace")
}

fn active_keys(block: &Map<String, Value>) -> Result<(), Problem> {
    if block.contains_key("project") {
        let rule = "is not allowed here; a project belongs to an account's `default_project`";
        return Err(Problem::rule("project", rule));
    }
    account_block::known(block, &["account", "workspace"])
}

fn references(root: &toml_edit::Table) -> Vec<(String, String)> {
    let targets = root.get("targets").and_then(Item::as_table_like);
    let reference = |(name, item): (&str, &Item)| {
        let account = item.as_table_like()?.get("account")?.as_str()?;
        Some((name.to_owned(), account.to_owned()))
    };
    targets.into_iter().flat_map(TableLike::iter).filter_map(reference).collect()
}

/// What error messages need to know.
struct File<'a> {
    text: &'a str,
    path: &'a Path,
}

impl File<'_> {
    fn blocks<T>(
        &self,
        root: &toml_edit::Table,
        section: &str,
        check: impl Fn(&str, &Map<String, Value>) -> Result<T, Problem>,
    ) -> Blocks<T> {
        let Some(item) = root.get(section) else { return Ok(BTreeMap::new()) };
        let Some(table) = item.as_table_like() else {
            return Err(self.refusal(&format!("[{section}]"), item.span(), "must be a table"));
        };
        let block = |(name, item): (&str, &Item)| {
            let place = format!("[{section}.{}]", name.escape_debug());
            let key = table.key(name).and_then(toml_edit::Key::span);
            (name.to_owned(), self.block(&place, item, key, |block| check(name, block)))
        };
        Ok(table.iter().map(block).collect())
    }

    fn block<T>(
        &self,
        place: &str,
        item: &Item,
        key: Option<Range<usize>>,
        check: impl FnOnce(&Map<String, Value>) -> Result<T, Problem>,
    ) -> Result<T, Refusal> {
        let span = item.span().or(key);
        let Some(table) = item.as_table_like() else {
            return Err(self.refusal(place, span, "must be a table"));
        };
        check(&Wiped::from(object(table))).map_err(|problem| {
            let at = problem.key.and_then(|key| table.key(&key)?.span());
            self.refusal(place, at.or(span), &problem.text)
        })
    }

    fn custom_header(&self, root: &toml_edit::Table) -> Result<Option<Header>, Refusal> {
        let place = "[settings].custom_header";
        let Some(item) = root.get("settings") else { return Ok(None) };
        let Some(settings) = item.as_table_like() else {
            return Err(self.refusal("[settings]", item.span(), "must be a table"));
        };
        let Some(item) = settings.get("custom_header") else { return Ok(None) };
        let (name, value) = self.block(place, item, None, |block| {
            let part = |key| account_block::required(block, key).map(str::to_owned);
            Ok((part("name")?, SecretString::from(part("value")?)))
        })?;
        headers::custom_header(&name, value.expose_secret(), &self.place(place, item.span()))
            .map(Some)
    }

    fn place(&self, place: &str, span: Option<Range<usize>>) -> String {
        let line = |span: Range<usize>| place_line(self.text.as_bytes(), span.start);
        let line = span.map(|span| format!(":{}", line(span))).unwrap_or_default();
        format!("`{}{line}` {place}", self.path.display())
    }

    fn refusal(&self, place: &str, span: Option<Range<usize>>, text: &str) -> Refusal {
        Refusal::config(format!("{}: {text}", self.place(place, span)))
            .hint(format!("edit `{}`", self.path.display()))
    }
}

/// A table as JSON. What JSON cannot say becomes an array, which no field accepts.
fn object(table: &dyn TableLike) -> Map<String, Value> {
    let value = |item: &Item| match item {
        Item::Value(toml_edit::Value::String(text)) => text.value().as_str().into(),
        Item::Value(toml_edit::Value::Integer(number)) => (*number.value()).into(),
        Item::Value(toml_edit::Value::Boolean(flag)) => (*flag.value()).into(),
        Item::Value(toml_edit::Value::Float(number)) => {
            serde_json::Number::from_f64(*number.value())
                .map_or_else(|| Value::Array(Vec::new()), Value::Number)
        }
        _ => Value::Array(Vec::new()),
    };
    table.iter().map(|(key, item)| (key.to_owned(), value(item))).collect()
}

fn place_line(text: &[u8], offset: usize) -> usize {
    text.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// `LINE:COLUMN` of a byte offset, counted from 1, columns in characters.
fn place(text: &[u8], offset: usize) -> String {
    let before = &text[..offset.min(text.len())];
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    format!("{}:{column}", place_line(text, offset))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
