//! Where the proxy listens and who may come in: what the flags of the listener chose.
//! Made by `cli`, bound by `listener`.
//! Invariant: off loopback nobody comes in without a token, unless the user spelled that out.

use super::{callers::Callers, hosts::AllowedHost, server::StartError};
use crate::store::tls_pair::TlsFiles;
use std::{
    fmt,
    net::{self, SocketAddr},
    os::unix,
    path::PathBuf,
    sync::Arc,
};

/// What `--listen` and the flags beside it chose.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Address and port; port 0 takes any free one. Without it, only the unix socket.
    pub address: Option<SocketAddr>,
    /// A unix socket, alone or beside the address.
    pub unix: Option<PathBuf>,
    /// Certificate and key, if the address is for TLS.
    pub tls: Option<TlsFiles>,
    /// A listener that is bound already, by the service manager; it goes before both.
    pub inherited: Option<Inherited>,
    /// Hosts that are ours besides the names of this machine.
    pub hosts: Vec<AllowedHost>,
    /// Where caller tokens are. A token in the environment comes on top.
    pub tokens: Option<PathBuf>,
    /// Whether other machines may call without a token.
    pub remote: Remote,
}

/// A listener that somebody else made.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the types say it")]
pub enum Inherited {
    Tcp(Arc<net::TcpListener>),
    Unix(Arc<unix::net::UnixListener>),
}

/// What happens off loopback without caller tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// The proxy does not start.
    Refused,
    /// Every neighbour may use the credentials; the user wants it so.
    Allowed,
}

impl Listen {
    /// On this address for every program of this machine.
    #[must_use]
    pub const fn on(address: SocketAddr) -> Self {
        Self {
            address: Some(address),
            unix: None,
            tls: None,
            inherited: None,
            hosts: Vec::new(),
            tokens: None,
            remote: Remote::Refused,
        }
    }

    /// SECURITY: off loopback every neighbour could use the credentials.
    pub(super) fn check(&self, bound: SocketAddr, callers: &Callers) -> Result<(), StartError> {
        if bound.ip().is_loopback() || callers.are_asked() {
            return Ok(());
        }
        if self.remote == Remote::Refused {
            return Err(StartError::NotLoopback(bound));
        }
        tracing::warn!(address = %bound, "other machines may send requests with our credentials, without a token");
        Ok(())
    }
}

/// Where a proxy is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// By TCP, as it is.
    Tcp(SocketAddr),
    /// By TCP through TLS, with the certificate of this file.
    Tls(SocketAddr, PathBuf),
    /// By a unix socket.
    Unix(PathBuf),
}

impl Place {
    /// What `mp-proxy stop` knows it by.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Tcp(address) | Self::Tls(address, _) => address.to_string(),
            Self::Unix(path) => path.display().to_string(),
        }
    }

    /// The flag that leads here, for hints.
    #[must_use]
    pub fn flag(&self) -> String {
        match self {
            Self::Tcp(address) => format!("--listen {address}"),
            Self::Tls(address, cert) => {
                format!("--listen {address} --tls-cert {} --tls-key FILE", cert.display())
            }
            Self::Unix(path) => format!("--unix-socket {}", path.display()),
        }
    }

    /// How curl asks for a path of ours, for hints.
    #[must_use]
    pub fn curl(&self, path: &str) -> String {
        match self {
            Self::Tcp(address) => format!("curl http://{address}{path}"),
            Self::Tls(address, cert) => {
                format!("curl --cacert {} https://{address}{path}", cert.display())
            }
            Self::Unix(socket) => {
                format!("curl --unix-socket {} http://localhost{path}", socket.display())
            }
        }
    }
}

/// As it is printed at start.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Tls(address, _) => write!(f, "https://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
