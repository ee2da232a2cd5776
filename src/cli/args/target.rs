//! Arguments of `mp-proxy target …`. Called by `commands/target.rs`.

use super::{account::List, complete};
use crate::cli::output::OutputArgs;
use clap::{Args, Subcommand};

/// `mp-proxy target …`.
#[derive(Debug, Subcommand)]
pub enum TargetCommand {
    /// All targets
    List(List),
    /// Save an account, a project and maybe a workspace under a name
    Add(Add),
    /// Remove a target
    Remove(Remove),
    /// Make the target's account, project and workspace the persisted session
    Use(Named),
    /// One target
    Show(Named),
}

/// `mp-proxy target add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Name: letters, digits, `_`, `-`
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The account that it refers to
    #[arg(short, long, value_name = "NAME", add = complete::accounts())]
    pub account: String,
    /// The project
    #[arg(short, long, value_name = "ID", allow_hyphen_values = true)]
    pub project: String,
    /// The workspace
    #[arg(short, long, value_name = "ID", allow_hyphen_values = true)]
    pub workspace: Option<String>,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `mp-proxy target remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The target
    #[arg(value_name = "NAME", add = complete::targets())]
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A target that has to be named.
#[derive(Debug, Args)]
pub struct Named {
    /// The target
    #[arg(value_name = "NAME", add = complete::targets())]
    pub name: String,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}
