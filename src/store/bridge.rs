//! The bridge file, version 2: an account with its secrets, carried into another machine.
//! Called by the snapshot. Invariant: a bridge that exists is either whole or an error,
//! never half used; no error holds anything of its content but key names.

use super::{
    account_block::{self, Problem},
    headers, tokens,
    wiped::{self, Strings as _, Wiped},
};
use crate::model::{
    account::{Account, Credential},
    id::{ProjectId, WorkspaceId},
    refusal::Refusal,
    tokens::Tokens,
};
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A parsed bridge file.
#[derive(Debug, Clone)]
pub struct Bridge {
    /// The file that it was read from.
    pub path: PathBuf,
    /// The account, secrets inline.
    pub account: Arc<Account>,
    /// Always there for an `oauth_browser` account.
    pub tokens: Option<Arc<Tokens>>,
    /// The pinned project.
    pub project: Option<ProjectId>,
    /// The pinned workspace.
    pub workspace: Option<WorkspaceId>,
    /// Custom headers, values marked sensitive.
    pub headers: Vec<crate::model::session::CustomHeader>,
}

const KEYS: [&str; 6] = ["version", "account", "tokens", "project", "workspace", "headers"];

impl Bridge {
    /// Parses a bridge file; `path` is kept, and named in messages.
    ///
    /// # Errors
    /// `CONFIG_ERROR` that names the first rule that the file breaks.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, Refusal> {
        let refuse = |text: String| {
            Refusal::config(format!("bridge `{}`: {text}", path.display()))
                .hint("export the bridge again on the host, or remove the file")
        };
        let value = Wiped::parse(bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            // SECURITY: the error's own text is not used, it may quote the file.
            refuse(format!("not valid JSON at line {line}, column {column}"))
        })?;
        let block = value.as_object().ok_or_else(|| refuse("not a JSON object".into()))?;
        let mut bridge = fields(block, path).map_err(|problem| refuse(problem.text))?;
        match block.get("headers") {
            None => {}
            Some(Value::Object(map)) => {
                let source = format!("bridge `{}`", path.display());
                for (name, value) in map {
                    let value = value.as_str().ok_or_else(|| {
                        refuse("every value of `headers` must be a string".into())
                    })?;
                    let pair = headers::custom_header(name, value, &source)?;
                    headers::put(&mut bridge.headers, pair);
                }
            }
            Some(_) => return Err(refuse("`headers` must be an object".into())),
        }
        Ok(bridge)
    }
}

impl Bridge {
    /// The tokens, if they belong to this very account.
    #[must_use]
    pub fn tokens_of(&self, account: &Account) -> Option<&Arc<Tokens>> {
        let browser = |account: &Account| matches!(account.credential, Credential::OauthBrowser);
        let same = self.account.name == account.name && self.account.region == account.region;
        self.tokens.as_ref().filter(|_| same && browser(account) && browser(&self.account))
    }
}

/// The bytes of a bridge file with other tokens in it; all other keys stay. `None` for what is
/// no bridge.
#[must_use]
pub fn with_tokens(bytes: &[u8], new: &Tokens) -> Option<SecretString> {
    let mut value = Wiped::parse(bytes).ok()?;
    let old = value.as_object_mut()?.get_mut("tokens")?.as_object_mut()?;
    if new.refresh_token.is_none() {
        old.remove("refresh_token");
    }
    if let Some(fields) = tokens::to_value(new).as_object_mut() {
        for (key, new) in std::mem::take(fields) {
            if let Some(mut spent) = old.insert(key, new) {
                spent.wipe();
            }
        }
    }
    Some(wiped::to_lines(&*value))
}

fn fields(block: &Map<String, Value>, path: &Path) -> Result<Bridge, Problem> {
    account_block::known(block, &KEYS)?;
    if block.get("version").is_some_and(|version| version.as_f64() != Some(2.0)) {
        return Err(Problem::rule("version", "must be 2"));
    }
    let within =
        |problem: Problem| Problem { text: format!("`account`: {}", problem.text), ..problem };
    let record = block
        .get("account")
        .and_then(Value::as_object)
        .ok_or_else(|| Problem::rule("account", "must be an object"))?;
    let name = account_block::name(record, "name")
        .map_err(within)?
        .ok_or_else(|| within(Problem::rule("name", "is missing")))?;
    let account = account_block::account(name, record, true).map_err(within)?;
    let tokens = match block.get("tokens") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let parsed = tokens::from_value(value);
            Some(Arc::new(parsed.map_err(|e| Problem::at("tokens", format!("`tokens`: {e}")))?))
        }
    };
    if tokens.is_none() && matches!(account.credential, Credential::OauthBrowser) {
        return Err(Problem::rule("tokens", "must be given for an `oauth_browser` account"));
    }
    Ok(Bridge {
        path: path.into(),
        account: Arc::new(account),
        tokens,
        project: account_block::project(block, "project")?,
        workspace: account_block::workspace(block, "workspace")?,
        headers: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    fn parse(value: &Value) -> Result<Bridge, Refusal> {
        Bridge::parse(value.to_string().as_bytes(), Path::new("b.json"))
    }

    fn good() -> Value {
        json!({
            "version": 2,
            "account": {"type": "oauth_browser", "name": "p", "region": "eu"},
            "tokens": {"access_token": "s3cr3t", "expires_at": 5, "scope": "", "token_type": "Bearer", "client_id": "c"},
            "project": "7", "workspace": "12", "headers": {"X-A": "1", "x-a": "2"},
        })
    }

    #[test]
    fn a_whole_bridge() {
        let bridge = parse(&good()).unwrap();
        assert_eq!(bridge.account.name.as_str(), "p");
        assert_eq!(bridge.workspace.unwrap().get(), 12);
        assert_eq!(bridge.tokens.as_ref().unwrap().client_id.as_deref(), Some("c"));
        assert_eq!(bridge.headers.len(), 1);
        assert!(!format!("{bridge:?}").contains("s3cr3t"));
        let mut other = good();
        other["version"] = json!(2.0);
        other["project"] = Value::Null;
        assert!(parse(&other).unwrap().project.is_none());
        other.as_object_mut().unwrap().remove("version");
        parse(&other).unwrap();
    }

    #[test]
    fn a_problem_of_the_account_says_so() {
        for (field, value) in [("name", Value::Null), ("type", json!("none")), ("region", json!(1))]
        {
            let mut bad = good();
            bad["account"][field] = value;
            let message = parse(&bad).unwrap_err().message;
            assert!(message.contains("`account`: "), "{message}");
        }
    }

    #[test]
    fn tokens_belong_to_one_account_of_one_region_and_type() {
        let bridge = parse(&good()).unwrap();
        let same = Account::clone(&bridge.account);
        assert!(bridge.tokens_of(&same).is_some());
        let name = crate::model::id::Name::parse("q").unwrap();
        let token = crate::model::account::TokenSource::Inline("t".into());
        for other in [
            Account { name, ..same.clone() },
            Account { region: crate::model::region::Region::Us, ..same.clone() },
            Account { credential: Credential::OauthToken(token.clone()), ..same.clone() },
        ] {
            assert!(bridge.tokens_of(&other).is_none(), "{other:?}");
        }
        let mut changed = bridge.clone();
        let credential = Credential::OauthToken(token);
        changed.account = Arc::new(Account { credential, ..same.clone() });
        assert!(changed.tokens_of(&same).is_none(), "tokens of no login");
    }

    #[test]
    fn new_tokens_leave_the_rest_alone() {
        let mut old = good();
        old["tokens"]["refresh_token"] = json!("old");
        old["tokens"]["theirs"] = json!([1]);
        let mut new = Tokens::clone(parse(&good()).unwrap().tokens.as_ref().unwrap());
        new.access_token = "new".into();
        new.client_id = None;
        let text = with_tokens(old.to_string().as_bytes(), &new).unwrap();
        let value: Value = serde_json::from_str(text.expose_secret()).unwrap();
        assert_eq!(value["tokens"]["access_token"], "new");
        assert_eq!(value["tokens"]["client_id"], "c");
        assert_eq!(value["tokens"]["theirs"], json!([1]));
        assert!(value["tokens"].get("refresh_token").is_none());
        assert_eq!((&value["account"], &value["headers"]), (&old["account"], &old["headers"]));
        parse(&value).unwrap();
        assert!(with_tokens(b"[]", &new).is_none() && with_tokens(b"{}", &new).is_none());
    }

    #[test]
    fn every_break_is_an_error() {
        let breaks = [
            ("version", json!("2")),
            ("version", json!(true)),
            ("version", json!(3)),
            ("version", json!(null)),
            ("account", json!(1)),
            ("account", json!({"type": "oauth_browser", "region": "eu"})),
            ("account", json!({"type": "oauth_browser", "name": "p", "region": "eu", "x": 1})),
            ("tokens", json!(null)),
            ("tokens", json!({})),
            ("project", json!(7)),
            ("workspace", json!(true)),
            ("headers", json!(null)),
            ("headers", json!({"a": 1})),
            ("headers", json!({"Host": "x"})),
            ("x", json!(1)),
        ];
        for (key, value) in breaks {
            let mut broken = good();
            broken[key] = value.clone();
            let error = parse(&broken).expect_err(key);
            assert!(error.message.contains("`b.json`"), "{key} {value}");
        }
        let error = Bridge::parse(b"{\"a\": s3cr3t}", Path::new("b.json")).unwrap_err();
        assert_eq!(error.message, "bridge `b.json`: not valid JSON at line 1, column 7");
    }
}
