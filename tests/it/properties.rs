//! Properties over random input: resolution against an independent model of behaviour.md
//! section 2 and 3, and the rewriting of requests against what must never happen.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use mp_proxy::{
    auth::{
        credential::{self, Scheme},
        ready::ReadySession,
        resolve::Selection,
        switch::{Switch, switch},
        token_resolver::TokenResolvers,
    },
    model::{
        id::{ProjectId, WorkspaceId},
        origin::Origin,
        region::Region,
        session::Session,
    },
    proxy::{
        overrides::is_ours,
        rewrite::{self, ClientAuthorization},
        route::{self, Inject, ROUTES},
    },
    store::{bridge::Bridge, config::Config, snapshot::Snapshot},
    sys::{env::Env, http::HttpClient},
};
use proptest::prelude::*;
use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

/// Where each axis may come from; `None` is "not given".
#[derive(Debug, Clone)]
struct World {
    quad: bool,
    triple: bool,
    env_project: bool,
    env_workspace: bool,
    account: bool,
    project: bool,
    workspace: bool,
    target: Option<bool>,
    bridge: Option<(bool, bool)>,
    active: Option<bool>,
    active_workspace: bool,
    default_project: bool,
    switch: (bool, bool, bool, bool),
}

fn world() -> impl Strategy<Value = World> {
    let env = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let given = (any::<bool>(), any::<bool>(), any::<bool>(), any::<Option<bool>>());
    let files =
        (any::<Option<(bool, bool)>>(), any::<Option<bool>>(), any::<bool>(), any::<bool>());
    let switch = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (env, given, files, switch).prop_map(|(env, given, files, switch)| World {
        quad: env.0,
        triple: env.1,
        env_project: env.2,
        env_workspace: env.3,
        account: given.0,
        project: given.1,
        workspace: given.2,
        target: given.3,
        bridge: files.0,
        active: files.1,
        active_workspace: files.2,
        default_project: files.3,
        switch,
    })
}

fn snapshot(world: &World) -> Snapshot {
    let mut vars = vec![("HOME", "/nowhere")];
    if world.quad {
        vars.extend([("MP_USERNAME", "u"), ("MP_SECRET", "s"), ("MP_REGION", "us")]);
    }
    if world.triple {
        vars.extend([("MP_OAUTH_TOKEN", "t"), ("MP_REGION", "us")]);
    }
    if world.env_project {
        vars.push(("MP_PROJECT_ID", "1"));
    }
    if world.env_workspace {
        vars.push(("MP_WORKSPACE_ID", "1"));
    }
    let project = if world.default_project { "default_project = \"5\"\n" } else { "" };
    let mut text = String::new();
    for name in ["flag", "aim", "act", "head"] {
        text += &format!(
            "[accounts.{name}]\ntype = \"oauth_token\"\nregion = \"eu\"\ntoken = \"x\"\n{project}"
        );
    }
    for (name, workspace) in [("with", "workspace = 3\n"), ("without", "")] {
        text += &format!("[targets.{name}]\naccount = \"aim\"\nproject = \"3\"\n{workspace}");
    }
    text += "[active]\n";
    if world.active.is_some() {
        text += "account = \"act\"\n";
    }
    if world.active_workspace {
        text += "workspace = 5\n";
    }
    let bridge = world.bridge.map(|(project, workspace)| {
        let mut block = serde_json::json!({
            "account": {"type": "oauth_token", "name": "vm", "region": "in", "token": "b"},
        });
        if world.default_project {
            block["account"]["default_project"] = "5".into();
        }
        if project {
            block["project"] = "4".into();
        }
        if workspace {
            block["workspace"] = 4.into();
        }
        Bridge::parse(block.to_string().as_bytes(), Path::new("b.json")).unwrap()
    });
    Snapshot {
        env: Arc::new(Env::new(vars, "/nowhere")),
        config: Config::parse(text.as_bytes(), Path::new("c.toml")),
        bridge: Ok(bridge),
        generation: 1,
        warnings: Vec::new(),
    }
}

fn id(text: &str) -> Option<ProjectId> {
    Some(ProjectId::parse(text).unwrap())
}

fn number(id: i64) -> Option<WorkspaceId> {
    Some(WorkspaceId::try_from(id).unwrap())
}

fn base(world: &World) -> Selection {
    match world.target {
        Some(workspace) => Selection::of_target(if workspace { "with" } else { "without" }),
        None => Selection {
            account: world.account.then(|| "flag".to_owned()),
            project: id("2").filter(|_| world.project),
            workspace: number(2).filter(|_| world.workspace),
            target: None,
        },
    }
}

type Axes = (&'static str, &'static str, Option<u64>);

/// Section 2, written a second time: a list of sources for each axis, the first that gives.
fn model(world: &World, target: Option<bool>, explicit: bool) -> Option<Axes> {
    let first = |sources: &[(bool, &'static str)]| {
        sources.iter().find(|source| source.0).map(|source| source.1)
    };
    let aimed = target.is_some();
    let account = first(&[
        (world.quad && world.env_project, "env-service-account"),
        (world.triple && world.env_project, "env-oauth-token"),
        (explicit && world.account, "flag"),
        (aimed, "aim"),
        (world.bridge.is_some(), "vm"),
        (world.active.is_some(), "act"),
    ])?;
    let project = first(&[
        (world.env_project, "1"),
        (explicit && world.project, "2"),
        (aimed, "3"),
        (world.bridge.is_some_and(|bridge| bridge.0), "4"),
        (world.default_project && !account.starts_with("env"), "5"),
    ])?;
    let workspace = [
        (world.env_workspace, 1),
        (explicit && world.workspace, 2),
        (target == Some(true), 3),
        (world.bridge.is_some_and(|bridge| bridge.1), 4),
        (world.active_workspace, 5),
    ];
    Some((account, project, workspace.iter().find(|source| source.0).map(|source| source.1)))
}

/// Section 3, written a second time.
fn switched(world: &World) -> Option<Axes> {
    let (account, project, workspace, target) = world.switch;
    let base = |world: &World| model(world, world.target, world.target.is_none());
    if target {
        return if account || project || workspace {
            None
        } else {
            model(world, Some(true), false)
        };
    }
    let own_workspace = workspace.then_some(9);
    if account {
        let project = [
            (world.env_project, "1"),
            (project, "9"),
            (world.bridge.is_some_and(|bridge| bridge.0), "4"),
            (world.default_project, "5"),
        ];
        let project = project.iter().find(|source| source.0)?.1;
        return Some(("head", project, own_workspace.or(world.env_workspace.then_some(1))));
    }
    if project {
        let brought = World { project: true, ..world.clone() };
        return Some((base(&brought)?.0, "9", own_workspace));
    }
    let (account, project, before) = base(world)?;
    Some((account, project, own_workspace.or(before)))
}

fn axes(session: &Session) -> (String, String, Option<u64>) {
    let workspace = session.workspace.map(WorkspaceId::get);
    (session.account.name.to_string(), session.project.to_string(), workspace)
}

static READY: LazyLock<ReadySession> = LazyLock::new(ready);

fn ready() -> ReadySession {
    let world = World {
        quad: false,
        triple: false,
        env_project: false,
        env_workspace: false,
        account: true,
        project: true,
        workspace: true,
        target: None,
        bridge: None,
        active: None,
        active_workspace: false,
        default_project: false,
        switch: (false, false, false, false),
    };
    let snapshot = snapshot(&world);
    let session = switch(&snapshot, &base(&world), &Switch::default()).unwrap();
    // Nothing runs on it: the account has no login.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let http = HttpClient::new(&snapshot.env, None);
    let resolvers = TokenResolvers::new(Arc::clone(&snapshot.env), http, runtime.handle().clone());
    ReadySession::new(session, &snapshot.env, &resolvers)
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("authorization".to_owned()),
        Just("connection".to_owned()),
        Just("transfer-encoding".to_owned()),
        Just("proxy-authorization".to_owned()),
        Just("x_mp-Target".to_owned()),
        Just("x-mp-project".to_owned()),
        Just("te".to_owned()),
        Just("trailer".to_owned()),
        Just("upgrade".to_owned()),
        Just("keep-alive".to_owned()),
        Just("via".to_owned()),
        "[a-z_-]{1,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_axis_resolves_on_its_own(world in world()) {
        let snapshot = snapshot(&world);
        let (account, project, workspace, target) = world.switch;
        let wanted = Switch {
            account: account.then(|| "head".to_owned()),
            project: id("9").filter(|_| project),
            workspace: number(9).filter(|_| workspace),
            target: target.then(|| "with".to_owned()),
        };
        let got = switch(&snapshot, &base(&world), &wanted).ok().map(|session| axes(&session));
        let want = switched(&world).map(|(account, project, workspace)| (account.to_owned(), project.to_owned(), workspace));
        prop_assert_eq!(got, want);
    }

    #[test]
    fn one_authorization_and_nothing_of_one_hop_goes_out(
        fields in prop::collection::vec((name(), "[ -~]{0,30}"), 0..16),
        named in prop::collection::vec(name(), 0..4),
        pass in any::<bool>(),
    ) {
        let ready = &*READY;
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            headers.append(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers.append("connection", HeaderValue::from_str(&named.join(", ")).unwrap());
        let chunked = headers.contains_key("transfer-encoding");
        let own = headers.get("authorization").cloned();
        let policy = if pass { ClientAuthorization::Pass } else { ClientAuthorization::Replace };
        let signed = credential::lasting(&ready.session, Scheme::Session, &Env::new([("A", "")], "/")).unwrap();
        rewrite::request_headers(&mut headers, http::Version::HTTP_11, &ready.session, Some(&signed), policy).unwrap();
        let sent: Vec<_> = headers.get_all("authorization").iter().collect();
        prop_assert_eq!(sent.len(), 1);
        let expected = if pass { own.unwrap_or_else(|| signed.value().clone()) } else { signed.value().clone() };
        prop_assert_eq!(sent[0], &expected);
        for name in ["connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "proxy-authorization"] {
            prop_assert!(!headers.contains_key(name), "{} is left", name);
        }
        for name in named.iter().filter(|name| !["authorization", "via", "transfer-encoding"].contains(&name.as_str())) {
            prop_assert!(!headers.contains_key(name.as_str()), "{} is left", name);
        }
        prop_assert_eq!(headers.get("transfer-encoding").is_some_and(|value| value == "chunked"), chunked);
        prop_assert!(!headers.keys().any(is_ours));
        prop_assert_eq!(headers.get_all("via").iter().next_back().unwrap(), "1.1 mp-proxy");
    }

    #[test]
    fn path_and_query_keep_every_byte(
        path in "/(api/query|api/2\\.0|api/app|import|track|mcp|s|report|api/2\\.0/export)(/[!-~&&[^?#%/]]{0,6}|/%2[0-9A-F]){0,4}/?",
        query in prop::option::of("([!-~&&[^#]]{0,12}|project_id=7|workspace_id=7|%70roject_id=8)(&([!-~&&[^#]]{0,8}|project_id=2)){0,2}"),
    ) {
        let text = query.as_ref().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        // What `http` takes as a target is what hyper lets in.
        let Ok(uri) = text.parse::<Uri>() else { return Ok(()) };
        let Ok(route) = route::find(uri.path()) else { return Ok(()) };
        let ready = &*READY;
        let out = rewrite::path_and_query(&uri, route, ready, &Switch::default()).unwrap();
        let out = out.as_str();
        prop_assert!(out.starts_with(uri.path_and_query().unwrap().as_str()), "{} became {}", text, out);
        let added = &out[text.len()..];
        let parts: Vec<_> = added.split(['?', '&']).filter(|part| !part.is_empty()).collect();
        let allowed: &[&str] = match route.inject {
            Inject::Nothing => &[],
            Inject::Project => &["project_id=2"],
            Inject::ProjectAndWorkspace => &["project_id=2", "workspace_id=2"],
        };
        prop_assert!(parts.iter().all(|part| allowed.contains(part)), "{}", added);
        prop_assert!(added.is_empty() || added.starts_with(['?', '&']) || text.ends_with(['?', '&']), "{}", out);
    }

    #[test]
    fn no_path_leaves_the_host_table(path in "(/[ -~]{0,12}){0,5}|/(api|track|s|import)/[ -~]{0,24}") {
        let Ok(route) = route::find(&path) else { return Ok(()) };
        prop_assert!(ROUTES.contains(route));
        let rest = path.strip_prefix(route.prefix).unwrap();
        prop_assert!(rest.is_empty() || rest.starts_with('/'));
        let first = ROUTES.iter().find(|other| path == other.prefix || path.starts_with(&format!("{}/", other.prefix)));
        prop_assert_eq!(first, Some(route));
        for region in Region::ALL {
            let host = Origin::new(route.family, region).host();
            prop_assert!(host == "mixpanel.com" || host.ends_with("mixpanel.com"), "{}", host);
        }
        let plain = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().replace('\\', "/");
        prop_assert!(!plain.split('/').any(|part| part == "." || part == ".."), "{}", path);
    }
}
