//! `--account`, `--project`, `--workspace`, `--target`, before the command or after it.
//! Called by `commands::run`, which joins both places with the environment.
//! Invariant: a flag beats a variable, wherever the flag stands.

use super::complete;
use crate::{
    auth::resolve::{Selection, target_is_exclusive},
    model::{
        id::{ProjectId, WorkspaceId},
        refusal::{Code, Refusal},
    },
    sys::env::{Env, MP_ACCOUNT, MP_TARGET},
};
use clap::Args;

/// `--account`, `--project`, `--workspace`, `--target`.
#[derive(Debug, Clone, Default, Args)]
pub struct Axes {
    /// Use this account [env: MP_ACCOUNT]
    #[arg(short, long, value_name = "NAME", add = complete::accounts())]
    account: Option<String>,
    /// Use this project
    #[arg(short, long, value_name = "ID", allow_hyphen_values = true)]
    project: Option<String>,
    /// Use this workspace
    #[arg(short, long, value_name = "ID", allow_hyphen_values = true)]
    workspace: Option<String>,
    /// Use this target; excludes the other three [env: MP_TARGET]
    #[arg(short, long, value_name = "NAME", add = complete::targets())]
    target: Option<String>,
}

impl Axes {
    /// These flags, then those of the outer place, then the variables.
    #[must_use]
    pub fn or(self, outer: Self, env: &Env) -> Self {
        let variable = |name: &str| env.get(name).map(str::to_owned);
        Self {
            account: self.account.or(outer.account).or_else(|| variable(MP_ACCOUNT)),
            project: self.project.or(outer.project),
            workspace: self.workspace.or(outer.workspace),
            target: self.target.or(outer.target).or_else(|| variable(MP_TARGET)),
        }
    }

    /// Whether these flags go together, whatever they name.
    ///
    /// # Errors
    /// `WS1_TARGET_MUTUALLY_EXCLUSIVE` for a target with an axis.
    pub fn check(&self) -> Result<(), Refusal> {
        let axis = self.account.is_some() || self.project.is_some() || self.workspace.is_some();
        if self.target.is_some() && axis { Err(target_is_exclusive()) } else { Ok(()) }
    }

    /// The selection that these flags make.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an id that is none.
    pub fn selection(self) -> Result<Selection, Refusal> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let project = given(self.project).map(|text| project("--project", &text)).transpose()?;
        let workspace =
            given(self.workspace).map(|text| workspace("--workspace", &text)).transpose()?;
        Ok(Selection {
            account: given(self.account),
            project,
            workspace,
            target: given(self.target),
        })
    }
}

/// A project id from the command line.
///
/// # Errors
/// `INVALID_ARGUMENT` that names the flag and the rule.
pub fn project(flag: &str, text: &str) -> Result<ProjectId, Refusal> {
    ProjectId::parse(text).map_err(|rule| invalid(flag, text, &rule))
}

/// A workspace id from the command line.
///
/// # Errors
/// `INVALID_ARGUMENT` that names the flag and the rule.
pub fn workspace(flag: &str, text: &str) -> Result<WorkspaceId, Refusal> {
    WorkspaceId::parse(text).map_err(|rule| invalid(flag, text, &rule))
}

/// A project id that goes into the config: what is wrong with it is an error of the config, as in
/// the reference.
///
/// # Errors
/// `CONFIG_ERROR` that names the rule.
pub fn project_field(text: &str) -> Result<ProjectId, Refusal> {
    ProjectId::parse(text).map_err(|rule| {
        Refusal::config(format!("the project is {text:?}, it {rule}"))
            .hint("name the project by its number")
    })
}

/// A workspace id that goes into the config.
///
/// # Errors
/// `CONFIG_ERROR` for a number that is not positive, `INVALID_ARGUMENT` for what is none.
pub fn workspace_field(text: &str) -> Result<WorkspaceId, Refusal> {
    WorkspaceId::parse(text).map_err(|rule| {
        let number = text.parse::<i64>().is_ok();
        let code = if number { Code::ConfigError } else { Code::InvalidArgument };
        Refusal::new(code, format!("the workspace is {text:?}, it {rule}"))
            .hint("name the workspace by its number")
    })
}

fn invalid(flag: &str, text: &str, rule: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Code::InvalidArgument, format!("`{flag}` is {text:?}, it {rule}"))
        .hint(format!("name it by its number: {flag} ID"))
}
