//! Which projects and workspaces a request names, wherever and however it does: path, query,
//! JSON and form bodies. Called by `policy`.
//! Invariant: an id that is not written plainly is a refusal, never an id that is overlooked.

use super::spelling::{Segments, decode, fold};
use crate::model::{
    id::{ProjectId, WorkspaceId},
    refusal::{Code, Refusal},
};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What a request names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Projects by id.
    pub projects: Vec<ProjectId>,
    /// Workspaces by id.
    pub workspaces: Vec<WorkspaceId>,
    /// Whether a project is named by its token or by its secret.
    pub by_token: Option<String>,
    /// Whether `~` stands for the session's project.
    pub own_project: bool,
}

/// Which kind of id a name announces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    Project,
    Workspace,
    Token,
}

impl Mentions {
    /// Reads one reading of a path.
    ///
    /// # Errors
    /// An id that is not plain digits.
    pub fn path(&mut self, segments: &Segments) -> Result<(), Refusal> {
        for pair in segments.windows(2) {
            let axis = match fold(&pair[0]).as_str() {
                "projects" | "project" => Axis::Project,
                "workspaces" | "workspace" => Axis::Workspace,
                _ => continue,
            };
            match (axis, pair[1].as_str()) {
                // The session's own, which the proxy puts there.
                (Axis::Project | Axis::Workspace, "~") => self.own_project = true,
                (Axis::Workspace, "public") => {}
                // A list of all projects names none of them.
                (Axis::Project, "metadata")
                    if segments.last().is_some_and(|end| end == "index") => {}
                (axis, id) => self.add(axis, id, "path")?,
            }
        }
        Ok(())
    }

    /// Reads a query, or a form body.
    ///
    /// # Errors
    /// An id that is not plain digits, or text that hides something.
    pub fn form(&mut self, text: &str, place: &str) -> Result<(), Refusal> {
        // Old servers take `;` for `&`.
        for pair in text.split(['&', ';']) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = decode(key)?.replace('+', " ");
            if decoded.trim().eq_ignore_ascii_case("_method") {
                return Err(denied(format!("the {place} holds `_method`"))
                    .hint("send the request with the method that is meant"));
            }
            let value = decode_value(value);
            // `project_id[0]` and `filter[project_id]` too, as PHP and Rack have it.
            let name = decode(&decoded)?;
            if let Some(axis) = name.split(['[', ']']).find_map(axis) {
                self.add(axis, &value, place)?;
            } else if value.starts_with(['{', '[']) {
                // Reports travel as JSON inside a parameter; what is no JSON names nothing.
                let _ = self.json(value.as_bytes(), place)?;
            }
        }
        Ok(())
    }

    /// Reads a JSON document, every key at every depth; says whether it was one.
    ///
    /// # Errors
    /// An id that is not plain digits.
    pub fn json(&mut self, bytes: &[u8], place: &str) -> Result<Json, Refusal> {
        let mut walk = Walk { found: Vec::new() };
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let whole = Node { walk: &mut walk, axis: None }
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end());
        for (axis, id) in walk.found {
            self.add(axis, &id, place)?;
        }
        Ok(if whole.is_ok() { Json::Whole } else { Json::Broken })
    }

    fn add(&mut self, axis: Axis, id: &str, place: &str) -> Result<(), Refusal> {
        let plain = !id.starts_with('0');
        match axis {
            Axis::Token => self.by_token = Some(place.to_owned()),
            Axis::Project => match ProjectId::parse(id) {
                Ok(id) if plain => self.projects.push(id),
                _ => return Err(unplain("project", id, place)),
            },
            Axis::Workspace => match WorkspaceId::parse(id) {
                Ok(id) if plain => self.workspaces.push(id),
                _ => return Err(unplain("workspace", id, place)),
            },
        }
        Ok(())
    }
}

/// Whether a text was JSON to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Json {
    /// One document.
    Whole,
    /// Something else, or cut.
    Broken,
}

/// What a parameter's name announces, however it is spelt: `Project-ID`, `project_id[]`.
fn axis(name: &str) -> Option<Axis> {
    let word: String = fold(name).chars().filter(|c| c.is_alphanumeric()).collect();
    match word.as_str() {
        "projectid" | "projectids" | "project" | "projects" => Some(Axis::Project),
        "workspaceid" | "workspaceids" | "workspace" | "workspaces" => Some(Axis::Workspace),
        "token" | "projecttoken" | "apikey" | "apisecret" | "projectsecret" => Some(Axis::Token),
        _ => None,
    }
}

fn decode_value(value: &str) -> String {
    let spaced = value.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

fn unplain(what: &str, id: &str, place: &str) -> Refusal {
    let shown: String = id.chars().take(40).collect();
    denied(format!("the {what} in the {place} is {shown:?}, which is not plain digits"))
        .hint("write the id as Mixpanel shows it, once")
}

fn denied(message: String) -> Refusal {
    Refusal::new(Code::PolicyDenied, format!("policy: {message}"))
}

/// What was found on the walk.
struct Walk {
    found: Vec<(Axis, String)>,
}

/// One value of a document, visited without building it: of two equal keys both count.
struct Node<'a> {
    walk: &'a mut Walk,
    axis: Option<Axis>,
}

impl Node<'_> {
    fn scalar<E>(self, text: impl FnOnce() -> String) -> Result<(), E> {
        if let Some(axis) = self.axis {
            self.walk.found.push((axis, text()));
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

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
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
            // Tokens inside a document are data (events have them); ids are what it acts on.
            let axis = axis(&key).filter(|axis| *axis != Axis::Token);
            map.next_value_seed(Node { walk: &mut *self.walk, axis })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn projects(act: impl FnOnce(&mut Mentions) -> Result<(), Refusal>) -> Result<String, Code> {
        let mut mentions = Mentions::default();
        act(&mut mentions).map_err(|refusal| refusal.code)?;
        let ids: Vec<_> = mentions.projects.iter().map(ProjectId::as_str).collect();
        Ok(ids.join(","))
    }

    #[test]
    fn a_query_hides_no_project() {
        for (query, expected) in [
            ("project_id=1", "1"),
            ("project_id=1&project_id=2", "1,2"),
            ("project%5Fid=2", "2"),
            ("project%255Fid=2", "2"),
            ("PROJECT_ID=2", "2"),
            ("projectId=2", "2"),
            ("project-id=2", "2"),
            ("project_id%5B%5D=2", "2"),
            ("project_id%5B0%5D=2", "2"),
            ("filter[project_id]=2", "2"),
            ("+project_id=2", "2"),
            ("x=1;project_id=2", "2"),
            ("project_id=%32", "2"),
            ("params=%7B%22project_id%22%3A2%7D", "2"),
            ("x=project_id", ""),
            ("", ""),
        ] {
            assert_eq!(
                projects(|found| found.form(query, "query")),
                Ok(expected.into()),
                "{query}"
            );
        }
        for query in [
            "project_id=01",
            "project_id=",
            "project_id",
            "project_id=+1",
            "project_id=1+",
            "project_id=%2B1",
            "project_id=1,2",
            "project_id=[1]",
            "project_id=1.0",
            "project_id=%D9%A1",
            "project_id=1%00",
            "project%00_id=1",
            "_method=DELETE",
            "project_id=%2531",
        ] {
            let refused = projects(|found| found.form(query, "query"));
            assert_eq!(refused, Err(Code::PolicyDenied), "{query}");
        }
    }

    #[test]
    fn a_document_hides_no_project() {
        for (text, expected) in [
            (r#"{"project_id": 2}"#, "2"),
            (r#"{"project_id": 1, "project_id": "2"}"#, "1,2"),
            (r#"{"a": [{"b": {"projectId": "2"}}]}"#, "2"),
            (r#"{"project\u005fid": 2}"#, "2"),
            (r#"{"project_ids": [1, 2]}"#, "1,2"),
            (r#"{"project_id": null, "name": "project_id"}"#, ""),
            (r#"{"project": {"id": 4}}"#, ""),
            (r#"{"project_id": 2"#, "2"),
        ] {
            let found = projects(|found| found.json(text.as_bytes(), "body").map(drop));
            assert_eq!(found, Ok(expected.into()), "{text}");
        }
        let bad = projects(|found| found.json(br#"{"project_id": "02"}"#, "body").map(drop));
        assert_eq!(bad, Err(Code::PolicyDenied));
    }

    #[test]
    fn a_path_hides_no_project() {
        let path = |text: &str| {
            let segments = text.split('/').map(str::to_owned).collect::<Vec<_>>();
            projects(|found| found.path(&segments))
        };
        assert_eq!(path("api/app/projects/2/x"), Ok("2".into()));
        assert_eq!(path("api/app/Projects/2/x/projects/3"), Ok("2,3".into()));
        assert_eq!(path("api/app/projects"), Ok(String::new()));
        assert_eq!(path("api/app/projects/~/x"), Ok(String::new()));
        for bad in ["projects/02", "projects/ 2", "projects/x", "projects/2;a", "workspaces/01"] {
            assert_eq!(path(bad), Err(Code::PolicyDenied), "{bad}");
        }
    }
}
