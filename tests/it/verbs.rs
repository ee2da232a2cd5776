//! Random sequences of writing verbs, run by the real `mp` and by us on the same files: the same
//! exit code, the same content afterwards, and the same lists. `tests/reference/verbs.py` makes
//! them; `MP_PROXY_ORACLE_CASES` and `MP_PROXY_ORACLE_SEED` choose more or other ones.

use crate::{accounts::piped, oracle::number, reference::environment, support::Home};
use serde_json::{Value, json};
use std::{fs, process::Command};

#[test]
fn random_verbs_do_what_the_reference_does() {
    let count = number("MP_PROXY_ORACLE_CASES", 100);
    let seed = number("MP_PROXY_ORACLE_SEED", 20_260_101);
    let home = Home::new("");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/verbs.py");
    let text = python(&home, &[script, &seed.to_string(), &count.to_string()]);
    let cases: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cases.len(), count);
    let done = cases.iter().filter(|case| case["exit"] == 0).count();
    assert!(done * 5 > count, "only {done} of {count} do anything at all");
    let ours: Vec<_> = cases.iter().map(|case| ours(&home, case)).collect();
    let contents = contents(&home, &ours);
    let mut wrong = Vec::new();
    for ((case, ours), content) in cases.iter().zip(&ours).zip(&contents) {
        // The reference may have written when it fails; we leave what is refused as it was.
        let kept = case["exit"] != 0 && ours["after"] == case["before"];
        let same = kept || *content == case["content"];
        if !agree(&case["exit"], &ours["exit"]) || !same || ours["reads"] != case["reads"] {
            wrong.push(format!("{case}\n  ours {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}, seed {seed}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Bad arguments exit 3 here (cli-contract), and 2 where click finds them. Where something else is
/// wrong too, which of the two is found first is nobody's promise.
fn agree(theirs: &Value, ours: &Value) -> bool {
    if theirs == 2 || theirs == 3 { ours == 3 || ours == 1 } else { theirs == ours }
}

/// Our exit code, the config afterwards, and what we list of the reference's.
fn ours(home: &Home, case: &Value) -> Value {
    let config = |key: &str| home.write(".mp/config.toml", case[key].as_str().unwrap());
    config("before");
    let done = piped(home, &words(&case["words"]), case["stdin"].as_str().unwrap());
    let after = fs::read_to_string(home.path(".mp/config.toml")).unwrap();
    config("after");
    let read = |read: &Value| {
        let output = home.run(&[&words(&read[0])[..], &["--json"]].concat());
        let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
        json!([read[0], output.status.code(), bare(said)])
    };
    let reads: Vec<Value> = case["reads"].as_array().unwrap().iter().map(read).collect();
    json!({"exit": done.status.code(), "after": after, "reads": reads})
}

/// Without what only we know of an account that nobody has tested.
fn bare(mut said: Value) -> Value {
    let rows = match &mut said {
        Value::Array(rows) => rows.iter_mut().collect(),
        one => vec![one],
    };
    for row in rows.into_iter().filter_map(Value::as_object_mut) {
        row.retain(|key, _| {
            !["status", "project_id", "project_name", "user_email"].contains(&key.as_str())
        });
    }
    said
}

/// What is in the files, by the parser that the reference uses.
fn contents(home: &Home, ours: &[Value]) -> Vec<Value> {
    let texts: Vec<&Value> = ours.iter().map(|one| &one["after"]).collect();
    home.write("texts.json", &json!(texts).to_string());
    let text = python(home, &["-c", READ]);
    serde_json::from_str(&text).unwrap()
}

const READ: &str = "
import json, tomllib
def content(text):
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
print(json.dumps([content(text) for text in json.load(open('texts.json', encoding='utf-8'))]))
";

fn python(home: &Home, args: &[&str]) -> String {
    let output = Command::new(environment().join("bin/python"))
        .args(args)
        .env_clear()
        .env("HOME", home.dir.path())
        .current_dir(home.dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}
