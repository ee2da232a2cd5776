//! Floor 4, the corridor that every request walks: see [`handler`].

pub mod audit;
pub mod body;
pub mod connect;
pub mod destination;
pub mod error;
pub mod forward;
pub mod governance;
pub mod guard;
pub mod handler;
pub mod health;
pub mod inspector;
pub mod observe;
pub mod overrides;
pub mod pace;
pub mod policy;
pub mod pool;
pub mod replay;
pub mod respond;
pub mod rewrite;
pub mod route;
pub mod server;
pub mod share;
pub mod shared;
pub mod tilde;
pub mod worker;
