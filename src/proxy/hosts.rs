//! What a request of this listener may be addressed to: the allowlist behind `Host`.
//! Made by `server` when it is bound, asked by `guard`.
//! Invariant: a name is compared as a whole and a port as a number in its one spelling, so that
//! no second spelling of another host passes (DNS rebinding).

use http::{HeaderValue, uri::Authority};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// How requests come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// As they are.
    Plain,
    /// Through TLS.
    Tls,
}

impl Transport {
    /// The scheme of URLs that lead here.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "http",
            Self::Tls => "https",
        }
    }

    /// RFC 9110 §4.2: the port that such URLs may leave out.
    const fn default_port(self) -> u16 {
        match self {
            Self::Plain => 80,
            Self::Tls => 443,
        }
    }
}

/// A host that the user allows besides our own (`--allow-host`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    name: String,
    /// Without one: our port, or none.
    port: Option<u16>,
}

/// Why a text is no such host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a host name or `[IPv6]`, with a port or without, such as `proxy.internal:8787`; wildcards are not supported"
)]
pub struct NotAHost;

impl FromStr for AllowedHost {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let (name, port) = split(text).ok_or(NotAHost)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let ip = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match ip {
            Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
            None => name.bytes().all(plain) && !name.starts_with('.') && !name.ends_with('.'),
        };
        if valid { Ok(Self { name: name.to_ascii_lowercase(), port }) } else { Err(NotAHost) }
    }
}

/// The hosts of one listener.
#[derive(Debug, Clone)]
pub struct Hosts {
    transport: Transport,
    /// A unix socket has none, and takes any.
    port: Option<u16>,
    own: Vec<String>,
    /// Our own as most clients spell them, with the port: found without taking apart.
    usual: Vec<String>,
    extra: Vec<AllowedHost>,
}

impl Hosts {
    /// Of a TCP listener: the three names of this machine, and the address that it is bound to
    /// if that is another single one.
    #[must_use]
    pub fn tcp(address: SocketAddr, transport: Transport, extra: Vec<AllowedHost>) -> Self {
        let mut own = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
        let bound = match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        if !address.ip().is_unspecified() && !own.contains(&bound) {
            own.push(bound);
        }
        let usual = own.iter().map(|name| format!("{name}:{}", address.port())).collect();
        Self { transport, port: Some(address.port()), own, usual, extra }
    }

    /// Of a unix socket: no web page reaches it, so only the name is looked at.
    #[must_use]
    pub fn unix(extra: Vec<AllowedHost>) -> Self {
        let own = vec!["localhost".to_owned()];
        Self { transport: Transport::Plain, port: None, usual: own.clone(), own, extra }
    }

    /// How requests come in.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether this is one of ours: the value of `Host`, or the authority of a target.
    #[must_use]
    pub fn accept(&self, authority: &str) -> bool {
        if self.usual.iter().any(|usual| usual == authority) {
            return true;
        }
        let Some((name, port)) = split(authority) else { return false };
        let ours = match port {
            _ if self.port.is_none() => true,
            Some(port) => Some(port) == self.port,
            None => self.port == Some(self.transport.default_port()),
        };
        ours && self.own.iter().any(|own| own.eq_ignore_ascii_case(name))
            || self.extra.iter().any(|extra| {
                extra.name.eq_ignore_ascii_case(name)
                    && match (extra.port, port) {
                        (Some(wanted), Some(port)) => wanted == port,
                        (Some(wanted), None) => wanted == self.transport.default_port(),
                        (None, Some(port)) => self.port.is_none_or(|own| own == port),
                        (None, None) => true,
                    }
            })
    }
}

/// For hints: where to send requests instead.
impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, name) in self.own.iter().enumerate() {
            let glue = if number == 0 { "" } else { ", " };
            write!(f, "{glue}{}://{name}", self.transport.scheme())?;
            if let Some(port) = self.port {
                write!(f, ":{port}")?;
            }
        }
        Ok(())
    }
}

/// Name and port of an authority. User names, empty names and ports in any second spelling
/// (`08787`, `+80`, `` after the colon) are no authority of ours.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    let end = match text.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => text.bytes().position(|byte| byte == b':').unwrap_or(text.len()),
    };
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    let Some(digits) = rest.strip_prefix(':') else {
        return rest.is_empty().then_some((name, None));
    };
    let one_spelling = digits == "0" || digits.starts_with(|first| matches!(first, '1'..='9'));
    let port = digits.parse::<u16>().ok().filter(|_| one_spelling)?;
    Some((name, Some(port)))
}

/// Whether it is the value of a `Host` at all, be it ours or not (RFC 9110 §7.2).
#[must_use]
pub fn is_well_formed(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    value.is_empty() || Authority::try_from(value).is_ok() && !value.contains(&b'@')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn check(hosts: &Hosts, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(hosts.accept(text), "{text}");
        }
        for text in bad {
            assert!(!hosts.accept(text), "{text}");
        }
    }

    #[test]
    fn own_names_with_our_port_in_one_spelling() {
        let hosts = Hosts::tcp(address("127.0.0.1:8787"), Transport::Plain, Vec::new());
        check(
            &hosts,
            &["127.0.0.1:8787", "localhost:8787", "LOCALHOST:8787", "[::1]:8787"],
            &[
                "",
                ":8787",
                "localhost",
                "127.0.0.1",
                "localhost:",
                "localhost:80",
                "localhost:08787",
                "localhost:+8787",
                "localhost:8787 ",
                " localhost:8787",
                "localhost.:8787",
                "evil.localhost:8787",
                "localhost.evil:8787",
                "u@localhost:8787",
                "u:8787@evil",
                "127.0.0.1:8787@evil",
                "[::1",
                "[::1]",
                "[::1]8787",
                "[::1]x:8787",
                "::1:8787",
                "[0:0:0:0:0:0:0:1]:8787",
                "127.1:8787",
                "2130706433:8787",
                "0x7f000001:8787",
                "0.0.0.0:8787",
                "[::ffff:127.0.0.1]:8787",
                "127.0.0.2:8787",
                "localhost:65536",
                "localhost:8787:8787",
                "localhost,evil:8787",
                "localh\u{f6}st:8787",
            ],
        );
        assert_eq!(
            hosts.to_string(),
            "http://localhost:8787, http://127.0.0.1:8787, http://[::1]:8787"
        );
    }

    #[test]
    fn the_default_port_of_the_scheme_may_be_left_out() {
        let plain = Hosts::tcp(address("127.0.0.1:80"), Transport::Plain, Vec::new());
        check(&plain, &["localhost", "localhost:80", "[::1]"], &["localhost:443"]);
        let tls = Hosts::tcp(address("127.0.0.1:443"), Transport::Tls, Vec::new());
        check(&tls, &["localhost", "localhost:443"], &["localhost:80"]);
        assert!(tls.to_string().starts_with("https://localhost:443, "));
        assert_eq!(tls.transport(), Transport::Tls);
        let odd = Hosts::tcp(address("127.0.0.1:80"), Transport::Tls, Vec::new());
        check(&odd, &["localhost:80"], &["localhost"]);
    }

    #[test]
    fn the_address_that_we_are_bound_to_is_ours() {
        let hosts = Hosts::tcp(address("10.1.2.3:9"), Transport::Plain, Vec::new());
        check(&hosts, &["10.1.2.3:9", "localhost:9"], &["10.1.2.4:9"]);
        let hosts = Hosts::tcp(address("[fe80::1]:9"), Transport::Plain, Vec::new());
        check(&hosts, &["[fe80::1]:9"], &["fe80::1:9"]);
        let hosts = Hosts::tcp(address("0.0.0.0:9"), Transport::Plain, Vec::new());
        check(&hosts, &["127.0.0.1:9"], &["0.0.0.0:9"]);
    }

    #[test]
    fn extra_hosts_come_with_a_port_or_with_ours_or_none() {
        let extra = ["Proxy.internal", "mapped:9000", "eighty:80", "[2001:db8::1]"];
        let extra: Vec<_> = extra.iter().map(|text| text.parse().unwrap()).collect();
        let hosts = Hosts::tcp(address("127.0.0.1:8787"), Transport::Plain, extra);
        check(
            &hosts,
            &[
                "proxy.internal",
                "PROXY.internal:8787",
                "mapped:9000",
                "eighty",
                "eighty:80",
                "[2001:db8::1]:8787",
            ],
            &[
                "proxy.internal:80",
                "mapped",
                "mapped:8787",
                "eighty:8787",
                "x.proxy.internal",
                "localhost:9000",
            ],
        );
        for bad in [
            "",
            "*",
            "*.internal",
            "a b",
            "u@h",
            "h:",
            "h:0x1",
            "h:99999",
            ".h",
            "h.",
            "[x]",
            "http://h",
            "h/",
        ] {
            assert_eq!(bad.parse::<AllowedHost>(), Err(NotAHost), "{bad}");
        }
    }

    #[test]
    fn a_unix_socket_takes_localhost_with_any_port() {
        let hosts = Hosts::unix(vec!["docker".parse().unwrap()]);
        check(
            &hosts,
            &["localhost", "localhost:1", "docker", "docker:7"],
            &["127.0.0.1", "evil", "localhost:01", ""],
        );
        assert_eq!(hosts.to_string(), "http://localhost");
    }
}
