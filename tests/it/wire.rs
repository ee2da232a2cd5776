//! The client's side of a raw connection: answers read by the letter of RFC 9112.
//! Used by the raw-socket, fault and soak suites.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// One answer as the client saw it.
pub struct Got {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Ended as its framing says.
    pub whole: bool,
}

/// A connection to the proxy.
pub struct Wire {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Reads more; `false` at the end.
    fn more(&mut self) -> Result<bool, String> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(format!("no answer: {error}")),
        }
    }

    /// The next answer; interim ones are skipped unless asked for.
    pub fn answer(&mut self, method: &str, interim: bool) -> Result<Option<Got>, String> {
        loop {
            let end = loop {
                if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                    break end;
                }
                if !self.more()? {
                    return match self.buffer.len() {
                        0 => Ok(None),
                        _ => {
                            Err(format!("half a head: {:?}", String::from_utf8_lossy(&self.buffer)))
                        }
                    };
                }
            };
            let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
            let head: String = head[..end].iter().map(|byte| char::from(*byte)).collect();
            let mut lines = head.split("\r\n");
            let status: u16 = lines
                .next()
                .and_then(|line| line.split(' ').nth(1)?.parse().ok())
                .ok_or("no status")?;
            let fields: Vec<_> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect();
            if status < 200 && !interim {
                continue;
            }
            let mut got = Got { status, fields, body: Vec::new(), whole: true };
            if status >= 200 && status != 204 && status != 304 && method != "HEAD" {
                self.body(&mut got)?;
            }
            return Ok(Some(got));
        }
    }

    fn body(&mut self, got: &mut Got) -> Result<(), String> {
        let field = |name: &str| {
            let found = got.fields.iter().find(|field| field.0.eq_ignore_ascii_case(name));
            found.map(|field| field.1.clone())
        };
        if field("transfer-encoding").is_some() {
            loop {
                let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") else {
                    if self.more()? {
                        continue;
                    } else {
                        break;
                    };
                };
                let size = std::str::from_utf8(&self.buffer[..end]).map_err(|e| e.to_string())?;
                let size = usize::from_str_radix(size, 16).map_err(|e| e.to_string())?;
                while self.buffer.len() < end + size + 4 {
                    if !self.more()? {
                        got.whole = false;
                        return Ok(());
                    }
                }
                got.body.extend_from_slice(&self.buffer[end + 2..end + 2 + size]);
                self.buffer.drain(..end + size + 4);
                if size == 0 {
                    return Ok(());
                }
            }
            got.whole = false;
        } else if let Some(length) = field("content-length") {
            let length: usize = length.parse().map_err(|_| format!("length `{length}`"))?;
            while self.buffer.len() < length {
                if !self.more()? {
                    got.whole = false;
                    break;
                }
            }
            got.body = self.buffer.drain(..length.min(self.buffer.len())).collect();
        } else {
            while self.more()? {}
            got.body.append(&mut self.buffer);
        }
        Ok(())
    }

    /// Whether the proxy closed within `limit`; bytes after the last answer are an error.
    pub fn ends_within(&mut self, limit: Duration) -> Result<bool, String> {
        let until = Instant::now() + limit;
        loop {
            if !self.buffer.is_empty() {
                return Err(format!("more bytes: {:?}", String::from_utf8_lossy(&self.buffer)));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.stream.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
            match self.more() {
                Ok(true) => {}
                Ok(false) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }
}
