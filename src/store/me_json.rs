//! The JSON of `/me`, read as a stream and written for the cache. Called by `me_cache` and by
//! `auth/me.rs`.
//! Invariant: memory goes with the number of projects and workspaces, not with the length of the
//! text: lists of members and whatever else is long is skipped as it passes.

use crate::model::{
    id::{ProjectId, WorkspaceId},
    me::{Me, Organization, Project, Workspace},
};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value};
use std::{cell::Cell, fmt, io::Read};

/// The longest string and list of a key that is kept.
const LONGEST: usize = 1024;
const MOST: usize = 64;
/// How many bytes of keys that we have no use for are kept in all.
const BUDGET: usize = 256 * 1024;

/// What an answer or a cache file says.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The answer itself.
    pub me: Me,
    /// Whether there was anything that looks like an answer of `/me`.
    pub recognized: bool,
}

/// The text was not JSON, or broke off. Holds the place only, nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid JSON at line {line}, column {column}")]
pub struct NotJson {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1.
    pub column: usize,
}

/// Reads one answer, in its envelope or without it.
///
/// # Errors
/// [`NotJson`].
pub fn parse(reader: impl Read) -> Result<Parsed, NotJson> {
    let mut json = serde_json::Deserializer::from_reader(std::io::BufReader::new(reader));
    let mut parsed = Parsed::default();
    let budget = Cell::new(BUDGET);
    Answer { into: &mut parsed, budget: &budget }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| NotJson { line: error.line(), column: error.column() })?;
    Ok(parsed)
}

/// Whether the keys that we have no use for are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extras {
    /// They are.
    Kept,
    /// They are left out.
    Dropped,
}

/// The answer as the reference keeps it, without an envelope, after these keys.
#[must_use]
pub fn write(me: &Me, extras: Extras, before: &Map<String, Value>) -> Vec<u8> {
    let written = serde_json::to_vec(&Written { me, extras, before });
    // Strings, numbers and flags under string keys: nothing that JSON cannot say.
    written.unwrap_or_default()
}

struct Written<'a> {
    me: &'a Me,
    extras: Extras,
    before: &'a Map<String, Value>,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let rest = |extra: &Map<String, Value>| match self.extras {
            Extras::Kept => extra.clone(),
            Extras::Dropped => Map::new(),
        };
        let me = self.me;
        let mut map = json.serialize_map(None)?;
        for (key, value) in self.before {
            map.serialize_entry(key, value)?;
        }
        map.serialize_entry("user_id", &me.user_id)?;
        map.serialize_entry("user_email", &me.user_email)?;
        map.serialize_entry("user_name", &me.user_name)?;
        let organizations = InOrder(&me.organizations, |one: &Organization| {
            let mut block = rest(&one.extra);
            block.insert("id".into(), one.id.into());
            block.insert("name".into(), one.name.as_str().into());
            (one.id.to_string(), block)
        });
        map.serialize_entry("organizations", &organizations)?;
        let projects = InOrder(&me.projects, |one: &Project| {
            let mut block = rest(&one.extra);
            block.insert("name".into(), one.name.as_str().into());
            put(&mut block, "organization_id", one.organization_id);
            put(&mut block, "timezone", one.timezone.as_deref());
            put(&mut block, "domain", one.domain.as_deref());
            (one.id.to_string(), block)
        });
        map.serialize_entry("projects", &projects)?;
        let workspaces = InOrder(&me.workspaces, |one: &Workspace| {
            let mut block = rest(&one.extra);
            block.insert("id".into(), one.id.get().into());
            block.insert("name".into(), one.name.as_str().into());
            block.insert("project_id".into(), number(&one.project_id));
            put(&mut block, "is_default", one.is_default);
            put(&mut block, "is_global", one.is_global);
            put(&mut block, "is_visible", one.is_visible);
            (one.id.to_string(), block)
        });
        map.serialize_entry("workspaces", &workspaces)?;
        for (key, value) in &rest(&me.extra) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Entries by id, in the order of the list: the first of equals is the default workspace.
struct InOrder<'a, T, F>(&'a [T], F);

impl<T, F: Fn(&T) -> (String, Map<String, Value>)> Serialize for InOrder<'_, T, F> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        json.collect_map(self.0.iter().map(&self.1))
    }
}

fn number(id: &ProjectId) -> Value {
    id.as_str().parse::<u64>().map_or_else(|_| id.as_str().into(), Value::from)
}

fn put(block: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        block.insert(key.into(), value.into());
    }
}

/// The object of the answer, or its envelope.
struct Answer<'a> {
    into: &'a mut Parsed,
    budget: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Answer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Answer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let budget = self.budget;
        while let Some(key) = map.next_key::<String>()? {
            let me = &mut self.into.me;
            match key.as_str() {
                "results" => map.next_value_seed(Answer { into: &mut *self.into, budget })?,
                "organizations" => {
                    map.next_value_seed(Entries {
                        list: &mut me.organizations,
                        make: organization,
                        budget,
                    })?;
                    self.into.recognized = true;
                }
                "projects" => {
                    map.next_value_seed(Entries { list: &mut me.projects, make: project, budget })?;
                    self.into.recognized = true;
                }
                "workspaces" => {
                    map.next_value_seed(Entries {
                        list: &mut me.workspaces,
                        make: workspace,
                        budget,
                    })?;
                }
                _ => {
                    let value = map.next_value_seed(Small)?;
                    match (key.as_str(), value) {
                        ("user_id", Some(value)) => {
                            me.user_id = integer(&value);
                            self.into.recognized = true;
                        }
                        ("user_email", Some(value)) => me.user_email = text(value),
                        ("user_name", Some(value)) => me.user_name = text(value),
                        (_, Some(value)) => keep(&mut me.extra, key, value, budget),
                        (_, None) => {}
                    }
                }
            }
        }
        Ok(())
    }
}

/// An object of entries by id.
struct Entries<'a, T> {
    list: &'a mut Vec<T>,
    make: fn(&str, Map<String, Value>) -> Option<T>,
    budget: &'a Cell<usize>,
}

impl<'de, T> DeserializeSeed<'de> for Entries<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T> Visitor<'de> for Entries<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of entries")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let block = map.next_value_seed(Entry { budget: self.budget })?;
            self.list.extend((self.make)(&key, block));
        }
        Ok(())
    }
}

/// The small keys of one entry.
struct Entry<'a> {
    budget: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut block = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            match map.next_value_seed(Small)? {
                Some(value) if OWN.contains(&key.as_str()) => {
                    block.insert(key, value);
                }
                Some(value) => keep(&mut block, key, value, self.budget),
                None => {}
            }
        }
        Ok(block)
    }
}

/// The keys of entries that we read ourselves.
const OWN: [&str; 9] = [
    "id",
    "name",
    "organization_id",
    "timezone",
    "domain",
    "project_id",
    "is_default",
    "is_global",
    "is_visible",
];

fn keep(block: &mut Map<String, Value>, key: String, value: Value, budget: &Cell<usize>) {
    let cost = key.len()
        + 16
        + match &value {
            Value::String(text) => text.len(),
            Value::Array(list) => list.len() * 32,
            _ => 0,
        };
    if let Some(left) = budget.get().checked_sub(cost) {
        budget.set(left);
        block.insert(key, value);
    }
}

/// A scalar, or a short list of scalars; anything else is skipped and gives `None`.
struct Small;

impl<'de> DeserializeSeed<'de> for Small {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Small {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok((value.len() <= LONGEST).then(|| value.into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Some(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Some(Vec::new());
        while list.is_some() {
            match seq.next_element_seed(Small)? {
                None => return Ok(list.map(Value::Array)),
                Some(Some(one)) if !one.is_array() => {
                    list = list.filter(|list| list.len() < MOST).map(|mut list| {
                        list.push(one);
                        list
                    });
                }
                Some(_) => list = None,
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

fn organization(key: &str, mut block: Map<String, Value>) -> Option<Organization> {
    let id = block.remove("id").and_then(|id| integer(&id)).or_else(|| key.parse().ok())?;
    Some(Organization { id, name: name(&mut block), extra: block })
}

fn project(key: &str, mut block: Map<String, Value>) -> Option<Project> {
    let mut take = |key: &str| block.remove(key);
    let organization_id = take("organization_id").and_then(|id| integer(&id));
    let (timezone, domain) = (take("timezone").and_then(text), take("domain").and_then(text));
    let id = ProjectId::parse(key).ok()?;
    Some(Project { id, name: name(&mut block), organization_id, timezone, domain, extra: block })
}

fn workspace(key: &str, mut block: Map<String, Value>) -> Option<Workspace> {
    let id = block.remove("id").and_then(|id| integer(&id)).or_else(|| key.parse().ok())?;
    let project_id = match block.remove("project_id")? {
        Value::String(text) => ProjectId::parse(&text).ok()?,
        value => ProjectId::parse(&integer(&value)?.to_string()).ok()?,
    };
    let mut flag = |key: &str| block.remove(key).and_then(|value| value.as_bool());
    let (is_default, is_global, is_visible) =
        (flag("is_default"), flag("is_global"), flag("is_visible"));
    let id = WorkspaceId::try_from(id).ok()?;
    Some(Workspace {
        id,
        name: name(&mut block),
        project_id,
        is_default,
        is_global,
        is_visible,
        extra: block,
    })
}

fn name(block: &mut Map<String, Value>) -> String {
    block.remove("name").and_then(text).unwrap_or_default()
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A number, or the text of one.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Parsed {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_is_read_with_and_without_its_envelope() {
        let bare = r#"{"user_id": 42, "user_email": "a@b.c", "user_name": null, "flag": true,
            "organizations": {"1": {"id": 1, "name": "Acme", "role": "admin", "permissions": ["x", "y"]}},
            "projects": {"9": {"name": "Shop", "organization_id": 1, "domain": "mixpanel.com", "deep": {"a": 1}},
                         "not-an-id": {"name": "x"}},
            "workspaces": {"70": {"id": 70, "name": "First", "project_id": 9}, "7": {"id": 7, "name": "All", "project_id": 9, "is_global": true,
                                 "member_list": [{"a": [1, 2]}, 3]}}}"#;
        for text in [bare.to_owned(), format!(r#"{{"status": "ok", "results": {bare}}}"#)] {
            let Parsed { me, recognized } = read(&text);
            assert!(recognized);
            assert_eq!((me.user_id, me.user_email.as_deref()), (Some(42), Some("a@b.c")));
            assert_eq!(me.organizations[0].extra["permissions"], json!(["x", "y"]));
            assert_eq!(me.projects.len(), 1);
            assert_eq!(me.projects[0].domain.as_deref(), Some("mixpanel.com"));
            assert_eq!(me.workspaces[0].id.get(), 70, "the order is the server's");
            assert_eq!(me.workspaces[1].is_global, Some(true));
            assert!(me.workspaces[1].extra.is_empty() && me.projects[0].extra.is_empty());
            let before = Map::from_iter([("cached_at".to_owned(), json!(1.5))]);
            let mut again = parse(write(&me, Extras::Kept, &before).as_slice()).unwrap().me;
            assert_eq!(again.extra.remove("cached_at"), Some(json!(1.5)));
            assert_eq!(again, me);
            let lean = String::from_utf8(write(&me, Extras::Dropped, &before)).unwrap();
            assert!(!lean.contains("permissions") && lean.contains("mixpanel.com"));
        }
        assert!(
            !read(r#"{"status": "ok", "results": [1]}"#.replace("[1]", "{}").as_str()).recognized
        );
    }

    #[test]
    fn what_is_no_answer_is_an_error_that_quotes_nothing() {
        for text in
            ["", "[]", "s3cr3t", r#"{"a": s3cr3t}"#, r#"{"results": {"projects": {"#, "{} x"]
        {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn long_values_pass_by() {
        let long = "x".repeat(LONGEST + 1);
        let many = vec!["1"; MOST + 1].join(",");
        let text = format!(
            r#"{{"user_id": 1, "a": "{long}", "b": [{many}], "c": {{"d": "{long}"}}, "e": [[1]], "f": [1]}}"#
        );
        let me = read(&text).me;
        assert_eq!(me.extra.keys().collect::<Vec<_>>(), ["f"]);
        let wide: Vec<String> = (0..20_000).map(|n| format!(r#""k{n}": 1"#)).collect();
        let me = read(&format!(r#"{{"user_id": 1, {}, "user_name": "n"}}"#, wide.join(","))).me;
        assert!(me.extra.len() < 16_000, "the budget holds: {}", me.extra.len());
        assert_eq!(me.user_name.as_deref(), Some("n"));
    }
}
