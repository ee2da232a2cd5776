//! The switches and counters of the stand-in's OAuth server. Turned by tests, read by `stand_in`.
//! Invariant: the default is a server without faults.

use std::time::Duration;

/// What the stand-in does wrong, and how it grants.
#[derive(Debug, Clone)]
pub struct Switches {
    /// Life of an access token in seconds, as the answers say it.
    pub expires_in: u64,
    /// What the registration does.
    pub register: Fault,
    /// What the token endpoint does.
    pub token: Fault,
    /// What `/api/app/me` does, by host (`eu.mixpanel.com`); a host that is not here is fine.
    pub me: Vec<(String, Fault)>,
    /// The body of `/api/app/me` in place of the built-in one.
    pub me_body: Option<serde_json::Value>,
    /// What comes back as `state`.
    pub state: StateEcho,
    /// What a refresh does to the refresh token.
    pub renewal: Renewal,
    /// Which bearers are good.
    pub bearers: Bearers,
}

/// A fault of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fault {
    /// None.
    #[default]
    Fine,
    /// The right answer, so much later.
    Slow(Duration),
    /// This status with a small JSON body, and `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// Status 200 and this body; the endpoint itself is not asked.
    Body(String),
    /// Status 200 and JSON of so many bytes, with something like a token in it.
    Huge(usize),
    /// Half of an answer, then the connection breaks.
    Cut,
}

/// What comes back as `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateEcho {
    /// What was sent.
    #[default]
    Same,
    /// Something else.
    Other,
}

/// What a refresh does to the refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Renewal {
    /// A new one; the old one coming back revokes the whole family.
    #[default]
    Rotate,
    /// A new one; the old one coming back is refused, and the login goes on.
    Refuse,
    /// It stays good and the answer has none.
    Keep,
}

/// Which bearers the API accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bearers {
    /// Any.
    #[default]
    Any,
    /// Only those that were granted here and are neither expired nor revoked.
    Granted,
}

/// How often what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Registrations that were asked for, those with a fault not counted.
    pub registrations: u64,
    /// Consent pages that were shown.
    pub authorizations: u64,
    /// Codes that were to be exchanged.
    pub exchanges: u64,
    /// Refresh requests, good and bad.
    pub refreshes: u64,
    /// Refresh requests that were refused.
    pub refused_refreshes: u64,
    /// Families that were revoked since a rotated refresh token came back.
    pub revoked_families: u64,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            expires_in: 36_000,
            register: Fault::Fine,
            token: Fault::Fine,
            me: Vec::new(),
            me_body: None,
            state: StateEcho::Same,
            renewal: Renewal::Rotate,
            bearers: Bearers::Any,
        }
    }
}
