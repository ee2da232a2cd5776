//! Arguments of `mp-proxy quota`.

use super::Place;
use crate::cli::output::OutputArgs;
use clap::Args;

/// `mp-proxy quota`.
#[derive(Debug, Args)]
pub struct Quota {
    /// Which proxy is asked, if one runs there.
    #[command(flatten)]
    pub place: Place,
    /// Only this project
    #[arg(short, long, value_name = "ID")]
    pub project: Option<String>,
    /// Query API requests an hour and project, as `serve` has it
    #[arg(long, env = "MP_PROXY_PACE_QUERY_LIMIT", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pace_query_limit: Option<u32>,
    /// Length of the window in seconds, for stand-ins whose time runs faster
    #[arg(long, env = "MP_PROXY_PACE_WINDOW", value_name = "SECONDS", default_value = "3600", hide = true, value_parser = clap::value_parser!(u32).range(2..=86_400))]
    pub pace_window: u32,
    /// Form of the answer.
    #[command(flatten)]
    pub output: OutputArgs,
}
