//! What the token endpoint grants, checked. Made by `endpoint`.
//! Invariant: access token, life time and type are there; `Debug` shows no token.

use crate::model::tokens::Tokens;
use http::HeaderValue;
use oauth2::{ClientId, TokenResponse as _, basic::BasicTokenResponse};
use secrecy::SecretString;

/// Ten years: a longer life is a mistake, and dates past the year 9999 do not exist.
const LONGEST_SECONDS: u64 = 10 * 365 * 86_400;

/// A token answer that has all that we need.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The bearer.
    pub access_token: SecretString,
    /// What renews it; a refresh answer may leave it out.
    pub refresh_token: Option<SecretString>,
    /// Seconds that the bearer is good for.
    pub expires_in: u64,
    /// Space-separated; empty if the server names none.
    pub scope: String,
    /// As the server spells it.
    pub token_type: String,
}

impl Grant {
    /// The grant of an answer, or the field that is missing.
    pub(super) fn read(answer: &BasicTokenResponse) -> Result<Self, &'static str> {
        let access_token = answer.access_token().secret();
        // One that cannot be sent must not take the place of what can still be renewed.
        if access_token.is_empty() || HeaderValue::from_str(access_token).is_err() {
            return Err("access_token");
        }
        let scopes = answer.scopes().map(|all| {
            let all: Vec<&str> = all.iter().map(|scope| scope.as_str()).collect();
            all.join(" ")
        });
        Ok(Self {
            access_token: SecretString::from(access_token.as_str()),
            refresh_token: answer
                .refresh_token()
                .map(|token| token.secret().as_str())
                .filter(|token| !token.is_empty())
                .map(SecretString::from),
            expires_in: answer.expires_in().ok_or("expires_in")?.as_secs().min(LONGEST_SECONDS),
            scope: scopes.unwrap_or_default(),
            token_type: match answer.token_type() {
                oauth2::basic::BasicTokenType::Bearer => "Bearer".into(),
                other => other.as_ref().to_owned(),
            },
        })
    }

    /// The token set to keep. `now` is in microseconds since the Unix epoch; `previous` is the
    /// refresh token that stays if the server did not rotate it.
    #[must_use]
    pub fn into_tokens(
        self,
        now: i64,
        client_id: &ClientId,
        previous: Option<SecretString>,
    ) -> Tokens {
        let life = i64::try_from(self.expires_in).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        Tokens {
            access_token: self.access_token,
            refresh_token: self.refresh_token.or(previous),
            expires_at_micros: now.saturating_add(life),
            scope: self.scope,
            token_type: self.token_type,
            client_id: Some(client_id.as_str().to_owned()),
            lifetime_seconds: Some(self.expires_in),
            login: None,
        }
    }
}
