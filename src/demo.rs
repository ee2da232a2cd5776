//! The stand-in Mixpanel and the throw-away home of `mp-proxy demo`; the tests use both.
//! Invariant: loopback only, no real home, nothing left behind.

mod answers;
mod grants;
pub mod home;
pub mod oauth_server;
mod pages;
pub mod quotas;
pub mod stand_in;
pub mod switches;
