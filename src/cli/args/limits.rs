//! Arguments for the limits of the listener. Part of `mp-proxy serve`.

use crate::proxy::limits::Limits as Chosen;
use clap::Args;
use std::time::Duration;

/// `--max-…`, `--header-read-timeout` and `--keep-alive-timeout`.
#[derive(Debug, Args)]
pub struct Limits {
    /// Bytes of a request head; more is answered with 431
    #[arg(long, env = "MP_PROXY_MAX_HEADER_BYTES", default_value = "65536", value_name = "BYTES", value_parser = clap::value_parser!(u32).range(8192..=1_048_576))]
    max_header_bytes: u32,
    /// Header fields of a request; more are answered with 431
    #[arg(long, env = "MP_PROXY_MAX_HEADERS", default_value = "100", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_headers: u32,
    /// Seconds that a request head may take, or a TLS handshake
    #[arg(long, env = "MP_PROXY_HEADER_READ_TIMEOUT", default_value = "30", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    header_read_timeout: u64,
    /// Seconds that a connection is kept without a request
    #[arg(long, env = "MP_PROXY_KEEP_ALIVE_TIMEOUT", default_value = "75", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    keep_alive_timeout: u64,
    /// Connections at a time; more are answered with 503
    #[arg(long, env = "MP_PROXY_MAX_CONNECTIONS", default_value = "4096", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// Requests of one caller at a time; more are answered with 503
    #[arg(long, env = "MP_PROXY_MAX_REQUESTS_PER_CALLER", default_value = "1024", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_requests_per_caller: u32,
    /// Files and sockets that may be open; as many as the system allows if not given
    #[arg(long, env = "MP_PROXY_MAX_OPEN_FILES", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(128..))]
    pub max_open_files: Option<u64>,
}

impl Limits {
    /// The limits of a process that has so many descriptors.
    #[must_use]
    pub fn chosen(&self, descriptors: u64) -> Chosen {
        Chosen {
            header_bytes: self.max_header_bytes as usize,
            headers: self.max_headers as usize,
            header_read: Duration::from_secs(self.header_read_timeout),
            keep_alive: Duration::from_secs(self.keep_alive_timeout),
            connections: self.max_connections as usize,
            requests: self.max_requests_per_caller as usize,
            descriptors,
        }
        .within_descriptors()
    }
}
