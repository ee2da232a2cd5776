//! A small client for our own endpoints, used by `health`, `wait` and `tail`.
//! Invariant: it talks to the address of `--listen` and nobody else; HTTP/1.0, so that a body
//! ends with the connection.

use crate::sys::env::{Env, MP_PROXY_CLIENT_TOKEN, MP_PROXY_TOKEN};
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

const CONNECT: Duration = Duration::from_secs(2);
/// The longest answer that is read whole.
const LONGEST: u64 = 64 * 1024;

/// The status, and the body as it comes.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: BufReader<TcpStream>,
}

/// Asks for one of our own paths; `patience` is for each read.
///
/// # Errors
/// Nobody listens, or the answer is not HTTP.
pub(super) fn get(
    listen: SocketAddr,
    path: &str,
    env: &Env,
    patience: Option<Duration>,
) -> io::Result<Answer> {
    let address = reachable(listen);
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(patience)?;
    let token = env.get(MP_PROXY_TOKEN).or_else(|| env.get(MP_PROXY_CLIENT_TOKEN));
    let token = token
        .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(|token| format!("X-Mp-Proxy-Token: {token}\r\n"))
        .unwrap_or_default();
    let head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{token}\r\n");
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

impl Answer {
    /// What a refusal says to people; empty for any other answer.
    pub(super) fn refusal(self) -> String {
        let mut text = String::new();
        let _ = self.body.take(LONGEST).read_to_string(&mut text);
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let field = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", field("code"), field("detail")).trim().to_owned()
    }
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
