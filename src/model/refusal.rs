//! The one shape of a "no": a code that programs read, a sentence that people
//! read, and what to do next. Raised by every floor, turned into an HTTP answer
//! by `proxy/respond.rs` and into an exit code by `cli/error.rs`.
//! Invariant: neither message nor hint ever holds a secret.

/// Codes of the reference client, plus those that only a proxy can raise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each name is its own documentation")]
pub enum Code {
    ConfigError,
    AccountNotFound,
    TargetNotFound,
    ProjectNotFound,
    AmbiguousAccount,
    SessionUnresolved,
    NoActiveAccount,
    InvalidArgument,
    TargetMutuallyExclusive,
    AccountExists,
    AccountInUse,
    AuthFailed,
    RateLimited,
    OauthTokenError,
    OauthRefreshError,
    OauthRefreshRevoked,
    OauthRegistrationError,
    OauthPortError,
    OauthTimeout,
    OauthStateMismatch,
    OauthPasteError,
    OauthAuthDenied,
    OauthBrowserError,
    OauthRegionProbeFailed,
    OauthNetworkUnreachable,
    BearerRequired,
    RouteNotFound,
    OverrideInvalid,
    OverrideConflict,
    BadRequest,
    MethodNotAllowed,
    GuardHost,
    GuardOrigin,
    GuardFetchSite,
    ClientAuthorization,
    CallerUnknown,
    PolicyDenied,
    LimitExceeded,
    LoopDetected,
    Draining,
    UpstreamUnreachable,
    UpstreamTls,
    UpstreamBroken,
    UpstreamTimeout,
}

impl Code {
    /// Whether it says that a credential could not be had, or was not accepted.
    #[must_use]
    pub const fn is_authentication(self) -> bool {
        matches!(
            self,
            Self::AuthFailed
                | Self::OauthTokenError
                | Self::OauthRefreshError
                | Self::OauthRefreshRevoked
                | Self::OauthRegistrationError
                | Self::OauthPortError
                | Self::OauthTimeout
                | Self::OauthStateMismatch
                | Self::OauthPasteError
                | Self::OauthAuthDenied
                | Self::OauthBrowserError
                | Self::OauthRegionProbeFailed
                | Self::OauthNetworkUnreachable
        )
    }

    /// The code as it stands in JSON bodies and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigError => "CONFIG_ERROR",
            Self::AccountNotFound => "ACCOUNT_NOT_FOUND",
            Self::TargetNotFound => "TARGET_NOT_FOUND",
            Self::ProjectNotFound => "PROJECT_NOT_FOUND",
            Self::AmbiguousAccount => "ACCOUNT_AMBIGUOUS",
            Self::SessionUnresolved => "SESSION_UNRESOLVED",
            Self::NoActiveAccount => "NO_ACTIVE_ACCOUNT",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::TargetMutuallyExclusive => "WS1_TARGET_MUTUALLY_EXCLUSIVE",
            Self::AccountExists => "ACCOUNT_EXISTS",
            Self::AccountInUse => "ACCOUNT_IN_USE",
            Self::RateLimited => "RATE_LIMITED",
            Self::AuthFailed => "AUTH_FAILED",
            Self::OauthTokenError => "OAUTH_TOKEN_ERROR",
            Self::OauthRefreshError => "OAUTH_REFRESH_ERROR",
            Self::OauthRefreshRevoked => "OAUTH_REFRESH_REVOKED",
            Self::OauthRegistrationError => "OAUTH_REGISTRATION_ERROR",
            Self::OauthPortError => "OAUTH_PORT_ERROR",
            Self::OauthTimeout => "OAUTH_TIMEOUT",
            Self::OauthStateMismatch => "OAUTH_STATE_MISMATCH",
            Self::OauthPasteError => "OAUTH_PASTE_ERROR",
            Self::OauthAuthDenied => "OAUTH_AUTH_DENIED",
            Self::OauthBrowserError => "OAUTH_BROWSER_ERROR",
            Self::OauthRegionProbeFailed => "OAUTH_REGION_PROBE_FAILED",
            Self::OauthNetworkUnreachable => "OAUTH_NETWORK_UNREACHABLE",
            Self::BearerRequired => "BEARER_REQUIRED",
            Self::RouteNotFound => "ROUTE_NOT_FOUND",
            Self::OverrideInvalid => "OVERRIDE_INVALID",
            Self::OverrideConflict => "OVERRIDE_CONFLICT",
            Self::BadRequest => "BAD_REQUEST",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::GuardHost => "GUARD_HOST",
            Self::GuardOrigin => "GUARD_ORIGIN",
            Self::GuardFetchSite => "GUARD_FETCH_SITE",
            Self::ClientAuthorization => "CLIENT_AUTHORIZATION",
            Self::CallerUnknown => "CALLER_UNKNOWN",
            Self::PolicyDenied => "POLICY_DENIED",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::LoopDetected => "LOOP_DETECTED",
            Self::Draining => "DRAINING",
            Self::UpstreamUnreachable => "UPSTREAM_UNREACHABLE",
            Self::UpstreamTls => "UPSTREAM_TLS",
            Self::UpstreamBroken => "UPSTREAM_BROKEN",
            Self::UpstreamTimeout => "UPSTREAM_TIMEOUT",
        }
    }
}

/// A refusal: what was wrong and how to repair it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What programs branch on.
    pub code: Code,
    /// A finer code where `code` must match the reference's coarser one.
    pub reason: Option<Code>,
    /// What was wrong, for people.
    pub message: String,
    /// The command, header or variable that repairs it.
    pub hint: Option<String>,
    /// After how many seconds the same request may succeed, if that is known.
    pub retry_after: Option<u64>,
}

impl Refusal {
    /// A refusal without hint or finer reason.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, reason: None, message: message.into(), hint: None, retry_after: None }
    }

    /// A `CONFIG_ERROR`.
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Code::ConfigError, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds after how many seconds it is worth trying again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Adds the finer reason behind a coarse code.
    #[must_use]
    pub const fn reason(mut self, reason: Code) -> Self {
        self.reason = Some(reason);
        self
    }
}
