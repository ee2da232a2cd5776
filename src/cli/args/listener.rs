//! Arguments of the listener: where it is, and who may come in.
//! Part of `mp-proxy serve`.

use super::Place;
use crate::{
    model::refusal::{Code, Refusal},
    proxy::{
        hosts::AllowedHost,
        listen::{Listen, Remote},
    },
    store::tls_pair::TlsFiles,
};
use clap::Args;
use std::path::PathBuf;

/// `--listen` and what goes with it.
#[derive(Debug, Args)]
pub struct Listener {
    /// Where it is.
    #[command(flatten)]
    pub place: Place,
    /// Private key of --tls-cert in PEM (mode 0600)
    #[arg(long, env = "MP_PROXY_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
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
    ///
    /// # Errors
    /// A certificate without its key, or the other way round.
    pub fn listen(&self) -> Result<Listen, Refusal> {
        let remote = if self.insecure_allow_remote { Remote::Allowed } else { Remote::Refused };
        let tls = match (self.place.tls_cert.clone(), self.tls_key.clone()) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (Some(_), None) => return Err(half("--tls-cert", "--tls-key")),
            (None, Some(_)) => return Err(half("--tls-key", "--tls-cert")),
        };
        Ok(Listen {
            address: self.place.listen,
            unix: self.place.unix_socket.clone(),
            tls,
            inherited: None,
            hosts: self.allow_host.clone(),
            tokens: self.client_token_file.clone().filter(|path| !path.as_os_str().is_empty()),
            remote,
        })
    }
}

fn half(given: &str, missing: &str) -> Refusal {
    Refusal::new(Code::InvalidArgument, format!("`{given}` is given without `{missing}`"))
        .hint(format!("pass {missing} FILE too: a certificate and its key go together"))
}
