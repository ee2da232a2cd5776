//! The connection that the first request will need, opened before it comes (`--warm-up`).
//! Spawned by `server` on the thread that serves the first caller.
//! Invariant: nothing is sent over it, no credential is read for it, and what fails is a line in
//! the log.

use super::{
    error::{ConnectFailed, upstream_failure},
    worker::Worker,
};
use crate::{
    auth::resolve::resolve,
    model::origin::{Family, Origin},
};
use std::time::Instant;

/// Whether a connection to Mixpanel is opened at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WarmUp {
    /// The first request opens it.
    #[default]
    Never,
    /// To the host of queries in the region of the base session.
    AtStart,
}

/// Leaves a connection in the worker's pool.
pub(super) async fn warm_up(worker: &Worker) {
    let proxy = &*worker.proxy;
    // Without a base session nobody knows the region; that it is missing was said at start.
    let Ok(session) = resolve(&proxy.snapshot(), proxy.base()) else { return };
    let destination = proxy.destinations.get(Origin::new(Family::App, session.account.region));
    let (host, begun) = (destination.host, Instant::now());
    match worker.pool.fresh(destination).await {
        Ok(lease) => {
            lease.give_back();
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(host, ms, "connected ahead of the first request");
        }
        Err(error) => {
            let refusal = upstream_failure(host, &ConnectFailed(error));
            let hint = refusal.hint.as_deref().unwrap_or_default();
            tracing::warn!(
                code = refusal.code.as_str(),
                hint,
                "not connected ahead of the first request: {refusal}"
            );
        }
    }
}
