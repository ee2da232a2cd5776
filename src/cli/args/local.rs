//! Arguments of the commands that look after a running proxy.

use super::Serve;
use clap::Args;
use std::{ffi::OsString, net::SocketAddr};

/// Which proxy is meant.
#[derive(Debug, Args)]
pub struct Local {
    /// Where it listens
    #[arg(
        long,
        env = "MP_PROXY_LISTEN",
        default_value = "127.0.0.1:8787",
        value_name = "ADDR:PORT"
    )]
    pub listen: SocketAddr,
}

/// `mp-proxy health`.
#[derive(Debug, Args)]
pub struct Health {
    /// Which proxy.
    #[command(flatten)]
    pub local: Local,
    /// Ask only whether the process answers, not whether a session resolves
    #[arg(long)]
    pub live: bool,
}

/// `mp-proxy wait` and `mp-proxy stop`.
#[derive(Debug, Args)]
pub struct Patient {
    /// Which proxy.
    #[command(flatten)]
    pub local: Local,
    /// Seconds after which to give up
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub timeout: u64,
}

/// `mp-proxy tail`.
#[derive(Debug, Args)]
pub struct Tail {
    /// Which proxy.
    #[command(flatten)]
    pub local: Local,
    /// Print each request as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `mp-proxy run`.
#[derive(Debug, Args)]
#[command(
    mut_arg("listen", |arg| arg.hide(true)),
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
