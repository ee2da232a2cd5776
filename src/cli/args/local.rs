//! Arguments of the commands that look after a running proxy.

use super::{Place, Serve};
use clap::Args;
use std::ffi::OsString;

/// `mp-proxy health`.
#[derive(Debug, Args)]
pub struct Health {
    /// Which proxy.
    #[command(flatten)]
    pub place: Place,
    /// Ask only whether the process answers, not whether a session resolves
    #[arg(long)]
    pub live: bool,
}

/// `mp-proxy wait` and `mp-proxy stop`.
#[derive(Debug, Args)]
pub struct Patient {
    /// Which proxy.
    #[command(flatten)]
    pub place: Place,
    /// Seconds after which to give up
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub timeout: u64,
}

/// `mp-proxy tail`.
#[derive(Debug, Args)]
pub struct Tail {
    /// Which proxy.
    #[command(flatten)]
    pub place: Place,
    /// Print each request as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `mp-proxy run`.
#[derive(Debug, Args)]
#[command(
    mut_arg("listen", |arg| arg.hide(true)),
    mut_arg("unix_socket", |arg| arg.hide(true)),
    mut_arg("tls_cert", |arg| arg.hide(true)),
    mut_arg("tls_key", |arg| arg.hide(true)),
    mut_arg("client_token_file", |arg| arg.hide(true)),
    mut_arg("log_level", |arg| arg.default_value("warn"))
)]
pub struct Run {
    /// The private proxy, with the flags of `serve`.
    #[command(flatten)]
    pub serve: Serve,
    /// The program and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
