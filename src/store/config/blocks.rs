//! The rules of targets and `[active]`; those of accounts are in `account_block`.
//! Invariant: a [`Problem`] names fields and rules, never values.

use crate::{
    model::{
        account::{Active, Target},
        id::WorkspaceId,
    },
    store::account_block::{self, Problem},
};
use serde_json::{Map, Value};
use toml_edit::{Item, TableLike};

pub(super) fn target(name: &str, block: &Map<String, Value>) -> Result<Target, Problem> {
    account_block::known(block, &["account", "project", "workspace"])?;
    let missing = |key: &str| Problem::rule(key, "is missing");
    Ok(Target {
        name: name.into(),
        account: account_block::text(block, "account")?.ok_or_else(|| missing("account"))?.into(),
        project: account_block::project(block, "project")?.ok_or_else(|| missing("project"))?,
        workspace: account_block::workspace(block, "workspace")?,
    })
}

pub(super) fn active(block: &Map<String, Value>) -> Result<Active, Problem> {
    active_keys(block)?;
    Ok(Active {
        account: account_block::text(block, "account")?.map(str::to_owned),
        workspace: account_block::workspace(block, "workspace")?,
    })
}

pub(super) fn active_account(block: &Map<String, Value>) -> Result<Option<String>, Problem> {
    active_keys(block)?;
    account_block::whole_number(block, "workspace")?;
    Ok(account_block::text(block, "account")?.map(str::to_owned))
}

pub(super) fn active_workspace(block: &Map<String, Value>) -> Result<Option<WorkspaceId>, Problem> {
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

pub(super) fn references(root: &toml_edit::Table) -> Vec<(String, String)> {
    let targets = root.get("targets").and_then(Item::as_table_like);
    let reference = |(name, item): (&str, &Item)| {
        let account = item.as_table_like()?.get("account")?.as_str()?;
        Some((name.to_owned(), account.to_owned()))
    };
    targets.into_iter().flat_map(TableLike::iter).filter_map(reference).collect()
}
