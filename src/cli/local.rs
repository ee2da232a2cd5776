//! A small client for our own endpoints, used by `health`, `wait`, `tail`, the watchdog, and to
//! ask who holds a port.
//! Invariant: it talks to the place that it is given and nobody else; HTTP/1.0, so that a body
//! ends with the connection.

mod pinned;

use crate::{
    proxy::listen::Place,
    sys::env::{Env, MP_PROXY_CLIENT_TOKEN, MP_PROXY_TOKEN},
};
use rustls::pki_types::CertificateDer;
use std::{
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

const CONNECT: Duration = Duration::from_secs(2);
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The longest answer that is read whole.
const LONGEST: u64 = 64 * 1024;

/// The status, and the body as it comes.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: BufReader<Box<dyn Stream>>,
}

/// A connection, of whatever kind.
pub(super) trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// Asks for one of our own paths with the token of the environment, if there is one; `patience`
/// is for each read.
///
/// # Errors
/// Nobody listens, or the answer is not HTTP.
pub(super) fn get(
    place: &Place,
    path: &str,
    env: &Env,
    patience: Option<Duration>,
) -> io::Result<Answer> {
    let token = env.get(MP_PROXY_TOKEN).or_else(|| env.get(MP_PROXY_CLIENT_TOKEN));
    let token = token
        .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(|token| format!("X-Mp-Proxy-Token: {token}\r\n"))
        .unwrap_or_default();
    ask(place, None, path, &token, patience)
}

/// Asks for a path that is open to everybody: nobody is shown a token. `shown` is the certificate
/// that has to be shown, if it is not that of the place's file.
///
/// # Errors
/// As [`get`].
pub(super) fn get_public(
    place: &Place,
    shown: Option<CertificateDer<'static>>,
    path: &str,
    patience: Option<Duration>,
) -> io::Result<Answer> {
    ask(place, shown, path, "", patience)
}

fn ask(
    place: &Place,
    shown: Option<CertificateDer<'static>>,
    path: &str,
    lines: &str,
    patience: Option<Duration>,
) -> io::Result<Answer> {
    let (mut stream, host) = connect(place, shown, patience)?;
    let head = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{lines}\r\n");
    stream.write_all(head.as_bytes())?;
    let mut body = BufReader::new(stream);
    let mut line = String::new();
    body.by_ref().take(LONGEST).read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    while line.trim_end() != "" {
        line.clear();
        body.by_ref().take(LONGEST).read_line(&mut line)?;
    }
    Ok(Answer { status, body })
}

fn connect(
    place: &Place,
    shown: Option<CertificateDer<'static>>,
    patience: Option<Duration>,
) -> io::Result<(Box<dyn Stream>, String)> {
    match place {
        Place::Tcp(listen) => {
            let (stream, address) = tcp(*listen, patience)?;
            Ok((Box::new(stream), address.to_string()))
        }
        Place::Tls(listen, cert) => {
            let shown = match shown {
                Some(shown) => shown,
                None => pinned::of_file(cert).map_err(io::Error::other)?,
            };
            let (stream, address) = tcp(*listen, patience)?;
            // A handshake that never ends would hold up a command that follows without end.
            stream.set_read_timeout(patience.or(Some(HANDSHAKE)))?;
            let stream = pinned::handshake(stream, address.ip(), shown)?;
            stream.sock.set_read_timeout(patience)?;
            Ok((Box::new(stream), address.to_string()))
        }
        Place::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(patience)?;
            Ok((Box::new(stream), "localhost".to_owned()))
        }
    }
}

impl Answer {
    /// The whole body; cut where it is too long for an answer of ours.
    pub(super) fn text(self) -> String {
        let mut text = String::new();
        let _ = self.body.take(LONGEST).read_to_string(&mut text);
        text
    }

    /// What a refusal says to people, and what to do about it; the first is empty for any other answer.
    pub(super) fn refusal(self) -> (String, String) {
        let asks_for_a_token = self.status == 401;
        let text = self.text();
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let field = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        let hint = match (asks_for_a_token, field("hint")) {
            (true, _) => "set MP_PROXY_TOKEN to a caller's token".to_owned(),
            (false, none) if none.is_empty() => "check what listens there".to_owned(),
            (false, hint) => hint,
        };
        (format!("{} {}", field("code"), field("detail")).trim().to_owned(), hint)
    }
}

fn tcp(listen: SocketAddr, patience: Option<Duration>) -> io::Result<(TcpStream, SocketAddr)> {
    let address = reachable(listen);
    let stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(patience)?;
    Ok((stream, address))
}

/// A proxy on all addresses is reached by loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
