//! Arguments of `mp-proxy completions` and `mp-proxy man`. Called by `commands/shell.rs`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `mp-proxy completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// The shells that can be served.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[expect(missing_docs, reason = "each name is its own documentation")]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

/// `mp-proxy man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Folder to write a page for each command to; without it, the first page goes to stdout
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
