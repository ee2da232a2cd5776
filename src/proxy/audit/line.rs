//! What stands on a line of the audit trail. Made and written by `audit`.
//! Invariant: no query, no body, no header value.

use jiff::Timestamp;
use serde::Serialize;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line<'a> {
    /// The end of a request.
    Request {
        /// Its id, as in the log.
        id: &'a str,
        /// Who called.
        caller: &'a str,
        /// As whom it went.
        #[serde(skip_serializing_if = "Option::is_none")]
        account: Option<&'a str>,
        /// For which project.
        #[serde(skip_serializing_if = "Option::is_none")]
        project: Option<&'a str>,
        /// In which workspace.
        #[serde(skip_serializing_if = "Option::is_none")]
        workspace: Option<u64>,
        /// The method.
        method: &'a str,
        /// The family of routes.
        route: &'a str,
        /// The path, without the query.
        path: &'a str,
        /// Status of the answer.
        status: u16,
        /// Who answered: `mixpanel`, `cache`, `proxy` or `nobody`.
        answered_by: &'a str,
        /// The code of a refusal.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<&'a str>,
        /// Bytes of the request's body.
        bytes_up: u64,
        /// Bytes of the answer's body.
        bytes_down: u64,
        /// From the head of the request to the end of the answer.
        ms: u64,
        /// Of them waited for a slot.
        waited_ms: u64,
        /// Whether the answer broke off, or the caller went away.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        cut: bool,
    },
    /// What became of a credential.
    Credential {
        /// `loaded`, `refreshed`, `refused`, `revoked`.
        what: &'a str,
        /// Of which account.
        account: &'a str,
    },
}

#[derive(Serialize)]
struct Stamped<'a> {
    time: String,
    #[serde(flatten)]
    line: &'a Line<'a>,
}

impl Line<'_> {
    /// The line as it is written, with the time that it is now and `\n` at its end.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let time = format!("{:.3}", Timestamp::now());
        let mut bytes = serde_json::to_vec(&Stamped { time, line: self }).ok()?;
        bytes.push(b'\n');
        Some(bytes)
    }
}
