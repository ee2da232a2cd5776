//! `/me` as it is kept: the reference's form, after keys of ours. Invariant: entries stay in the
//! order of the server.

use crate::model::{
    id::ProjectId,
    me::{Me, Organization, Project, Workspace},
};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value};

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
