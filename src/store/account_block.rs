//! The rules of an account record and of its fields, shared by config and bridge.
//! Works on JSON values, to which the config's TOML is converted first.
//! Invariant: a [`Problem`] names fields and rules, never values.

use crate::model::{
    account::{Account, Credential, TokenSource},
    id::{IdError, Name, ProjectId, WorkspaceId},
};
use secrecy::SecretString;
use serde_json::{Map, Value};

/// What is wrong with a block, and with which of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) key: Option<String>,
    pub(super) text: String,
}

impl Problem {
    pub(super) fn at(key: &str, text: impl Into<String>) -> Self {
        Self { key: Some(key.into()), text: text.into() }
    }

    pub(super) fn rule(key: &str, rule: impl std::fmt::Display) -> Self {
        Self::at(key, format!("`{key}` {rule}"))
    }

    fn whole(text: impl Into<String>) -> Self {
        Self { key: None, text: text.into() }
    }
}

type Block = Map<String, Value>;

/// An account record without its name.
pub(super) fn account(name: Name, block: &Block, named: bool) -> Result<Account, Problem> {
    let own: &[&str] = match required(block, "type")? {
        "service_account" => &["username", "secret"],
        "oauth_browser" => &[],
        "oauth_token" => &["token", "token_env"],
        _ => {
            return Err(Problem::rule(
                "type",
                "must be `service_account`, `oauth_browser` or `oauth_token`",
            ));
        }
    };
    let common: &[&str] = &["type", "region", "default_project"];
    let name_key: &[&str] = if named { &["name"] } else { &[] };
    known(block, &[common, own, name_key].concat())?;
    let region = required(block, "region")?
        .parse()
        .map_err(|_| Problem::rule("region", "must be `us`, `eu` or `in`"))?;
    let credential = match own {
        [] => Credential::OauthBrowser,
        ["username", ..] => {
            let username = required(block, "username")?;
            if username.is_empty() {
                return Err(Problem::rule("username", "must not be empty"));
            }
            let secret = SecretString::from(required(block, "secret")?);
            Credential::ServiceAccount { username: username.into(), secret }
        }
        _ => Credential::OauthToken(match (text(block, "token")?, text(block, "token_env")?) {
            (Some(token), None) => TokenSource::Inline(SecretString::from(token)),
            (None, Some(variable)) => TokenSource::Env(variable.into()),
            _ => {
                return Err(Problem::whole("exactly one of `token` and `token_env` must be given"));
            }
        }),
    };
    Ok(Account { name, region, default_project: project(block, "default_project")?, credential })
}

/// Refuses keys that are not in the list.
pub(super) fn known(block: &Block, keys: &[&str]) -> Result<(), Problem> {
    let Some(key) = block.keys().find(|key| !keys.contains(&key.as_str())) else { return Ok(()) };
    let text = match resembled(key) {
        Some(word) if word == key => format!("`{key}` is not allowed here"),
        Some(word) => format!("`{key}` is not allowed here; did you mean `{word}`?"),
        None => format!("a key is not allowed here; known: `{}`", keys.join("`, `")),
    };
    Err(Problem::at(key, text))
}

/// Every key that a block of config or bridge may have.
const WORDS: [&str; 18] = [
    "account",
    "active",
    "custom_header",
    "default_project",
    "headers",
    "name",
    "project",
    "region",
    "secret",
    "settings",
    "target",
    "token",
    "token_env",
    "tokens",
    "type",
    "username",
    "version",
    "workspace",
];

/// The word that a key is, or is a slip of the pen away from.
/// SECURITY: any other key may be a secret that was put in the wrong place, and is not shown.
fn resembled(key: &str) -> Option<&'static str> {
    let plain = key.to_ascii_lowercase().replace('-', "_");
    let letters = plain.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let slips = |word: &str| (word.len() / 4).clamp(1, 2);
    let near = |word: &&&str| letters && strsim::osa_distance(&plain, word) <= slips(word);
    WORDS.iter().find(|word| **word == key).or_else(|| WORDS.iter().find(near)).copied()
}

/// An optional string; null is absent.
pub(super) fn text<'a>(block: &'a Block, key: &str) -> Result<Option<&'a str>, Problem> {
    match block.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::rule(key, "must be a string")),
    }
}

/// A string that must be there.
pub(super) fn required<'a>(block: &'a Block, key: &str) -> Result<&'a str, Problem> {
    text(block, key)?.ok_or_else(|| Problem::whole(format!("`{key}` is missing")))
}

/// An optional account name.
pub(super) fn name(block: &Block, key: &str) -> Result<Option<Name>, Problem> {
    let parse = |text| Name::parse(text).map_err(|error| Problem::rule(key, error));
    text(block, key)?.map(parse).transpose()
}

/// An optional project id.
pub(super) fn project(block: &Block, key: &str) -> Result<Option<ProjectId>, Problem> {
    let parse = |text| ProjectId::parse(text).map_err(|error| Problem::rule(key, error));
    text(block, key)?.map(parse).transpose()
}

/// An optional workspace id: see [`whole_number`] for its spellings.
pub(super) fn workspace(block: &Block, key: &str) -> Result<Option<WorkspaceId>, Problem> {
    let positive = |number| WorkspaceId::try_from(number).map_err(|rule| Problem::rule(key, rule));
    whole_number(block, key)?.map(positive).transpose()
}

/// An optional integer: as such, as a float without fraction, or as the text of either with
/// blanks around it (quirks B10, C9).
pub(super) fn whole_number(block: &Block, key: &str) -> Result<Option<i64>, Problem> {
    // `{:.0}` of a whole float is its exact integer.
    let whole = |float: f64| format!("{float:.0}").parse().ok().filter(|_| float.fract() == 0.0);
    let parsed = match block.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => {
            let text = text.trim();
            let digits = text.split_once('.').map_or(text, |(digits, fraction)| {
                let zeros = !fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0');
                if zeros { digits } else { "" }
            });
            Some(digits)
                .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
        }
        Some(Value::Number(number)) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
        Some(_) => None,
    };
    parsed.map(Some).ok_or_else(|| Problem::rule(key, IdError::Workspace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(block: Value) -> Result<Account, Problem> {
        account(Name::parse("a").unwrap(), block.as_object().unwrap(), false)
    }

    #[test]
    fn accounts() {
        let good = [
            json!({"type": "service_account", "region": "us", "username": "u", "secret": ""}),
            json!({"type": "oauth_browser", "region": "eu", "default_project": null}),
            json!({"type": "oauth_token", "region": "in", "token": ""}),
            json!({"type": "oauth_token", "region": "in", "token": null, "token_env": "T"}),
        ];
        for block in good {
            check(block).unwrap();
        }
        let bad = [
            json!({"type": "service_account", "region": "us", "username": "", "secret": "x"}),
            json!({"type": "service_account", "region": "us", "username": "u", "secret": "x", "token": "x"}),
            json!({"type": "oauth_browser", "region": "US"}),
            json!({"type": "oauth_browser", "region": "us", "default_project": 3}),
            json!({"type": "oauth_browser", "region": "us", "name": "b"}),
            json!({"type": "oauth_token", "region": "in", "token": "x", "token_env": "T"}),
            json!({"type": "oauth_token", "region": "in"}),
            json!({"region": "in"}),
        ];
        for block in bad {
            assert!(check(block.clone()).is_err(), "{block}");
        }
    }

    #[test]
    fn workspaces() {
        let parse = |value: Value| workspace(json!({"w": value}).as_object().unwrap(), "w");
        for good in [json!(12), json!(12.0), json!("12")] {
            assert_eq!(parse(good).unwrap().unwrap().get(), 12);
        }
        for bad in
            [json!(true), json!(0), json!(-1), json!(1.5), json!("+1"), json!([]), json!(1e300)]
        {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_shown_only_if_it_is_a_word_or_nearly_one() {
        let refused = |key: &str| {
            let block = Map::from_iter([(key.to_owned(), Value::Null)]);
            known(&block, &["type", "region"]).unwrap_err().text
        };
        assert_eq!(refused("token"), "`token` is not allowed here");
        assert_eq!(refused("Regoin"), "`Regoin` is not allowed here; did you mean `region`?");
        assert_eq!(refused("tpye"), "`tpye` is not allowed here; did you mean `type`?");
        assert!(refused("user-name").ends_with("did you mean `username`?"));
        for secret in
            ["hunter2", "s3cr3t", "correct-horse", "0123456789abcdef0123456789abcdef", "x", ""]
        {
            let said = refused(secret);
            assert_eq!(said, "a key is not allowed here; known: `type`, `region`", "{secret}");
        }
    }
}
