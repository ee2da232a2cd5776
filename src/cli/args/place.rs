//! Where a proxy is: for `serve` where to listen, for `health`, `wait`, `stop` and `tail` whom to
//! ask. The same flags and variables, so that one environment serves both.

use crate::{proxy::listen::Place as Reached, sys::unix_socket::canonical};
use clap::{Args, builder::ArgPredicate};
use std::{net::SocketAddr, path::PathBuf};

/// `--listen`, `--unix-socket` and `--tls-cert`.
#[derive(Debug, Args)]
pub struct Place {
    /// Address and port of the listener; port 0 takes any free one
    #[arg(
        long,
        env = "MP_PROXY_LISTEN",
        default_value = "127.0.0.1:8787",
        default_value_if("unix_socket", ArgPredicate::IsPresent, None),
        value_name = "ADDR:PORT"
    )]
    pub listen: Option<SocketAddr>,
    /// Unix socket of the listener (made with mode 0600); without --listen it is the only one
    #[arg(long, env = "MP_PROXY_UNIX_SOCKET", value_name = "PATH")]
    pub unix_socket: Option<PathBuf>,
    /// Certificate of the listener in PEM: the server's own, then those that signed it. Makes
    /// --listen a TLS listener; a running proxy has to show exactly this one
    #[arg(long, env = "MP_PROXY_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
}

impl Place {
    /// Where to ask: by the unix socket, if there is one.
    #[must_use]
    pub fn reached(&self) -> Reached {
        match (&self.unix_socket, self.listen, &self.tls_cert) {
            (None, Some(address), None) => Reached::Tcp(address),
            (None, Some(address), Some(cert)) => Reached::Tls(address, cert.clone()),
            (path, ..) => Reached::Unix(canonical(path.as_deref().unwrap_or("".as_ref()))),
        }
    }
}
