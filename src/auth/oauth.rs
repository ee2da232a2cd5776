//! The OAuth protocol: what is asked of Mixpanel's server and what its answers mean.
//! The login and the token resolver call it. Invariant: no token or code in an error or a log.

pub mod authorize;
pub mod callback;
pub mod endpoint;
pub mod grant;
pub mod login;
pub mod page;
pub mod redirect;
