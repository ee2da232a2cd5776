//! Organization, project and workspace out of the small keys of an entry. Invariant: an entry
//! without an id that we can use is left out.

use crate::model::{
    id::{ProjectId, WorkspaceId},
    me::{Organization, Project, Workspace},
};
use serde_json::{Map, Value};

pub(super) fn organization(key: &str, mut block: Map<String, Value>) -> Option<Organization> {
    let id = block.remove("id").and_then(|id| integer(&id)).or_else(|| key.parse().ok())?;
    Some(Organization { id, name: name(&mut block), extra: block })
}

pub(super) fn project(key: &str, mut block: Map<String, Value>) -> Option<Project> {
    let mut take = |key: &str| block.remove(key);
    let organization_id = take("organization_id").and_then(|id| integer(&id));
    let (timezone, domain) = (take("timezone").and_then(text), take("domain").and_then(text));
    let id = ProjectId::parse(key).ok()?;
    Some(Project { id, name: name(&mut block), organization_id, timezone, domain, extra: block })
}

pub(super) fn workspace(key: &str, mut block: Map<String, Value>) -> Option<Workspace> {
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

pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A number, or the text of one.
pub(super) fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}
