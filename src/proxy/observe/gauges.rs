//! What is not counted by requests but asked for at a scrape: the state of the files, tokens
//! and quotas. Made by `endpoint`, written by `metrics`.

/// The state of the proxy at one moment.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Grows with every change of the files.
    pub generation: u64,
    /// Whether the files can be read and a session resolves.
    pub session: Readiness,
    /// When a change of the files was last found to be broken, in seconds since the epoch.
    pub last_failure: Option<u64>,
    /// Each login's expiry in seconds since the epoch, by account.
    pub token_expiry: Vec<(String, f64)>,
    /// Token refreshes so far, by outcome.
    pub refreshes: Vec<(&'static str, u64)>,
    /// What is left of quotas.
    pub quotas: Vec<Quota>,
    /// Each limit by its name.
    pub limits: Vec<(&'static str, u64)>,
    /// Connections of callers that are open.
    pub connections: u64,
    /// Those that were refused, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// The policy.
    pub policy: Followed,
    /// The certificate of the listener; `None` where there is no TLS.
    pub tls: Option<Followed>,
    /// Lines of the audit trail that were lost; `None` where there is no trail.
    pub audit_lost: Option<u64>,
}

/// Whether a request without `X-Mp-*` headers would be sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It would.
    Ready,
    /// It would be refused.
    #[default]
    NotReady,
}

/// What is left of one quota.
#[derive(Debug, Clone)]
pub struct Quota {
    /// The project.
    pub project: String,
    /// `query` or `export`.
    pub api: &'static str,
    /// How many calls are left in the hour.
    pub left: u64,
    /// How many there are.
    pub limit: u64,
}

/// The state of what is followed, and kept as it was while a change of it is broken.
#[derive(Debug, Default, Clone, Copy)]
pub struct Followed {
    /// Grows with every change that took effect.
    pub generation: u64,
    /// Whether the newest state of the files is not in force.
    pub stale: bool,
    /// How many changes were broken.
    pub failures: u64,
}
