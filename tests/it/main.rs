//! One integration binary: the real program, real sockets, real files.

#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test binary exports nothing"
)]

mod account_add;
mod accounts;
mod accounts_reference;
mod accounts_token;
mod architecture;
mod audit;
mod bad_input;
mod broken_starts;
mod browser;
mod cache;
mod callers;
mod chromium;
mod clock;
mod connections;
mod credential_faults;
mod devtools;
mod docs;
mod docs_blocks;
mod docs_oauth;
mod docs_tables;
mod egress;
mod faults;
mod fuzz_corpus;
mod global_flags;
mod guard;
mod idle;
mod inspector;
mod inspector_token;
mod leaks;
mod limits;
mod login;
mod login_browser;
mod login_chromium;
mod login_support;
mod login_tls;
mod login_unified;
mod look_after;
mod me;
mod metrics;
mod mounted_secret;
mod oauth_endpoint;
mod oracle;
#[cfg(feature = "otlp")]
mod otlp;
mod policy;
mod properties;
mod proxy;
mod quota;
mod raw;
mod reach;
mod recorder;
mod reference;
mod run;
mod session;
mod shutdown;
mod soak;
mod support;
mod terminal;
mod tls;
mod tls_listener;
mod tokens;
mod tokens_bridge;
mod unix_socket;
mod verbs;
#[cfg(target_os = "linux")]
mod wiped;
mod wire;
