//! The token set of a browser login.

use super::fingerprint::fingerprint;
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
    /// How long the access token lives in all, if that is known; our addition.
    pub lifetime_seconds: Option<u64>,
    /// What stays the same from one refresh to the next; our addition. See [`Tokens::login`].
    pub login: Option<String>,
}

impl Tokens {
    /// Whether the access token is expired, or will be within the margin, at `now`
    /// (microseconds since the Unix epoch).
    #[must_use]
    pub fn is_expired(&self, now_micros: i64) -> bool {
        now_micros >= self.usable_until_micros()
    }

    /// Until when the access token is sent: 30 seconds before it expires; of a token that is
    /// known to live for less than two minutes, a quarter of its life.
    #[must_use]
    pub fn usable_until_micros(&self) -> i64 {
        let short = self.lifetime_seconds.and_then(|life| i64::try_from(life / 4).ok());
        let margin = short.unwrap_or(i64::MAX).min(EXPIRY_MARGIN_SECONDS);
        self.expires_at_micros.saturating_sub(margin * 1_000_000)
    }

    /// A name for the login that these tokens belong to: refreshes of ours keep it.
    #[must_use]
    pub fn login(&self) -> String {
        self.login.clone().unwrap_or_else(|| fingerprint(&[&self.access_token]))
    }

    /// The fingerprint of the refresh token.
    #[must_use]
    pub fn refresh_fingerprint(&self) -> Option<String> {
        self.refresh_token.as_ref().map(|token| fingerprint(&[token]))
    }
}
