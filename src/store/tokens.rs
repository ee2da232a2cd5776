//! `tokens.json`, the token set of a browser login, on disk or inside a bridge.
//! Called by the token resolver and by `bridge.rs`.
//! Invariant: errors name the field that is wrong and nothing of what is in it.

use crate::{
    model::{
        id::Name,
        refusal::{Code, Refusal},
        tokens::Tokens,
    },
    sys::{env::Env, private_file},
};
use secrecy::SecretString;
use serde_json::Value;
use speedate::DateTime;

/// What is wrong with a token set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// Not JSON at all.
    #[error("not valid JSON at line {line}, column {column}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Not a JSON object.
    #[error("not a JSON object")]
    NotObject,
    /// A string is missing, or is not a string.
    #[error("`{0}` must be a string")]
    Text(&'static str),
    /// Neither a time with offset nor a number.
    #[error("`expires_at` must be a date and time with an offset")]
    ExpiresAt,
}

/// Parses a token file.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Tokens, TokensError> {
    let value = serde_json::from_slice(bytes)
        .map_err(|error| TokensError::Json { line: error.line(), column: error.column() })?;
    from_value(&value)
}

/// The token set that a JSON value describes.
pub(crate) fn from_value(value: &Value) -> Result<Tokens, TokensError> {
    let block = value.as_object().ok_or(TokensError::NotObject)?;
    let optional = |key: &'static str| match block.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(TokensError::Text(key)),
    };
    let required = |key: &'static str| optional(key)?.ok_or(TokensError::Text(key));
    Ok(Tokens {
        access_token: SecretString::from(required("access_token")?),
        refresh_token: optional("refresh_token")?.map(SecretString::from),
        expires_at_micros: block
            .get("expires_at")
            .and_then(expiry)
            .ok_or(TokensError::ExpiresAt)?,
        scope: required("scope")?.into(),
        token_type: required("token_type")?.into(),
        client_id: optional("client_id")?.map(str::to_owned),
    })
}

/// The tokens of one account from the storage root; `None` if it has none.
///
/// # Errors
/// `OAUTH_TOKEN_ERROR` if the file is unsafe or malformed.
pub fn load(env: &Env, account: &Name) -> Result<Option<Tokens>, Refusal> {
    let Some(root) = env.storage_root() else { return Ok(None) };
    let path = root.join("accounts").join(account.as_str()).join("tokens.json");
    let bytes = private_file::read(&path, env.home()).map_err(|error| {
        Refusal::new(Code::OauthTokenError, error.to_string()).hint(error.hint())
    })?;
    bytes.as_deref().map(parse).transpose().map_err(|error| {
        Refusal::new(Code::OauthTokenError, format!("`{}`: {error}", path.display()))
            .hint(format!("run: mp-proxy account login {account}"))
    })
}

/// Microseconds since the epoch. Numbers are seconds, or milliseconds beyond 2e10 (quirk T2).
fn expiry(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => {
            number.as_i64().map_or_else(|| from_float(number.as_f64()?), from_int)
        }
        Value::String(text) => {
            let text = text.trim();
            if let Ok(number) = text.parse() {
                return from_int(number);
            }
            if let Ok(time) = DateTime::parse_str_rfc3339(text) {
                time.time.tz_offset?;
                let micros = time.timestamp_tz().checked_mul(1_000_000)?;
                return micros.checked_add(time.time.microsecond.into());
            }
            from_float(text.parse().ok()?)
        }
        _ => None,
    }
}

const MILLISECONDS_ABOVE: u64 = 20_000_000_000;
/// The end of the year 9999, past which no date exists.
const LAST_MICROS: i64 = 253_402_300_799_999_999;

fn from_int(number: i64) -> Option<i64> {
    let unit = if number.unsigned_abs() > MILLISECONDS_ABOVE { 1_000 } else { 1_000_000 };
    number.checked_mul(unit).filter(|micros| *micros <= LAST_MICROS)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "range is checked"
)]
fn from_float(number: f64) -> Option<i64> {
    let unit = if number.abs() > MILLISECONDS_ABOVE as f64 { 1e3 } else { 1e6 };
    let micros = (number * unit).round();
    (micros.is_finite() && micros.abs() <= LAST_MICROS as f64).then_some(micros as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn set(expires_at: Value) -> Value {
        json!({"access_token": "s3cr3t", "expires_at": expires_at, "scope": "", "token_type": "x", "k": 1})
    }

    #[test]
    fn expiries() {
        let micros = 1_700_000_000_000_000;
        let good = [
            json!(1_700_000_000),
            json!(1_700_000_000.0),
            json!("1700000000"),
            json!(1_700_000_000_000_i64),
            json!("1700000000000"),
            json!("1700000000.0"),
            json!("2023-11-14T22:13:20Z"),
            json!("2023-11-14 22:13:20z"),
            json!("2023-11-14t23:13:20.000000+0100"),
        ];
        for value in good {
            assert_eq!(
                from_value(&set(value.clone())).unwrap().expires_at_micros,
                micros,
                "{value}"
            );
        }
        let bad = ["2023-11-14T22:13:20", "2023-11-14", "nan", "inf", "", "soon"];
        for value in bad.map(Value::from).into_iter().chain([json!(true), json!(null)]) {
            assert_eq!(
                from_value(&set(value.clone())).err(),
                Some(TokensError::ExpiresAt),
                "{value}"
            );
        }
        let exact = from_value(&set(json!("2026-11-23T03:05:39.946373+00:00"))).unwrap();
        assert_eq!(exact.expires_at_micros % 1_000_000, 946_373);
    }

    #[test]
    fn load_reads_private_files_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::new([("HOME", dir.path().to_str().unwrap())], dir.path());
        let name = Name::parse("a").unwrap();
        assert!(load(&env, &name).unwrap().is_none());
        let path = dir.path().join(".mp/accounts/a/tokens.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, set(json!(5)).to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load(&env, &name).unwrap_err().code, Code::OauthTokenError);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(load(&env, &name).unwrap().unwrap().expires_at_micros, 5_000_000);
        fs::write(&path, "{\"access_token\": s3cr3t").unwrap();
        let error = load(&env, &name).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("run: mp-proxy account login a"));
        assert!(!error.message.contains("s3cr3t"));
    }
}
