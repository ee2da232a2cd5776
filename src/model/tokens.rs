//! The token set of a browser login.

use secrecy::SecretString;

/// How long before its expiry a token counts as expired, in seconds.
pub const EXPIRY_MARGIN_SECONDS: i64 = 30;

/// Access and refresh token with their expiry. `Debug` redacts.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The bearer.
    pub access_token: SecretString,
    /// Present if the login can be renewed without a person.
    pub refresh_token: Option<SecretString>,
    /// Microseconds since the Unix epoch.
    pub expires_at_micros: i64,
    /// Space-separated scopes as granted.
    pub scope: String,
    /// As the server sent it; the scheme sent is always `Bearer` (quirk T3).
    pub token_type: String,
    /// The OAuth client that may refresh this grant; our addition (quirks B4, T6).
    pub client_id: Option<String>,
}

impl Tokens {
    /// Whether the access token is expired, or will be within the margin, at `now`
    /// (microseconds since the Unix epoch).
    #[must_use]
    pub const fn is_expired(&self, now_micros: i64) -> bool {
        now_micros.saturating_add(EXPIRY_MARGIN_SECONDS * 1_000_000) >= self.expires_at_micros
    }
}
