//! Arguments of `mp-proxy session …`. Called by `commands/session.rs` and
//! `commands/session_file.rs`.

use super::{Axes, complete};
use crate::cli::output::OutputArgs;
use clap::{Args, Subcommand};

/// `mp-proxy session …`.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// The session that a request would get, and the source of each axis
    Show(Show),
    /// Change the persisted session: the axes that are named, or all of them by a target
    Use(Use),
}

/// `mp-proxy session show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Which session.
    #[command(flatten)]
    pub axes: Axes,
    /// What is persisted in `[active]` instead, as `mp session` shows it
    #[arg(long, conflicts_with_all = ["bridge", "show_secrets"])]
    pub persisted: bool,
    /// What the bridge file brings instead, without its secrets
    #[arg(long, conflicts_with = "show_secrets")]
    pub bridge: bool,
    /// Add the Authorization value
    #[arg(long)]
    pub show_secrets: bool,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `mp-proxy session use`. No variable is a default here: what is written was named.
#[derive(Debug, Args)]
pub struct Use {
    /// New active account
    #[arg(short, long, value_name = "NAME", add = complete::accounts())]
    pub account: Option<String>,
    /// New project of the account
    #[arg(short, long, value_name = "ID", allow_hyphen_values = true)]
    pub project: Option<String>,
    /// New active workspace
    #[arg(short, long, value_name = "ID", allow_hyphen_values = true)]
    pub workspace: Option<String>,
    /// All three from this target
    #[arg(short, long, value_name = "NAME", add = complete::targets())]
    pub target: Option<String>,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}
