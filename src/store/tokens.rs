//! `tokens.json`, the token set of a browser login, on disk or inside a bridge.
//! Called by the login, the token resolver and `bridge.rs`.
//! Invariant: errors name the field that is wrong and nothing of what is in it; what is written
//! is one line that the reference reads, under the lock of the file.

use super::wiped::{self, Wiped};
use crate::{
    model::{
        id::Name,
        refusal::{Code, Refusal},
        tokens::Tokens,
    },
    sys::{env::Env, locked_file::LockedFile, private_file},
};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;
use speedate::{
    DateTime, IntFloat, MicrosecondsPrecisionOverflowBehavior, TimeConfig, float_parse_str,
};
use std::{path::PathBuf, time::Duration};

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
    let value = Wiped::parse(bytes)
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
        // Ours alone: of another shape, it is as if it were not there.
        lifetime_seconds: block.get("expires_in").and_then(Value::as_u64),
        login: block.get("login").and_then(Value::as_str).map(str::to_owned),
    })
}

/// The tokens of one account from the storage root; `None` if it has none.
///
/// # Errors
/// `OAUTH_TOKEN_ERROR` if the file is unsafe or malformed.
pub fn load(env: &Env, account: &Name) -> Result<Option<Tokens>, Refusal> {
    let Some(path) = path(env, account) else { return Ok(None) };
    let bytes = private_file::read(&path, env.home()).map_err(|error| {
        Refusal::new(Code::OauthTokenError, error.to_string()).hint(error.hint())
    })?;
    bytes.map(|bytes| parse(&bytes)).transpose().map_err(|error| {
        Refusal::new(Code::OauthTokenError, format!("`{}`: {error}", path.display()))
            .hint(format!("run: mp-proxy account login {account}"))
    })
}

/// Where the tokens of an account are; `None` without a storage root.
#[must_use]
pub fn path(env: &Env, account: &Name) -> Option<PathBuf> {
    Some(env.storage_root()?.join("accounts").join(account.as_str()).join("tokens.json"))
}

/// Takes the lock of an account's token file; waits up to `wait` and blocks the thread.
///
/// # Errors
/// `CONFIG_ERROR` without a storage root, if the lock stays taken, or if the place is unsafe.
pub fn lock(env: &Env, account: &Name, wait: Duration) -> Result<LockedFile, Refusal> {
    let path = path(env, account).ok_or_else(|| {
        Refusal::config("there is no place for tokens: neither `HOME` nor `MP_STORAGE_DIR` is set")
            .hint("set MP_STORAGE_DIR to a private directory")
    })?;
    LockedFile::acquire(&path, env.home(), wait).map_err(|error| error.refusal())
}

/// Writes the tokens of an account; the old or the new file is there at any instant.
///
/// # Errors
/// `CONFIG_ERROR` with the system's own refusal; the old file is then still there.
pub fn write(file: &LockedFile, tokens: &Tokens) -> Result<(), Refusal> {
    file.write(to_json(tokens).expose_secret().as_bytes()).map_err(|error| error.refusal())
}

/// Lock and [`write()`] in one.
///
/// # Errors
/// As the two.
pub fn save(env: &Env, account: &Name, tokens: &Tokens) -> Result<(), Refusal> {
    write(&lock(env, account, LOCK_WAIT)?, tokens)
}

/// The one line that `tokens.json` holds.
#[must_use]
pub fn to_json(tokens: &Tokens) -> SecretString {
    // Strings only: there is nothing in it that cannot be written.
    wiped::to_line(&Wire::of(tokens))
}

/// The same as a JSON value, for the bridge. It holds the secrets.
#[must_use]
pub fn to_value(tokens: &Tokens) -> Wiped<Value> {
    serde_json::to_value(Wire::of(tokens)).unwrap_or_default().into()
}

const LOCK_WAIT: Duration = Duration::from_secs(10);

/// The fields in the reference's order, then ours, which it ignores.
#[derive(Serialize)]
struct Wire<'a> {
    access_token: &'a str,
    expires_at: String,
    token_type: &'a str,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<&'a str>,
}

impl<'a> Wire<'a> {
    fn of(tokens: &'a Tokens) -> Self {
        let ends = Timestamp::from_microsecond(tokens.expires_at_micros).unwrap_or(Timestamp::MAX);
        Self {
            access_token: tokens.access_token.expose_secret(),
            expires_at: ends.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string(),
            token_type: &tokens.token_type,
            scope: &tokens.scope,
            refresh_token: tokens.refresh_token.as_ref().map(|token| token.expose_secret()),
            client_id: tokens.client_id.as_deref(),
            expires_in: tokens.lifetime_seconds,
            login: tokens.login.as_deref(),
        }
    }
}

/// Microseconds since the epoch. Numbers are seconds, or milliseconds beyond 2e10 (quirk T2).
fn expiry(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => {
            number.as_i64().map_or_else(|| from_float(number.as_f64()?), from_int)
        }
        Value::String(text) => {
            match DateTime::parse_bytes_rfc3339_with_config(text.as_bytes(), &CUT) {
                Ok(time) if time.date.year > 0 => {
                    time.time.tz_offset?;
                    let micros = time.timestamp_tz().checked_mul(1_000_000)?;
                    micros.checked_add(time.time.microsecond.into())
                }
                Ok(_) => None,
                Err(_) => match float_parse_str(text) {
                    IntFloat::Int(number) => from_int(number),
                    IntFloat::Float(number) => from_float(number),
                    IntFloat::Err => None,
                },
            }
        }
        _ => None,
    }
}

/// As pydantic reads: what is finer than microseconds is cut off.
const CUT: TimeConfig = TimeConfig {
    microseconds_precision_overflow_behavior: MicrosecondsPrecisionOverflowBehavior::Truncate,
    unix_timestamp_offset: None,
};
const MILLISECONDS_ABOVE: u64 = 20_000_000_000;
/// The end of the year 9999, past which no date exists.
const LAST_MICROS: i64 = 253_402_300_799_999_999;
/// The start of the year 1, before which none exists.
const FIRST_MICROS: i64 = -62_135_596_800_000_000;

fn from_int(number: i64) -> Option<i64> {
    let unit = if number.unsigned_abs() > MILLISECONDS_ABOVE { 1_000 } else { 1_000_000 };
    number.checked_mul(unit).filter(|micros| (FIRST_MICROS..=LAST_MICROS).contains(micros))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "range is checked"
)]
fn from_float(number: f64) -> Option<i64> {
    let unit = if number.abs() > MILLISECONDS_ABOVE as f64 { 1e3 } else { 1e6 };
    let micros = (number * unit).round();
    let range = FIRST_MICROS as f64..=LAST_MICROS as f64;
    range.contains(&micros).then_some(micros as i64)
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
        let micros = |value: i64| from_value(&set(json!(value))).unwrap().expires_at_micros;
        assert_eq!(micros(20_000_000_000), 20_000_000_000_000_000, "seconds");
        assert_eq!(micros(20_000_000_001), 20_000_000_001_000, "milliseconds");
        let bad =
            ["2023-11-14T22:13:20", "2023-11-14", "0000-11-14T22:13:20Z", "nan", "inf", "", "soon"];
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
    fn what_is_written_is_one_line_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::new([("HOME", dir.path().to_str().unwrap())], dir.path());
        let name = Name::parse("a").unwrap();
        let mut tokens = Tokens {
            access_token: "acc".into(),
            refresh_token: Some("ref".into()),
            expires_at_micros: 1_795_403_139_946_373,
            scope: "a b".into(),
            token_type: "Bearer".into(),
            client_id: Some("c".into()),
            lifetime_seconds: Some(3600),
            login: Some("l".into()),
        };
        save(&env, &name, &tokens).unwrap();
        let path = path(&env, &name).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            r#"{"access_token":"acc","expires_at":"2026-11-23T03:05:39.946373+00:00","token_type":"Bearer","scope":"a b","refresh_token":"ref","client_id":"c","expires_in":3600,"login":"l"}"#
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let read = load(&env, &name).unwrap().unwrap();
        assert_eq!(read.expires_at_micros, tokens.expires_at_micros);
        assert_eq!(read.client_id, tokens.client_id);
        assert_eq!((read.lifetime_seconds, read.login), (Some(3600), Some("l".into())));
        tokens.refresh_token = None;
        tokens.client_id = None;
        tokens.expires_at_micros = i64::MAX;
        let value = to_value(&tokens);
        assert!(value.get("refresh_token").is_none() && value.get("client_id").is_none());
        assert!(from_value(&value).is_ok());
        assert!(!format!("{:?}", to_json(&tokens)).contains("acc"));
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
