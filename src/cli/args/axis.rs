//! Arguments of `mp-proxy project …` and `mp-proxy workspace …`. Called by `commands/axis.rs`.

use super::{
    account::List,
    reach::{ListProjects, ListWorkspaces},
};
use crate::cli::output::OutputArgs;
use clap::{Args, Subcommand};

/// `mp-proxy project …`.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// The projects that the session's credential reaches
    List(ListProjects),
    /// Set the active account's project
    Use(Id),
    /// The active account's project
    Show(List),
}

/// `mp-proxy workspace …`.
#[derive(Debug, Subcommand)]
pub enum WorkspaceCommand {
    /// The workspaces of a project
    List(ListWorkspaces),
    /// Set the active workspace
    Use(Id),
    /// The active workspace
    Show(List),
}

/// An id that has to be given.
#[derive(Debug, Args)]
pub struct Id {
    /// The number
    #[arg(value_name = "ID", allow_hyphen_values = true)]
    pub id: String,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}
