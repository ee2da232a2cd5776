//! Words that a shell completes: accounts and targets of the config, types and regions. Called by the other files
//! of `args`, and run only when a shell asks.
//! Invariant: no error, no output, no network; a broken config completes nothing.

use crate::{store::snapshot::load_once, sys::env::Env};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

/// Completes the names of accounts.
#[must_use]
pub fn accounts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let snapshot = load_once(&Env::process());
        snapshot
            .config
            .as_ref()
            .map_or_else(|_| Vec::new(), |config| names(&config.account_names()))
    })
}

/// Completes the names of targets.
#[must_use]
pub fn targets() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let snapshot = load_once(&Env::process());
        snapshot.config.as_ref().map_or_else(|_| Vec::new(), |config| names(&config.target_names()))
    })
}

/// Completes the regions.
#[must_use]
pub fn regions() -> ArgValueCandidates {
    ArgValueCandidates::new(|| names(&["us", "eu", "in"]))
}

/// Completes the types of accounts.
#[must_use]
pub fn types() -> ArgValueCandidates {
    ArgValueCandidates::new(|| names(&["service_account", "oauth_browser", "oauth_token"]))
}

fn names(names: &[&str]) -> Vec<CompletionCandidate> {
    names.iter().map(CompletionCandidate::new).collect()
}
