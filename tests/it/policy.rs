//! Policy over real sockets: every way around it that came to mind, refused with nothing sent.

use crate::support::{Home, Serving, Upstream};
use std::{fs, os::unix::fs::PermissionsExt as _, thread, time::Duration};

/// `team` and `other` both reach the projects 123 (allowed) and 666 (not).
const CONFIG: &str = r#"
[active]
account = "team"
workspace = 9

[accounts.team]
type = "service_account"
region = "eu"
default_project = "123"
username = "sa"
secret = "hunter2-secret"

[accounts.other]
type = "service_account"
region = "eu"
default_project = "666"
username = "sb"
secret = "hunter3-secret"

[accounts.ci]
type = "oauth_token"
region = "us"
default_project = "123"
token = "tok-secret"

[targets.fine]
account = "ci"
project = "123"
workspace = 3

[targets.evil]
account = "other"
project = "666"
workspace = 6
"#;

fn start(args: &[&str]) -> (Home, Upstream, Serving) {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let serving = home.serve(&upstream.url(), args);
    (home, upstream, serving)
}

/// One request: method, target, header lines, body.
type Trick = (&'static str, &'static str, &'static str, &'static str);

fn send(proxy: &Serving, (method, target, lines, body): Trick) -> crate::support::Answer {
    let (host, length) = (proxy.address, body.len());
    let target = target.replace("{host}", &host.to_string());
    proxy.raw(
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
        )
        .as_bytes(),
    )
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

const PARTS: &str = "Content-Type: multipart/form-data; boundary=b\r\n";

/// Each is one way to reach project 666.
const TRICKS: &[Trick] = &[
    // In the query.
    ("GET", "/api/query/insights?project_id=666", "", ""),
    ("GET", "/api/query/insights?project_id=123&project_id=666", "", ""),
    ("GET", "/api/query/insights?project_id=666&project_id=123", "", ""),
    ("GET", "/api/query/insights?project%5Fid=666", "", ""),
    ("GET", "/api/query/insights?project%255Fid=666&project_id=123", "", ""),
    ("GET", "/api/query/insights?%70roject_id=666", "", ""),
    ("GET", "/api/query/insights?project_id=%36%36%36", "", ""),
    ("GET", "/api/query/insights?project_id=%2536%2536%2536", "", ""),
    ("GET", "/api/query/insights?PROJECT_ID=666", "", ""),
    ("GET", "/api/query/insights?projectId=666", "", ""),
    ("GET", "/api/query/insights?project-id=666", "", ""),
    ("GET", "/api/query/insights?project_id[]=666", "", ""),
    ("GET", "/api/query/insights?project_id%5B0%5D=666", "", ""),
    ("GET", "/api/query/insights?project_ids=123,666", "", ""),
    ("GET", "/api/query/insights?+project_id=666", "", ""),
    ("GET", "/api/query/insights?project_id=+666", "", ""),
    ("GET", "/api/query/insights?project_id=666+", "", ""),
    ("GET", "/api/query/insights?project_id=%20666", "", ""),
    ("GET", "/api/query/insights?project_id=0666", "", ""),
    ("GET", "/api/query/insights?project_id=0x29a", "", ""),
    ("GET", "/api/query/insights?project_id=666.0", "", ""),
    ("GET", "/api/query/insights?project_id=6e2", "", ""),
    ("GET", "/api/query/insights?project_id=666%00", "", ""),
    ("GET", "/api/query/insights?project_id=%EF%BC%96%EF%BC%96%EF%BC%96", "", ""),
    ("GET", "/api/query/insights?project_id=%D9%A6%D9%A6%D9%A6", "", ""),
    ("HEAD", "/api/query/insights?project_id=666", "", ""),
    ("GET", "/api/query/insights?%EF%BD%90roject_id=666", "", ""),
    ("GET", "/api/query/insights?project%u005Fid=666", "", ""),
    ("GET", "/api/query/insights?project.id=666", "", ""),
    ("GET", "/api/query/insights?project_id%00=666", "", ""),
    ("GET", "/api/query/insights?project_id%E2%80%8B=666", "", ""),
    ("GET", "/api/query/insights?target_project_id=666", "", ""),
    ("GET", "/api/query/insights?filter[project_id]=666", "", ""),
    ("GET", "/api/query/insights?project=666", "", ""),
    ("GET", "/api/query/insights?a=1&&project_id=666", "", ""),
    ("GET", "/api/query/insights??project_id=666&project_id=666", "", ""),
    (
        "GET",
        "/api/query/insights?params=%7B%22a%22:%22%7B%5C%22project_id%5C%22:666%7D%22%7D",
        "",
        "",
    ),
    ("GET", "/api/query/insights?params=%7B%22a%22:NaN,%22project_id%22:666%7D", "", ""),
    ("GET", "/api/query/insights?params=%7B%22project%22:%7B%22id%22:666%7D%7D", "", ""),
    ("GET", "/api/query/insights?_method=DELETE", "", ""),
    ("GET", "/api/query/insights?%5Fmethod=DELETE", "", ""),
    ("GET", "/api/query/insights?access_token=abcdef", "", ""),
    ("GET", "/api/query/insights?x=1;project_id=666", "", ""),
    ("GET", "/api/query/insights?params=%7B%22project_id%22:666%7D", "", ""),
    ("GET", "/api/query/insights?project_id", "", ""),
    ("GET", "/api/query/insights?project_id=", "", ""),
    ("GET", "/api/2.0/export?from_date=2026-01-01&project_id=666", "", ""),
    ("GET", "/lookup-tables?project_id=666", "", ""),
    ("POST", "/import?project_id=666", JSON, "[]"),
    ("GET", "/flags?token=abcdef", "", ""),
    ("GET", "/flags?api_key=abcdef", "", ""),
    // In the path.
    ("GET", "/api/app/projects/666/annotations", "", ""),
    ("GET", "/api/app/projects/123/annotations/../../666/annotations", "", ""),
    ("GET", "/api/app/projects/123/%2e%2e/666/annotations", "", ""),
    ("GET", "/api/app/projects/123/%252e%252e/666/annotations", "", ""),
    ("GET", "/api/app//projects/666/annotations", "", ""),
    ("GET", "/api/app/projects//666/annotations", "", ""),
    ("GET", "/api/app/%70rojects/666/annotations", "", ""),
    ("GET", "/api/app/%2570rojects/666/annotations", "", ""),
    ("GET", "/api/app/projects/%36%36%36/annotations", "", ""),
    ("GET", "/api/app/projects/0666/annotations", "", ""),
    ("GET", "/api/app/projects/666%20/annotations", "", ""),
    ("GET", "/api/app/projects%2F666/annotations", "", ""),
    ("GET", "/api/app/projects/123%2F..%2F..%2Fprojects%2F666", "", ""),
    ("GET", "/api/app/projects%5C666/annotations", "", ""),
    ("GET", "/api/app/projects;v=1/666/annotations", "", ""),
    ("GET", "/api/app/projects/666;v=1/annotations", "", ""),
    ("GET", "/api/app/Projects/666/annotations", "", ""),
    ("GET", "/api/app/PROJECTS/666/annotations", "", ""),
    ("GET", "/api/app/%EF%BD%90rojects/666/annotations", "", ""),
    ("GET", "/api/app/projects/123/x/projects/666", "", ""),
    ("GET", "/api/app/projects/666%00/annotations", "", ""),
    ("GET", "/api/app/%c0%afprojects/666/annotations", "", ""),
    ("GET", "/api/app/projects/123/..;/666/annotations", "", ""),
    ("GET", "/api/app/projects/%u0036%u0036%u0036/annotations", "", ""),
    ("GET", "/api/app/projects/~666/annotations", "", ""),
    ("GET", "/api/app/project/666/annotations", "", ""),
    ("GET", "/api/app/projects/666/warehouse-sources/imports", "", ""),
    ("PATCH", "/api/app/projects/666/cohorts/1", JSON, "{}"),
    ("HEAD", "/api/app/projects/666/annotations", "", ""),
    // Absolute form; the same host, another one.
    ("GET", "http://{host}/api/query/insights?project_id=666", "", ""),
    ("GET", "http://{host}/api/app/projects/666/annotations", "", ""),
    ("GET", "HTTP://{host}/api/app/projects/%36%36%36/annotations", "", ""),
    ("GET", "http://mixpanel.com/api/query/insights?project_id=666", "", ""),
    ("GET", "http://user@{host}/api/query/insights?project_id=666", "", ""),
    // Where no project is heard in the query, it says nothing.
    ("GET", "/api/app/organizations/1/service-accounts?project_id=123", "", ""),
    (
        "POST",
        "/api/app/organizations/1/service-accounts/add-to-project?project_id=123",
        JSON,
        r#"{"projects": [{"id": 666}]}"#,
    ),
    ("GET", "/api/app/organizations/1/projects/123/service-accounts", "", ""),
    ("GET", "/api/app/organizations/1;/projects/123/x", "", ""),
    ("POST", "/api/app/graphql?project_id=123", JSON, r#"{"query": "{project(id: 666){name}}"}"#),
    ("POST", "/mcp?project_id=123", JSON, r#"{"params": {"arguments": {"project_id": 666}}}"#),
    ("GET", "/s/abc?project_id=123", "", ""),
    ("GET", "/api/app/me/../projects/666", "", ""),
    // Path against query, and the other way round.
    ("GET", "/api/app/projects/123/annotations?project_id=666", "", ""),
    ("GET", "/api/app/projects/666/annotations?project_id=123", "", ""),
    // By a workspace of the other project.
    ("GET", "/api/app/workspaces/6/dashboards", "", ""),
    ("GET", "/api/app/workspaces/77/dashboards", "", ""),
    ("GET", "/api/app/projects/123/workspaces/6/feature-flags", "", ""),
    ("GET", "/api/query/insights?workspace_id=6", "", ""),
    ("GET", "/api/query/insights", "X-Mp-Workspace: 6\r\n", ""),
    ("GET", "/api/query/insights", "X-Mp-Project: 123\r\nX-Mp-Workspace: 77\r\n", ""),
    // By headers, in any spelling.
    ("GET", "/api/query/insights", "X-Mp-Project: 666\r\n", ""),
    ("GET", "/api/query/insights", "x-mp-project: 666\r\n", ""),
    ("GET", "/api/query/insights", "X-MP-PROJECT:666\r\n", ""),
    ("GET", "/api/query/insights", "X-Mp-Project: 0666\r\n", ""),
    ("GET", "/api/query/insights", "X_Mp_Project: 666\r\n", ""),
    ("GET", "/api/query/insights", "X-Mp-Project: 123\r\nX-Mp-Project: 666\r\n", ""),
    ("GET", "/api/query/insights", "Connection: X-Mp-Project\r\nX-Mp-Project: 666\r\n", ""),
    ("GET", "/api/query/insights", "X-Mp-Target: evil\r\n", ""),
    ("GET", "/api/query/insights", "X-Original-URL: /api/query/insights?project_id=666\r\n", ""),
    ("GET", "/api/query/insights", "X_Rewrite_URL: /api/app/projects/666\r\n", ""),
    ("GET", "/api/query/insights", "X-Mp-Project: 123, 666\r\n", ""),
    ("GET", "/api/query/insights", "X-Mp-Project: \"666\"\r\n", ""),
    ("GET", "/api/query/insights", "x-mP-tArGeT: evil\r\n", ""),
    ("GET", "/api/query/insights", "X-Mp_Target: evil\r\n", ""),
    ("GET", "/api/query/insights", "X-Mp-Target: fine\r\nX-Mp-Target: evil\r\n", ""),
    ("GET", "/api/query/insights", "X-Mp-Target: fine\r\nX-Mp-Project: 666\r\n", ""),
    ("GET", "/api/query/insights", "X-Project-Id: 666\r\n", ""),
    ("GET", "/api/query/insights", "Mixpanel_Project_ID: 666\r\n", ""),
    ("GET", "/api/query/insights", "X-HTTP-Method-Override: DELETE\r\n", ""),
    ("GET", "/api/query/insights", "x_http_method: DELETE\r\n", ""),
    ("GET", "/api/query/insights", "X-Original-URI: /api/app/projects/666\r\n", ""),
    ("GET", "/api/query/insights", "X-Forwarded-Prefix: /api/app/projects/666\r\n", ""),
    ("GET", "/api/query/insights", "X-Envoy-Original-Path: /api/app/projects/666\r\n", ""),
    ("GET", "/api/query/insights", "Cookie: sessionid=of-somebody-who-sees-666\r\n", ""),
    // By another account that reaches the same project.
    ("GET", "/api/query/insights", "X-Mp-Account: other\r\n", ""),
    ("GET", "/api/query/insights?project_id=666", "X-Mp-Account: ci\r\n", ""),
    ("GET", "/api/query/insights", "X-Mp-Account: team\r\nX-Mp-Project: 666\r\n", ""),
    ("GET", "/api/app/projects/~/annotations", "X-Mp-Account: other\r\n", ""),
    ("GET", "/api/app/workspaces/~/dashboards", "X-Mp-Account: other\r\n", ""),
    ("GET", "/api/app/projects/~/workspaces/6/feature-flags", "", ""),
    ("GET", "/api/app/projects/~/annotations?project_id=666", "", ""),
    // By the body.
    ("POST", "/api/2.0/nessie/pipeline/create", FORM, "project_id=666&type=gcs"),
    ("POST", "/api/2.0/nessie/pipeline/create", FORM, "type=gcs&project%5fid=666"),
    ("POST", "/api/2.0/nessie/pipeline/create", FORM, "project_id=123&project_id=666"),
    ("POST", "/api/2.0/nessie/pipeline/create", "", "project_id=666"),
    (
        "POST",
        "/api/2.0/nessie/pipeline/create",
        "Content-Type: text/plain\r\n",
        "a\nproject_id=666",
    ),
    ("POST", "/api/2.0/nessie/pipeline/create", "Content-Encoding: gzip\r\n", "not looked into"),
    ("POST", "/api/2.0/nessie/pipeline/create?project_id=123", JSON, r#"{"project_id": 666}"#),
    ("POST", "/api/query/stream/bookmark", JSON, r#"{"project_id": 666}"#),
    ("POST", "/api/query/stream/bookmark", JSON, r#"{"project_id": 123, "project_id": 666}"#),
    ("POST", "/api/query/stream/bookmark", JSON, r#"{"project_id": 666, "project_id": 123}"#),
    ("POST", "/api/query/stream/bookmark", JSON, r#"{"project\u005fid": "666"}"#),
    ("POST", "/api/query/stream/bookmark", JSON, r#"{"a": [{"projectId": 666}]}"#),
    ("POST", "/api/query/stream/bookmark", JSON, r#"{"workspace_id": 6}"#),
    ("POST", "/api/query/stream/bookmark", FORM, r#"{"project_id": 666}"#),
    ("POST", "/api/query/engage", FORM, "project_id=666"),
    ("POST", "/api/query/jql", FORM, "script=x&project_id=666"),
    ("POST", "/api/app/projects/123/annotations", JSON, r#"{"project_id": 666}"#),
    ("GET", "/api/query/insights", FORM, "project_id=666"),
    ("DELETE", "/api/app/projects/123/annotations/1", JSON, r#"{"project_id": 666}"#),
    (
        "POST",
        "/api/app/projects/123/warehouse-sources/imports/people",
        JSON,
        r#"{"projectId": 666}"#,
    ),
    ("POST", "/api/app/projects/123/cohorts", JSON, r#"{"copy_to_project_ids": [666]}"#),
    ("POST", "/api/app/projects/123/annotations", JSON, r#"{"projects": [{"id": 666}]}"#),
    ("POST", "/api/app/projects/123/annotations", JSON, r#"{"projects": {"666": {}}}"#),
    ("POST", "/api/app/projects/123/annotations", JSON, r#"{"a": NaN, "project_id": 666}"#),
    ("POST", "/api/app/projects/123/annotations", JSON, r#"{"a": 1e999, "project_id": 666}"#),
    ("POST", "/api/app/projects/123/annotations", JSON, "{\"a\": 1}\n{\"project_id\": 666}"),
    ("POST", "/api/app/projects/123/annotations", JSON, r#"{'project_id': 666}"#),
    ("POST", "/api/app/projects/123/annotations", JSON, "\u{feff}{\"project_id\": 666}"),
    (
        "POST",
        "/api/app/projects/123/annotations",
        JSON,
        "{\0\"\0p\0r\0o\0j\0e\0c\0t\0_\0i\0d\0\"\0:\0\x36\0\x36\0\x36\0}\0",
    ),
    ("POST", "/api/app/projects/123/annotations", JSON, r#"{"a": "{\"project_id\": 666}"}"#),
    ("POST", "/api/query/insights", "", r#"{"bookmark": {"params": "{\"project_id\": 666}"}}"#),
    (
        "POST",
        "/api/query/engage",
        "Content-Type: application/x-www-form-urlencoded; charset=utf-7\r\n",
        "project+AF8-id=666",
    ),
    (
        "POST",
        "/api/query/engage",
        "Content-Type: text/plain\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        "a\r\nproject_id=666",
    ),
    ("POST", "/api/query/engage", "Content-Type: text/plain\r\n", "x\r\n&project_id=666"),
    ("POST", "/api/query/engage", "Content-Encoding: gzip\r\n", "not looked into"),
    ("POST", "/api/query/engage", FORM, "token=abcdef"),
    ("POST", "/api/query/engage", FORM, "_method=PUT"),
    (
        "POST",
        "/api/query/engage",
        PARTS,
        "--b\r\nContent-Disposition: form-data; name=\"project_id\"\r\n\r\n666\r\n--b--\r\n",
    ),
    (
        "POST",
        "/api/app/projects/123/annotations",
        PARTS,
        "--b\r\ncontent-disposition: form-data; name=Project-ID\r\n\r\n666\r\n--b--\r\n",
    ),
    (
        "POST",
        "/api/app/projects/123/annotations",
        PARTS,
        "--b\r\nContent-Disposition: form-data; name=params\r\nContent-Transfer-Encoding: base64\r\n\r\neyJwcm9qZWN0X2lkIjo2NjZ9\r\n--b--\r\n",
    ),
    (
        "POST",
        "/api/app/projects/123/annotations",
        PARTS,
        "--b\r\nContent-Disposition: form-data; name=a; name*=utf-8''project_id\r\n\r\n666\r\n--b--\r\n",
    ),
    ("POST", "/flags", JSON, r#"{"token": "abcdef"}"#),
    // Where no project is named, or only by something that cannot be checked.
    ("POST", "/mcp", JSON, r#"{"method": "tools/call"}"#),
    ("GET", "/api/app/organizations/1/service-accounts", "", ""),
    ("GET", "/api/app/projects", "", ""),
    ("GET", "/api/app/projects/metadata/index", "", ""),
    ("GET", "/s/abc", "", ""),
    ("POST", "/track", JSON, r#"[{"properties": {"token": "abcdef"}}]"#),
    ("POST", "/engage", JSON, r#"[{"$token": "abcdef"}]"#),
    ("GET", "/api/app/data-retrievals/v3.0/1?token=abcdef", "X-Mp-Account: ci\r\n", ""),
];

/// What a server never gets to see, since the proxy drops or answers it.
const DEFUSED: &[Trick] = &[
    ("OPTIONS", "/api/query/insights?project_id=666", "", ""),
    ("GET", "/api/query/insights?project_id=123#&project_id=666", "", ""),
    ("GET", "/api/query/insights#?project_id=666", "", ""),
    ("GET", "/api/query/insights", "Authorization: Basic dG9rZW4tb2YtNjY2Og==\r\n", ""),
    ("GET", "/api/query/insights", "X-Mp-Proxy-Origin: https://666.example\r\n", ""),
    ("GET", "/api/query/insights", "Connection: X-Mp-Foo\r\nX-Mp-Foo: 666\r\n", ""),
];

/// And each of these stays within project 123.
const HONEST: &[Trick] = &[
    ("GET", "/api/query/insights", "", ""),
    (
        "GET",
        "/api/query/insights?project_id=123",
        "X-Mp-Account: other\r\nX-Mp-Project: 123\r\n",
        "",
    ),
    ("GET", "/api/query/insights?event=project_id%3D666", "", ""),
    ("GET", "/api/query/insights", "X-Mp-Target: fine\r\n", ""),
    ("GET", "/api/query/insights?workspace_id=9", "", ""),
    ("GET", "/api/app/projects/123/annotations", "", ""),
    ("GET", "/api/app/projects/123/schemas/event/Sign%20up%2Fin", "", ""),
    ("GET", "/api/app/workspaces/9/dashboards", "", ""),
    ("GET", "/api/app/workspaces/~/dashboards", "", ""),
    ("GET", "/api/app/projects/~/annotations", "", ""),
    ("GET", "/api/app/workspaces/3/dashboards", "", ""),
    ("GET", "/api/app/me", "", ""),
    ("POST", "/api/query/engage", FORM, "project_id=123&where=x"),
    (
        "POST",
        "/api/query/stream/bookmark",
        JSON,
        r#"{"project_id": 123, "name": "project_id: 666"}"#,
    ),
    ("POST", "/api/2.0/nessie/pipeline/create", FORM, "project_id=123&type=gcs"),
    ("POST", "/import", "Content-Encoding: gzip\r\n", "bulk data is not looked into"),
    ("GET", "http://{host}/api/query/insights?project_id=123", "", ""),
    ("GET", "/api/query/insights?where=%5Bnot+json", "", ""),
    ("GET", "/api/query/segmentation?event=%5B%22project%22%5D", "", ""),
    ("POST", "/api/query/jql", FORM, "script=function+main()%7Breturn+1%7D&params=%7B%7D"),
    ("POST", "/api/query/insights", JSON, r#"{"bookmark": {"params": "{\"project_id\": 123}"}}"#),
    (
        "POST",
        "/api/app/projects/123/annotations",
        PARTS,
        "--b\r\nContent-Disposition: form-data; name=f; filename=a.csv\r\n\r\na,b\r\n--b--\r\n",
    ),
    (
        "POST",
        "/api/app/projects/123/annotations",
        "Content-Type: application/json; charset=UTF-8\r\n",
        r#"{"date": "2026-01-01", "description": "[see the project] {666}"}"#,
    ),
    (
        "POST",
        "/api/query/engage",
        PARTS,
        "--b\r\nContent-Disposition: form-data; name=\"project_id\"\r\n\r\n123\r\n--b--\r\n",
    ),
];

#[test]
fn a_project_that_is_not_allowed_is_out_of_reach() {
    let allow = ["--allow-project", "123"];
    let deny = ["--deny-project", "666"];
    for args in [allow, deny] {
        let (_home, upstream, proxy) = start(&args);
        for trick in TRICKS {
            let answer = send(&proxy, *trick);
            assert!((400..=404).contains(&answer.status), "{args:?} {trick:?}: {}", answer.head);
            assert!(answer.header("proxy-status").is_some(), "{trick:?}");
            if trick.0 == "HEAD" {
                continue;
            }
            let problem = answer.json();
            assert!(problem["hint"].is_string(), "{trick:?}: {problem}");
        }
        let sent = upstream.received();
        assert!(sent.is_empty(), "{args:?}: went out: {sent:?}");
        for harmless in DEFUSED {
            send(&proxy, *harmless);
        }
        for received in upstream.received() {
            assert!(!format!("{received:?}").contains("666"), "{args:?}: went out: {received:?}");
        }
        let before = upstream.received().len();
        for honest in HONEST {
            let answer = send(&proxy, *honest);
            assert_eq!(
                answer.status,
                200,
                "{args:?} {honest:?}: {}",
                String::from_utf8_lossy(&answer.body)
            );
        }
        assert_eq!(upstream.received().len(), before + HONEST.len());
    }
}

#[test]
fn bodies_that_cannot_be_looked_into_are_refused_by_the_switch() {
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(1024 * 1024));
    let large: &'static str = large.leak();
    let unseen: [Trick; 3] = [
        ("POST", "/api/app/projects/123/annotations", "Content-Encoding: gzip\r\n", "zzz"),
        ("POST", "/api/app/projects/123/annotations", "Content-Type: text/csv\r\n", "a,b\n1,2\n"),
        ("POST", "/api/app/projects/123/annotations", JSON, large),
    ];
    let (_home, upstream, proxy) = start(&["--allow-project", "123"]);
    for request in unseen {
        assert_eq!(send(&proxy, request).status, 200, "{}", request.2);
    }
    let arrived = upstream.last();
    assert_eq!(arrived.body_len, large.len() as u64, "a body that was looked into was changed");
    let (_home, upstream, proxy) = start(&["--allow-project", "123", "--strict-bodies"]);
    for request in unseen {
        let answer = send(&proxy, request);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("POLICY_DENIED")));
    }
    assert!(upstream.received().is_empty());
    assert_eq!(send(&proxy, ("POST", "/api/app/projects/123/annotations", JSON, "{}")).status, 200);
}

#[test]
fn read_only_goes_by_what_an_operation_does() {
    let (_home, upstream, proxy) = start(&["--read-only"]);
    for (method, target, lines, ok) in [
        ("GET", "/api/query/insights", "", true),
        ("HEAD", "/api/query/insights", "", true),
        ("POST", "/api/query/engage", FORM, true),
        ("POST", "/api/query/cohorts/list", "", true),
        ("GET", "/api/2.0/export", "", true),
        ("GET", "/api/app/workspaces/9/dashboards/", "", true),
        ("POST", "/api/app/projects/123/annotations", JSON, false),
        ("DELETE", "/api/app/projects/123/annotations/1", "", false),
        ("PUT", "/api/query/insights", "", false),
        ("POST", "/import", "", false),
        ("POST", "/track", "", false),
        ("POST", "/mcp", JSON, false),
        ("POST", "/oauth/token/", FORM, false),
        ("POST", "/api/app/organizations/1/service-accounts", JSON, false),
        ("GET", "/api/app/projects/123/webhooks", "", false),
        ("GET", "/api/app/something/new", "", false),
        ("GET", "/api/query/INSIGHTS", "", false),
        ("POST", "/api/query/engage%2F..", FORM, false),
        ("POST", "/api/query/engage%2Fdelete", FORM, false),
        ("POST", "/api/query/engage;x", FORM, false),
        ("POST", "/api/query//engage", FORM, true),
        ("get", "/api/query/insights", "", false),
        ("GET", "/api/query/insights", "X-HTTP-Method-Override: DELETE\r\n", false),
        ("POST", "/api/query/engage", "X_HTTP_Method: DELETE\r\n", false),
        ("POST", "/api/query/engage?_method=DELETE", FORM, false),
    ] {
        let answer = send(&proxy, (method, target, lines, ""));
        assert_eq!(answer.status == 200, ok, "{method} {target} {lines}: {}", answer.head);
    }
    for (body, ok) in
        [("where=x&_METHOD=delete", false), ("%5Fmethod=delete", false), ("a=_method", true)]
    {
        let answer = send(&proxy, ("POST", "/api/query/engage", FORM, body));
        assert_eq!(answer.status == 200, ok, "{body}: {}", answer.head);
    }
    for received in upstream.received() {
        assert!(["GET", "HEAD", "POST"].contains(&received.method.as_str()), "{received:?}");
    }
}

#[test]
fn accounts_targets_routes_and_methods_have_lists() {
    for (args, request, ok) in [
        (["--allow-account", "team"], ("GET", "/api/query/x", "", ""), true),
        (["--allow-account", "team"], ("GET", "/api/query/x", "X-Mp-Account: ci\r\n", ""), false),
        (["--allow-account", "team"], ("GET", "/api/query/x", "X-Mp-Target: fine\r\n", ""), false),
        (["--deny-account", "other"], ("GET", "/api/query/x", "X-Mp-Target: evil\r\n", ""), false),
        (["--deny-account", "other"], ("GET", "/api/query/x", "X-Mp-Account: ci\r\n", ""), true),
        (["--allow-target", "fine"], ("GET", "/api/query/x", "X-Mp-Target: fine\r\n", ""), true),
        (["--allow-target", "fine"], ("GET", "/api/query/x", "X-Mp-Target: evil\r\n", ""), false),
        (["--allow-target", "fine"], ("GET", "/api/query/x", "", ""), false),
        (["--deny-target", "evil"], ("GET", "/api/query/x", "X-Mp-Target: evil\r\n", ""), false),
        // What the target stands for, without its name.
        (["--deny-target", "evil"], ("GET", "/api/query/x", "X-Mp-Account: other\r\n", ""), false),
        (["--deny-target", "evil"], ("GET", "/api/query/x", "", ""), true),
        (["--allow-route", "/api/query"], ("GET", "/api/query/x", "", ""), true),
        (["--allow-route", "/api/query"], ("GET", "/api/app/me", "", ""), false),
        (["--allow-route", "GET /api/query"], ("POST", "/api/query/x", "", ""), false),
        (["--deny-route", "/api/app/me"], ("GET", "/api/app/ME", "", ""), false),
        (["--deny-route", "/api/app/me"], ("GET", "/api/app//me/", "", ""), false),
        (["--deny-route", "/api/app/me"], ("GET", "/api/app/%6De", "", ""), false),
        (["--deny-route", "/api/app/me"], ("GET", "/api/app/%256De", "", ""), false),
        (["--deny-route", "/api/app/me"], ("GET", "/api/app%2Fme", "", ""), false),
        (["--deny-route", "/api/app/me"], ("GET", "/api/app/me;x=1", "", ""), false),
        (["--allow-route", "/api/app/me"], ("GET", "/api/app/me%2F%2Fx", "", ""), false),
        (["--allow-method", "GET"], ("HEAD", "/api/query/x", "", ""), true),
        (["--allow-method", "GET"], ("POST", "/api/query/x", "", ""), false),
        (["--deny-method", "DELETE"], ("DELETE", "/api/query/x", "", ""), false),
        (
            ["--deny-method", "DELETE"],
            ("POST", "/api/query/x?_method=DELETE", "X-HTTP-Method-Override: DELETE\r\n", ""),
            false,
        ),
    ] {
        let (_home, upstream, proxy) = start(&args);
        let answer = send(&proxy, request);
        assert_eq!(answer.status == 200, ok, "{args:?} {request:?}: {}", answer.head);
        assert_eq!(upstream.received().len(), usize::from(ok), "{args:?} {request:?}");
        if !ok && answer.json()["code"] == "POLICY_DENIED" {
            assert_eq!(answer.status, 403);
        }
    }
}

#[test]
fn a_callers_own_credential_does_not_get_past_project_rules() {
    let args = ["--client-authorization", "pass", "--allow-project", "123"];
    let (_home, upstream, proxy) = start(&args);
    let answer = proxy.get("/api/query/x", "Authorization: Basic c2VjcmV0LW9mLTY2Njo=\r\n");
    assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("POLICY_DENIED")));
    assert!(upstream.received().is_empty());
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
}

#[test]
fn a_wrong_policy_file_stops_the_start() {
    let home = Home::new(CONFIG);
    let stopped = |args: &[&str], expected: &[&str]| {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
        all.extend(args);
        let output = home.run(&all);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in expected {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    home.write(".mp/proxy.toml", "[proxy]\n\nread_onyl = true\n");
    stopped(&[], &["proxy.toml:3", "unknown key `proxy.read_onyl`", "hint:"]);
    stopped(&["--policy-file", "none.toml"], &["none.toml", "does not exist"]);
    home.write(".mp/proxy.toml", "");
    stopped(&[], &["proxy.toml:1", "there is no `[proxy]` table"]);
    home.write(".mp/proxy.toml", "[proxy]\n");
    fs::set_permissions(home.path(".mp/proxy.toml"), fs::Permissions::from_mode(0o622)).unwrap();
    stopped(&[], &["group or others can write", "chmod go-w"]);
    let output = home.run(&["serve", "--allow-project", "0123"]);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_changed_policy_takes_effect_and_a_broken_change_keeps_the_old() {
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    home.write("rules.toml", "[proxy.projects]\nallow = [\"123\"]\n");
    let proxy = home.serve(&upstream.url(), &["--policy-file", "rules.toml"]);
    let status = |target: &str| proxy.get(target, "").status;
    let until = |what: &str, done: &dyn Fn() -> bool| {
        for _ in 0..100 {
            if done() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{what} did not come about");
    };
    assert_eq!(status("/api/query/x?project_id=666"), 403);
    home.write("rules.toml", "[proxy.projects]\nallow = [\"123\", \"666\"]\n");
    until("the change", &|| status("/api/query/x?project_id=666") == 200);
    home.write("rules.toml", "[proxy.projects]\nalow = [\"666\"]\n");
    until("the complaint", &|| proxy.get("/_mp/readyz", "").json()["policy"]["status"] == "stale");
    let ready = proxy.get("/_mp/readyz", "");
    assert_eq!(ready.status, 200);
    assert!(ready.json()["policy"]["detail"].as_str().unwrap().contains("rules.toml:2"));
    assert_eq!(
        (status("/api/query/x?project_id=666"), status("/api/query/x?project_id=7")),
        (200, 403)
    );
    let log = fs::read_to_string(&proxy.log).unwrap();
    assert!(log.contains("the old one stays in force") && log.contains("rules.toml:2"), "{log}");
    fs::remove_file(home.path("rules.toml")).unwrap();
    until("the complaint about the missing file", &|| {
        let ready = proxy.get("/_mp/readyz", "").json();
        ready["policy"]["detail"].as_str().is_some_and(|text| text.contains("does not exist"))
    });
    assert_eq!(status("/api/query/x?project_id=7"), 403);
    let metric = |name: &str| {
        let text = String::from_utf8(proxy.get("/_mp/metrics", "").body).unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}")).rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!((metric("mp_proxy_policy_stale"), metric("mp_proxy_policy_generation")), (1.0, 2.0));
    let failures = metric("mp_proxy_policy_reloads_total");
    assert_eq!(failures, 2.0);
    // Emptied, made writable for others, replaced by a link to nowhere or to such a file, or by a
    // directory: the old rules stay.
    let path = home.path("rules.toml");
    let complaint = |expected: &str| {
        until(expected, &|| {
            let ready = proxy.get("/_mp/readyz", "").json();
            ready["policy"]["detail"].as_str().is_some_and(|text| text.contains(expected))
        });
        assert_eq!(status("/api/query/x?project_id=666"), 200, "{expected}");
        assert_eq!(status("/api/query/x?project_id=7"), 403, "{expected}");
    };
    home.write("rules.toml", "");
    complaint("no `[proxy]` table");
    home.write("rules.toml", "[proxy]\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    complaint("group or others can write it");
    let lax = home.path("lax.toml");
    fs::rename(&path, &lax).unwrap();
    std::os::unix::fs::symlink("nowhere.toml", &path).unwrap();
    complaint("does not exist");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&lax, &path).unwrap();
    complaint("group or others can write it");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    complaint("not a regular file");
    fs::remove_dir(&path).unwrap();
    assert!(metric("mp_proxy_policy_reloads_total") >= failures + 4.0);
    // A link to a good file is one: mounted configuration is made of them.
    home.write("good.toml", "[proxy.projects]\nallow = [\"123\"]\n");
    std::os::unix::fs::symlink("good.toml", &path).unwrap();
    until("the link", &|| status("/api/query/x?project_id=666") == 403);
    assert_eq!(metric("mp_proxy_policy_stale"), 0.0);
    home.write("good.toml", "[proxy.projects]\nallow = [\"666\"]\n");
    until("a change behind the link", &|| status("/api/query/x?project_id=666") == 200);
    fs::remove_file(&path).unwrap();
    home.write("rules.toml", "[proxy]\nread_only = true\n");
    until("healing", &|| proxy.get("/_mp/readyz", "").json()["policy"]["status"] == "in force");
    assert_eq!(status("/api/app/unknown"), 403);
}

#[test]
fn flags_and_file_must_both_allow() {
    let home = Home::new(CONFIG).with("MP_PROXY_READ_ONLY", "1");
    let upstream = Upstream::start();
    home.write(".mp/proxy.toml", "[proxy.methods]\ndeny = [\"GET\"]\n");
    let proxy = home.serve(&upstream.url(), &[]);
    assert_eq!(send(&proxy, ("POST", "/api/query/engage", "", "")).status, 200);
    for request in [("GET", "/api/query/insights", "", ""), ("POST", "/import", "", "")] {
        let answer = send(&proxy, request);
        assert_eq!(answer.status, 403, "{request:?}");
    }
    let problem = send(&proxy, ("GET", "/api/query/insights", "", "")).json();
    assert!(problem["detail"].as_str().unwrap().contains("proxy.toml"), "{problem}");
}
