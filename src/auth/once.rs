//! One credential for one command, which has no runtime of its own. Called by `cli`.
//! Invariant: whatever is begun is done when the call returns.

use super::{
    credential::{self, Authorization, Scheme},
    token_resolver::TokenResolvers,
};
use crate::{
    model::{refusal::Refusal, session::Session},
    sys::{env::Env, http::HttpClient},
};
use std::sync::Arc;

/// The header of a session, its token renewed if need be. Blocks the thread.
///
/// # Errors
/// As [`credential::authorize`]; `INVALID_ARGUMENT` for an `MP_PROXY_UPSTREAM` that is none.
pub fn authorize(
    session: &Session,
    scheme: Scheme,
    env: &Arc<Env>,
) -> Result<Authorization, Refusal> {
    with_tokens(env, async |tokens| credential::authorize(session, scheme, env, tokens).await)
}

/// Runs work that needs tokens to its end. Blocks the thread.
///
/// # Errors
/// Those of the work; `INVALID_ARGUMENT` for an `MP_PROXY_UPSTREAM` that is none.
pub fn with_tokens<T>(
    env: &Arc<Env>,
    work: impl AsyncFnOnce(&TokenResolvers) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let http = HttpClient::from_env(env)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Refusal::config(format!("cannot start the runtime: {error}")))?;
    let resolvers = TokenResolvers::new(Arc::clone(env), http, runtime.handle().clone());
    runtime.block_on(work(&resolvers))
}
