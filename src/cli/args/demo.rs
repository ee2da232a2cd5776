//! Arguments of `mp-proxy demo`. Called by `commands/demo.rs`.

use clap::Args;

/// `mp-proxy demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Exit after the show, non-zero if anything was wrong
    #[arg(long)]
    pub once: bool,
}
