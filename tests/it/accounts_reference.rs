//! Our verbs and the reference's, on each other's files: what one writes, the other reads, and
//! the same verb leaves the same content.

use crate::{
    accounts::{COMMENTED, ok},
    reference::environment,
    support::Home,
};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

/// Each verb as we spell it, and as a call of the reference's library.
const VERBS: [(&[&str], &str); 23] = [
    (
        &[
            "account",
            "add",
            "sa2",
            "--type",
            "service_account",
            "--region",
            "us",
            "--username",
            "u",
            "--secret-stdin",
            "--project",
            "5",
        ],
        "accounts.add('sa2', type='service_account', region='us', username='u', secret='s3cr3t', default_project='5')",
    ),
    (
        &["account", "add", "tok", "--type", "oauth_token", "--region", "in", "--token-stdin"],
        "accounts.add('tok', type='oauth_token', region='in', token='s3cr3t')",
    ),
    (
        &["account", "add", "web", "--type", "oauth_browser"],
        "accounts.add('web', type='oauth_browser')",
    ),
    (
        &["account", "update", "team", "--region", "us", "--secret-stdin"],
        "accounts.update('team', region='us', secret='s3cr3t')",
    ),
    (
        &["account", "update", "ci", "--token-stdin", "--project", "3"],
        "accounts.update('ci', token='s3cr3t', default_project='3')",
    ),
    (&["account", "update", "tok", "--token-env", "T"], "accounts.update('tok', token_env='T')"),
    (
        &["account", "add", "env", "--type", "oauth_token", "--region", "us", "--token-env", "V"],
        "accounts.add('env', type='oauth_token', region='us', token_env='V')",
    ),
    (
        &["account", "update", "team", "--username", "sa9", "--project", "31"],
        "accounts.update('team', username='sa9', default_project='31')",
    ),
    (&["account", "update", "env"], "accounts.update('env')"),
    (&["account", "use", "sa2"], "accounts.use('sa2')"),
    (&["workspace", "use", "12"], "session.use(workspace=12)"),
    (&["project", "use", "99"], "session.use(project='99')"),
    (
        &["session", "use", "--account", "team", "--project", "7"],
        "session.use(account='team', project='7')",
    ),
    (
        &["target", "add", "t2", "-a", "web", "-p", "44"],
        "targets.add('t2', account='web', project='44')",
    ),
    (
        &["target", "add", "t3", "-a", "team", "-p", "45", "-w", "6"],
        "targets.add('t3', account='team', project='45', workspace=6)",
    ),
    (&["target", "use", "shop"], "targets.use('shop')"),
    (&["session", "use", "--workspace", "8"], "session.use(workspace=8)"),
    (&["session", "use", "--target", "t3"], "session.use(target='t3')"),
    (&["session", "use"], "session.use()"),
    (&["target", "use", "t2"], "targets.use('t2')"),
    (&["account", "remove", "web", "--force"], "accounts.remove('web', force=True)"),
    (&["target", "remove", "t2", "--yes"], "targets.remove('t2')"),
    (&["account", "remove", "sa2"], "accounts.remove('sa2')"),
];

/// After each verb of its own: the file, what it holds, and what the reference's `list` says;
/// then what it says of each of our files.
const SCRIPT: &str = r#"
import json, os, sys, tomllib
from pathlib import Path
from mixpanel_headless import accounts, session, targets
def say(path):
    os.environ['MP_CONFIG_PATH'] = path
    return {
        'content': tomllib.loads(Path(path).read_text()),
        'accounts': [a.model_dump(mode='json') for a in accounts.list()],
        'targets': [t.model_dump(mode='json') for t in targets.list()],
        'active': {'account': session.show().account, 'workspace': session.show().workspace},
    }
theirs, ours = sys.argv[1], sys.argv[2]
out = {'theirs': [], 'ours': []}
for number, verb in enumerate(json.load(sys.stdin)):
    os.environ['MP_CONFIG_PATH'] = theirs
    eval(verb)
    copy = f'{theirs}.{number}'
    Path(copy).write_bytes(Path(theirs).read_bytes()); os.chmod(copy, 0o600)
    out['theirs'].append(say(copy))
    out['ours'].append(say(f'{ours}.{number}'))
json.dump(out, sys.stdout)
"#;

#[test]
fn every_verb_leaves_what_the_reference_leaves_and_both_read_it() {
    let home = Home::new(COMMENTED);
    let config = home.path(".mp/config.toml");
    let ours = home.path("ours.toml");
    let theirs = home.path("theirs.toml");
    home.write("theirs.toml", COMMENTED);
    for (number, (verb, _)) in VERBS.iter().enumerate() {
        ok(&home, verb);
        fs::copy(&config, format!("{}.{number}", ours.display())).unwrap();
    }
    let calls: Vec<&str> = VERBS.iter().map(|(_, call)| *call).collect();
    let said = ask(&home, &theirs, &ours, &json!(calls).to_string());
    for (number, (verb, _)) in VERBS.iter().enumerate() {
        let (from_them, from_us) = (&said["theirs"][number], &said["ours"][number]);
        assert_eq!(from_us, from_them, "{verb:?}");
        // The other direction: we read the file that the reference wrote.
        fs::copy(format!("{}.{number}", theirs.display()), &config).unwrap();
        let read = |args: &[&str]| serde_json::from_str::<Value>(&ok(&home, args)).unwrap();
        let accounts = read(&["account", "list", "--json"]);
        let short = |rows: &Value| -> Vec<Value> {
            let keys = ["name", "type", "region", "is_active", "referenced_by_targets"];
            rows.as_array()
                .unwrap()
                .iter()
                .map(|row| json!(keys.map(|key| row[key].clone())))
                .collect()
        };
        assert_eq!(short(&accounts), short(&from_them["accounts"]), "{verb:?}");
        assert_eq!(read(&["target", "list", "--json"]), from_them["targets"], "{verb:?}");
        assert_eq!(read(&["workspace", "show", "--json"]), from_them["active"], "{verb:?}");
    }
}

fn ask(home: &Home, theirs: &Path, ours: &Path, calls: &str) -> Value {
    home.write("calls.json", calls);
    let output = Command::new(environment().join("bin/python"))
        .args(["-c", SCRIPT])
        .args([theirs, ours])
        .env_clear()
        .env("HOME", home.dir.path())
        .current_dir(home.dir.path())
        .stdin(fs::File::open(home.path("calls.json")).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A program that runs in the reference's Python, in a home.
fn python(home: &Home, script: &str) -> Value {
    let output = Command::new(environment().join("bin/python"))
        .args(["-c", script])
        .env_clear()
        .env("HOME", home.dir.path())
        .current_dir(home.dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const TOKENS: &str = r#"{"access_token":"a-1","expires_at":"2999-01-01T00:00:00+00:00","scope":"s","token_type":"Bearer","refresh_token":"r-1"}"#;

#[test]
fn bridges_are_exported_read_and_removed_both_ways() {
    let home = Home::new(COMMENTED);
    home.write(".mp/accounts/me/tokens.json", TOKENS);
    let exports = [
        ("team", "project='12', workspace=7", &["--project", "12", "--workspace", "7"][..]),
        ("ci", "project='12'", &["--project", "12"]),
        ("me", "", &[]),
    ];
    let mut calls = String::new();
    for (name, pins, flags) in exports {
        let to = format!("ours-{name}.json");
        ok(&home, &[&["account", "export-bridge", "--account", name, "--to", &to], flags].concat());
        calls += &format!(
            "accounts.export_bridge(to=Path('theirs-{name}.json'), account='{name}', {pins})\n"
        );
    }
    let said = python(
        &home,
        &format!(
            "import json\nfrom pathlib import Path\nfrom mixpanel_headless import accounts\n\
             from mixpanel_headless._internal.auth.bridge import load_bridge\n{calls}\
             out = {{}}\n\
             for path in Path('.').glob('*.json'):\n    \
             out[path.name] = [load_bridge(path).model_dump(mode='json'), json.loads(path.read_text())]\n\
             print(json.dumps(out))"
        ),
    );
    for (name, ..) in exports {
        let (ours, theirs) =
            (&said[format!("ours-{name}.json")], &said[format!("theirs-{name}.json")]);
        assert_eq!(ours[0], theirs[0], "{name}: as the reference understands them");
        // As they stand: its export spells what is absent as null.
        let without_null = |value: &Value| -> Value {
            let map = value.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
            map.map(|(key, value)| (key.clone(), value.clone()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        assert_eq!(
            without_null(&ours[1]["account"]),
            without_null(&theirs[1]["account"]),
            "{name}"
        );
        let read = |file: String| -> Value {
            let shown = home
                .command(&["session", "show", "--bridge", "--json"])
                .env("MP_AUTH_FILE", &file)
                .output();
            let mut shown: Value = serde_json::from_slice(&shown.unwrap().stdout).unwrap();
            shown["bridge"]["path"].take();
            shown
        };
        let (of_ours, of_theirs) =
            (read(format!("ours-{name}.json")), read(format!("theirs-{name}.json")));
        assert_eq!(of_ours, of_theirs, "{name}: as we understand them");
        assert_eq!(of_ours["bridge"]["account"]["name"], name);
        let sent = |file: String| {
            let args = ["account", "token", name];
            home.command(&args)
                .env("MP_AUTH_FILE", file)
                .env("MP_CONFIG_PATH", "none.toml")
                .env("CI_TOKEN", "c")
                .output()
                .unwrap()
                .stdout
        };
        assert_eq!(sent(format!("ours-{name}.json")), sent(format!("theirs-{name}.json")));
        let remove = ["account", "remove-bridge", "--json", "--at", &format!("theirs-{name}.json")];
        assert!(ok(&home, &remove).contains("true"));
    }
    let said = python(
        &home,
        "import json\nfrom pathlib import Path\nfrom mixpanel_headless import accounts\n\
         print(json.dumps([accounts.remove_bridge(at=path) for path in sorted(Path('.').glob('ours-*.json'))]))",
    );
    assert_eq!(said, json!([true, true, true]));
    assert_eq!(
        fs::read_dir(home.dir.path())
            .unwrap()
            .filter(|entry| entry
                .as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|end| end == "json"))
            .count(),
        0
    );
}

#[test]
fn a_logout_is_one_for_both() {
    let home = Home::new(COMMENTED);
    let script = "import json\nfrom mixpanel_headless import accounts\n\
        def token():\n    try:\n        return accounts.token('me')\n    except Exception as e:\n        return e.code\n";
    home.write(".mp/accounts/me/tokens.json", TOKENS);
    assert_eq!(python(&home, &format!("{script}print(json.dumps(token()))")), "a-1");
    assert!(ok(&home, &["account", "logout", "me", "--json"]).contains("true"));
    assert_eq!(python(&home, &format!("{script}print(json.dumps(token()))")), "OAUTH_TOKEN_ERROR");
    home.write(".mp/accounts/me/tokens.json", TOKENS);
    assert_eq!(ok(&home, &["account", "token", "me"]), "a-1\n");
    assert_eq!(
        python(&home, &format!("{script}accounts.logout('me'); print(json.dumps(token()))")),
        "OAUTH_TOKEN_ERROR"
    );
    assert_eq!(home.run(&["account", "token", "me"]).status.code(), Some(2));
    assert!(ok(&home, &["account", "logout", "me", "--json"]).contains("false"));
}
