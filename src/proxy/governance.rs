//! What the proxy allows and keeps account of, built once at start: policy, and later steps of
//! the same kind. Made by `server`, used by `handler` and `health`.

use super::policy::live::{LivePolicy, Place};
use crate::model::{policy::Rules, refusal::Refusal};

/// What governs a proxy, as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the policy file is.
    pub policy: Place,
    /// The rules that the flags make.
    pub rules: Rules,
}

/// What governs a running proxy.
#[derive(Debug)]
pub struct Governance {
    /// The rules in force.
    pub policy: LivePolicy,
}

impl Governance {
    /// Reads what has to be read before the first request.
    ///
    /// # Errors
    /// A policy file that is wrong, or missing although it was named.
    pub fn start(options: Options) -> Result<Self, Refusal> {
        Ok(Self { policy: LivePolicy::start(options.policy, options.rules)? })
    }
}
