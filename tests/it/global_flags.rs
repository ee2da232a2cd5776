//! What may stand before every command: `-v`, `-q`, and axes that contradict a target.

use crate::support::{CONFIG, Home, Upstream};
use serde_json::{Value, json};

fn stderr(home: &Home, args: &[&str]) -> (i32, String) {
    let output = home.run(args);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn verbose_names_files_variables_and_calls_and_no_secret() {
    let upstream = Upstream::start();
    let home = Home::new(CONFIG)
        .with("MP_PROXY_UPSTREAM", &upstream.url())
        .with("MP_CUSTOM_HEADER_VALUE", "s3cr3t-header");
    let (exit, text) = stderr(&home, &["-v", "account", "test", "team"]);
    assert_eq!(exit, 0, "{text}");
    for told in
        [".mp/config.toml", "is not there", "/api/app/me", "status=200", "MP_CUSTOM_HEADER_VALUE"]
    {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(
        !text.contains("hunter2") && !text.contains("s3cr3t") && !text.contains("c2E6"),
        "{text}"
    );
    let (exit, text) = stderr(&home, &["--verbose", "account", "use", "ci"]);
    assert!(exit == 0 && text.contains("is written"), "{text}");
    assert_eq!(stderr(&home, &["account", "use", "team"]), (0, String::new()), "only if asked for");
    assert_eq!(stderr(&home, &["-v", "-q", "account", "list"]).0, 3);
    let proxy = home.serve(&upstream.url(), &["--log-level", "warn"]);
    assert!(!std::fs::read_to_string(&proxy.log).unwrap().contains("DEBUG"));
}

#[test]
fn a_target_beside_an_axis_is_refused_whatever_the_command() {
    let home = Home::new(CONFIG).with("MP_TARGET", "ecom");
    for axis in [["-a", "team"], ["-p", "5"], ["-w", "6"]] {
        for command in [&["account", "list"][..], &["target", "list"], &["project", "show"]] {
            let args = [&["-t", "ecom"][..], &axis, command, &["--json"]].concat();
            let (exit, text) = stderr(&home, &args);
            let error: Value = serde_json::from_str(&text).unwrap();
            let code = &error["error"]["code"];
            assert_eq!((exit, code), (3, &json!("WS1_TARGET_MUTUALLY_EXCLUSIVE")), "{args:?}");
            // A variable is the default of a flag, and fails no command that needs no session.
            assert_eq!(stderr(&home, &[&axis[..], command].concat()).0, 0, "{axis:?} {command:?}");
        }
    }
}

#[test]
fn wrong_arguments_are_one_json_line_for_programs() {
    let home = Home::new(CONFIG);
    for args in [
        &["account", "lst", "--json"][..],
        &["account", "use", "--json"],
        &["account", "add", "x", "--format=json"],
        &["account", "list", "--nope", "-f", "json"],
    ] {
        let (exit, text) = stderr(&home, args);
        let error: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!((exit, &error["error"]["code"]), (3, &json!("INVALID_ARGUMENT")));
        assert!(error["error"]["message"].as_str().unwrap().len() > 10, "{text}");
        assert_eq!(text.lines().count(), 1);
    }
    assert!(stderr(&home, &["account", "lst"]).1.contains("For more information"));
}
