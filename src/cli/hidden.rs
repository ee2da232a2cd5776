//! A line that is typed at the terminal and not shown. Called by `secret`.
//! Invariants: the terminal is as it was when the call returns, after Ctrl-C too; nothing of the
//! line stays in a buffer that is not wiped; whatever length is pasted arrives whole or is refused
//! (the kernel's own line editing cuts at 4 KiB).

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use secrecy::zeroize::Zeroizing;
use std::io::{self, Write as _};

/// What came of it.
pub(super) enum Typed {
    /// A line, without its end.
    Line(Zeroizing<Vec<u8>>),
    /// More than was allowed.
    TooLong,
    /// Ctrl-C.
    Interrupted,
    /// The terminal is gone, or Ctrl-D.
    Ended,
}

/// Prints `prompt` to stderr and reads a line from stdin, which must be a terminal.
///
/// # Errors
/// The terminal does not obey.
pub(super) fn read_line(prompt: &str, limit: usize) -> io::Result<Typed> {
    let hidden = Hidden::start()?;
    let mut err = io::stderr().lock();
    err.write_all(prompt.as_bytes()).and_then(|()| err.flush())?;
    let typed = edit(limit);
    drop(hidden);
    let _ = err.write_all(b"\n");
    typed
}

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CTRL_U: u8 = 21;
const DELETE: u8 = 127;

fn edit(limit: usize) -> io::Result<Typed> {
    // Never grown, so that no copy is left behind.
    let mut line = Zeroizing::new(Vec::with_capacity(limit));
    let mut byte = Zeroizing::new([0_u8]);
    let stdin = io::stdin();
    let mut too_long = false;
    loop {
        match rustix::io::read(&stdin, &mut *byte) {
            Ok(0) => return Ok(Typed::Ended),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        match byte[0] {
            b'\n' | b'\r' if too_long => return Ok(Typed::TooLong),
            b'\n' | b'\r' => return Ok(Typed::Line(line)),
            CTRL_C => return Ok(Typed::Interrupted),
            CTRL_D if line.is_empty() => return Ok(Typed::Ended),
            CTRL_U => line.clear(),
            BACKSPACE | DELETE => take_back(&mut line),
            _ if line.len() == limit => too_long = true,
            other => line.push(other),
        }
    }
}

/// Takes back the last character, which may be of several bytes.
fn take_back(line: &mut Vec<u8>) {
    while let Some(byte) = line.pop() {
        if byte & 0b1100_0000 != 0b1000_0000 {
            return;
        }
    }
}

/// The terminal without echo, until it is dropped.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut now = before.clone();
        // Signals too: Ctrl-C would end the process and leave the terminal without echo.
        now.local_modes -=
            LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
        now.special_codes[SpecialCodeIndex::VMIN] = 1;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &now)?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Flush: what was typed beyond the line is not for the shell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::take_back;

    #[test]
    fn a_character_is_taken_back_whole() {
        let mut line = "a\u{e9}\u{20ac}".as_bytes().to_vec();
        take_back(&mut line);
        assert_eq!(line, "a\u{e9}".as_bytes());
        take_back(&mut line);
        take_back(&mut line);
        take_back(&mut line);
        assert!(line.is_empty());
    }
}
