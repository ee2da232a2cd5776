//! The base that all Mixpanel hosts are replaced with, for tests and stand-ins (`--upstream`,
//! `MP_PROXY_UPSTREAM`). Used by the proxy and by the client of OAuth and `/me` calls.
//! Invariant: plain http goes to loopback only.

use http::uri::{Authority, Scheme, Uri};
use std::{net::IpAddr, str::FromStr};

/// A replacement for every Mixpanel host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
}

/// Why a text is no upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Not a base URL.
    #[error("must be a base URL such as `https://host:port`, without path, query or user")]
    NotABase,
    /// Plain http to another machine.
    #[error("plain http is allowed to loopback only; use https")]
    PlainHttp,
}

impl FromStr for Upstream {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let uri: Uri = text.parse().map_err(|_| UpstreamError::NotABase)?;
        let parts = uri.into_parts();
        let bare = parts.path_and_query.is_none_or(|path| path == "/" || path.as_str().is_empty());
        let (Some(scheme), Some(authority), true) = (parts.scheme, parts.authority, bare) else {
            return Err(UpstreamError::NotABase);
        };
        if authority.as_str().contains('@') || ![Scheme::HTTP, Scheme::HTTPS].contains(&scheme) {
            return Err(UpstreamError::NotABase);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let loopback = host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if scheme == Scheme::HTTP && !loopback {
            return Err(UpstreamError::PlainHttp);
        }
        Ok(Self { scheme, authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in
            ["http://127.0.0.1:1", "http://localhost:80/", "http://[::1]:9", "https://example.com"]
        {
            assert!(good.parse::<Upstream>().is_ok(), "{good}");
        }
        assert_eq!("http://example.com".parse::<Upstream>(), Err(UpstreamError::PlainHttp));
        assert_eq!(
            "http://127.0.0.1.example.com".parse::<Upstream>(),
            Err(UpstreamError::PlainHttp)
        );
        for bad in ["", "example.com", "https://u:p@h", "https://h/path", "ftp://h"] {
            assert_eq!(bad.parse::<Upstream>(), Err(UpstreamError::NotABase), "{bad}");
        }
    }
}
