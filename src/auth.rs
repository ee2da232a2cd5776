//! Floor 3, identity: which session a request gets, and what proves it.

pub mod credential;
pub mod default_workspace;
pub mod describe;
pub mod first_run;
pub mod me;
pub mod oauth;
pub mod once;
pub mod ready;
pub mod resolve;
pub mod switch;
pub mod token_resolver;
