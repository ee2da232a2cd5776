//! Who sent a request to the proxy: told apart by caller tokens, judged by policy, named in
//! audit, metrics and log. Made by `store/callers.rs` and `proxy/callers.rs`.
//! Invariant: holds no token, so it can be printed.

use super::policy::Access;
use std::sync::Arc;

/// One caller of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name in the token file; [`Caller::ANYBODY`] where no tokens are asked for.
    pub name: Arc<str>,
    /// The only target that it may be sent as.
    pub target: Option<Arc<str>>,
    /// What it may do.
    pub access: Access,
}

impl Caller {
    /// The name of everybody where no tokens are asked for.
    pub const ANYBODY: &str = "local";

    /// A caller bound to nothing.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), target: None, access: Access::Full }
    }
}
