//! Arguments of `mp-proxy demo`. Called by `commands/demo.rs`.

use clap::Args;

/// `mp-proxy demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Exit after the show, non-zero if anything was wrong
    #[arg(long)]
    pub once: bool,
    /// Log in with the browser first, as `mp-proxy login` does
    #[arg(long)]
    pub login: bool,
    /// Print the URL of the login instead of opening a browser
    #[arg(long, requires = "login")]
    pub no_browser: bool,
    /// Seconds to wait for the browser
    #[arg(long, requires = "login", default_value = "300", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}
