//! Random homes, resolved by the real reference client and by us: both must agree.
//! `tests/reference/oracle.py` makes the cases and says what has to come out; where we differ on
//! purpose it says so. `MP_PROXY_ORACLE_CASES` and `MP_PROXY_ORACLE_SEED` choose more or other ones.

use crate::{reference::environment, support::Home};
use mp_proxy::{
    auth::{
        resolve::Selection,
        switch::{Switch, switch},
    },
    model::{
        id::{ProjectId, WorkspaceId},
        refusal::Refusal,
        session::Session,
    },
    store::snapshot::load_once,
    sys::env::Env,
};
use serde_json::{Map, Value, json};
use std::{path::Path, process::Command};

pub fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn random_homes_resolve_as_the_reference_resolves_them() {
    let count = number("MP_PROXY_ORACLE_CASES", 300);
    let seed = number("MP_PROXY_ORACLE_SEED", 20_260_101);
    let homes = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/oracle.py");
    let output = Command::new(environment().join("bin/python"))
        .arg(script)
        .args([seed.to_string(), count.to_string()])
        .arg(homes.path())
        .env_clear()
        .env("HOME", homes.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let cases: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cases.len(), count);
    let (mut resolved, mut failures) = (0, Vec::new());
    for (index, case) in cases.iter().enumerate() {
        resolved += usize::from(case["want"]["session"].is_object());
        if let Err(why) = check(case) {
            failures.push(format!("case {index} of seed {seed}: {why}\n  {case}"));
        }
    }
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    assert!(resolved * 4 > count, "only {resolved} of {count} resolve at all");
}

fn check(case: &Value) -> Result<(), String> {
    let home = Home::new("");
    std::fs::remove_file(home.path(".mp/config.toml")).unwrap();
    for (path, text) in case["files"].as_object().unwrap() {
        home.write(path, text.as_str().unwrap());
    }
    let root = home.dir.path().to_str().unwrap().to_owned();
    let variables: Vec<(String, String)> = case["env"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().replace("{home}", &root)))
        .collect();
    let given = variables.iter().cloned().chain([("HOME".to_owned(), root.clone())]);
    let env = Env::new(given, &root);
    let base = selection(&case["base"]);
    let wanted = headers(&case["switch"]);
    let want = &case["want"];
    match (switch(&load_once(&env), &base, &wanted), want.get("session")) {
        (Ok(session), Some(expected)) => same(&session, expected, &want["headers"])?,
        (Ok(session), None) if want["error"].as_str().unwrap().starts_with("OAUTH") => {
            drop(session)
        }
        (Ok(session), None) => return Err(format!("resolved to {:?}", plain(&session))),
        (Err(refusal), Some(_)) => return Err(format!("refused: {refusal}")),
        (Err(refusal), None) => has_a_hint(&refusal)?,
    }
    if wanted.is_empty() { shown(home, variables, case) } else { Ok(()) }
}

/// `session show --json --show-secrets` says the same, with the header and the exit code.
fn shown(home: Home, variables: Vec<(String, String)>, case: &Value) -> Result<(), String> {
    let home = variables.iter().fold(home, |home, (name, value)| home.with(name, value));
    let mut args =
        vec!["session".to_owned(), "show".into(), "--json".into(), "--show-secrets".into()];
    for (axis, value) in case["base"].as_object().unwrap() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        args.push(format!("--{axis}={value}"));
    }
    let output = home.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let error: Value = serde_json::from_slice(&output.stderr).unwrap_or_default();
    let code = error["error"]["code"].as_str().unwrap_or_default();
    let exit = output.status.code().unwrap();
    let want = &case["want"];
    let (expected, session) = match (&want["authorization"], &want["error"]) {
        (Value::String(header), _) => {
            let got: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let same = got["authorization"] == header.as_str();
            return if same && exit == 0 {
                Ok(())
            } else {
                Err(format!("exit {exit}, {code}, {got}"))
            };
        }
        // Two tokens that last equally long: either will do.
        (Value::Null, Value::Null) => return Ok(()),
        (Value::Object(failed), _) => (failed["error"].as_str().unwrap(), true),
        (_, error) => (error.as_str().unwrap(), false),
    };
    let exits = if expected.starts_with("OAUTH") { 2 } else { 1 };
    if code != expected || exit != exits || output.stdout.is_empty() == session {
        return Err(format!(
            "exit {exit} with `{code}` instead of {exits} with `{expected}`: {error}"
        ));
    }
    Ok(())
}

fn selection(value: &Value) -> Selection {
    let wanted = headers(value);
    Selection {
        account: wanted.account,
        project: wanted.project,
        workspace: wanted.workspace,
        target: wanted.target,
    }
}

fn headers(value: &Value) -> Switch {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Switch {
        account: text("account"),
        project: text("project").map(|id| ProjectId::parse(&id).unwrap()),
        workspace: value["workspace"].as_i64().map(|id| WorkspaceId::try_from(id).unwrap()),
        target: text("target"),
    }
}

fn plain(session: &Session) -> Value {
    json!({
        "account": session.account.name.as_str(),
        "type": session.account.type_name(),
        "region": session.account.region.as_str(),
        "default_project": session.account.default_project.as_ref().map(ProjectId::as_str),
        "project": session.project.as_str(),
        "workspace": session.workspace.map(WorkspaceId::get),
    })
}

fn same(session: &Session, expected: &Value, sent: &Value) -> Result<(), String> {
    let got = plain(session);
    if got != *expected {
        return Err(format!("{got} instead of {expected}"));
    }
    let headers: Map<String, Value> = session
        .headers
        .iter()
        .map(|custom| (custom.name.to_string(), json!(custom.value.to_str().unwrap())))
        .collect();
    let headers = Value::Object(headers);
    if headers == *sent { Ok(()) } else { Err(format!("headers {headers} instead of {sent}")) }
}

fn has_a_hint(refusal: &Refusal) -> Result<(), String> {
    refusal.hint.as_ref().map(drop).ok_or_else(|| format!("no hint: {refusal}"))
}

/// `tests/reference/expiries.json`: forms of `expires_at`, and the microseconds that the reference
/// reads in them, or null where it refuses.
#[test]
fn expiries_are_read_as_the_reference_reads_them() {
    let text = include_str!("../reference/expiries.json");
    let forms: Vec<(Value, Option<i64>)> = serde_json::from_str(text).unwrap();
    let mut wrong = Vec::new();
    for (form, want) in &forms {
        let block = json!({"access_token": "a", "expires_at": form, "scope": "", "token_type": ""});
        let got = mp_proxy::store::tokens::parse(block.to_string().as_bytes()).ok();
        let got = got.map(|tokens| tokens.expires_at_micros);
        // Beyond microseconds the last digit of a float is a matter of rounding.
        let near = got.zip(*want).is_some_and(|(got, want)| got.abs_diff(want) <= 2);
        if got != *want && !(near && form.to_string().contains('.')) {
            wrong.push(format!("{form}: {got:?} instead of {want:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(forms.len() > 150);
}
