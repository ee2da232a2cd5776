//! The bound sockets, and what requests that come in by each may be addressed to.
//! Bound by `server` out of what `listen` chose, accepted from by `accept`.

use super::{
    callers::Callers,
    hosts::{AllowedHost, Hosts, Transport},
    listen::{Inherited, Listen, Place},
    server::StartError,
    tls::Tls,
};
use crate::{model::refusal::Refusal, sys::unix_socket::SocketFile};
use std::{
    io, net,
    os::unix,
    path::{Path, PathBuf},
};
use tokio::net::{TcpListener, UnixListener};

/// How many connections may wait to be accepted; the system may allow fewer.
const WAITING: i32 = 4096;

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
    tls: Option<Tls>,
}

impl Doors {
    fn new(address: Option<net::SocketAddr>, tls: Option<Tls>, extra: Vec<AllowedHost>) -> Self {
        let transport = if tls.is_some() { Transport::Tls } else { Transport::Plain };
        let unix = Hosts::unix(extra.clone());
        let tcp = match address {
            Some(address) => Hosts::tcp(address, transport, extra),
            None => unix.clone(),
        };
        Self { tcp, unix, tls }
    }

    /// The hosts behind this door.
    #[must_use]
    pub const fn hosts(&self, door: Door) -> &Hosts {
        match door {
            Door::Tcp => &self.tcp,
            Door::Unix => &self.unix,
        }
    }

    /// What TCP is wrapped in.
    #[must_use]
    pub const fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

/// The sockets of one proxy, listening.
#[derive(Debug)]
pub struct Bound {
    tcp: Option<(net::TcpListener, net::SocketAddr)>,
    unix: Option<Unix>,
    /// Where the certificate is that TCP shows.
    cert: Option<PathBuf>,
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
    /// A certificate or key that is of no use; a place that is taken or not ours, or one off
    /// loopback without caller tokens.
    pub fn new(
        asked: Listen,
        callers: &Callers,
        home: Option<&Path>,
    ) -> Result<(Self, Doors), StartError> {
        let cert = asked.tls.as_ref().map(|files| files.cert.clone());
        let start = |files| Tls::start(files, home.map(Into::into)).map_err(StartError::Tls);
        let tls = asked.tls.clone().map(start).transpose()?;
        let bound = match &asked.inherited {
            Some(Inherited::Tcp(listener)) => {
                let listener = listener.try_clone().map_err(StartError::Inherited)?;
                Self { tcp: Some(tcp(listener).map_err(StartError::Inherited)?), unix: None, cert }
            }
            Some(Inherited::Unix(listener)) => {
                let listener = listener.try_clone().map_err(StartError::Inherited)?;
                let unix = Unix::given(listener).map_err(StartError::Inherited)?;
                Self { tcp: None, unix: Some(unix), cert }
            }
            None => {
                let bind = |address| {
                    listen(address).and_then(tcp).map_err(|source| StartError::Listen {
                        address,
                        source,
                        cert: cert.clone(),
                    })
                };
                Self {
                    tcp: asked.address.map(bind).transpose()?,
                    unix: asked.unix.as_deref().map(Unix::made).transpose()?,
                    cert,
                }
            }
        };
        if let Some((_, address)) = &bound.tcp {
            asked.check(*address, callers)?;
        }
        if bound.tcp.is_none() && tls.is_some() {
            return Err(StartError::Tls(
                Refusal::config("TLS is for a port, and there is only a unix socket")
                    .hint("pass --listen ADDR:PORT too, or leave out --tls-cert and --tls-key"),
            ));
        }
        let doors = Doors::new(bound.address(), tls, asked.hosts);
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
        let tcp = self.address().map(|address| match &self.cert {
            Some(cert) => Place::Tls(address, cert.clone()),
            None => Place::Tcp(address),
        });
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

/// The standard library lets 128 wait; of a burst the others would try again after a second.
fn listen(address: net::SocketAddr) -> io::Result<net::TcpListener> {
    let listener = net::TcpListener::bind(address)?;
    rustix::net::listen(&listener, WAITING)?;
    Ok(listener)
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
