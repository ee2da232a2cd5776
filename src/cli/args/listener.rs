//! Arguments of the listener: where it is, and who may come in.
//! Part of `mp-proxy serve`.

use super::Place;
use crate::proxy::{
    hosts::AllowedHost,
    listen::{Listen, Remote},
};
use clap::Args;
use std::path::PathBuf;

/// `--listen` and what goes with it.
#[derive(Debug, Args)]
pub struct Listener {
    /// Where it is.
    #[command(flatten)]
    pub place: Place,
    /// Another name that requests may be addressed to; repeat it, or separate names by commas
    #[arg(long, env = "MP_PROXY_ALLOW_HOST", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub allow_host: Vec<AllowedHost>,
    /// File with the tokens that callers have to show (mode 0600): one token, or a block for each
    /// caller. MP_PROXY_CLIENT_TOKEN holds a token itself
    #[arg(long, env = "MP_PROXY_CLIENT_TOKEN_FILE", value_name = "FILE")]
    pub client_token_file: Option<PathBuf>,
    /// Let other machines use the credentials without a token
    #[arg(long, env = "MP_PROXY_INSECURE_ALLOW_REMOTE")]
    pub insecure_allow_remote: bool,
}

impl Listener {
    /// What these flags chose.
    #[must_use]
    pub fn listen(self) -> Listen {
        let remote = if self.insecure_allow_remote { Remote::Allowed } else { Remote::Refused };
        Listen {
            address: self.place.listen,
            unix: self.place.unix_socket,
            inherited: None,
            hosts: self.allow_host,
            tokens: self.client_token_file.filter(|path| !path.as_os_str().is_empty()),
            remote,
        }
    }
}
