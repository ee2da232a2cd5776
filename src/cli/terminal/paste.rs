//! One line from stdin, while somebody waits for it. Called by `terminal`.
//! Invariant: once nobody waits any more, not a byte is taken: what is typed then is for whoever
//! asks next.

use crate::auth::oauth::login::Paste;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read},
};
use std::{io::stdin, thread};
use tokio::sync::oneshot;

/// As much as a line may have; an address has a few hundred.
const LONGEST: usize = 64 * 1024;
/// How often is looked whether somebody still waits.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Reads the first line that is not blank, in a thread of its own. An end of stdin is no line.
pub(super) fn from_stdin() -> Paste {
    let (found, line) = oneshot::channel();
    thread::spawn(move || {
        if let Some(line) = first_line(&found) {
            let _ = found.send(line);
        }
    });
    line
}

fn first_line(waits: &oneshot::Sender<String>) -> Option<String> {
    let mut line = Vec::new();
    while !waits.is_closed() {
        match poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], Some(&LOOK)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return None,
        }
        // Byte by byte: what stands behind the line belongs to somebody else.
        let mut byte = [0_u8; 1];
        let ended = match read(stdin(), &mut byte) {
            Err(Errno::INTR) => continue,
            Err(_) => return None,
            Ok(0) => true,
            Ok(_) => {
                line.push(byte[0]);
                byte[0] == b'\n' || line.len() >= LONGEST
            }
        };
        let blank = line.iter().all(u8::is_ascii_whitespace);
        match (ended, blank) {
            (false, _) => {}
            (true, false) => return Some(String::from_utf8_lossy(&line).into_owned()),
            (true, true) if line.is_empty() => return None,
            (true, true) => line.clear(),
        }
    }
    None
}
