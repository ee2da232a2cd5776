//! Which projects and workspaces a request names, wherever and however it does: path, query,
//! JSON and form bodies. Called by `policy`.
//! Invariant: an id that is not written plainly is a refusal, never an id that is overlooked.

pub mod document;
pub mod multipart;

pub use document::Json;

use super::spelling::{Segments, decode, fold};
use crate::model::{
    id::{ProjectId, WorkspaceId},
    refusal::{Code, Refusal},
};

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
    /// Whether a document has a token; mostly that is data.
    pub token_within: bool,
}

/// Which kind of id a name announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
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

    /// Reads a header field: `Project-Id: 2` too may be heard somewhere.
    ///
    /// # Errors
    /// An id that is not plain digits.
    pub fn header(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        match axis(name) {
            Some(axis @ (Axis::Project | Axis::Workspace)) => {
                self.add(axis, &String::from_utf8_lossy(value), "headers")
            }
            Some(Axis::Token) | None => Ok(()),
        }
    }

    /// Reads a query, or a form body.
    ///
    /// # Errors
    /// An id that is not plain digits, or text that hides something.
    pub fn form(&mut self, text: &str, place: &str) -> Result<(), Refusal> {
        no_method(text, place)?;
        // Old servers take `;` for `&`.
        for pair in text.split(['&', ';']) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            // `project_id[0]` and `filter[project_id]` too, as PHP and Rack have it.
            let name = decode(&decode(key)?.replace('+', " "))?.into_owned();
            self.field(&name, &decode_value(value), place)?;
        }
        Ok(())
    }

    /// One decoded field of a form.
    fn field(&mut self, name: &str, value: &str, place: &str) -> Result<(), Refusal> {
        if let Some(axis) = name.split(['[', ']']).find_map(axis) {
            return self.add(axis, value, place);
        }
        // Reports travel as JSON inside a parameter.
        if value.trim_start().starts_with(['{', '[']) {
            let whole = self.json(value.as_bytes(), place)?;
            // What one reader takes for no JSON may be some to another.
            if whole == Json::Broken && document::may_name(value) {
                return Err(denied(format!(
                    "a parameter in the {place} is no plain JSON and may name a project"
                ))
                .hint("send it as JSON after RFC 8259"));
            }
        }
        Ok(())
    }

    /// Reads JSON documents, every key at every depth; says whether they were nothing else.
    ///
    /// # Errors
    /// An id that is not plain digits.
    pub fn json(&mut self, bytes: &[u8], place: &str) -> Result<Json, Refusal> {
        let found = document::walk(bytes);
        for (axis, id) in found.named {
            match axis {
                // Tokens inside a document are data (events have them); ids are what it acts on.
                Axis::Token => self.token_within = true,
                axis => self.add(axis, &id, place)?,
            }
        }
        Ok(found.kind)
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

/// Refuses a form that has frameworks take another method than the request line's.
///
/// # Errors
/// `_method` in any spelling, or a name that hides something.
pub fn no_method(text: &str, place: &str) -> Result<(), Refusal> {
    for pair in text.split(['&', ';']) {
        let key = decode(pair.split('=').next().unwrap_or_default())?.replace('+', " ");
        if fold(&decode(&key)?) == "_method" {
            return Err(denied(format!("the {place} holds `_method`"))
                .hint("send the request with the method that is meant"));
        }
    }
    Ok(())
}

/// What a parameter's name announces, however it is spelt: `Project-ID`, `project_id[]`,
/// `target_project_id`.
pub(super) fn axis(name: &str) -> Option<Axis> {
    let word: String = fold(name).chars().filter(|c| c.is_alphanumeric()).collect();
    let ids = |word: &str, what: &str| {
        let word = word.strip_suffix('s').unwrap_or(word);
        word == what || word.strip_suffix("id").is_some_and(|rest| rest.ends_with(what))
    };
    match word.as_str() {
        word if ids(word, "project") => Some(Axis::Project),
        word if ids(word, "workspace") => Some(Axis::Workspace),
        "token" | "projecttoken" | "apikey" | "apisecret" | "projectsecret" | "accesstoken" => {
            Some(Axis::Token)
        }
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
            ("source_project_id=2", "2"),
            ("params=%7B%22a%22%3A%22%7B%5C%22project_id%5C%22%3A2%7D%22%7D", "2"),
            ("where=[not+json", ""),
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
            "project%u005fid=1",
            "%255fmethod=PUT",
            "params={%22a%22:NaN,%22project_id%22:1}",
            "params={'project_id':1}",
            "params={project_id /* x */ :1}",
            "params={project_id:1}",
            "params={%22a%22:NaN,%22project%5Cu005fid%22:1}",
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
            (r#"{"project": {"id": 4}}"#, "4"),
            (r#"{"projects": {"4": {"id": 5}}}"#, "4"),
            (r#"{"source": {"id": 4}}"#, ""),
            (r#"{"target_project_id": 2, "copyToProjectIds": [3]}"#, "2,3"),
            (r#"{"params": "{\"project_id\": 2}"}"#, "2"),
            ("{\"a\": 1}\n{\"project_id\": 2}", "2"),
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
