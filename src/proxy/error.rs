//! What can go wrong on the way to the upstream, as refusals. Raised by `forward`.

use crate::model::refusal::{Code, Refusal};
use std::error::Error as StdError;

/// Errors cross the body types boxed, as hyper does it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// No bytes moved in either direction for the idle time.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no bytes moved for the idle time")]
pub struct Idle;

/// Reads off an error of the upstream client what a person can do about it.
#[must_use]
pub fn upstream_failure(host: &str, error: &(dyn StdError + 'static), connecting: bool) -> Refusal {
    let mut cause = Some(error);
    let mut last = String::new();
    while let Some(error) = cause {
        // SECURITY: texts of hyper, rustls and the OS name no header value.
        last = error.to_string();
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Refusal::new(
                Code::UpstreamTls,
                format!("the TLS handshake with `{host}` failed: {tls}"),
            )
            .hint("if a company proxy re-signs TLS, point SSL_CERT_FILE at its CA certificate");
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            if let Some(inner) =
                io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
            {
                return Refusal::new(
                    Code::UpstreamTls,
                    format!("the TLS handshake with `{host}` failed: {inner}"),
                )
                .hint(
                    "if a company proxy re-signs TLS, point SSL_CERT_FILE at its CA certificate",
                );
            }
            if connecting && io.kind() == std::io::ErrorKind::TimedOut {
                return Refusal::new(
                    Code::UpstreamTimeout,
                    format!("`{host}` did not accept a connection in time"),
                )
                .hint("check the network, or raise --connect-timeout");
            }
        }
        cause = error.source();
    }
    if connecting {
        return Refusal::new(
            Code::UpstreamUnreachable,
            format!("cannot connect to `{host}`: {last}"),
        )
        .hint("check the network and --upstream, then try again");
    }
    Refusal::new(
        Code::UpstreamBroken,
        format!("`{host}` broke off or answered with invalid HTTP: {last}"),
    )
    .hint("try again; if it lasts, check what stands between this machine and Mixpanel")
}

/// The upstream was silent for longer than the header time.
#[must_use]
pub fn silent(host: &str) -> Refusal {
    Refusal::new(Code::UpstreamTimeout, format!("`{host}` sent no response headers in time"))
        .hint("raise --header-timeout if the query is honestly that slow")
}
