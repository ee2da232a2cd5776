//! Where the bearer of a browser login comes from: `tokens.json`, or the bridge in memory.
//! Called by `credential`. Refreshing belongs here, behind [`browser_token`].
//! Invariant: resolving never writes a file (quirks B1 to B3).

use crate::{
    model::{
        refusal::{Code, Refusal},
        session::Session,
        tokens::Tokens,
    },
    store::tokens,
    sys::env::Env,
};
use std::sync::Arc;

/// The token that a request of this session is signed with: of bridge and disk the one
/// that expires later. `now` is in microseconds since the Unix epoch.
///
/// # Errors
/// `OAUTH_TOKEN_ERROR` without a usable token, `OAUTH_REFRESH_ERROR` for an expired one.
pub fn browser_token(session: &Session, env: &Env, now: i64) -> Result<Arc<Tokens>, Refusal> {
    let name = &session.account.name;
    let bridged = session.bridge_tokens.clone();
    let on_disk = match tokens::load(env, name) {
        Ok(found) => found.map(Arc::new),
        // A broken file beside a good bridge is not what this request depends on.
        Err(refusal) if bridged.is_none() => return Err(refusal),
        Err(_) => None,
    };
    let from_bridge = bridged.is_some();
    let best = bridged.into_iter().chain(on_disk).max_by_key(|tokens| tokens.expires_at_micros);
    let Some(best) = best else {
        return Err(Refusal::new(
            Code::OauthTokenError,
            format!("account `{name}` has no OAuth tokens"),
        )
        .hint(format!("run: mp account login {name}")));
    };
    if !best.is_expired(now) {
        return Ok(best);
    }
    if best.refresh_token.is_none() {
        return Err(Refusal::new(
            Code::OauthTokenError,
            format!(
                "the access token of account `{name}` is expired and there is no refresh token"
            ),
        )
        .hint(format!("run: mp account login {name}")));
    }
    let hint = if from_bridge {
        "on the host, run: mp account export-bridge".to_owned()
    } else {
        format!("run: mp account test {name} (it refreshes the token), or: mp account login {name}")
    };
    Err(Refusal::new(
        Code::OauthRefreshError,
        format!(
            "the access token of account `{name}` is expired and this version does not refresh it"
        ),
    )
    .hint(hint))
}
