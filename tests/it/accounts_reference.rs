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
const VERBS: [(&[&str], &str); 16] = [
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
    (&["target", "use", "shop"], "targets.use('shop')"),
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
