//! Form bodies in parts (RFC 7578), read for the names and values of their fields. Called by
//! `policy::body`.
//! Invariant: a body whose parts cannot be told apart for certain is a refusal.

use super::{Mentions, no_method};
use crate::{model::refusal::Refusal, proxy::policy::spelling::fold};

/// What is wrong with a body.
#[derive(Debug)]
pub enum Wrong {
    /// It cannot be read for certain.
    Unreadable,
    /// It names something that it must not.
    Refused(Refusal),
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Reads the fields; `kind` is the value of `Content-Type`.
///
/// # Errors
/// No boundary, parts with an encoding or a charset of their own, or what a field names.
pub fn read(mentions: &mut Mentions, kind: &str, body: &[u8]) -> Result<(), Wrong> {
    let text = std::str::from_utf8(body).map_err(|_| Wrong::Unreadable);
    let boundary = parameter(kind, "boundary").filter(|text| !text.is_empty());
    let mark = format!("--{}", boundary.ok_or(Wrong::Unreadable)?);
    // Files may be anything, but what surrounds them is text.
    let lossy = text.map_or_else(|_| String::from_utf8_lossy(body), Into::into);
    let mut parts = lossy.split(mark.as_str());
    let preamble = parts.next().unwrap_or_default();
    let (mut ended, mut count) = (false, 0);
    if !preamble.trim().is_empty() {
        return Err(Wrong::Unreadable);
    }
    for part in parts {
        if ended {
            return Err(Wrong::Unreadable);
        }
        if let Some(epilogue) = part.strip_prefix("--") {
            if !epilogue.trim().is_empty() {
                return Err(Wrong::Unreadable);
            }
            ended = true;
            continue;
        }
        count += 1;
        field(mentions, part)?;
    }
    if ended && count > 0 { Ok(()) } else { Err(Wrong::Unreadable) }
}

fn field(mentions: &mut Mentions, part: &str) -> Result<(), Wrong> {
    let part = part.strip_prefix("\r\n").or_else(|| part.strip_prefix('\n'));
    let part = part.ok_or(Wrong::Unreadable)?;
    let ends = ["\r\n\r\n", "\n\n"].map(|end| part.find(end).map(|at| (at, end.len())));
    let (at, length) = ends.into_iter().flatten().min().ok_or(Wrong::Unreadable)?;
    let (head, value) = (&part[..at], &part[at + length..]);
    let mut name = None;
    for line in head.lines() {
        let (field, rest) = line.split_once(':').ok_or(Wrong::Unreadable)?;
        match field.trim().to_ascii_lowercase().as_str() {
            "content-disposition" if name.is_none() && !rest.contains("name*") => {
                name = Some(parameter(rest, "name").ok_or(Wrong::Unreadable)?);
            }
            "content-type" if parameter(rest, "charset").is_none_or(|set| is_utf8(&set)) => {}
            "content-length" => {}
            // Another transfer encoding, a second name, a folded line.
            _ => return Err(Wrong::Unreadable),
        }
    }
    let name = name.ok_or(Wrong::Unreadable)?;
    if fold(&name) == "_charset_" {
        return Err(Wrong::Unreadable);
    }
    no_method(&name, "body")?;
    mentions.field(&name, value.trim(), "body")?;
    Ok(())
}

/// Whether text in the charset is read as UTF-8 has it.
#[must_use]
pub fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii", "ascii"].contains(&charset.to_ascii_lowercase().as_str())
}

/// A parameter of a field value, quoted or not; the first of that name.
#[must_use]
pub fn parameter(value: &str, name: &str) -> Option<String> {
    value.split(';').skip(1).find_map(|one| {
        let (key, text) = one.split_once('=')?;
        let text = text.trim();
        let plain = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        key.trim().eq_ignore_ascii_case(name).then(|| plain.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_doubts_refused() {
        let read = |body: &str| {
            let mut mentions = Mentions::default();
            let kind = "multipart/form-data; boundary=\"xx\"";
            read(&mut mentions, kind, body.replace('\n', "\r\n").as_bytes()).map(|()| {
                mentions.projects.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>()
            })
        };
        let one = |head: &str, value: &str| format!("--xx\n{head}\n\n{value}\n--xx--\n");
        let name = "Content-Disposition: form-data; name=";
        assert_eq!(read(&one(&format!("{name}\"project_id\""), "2")).unwrap(), ["2"]);
        assert_eq!(read(&one(&format!("{name}Project-ID"), " 2 ")).unwrap(), ["2"]);
        assert_eq!(read(&one(&format!("{name}params"), "{\"project_id\": 2}")).unwrap(), ["2"]);
        assert!(read(&one(&format!("{name}file; filename=a.csv"), "a,b")).unwrap().is_empty());
        for doubtful in [
            "project_id=2".to_owned(),
            "--xx--\n".to_owned(),
            one("Content-Type: text/plain", "2"),
            one(&format!("{name}a\nContent-Transfer-Encoding: base64"), "Mg=="),
            one(&format!("{name}a\nContent-Type: text/plain; charset=utf-7"), "2"),
            one(&format!("{name}a; name*=utf-8''project_id"), "2"),
            one(&format!("{name}_charset_"), "utf-7"),
            one(&format!("{name}_method"), "PUT"),
            one(&format!("{name}a\n{name}project_id"), "2"),
            one(&format!("{name}project_id"), "02"),
            format!("{name}\n{}", one(&format!("{name}a"), "2")),
            one(&format!("{name}a"), "2").trim_end_matches("--\n").to_owned(),
        ] {
            assert!(read(&doubtful).is_err(), "{doubtful}");
        }
    }
}
