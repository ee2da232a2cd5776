//! A bearer that is ready to be sent, and until when it is good. Made by `login`, kept and sent
//! by the corridor.
//! Invariants: the header value is sensitive and `Debug` shows no token; a token counts as
//! expired as soon as either clock says so, since one jumps and the other sleeps.

use super::pause::between;
use crate::{
    model::{
        id::Name,
        refusal::{Code, Refusal},
        secret_header::secret_header,
        tokens::Tokens,
    },
    sys::clock::Moment,
};
use http::HeaderValue;
use secrecy::ExposeSecret as _;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long before its expiry a token is renewed, in seconds; drawn anew for each token.
const AHEAD_SECONDS: (f64, f64) = (300.0, 600.0);
/// The same as a part of the life of a token: what five and ten minutes are of an hour.
const AHEAD_PART: (f64, f64) = (1.0 / 12.0, 1.0 / 6.0);

/// An access token as a header value.
#[derive(Debug)]
pub struct ReadyToken {
    tokens: Arc<Tokens>,
    value: HeaderValue,
    taken: Instant,
    good_for: Duration,
    ahead_micros: i64,
}

impl ReadyToken {
    /// The value of `Authorization`, marked sensitive.
    #[must_use]
    pub const fn authorization(&self) -> &HeaderValue {
        &self.value
    }

    /// The tokens behind it.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Whether it can still be sent.
    #[must_use]
    pub fn is_good(&self, now: Moment) -> bool {
        !self.tokens.is_expired(now.wall_micros)
            && now.mono.saturating_duration_since(self.taken) < self.good_for
    }

    pub(super) fn new(tokens: Arc<Tokens>, account: &Name, now: Moment) -> Result<Self, Refusal> {
        let text = tokens.access_token.expose_secret();
        let value = secret_header(&["Bearer ", text]).filter(|_| !text.is_empty());
        let value = value.ok_or_else(|| {
            Refusal::new(
                Code::OauthTokenError,
                format!("the token of account `{account}` is empty or cannot stand in a header"),
            )
            .hint(format!("run: mp-proxy account login {account}"))
        })?;
        let left = tokens.usable_until_micros().saturating_sub(now.wall_micros);
        let good_for = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        let ahead_micros = ahead(tokens.lifetime_seconds);
        Ok(Self { tokens, value, taken: now.mono, good_for, ahead_micros })
    }

    /// How long until it should be renewed; zero if it should be now.
    pub(super) fn renewal_in(&self, now: Moment) -> Duration {
        let expires = self.tokens.expires_at_micros;
        let wall = expires.saturating_sub(self.ahead_micros).saturating_sub(now.wall_micros);
        let wall = Duration::from_micros(u64::try_from(wall).unwrap_or(0));
        let ahead = Duration::from_micros(u64::try_from(self.ahead_micros).unwrap_or(0));
        let mono = (self.good_for.saturating_sub(ahead))
            .saturating_sub(now.mono.saturating_duration_since(self.taken));
        wall.min(mono)
    }

    /// How long we have had it.
    pub(super) fn age(&self, now: Moment) -> Duration {
        now.mono.saturating_duration_since(self.taken)
    }
}

/// Five to ten minutes; less for tokens that are known to live for less than an hour.
#[expect(clippy::cast_precision_loss, reason = "lifetimes are at most years")]
#[expect(clippy::cast_possible_truncation, reason = "at most ten minutes")]
fn ahead(lifetime_seconds: Option<u64>) -> i64 {
    let seconds = between(AHEAD_SECONDS.0, AHEAD_SECONDS.1);
    let part = lifetime_seconds.map(|life| life as f64 * between(AHEAD_PART.0, AHEAD_PART.1));
    (part.map_or(seconds, |part| part.min(seconds)) * 1e6) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    fn token(now: Moment, left_seconds: i64, lifetime_seconds: Option<u64>) -> ReadyToken {
        let tokens = Tokens {
            access_token: SecretString::from("s3cr3t"),
            refresh_token: None,
            expires_at_micros: now.wall_micros + left_seconds * 1_000_000,
            scope: String::new(),
            token_type: "Bearer".into(),
            client_id: None,
            lifetime_seconds,
            login: None,
        };
        ReadyToken::new(Arc::new(tokens), &Name::parse("a").unwrap(), now).unwrap()
    }

    fn later(now: Moment, wall: i64, mono: u64) -> Moment {
        Moment {
            wall_micros: now.wall_micros + wall * 1_000_000,
            mono: now.mono + Duration::from_secs(mono),
        }
    }

    #[test]
    fn either_clock_can_end_a_token() {
        let now = Moment { wall_micros: 1_700_000_000_000_000, mono: Instant::now() };
        let token = token(now, 3600, Some(3600));
        assert!(token.is_good(later(now, 3560, 3560)));
        assert!(!token.is_good(later(now, 3571, 3571)));
        assert!(!token.is_good(later(now, 3571, 1)), "slept, or the clock was set forward");
        assert!(!token.is_good(later(now, -90_000, 3571)), "the clock was set back");
        assert!(token.is_good(later(now, -90_000, 60)));
        assert_eq!(token.age(later(now, -5, 7)), Duration::from_secs(7));
        assert!(!format!("{token:?}").contains("s3cr3t"));
        assert!(token.authorization().is_sensitive());
    }

    #[test]
    fn renewal_is_five_to_ten_minutes_ahead_and_sooner_for_short_lives() {
        let now = Moment { wall_micros: 1_700_000_000_000_000, mono: Instant::now() };
        for _ in 0..50 {
            let ahead = |left: i64, life| {
                u64::try_from(left).unwrap() - token(now, left, life).renewal_in(now).as_secs()
            };
            assert!((300..=631).contains(&ahead(3600, Some(3600))));
            assert!((300..=631).contains(&ahead(86_400, None)));
            assert!((5..=41).contains(&ahead(60, Some(60))));
            assert_eq!(token(now, 240, None).renewal_in(now), Duration::ZERO);
            let slept = later(now, 3200, 1);
            assert!(token(now, 3600, Some(3600)).renewal_in(slept) < Duration::from_secs(101));
        }
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_refused() {
        let now = Moment { wall_micros: 0, mono: Instant::now() };
        for bad in ["", "a\nb"] {
            let mut tokens = Tokens::clone(&token(now, 1, None).tokens);
            tokens.access_token = SecretString::from(bad);
            let made = ReadyToken::new(Arc::new(tokens), &Name::parse("a").unwrap(), now);
            assert_eq!(made.unwrap_err().code, Code::OauthTokenError);
        }
    }
}
