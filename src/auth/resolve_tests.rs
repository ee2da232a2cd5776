//! Tests of `resolve` and `switch`: every source of every axis, and what is said about them.
//! Invariant: values in, values out; no file is touched.

use super::{Selection, own_headers, resolve};
use crate::{
    auth::switch::{Switch, switch},
    model::{
        account::Credential,
        id::{ProjectId, WorkspaceId},
        refusal::{Code, Refusal},
        session::Session,
    },
    store::{bridge::Bridge, config::Config, snapshot::Snapshot},
    sys::env::Env,
};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

const CONFIG: &str = r#"
    [active]
    account = "team"
    workspace = 9
    [accounts.team]
    type = "service_account"
    region = "eu"
    default_project = "123"
    username = "u"
    secret = "s3cr3t"
    [accounts.bare]
    type = "oauth_browser"
    region = "us"
    [targets.ecom]
    account = "team"
    project = "77"
    workspace = 3
    [targets.plain]
    account = "team"
    project = "78"
"#;
const QUAD: [(&str, &str); 4] =
    [("MP_USERNAME", "e"), ("MP_SECRET", "s"), ("MP_PROJECT_ID", "5"), ("MP_REGION", "in")];
const TRIPLE: [(&str, &str); 3] =
    [("MP_OAUTH_TOKEN", "t"), ("MP_PROJECT_ID", "5"), ("MP_REGION", "in")];
const HALF_QUAD: &str = "MP_USERNAME, MP_SECRET, MP_PROJECT_ID and MP_REGION make an account only together; some are missing";
const HALF_TRIPLE: &str = "MP_OAUTH_TOKEN is ignored without MP_PROJECT_ID and MP_REGION";

fn snapshot(config: &str, vars: &[(&str, &str)], bridge: Option<Value>) -> Snapshot {
    let path = Path::new("b.json");
    let bridge = bridge.map(|bridge| Bridge::parse(bridge.to_string().as_bytes(), path));
    Snapshot {
        env: Arc::new(Env::new(vars.iter().copied(), "/")),
        config: Config::parse(config.as_bytes(), Path::new("c.toml")),
        bridge: bridge.transpose(),
        generation: 1,
        warnings: vec!["of the files".into()],
    }
}

fn bridge() -> Value {
    json!({
        "version": 2, "project": "55", "workspace": 4, "headers": {"X-B": "b", "x-s": "b"},
        "account": {"type": "oauth_browser", "name": "bare", "region": "us"},
        "tokens": {"access_token": "a", "expires_at": 5, "scope": "", "token_type": "Bearer"},
    })
}

fn project(id: &str) -> Option<ProjectId> {
    Some(ProjectId::parse(id).unwrap())
}

fn workspace(id: &str) -> Option<WorkspaceId> {
    Some(WorkspaceId::parse(id).unwrap())
}

fn select(account: &str, project_id: &str, workspace_id: &str) -> Selection {
    Selection {
        account: Some(account.to_owned()).filter(|name| !name.is_empty()),
        project: project(project_id),
        workspace: workspace(workspace_id),
        target: None,
    }
}

/// The three axes as `value<source`.
fn axes(session: &Session) -> [String; 3] {
    let sources = &session.sources;
    let workspace = session.workspace.map_or("none".to_owned(), |id| id.to_string());
    [
        format!("{}<{}", session.account.name, sources.account),
        format!("{}<{}", session.project, sources.project),
        format!("{workspace}<{}", sources.workspace.as_deref().unwrap_or("none")),
    ]
}

#[test]
fn every_axis_takes_its_first_source() {
    let axis = Selection::default;
    let target = Selection::of_target;
    let project_only = Selection { project: project("6"), ..axis() };
    for (vars, bridged, selection, wanted) in [
        (
            vec![],
            None,
            axis(),
            ["team<config:[active]", "123<account.default_project", "9<config:[active]"],
        ),
        (vec![], Some(bridge()), axis(), ["bare<bridge", "55<bridge", "4<bridge"]),
        (
            vec![],
            Some(bridge()),
            target("ecom"),
            ["team<target:ecom", "77<target:ecom", "3<target:ecom"],
        ),
        (
            vec![],
            Some(bridge()),
            target("plain"),
            ["team<target:plain", "78<target:plain", "4<bridge"],
        ),
        (
            vec![],
            Some(bridge()),
            select("team", "6", "8"),
            ["team<param:--account", "6<param:--project", "8<param:--workspace"],
        ),
        (
            vec![],
            None,
            project_only,
            ["team<config:[active]", "6<param:--project", "9<config:[active]"],
        ),
        (
            QUAD.into(),
            Some(bridge()),
            target("ecom"),
            ["env-service-account<env:MP_USERNAME", "5<env:MP_PROJECT_ID", "3<target:ecom"],
        ),
        (
            TRIPLE.into(),
            None,
            select("team", "6", "8"),
            ["env-oauth-token<env:MP_OAUTH_TOKEN", "5<env:MP_PROJECT_ID", "8<param:--workspace"],
        ),
        (
            vec![("MP_WORKSPACE_ID", " 2 ")],
            None,
            target("ecom"),
            ["team<target:ecom", "77<target:ecom", "2<env:MP_WORKSPACE_ID"],
        ),
    ] {
        let session = resolve(&snapshot(CONFIG, &vars, bridged), &selection).unwrap();
        assert_eq!(axes(&session), wanted, "{vars:?} {selection:?}");
    }
}

#[test]
fn the_environment_makes_an_account_only_together() {
    let of = |vars: &[(&str, &str)]| {
        let session = resolve(&snapshot(CONFIG, vars, None), &Selection::default()).unwrap();
        (session.account.name.to_string(), session.warnings)
    };
    let quad = of(&QUAD);
    assert_eq!(quad.0, "env-service-account");
    assert!(!quad.1.iter().any(|text| text == HALF_QUAD), "{quad:?}");
    for missing in 0..4 {
        let mut vars = QUAD.to_vec();
        vars.remove(missing);
        let (name, warnings) = of(&vars);
        assert_eq!(name, "team", "{vars:?}");
        assert!(warnings.iter().any(|text| text == HALF_QUAD), "{vars:?}: {warnings:?}");
        assert!(!warnings.iter().any(|text| text == HALF_TRIPLE), "{vars:?}: {warnings:?}");
    }
    assert!(!of(&TRIPLE).1.iter().any(|text| text == HALF_TRIPLE));
    for missing in 1..3 {
        let mut vars = TRIPLE.to_vec();
        vars.remove(missing);
        let (name, warnings) = of(&vars);
        assert_eq!(name, "team", "{vars:?}");
        assert!(warnings.iter().any(|text| text == HALF_TRIPLE), "{vars:?}: {warnings:?}");
        assert!(!warnings.iter().any(|text| text == HALF_QUAD), "{vars:?}: {warnings:?}");
    }
    assert_eq!(of(&[("MP_PROJECT_ID", "5"), ("MP_REGION", "us")]).0, "team");
    let both: Vec<_> = QUAD.into_iter().chain([TRIPLE[0]]).collect();
    assert_eq!(of(&both).0, "env-service-account");
}

#[test]
fn what_was_asked_for_and_overruled_is_said() {
    let workspace_variable = [("MP_WORKSPACE_ID", "2")];
    let two: Vec<_> = QUAD.into_iter().chain(workspace_variable).collect();
    let triple: Vec<_> = TRIPLE.into();
    let none: [&str; 0] = [];
    for (vars, selection, wanted) in [
        (&two, Selection::default(), &none[..]),
        (
            &two,
            Selection::of_target("ecom"),
            &["MP_USERNAME", "MP_PROJECT_ID", "MP_WORKSPACE_ID"][..],
        ),
        // This target names no workspace that could be overruled.
        (&two, Selection::of_target("plain"), &["MP_USERNAME", "MP_PROJECT_ID"]),
        (
            &triple,
            Selection { account: Some("team".into()), ..Selection::default() },
            &["MP_OAUTH_TOKEN"],
        ),
        (&two, Selection { project: project("6"), ..Selection::default() }, &["MP_PROJECT_ID"]),
        (
            &two,
            Selection { workspace: workspace("6"), ..Selection::default() },
            &["MP_WORKSPACE_ID"],
        ),
        (&Vec::new(), Selection::of_target("ecom"), &none[..]),
        (&Vec::new(), select("team", "6", "8"), &none[..]),
    ] {
        let session = resolve(&snapshot(CONFIG, vars, None), &selection).unwrap();
        assert_eq!(session.overruled, wanted, "{vars:?} {selection:?}");
        let asked = if selection.target.is_some() { "the target" } else { "an explicit choice" };
        for variable in wanted {
            let said = format!("`{variable}` in the environment overrules {asked}");
            assert!(session.warnings.contains(&said), "{:?}", session.warnings);
        }
        let said = session.warnings.iter().filter(|text| text.contains("overrules")).count();
        assert_eq!(said, wanted.len(), "{:?}", session.warnings);
    }
}

#[test]
fn a_workspace_that_stays_behind_is_said() {
    let warned = |vars: &[(&str, &str)], selection: &Selection| {
        let session = resolve(&snapshot(CONFIG, vars, None), selection).unwrap();
        let about = |text: &&String| text.starts_with("workspace comes from");
        let said: Vec<_> = session.warnings.iter().filter(about).cloned().collect();
        (session.warnings[0].clone(), said)
    };
    let of_files = "of the files".to_owned();
    assert_eq!(warned(&[], &Selection::default()), (of_files.clone(), vec![]));
    let other = Selection { account: Some("team".into()), ..Selection::default() };
    let account =
        "workspace comes from config:[active] although the account comes from `param:--account`";
    assert_eq!(warned(&[], &other), (of_files.clone(), vec![account.to_owned()]));
    let other = Selection { project: project("6"), ..Selection::default() };
    let text =
        "workspace comes from config:[active] although the project comes from `param:--project`";
    assert_eq!(warned(&[], &other), (of_files.clone(), vec![text.to_owned()]));
    assert_eq!(warned(&[], &select("team", "6", "8")), (of_files, vec![]));
}

#[test]
fn what_does_not_resolve_says_why() {
    let code = |refusal: Refusal| {
        assert!(refusal.hint.is_some(), "{refusal}");
        (refusal.code, refusal.reason)
    };
    let of = |config: &str, vars: &[(&str, &str)], selection: &Selection| {
        code(resolve(&snapshot(config, vars, None), selection).unwrap_err())
    };
    let none = Selection::default();
    let both = Selection { target: Some("ecom".into()), ..select("team", "6", "8") };
    for axis in [
        Selection { project: None, workspace: None, ..both.clone() },
        Selection { account: None, workspace: None, ..both.clone() },
        Selection { account: None, project: None, ..both.clone() },
    ] {
        assert_eq!(of(CONFIG, &[], &axis), (Code::TargetMutuallyExclusive, None));
    }
    let config = Code::ConfigError;
    for (name, value) in [("MP_REGION", "mars"), ("MP_PROJECT_ID", "x"), ("MP_WORKSPACE_ID", "0")] {
        assert_eq!(of(CONFIG, &[(name, value)], &none), (config, None), "{name}");
    }
    let unresolved = (config, Some(Code::SessionUnresolved));
    assert_eq!(of("", &[], &none), unresolved);
    let one = CONFIG.replace("account = \"team\"\n    workspace = 9", "");
    assert_eq!(of(&one, &[], &none), (config, Some(Code::AmbiguousAccount)));
    let (start, end) = (one.find("[accounts.bare]").unwrap(), one.find("[targets.ecom]").unwrap());
    let single = format!("{}{}", &one[..start], &one[end..]);
    let refusal = resolve(&snapshot(&single, &[], None), &none).unwrap_err();
    assert!(refusal.message.contains("account `team` is configured"), "{refusal}");
    assert_eq!(code(refusal), unresolved);
    let bare = Selection { account: Some("bare".into()), ..none };
    assert_eq!(of(CONFIG, &[], &bare), unresolved, "no project");
    let mut broken = snapshot(CONFIG, &QUAD, None);
    broken.bridge = Err(Refusal::config("broken").hint("x"));
    assert_eq!(code(resolve(&broken, &Selection::default()).unwrap_err()), (config, None));
}

#[test]
fn headers_of_the_bridge_over_settings_over_the_environment() {
    let config =
        format!("{CONFIG}\n[settings]\ncustom_header = {{ name = \"X-S\", value = \"s\" }}\n");
    let vars = [("MP_CUSTOM_HEADER_NAME", "X-E"), ("MP_CUSTOM_HEADER_VALUE", "e")];
    let shown = |session: &Session| {
        let pair = |one: &crate::model::session::CustomHeader| {
            format!("{}={}", one.name, one.value.to_str().unwrap())
        };
        session.headers.iter().map(pair).collect::<Vec<_>>()
    };
    let of = |vars: &[(&str, &str)], bridged| {
        shown(&resolve(&snapshot(&config, vars, bridged), &Selection::default()).unwrap())
    };
    assert_eq!(of(&vars, None), ["x-e=e", "x-s=s"]);
    assert_eq!(of(&vars[..1], None), ["x-s=s"]);
    let all = of(&vars, Some(bridge()));
    assert_eq!(all.len(), 3, "{all:?}");
    for one in ["x-e=e", "x-s=b", "x-b=b"] {
        assert!(all.contains(&one.to_owned()), "{all:?}");
    }
    let refused = [("MP_CUSTOM_HEADER_NAME", "Host"), ("MP_CUSTOM_HEADER_VALUE", "e")];
    let env = Env::new(refused, "/");
    assert!(own_headers(&env, &Config::empty()).is_err());
}

#[test]
fn a_bridge_is_the_login_of_its_own_account_only() {
    let of = |vars: &[(&str, &str)], selection: &Selection| {
        resolve(&snapshot(CONFIG, vars, Some(bridge())), selection).unwrap().bridge
    };
    assert_eq!(of(&[], &Selection::default()).as_deref(), Some(Path::new("b.json")));
    assert_eq!(of(&[], &select("bare", "6", "8")).as_deref(), Some(Path::new("b.json")));
    assert_eq!(of(&[], &select("team", "6", "8")), None);
    assert_eq!(of(&QUAD, &Selection::default()), None);
}

#[test]
fn a_request_switches_by_its_headers() {
    let header = |axis: &str, id: &str| format!("{id}<header:X-Mp-{axis}");
    let ask = |vars: &[(&str, &str)], bridged, base: &Selection, wanted: &Switch| {
        switch(&snapshot(CONFIG, vars, bridged), base, wanted)
    };
    let none = Selection::default();
    let named = |account: &str| Switch { account: Some(account.into()), ..Switch::default() };
    assert!(Switch::default().is_empty() && !named("team").is_empty());
    let base = ask(&[], None, &none, &Switch::default()).unwrap();
    assert_eq!(axes(&base)[0], "team<config:[active]");

    // To an account: the environment's account loses, the old project is never carried over.
    let moved = ask(&QUAD, None, &none, &named("team")).unwrap();
    let account = header("Account", "team");
    assert_eq!(axes(&moved), [&account, "5<env:MP_PROJECT_ID", "none<none"]);
    assert!(moved.overruled.is_empty() && moved.warnings == ["of the files"], "{moved:?}");
    let moved = ask(&[], None, &select("bare", "6", "8"), &named("team")).unwrap();
    assert_eq!(axes(&moved), [&account, "123<account.default_project", "none<none"]);
    let moved = ask(&[("MP_WORKSPACE_ID", "2")], Some(bridge()), &none, &named("team")).unwrap();
    assert_eq!(axes(&moved), [&account, "55<bridge", "2<env:MP_WORKSPACE_ID"]);
    let all = Switch { project: project("6"), workspace: workspace("8"), ..named("team") };
    let moved = ask(&[], None, &none, &all).unwrap();
    assert_eq!(axes(&moved), [account.clone(), header("Project", "6"), header("Workspace", "8")]);
    let moved = ask(&QUAD, None, &none, &all).unwrap();
    assert_eq!(axes(&moved)[1], "5<env:MP_PROJECT_ID");
    assert_eq!(moved.overruled, ["MP_PROJECT_ID"]);
    assert!(moved.warnings[1].ends_with("overrules X-Mp-Project"), "{:?}", moved.warnings);
    let same = Switch { project: project("5"), ..all.clone() };
    let moved = ask(&QUAD, None, &none, &same).unwrap();
    assert!(moved.overruled.is_empty(), "what was asked for is what there is");
    let half = [("MP_USERNAME", "u")];
    assert_eq!(ask(&half, None, &none, &named("team")).unwrap().warnings[1], HALF_QUAD);
    let refusal = ask(&[], None, &none, &named("bare")).unwrap_err();
    assert_eq!(refusal.reason, Some(Code::SessionUnresolved), "no project of another account");

    // To a target, alone.
    let target = Switch { target: Some("ecom".into()), ..Switch::default() };
    let moved = ask(&[], None, &none, &target).unwrap();
    assert_eq!(axes(&moved), ["team<target:ecom", "77<target:ecom", "3<target:ecom"]);
    for beside in [
        Switch { account: Some("team".into()), ..target.clone() },
        Switch { project: project("6"), ..target.clone() },
        Switch { workspace: workspace("8"), ..target.clone() },
    ] {
        let refusal = ask(&[], None, &none, &beside).unwrap_err();
        assert_eq!(refusal.code, Code::TargetMutuallyExclusive, "{beside:?}");
    }

    // Workspace alone: all else stays.
    let only = Switch { workspace: workspace("8"), ..Switch::default() };
    let moved = ask(&[], None, &select("team", "6", "7"), &only).unwrap();
    assert_eq!(
        axes(&moved),
        ["team<param:--account", "6<param:--project", &header("Workspace", "8"),]
    );
}

#[test]
fn a_project_wins_over_the_environment_and_leaves_the_workspace_behind() {
    let vars: Vec<_> = QUAD.into_iter().chain([("MP_WORKSPACE_ID", "2")]).collect();
    let wanted = Switch { project: project("6"), ..Switch::default() };
    let ask = |vars: &[(&str, &str)], base: &Selection, wanted: &Switch| {
        switch(&snapshot(CONFIG, vars, None), base, wanted).unwrap()
    };
    let none = Selection::default();
    let moved = ask(&vars, &none, &wanted);
    let here = "6<header:X-Mp-Project";
    assert_eq!(axes(&moved), ["env-service-account<env:MP_USERNAME", here, "none<none"]);
    assert!(moved.overruled.is_empty(), "{:?}", moved.overruled);
    assert_eq!(moved.warnings, ["of the files"]);
    assert!(matches!(moved.account.credential, Credential::ServiceAccount { .. }));
    let both = Switch { workspace: workspace("8"), ..wanted.clone() };
    assert_eq!(axes(&ask(&vars, &none, &both))[2], "8<header:X-Mp-Workspace");
    // What overrules the account of the base session still does, and is said.
    let base = Selection { account: Some("team".into()), ..Selection::default() };
    assert_eq!(ask(&vars, &base, &wanted).overruled, ["MP_USERNAME"]);
    let base = Selection { workspace: workspace("1"), ..base };
    assert_eq!(ask(&vars, &base, &wanted).overruled, ["MP_USERNAME"]);
    // A base target keeps its account, and an account without a project needs none.
    let moved = ask(&[], &Selection::of_target("ecom"), &wanted);
    assert_eq!(axes(&moved), ["team<target:ecom", here, "none<none"]);
    let bare = Selection { account: Some("bare".into()), ..Selection::default() };
    assert_eq!(axes(&ask(&[], &bare, &wanted)), ["bare<param:--account", here, "none<none"]);
    // The workspace of `[active]` is not used, so nothing is said about it.
    assert_eq!(ask(&[], &none, &wanted).warnings, ["of the files"]);
}
