//! The project of a login: chosen among those of `/me`, in the region that was logged in to.
//! Called by `ops::login`. Invariant: a project that the credential cannot read is never chosen.

use crate::{
    model::{
        id::ProjectId,
        me::{Me, Project},
        origin::{Family, Origin},
        refusal::{Code, Refusal},
        region::Region,
    },
    sys::env::{self, Env},
};

/// One line of the picker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The project.
    pub id: ProjectId,
    /// What a person reads.
    pub label: String,
}

/// Asks a person; `None` if there is nobody to ask.
pub type Picker<'a> = &'a (dyn Fn(&[Choice]) -> Result<Option<usize>, Refusal> + Sync);

/// What can be said without asking a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// This one, or none if there is none at all.
    Settled(Option<ProjectId>),
    /// One of these.
    Ask(Vec<Choice>),
}

/// The project: the flag, `MP_PROJECT_ID`, the only one; else a person has to say.
/// `warn` hears of a `MP_PROJECT_ID` that leads nowhere.
///
/// # Errors
/// `PROJECT_NOT_FOUND` if the flag names none that the credential reads.
pub fn choose(
    me: &Me,
    flag: Option<&ProjectId>,
    env: &Env,
    warn: &dyn Fn(&str),
) -> Result<Chosen, Refusal> {
    if let Some(id) = flag {
        if me.project(id).is_some() {
            return Ok(Chosen::Settled(Some(id.clone())));
        }
        return Err(Refusal::new(
            Code::ProjectNotFound,
            format!("this login cannot read project `{id}`; {}", listed(me)),
        )
        .hint("run the same command again with one of them after --project, or without it"));
    }
    if let Some(text) = env.get(env::MP_PROJECT_ID) {
        match ProjectId::parse(text).ok().filter(|id| me.project(id).is_some()) {
            Some(id) => return Ok(Chosen::Settled(Some(id))),
            None => warn(&format!(
                "`{}` names a project that this login cannot read, and it will win over the account's own: unset it",
                env::MP_PROJECT_ID
            )),
        }
    }
    match me.projects.as_slice() {
        [] => Ok(Chosen::Settled(None)),
        [only] => Ok(Chosen::Settled(Some(only.id.clone()))),
        _ => Ok(Chosen::Ask(choices(me))),
    }
}

/// Lets a person settle it.
///
/// # Errors
/// What the picker says; `CONFIG_ERROR` with the list if there is nobody to ask.
pub fn settle(me: &Me, chosen: Chosen, pick: Picker<'_>) -> Result<Option<ProjectId>, Refusal> {
    let choices = match chosen {
        Chosen::Settled(id) => return Ok(id),
        Chosen::Ask(choices) => choices,
    };
    match pick(&choices)?.and_then(|index| choices.into_iter().nth(index)) {
        Some(choice) => Ok(Some(choice.id)),
        None => Err(Refusal::config(format!(
            "this login reads several projects and none was chosen; {}",
            listed(me)
        ))
        .hint("run the same command again with --project ID, or set MP_PROJECT_ID")),
    }
}

/// The project that an explicit login fills in: the first by its id, of this region if there is
/// one.
#[must_use]
pub fn backfill(me: &Me, region: Region) -> Option<ProjectId> {
    let mut all: Vec<&Project> = me.projects.iter().collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let here = all.iter().find(|project| region_of(project).is_none_or(|of| of == region));
    here.or(all.first()).map(|project| project.id.clone())
}

/// Whether the project lives where the login was made. A token is bound to its region.
///
/// # Errors
/// `CONFIG_ERROR` with the region to log in to.
pub fn cross_check(me: &Me, id: Option<&ProjectId>, region: Region) -> Result<(), Refusal> {
    let Some(project) = id.and_then(|id| me.project(id)) else { return Ok(()) };
    match region_of(project) {
        Some(of) if of != region => Err(Refusal::config(format!(
            "this login is for region `{region}`, and project `{}` ({}) lives in `{of}`",
            project.id, project.name
        ))
        .hint(format!("run: mp-proxy login --region {of} --project {}", project.id))),
        _ => Ok(()),
    }
}

/// The region whose App host the project's domain is.
fn region_of(project: &Project) -> Option<Region> {
    let domain = project.domain.as_deref()?;
    Region::ALL.into_iter().find(|region| Origin::new(Family::App, *region).host() == domain)
}

/// By organization and then by name, unknown organizations last.
fn choices(me: &Me) -> Vec<Choice> {
    let organization = |project: &Project| {
        let id = project.organization_id;
        let known = me.organizations.iter().find(|known| Some(known.id) == id);
        known.map_or_else(
            || (1, id.map_or_else(|| "no organization".into(), |id| format!("organization {id}"))),
            |known| (0, known.name.clone()),
        )
    };
    let mut all: Vec<&Project> = me.projects.iter().collect();
    all.sort_by_cached_key(|project| {
        let (known, name) = organization(project);
        (known, name.to_lowercase(), project.name.to_lowercase())
    });
    let several = me.organizations.len() > 1;
    all.into_iter()
        .map(|project| {
            let prefix =
                if several { format!("{} · ", organization(project).1) } else { String::new() };
            let domain = project.domain.as_deref().unwrap_or("no domain");
            let label = format!("{prefix}{} (id {}, {domain})", project.name, project.id);
            Choice { id: project.id.clone(), label: printable(&label) }
        })
        .collect()
}

fn listed(me: &Me) -> String {
    const SHOWN: usize = 20;
    if me.projects.is_empty() {
        return "it reads no project".into();
    }
    let shown = me.projects.iter().take(SHOWN);
    let mut text = shown
        .map(|project| format!("`{}` ({})", project.id, printable(&project.name)))
        .collect::<Vec<_>>()
        .join(", ");
    if me.projects.len() > SHOWN {
        text.push_str(", …");
    }
    format!("it reads {text}")
}

/// SECURITY: names come from elsewhere, and a terminal obeys control characters.
fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::me_json;
    use serde_json::json;

    fn me(projects: &serde_json::Value) -> Me {
        let text = json!({"results": {
            "organizations": {"1": {"id": 1, "name": "Zoo"}, "2": {"id": 2, "name": "acme"}},
            "projects": projects,
        }});
        me_json::parse(text.to_string().as_bytes()).unwrap().me
    }

    fn many() -> Me {
        me(&json!({
            "31": {"name": "b", "organization_id": 1, "domain": "mixpanel.com"},
            "4": {"name": "A\u{1b}[2J", "organization_id": 1, "domain": "eu.mixpanel.com"},
            "5": {"name": "x", "organization_id": 9},
            "6": {"name": "y", "organization_id": 2, "domain": "in.mixpanel.com"},
        }))
    }

    fn id(text: &str) -> ProjectId {
        ProjectId::parse(text).unwrap()
    }

    #[test]
    fn flag_then_variable_then_the_only_one_then_a_person() {
        let env = Env::new([("MP_PROJECT_ID", "5")], "/");
        let stale = Env::new([("MP_PROJECT_ID", "99")], "/");
        let none = Env::new([("HOME", "/h")], "/");
        let warned = std::cell::Cell::new(0);
        let warn = |_: &str| warned.set(warned.get() + 1);
        let chosen =
            |me: &Me, flag: Option<&str>, env| choose(me, flag.map(id).as_ref(), env, &warn);
        assert_eq!(chosen(&many(), Some("4"), &env), Ok(Chosen::Settled(Some(id("4")))));
        assert_eq!(chosen(&many(), None, &env), Ok(Chosen::Settled(Some(id("5")))));
        let refusal = chosen(&many(), Some("99"), &env).unwrap_err();
        assert_eq!(refusal.code, Code::ProjectNotFound);
        assert!(refusal.message.contains("`31` (b)"), "{refusal}");
        assert_eq!(warned.get(), 0);
        assert!(matches!(chosen(&many(), None, &stale), Ok(Chosen::Ask(_))));
        assert_eq!(warned.get(), 1);
        let one = me(&json!({"7": {"name": "only", "organization_id": 1}}));
        assert_eq!(chosen(&one, None, &none), Ok(Chosen::Settled(Some(id("7")))));
        assert_eq!(chosen(&me(&json!({})), None, &none), Ok(Chosen::Settled(None)));
    }

    #[test]
    fn the_picker_sees_organizations_in_order_and_no_control_characters() {
        let Ok(Chosen::Ask(choices)) =
            choose(&many(), None, &Env::new([("HOME", "/h")], "/"), &|_| {})
        else {
            panic!("nothing to ask")
        };
        let labels: Vec<_> = choices.iter().map(|choice| choice.label.as_str()).collect();
        let wanted = [
            "acme · y (id 6, in.mixpanel.com)",
            "Zoo · A[2J (id 4, eu.mixpanel.com)",
            "Zoo · b (id 31, mixpanel.com)",
            "organization 9 · x (id 5, no domain)",
        ];
        assert_eq!(labels, wanted);
        let ask = || Chosen::Ask(choices.clone());
        assert_eq!(settle(&many(), ask(), &|_| Ok(Some(1))), Ok(Some(id("4"))));
        let nobody = settle(&many(), ask(), &|_| Ok(None)).unwrap_err();
        assert!(nobody.message.contains("`6` (y)"), "{nobody}");
    }

    #[test]
    fn a_project_of_another_region_is_refused_with_the_command() {
        let refusal = cross_check(&many(), Some(&id("4")), Region::Us).unwrap_err();
        assert_eq!(refusal.hint.as_deref(), Some("run: mp-proxy login --region eu --project 4"));
        assert_eq!(cross_check(&many(), Some(&id("4")), Region::Eu), Ok(()));
        assert_eq!(cross_check(&many(), Some(&id("5")), Region::Eu), Ok(()));
        assert_eq!(cross_check(&many(), None, Region::Eu), Ok(()));
        assert_eq!(backfill(&many(), Region::Us), Some(id("31")));
        assert_eq!(backfill(&many(), Region::In), Some(id("5")));
    }
}
