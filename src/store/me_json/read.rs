//! The stream of a `/me` answer, key by key. Invariant: an entry is made as soon as it is read, and
//! nothing of it is kept but its small keys.

use super::{Parsed, entry, small::Small};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::{cell::Cell, fmt};

/// The object of the answer, or its envelope.
pub(super) struct Answer<'a> {
    pub(super) into: &'a mut Parsed,
    pub(super) budget: &'a Cell<usize>,
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
                        make: entry::organization,
                        budget,
                    })?;
                    self.into.recognized = true;
                }
                "projects" => {
                    map.next_value_seed(Entries {
                        list: &mut me.projects,
                        make: entry::project,
                        budget,
                    })?;
                    self.into.recognized = true;
                }
                "workspaces" => {
                    map.next_value_seed(Entries {
                        list: &mut me.workspaces,
                        make: entry::workspace,
                        budget,
                    })?;
                }
                _ => {
                    let value = map.next_value_seed(Small)?;
                    match (key.as_str(), value) {
                        ("user_id", Some(value)) => {
                            me.user_id = entry::integer(&value);
                            self.into.recognized = true;
                        }
                        ("user_email", Some(value)) => me.user_email = entry::text(value),
                        ("user_name", Some(value)) => me.user_name = entry::text(value),
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
