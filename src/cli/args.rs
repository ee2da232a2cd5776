//! The arguments as clap sees them; nothing here leaves `cli`. Called by `main`.

use crate::{
    auth::resolve::Selection,
    model::{
        id::{ProjectId, WorkspaceId},
        refusal::{Code, Refusal},
    },
    proxy::{rewrite::ClientAuthorization, upstream::Upstream},
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;

/// A reverse proxy on localhost that signs requests to the Mixpanel API.
#[derive(Debug, Parser)]
#[command(name = "mp-proxy", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Listen and forward until Ctrl-C or SIGTERM
    Serve(Serve),
    /// Show who a request would be sent as
    #[command(subcommand)]
    Session(SessionCommand),
    /// See it work: a stand-in Mixpanel, a throw-away home, no account and no network
    #[cfg(feature = "demo")]
    Demo(Demo),
}

/// `mp-proxy session …`.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// The session that a request would get, and the source of each axis
    Show(Show),
}

/// `--account`, `--project`, `--workspace`, `--target`.
#[derive(Debug, Args)]
pub struct Axes {
    /// Use this account
    #[arg(short, long, env = "MP_ACCOUNT", value_name = "NAME")]
    account: Option<String>,
    /// Use this project
    #[arg(short, long, value_name = "ID")]
    project: Option<String>,
    /// Use this workspace
    #[arg(short, long, value_name = "ID", allow_hyphen_values = true)]
    workspace: Option<String>,
    /// Use this target; excludes the other three
    #[arg(short, long, env = "MP_TARGET", value_name = "NAME")]
    target: Option<String>,
}

impl Axes {
    /// The selection that these flags make.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an id that is none.
    pub fn selection(self) -> Result<Selection, Refusal> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let invalid = |flag: &str, text: &str, rule: &dyn std::fmt::Display| {
            Refusal::new(Code::InvalidArgument, format!("`{flag}` is {text:?}, it {rule}"))
        };
        let project = given(self.project)
            .map(|text| ProjectId::parse(&text).map_err(|rule| invalid("--project", &text, &rule)))
            .transpose()?;
        let workspace = given(self.workspace)
            .map(|text| {
                WorkspaceId::parse(&text).map_err(|rule| invalid("--workspace", &text, &rule))
            })
            .transpose()?;
        Ok(Selection {
            account: given(self.account),
            project,
            workspace,
            target: given(self.target),
        })
    }
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

/// `mp-proxy serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Address and port to listen on; port 0 takes any free one
    #[arg(
        long,
        env = "MP_PROXY_LISTEN",
        default_value = "127.0.0.1:8787",
        value_name = "ADDR:PORT"
    )]
    pub listen: SocketAddr,
    /// Send everything to this base instead of Mixpanel (plain http to loopback only)
    #[arg(long, env = "MP_PROXY_UPSTREAM", value_name = "URL")]
    pub upstream: Option<Upstream>,
    /// The base session.
    #[command(flatten)]
    pub axes: Axes,
    /// What happens to an Authorization that the caller sends
    #[arg(long, env = "MP_PROXY_CLIENT_AUTHORIZATION", value_enum, default_value = "replace")]
    pub client_authorization: ClientAuthorization,
    /// Seconds to wait for response headers
    #[arg(long, env = "MP_PROXY_HEADER_TIMEOUT", default_value = "510", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub header_timeout: u64,
    /// Seconds that a body may stand still
    #[arg(long, env = "MP_PROXY_IDLE_TIMEOUT", default_value = "300", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub idle_timeout: u64,
    /// Seconds to wait for a connection, TLS included
    #[arg(long, env = "MP_PROXY_CONNECT_TIMEOUT", default_value = "10", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub connect_timeout: u64,
    /// How the log looks.
    #[command(flatten)]
    pub log: Log,
}

/// How the log on stderr looks.
#[derive(Debug, Args)]
pub struct Log {
    /// Form of the log lines
    #[arg(long, env = "MP_PROXY_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Least severe level that is logged
    #[arg(long, env = "MP_PROXY_LOG_LEVEL", value_enum, default_value = "info")]
    pub log_level: LogLevel,
    /// Log errors only
    #[arg(long, env = "MP_PROXY_QUIET")]
    pub quiet: bool,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs, an object a line.
    Json,
}

/// `--log-level`.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[expect(missing_docs, reason = "each name is its own documentation")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `mp-proxy demo`.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct Demo {
    /// Exit after the show, non-zero if anything was wrong
    #[arg(long)]
    pub once: bool,
}
