//! A refusal on the command line: the single home of exit codes.

use crate::model::refusal::{Code, Refusal};
use serde_json::json;
use std::process::ExitCode;

/// How errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// One JSON line.
    Json,
}

/// Writes the refusal to stderr and gives the exit code.
#[must_use]
#[expect(clippy::print_stderr, reason = "stderr is where a command reports")]
pub fn report(refusal: &Refusal, form: Form) -> ExitCode {
    match form {
        Form::Text => {
            eprintln!("error: {refusal}");
            if let Some(hint) = &refusal.hint {
                eprintln!("hint: {hint}");
            }
        }
        Form::Json => {
            let mut error = json!({"code": refusal.code.as_str(), "message": refusal.message});
            if let Some(reason) = refusal.reason {
                error["reason"] = json!(reason.as_str());
            }
            if let Some(hint) = &refusal.hint {
                error["hint"] = json!(hint);
            }
            eprintln!("{}", json!({"error": error}));
        }
    }
    exit_code(refusal)
}

/// 1 configuration and general, 2 authentication, 3 invalid arguments, 4 no active account,
/// 5 rate limited.
fn exit_code(refusal: &Refusal) -> ExitCode {
    if refusal.reason == Some(Code::NoActiveAccount) {
        return ExitCode::from(4);
    }
    ExitCode::from(match refusal.code {
        Code::AuthFailed
        | Code::OauthTokenError
        | Code::OauthRefreshError
        | Code::OauthRefreshRevoked
        | Code::OauthRegistrationError
        | Code::OauthPortError
        | Code::OauthTimeout
        | Code::OauthStateMismatch
        | Code::OauthPasteError
        | Code::OauthAuthDenied
        | Code::OauthBrowserError
        | Code::OauthRegionProbeFailed
        | Code::OauthNetworkUnreachable
        | Code::BearerRequired => 2,
        Code::InvalidArgument | Code::TargetMutuallyExclusive => 3,
        Code::ProjectNotFound => 4,
        Code::RateLimited => 5,
        _ => 1,
    })
}
