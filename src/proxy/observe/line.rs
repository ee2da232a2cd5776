//! One finished request as one line of text or as one JSON object. Called by `observe` for the
//! log and for live events. Written by hand: it stands on the path of every request, where a
//! general formatter costs more than the rest of the bookkeeping together.
//! SECURITY: what comes from outside is escaped, so that a line stays one line.

use super::seen::{AnsweredBy, End, Seen};
use crate::sys::env::{Env, NO_COLOR};
use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

/// How much of a path is shown.
const LONGEST_PATH: usize = 512;

/// Colours of a terminal, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Escape sequences of ANSI terminals.
    Ansi,
    /// Plain text.
    None,
}

impl Colour {
    /// What a log on stderr has: colours on a terminal whose user did not turn them off
    /// (<https://no-color.org>).
    #[must_use]
    pub fn of_stderr(env: &Env) -> Self {
        let wanted = io::stderr().is_terminal() && env.get(NO_COLOR).is_none();
        if wanted { Self::Ansi } else { Self::None }
    }
}

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// We refused, or the answer was cut.
    Warn,
    /// A request that went to Mixpanel.
    Info,
    /// One of our own endpoints.
    Debug,
}

/// The level of a request's line.
#[must_use]
pub fn level(seen: &Seen<'_>) -> Level {
    match seen.answered_by {
        AnsweredBy::Refusal { .. } => Level::Warn,
        _ if seen.end == End::Cut && seen.route != "/_mp" => Level::Warn,
        AnsweredBy::Upstream | AnsweredBy::Shared => Level::Info,
        AnsweredBy::Endpoint | AnsweredBy::Nobody => Level::Debug,
    }
}

/// Appends a line for people; `stamp` is the time of the answer's end.
pub fn text(out: &mut Vec<u8>, seen: &Seen<'_>, stamp: &str, colour: Colour) {
    let (dim, paint, plain) = match (colour, seen.status.as_u16()) {
        (Colour::None, _) => ("", "", ""),
        (Colour::Ansi, ..400) => ("\x1b[2m", "\x1b[32m", "\x1b[0m"),
        (Colour::Ansi, 400..500) => ("\x1b[2m", "\x1b[33m", "\x1b[0m"),
        (Colour::Ansi, _) => ("\x1b[2m", "\x1b[31m", "\x1b[0m"),
    };
    let level = match level(seen) {
        Level::Warn => " WARN",
        Level::Info => " INFO",
        Level::Debug => "DEBUG",
    };
    put(out, &[dim, stamp, plain, " ", level, " ", seen.method.as_str(), " "]);
    escaped(out, shown(seen.path));
    put(out, &[" ", paint]);
    number(out, u64::from(seen.status.as_u16()));
    put(out, &[plain, " "]);
    millis(out, seen.times.total);
    put(out, &["ms own="]);
    millis(out, seen.times.own);
    put(out, &["ms"]);
    if matches!(seen.answered_by, AnsweredBy::Upstream | AnsweredBy::Nobody) {
        put(out, &[" upstream="]);
        millis(out, seen.times.upstream);
        put(out, &["ms"]);
    }
    if !seen.times.paced.is_zero() {
        put(out, &[" paced="]);
        millis(out, seen.times.paced);
        put(out, &["ms"]);
    }
    put(out, &[" up="]);
    number(out, seen.bytes_up);
    put(out, &[" down="]);
    number(out, seen.bytes_down);
    if let Some(whom) = seen.whom {
        put(out, &[" as=", whom.account, "/", whom.project]);
        if let Some(workspace) = whom.workspace {
            put(out, &["/"]);
            number(out, workspace);
        }
    }
    put(out, &[" caller="]);
    escaped(out, seen.caller);
    put(out, &[" id=", seen.request_id]);
    if let Some(trace) = seen.trace {
        let _ = write!(out, " trace={:032x}", trace.trace_id);
    }
    if seen.end == End::Cut {
        put(out, &[" cut"]);
    }
    if let AnsweredBy::Refusal { code, detail } = seen.answered_by {
        put(out, &[" code=", code, " detail=\""]);
        escaped(out, detail);
        put(out, &["\""]);
    }
    put(out, &["\n"]);
}

/// Appends a JSON object without a line end.
pub fn json(out: &mut Vec<u8>, seen: &Seen<'_>, stamp: &str, queries: Queries) {
    let (level, message) = match (level(seen), seen.answered_by) {
        (Level::Warn, AnsweredBy::Refusal { .. }) => ("WARN", "refused"),
        (Level::Warn, _) => ("WARN", "cut"),
        (Level::Info, AnsweredBy::Shared) => ("INFO", "shared"),
        (Level::Info, _) => ("INFO", "forwarded"),
        (Level::Debug, _) => ("DEBUG", "answered"),
    };
    let level = [r#"{"timestamp":""#, stamp, r#"","level":""#, level, r#"","message":""#, message];
    put(out, &level);
    put(out, &[r#"","method":""#]);
    escaped(out, seen.method.as_str());
    put(out, &[r#"","path":""#]);
    escaped(out, shown(seen.path));
    put(out, &[r#"","route":""#, seen.route, r#"","status":"#]);
    number(out, u64::from(seen.status.as_u16()));
    for (name, time) in [
        ("ms", seen.times.total),
        ("own_ms", seen.times.own),
        ("upstream_ms", seen.times.upstream),
        ("paced_ms", seen.times.paced),
    ] {
        put(out, &[",\"", name, "\":"]);
        millis(out, time);
    }
    put(out, &[",\"bytes_up\":"]);
    number(out, seen.bytes_up);
    put(out, &[",\"bytes_down\":"]);
    number(out, seen.bytes_down);
    if let Some(whom) = seen.whom {
        put(out, &[r#","account":""#]);
        escaped(out, whom.account);
        put(out, &[r#"","project":""#, whom.project, "\""]);
        if let Some(workspace) = whom.workspace {
            put(out, &[",\"workspace\":"]);
            number(out, workspace);
        }
    }
    put(out, &[r#","caller":""#]);
    escaped(out, seen.caller);
    put(out, &[r#"","request_id":""#, seen.request_id, "\""]);
    if let Some(trace) = seen.trace {
        let _ = write!(out, r#","trace_id":"{:032x}""#, trace.trace_id);
    }
    if seen.end == End::Cut {
        put(out, &[",\"cut\":true"]);
    }
    if let AnsweredBy::Refusal { code, detail } = seen.answered_by {
        put(out, &[r#","code":""#, code, r#"","detail":""#]);
        escaped(out, detail);
        put(out, &["\""]);
    }
    if queries == Queries::Names {
        put(out, &[",\"query\":["]);
        for (number, name) in names(seen.query).enumerate() {
            put(out, &[if number == 0 { "\"" } else { ",\"" }]);
            escaped(out, name);
            put(out, &["\""]);
        }
        put(out, &["]"]);
    }
    put(out, &["}"]);
}

/// What is shown of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queries {
    /// Nothing: the log.
    Hidden,
    /// The names of its parameters: live events, so that a call can be written again.
    Names,
}

/// SECURITY: a pair without `=` is all value; its text is not shown.
fn names(query: Option<&str>) -> impl Iterator<Item = &str> {
    query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, _)| cut(name, 64))
        .take(32)
}

fn shown(path: &str) -> &str {
    cut(path, LONGEST_PATH)
}

/// The beginning of a text, whole characters.
fn cut(text: &str, most: usize) -> &str {
    let whole = |end: &usize| text.is_char_boundary(*end);
    &text[..(0..=most.min(text.len())).rev().find(whole).unwrap_or(0)]
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Safe within quotes, in JSON as in text.
fn escaped(out: &mut Vec<u8>, text: &str) {
    // Nearly always.
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let odd = |c: char| matches!(c, '"' | '\\' | '\u{7f}'..='\u{9f}') || c < ' ';
    let mut rest = text;
    while let Some(at) = rest.find(odd) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let c = rest[at..].chars().next().unwrap_or_default();
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            c => write!(out, "\\u{:04x}", u32::from(c)),
        };
        rest = &rest[at + c.len_utf8()..];
    }
    out.extend_from_slice(rest.as_bytes());
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Milliseconds with three digits behind the point.
fn millis(out: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    let rest = micros % 1000;
    out.push(b'.');
    out.extend([rest / 100, rest / 10 % 10, rest % 10].map(|digit| b'0' + digit as u8));
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
