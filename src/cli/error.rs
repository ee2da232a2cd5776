//! A refusal on the command line: the single home of exit codes.

use super::terminal::say;
use crate::model::refusal::{Code, Refusal};
use serde_json::json;
use std::{ffi::OsString, process::ExitCode};

/// The exit code after Ctrl-C.
pub const INTERRUPTED: i32 = 130;

/// How errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// One JSON line.
    Json,
}

impl Form {
    /// The form that arguments ask for, where clap could not make sense of them, or before the
    /// command that they name has a say.
    #[must_use]
    pub fn asked_for(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut value_of_format = false;
        for argument in arguments.into_iter().take_while(|argument| argument != "--") {
            let text = argument.to_string_lossy();
            let value = match text.strip_prefix("--format=").or_else(|| text.strip_prefix("-f")) {
                Some(value) => value.trim_start_matches('='),
                None if value_of_format => &text,
                None => "",
            };
            if text == "--json" || value == "json" || value == "jsonl" {
                return Self::Json;
            }
            value_of_format = text == "--format" || text == "-f";
        }
        Self::Text
    }
}

/// Arguments that clap refused: exit code 3, as the reference's own mistakes have. Help and
/// version are no mistake.
#[must_use]
pub fn usage(error: &clap::Error, form: Form) -> ExitCode {
    if !error.use_stderr() || form == Form::Text {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 3 } else { 0 });
    }
    let text = error.to_string();
    let more = |line: &str| line.starts_with("Usage:") || line.starts_with("For more information");
    let lines = text.lines().map(str::trim).take_while(|line| !more(line));
    let all =
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ").replace(" tip: ", "; ");
    let message = all.strip_prefix("error: ").unwrap_or(&all);
    let refusal = Refusal::new(Code::InvalidArgument, message)
        .hint("run the same command with --help instead");
    report(&refusal, form)
}

/// Writes the refusal to stderr and gives the exit code.
#[must_use]
pub fn report(refusal: &Refusal, form: Form) -> ExitCode {
    match form {
        Form::Text => {
            say(&format!("error: {refusal}"));
            if let Some(hint) = &refusal.hint {
                say(&format!("hint: {hint}"));
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
            say(&json!({"error": error}).to_string());
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
        code if code.is_authentication() => 2,
        Code::BearerRequired => 2,
        Code::InvalidArgument | Code::TargetMutuallyExclusive => 3,
        Code::ProjectNotFound => 4,
        Code::RateLimited => 5,
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_in_many_ways() {
        let form = |line: &str| Form::asked_for(line.split(' ').map(OsString::from));
        for line in ["a --json", "a --format json", "a --format=json", "a -f json b", "a -fjson"] {
            assert_eq!(form(line), Form::Json, "{line}");
        }
        for line in ["a", "a json", "a --format table json", "a -- --json", "a --format -- json"] {
            assert_eq!(form(line), Form::Text, "{line}");
        }
    }
}
