//! The stand-in Mixpanel and the throw-away home of `mp-proxy demo`; the tests use both.
//! Invariant: loopback only, no real home, nothing left behind.

pub mod home;
pub mod stand_in;
