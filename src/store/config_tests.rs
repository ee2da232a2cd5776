//! Tests of `config.rs`, here because that file is long; run by `cargo test`.

use super::*;

fn parse(text: &str) -> Result<Config, Refusal> {
    Config::parse(text.as_bytes(), Path::new("c.toml"))
}

const GOOD: &str = r#"
unknown = 1
[active]
account = "a"
workspace = 12.0
[accounts.a]
type = "service_account"
region = "us"
username = "u"
secret = "s3cr3t"
default_project = "1"
[accounts.broken]
type = "oauth_token"
region = "us"
tokn = "s3cr3t"
[targets."any name"]
account = "a"
project = "7"
workspace = "9"
[settings]
other = true
custom_header = { name = "X-A", value = "b" }
"#;

#[test]
fn a_broken_sibling_matters_only_when_reached() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.account("a").unwrap().type_name(), "service_account");
    assert_eq!(config.active().unwrap().workspace.unwrap().get(), 12);
    assert_eq!(config.target("any name").unwrap().workspace.unwrap().get(), 9);
    assert_eq!(config.custom_header().unwrap().unwrap().name, "x-a");
    assert_eq!(config.account_names(), ["a", "broken"]);
    let error = config.account("broken").unwrap_err();
    assert_eq!(
        error.message,
        "`c.toml:15` [accounts.broken]: `tokn` is not allowed here; did you mean `token`?"
    );
    let error = config.account("z").unwrap_err();
    assert_eq!(error.reason, Some(Code::AccountNotFound));
    assert!(error.hint.unwrap().contains("`broken`"));
    assert_eq!(config.target("z").unwrap_err().reason, Some(Code::TargetNotFound));
    assert!(!format!("{config:?}").contains("s3cr3t"));
}

#[test]
fn errors_name_the_place_and_never_the_text() {
    let error = parse("a = 1\nsecret = s3cr3t\n").unwrap_err();
    assert_eq!(
        error.message,
        "`c.toml:2:10`: not valid TOML: string values must be quoted, expected literal string"
    );
    assert!(!format!("{error:?}").contains("s3cr3t"));
    let error = Config::parse(b"a = 1\nb = \"\xff", Path::new("c.toml")).unwrap_err();
    assert_eq!(error.message, "`c.toml:2:6`: not valid UTF-8");
}

#[test]
fn blocks_of_the_wrong_shape() {
    for active in ["workspace = true", "workspace = 0", "project = \"1\"", "account = 3", "x = 1"] {
        let config = parse(&format!("[active]\n{active}\n")).unwrap();
        let error = config.active().unwrap_err();
        assert!(error.message.starts_with("`c.toml:2` [active]: "), "{}", error.message);
    }
    assert!(parse("accounts.x = 3").unwrap().account("x").unwrap_err().reason.is_none());
    assert!(parse("accounts = 3").unwrap().account("x").unwrap_err().reason.is_none());
    assert!(parse("active = 3").unwrap().active().is_err());
    assert!(parse("[[accounts.x]]\ntype = 1").unwrap().account("x").is_err());
    let target = "[targets.t]\nname = \"u\"\naccount = \"a\"\nproject = \"1\"\n";
    assert!(parse(target).unwrap().target("t").is_err());
    for header in ["3", "{ name = \"a\" }", "{ name = \"Host\", value = \"x\" }"] {
        let config = parse(&format!("[settings]\ncustom_header = {header}\n")).unwrap();
        assert!(config.custom_header().unwrap_err().message.contains("c.toml:2"));
    }
    assert!(Config::empty().active().unwrap() == Active::default());
    for section in ["accounts = 3", "[[accounts]]\nx = 1"] {
        assert!(parse(section).unwrap().accounts_are_whole().is_err());
    }
    assert!(parse("targets = []").unwrap().targets_are_a_table().is_err());
}

#[test]
fn names_that_no_account_can_have_are_read_where_they_only_refer() {
    let text = "[active]\naccount = \"a b\"\n[targets.t]\naccount = \"\"\nproject = \"1\"\n";
    let config = parse(text).unwrap();
    assert_eq!(config.active().unwrap().account.as_deref(), Some("a b"));
    assert_eq!(config.target("t").unwrap().account, "");
    // A block with a problem elsewhere still marks its account.
    assert!(parse("[active]\naccount = \"a\"\nx = 1\n").unwrap().is_active("a"));
}
