//! Our verbs beside those of the real `mp`, on files that are broken from the start: the same exit
//! code and the same content afterwards, or a reason why not.

use crate::{reference::environment, support::Home};
use serde_json::{Value, json};
use std::{fs, process::Command};

const GOOD: &str = r#"
[accounts.team]
type = "service_account"
region = "eu"
username = "sa"
secret = "s"
default_project = "12"

[accounts.ci]
type = "oauth_token"
region = "us"
token = "t"

[targets.shop]
account = "ci"
project = "77"
workspace = 3
"#;

/// What is wrong at the start: what stands before the good blocks, and after them.
const STATES: [(&str, &str, &str); 7] = [
    ("[active] with a project", "[active]\naccount = \"team\"\nproject = \"5\"\n", ""),
    ("[active] of a wrong type", "[active]\naccount = 3\n", ""),
    ("[active] with workspace 0", "[active]\naccount = \"team\"\nworkspace = 0\n", ""),
    ("dangling account", "[active]\naccount = \"gone\"\nworkspace = 4\n", ""),
    (
        "broken target",
        "[active]\naccount = \"team\"\n",
        "[targets.bad]\naccount = \"team\"\nproject = \"x\"\n",
    ),
    (
        "dangling target",
        "[active]\naccount = \"team\"\n",
        "[targets.bad]\naccount = \"gone\"\nproject = \"5\"\n",
    ),
    ("no [active]", "", ""),
];

/// As `mp` spells them; `session use` is a function of its library only.
const VERBS: [&str; 36] = [
    "account list",
    "account show",
    "account show team",
    "account show gone",
    "account use ci",
    "account use gone",
    "account add new --type oauth_browser --region us",
    "account add team --type oauth_browser --region us",
    "account update ci --project 8",
    "account remove team",
    "account remove ci",
    "account remove ci --force",
    "account remove gone",
    "account token",
    "session",
    "session use -a ci",
    "session use -p 5",
    "session use -w 6",
    "session use -a ci -p 5 -w 6",
    "session use -t shop",
    "session use -t bad",
    "session use -a gone",
    "session use -t shop -p 5",
    "target list",
    "target show shop",
    "target show bad",
    "target use shop",
    "target use bad",
    "target add t2 -a ci -p 4",
    "target add t2 -a gone -p 4",
    "target remove bad --yes",
    "target remove nope --yes",
    "project show",
    "project use 5",
    "workspace show",
    "workspace use 6",
];

const UNCHANGED: &str =
    "issue: what is refused leaves the file as it was; the reference has written already";
const POSITIVE: &str = "behaviour.md 1: a workspace is a positive integer; the reference takes the 0, and fails when a session is built";
const NO_ACCOUNT: &str =
    "cli-contract.md: exit 4 is `no active account`; the library's ConfigError would be 1";

/// Where we differ on purpose.
const EXCEPTIONS: [(&str, &str, &str); 14] = [
    ("[active] with a project", "session use -a ci", UNCHANGED),
    ("[active] with a project", "session use -p 5", UNCHANGED),
    ("[active] with a project", "session use -w 6", UNCHANGED),
    ("[active] with a project", "session use -a ci -p 5 -w 6", UNCHANGED),
    ("[active] with a project", "workspace use 6", UNCHANGED),
    ("[active] of a wrong type", "session use -w 6", UNCHANGED),
    ("[active] of a wrong type", "workspace use 6", UNCHANGED),
    ("[active] with workspace 0", "session", POSITIVE),
    ("[active] with workspace 0", "session use -a ci", POSITIVE),
    ("[active] with workspace 0", "session use -p 5", POSITIVE),
    ("[active] with workspace 0", "project show", POSITIVE),
    ("[active] with workspace 0", "project use 5", POSITIVE),
    ("[active] with workspace 0", "workspace show", POSITIVE),
    ("no [active]", "session use -p 5", NO_ACCOUNT),
];

const SCRIPT: &str = r#"
import json, os, shlex, sys, tomllib
from pathlib import Path
import typer.main
from click.testing import CliRunner
from mixpanel_headless import session
from mixpanel_headless.cli.main import app
from mixpanel_headless.exceptions import ConfigError
mp, run, path = typer.main.get_command(app), CliRunner(), Path(sys.argv[1])
os.environ['MP_CONFIG_PATH'] = str(path)
AXES = {'-a': ('account', str), '-p': ('project', str), '-w': ('workspace', int), '-t': ('target', str)}
def use(words):
    axes = {AXES[flag][0]: AXES[flag][1](value) for flag, value in zip(words[::2], words[1::2])}
    try:
        session.use(**axes)
    except ConfigError:
        return 1
    except ValueError:
        return 3
    return 0
out = []
for text, verb, ours in json.load(sys.stdin):
    path.write_text(text); os.chmod(path, 0o600)
    words = shlex.split(verb)
    code = use(words[2:]) if words[:2] == ['session', 'use'] else run.invoke(mp, words).exit_code
    out.append([[code, tomllib.loads(path.read_text())], tomllib.loads(ours)])
json.dump(out, sys.stdout)
"#;

#[test]
fn every_verb_does_on_a_broken_file_what_the_reference_does() {
    let home = Home::new("");
    let cases: Vec<(&str, &str, String)> = STATES
        .iter()
        .flat_map(|(state, before, after)| {
            VERBS.iter().map(move |verb| (*state, *verb, format!("{before}{GOOD}{after}")))
        })
        .collect();
    let ours: Vec<_> = cases.iter().map(|(_, verb, text)| ours(&home, verb, text)).collect();
    let said = reference(&home, &cases, &ours);
    let mut wrong = Vec::new();
    for (number, (state, verb, _)) in cases.iter().enumerate() {
        let (theirs, ours) = (&said[number][0], json!([ours[number].0, said[number][1]]));
        let reason = EXCEPTIONS.iter().find(|(one, other, _)| (one, other) == (state, verb));
        match (ours == *theirs, reason) {
            (true, None) | (false, Some(_)) => {}
            (true, Some(_)) => wrong.push(format!("{state}: `{verb}` is no exception any more")),
            (false, None) => {
                wrong.push(format!("{state}: `{verb}`\n  ours   {ours}\n  theirs {theirs}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Exit code, and the file afterwards.
fn ours(home: &Home, verb: &str, text: &str) -> (i32, String) {
    home.write(".mp/config.toml", text);
    // M14: `mp session` shows `[active]`.
    let verb = if verb == "session" { "session show --persisted" } else { verb };
    let args: Vec<&str> = verb.split(' ').collect();
    let output = home.run(&args);
    let after = fs::read_to_string(home.path(".mp/config.toml")).unwrap();
    if !output.status.success() {
        assert_eq!(after, text, "`{verb}` was refused and wrote");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("hint: "), "`{verb}` leaves one alone: {said}");
    }
    (output.status.code().unwrap(), after)
}

/// What the reference does in each case: exit code and content; and how it reads our file.
fn reference(home: &Home, cases: &[(&str, &str, String)], ours: &[(i32, String)]) -> Value {
    let input: Vec<_> = cases
        .iter()
        .zip(ours)
        .map(|((_, verb, text), (_, ours))| json!([text, verb, ours]))
        .collect();
    home.write("cases.json", &json!(input).to_string());
    let output = Command::new(environment().join("bin/python"))
        .args(["-c", SCRIPT])
        .arg(home.path("theirs.toml"))
        .env_clear()
        .env("HOME", home.dir.path())
        .current_dir(home.dir.path())
        .stdin(fs::File::open(home.path("cases.json")).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
