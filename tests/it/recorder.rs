//! An upstream that keeps the very bytes that arrive, and answers with the very bytes it is told.
//! Used by the raw-socket, fault and leak suites.
//! Invariant: it parses strictly; what is not one well-formed message after another is `stray`.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// One step of a conversation. `Pause` gives the other side time to see the bytes before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Bytes(Vec<u8>),
    Pause(u64),
    /// Half-close: no more bytes from this side.
    Fin,
    /// Close, although the other side still has something to say.
    Close,
    /// Wait for the head of the given interim answer.
    Interim(u16),
}

/// How a body was framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length,
    Chunked,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Message {
    pub line: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub framing: Framing,
    /// Every byte of it came.
    pub whole: bool,
}

impl Message {
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|field| field.1.as_str()).collect()
    }
}

#[derive(Default)]
struct State {
    reply: Vec<Step>,
    early: bool,
    messages: Vec<Message>,
    stray: Vec<Vec<u8>>,
    /// Grows with each `expect`; what began before belongs to nobody.
    round: usize,
    lines: Vec<String>,
}

/// The upstream; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    pub address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let recorder = Self { address, state: Arc::default() };
        let serving = recorder.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let recorder = serving.clone();
                thread::spawn(move || recorder.connection(stream));
            }
        });
        recorder
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets what arrived, and answers every request from now on with `reply`; `early` does so
    /// as soon as the head is there.
    pub fn expect(&self, reply: Vec<Step>, early: bool) {
        let mut state = self.state.0.lock().unwrap();
        state.messages.clear();
        state.stray.clear();
        state.reply = reply;
        state.early = early;
        state.round += 1;
    }

    /// What arrived, once there are `count` messages (or two seconds have passed).
    pub fn messages(&self, count: usize) -> Vec<Message> {
        let (lock, changed) = &*self.state;
        let mut state = lock.lock().unwrap();
        let until = Instant::now() + Duration::from_secs(2);
        while state.messages.len() < count && Instant::now() < until {
            state = changed.wait_timeout(state, Duration::from_millis(50)).unwrap().0;
        }
        state.messages.clone()
    }

    /// Bytes that were no message.
    pub fn stray(&self) -> Vec<Vec<u8>> {
        self.state.0.lock().unwrap().stray.clone()
    }

    /// The request line of every message since the start.
    pub fn lines(&self) -> Vec<String> {
        self.state.0.lock().unwrap().lines.clone()
    }

    fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
    }

    fn connection(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut buffer = Vec::new();
        loop {
            let Some(end) = read_until(&mut stream, &mut buffer, |bytes| find(bytes, b"\r\n\r\n"))
            else {
                if !buffer.is_empty() {
                    self.note(|state| state.stray.push(buffer));
                }
                return;
            };
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            let Some(mut message) = head_of(&head[..end]) else {
                self.note(|state| state.stray.push(head));
                return;
            };
            let (reply, early, round) = {
                let mut state = self.state.0.lock().unwrap();
                state.lines.push(message.line.clone());
                (state.reply.clone(), state.early, state.round)
            };
            let keep = |message| {
                self.note(|state| {
                    if state.round == round {
                        state.messages.push(message);
                    }
                });
            };
            if early && !perform(&mut stream, &reply) {
                keep(message);
                return;
            }
            let whole = body(&mut stream, &mut buffer, &mut message);
            message.whole = whole;
            keep(message);
            if !whole || (!early && !perform(&mut stream, &reply)) {
                return;
            }
        }
    }
}

/// Does the steps; `false` if the connection is over.
fn perform(stream: &mut TcpStream, steps: &[Step]) -> bool {
    for step in steps {
        match step {
            Step::Bytes(bytes) => {
                if stream.write_all(bytes).is_err() {
                    return false;
                }
            }
            Step::Pause(ms) => thread::sleep(Duration::from_millis(*ms)),
            Step::Fin => {
                let _ = stream.shutdown(Shutdown::Write);
            }
            Step::Close | Step::Interim(_) => {
                let _ = stream.shutdown(Shutdown::Both);
                return false;
            }
        }
    }
    true
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn read_until(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    loop {
        if let Some(end) = done(buffer) {
            return Some(end);
        }
        let mut piece = [0; 16 * 1024];
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => buffer.extend_from_slice(&piece[..count]),
        }
    }
}

/// A head by the letter of RFC 9112: CRLF only, `token: value`, no control bytes.
fn head_of(head: &[u8]) -> Option<Message> {
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split("\r\n");
    let line = lines.next()?.to_owned();
    let parts: Vec<_> = line.split(' ').collect();
    if parts.len() != 3 || parts[2] != "HTTP/1.1" || parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let control = |c: char| (c < ' ' && c != '\t') || c == '\x7f';
    let mut fields = Vec::new();
    for field in lines {
        let (name, value) = field.split_once(':')?;
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) || value.contains(control) {
            return None;
        }
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    (!line.contains(control)).then(|| Message {
        line,
        fields,
        body: Vec::new(),
        framing: Framing::None,
        whole: false,
    })
}

/// Reads the body; `false` if it is not all there, or not well-formed.
fn body(stream: &mut TcpStream, buffer: &mut Vec<u8>, message: &mut Message) -> bool {
    let lengths: Vec<String> = message.all("content-length").into_iter().map(Into::into).collect();
    let codings: Vec<String> =
        message.all("transfer-encoding").into_iter().map(Into::into).collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => true,
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            message.framing = Framing::Length;
            let length: usize = length.parse().unwrap();
            let all = read_until(stream, buffer, |bytes| (bytes.len() >= length).then_some(length));
            message.body = buffer.drain(..length.min(buffer.len())).collect();
            all.is_some()
        }
        ([], [coding]) if coding == "chunked" => {
            message.framing = Framing::Chunked;
            while let Some(end) = read_until(stream, buffer, |bytes| find(bytes, b"\r\n")) {
                let line: Vec<u8> = buffer.drain(..end + 2).collect();
                let Some(size) = hex(&line[..end]) else { return false };
                if size == 0 {
                    return trailers(stream, buffer, message);
                }
                let all =
                    read_until(stream, buffer, |bytes| (bytes.len() >= size + 2).then_some(size));
                if all.is_none() || &buffer[size..size + 2] != b"\r\n" {
                    message.body.append(buffer);
                    return false;
                }
                message.body.extend(buffer.drain(..size));
                buffer.drain(..2);
            }
            false
        }
        _ => false,
    }
}

/// Keeps trailers as fields called `trailer NAME`.
fn trailers(stream: &mut TcpStream, buffer: &mut Vec<u8>, message: &mut Message) -> bool {
    while let Some(end) = read_until(stream, buffer, |bytes| find(bytes, b"\r\n")) {
        let line: Vec<u8> = buffer.drain(..end + 2).collect();
        let line = String::from_utf8_lossy(&line[..end]).into_owned();
        match line.split_once(':') {
            _ if line.is_empty() => return true,
            Some((name, value)) => {
                message.fields.push((format!("trailer {name}"), value.trim().to_owned()));
            }
            None => return false,
        }
    }
    false
}

fn hex(digits: &[u8]) -> Option<usize> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    usize::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| plain)?, 16).ok()
}
