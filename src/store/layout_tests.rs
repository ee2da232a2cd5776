//! Tests of `layout.rs`, here because that file is long.

use super::*;

const FILE: &str = r#"# My file.

[active] # who
# the name
account = "a" # mine
# the view
workspace = 7 # pinned

# About a.
[accounts.a]
type = "oauth_browser" # kind
# inside
region = 'us'

[settings]
odd   = [1,
  2]   # kept

# About b,
# two lines.
[accounts.b]
type = "oauth_browser"
region = "eu"
# end of file
"#;

fn changed(text: &str, change: impl FnOnce(&mut Layout) -> Result<(), LayoutError>) -> String {
    let mut layout = Layout::new(text);
    change(&mut layout).unwrap();
    let text = layout.into_text();
    text.parse::<DocumentMut>().expect("still TOML");
    text.to_string()
}

#[test]
fn a_value_changes_and_nothing_else_does() {
    let text = changed(FILE, |layout| layout.set(&["accounts", "a"], "region", "in"));
    assert_eq!(text, FILE.replace("'us'", "\"in\""));
    let text = changed(FILE, |layout| layout.set(&["active"], "account", "b"));
    assert_eq!(text, FILE.replace("\"a\" # mine", "\"b\" # mine"));
    let text = changed(FILE, |layout| layout.set(&["accounts", "a"], "default_project", "1"));
    assert_eq!(text, FILE.replace("region = 'us'\n", "region = 'us'\ndefault_project = \"1\"\n"));
}

#[test]
fn a_new_block_stands_behind_its_siblings() {
    let text = changed(FILE, |layout| layout.set(&["accounts", "c"], "type", "x"));
    let expected = FILE.replace("# end of", "\n[accounts.c]\ntype = \"x\"\n# end of");
    assert_eq!(text, expected);
    let text = changed("", |layout| layout.set(&["accounts", "c"], "type", "x"));
    assert_eq!(text, "[accounts.c]\ntype = \"x\"\n");
    let text = changed("# mine\n\n", |layout| layout.set(&["accounts", "c"], "type", "x"));
    assert_eq!(text, "# mine\n\n[accounts.c]\ntype = \"x\"\n");
}

#[test]
fn a_block_goes_with_its_comments_and_no_other() {
    let text = changed(FILE, |layout| layout.remove(&["accounts", "a"]));
    let start = FILE.find("# About a").unwrap();
    let end = FILE.find("[settings]").unwrap();
    assert_eq!(text, format!("{}{}", &FILE[..start], &FILE[end..]));
    let text = changed(FILE, |layout| layout.remove(&["accounts", "b"]));
    let start = FILE.find("# About b").unwrap();
    assert_eq!(text, format!("{}# end of file\n", &FILE[..start]));
    let text = changed("# header\n[a]\nx = 1\n\n[b]\n", |layout| layout.remove(&["a"]));
    assert_eq!(text, "# header\n\n[b]\n", "the comment that opens the file stays");
    assert_eq!(changed(FILE, |layout| layout.remove(&["accounts", "z"])), FILE);
}

#[test]
fn a_key_goes_and_the_comments_above_it_stay() {
    let text = changed(FILE, |layout| layout.remove(&["active", "workspace"]));
    assert_eq!(text, FILE.replace("workspace = 7 # pinned\n", ""));
    let text = changed(&text, |layout| {
        layout.remove(&["active", "account"])?;
        layout.remove_empty("active")
    });
    assert!(text.starts_with("# My file.\n\n# the name\n# the view\n\n# About a.\n"), "{text}");
    let text = changed(FILE, |layout| layout.remove(&["settings", "odd"]));
    assert!(text.contains("[settings]\n\n# About b"), "{text}");
    assert_eq!(changed(FILE, |layout| layout.remove_empty("active")), FILE);
}

#[test]
fn other_spellings_of_a_table() {
    let inline = "accounts = { a = { x = 1 }, b = { x = 2 } }\nactive = { account = \"a\" }\n";
    let text = changed(inline, |layout| {
        layout.remove(&["accounts", "a"])?;
        layout.set(&["accounts", "c"], "x", 3)?;
        layout.set(&["accounts", "b"], "x", 4)
    });
    assert!(text.starts_with("accounts = {"), "{text}");
    let layout = Layout::new(text);
    assert_eq!(layout.keys(&["accounts"]).unwrap(), ["b", "c"]);
    let text = changed(inline, |layout| {
        layout.remove(&["active", "account"])?;
        layout.remove_empty("active")
    });
    assert!(!text.contains("active"), "{text}");
    let dotted = "accounts.a.x = 1\naccounts.a.y = 2\naccounts.b.x = 3\n\n[t]\n";
    let text = changed(dotted, |layout| layout.remove(&["accounts", "a"]));
    assert_eq!(text, "accounts.b.x = 3\n\n[t]\n");
    let text = changed(dotted, |layout| layout.set(&["accounts", "b"], "y", "z"));
    assert_eq!(Layout::new(text).string(&["accounts", "b", "y"]).unwrap().unwrap(), "z");
    let nested = "[a.b]\nx = 1\n[c]\n[a.b.d]\ny = 1\n[e]\n";
    assert_eq!(changed(nested, |layout| layout.remove(&["a", "b"])), "[c]\n[e]\n");
}

#[test]
fn line_ends_are_those_of_the_file() {
    let crlf = FILE.replace('\n', "\r\n");
    let text = changed(&crlf, |layout| {
        layout.set(&["accounts", "c"], "type", "x")?;
        layout.remove(&["accounts", "a"])
    });
    assert!(!text.replace("\r\n", "").contains('\n'), "{text:?}");
    assert!(!text.contains("\r\n\r\n\r\n"), "{text:?}");
}

#[test]
fn what_is_no_table_is_said() {
    let mut layout = Layout::new("accounts = 3\n");
    let error = layout.set(&["accounts", "c"], "type", "x").unwrap_err();
    assert_eq!(error, LayoutError::NotATable("accounts".into()));
    assert_eq!(Layout::new("= 3").remove(&["a"]), Err(LayoutError::NotToml));
    let text = changed("", |layout| layout.table("accounts"));
    assert_eq!(text, "[accounts]\n");
}
