//! What Mixpanel says of a credential: the user, and the organizations, projects and workspaces
//! that it reaches. Parsed by `store/me_json.rs`, fetched by `auth/me.rs`.
//! Invariant: everything is in the order in which the server gave it, which decides ties.

use super::id::{ProjectId, WorkspaceId};
use serde_json::{Map, Value};

/// The name of the view that sees all data of a project.
const GLOBAL_NAME: &str = "All Project Data";

/// The answer of `/api/app/me`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Me {
    /// The user's number.
    pub user_id: Option<i64>,
    /// The user's address.
    pub user_email: Option<String>,
    /// The user's name.
    pub user_name: Option<String>,
    /// What the user belongs to.
    pub organizations: Vec<Organization>,
    /// What the credential can read.
    pub projects: Vec<Project>,
    /// The workspaces of all these projects.
    pub workspaces: Vec<Workspace>,
    /// Other small keys, kept for whoever reads the cache.
    pub extra: Map<String, Value>,
}

/// One organization.
#[derive(Debug, Clone, PartialEq)]
pub struct Organization {
    /// Its number.
    pub id: i64,
    /// Its name; may be empty.
    pub name: String,
    /// Other small keys.
    pub extra: Map<String, Value>,
}

/// One project.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its name; may be empty.
    pub name: String,
    /// The organization that owns it.
    pub organization_id: Option<i64>,
    /// Its time zone.
    pub timezone: Option<String>,
    /// The host of the region that its data lives in.
    pub domain: Option<String>,
    /// Other small keys.
    pub extra: Map<String, Value>,
}

/// One workspace (data view).
#[derive(Debug, Clone, PartialEq)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name; may be empty.
    pub name: String,
    /// The project that it belongs to.
    pub project_id: ProjectId,
    /// Whether it is the project's default.
    pub is_default: Option<bool>,
    /// Whether it sees all data.
    pub is_global: Option<bool>,
    /// Whether people see it; unknown counts as seen.
    pub is_visible: Option<bool>,
    /// Other small keys.
    pub extra: Map<String, Value>,
}

impl Me {
    /// The project of this id, if the credential reaches it.
    #[must_use]
    pub fn project(&self, id: &ProjectId) -> Option<&Project> {
        self.projects.iter().find(|project| project.id == *id)
    }

    /// The workspaces of one project.
    pub fn workspaces_of<'a, 'p>(
        &'a self,
        project: &'p ProjectId,
    ) -> impl Iterator<Item = &'a Workspace> + Clone + use<'a, 'p> {
        self.workspaces.iter().filter(move |workspace| workspace.project_id == *project)
    }

    /// The workspace that a project is worked with unless another one is named: the global one,
    /// else the one called `All Project Data`, else the default, else the first that is not
    /// hidden, else the first.
    #[must_use]
    pub fn default_workspace(&self, project: &ProjectId) -> Option<&Workspace> {
        let all = self.workspaces_of(project);
        let rules: [fn(&Workspace) -> bool; 5] = [
            |one| one.is_global == Some(true),
            |one| one.name == GLOBAL_NAME,
            |one| one.is_default == Some(true),
            |one| one.is_visible != Some(false),
            |_| true,
        ];
        rules.into_iter().find_map(move |rule| all.clone().find(|one| rule(one)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(id: i64, name: &str) -> Workspace {
        Workspace {
            id: WorkspaceId::try_from(id).unwrap(),
            name: name.into(),
            project_id: ProjectId::parse("5").unwrap(),
            is_default: None,
            is_global: None,
            is_visible: None,
            extra: Map::new(),
        }
    }

    #[test]
    fn the_default_workspace_goes_by_global_name_default_visible_first() {
        let project = ProjectId::parse("5").unwrap();
        let mut me = Me::default();
        assert!(me.default_workspace(&project).is_none());
        let chosen = |me: &Me| me.default_workspace(&project).unwrap().id.get();
        me.workspaces.push(Workspace { is_visible: Some(false), ..workspace(1, "a") });
        assert_eq!(chosen(&me), 1);
        me.workspaces.push(workspace(2, "b"));
        assert_eq!(chosen(&me), 2, "unknown counts as visible");
        me.workspaces.push(Workspace { is_default: Some(true), ..workspace(3, "c") });
        assert_eq!(chosen(&me), 3);
        me.workspaces.push(workspace(4, GLOBAL_NAME));
        assert_eq!(chosen(&me), 4);
        me.workspaces.push(Workspace { is_global: Some(true), ..workspace(5, "e") });
        assert_eq!(chosen(&me), 5);
        let other = Workspace { project_id: ProjectId::parse("6").unwrap(), ..workspace(6, "f") };
        me.workspaces.insert(0, Workspace { is_global: Some(true), ..other });
        assert_eq!(chosen(&me), 5, "a workspace of another project was taken");
    }
}
