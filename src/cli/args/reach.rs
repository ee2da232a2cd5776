//! Arguments of the commands that ask `/me`. Called by `commands/reach.rs`.

use super::complete;
use crate::cli::output::OutputArgs;
use clap::Args;

/// `mp-proxy account test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The account; without it, the one that a request would be sent as
    #[arg(value_name = "NAME", add = complete::accounts())]
    pub name: Option<String>,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `mp-proxy project list`.
#[derive(Debug, Args)]
pub struct ListProjects {
    /// Ask the server, even if an answer of the last day is there
    #[arg(long)]
    pub refresh: bool,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `mp-proxy workspace list`.
#[derive(Debug, Args)]
pub struct ListWorkspaces {
    /// Project to list; without it, that of the session
    #[arg(short, long, value_name = "ID", allow_hyphen_values = true)]
    pub project: Option<String>,
    /// Ask the server, even if an answer of the last day is there
    #[arg(long)]
    pub refresh: bool,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}
