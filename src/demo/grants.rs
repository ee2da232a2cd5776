//! What the stand-in's OAuth server knows: clients, codes, tokens that rotate, and the revocation
//! of a whole family when a rotated refresh token comes back (RFC 9700 §4.14.2).
//! Called by `oauth_server`. Invariant: a code is good once; tokens of a revoked family are dead.

use super::switches::{Counts, Renewal, Switches};
use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

/// All of it.
#[derive(Default)]
pub(super) struct State {
    pub(super) switches: Switches,
    pub(super) counts: Counts,
    /// Client to its redirect URI.
    pub(super) clients: HashMap<String, String>,
    pub(super) asked: HashMap<String, Asked>,
    pub(super) codes: HashMap<String, Asked>,
    pub(super) refresh: HashMap<String, Refresh>,
    pub(super) access: HashMap<String, Access>,
    revoked: HashSet<u64>,
    families: u64,
}

/// An authorization request that a person decides about.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) client: String,
    pub(super) redirect: String,
    pub(super) state: String,
    pub(super) challenge: String,
}

pub(super) struct Refresh {
    client: String,
    family: u64,
    rotated: bool,
}

pub(super) struct Access {
    family: u64,
    ends: Instant,
}

impl State {
    pub(super) fn exchange(
        &mut self,
        code: &str,
        client: &str,
        redirect: &str,
        verifier: &str,
    ) -> Result<Value, &'static str> {
        self.counts.exchanges += 1;
        // A code is good once, whatever becomes of it.
        let asked = self.codes.remove(code).ok_or("invalid_grant")?;
        if !(43..=128).contains(&verifier.len()) {
            return Err("invalid_grant");
        }
        let verifier = PkceCodeVerifier::new(verifier.to_owned());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        if asked.client != client
            || asked.redirect != redirect
            || asked.challenge != challenge.as_str()
        {
            return Err("invalid_grant");
        }
        Ok(self.grant_first(client))
    }

    pub(super) fn refresh(&mut self, token: &str, client: &str) -> Result<Value, &'static str> {
        self.counts.refreshes += 1;
        let renewal = self.switches.renewal;
        let Some(known) = self.refresh.get_mut(token) else {
            self.counts.refused_refreshes += 1;
            return Err("invalid_grant");
        };
        let (family, reused) = (known.family, known.rotated);
        if reused && renewal == Renewal::Rotate && self.revoked.insert(family) {
            self.counts.revoked_families += 1;
        }
        if reused || known.client != client || self.revoked.contains(&family) {
            self.counts.refused_refreshes += 1;
            return Err("invalid_grant");
        }
        known.rotated = renewal != Renewal::Keep;
        Ok(self.grant(client, family))
    }

    /// A grant of a new family.
    pub(super) fn grant_first(&mut self, client: &str) -> Value {
        self.families += 1;
        self.grant(client, self.families)
    }

    /// Whether an access token was granted here and is neither expired nor revoked.
    pub(super) fn is_live(&self, bearer: &str) -> bool {
        self.access.get(bearer).is_some_and(|access| {
            access.ends > Instant::now() && !self.revoked.contains(&access.family)
        })
    }

    fn grant(&mut self, client: &str, family: u64) -> Value {
        let (access, refresh) = (random("access"), random("refresh"));
        let life = self.switches.expires_in;
        let ends = Instant::now() + Duration::from_secs(life.min(86_400));
        self.access.insert(access.clone(), Access { family, ends });
        let mut grant = json!({
            "access_token": access, "token_type": "Bearer", "expires_in": life,
            "scope": "projects analysis",
        });
        let first = !self.refresh.values().any(|known| known.family == family);
        if first || self.switches.renewal != Renewal::Keep {
            grant["refresh_token"] = json!(refresh);
            let entry = Refresh { client: client.to_owned(), family, rotated: false };
            self.refresh.insert(refresh, entry);
        }
        grant
    }
}

/// A word that nobody can guess; its beginning says what it is, so that tests can look for it.
pub(super) fn random(kind: &str) -> String {
    format!("demo-{kind}-{}", CsrfToken::new_random().secret())
}
