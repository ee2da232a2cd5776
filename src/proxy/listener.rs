//! The bound sockets, and what requests that come in by each may be addressed to.
//! Bound by `server` out of what `listen` chose, accepted from by `accept`.

use super::{
    callers::Callers,
    hosts::{AllowedHost, Hosts, Transport},
    listen::{Inherited, Listen, Place},
    server::StartError,
};
use crate::sys::unix_socket::SocketFile;
use std::{io, net, os::unix, path::Path};
use tokio::net::{TcpListener, UnixListener};

/// By which listener a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// TCP.
    Tcp,
    /// The unix socket.
    Unix,
}

/// What requests may be addressed to, by the door that they came in by.
#[derive(Debug)]
pub struct Doors {
    tcp: Hosts,
    unix: Hosts,
}

impl Doors {
    fn new(listeners: &Bound, extra: Vec<AllowedHost>) -> Self {
        let unix = Hosts::unix(extra.clone());
        let tcp = match &listeners.tcp {
            Some((_, address)) => Hosts::tcp(*address, Transport::Plain, extra),
            None => unix.clone(),
        };
        Self { tcp, unix }
    }

    /// The hosts behind this door.
    #[must_use]
    pub const fn hosts(&self, door: Door) -> &Hosts {
        match door {
            Door::Tcp => &self.tcp,
            Door::Unix => &self.unix,
        }
    }
}

/// The sockets of one proxy, listening.
#[derive(Debug)]
pub struct Bound {
    tcp: Option<(net::TcpListener, net::SocketAddr)>,
    unix: Option<Unix>,
}

#[derive(Debug)]
struct Unix {
    listener: unix::net::UnixListener,
    place: Place,
    /// One that we made goes with us; one that we were given stays.
    file: Option<SocketFile>,
}

impl Bound {
    /// Listens where the flags say, or takes over what the service manager listens on.
    ///
    /// # Errors
    /// A place that is taken or not ours, or one off loopback without caller tokens.
    pub fn new(asked: Listen, callers: &Callers) -> Result<(Self, Doors), StartError> {
        let bound = match &asked.inherited {
            Some(Inherited::Tcp(listener)) => {
                let listener = listener.try_clone().map_err(StartError::Inherited)?;
                Self { tcp: Some(tcp(listener).map_err(StartError::Inherited)?), unix: None }
            }
            Some(Inherited::Unix(listener)) => {
                let listener = listener.try_clone().map_err(StartError::Inherited)?;
                let unix = Unix::given(listener).map_err(StartError::Inherited)?;
                Self { tcp: None, unix: Some(unix) }
            }
            None => {
                let bind = |address| {
                    net::TcpListener::bind(address)
                        .and_then(tcp)
                        .map_err(|source| StartError::Listen { address, source })
                };
                Self {
                    tcp: asked.address.map(bind).transpose()?,
                    unix: asked.unix.as_deref().map(Unix::made).transpose()?,
                }
            }
        };
        if let Some((_, address)) = &bound.tcp {
            asked.check(*address, callers)?;
        }
        let doors = Doors::new(&bound, asked.hosts);
        Ok((bound, doors))
    }

    /// The address of the TCP listener.
    #[must_use]
    pub fn address(&self) -> Option<net::SocketAddr> {
        self.tcp.as_ref().map(|(_, address)| *address)
    }

    /// Where the proxy is reached, TCP first.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let tcp = self.address().map(Place::Tcp);
        let unix = self.unix.as_ref().map(|unix| unix.place.clone());
        tcp.into_iter().chain(unix).collect()
    }

    /// The same for the runtime that we are in.
    pub(super) fn open(self) -> io::Result<Listeners> {
        let tcp = self.tcp.map(|(listener, _)| TcpListener::from_std(listener)).transpose()?;
        let (unix, file) = match self.unix {
            Some(Unix { listener, file, .. }) => (Some(UnixListener::from_std(listener)?), file),
            None => (None, None),
        };
        Ok(Listeners { tcp, unix, _file: file })
    }
}

/// The sockets, accepting. The file of the unix socket goes with them.
pub(super) struct Listeners {
    tcp: Option<TcpListener>,
    unix: Option<UnixListener>,
    _file: Option<SocketFile>,
}

/// A connection that came in, on its way to a thread.
pub(super) enum Accepted {
    Tcp(net::TcpStream),
    Unix(unix::net::UnixStream),
}

impl Listeners {
    /// The next connection, whichever door it comes by.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        tokio::select! {
            accepted = of(&self.tcp, TcpListener::accept) => {
                Ok(Accepted::Tcp(accepted?.0.into_std()?))
            }
            accepted = of(&self.unix, UnixListener::accept) => {
                Ok(Accepted::Unix(accepted?.0.into_std()?))
            }
        }
    }
}

/// Waits for ever at a door that is not there.
async fn of<L, A>(
    listener: &Option<L>,
    accept: impl AsyncFn(&L) -> io::Result<A>,
) -> io::Result<A> {
    match listener {
        Some(listener) => accept(listener).await,
        None => std::future::pending().await,
    }
}

fn tcp(listener: net::TcpListener) -> io::Result<(net::TcpListener, net::SocketAddr)> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl Unix {
    fn made(path: &Path) -> Result<Self, StartError> {
        let (listener, file) = SocketFile::listen(path)?;
        listener.set_nonblocking(true).map_err(StartError::Inherited)?;
        let place = Place::Unix(file.path().to_path_buf());
        Ok(Self { listener, place, file: Some(file) })
    }

    fn given(listener: unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let path = address.as_pathname().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { place: Place::Unix(path.to_path_buf()), listener, file: None })
    }
}
