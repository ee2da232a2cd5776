//! What the proxy allows and keeps account of, built once at start: policy, and later steps of
//! the same kind. Made by `server`, used by `handler` and `health`.

use super::{
    audit::{self, Audit},
    pace::{self, Pacer},
    policy::live::{LivePolicy, Place},
    share::{self, Share},
};
use crate::{
    model::{policy::Rules, refusal::Refusal},
    sys::env::Env,
};
use std::sync::Arc;

/// What governs a proxy, as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the policy file is.
    pub policy: Place,
    /// The rules that the flags make.
    pub rules: Rules,
    /// How requests are paced.
    pub pace: pace::Options,
    /// Which reads share an answer.
    pub share: share::Options,
    /// Where the audit trail is kept, if it is.
    pub audit: Option<audit::Options>,
}

/// What governs a running proxy.
#[derive(Debug)]
pub struct Governance {
    /// The rules in force.
    pub policy: LivePolicy,
    /// The quotas that callers share.
    pub pacer: Pacer,
    /// The answers that equal reads share.
    pub share: Share,
    /// The trail of what happened.
    pub audit: Option<Arc<Audit>>,
}

impl Governance {
    /// Reads what has to be read before the first request.
    ///
    /// # Errors
    /// A policy file that is wrong, or missing although it was named; no thread to be had.
    pub fn start(options: Options, env: &Arc<Env>) -> Result<Self, Refusal> {
        Ok(Self {
            audit: options.audit.map(Audit::start).transpose()?.map(Arc::new),
            share: Share::new(options.share),
            policy: LivePolicy::start(options.policy, options.rules)?,
            pacer: Pacer::start(options.pace, Arc::clone(env))
                .map_err(|error| Refusal::config(format!("cannot start the pacer: {error}")))?,
        })
    }
}
