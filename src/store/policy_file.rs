//! `proxy.toml`: the `[proxy]` table that says what callers may do. Called by `proxy::policy`.
//! Invariants: an unknown key is an error, as a rule that is not understood protects nobody;
//! every error names file, line and reason.

use super::toml_one;
use crate::{
    model::{
        id::{Name, ProjectId, WorkspaceId},
        policy::{Access, Bodies, Lists, RouteRule, Rules, Unchecked, is_method},
        refusal::Refusal,
    },
    sys::open_file,
};
use std::{ops::Range, path::Path};
use toml_edit::{Item, TableLike, Value};

/// Reads the file; `None` if it does not exist.
///
/// # Errors
/// `CONFIG_ERROR` with the file, the line and the reason.
pub fn load(path: &Path) -> Result<Option<Rules>, Refusal> {
    let bytes = open_file::read(path).map_err(|error| {
        let refusal = Refusal::config(format!("policy file `{}`: {error}", path.display()));
        match error {
            open_file::OpenFileError::Writable(_) => {
                refusal.hint(format!("run: chmod go-w {}", path.display()))
            }
            _ => refusal.hint(format!("check `{}`", path.display())),
        }
    })?;
    bytes.map(|bytes| parse(&bytes, path)).transpose()
}

/// Parses the file; `path` is for messages.
///
/// # Errors
/// `CONFIG_ERROR` with the file, the line and the reason.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Rules, Refusal> {
    let fail = |offset: usize, why: &str| {
        let line = bytes.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1;
        Refusal::config(format!("policy file `{}:{line}`: {why}", path.display()))
            .hint(format!("edit `{}`; config/proxy.example.toml shows every key", path.display()))
    };
    let text =
        std::str::from_utf8(bytes).map_err(|error| fail(error.valid_up_to(), "not valid UTF-8"))?;
    let document = toml_one::parse(text)
        .map_err(|error| fail(error.at, &format!("not valid TOML: {}", error.why)))?;
    let mut rules = Rules { source: path.display().to_string(), ..Rules::default() };
    read(document.as_table(), &mut rules)
        .map_err(|wrong| fail(wrong.span.map_or(0, |span| span.start), &wrong.why))?;
    Ok(rules)
}

/// What is wrong, and where.
struct Wrong {
    span: Option<Range<usize>>,
    why: String,
}

fn read(root: &dyn TableLike, rules: &mut Rules) -> Result<(), Wrong> {
    let mut proxy = None;
    for (key, item) in root.iter() {
        if key != "proxy" {
            return Err(unknown(root, "", key, "proxy"));
        }
        proxy = Some(table("proxy", item)?);
    }
    let Some(proxy) = proxy else {
        // Emptied by accident, or written by halves: it does not mean that all is allowed.
        let why = "there is no `[proxy]` table; write one with nothing in it for no rules".into();
        return Err(Wrong { span: None, why });
    };
    for (key, item) in proxy.iter() {
        match key {
            "read_only" => {
                rules.access = if flag(key, item)? { Access::ReadOnly } else { Access::Full };
            }
            "strict_bodies" => {
                rules.bodies = if flag(key, item)? { Bodies::Strict } else { Bodies::Inspect };
            }
            "accounts" => rules.accounts = lists(key, item, &[], name)?.0,
            "targets" => rules.targets = lists(key, item, &[], name)?.0,
            "methods" => rules.methods = lists(key, item, &[], method)?.0,
            "routes" => rules.routes = lists(key, item, &[], |_, text| route(text))?.0,
            "projects" => {
                let extra = ["workspaces", "by_token", "unscoped"];
                let (projects, block) = lists(key, item, &extra, |_, text| project(text))?;
                rules.projects = projects;
                rules.workspaces = array(block, "projects", "workspaces", |_, text| {
                    WorkspaceId::parse(text).map_err(|rule| rule.to_string())
                })?
                .unwrap_or_default();
                rules.by_token = unchecked(block, "by_token")?;
                rules.unscoped = unchecked(block, "unscoped")?;
            }
            _ => {
                let known =
                    "read_only, strict_bodies, accounts, projects, targets, routes, methods";
                return Err(unknown(proxy, "proxy.", key, known));
            }
        }
    }
    Ok(())
}

fn unknown(table: &dyn TableLike, place: &str, key: &str, known: &str) -> Wrong {
    let span = table.key(key).and_then(toml_edit::Key::span);
    Wrong { span, why: format!("unknown key `{place}{key}`; known: {known}") }
}

fn table<'a>(place: &str, item: &'a Item) -> Result<&'a dyn TableLike, Wrong> {
    item.as_table_like()
        .ok_or_else(|| Wrong { span: item.span(), why: format!("`{place}` must be a table") })
}

fn flag(key: &str, item: &Item) -> Result<bool, Wrong> {
    item.as_bool().ok_or_else(|| Wrong {
        span: item.span(),
        why: format!("`proxy.{key}` must be true or false"),
    })
}

/// An `allow` and a `deny` list; and the table, for the `extra` keys that it may have.
fn lists<'a, T>(
    place: &str,
    item: &'a Item,
    extra: &[&str],
    entry: impl Fn(&str, &str) -> Result<T, String>,
) -> Result<(Lists<T>, &'a dyn TableLike), Wrong> {
    let block = table(&format!("proxy.{place}"), item)?;
    for (key, _) in block.iter() {
        if !["allow", "deny"].contains(&key) && !extra.contains(&key) {
            let known = ["allow", "deny"].iter().chain(extra).copied().collect::<Vec<_>>();
            return Err(unknown(block, &format!("proxy.{place}."), key, &known.join(", ")));
        }
    }
    let allow = array(block, place, "allow", &entry)?;
    let deny = array(block, place, "deny", &entry)?.unwrap_or_default();
    Ok((Lists { allow, deny }, block))
}

fn array<T>(
    block: &dyn TableLike,
    place: &str,
    key: &str,
    entry: impl Fn(&str, &str) -> Result<T, String>,
) -> Result<Option<Vec<T>>, Wrong> {
    let Some(item) = block.get(key) else { return Ok(None) };
    let place = format!("proxy.{place}.{key}");
    let wrong = |span, why: String| Wrong { span, why: format!("`{place}` {why}") };
    let values = item.as_array().ok_or_else(|| wrong(item.span(), "must be a list".to_owned()))?;
    let one = |value: &Value| {
        let text = match value {
            Value::String(text) => text.value().clone(),
            Value::Integer(number) => number.value().to_string(),
            _ => return Err(wrong(value.span(), "must hold texts".to_owned())),
        };
        entry(&place, &text)
            .map_err(|rule| wrong(value.span(), format!("holds {text:?}, it {rule}")))
    };
    values.iter().map(one).collect::<Result<_, _>>().map(Some)
}

fn unchecked(block: &dyn TableLike, key: &str) -> Result<Unchecked, Wrong> {
    match block.get(key).map(|item| (item.as_str(), item.span())) {
        None => Ok(Unchecked::Refuse),
        Some((Some("refuse"), _)) => Ok(Unchecked::Refuse),
        Some((Some("pass"), _)) => Ok(Unchecked::Pass),
        Some((_, span)) => Err(Wrong {
            span,
            why: format!("`proxy.projects.{key}` must be \"refuse\" or \"pass\""),
        }),
    }
}

fn name(_: &str, text: &str) -> Result<String, String> {
    Name::parse(text).map(|name| name.to_string()).map_err(|rule| rule.to_string())
}

fn method(_: &str, text: &str) -> Result<String, String> {
    if is_method(text) { Ok(text.to_owned()) } else { Err("must be a method in capitals".into()) }
}

fn route(text: &str) -> Result<RouteRule, String> {
    RouteRule::parse(text).map_err(str::to_owned)
}

/// A project id as Mixpanel writes it: a list entry `0123` would never match.
fn project(text: &str) -> Result<ProjectId, String> {
    let id = ProjectId::parse(text).map_err(|rule| rule.to_string())?;
    if text.starts_with('0') { Err("must not begin with 0".into()) } else { Ok(id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Rules, String> {
        parse(text.as_bytes(), Path::new("p.toml")).map_err(|refusal| refusal.message)
    }

    #[test]
    fn every_key_is_read() {
        let text = include_str!("../../config/proxy.example.toml");
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix("#") {
                Some(rest) if !rest.starts_with(' ') => rest,
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let rules = rules(&uncommented).unwrap();
        assert_eq!(rules.access, Access::ReadOnly);
        assert_eq!(rules.bodies, Bodies::Strict);
        assert_eq!((rules.by_token, rules.unscoped), (Unchecked::Pass, Unchecked::Pass));
        assert!(!rules.accounts.is_open() && !rules.targets.is_open());
        assert!(!rules.projects.is_open() && !rules.routes.is_open() && !rules.methods.is_open());
        assert_eq!(rules.workspaces.len(), 1);
    }

    #[test]
    fn errors_name_file_line_and_reason() {
        for (text, expected) in [
            ("[proxy]\nreadonly = true\n", "`p.toml:2`: unknown key `proxy.readonly`"),
            ("\n[settings]\n", "`p.toml:2`: unknown key `settings`"),
            (
                "[proxy]\nread_only = \"yes\"\n",
                "`p.toml:2`: `proxy.read_only` must be true or false",
            ),
            ("[proxy]\n\nread_only = tru\n", "`p.toml:3`: not valid TOML"),
            (
                "[proxy.projects]\nallow = [\n \"12\",\n \"x\"]\n",
                "`p.toml:4`: `proxy.projects.allow` holds \"x\"",
            ),
            ("[proxy.projects]\nallow = [\"012\"]\n", "must not begin with 0"),
            (
                "[proxy.projects]\nunscoped = \"maybe\"\n",
                "`p.toml:2`: `proxy.projects.unscoped` must be",
            ),
            (
                "[proxy.projects]\nallow = \"12\"\n",
                "`p.toml:2`: `proxy.projects.allow` must be a list",
            ),
            ("[proxy.methods]\nallow = [\"get\"]\n", "must be a method in capitals"),
            (
                "[proxy.routes]\ndeny = [\"import\"]\n",
                "`p.toml:2`: `proxy.routes.deny` holds \"import\"",
            ),
            ("[proxy.accounts]\nforbid = []\n", "`p.toml:2`: unknown key `proxy.accounts.forbid`"),
            ("proxy = 1\n", "`p.toml:1`: `proxy` must be a table"),
        ] {
            let message = rules(text).unwrap_err();
            assert!(message.contains(expected), "{text:?}: {message}");
        }
        assert!(parse(b"[proxy]\n\xff", Path::new("p")).unwrap_err().message.contains("p:2"));
    }

    #[test]
    fn an_empty_table_forbids_nothing_and_numbers_are_ids_too() {
        assert!(rules("[proxy]\n").unwrap().projects.is_open());
        for emptied in ["", "\n", "# [proxy]\n"] {
            assert!(rules(emptied).unwrap_err().contains("`p.toml:1`: there is no `[proxy]`"));
        }
        let some = rules("[proxy.projects]\nallow = [12]\n").unwrap();
        assert!(some.projects.allows(|id| id.as_str() == "12"));
    }
}
