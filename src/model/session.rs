//! The resolved session and the reason for each of its axes.

use super::{
    account::Account,
    id::{ProjectId, WorkspaceId},
};
use http::{HeaderName, HeaderValue};
use std::{path::Path, sync::Arc};

/// A header that the user wants on every request. `Debug` redacts: the value is sensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomHeader {
    /// The name as the user spelt it, for people and for the command line's contract.
    pub spelling: String,
    /// The name as it is sent and compared: without case (quirk C13).
    pub name: HeaderName,
    /// The value, marked sensitive.
    pub value: HeaderValue,
}

/// Custom headers; of one name the last writer wins.
pub type CustomHeaders = Vec<CustomHeader>;

/// Who a request is sent as. Immutable; a switch makes a new one.
#[derive(Debug, Clone)]
pub struct Session {
    /// The account that signs.
    pub account: Arc<Account>,
    /// The project that is appended where a route wants one.
    pub project: ProjectId,
    /// The workspace, if one is known.
    pub workspace: Option<WorkspaceId>,
    /// Sent with every request of the session.
    pub headers: Arc<CustomHeaders>,
    /// The bridge that brought this very account with its tokens, if one did.
    pub bridge: Option<Arc<Path>>,
    /// Where each axis came from.
    pub sources: Sources,
    /// What a careful user would want to know.
    pub warnings: Vec<String>,
    /// Variables that beat what the caller of this request asked for.
    pub overruled: Vec<&'static str>,
}

/// The source of each axis, e.g. `env:MP_PROJECT_ID` or `config:[active]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Of the account.
    pub account: String,
    /// Of the project.
    pub project: String,
    /// Of the workspace, if there is one.
    pub workspace: Option<String>,
}
