//! Floor 2, what is on disk: config, bridge and tokens, parsed, checked and changed.
//! The resolver and the commands call it. Invariant: no message holds file content.

mod account_block;
pub mod bridge;
pub mod bridge_copy;
pub mod callers;
pub mod clients;
pub mod config;
pub mod config_edit;
pub mod headers;
mod layout;
pub mod me_cache;
pub mod me_json;
pub mod pacer_ledger;
pub mod pacer_place;
pub mod pacer_settings;
pub mod pacer_who;
pub mod policy_file;
pub mod snapshot;
pub mod tls_pair;
pub mod tokens;
mod toml_one;
pub mod watched;
pub mod wiped;
