//! The one door to the TOML parser, for every file of ours, and what it takes and the reference's
//! does not: TOML 1.1 and a few dates.
//! Called by the files of `store` that read TOML. Invariants: no text makes it panic; a config that
//! passes `newer` is one that `mp` can read.

use std::{fmt, ops::Range};
use toml_edit::{Document, DocumentMut, Formatted, Item, Table, Value, visit_mut::VisitMut};
use toml_parser::{ParseError, Source, parser};
use zeroize::Zeroize as _;

/// Text that is not TOML. SECURITY: both are the parser's own words and numbers, nothing of the text.
#[derive(Debug)]
pub(super) struct NotToml {
    /// The byte where it was noticed.
    pub(super) at: usize,
    pub(super) why: String,
}

/// A text that was parsed. SECURITY: its strings are wiped when it goes, since some are secrets.
pub(super) struct Parsed(Table);

impl Parsed {
    pub(super) const fn as_table(&self) -> &Table {
        &self.0
    }
}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parsed")
    }
}

impl Drop for Parsed {
    fn drop(&mut self) {
        Wiper.visit_table_mut(&mut self.0);
    }
}

struct Wiper;

impl VisitMut for Wiper {
    fn visit_string_mut(&mut self, text: &mut Formatted<String>) {
        std::mem::replace(text, Formatted::new(String::new())).into_value().zeroize();
    }
}

/// Parses.
///
/// # Errors
/// [`NotToml`].
pub(super) fn parse(text: &str) -> Result<Parsed, NotToml> {
    Ok(Parsed(document(text)?.into_table()))
}

/// Parses what is to be changed.
///
/// # Errors
/// [`NotToml`].
pub(super) fn parse_mut(text: &str) -> Result<DocumentMut, NotToml> {
    Ok(document(text)?.into_mut())
}

fn document(text: &str) -> Result<Document<&str>, NotToml> {
    // `toml_edit` goes on after a syntax error, and then panics on some of what it made up.
    if let Some(error) = syntax(text) {
        let at = error.unexpected().or(error.context()).map_or(0, |span| span.start());
        return Err(NotToml { at, why: error.description().to_owned() });
    }
    Document::parse(text).map_err(|error| NotToml {
        at: error.span().map_or(0, |span| span.start),
        why: error.message().lines().next().unwrap_or_default().to_owned(),
    })
}

fn syntax(text: &str) -> Option<ParseError> {
    /// As deep as `toml_edit` goes.
    const DEEPEST: u32 = 80;
    let mut first = None;
    let mut ignored = ();
    let mut shallow = parser::RecursionGuard::new(&mut ignored, DEEPEST);
    let tokens = Source::new(text).lex().into_vec();
    parser::parse_document(&tokens, &mut shallow, &mut first);
    first
}

/// The first place of `text`, which parses as `document`, that TOML 1.0 refuses, and why.
pub(super) fn newer(text: &str, document: &Parsed) -> Option<(usize, &'static str)> {
    if text.starts_with('\u{feff}') {
        return Some((0, "it starts with a byte order mark, which `mp` cannot read"));
    }
    let lexical = scan(text.as_bytes());
    let dates = dates(text, document.as_table());
    [lexical, dates].into_iter().flatten().min_by_key(|(at, _)| *at)
}

/// What the next byte belongs to.
enum In {
    Plain,
    Comment,
    /// A string that ends at this quote; three of them if it is a multi-line one.
    Text {
        quote: u8,
        length: usize,
    },
}

/// Escapes and inline tables, which need no more than the brackets and quotes around them.
fn scan(text: &[u8]) -> Option<(usize, &'static str)> {
    let mut state = In::Plain;
    let mut open = Vec::new();
    let mut last = b' ';
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match state {
            In::Comment if byte == b'\n' => {
                state = In::Plain;
                continue;
            }
            In::Comment => {}
            In::Text { quote: b'"', .. } if byte == b'\\' => {
                if matches!(text.get(at + 1), Some(b'e' | b'x')) {
                    return Some((at, r"the escapes `\e` and `\x` are TOML 1.1"));
                }
                at += 1;
            }
            In::Text { quote, length } if text[at..].starts_with(&[quote; 3][..length]) => {
                // A multi-line string may end in up to two quotes of its own.
                let run = text[at..].iter().take_while(|more| **more == quote).count();
                at += if length == 1 { 0 } else { run - 1 };
                state = In::Plain;
            }
            In::Text { .. } => {}
            In::Plain => match byte {
                b'#' => state = In::Comment,
                b'"' | b'\'' => {
                    let length = if text[at..].starts_with(&[byte; 3]) { 3 } else { 1 };
                    at += length - 1;
                    state = In::Text { quote: byte, length };
                }
                b'{' | b'[' => open.push(byte),
                b'}' if last == b',' => {
                    return Some((at, "a comma at the end of an inline table is TOML 1.1"));
                }
                b'}' | b']' => drop(open.pop()),
                b'\n' if open.last() == Some(&b'{') => {
                    return Some((at, "an inline table over several lines is TOML 1.1"));
                }
                _ => {}
            },
        }
        if !byte.is_ascii_whitespace() {
            last = byte;
        }
        at += 1;
    }
    None
}

fn dates(text: &str, table: &Table) -> Option<(usize, &'static str)> {
    table
        .iter()
        .filter_map(|(_, item)| match item {
            Item::None => None,
            Item::Value(value) => date(text, value),
            Item::Table(table) => dates(text, table),
            Item::ArrayOfTables(tables) => tables.iter().find_map(|table| dates(text, table)),
        })
        .min_by_key(|(at, _)| *at)
}

fn date(text: &str, value: &Value) -> Option<(usize, &'static str)> {
    match value {
        Value::Datetime(date) => {
            let span = date.span()?;
            wrong_date(text, span.clone()).map(|why| (span.start, why))
        }
        Value::Array(items) => items.iter().find_map(|item| date(text, item)),
        Value::InlineTable(table) => table.iter().find_map(|(_, item)| date(text, item)),
        _ => None,
    }
}

fn wrong_date(text: &str, span: Range<usize>) -> Option<&'static str> {
    let text = text.get(span)?;
    if text.starts_with("0000") {
        return Some("there is no year 0 for `mp`");
    }
    let seconds = text.find(':').and_then(|colon| text.get(colon + 3..))?;
    match seconds.strip_prefix(':') {
        None => Some("a time without seconds is TOML 1.1"),
        Some(seconds) if seconds.starts_with("60") => Some("there is no second 60 for `mp`"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Option<usize> {
        newer(text, &parse(text).unwrap()).map(|(at, _)| at)
    }

    #[test]
    fn what_only_newer_tools_read_is_found_where_it_stands() {
        let bad = [
            ("a = {\n b = 1 }\n", 5),
            ("a = { b = [ 1,\n 2 ],\n c = 1 }\n", 20),
            ("a = { b = 1, }\n", 13),
            ("a = \"x\\e\"\n", 6),
            ("\"\\x41\" = 1\n", 1),
            ("a = \"\"\"\n\\x41\"\"\"\n", 8),
            ("a = [2020-01-01T10:00]\n", 5),
            ("a.b = { c = 10:00 }\n", 12),
            ("[[t]]\na = 23:59:60\n", 10),
            ("a = 0000-01-01\n", 4),
            ("\u{feff}a = 1\n", 0),
        ];
        for (text, at) in bad {
            assert_eq!(verdict(text), Some(at), "{text}");
        }
    }

    #[test]
    fn what_both_read_passes() {
        let good = [
            "a = '\\e { ,\n'\n".replace('\n', " ") + "\n",
            "a = \"\\\\e\" # { \"\nb = { c = [\n1,\n], d = \"#}\" }\n".into(),
            "a = \"\"\"x\"\"\"\"\"\nb = '''\n{\n'''\nc = {}\n".into(),
            "a = 10:00:00.5\nb = 2020-01-01\nc = 2020-01-01 10:00:59+01:00\n[a-b.\"c]{\"]\n".into(),
        ];
        for text in good {
            assert_eq!(verdict(&text), None, "{text}");
        }
    }

    /// Found by fuzzing: the parser behind us panics on it.
    #[test]
    fn what_the_parser_cannot_stand_is_refused_before_it() {
        let error = parse("==\u{1}\n[pp\n.=\u{1}\n[.").unwrap_err();
        assert_eq!((error.at, error.why.as_str()), (1, "extra `=`"));
        let deep = format!("a = {}", "[".repeat(10_000));
        assert!(parse(&deep).is_err());
        assert!(parse("a = 1\na = 2\n").is_err());
        assert!(parse("a = 1\n[b]\nc = [1, {d = 2}]\n").is_ok());
    }
}
