//! JSON that holds secrets, from a file or on its way to one. Called by every file of `store` and
//! `ops` that has some. Invariants: its strings are wiped when it goes; `Debug` shows none.
//! (TOML has the same in `toml_one`.)

use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use zeroize::{Zeroize as _, Zeroizing};

/// Room for a token set or a bridge of any size that is in use: a text that grows beyond it leaves
/// its former place as it was.
const ROOM: usize = 64 * 1024;

/// A JSON value or object.
pub struct Wiped<T: Strings>(T);

/// What has strings in it.
pub trait Strings {
    /// Overwrites them with zeros.
    fn wipe(&mut self);
}

impl Strings for Value {
    fn wipe(&mut self) {
        match self {
            Self::String(text) => text.zeroize(),
            Self::Array(items) => items.iter_mut().for_each(Strings::wipe),
            Self::Object(fields) => fields.wipe(),
            Self::Null | Self::Bool(_) | Self::Number(_) => {}
        }
    }
}

impl Strings for Map<String, Value> {
    fn wipe(&mut self) {
        self.values_mut().for_each(Strings::wipe);
    }
}

impl Wiped<Value> {
    /// Parses.
    ///
    /// # Errors
    /// The parser's; SECURITY: its text may quote the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes).map(Self)
    }
}

impl<T: Strings> From<T> for Wiped<T> {
    fn from(json: T) -> Self {
        Self(json)
    }
}

impl<T: Strings> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

impl<T: Strings> std::ops::Deref for Wiped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Strings> std::ops::DerefMut for Wiped<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Strings> fmt::Debug for Wiped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wiped")
    }
}

/// The JSON text on one line; empty for what has none, such as a map with keys that are no strings.
#[must_use]
pub fn to_line(json: &impl Serialize) -> SecretString {
    written(|text| serde_json::to_writer(text, json))
}

/// The JSON text over several lines.
#[must_use]
pub fn to_lines(json: &impl Serialize) -> SecretString {
    written(|text| serde_json::to_writer_pretty(text, json))
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) -> SecretString {
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    let whole = write(&mut text).ok().and_then(|()| std::str::from_utf8(&text).ok());
    SecretString::from(whole.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    #[test]
    fn every_string_goes_whatever_it_is_in() {
        let mut json = json!({"a": "s1", "b": ["s2", {"c": "s3", "d": 4}], "e": null});
        json.wipe();
        assert_eq!(json, json!({"a": "", "b": ["", {"c": "", "d": 4}], "e": null}));
    }

    #[test]
    fn texts_are_as_the_library_writes_them_and_nothing_prints_them() {
        let json = Wiped::parse(br#"{"a": "s3cr3t"}"#).unwrap();
        assert_eq!(to_line(&*json).expose_secret(), r#"{"a":"s3cr3t"}"#);
        assert_eq!(to_lines(&*json).expose_secret(), "{\n  \"a\": \"s3cr3t\"\n}");
        assert!(!format!("{json:?}").contains("s3cr3t"));
    }
}
