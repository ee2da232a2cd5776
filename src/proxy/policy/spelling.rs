//! Every way in which a server may read a path: encodings, double slashes, parameters of
//! segments, backslashes. Called by `policy`.
//! Invariant: what no two servers could read differently has one reading; a rule must hold for
//! all of them, so that no spelling slips past it.

use crate::model::refusal::{Code, Refusal};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use unicode_normalization::UnicodeNormalization as _;

/// A path as decoded, non-empty segments.
pub type Segments = Vec<String>;

/// The readings of a path, without repetition.
///
/// # Errors
/// `POLICY_DENIED` for a path that hides something: more than two layers of encoding, dot
/// segments, control characters, bytes that are not UTF-8.
pub fn readings(path: &str) -> Result<Vec<Segments>, Refusal> {
    let once = decode(path)?;
    let twice = decode(&once)?;
    if decode(&twice)? != twice {
        return Err(odd("is percent-encoded more than twice"));
    }
    let mut all: Vec<Segments> = Vec::with_capacity(1);
    let mut add = |segments: Segments| {
        if !all.contains(&segments) {
            all.push(segments);
        }
    };
    // As RFC 3986 has it: split first, decode then.
    add(path.split('/').map(decode).collect::<Result<Vec<_>, _>>().map(plain)?);
    for text in [&once, &twice] {
        if text.contains(['%', '\\', ';']) || *text != path {
            let slashes = text.replace('\\', "/");
            add(plain(slashes.split('/').map(Cow::Borrowed).collect()));
            add(plain(slashes.split('/').map(without_parameters).collect()));
        }
    }
    if all.iter().flatten().any(|part| part == "." || part == "..") {
        return Err(odd("has `.` or `..` segments"));
    }
    Ok(all)
}

/// A word as a lenient server may compare it: without case, in compatibility form.
#[must_use]
pub fn fold(word: &str) -> String {
    word.nfkc().flat_map(char::to_lowercase).filter(|c| !c.is_whitespace()).collect()
}

/// Percent-decoding of one layer.
///
/// # Errors
/// Control characters, or bytes that are not UTF-8.
pub fn decode(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| odd("holds percent-encoded bytes that are not UTF-8"))?;
    if decoded.chars().any(char::is_control) {
        return Err(odd("holds control characters"));
    }
    // `%u005f`, as old JavaScript escapes and some servers still read.
    let hex = |text: &str| text.bytes().take(4).filter(u8::is_ascii_hexdigit).count() == 4;
    if decoded.split(['%']).skip(1).any(|rest| rest.strip_prefix(['u', 'U']).is_some_and(hex)) {
        return Err(odd("holds `%u` escapes"));
    }
    Ok(decoded)
}

fn plain(parts: Vec<Cow<'_, str>>) -> Segments {
    parts.into_iter().filter(|part| !part.is_empty()).map(Cow::into_owned).collect()
}

/// `projects;v=1` without `;v=1`, as servlets read it.
fn without_parameters(segment: &str) -> Cow<'_, str> {
    Cow::Borrowed(segment.split(';').next().unwrap_or_default())
}

fn odd(what: &str) -> Refusal {
    Refusal::new(Code::PolicyDenied, format!("policy: the path or query {what}"))
        .hint("send it spelt plainly")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Vec<String> {
        readings(path).unwrap().into_iter().map(|segments| segments.join("|")).collect()
    }

    #[test]
    fn a_plain_path_has_one_reading() {
        assert_eq!(read("/api/app/projects/1/"), ["api|app|projects|1"]);
        assert_eq!(read("/api/app//projects/1"), ["api|app|projects|1"]);
        assert_eq!(read("/api/app/schemas/event/Sign%20up"), ["api|app|schemas|event|Sign up"]);
    }

    #[test]
    fn an_ambiguous_one_has_all_of_them() {
        assert_eq!(read("/a/b%2Fc"), ["a|b/c", "a|b|c"]);
        assert_eq!(read("/a/%2570"), ["a|%70", "a|p"]);
        assert_eq!(read("/a;x=1/b"), ["a;x=1|b", "a|b"]);
        assert_eq!(read("/a\\b"), ["a\\b", "a|b"]);
        for hidden in ["/a/%25252e", "/a/%252e%252e/b", "/a/%2e/b", "/a%00", "/a/%c0%af", "/%0d"] {
            assert_eq!(readings(hidden).unwrap_err().code, Code::PolicyDenied, "{hidden}");
        }
    }

    #[test]
    fn folding_undoes_case_and_look_alikes() {
        assert_eq!(fold("ProJects "), "projects");
        assert_eq!(fold("ｐrojects"), "projects");
    }
}
