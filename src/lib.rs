//! **mp-proxy**: a reverse proxy on localhost that signs requests to the Mixpanel API, so that a
//! program in any language can talk to it without knowing how to authenticate.
//!
//! # One request, one corridor
//! ```text
//! listener → guard → caller → overrides → route → session → policy → path and query
//!            Admitted Caller   Wanted      Route   Session  judged   the ids that are missing
//!                                                    ▲
//!                                                 Snapshot
//!          → credential → pace → rewrite → forward → Mixpanel
//!            Authorization Permit Request   Response → audit, metrics, log → stream back
//!                 ▲
//!          token_resolver               any Err → respond (one match)
//! ```
//! The whole walk stands in [`proxy::handler`], one line a step.
//!
//! # Floors
//! A file imports lower floors only; a test reads the `use crate::` lines and fails on an upward one.
//!
//! | floor | module | what lives there |
//! |---|---|---|
//! | 0 | [`model`] | the words: ids, region, origin (closed host table), account, session, tokens, refusal |
//! | 1 | [`sys`] | the doors outside: environment, clock, private files |
//! | 2 | [`store`] | one file format a file: config, bridge, tokens; and the snapshot of them |
//! | 3 | [`auth`] | who a request is (resolve, switch) and what proves it (credential) |
//! | 4 | [`ops`] | what a person does: accounts, targets, session, bridge, login; an example is there |
//! | 5 | [`proxy`] | the corridor |
//! | 6 | [`cli`] | arguments, output, exit codes |
//!
//! `demo` (feature `demo`) is the stand-in Mixpanel behind `mp-proxy demo`.

pub mod auth;
pub mod cli;
#[cfg(feature = "demo")]
pub mod demo;
pub mod model;
pub mod ops;
pub mod proxy;
pub mod store;
pub mod sys;
