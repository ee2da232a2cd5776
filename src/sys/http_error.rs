//! Why one of our own calls got no answer. Raised by `http`, turned into refusals by `auth`.
//! Invariant: holds host names and the system's own words, no byte of request or answer.

use crate::model::refusal::{Code, Refusal};
use rustls::CertificateError;
use std::{error::Error as StdError, io};

/// What kept an HTTP answer from arriving.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum HttpError {
    #[error("cannot connect to `{host}`: {cause}")]
    Unreachable { host: String, cause: String },
    #[error("the TLS handshake with `{host}` failed: {cause}")]
    Tls { host: String, cause: String, doubt: Doubt },
    #[error("`{host}` did not answer in time")]
    Timeout { host: String },
    #[error("`{host}` broke off or answered with invalid HTTP")]
    Broken { host: String },
    #[error("the answer of `{host}` is larger than {limit} bytes")]
    TooLarge { host: String, limit: usize },
    #[error("no root certificate could be read")]
    Roots,
    #[error("`HTTPS_PROXY` or `ALL_PROXY` is not a proxy URL")]
    ProxyVariable,
    #[error("the HTTP client cannot be set up")]
    Client,
}

/// What a TLS handshake failed over, as far as that changes what there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The certificate is for another host.
    Name,
    /// The certificate is not valid at this time.
    Time,
    /// What answered does not speak TLS.
    Protocol,
    /// Who signed the certificate, or anything else.
    Other,
}

impl HttpError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => {
                "check the network (HTTPS_PROXY, MP_PROXY_UPSTREAM), then run the same command again"
            }
            Self::Tls { doubt, .. } => doubt.hint(),
            Self::Broken { .. } | Self::TooLarge { .. } => {
                "try again; if it lasts, check what stands between this machine and Mixpanel"
            }
            Self::Roots => "install the ca-certificates package, or set SSL_CERT_FILE",
            Self::ProxyVariable => "set it like http://proxy.example:3128, or unset it",
            Self::Client => "run it again with an environment of HOME and PATH only",
        }
    }

    /// The same under a code, with what was being done.
    #[must_use]
    pub fn refusal(&self, code: Code, what: &str) -> Refusal {
        Refusal::new(code, format!("{what} failed: {self}")).hint(self.hint())
    }

    pub(super) fn classify(host: String, error: &reqwest::Error) -> Self {
        if let Some(tls) = find::<rustls::Error>(error) {
            return Self::Tls { host, cause: tls.to_string(), doubt: Doubt::of(tls) };
        }
        let io = find::<io::Error>(error);
        if error.is_timeout() || io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            return Self::Timeout { host };
        }
        if error.is_connect() {
            // SECURITY: of the text of an error only that of the system is known to be harmless.
            let cause = io.map_or_else(|| "no connection".to_owned(), io::Error::to_string);
            return Self::Unreachable { host, cause };
        }
        Self::Broken { host }
    }
}

impl Doubt {
    /// What this error is about; the data path asks too.
    #[must_use]
    pub const fn of(error: &rustls::Error) -> Self {
        let error = match error {
            rustls::Error::InvalidCertificate(error) => error,
            rustls::Error::InvalidMessage(_) => return Self::Protocol,
            _ => return Self::Other,
        };
        match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::Name
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Time,
            _ => Self::Other,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Name => {
                "another host answered: check MP_PROXY_UPSTREAM, DNS and HTTPS_PROXY, then run the same command again"
            }
            Self::Time => "check the clock of this machine, then run the same command again",
            Self::Protocol => {
                "what answered does not speak TLS: check MP_PROXY_UPSTREAM and HTTPS_PROXY"
            }
            Self::Other => {
                "if a company proxy re-signs TLS, point SSL_CERT_FILE at its CA certificate"
            }
        }
    }
}

/// The first error of this type in the chain. An `io::Error` hides what it wraps from `source`.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match wrapped {
        Some(inner) => find(inner),
        None => error.source().and_then(find),
    }
}
