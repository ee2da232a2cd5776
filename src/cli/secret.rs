//! How a secret comes in: stdin, or a prompt that does not echo. Called by the commands that
//! take one. Invariant: never more than 64 KiB, never empty, never an argument.

use super::hidden::{self, Typed};
use crate::model::refusal::{Code, Refusal};
use secrecy::{ExposeSecret as _, SecretString};
use std::io::{self, IsTerminal as _, Read as _};
use zeroize::Zeroizing;

/// The longest secret that is read.
const LONGEST: u64 = 64 * 1024;
/// That, what shows that it is longer, and the room that the read of the end wants.
const ROOM: usize = 64 * 1024 + 64;

/// Reads a secret from stdin, without the white space around it (quirk M10). `what` names it and
/// `command` is the one to pipe it into.
///
/// # Errors
/// `INVALID_ARGUMENT` for none, for more than 64 KiB, and for what is not UTF-8.
pub fn from_stdin(what: &str, command: &str) -> Result<SecretString, Refusal> {
    let invalid = |text: String| {
        Refusal::new(Code::InvalidArgument, text)
            .hint(format!("pipe the {what} in: printf %s \"$SECRET\" | {command}"))
    };
    // All the room at once: what grows leaves its former place as it was.
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
    io::stdin()
        .lock()
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| invalid(format!("stdin cannot be read: {error}")))?;
    if bytes.len() as u64 > LONGEST {
        return Err(invalid(format!("the {what} on stdin is longer than 64 KiB")));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| invalid(format!("the {what} on stdin is not UTF-8")))?;
    let secret = SecretString::from(text.trim());
    if secret.expose_secret().is_empty() {
        return Err(invalid(format!("there is no {what} on stdin")));
    }
    Ok(secret)
}

/// Asks for a secret at the terminal, without echo; `None` if there is no terminal. Ctrl-C ends
/// the process with exit code 130.
///
/// # Errors
/// `INVALID_ARGUMENT` if nothing comes of it. `flag` is the one that takes the secret by stdin.
pub fn from_terminal(what: &str, flag: &str) -> Result<Option<SecretString>, Refusal> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    let invalid = |text: String| {
        Refusal::new(Code::InvalidArgument, text)
            .hint(format!("run the same command again, or pipe it in and pass {flag}"))
    };
    let typed = hidden::read_line(
        &format!("Enter the {what} (not shown): "),
        usize::try_from(LONGEST).unwrap_or(0),
    )
    .map_err(|error| invalid(format!("the terminal cannot be read: {}", error.kind())))?;
    let line = match typed {
        Typed::Line(line) => line,
        Typed::TooLong => return Err(invalid(format!("the {what} is longer than 64 KiB"))),
        Typed::Ended => return Err(invalid(format!("no {what} was entered"))),
        Typed::Interrupted => std::process::exit(super::error::INTERRUPTED),
    };
    let text =
        std::str::from_utf8(&line).map_err(|_| invalid(format!("the {what} is not UTF-8")))?;
    let secret = SecretString::from(text.trim());
    if secret.expose_secret().is_empty() {
        return Err(invalid(format!("the {what} is empty")));
    }
    // An arrow key, most likely: it was meant to move, and nobody saw that it did not.
    if secret.expose_secret().chars().any(char::is_control) {
        return Err(invalid(format!("the {what} holds a control character")));
    }
    Ok(Some(secret))
}
