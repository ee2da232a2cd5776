//! Where the proxy listens and who may come in: what the flags of the listener chose.
//! Made by `cli`, taken apart by `server`.
//! Invariant: off loopback nobody comes in without a token, unless the user spelled that out.

use super::{callers::Callers, hosts::AllowedHost, server::StartError};
use std::{net::SocketAddr, path::PathBuf};

/// What `--listen` and the flags beside it chose.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Address and port; port 0 takes any free one.
    pub address: SocketAddr,
    /// Hosts that are ours besides the names of this machine.
    pub hosts: Vec<AllowedHost>,
    /// Where caller tokens are. A token in the environment comes on top.
    pub tokens: Option<PathBuf>,
    /// Whether other machines may call without a token.
    pub remote: Remote,
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
        Self { address, hosts: Vec::new(), tokens: None, remote: Remote::Refused }
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
