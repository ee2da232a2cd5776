//! The outcome of testing an account. Made by `account test`.
//! Invariant: it is either a success without an error or a failure with one; nothing else can
//! be built.

use crate::model::refusal::Refusal;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// Who a credential is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The user's number.
    pub id: i64,
    /// The user's address.
    pub email: String,
}

/// What testing an account found; serializes to `account_name`, `ok`, `user`,
/// `accessible_project_count`, `error`, `error_code`, `error_details`.
///
/// ```
/// use mp_proxy::{model::refusal::{Code, Refusal}, ops::accounts::AccountTestResult};
///
/// let failed = AccountTestResult::failed("team", &Refusal::new(Code::AuthFailed, "rejected"));
/// let json = serde_json::to_value(&failed).unwrap();
/// assert_eq!((json["ok"].as_bool(), json["error"].as_str()), (Some(false), Some("rejected")));
///
/// let passed = AccountTestResult::passed("team", None, 3);
/// assert!(passed.is_ok() && serde_json::to_value(&passed).unwrap()["error"].is_null());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AccountTestResult {
    account_name: String,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Passed { user: Option<Identity>, accessible_project_count: usize },
    Failed { error: String, code: &'static str, details: Option<Map<String, Value>> },
}

impl AccountTestResult {
    /// `/me` accepted the credential.
    #[must_use]
    pub fn passed(account: &str, user: Option<Identity>, accessible_project_count: usize) -> Self {
        let outcome = Outcome::Passed { user, accessible_project_count };
        Self { account_name: account.into(), outcome }
    }

    /// It did not come to that, or `/me` refused.
    #[must_use]
    pub fn failed(account: &str, refusal: &Refusal) -> Self {
        let mut details = Map::new();
        if let Some(reason) = refusal.reason {
            details.insert("reason".into(), reason.as_str().into());
        }
        if let Some(hint) = &refusal.hint {
            details.insert("hint".into(), hint.as_str().into());
        }
        if let Some(seconds) = refusal.retry_after {
            details.insert("retry_after".into(), seconds.into());
        }
        let outcome = Outcome::Failed {
            error: refusal.message.clone(),
            code: refusal.code.as_str(),
            details: (!details.is_empty()).then_some(details),
        };
        Self { account_name: account.into(), outcome }
    }

    /// The account that was tested.
    #[must_use]
    pub fn account_name(&self) -> &str {
        &self.account_name
    }

    /// Whether the credential was accepted.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Passed { .. })
    }

    /// Who the credential is, if it was accepted and `/me` said so.
    #[must_use]
    pub const fn user(&self) -> Option<&Identity> {
        match &self.outcome {
            Outcome::Passed { user, .. } => user.as_ref(),
            Outcome::Failed { .. } => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Failed { details: Some(details), .. } => details.get("hint")?.as_str(),
            _ => None,
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Passed { .. } => None,
            Outcome::Failed { error, .. } => Some(error),
        }
    }
}

impl Serialize for AccountTestResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            account_name: &'a str,
            ok: bool,
            user: Option<&'a Identity>,
            accessible_project_count: Option<usize>,
            error: Option<&'a str>,
            error_code: Option<&'a str>,
            error_details: Option<&'a Map<String, Value>>,
        }
        let empty = Wire {
            account_name: &self.account_name,
            ok: false,
            user: None,
            accessible_project_count: None,
            error: None,
            error_code: None,
            error_details: None,
        };
        match &self.outcome {
            Outcome::Passed { user, accessible_project_count } => Wire {
                ok: true,
                user: user.as_ref(),
                accessible_project_count: Some(*accessible_project_count),
                ..empty
            },
            Outcome::Failed { error, code, details } => Wire {
                error: Some(error),
                error_code: Some(code),
                error_details: details.as_ref(),
                ..empty
            },
        }
        .serialize(serializer)
    }
}
