//! Arguments of `mp-proxy login` and `mp-proxy account login`. Called by `commands/login.rs`.

use super::complete;
use crate::{
    cli::output::OutputArgs,
    model::{
        id::{IdError, Name, ProjectId},
        region::{Region, UnknownRegion},
    },
};
use clap::Args;

/// `mp-proxy login`.
#[derive(Debug, Args)]
pub struct Login {
    /// Name of the account; without it, one is made of the organization's name
    #[arg(long, value_name = "NAME", value_parser = name, add = complete::accounts())]
    pub name: Option<Name>,
    /// Region: us, eu or in; us for a browser login, else found out
    #[arg(long, value_name = "REGION", value_parser = region, add = complete::regions())]
    pub region: Option<Region>,
    /// Project of the account; must be one that the login can read
    #[arg(long, value_name = "ID", value_parser = project)]
    pub project: Option<ProjectId>,
    /// Make a service account, of MP_USERNAME and MP_SECRET
    #[arg(short = 'S', long)]
    pub service_account: bool,
    /// Make an account whose token is in this variable
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub token_env: Option<String>,
    /// Read the service account's secret from stdin
    #[arg(long)]
    pub secret_stdin: bool,
    /// The browser's part.
    #[command(flatten)]
    pub browser: Browser,
    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `mp-proxy account login NAME`.
#[derive(Debug, Args)]
pub struct AccountLogin {
    /// An account of type oauth_browser
    #[arg(value_name = "NAME", value_parser = name, add = complete::accounts())]
    pub name: Name,
    /// The browser's part.
    #[command(flatten)]
    pub browser: Browser,
    /// How the answer looks; the table is JSON too, as `mp` has it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How a browser login goes.
#[derive(Debug, Args)]
pub struct Browser {
    /// Print the URL instead of opening a browser; the address that it ends at can be pasted
    #[arg(long)]
    pub no_browser: bool,
    /// Seconds to wait for the browser
    #[arg(long, env = "MP_PROXY_LOGIN_TIMEOUT", default_value = "300", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

fn name(text: &str) -> Result<Name, IdError> {
    Name::parse(text)
}

fn project(text: &str) -> Result<ProjectId, IdError> {
    ProjectId::parse(text)
}

fn region(text: &str) -> Result<Region, UnknownRegion> {
    text.parse()
}
