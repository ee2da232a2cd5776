//! Where the hosts of the closed table are dialled: themselves, or one stand-in for all.
//! Made once at start; `handler` picks one a request, `forward` keeps a pool for each.
//! SECURITY: a [`Destination`] is made from an [`Origin`] only.

use crate::model::{origin::Origin, upstream::Upstream};
use http::{
    HeaderValue, Uri,
    uri::{Authority, Scheme},
};
use rustls_pki_types::ServerName;

/// One host to send requests to, with everything about it that requests share.
#[derive(Debug)]
pub struct Destination {
    /// Its place in the table, and of its connections in the pool.
    pub index: usize,
    /// The Mixpanel host, for messages.
    pub host: &'static str,
    /// `Host` of the outbound request.
    pub host_header: HeaderValue,
    /// The base to dial.
    pub base: Uri,
    /// The name to expect in the certificate; `None` for plain http.
    pub tls: Option<ServerName<'static>>,
    /// `X-Mp-Proxy-Origin`, when a stand-in answers for the host.
    pub origin_header: Option<HeaderValue>,
}

/// All destinations, by [`Origin::index`].
#[derive(Debug)]
pub struct Destinations(Vec<Destination>);

/// The host cannot be dialled: its name is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host of the upstream is not a valid name")]
pub struct BadHost;

impl Destinations {
    /// The table, or the stand-in in place of each of its hosts.
    ///
    /// # Errors
    /// The stand-in's host is no valid name.
    pub fn new(upstream: Option<&Upstream>) -> Result<Self, BadHost> {
        Origin::all()
            .map(|origin| destination(origin, upstream))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The destination of one host.
    #[must_use]
    pub fn get(&self, origin: Origin) -> &Destination {
        &self.0[origin.index()]
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }
}

fn destination(origin: Origin, upstream: Option<&Upstream>) -> Result<Destination, BadHost> {
    let (scheme, authority) = match upstream {
        Some(upstream) => (upstream.scheme.clone(), upstream.authority.clone()),
        None => (Scheme::HTTPS, Authority::from_static(origin.host())),
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let tls = if scheme == Scheme::HTTPS {
        Some(ServerName::try_from(name).map_err(|_| BadHost)?)
    } else {
        None
    };
    let header = |text: &str| HeaderValue::from_str(text).map_err(|_| BadHost);
    Ok(Destination {
        index: origin.index(),
        host: origin.host(),
        host_header: header(authority.as_str())?,
        origin_header: match upstream {
            Some(_) => Some(header(&format!("https://{}", origin.host()))?),
            None => None,
        },
        base: Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query("/")
            .build()
            .map_err(|_| BadHost)?,
        tls,
    })
}
