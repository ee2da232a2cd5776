//! Floor 6, the command line: arguments in, exit code out.

pub mod args;
pub mod commands;
pub mod error;
mod hidden;
mod local;
pub mod output;
pub mod secret;
mod signals;
pub mod terminal;
