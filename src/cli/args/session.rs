//! Arguments of `mp-proxy session …`. Called by `commands/session.rs`.

use super::Axes;
use clap::{Args, Subcommand};

/// `mp-proxy session …`.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// The session that a request would get, and the source of each axis
    Show(Show),
}

/// `mp-proxy session show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Which session.
    #[command(flatten)]
    pub axes: Axes,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Add the Authorization value
    #[arg(long)]
    pub show_secrets: bool,
}
