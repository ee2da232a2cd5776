//! Arguments of `mp-proxy serve`: every flag has a variable `MP_PROXY_*`.
//! Called by `commands/serve.rs`.

use super::{Axes, Governance, Log, limits::Limits, listener::Listener};
use crate::{model::upstream::Upstream, proxy::rewrite::ClientAuthorization};
use clap::{Args, builder::FalseyValueParser};

/// `mp-proxy serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// How much callers may take.
    #[command(flatten)]
    pub limits: Limits,
    /// Where to listen and for whom.
    #[command(flatten)]
    pub listener: Listener,
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
    /// Threads that serve requests; as many as there are cores if not given
    #[arg(long, env = "MP_PROXY_THREADS", value_name = "COUNT")]
    pub threads: Option<std::num::NonZeroUsize>,
    /// Connect to Mixpanel at start, so that the first request need not wait for it
    #[arg(long, env = "MP_PROXY_WARM_UP", value_parser = FalseyValueParser::new())]
    pub warm_up: bool,
    /// How the log looks.
    #[command(flatten)]
    pub log: Log,
    /// What callers may do.
    #[command(flatten)]
    pub governance: Governance,
}
