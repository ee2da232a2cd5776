//! What all threads of a proxy share. Made by `server`, read by every step of the corridor.

use super::{
    callers::Callers,
    destination::Destinations,
    forward::Timeouts,
    governance::Governance,
    limits::{InFlight, Limits, Open},
    listener::Doors,
    observe::Observer,
    rewrite::ClientAuthorization,
};
use crate::{
    auth::{
        default_workspace::DefaultWorkspaces, resolve::Selection, token_resolver::TokenResolvers,
    },
    store::snapshot::{Snapshot, SnapshotStore},
};
use rustls::pki_types::CertificateDer;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;

/// Everything that requests share, whatever thread they are on.
pub struct Proxy {
    pub(super) snapshots: SnapshotStore,
    pub(super) base: Selection,
    pub(super) destinations: Destinations,
    pub(super) timeouts: Timeouts,
    pub(super) client_authorization: ClientAuthorization,
    pub(super) doors: Doors,
    pub(super) callers: Callers,
    pub(super) limits: Limits,
    pub(super) in_flight: InFlight,
    pub(super) open: Open,
    pub(super) draining: AtomicBool,
    pub(super) hurry: Notify,
    pub(super) governance: Governance,
    pub(super) tokens: TokenResolvers,
    pub(super) observer: Arc<Observer>,
    pub(super) workspaces: DefaultWorkspaces,
}

impl Proxy {
    /// The files and the environment as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.current()
    }

    /// What the flags of the running proxy chose.
    #[must_use]
    pub const fn base(&self) -> &Selection {
        &self.base
    }

    /// The logins, with what happened to their tokens.
    #[must_use]
    pub const fn tokens(&self) -> &TokenResolvers {
        &self.tokens
    }

    /// What has happened so far.
    #[must_use]
    pub const fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    /// How much callers may take.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The certificate that callers are shown now, if they are shown one.
    #[must_use]
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.doors.tls().and_then(|tls| tls.current().leaf().cloned())
    }

    /// Ends a shutdown that has begun, or that begins later, without waiting for requests.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Whether shutdown has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
