//! A walk over JSON that builds nothing: every key at every depth, of two equal keys both, and
//! JSON inside strings. Called by `mentions`.
//! Invariant: what stands after something that is no JSON is not judged, so it is said so.

use super::{Axis, axis};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Whether a text was JSON to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Json {
    /// One document, or several after each other.
    Whole,
    /// Something else, or cut.
    Broken,
}

/// How deep JSON inside strings inside JSON is followed.
const NESTED: u8 = 4;

/// What was found.
pub(super) struct Found {
    pub(super) named: Vec<(Axis, String)>,
    pub(super) kind: Json,
}

/// Walks over all documents of a text.
pub(super) fn walk(bytes: &[u8]) -> Found {
    let mut walk = Walk { named: Vec::new(), depth: 0, kind: Json::Whole };
    walk.documents(bytes);
    Found { named: walk.named, kind: walk.kind }
}

/// Whether what is no JSON may still name an id to somebody who reads it more leniently: Python
/// takes `NaN`, others single quotes, bare keys, comments.
pub(super) fn may_name(text: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let keys = text.split(':').map(|before| {
        let before = before.trim_end_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'');
        before.rsplit(|c| !word(c)).next().unwrap_or_default()
    });
    text.contains("\\u")
        || text.contains("/*")
        || keys.into_iter().any(|key| matches!(axis(key), Some(Axis::Project | Axis::Workspace)))
}

struct Walk {
    named: Vec<(Axis, String)>,
    depth: u8,
    kind: Json,
}

impl Walk {
    fn documents(&mut self, bytes: &[u8]) {
        let mut rest = bytes.trim_ascii_start();
        while !rest.is_empty() {
            let mut deserializer =
                serde_json::Deserializer::from_slice(rest).into_iter::<Skipped>();
            let node = Node { walk: &mut *self, axis: None };
            let walked = node.deserialize(&mut serde_json::Deserializer::from_slice(rest)).is_ok();
            if !walked || !matches!(deserializer.next(), Some(Ok(Skipped))) {
                self.kind = Json::Broken;
                return;
            }
            rest = rest.get(deserializer.byte_offset()..).unwrap_or_default().trim_ascii_start();
        }
    }
}

/// A document that is only passed over, to know where it ends.
struct Skipped;

impl<'de> serde::Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// One value of a document.
struct Node<'a> {
    walk: &'a mut Walk,
    axis: Option<Axis>,
}

impl Node<'_> {
    fn scalar<E>(self, text: impl FnOnce() -> String) -> Result<(), E> {
        if let Some(axis) = self.axis {
            self.walk.named.push((axis, text()));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if self.axis.is_none() && text.trim_start().starts_with(['{', '[']) {
            if self.walk.depth >= NESTED {
                return Err(E::custom("nested too deep"));
            }
            // Text that only looks like JSON is text.
            let before = self.walk.kind;
            self.walk.depth += 1;
            self.walk.documents(text.as_bytes());
            self.walk.depth -= 1;
            let hides = self.walk.kind == Json::Broken && may_name(text);
            self.walk.kind = if hides { Json::Broken } else { before };
            return Ok(());
        }
        self.scalar(|| text.to_owned())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.scalar(|| number.to_string())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.scalar(|| number.to_string())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.scalar(|| number.to_string())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<(), E> {
        self.scalar(|| flag.to_string())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        // `null` names nothing.
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Node { walk: &mut *self.walk, axis: self.axis })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let announced = axis(&key);
            // `{"projects": {"12": …}}` and `{"project": {"id": 12}}` name one too.
            let within = self.axis.filter(|_| announced.is_none());
            let by_id = ["id", "ids", "pk"].contains(&key.to_ascii_lowercase().as_str());
            if let (Some(axis), true) = (within, key.bytes().all(|byte| byte.is_ascii_digit())) {
                self.walk.named.push((axis, key));
            }
            let axis = announced.or(within.filter(|_| by_id));
            map.next_value_seed(Node { walk: &mut *self.walk, axis })?;
        }
        Ok(())
    }
}
