//! What can go wrong on the way to the upstream, as refusals. Raised by `forward`.

use crate::{
    model::refusal::{Code, Refusal},
    sys::http_error::Doubt,
};
use std::{error::Error as StdError, io};

/// Errors cross the body types boxed, as hyper does it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// No bytes moved in either direction for the idle time.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no bytes moved for the idle time")]
pub struct Idle;

/// The caller's body broke off, or was no well-formed one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BrokenUpload(#[source] pub BoxError);

/// No connection came to be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectFailed(#[source] pub BoxError);

/// The proxy that `HTTPS_PROXY` names did not lead to the upstream.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ThroughProxy(#[source] pub BoxError);

/// Reads off an error of the upstream client what a person can do about it.
#[must_use]
pub fn upstream_failure(host: &str, error: &(dyn StdError + 'static)) -> Refusal {
    // Not the upstream's doing: the caller did not send what it began.
    if let Some(BrokenUpload(cause)) = find(error) {
        return broken_upload(cause);
    }
    let connecting = error.is::<ConnectFailed>();
    if let Some(tls) = find::<rustls::Error>(error) {
        return Refusal::new(
            Code::UpstreamTls,
            format!("the TLS handshake with `{host}` failed: {tls}"),
        )
        .hint(Doubt::of(tls).hint());
    }
    let io = find::<io::Error>(error);
    if connecting && io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
        return Refusal::new(
            Code::UpstreamTimeout,
            format!("`{host}` did not accept a connection in time"),
        )
        .hint("check the network, or raise --connect-timeout");
    }
    // SECURITY: texts of hyper and of the system name no header value.
    let last = io.map_or_else(|| error.to_string(), ToString::to_string);
    if find::<ThroughProxy>(error).is_some() {
        return Refusal::new(
            Code::UpstreamUnreachable,
            format!("the proxy of `HTTPS_PROXY` does not lead to `{host}`: {last}"),
        )
        .hint("check HTTPS_PROXY; NO_PROXY names hosts that need none");
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

/// The caller did not send the body that it announced.
#[must_use]
pub fn broken_upload(error: &BoxError) -> Refusal {
    Refusal::new(Code::BadRequest, format!("the request body broke off: {error}"))
        .hint("send the whole body, as long as `Content-Length` says")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_fault_it_was_is_told_apart() {
        let broken = || io::Error::from(io::ErrorKind::InvalidInput);
        let upload = BrokenUpload(Box::new(broken()));
        let refusal = upstream_failure("mixpanel.com", &ConnectFailed(Box::new(upload)));
        assert_eq!(refusal.code, Code::BadRequest, "{refusal}");
        let refusal = upstream_failure("mixpanel.com", &ConnectFailed(Box::new(broken())));
        assert_eq!(refusal.code, Code::UpstreamUnreachable, "{refusal}");
        assert_eq!(upstream_failure("mixpanel.com", &broken()).code, Code::UpstreamBroken);
    }
}
