//! The caller token file: one bare token, or a `[callers.NAME]` block for each.
//! Read through `store/watched.rs`, called by `proxy/callers.rs`.
//! Invariants: a token is kept as its SHA-256 only; every error names file and line, never a value.

use super::toml_one;
use crate::model::{caller::Caller, id::Name, policy::Access, refusal::Refusal};
use sha2::{Digest as _, Sha256};
use std::{fmt, ops::Range, path::Path, sync::Arc};
use toml_edit::{Item, TableLike};

/// The caller of a file that holds one bare token.
pub const BARE: &str = "default";

/// What a token is known by.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Of what a caller presented, or of what the file holds. All digests are of one length, so
    /// comparing them tells nothing about the length of a token.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// For a comparison in constant time.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

/// One caller and the token that it is known by.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who it is.
    pub caller: Arc<Caller>,
    /// Its token.
    pub digest: TokenDigest,
}

/// Reads the file; `path` is for messages only.
///
/// # Errors
/// `CONFIG_ERROR` with file and line: not UTF-8, not TOML, an unknown key, a token that cannot
/// stand in a header, two callers with one token, or nobody at all.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Vec<Entry>, Refusal> {
    let file = File { bytes, path };
    let text = std::str::from_utf8(bytes)
        .map_err(|error| file.refusal(error.valid_up_to(), "not valid UTF-8"))?;
    if is_token(text.trim()) {
        let digest = TokenDigest::of(text.trim().as_bytes());
        return Ok(vec![Entry { caller: Arc::new(Caller::named(BARE)), digest }]);
    }
    let document = toml_one::parse(text).map_err(|error| {
        file.refusal(error.at, &format!("neither one bare token nor TOML: {}", error.why))
    })?;
    let root = document.as_table();
    file.known(root, &["callers"])?;
    let blocks = root.get("callers").and_then(Item::as_table_like);
    let mut entries: Vec<Entry> = Vec::new();
    for (name, item) in blocks.into_iter().flat_map(TableLike::iter) {
        let at = blocks.and_then(|blocks| blocks.key(name)?.span());
        let entry = file.entry(name, item, at.clone())?;
        if entries.iter().any(|other| other.digest == entry.digest) {
            return Err(file.refusal(start(at), "two callers have the same token"));
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(file.refusal(0, "no caller: write one token, or `[callers.NAME]` blocks"));
    }
    Ok(entries)
}

/// RFC 9110 §11.2 `token68`: what can stand behind `Bearer`.
#[must_use]
pub fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

/// What error messages need to know.
struct File<'a> {
    bytes: &'a [u8],
    path: &'a Path,
}

impl File<'_> {
    fn entry(&self, name: &str, item: &Item, key: Option<Range<usize>>) -> Result<Entry, Refusal> {
        let at = start(key);
        let name = Name::parse(name)
            .map_err(|rule| self.refusal(at, &format!("the name of a caller {rule}")))?;
        let table = item
            .as_table_like()
            .ok_or_else(|| self.refusal(at, &format!("caller `{name}` must be a table")))?;
        self.known(table, &["token", "target", "read_only"])?;
        let wrong = |key: &str, rule: &str| {
            let at = table.key(key).and_then(toml_edit::Key::span).map_or(at, |span| span.start);
            self.refusal(at, &format!("`{key}` of caller `{name}` {rule}"))
        };
        let text = |key: &str| match table.get(key) {
            None => Ok(None),
            Some(item) => item.as_str().map(Some).ok_or_else(|| wrong(key, "must be a string")),
        };
        let token = text("token")?.ok_or_else(|| wrong("token", "is missing"))?;
        if !is_token(token) {
            let rule = "must be letters, digits, `-`, `.`, `_`, `~`, `+` or `/`, then any `=`";
            return Err(wrong("token", rule));
        }
        let target = text("target")?;
        if target == Some("") {
            return Err(wrong("target", "must not be empty"));
        }
        let access = match table.get("read_only").map(Item::as_bool) {
            None | Some(Some(false)) => Access::Full,
            Some(Some(true)) => Access::ReadOnly,
            Some(None) => return Err(wrong("read_only", "must be `true` or `false`")),
        };
        let caller = Caller { name: name.as_str().into(), target: target.map(Into::into), access };
        Ok(Entry { caller: Arc::new(caller), digest: TokenDigest::of(token.as_bytes()) })
    }

    fn known(&self, table: &dyn TableLike, keys: &[&str]) -> Result<(), Refusal> {
        let Some((key, _)) = table.iter().find(|(key, _)| !keys.contains(key)) else {
            return Ok(());
        };
        let at = table.key(key).and_then(toml_edit::Key::span).map_or(0, |span| span.start);
        // SECURITY: a token that lost its quotes would be read as a key, so keys are not shown.
        Err(self.refusal(at, &format!("unknown key; known here: `{}`", keys.join("`, `"))))
    }

    fn refusal(&self, offset: usize, text: &str) -> Refusal {
        let line = self.bytes.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1;
        Refusal::config(format!("`{}:{line}`: {text}", self.path.display()))
            .hint(format!("edit `{}`", self.path.display()))
    }
}

fn start(span: Option<Range<usize>>) -> usize {
    span.map_or(0, |span| span.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Entry>, String> {
        parse(text.as_bytes(), Path::new("/t")).map_err(|refusal| refusal.message)
    }

    #[test]
    fn one_bare_token_is_one_caller() {
        for text in ["dG9rZW4=", "dG9rZW4=\n", "  dG9rZW4=\r\n\n"] {
            let entries = read(text).unwrap();
            assert_eq!(*entries[0].caller, Caller::named(BARE));
            assert_eq!(entries[0].digest, TokenDigest::of(b"dG9rZW4="));
        }
    }

    #[test]
    fn blocks_have_names_targets_and_access() {
        let text = "[callers.ci]\ntoken = \"t1\"\ntarget = \"ecom\"\nread_only = true\n\
                    [callers.me]\ntoken = \"t2\"\nread_only = false\n";
        let entries = read(text).unwrap();
        let ci =
            Caller { name: "ci".into(), target: Some("ecom".into()), access: Access::ReadOnly };
        assert_eq!(*entries[0].caller, ci);
        assert_eq!(*entries[1].caller, Caller::named("me"));
        assert_eq!(entries[1].digest, TokenDigest::of(b"t2"));
        assert!(!format!("{entries:?}").contains("t1"));
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_never_shown() {
        for (text, line, why) in [
            ("", 1, "no caller"),
            ("\n\n", 1, "no caller"),
            ("[callers]\n", 1, "no caller"),
            ("two s3cr3t\n", 1, "neither one bare token nor TOML"),
            ("s3cr3t = 1\n", 1, "unknown key; known here: `callers`"),
            ("[callers.a]\ntoken = \"x\"\ns3cr3t = 1\n", 3, "known here: `token`, `target`"),
            ("[callers.a]\n", 1, "`token` of caller `a` is missing"),
            ("[callers.a]\ntoken = 3\n", 2, "must be a string"),
            ("[callers.a]\ntoken = \"s3cr3t x\"\n", 2, "must be letters"),
            ("[callers.a]\ntoken = \"=\"\n", 2, "must be letters"),
            ("[callers.a]\ntoken = \"x\"\ntarget = true\n", 3, "must be a string"),
            ("[callers.a]\ntoken = \"x\"\ntarget = \"\"\n", 3, "must not be empty"),
            ("[callers.a]\ntoken = \"x\"\nread_only = 1\n", 3, "must be `true` or `false`"),
            ("[callers.\"a b\"]\ntoken = \"x\"\n", 1, "must be 1 to 64 letters"),
            ("[callers]\na = 3\n", 2, "caller `a` must be a table"),
            ("[callers.a]\ntoken=\"x\"\n[callers.b]\ntoken=\"x\"\n", 3, "the same token"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.starts_with(&format!("`/t:{line}`: ")), "{text:?}: {message}");
            assert!(message.contains(why), "{text:?}: {message}");
            assert!(!message.contains("s3cr3t"), "{message}");
        }
        assert!(parse(b"a\n\xff", Path::new("/t")).unwrap_err().message.contains("`/t:2`"));
    }

    #[test]
    fn tokens_are_what_can_stand_behind_bearer() {
        assert!(is_token("aZ09-._~+/=="));
        for bad in ["", "=", "a=b", "a b", "a\"", "é"] {
            assert!(!is_token(bad), "{bad}");
        }
    }
}
