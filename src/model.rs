//! Floor 0, the words of the project: plain values without IO or a clock.
//! Every other floor imports from here; this one imports nothing of ours.

pub mod account;
pub mod caller;
pub mod fingerprint;
pub mod id;
pub mod me;
pub mod origin;
pub mod policy;
pub mod refusal;
pub mod region;
pub mod secret_header;
pub mod session;
pub mod tokens;
pub mod upstream;
