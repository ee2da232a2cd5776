//! The protocol of systemd: an inherited socket, and word of how we are. Called by `serve`.
//! Without systemd each of these does nothing.

use crate::{
    cli::local,
    model::refusal::Refusal,
    proxy::{
        listen::{Inherited, Place},
        server::Server,
        shared::Proxy,
    },
};
use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketType};
use sd_notify::NotifyState;
use std::{io, net::TcpListener, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};

/// The socket of `mp-proxy.socket`, if we were started by it.
///
/// # Errors
/// More than one socket, or one that is neither a TCP nor a unix listener.
pub(super) fn inherited() -> Result<Option<Inherited>, Refusal> {
    let mut sockets = ListenFd::from_env();
    let wrong = |text: String| {
        Refusal::config(text).hint("give the socket unit one ListenStream=127.0.0.1:8787")
    };
    match sockets.len() {
        0 => return Ok(None),
        1 => {}
        count => return Err(wrong(format!("systemd passed {count} sockets, one is understood"))),
    }
    if let Ok(listener) = sockets.take_unix_listener(0) {
        return Ok(listener.map(|listener| Inherited::Unix(Arc::new(listener))));
    }
    let listener = match sockets.take_tcp_listener(0) {
        Ok(listener) => Ok(listener),
        Err(_) => {
            let family = AddressFamily::INET6.as_raw().into();
            let kind = SocketType::STREAM.as_raw();
            let kind = i32::try_from(kind).map_err(|_| wrong("no stream sockets here".into()))?;
            sockets.take_custom::<TcpListener>(0, family, kind, "tcp6 socket")
        }
    };
    listener
        .map(|listener| listener.map(|listener| Inherited::Tcp(Arc::new(listener))))
        .map_err(|error| wrong(format!("the socket that systemd passed is unusable: {error}")))
}

/// Says that we are ready, keeps saying that we are alive, and re-reads the files on SIGHUP.
/// Ends when dropped, and says so.
pub(super) struct Service(Vec<JoinHandle<()>>);

impl Service {
    /// Called once the listener is bound; the accepting has to start right after.
    ///
    /// # Errors
    /// SIGHUP cannot be listened for.
    pub(super) fn start(server: &Server) -> Result<Self, Refusal> {
        let mut hangup = signal(SignalKind::hangup())
            .map_err(|error| Refusal::config(format!("cannot listen for signals: {error}")))?;
        let proxy = server.shared();
        let mut tasks = vec![tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                reload(&proxy);
            }
        })];
        if let Some(limit) = sd_notify::watchdog_enabled() {
            tasks.push(tokio::spawn(watch(server.shared(), server.places(), limit / 2)));
        }
        let places: Vec<_> = server.places().iter().map(ToString::to_string).collect();
        let status = format!("listening on {}", places.join(" and "));
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        Ok(Self(tasks))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Says that we are about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Files are followed anyway; this looks at once, and says what it found.
fn reload(proxy: &Arc<Proxy>) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
    let snapshot = proxy.snapshot();
    proxy.observer().files(&snapshot);
    tracing::info!(generation = snapshot.generation, "asked by SIGHUP to read the files again");
    tell(&[NotifyState::Ready]);
}

/// Says that we are alive as long as we answer, by every door.
async fn watch(proxy: Arc<Proxy>, places: Vec<Place>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let (proxy, places) = (Arc::clone(&proxy), places.clone());
        let answers = tokio::task::spawn_blocking(move || {
            places.iter().try_for_each(|place| alive(&proxy, place, pause))
        });
        match tokio::time::timeout(pause, answers).await {
            Ok(Ok(Ok(()))) => tell(&[NotifyState::Watchdog]),
            Ok(Ok(Err(error))) => tracing::error!(%error, "we do not answer ourselves"),
            Ok(Err(error)) => tracing::error!(%error, "the watchdog cannot ask"),
            Err(_) => tracing::error!("we do not answer ourselves in time"),
        }
    }
}

fn alive(proxy: &Proxy, place: &Place, patience: Duration) -> io::Result<()> {
    // The certificate that is in force, which the file may no longer hold.
    let shown = proxy.certificate();
    match local::get_public(place, shown, "/_mp/livez", Some(patience))?.status {
        200 => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A manager that does not listen is none of our business.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
