//! TLS on the listener: the certificate and key in force, followed while the proxy runs.
//! Made by `listener`, used by `threads` for each handshake, shown by `health` and by metrics.
//! Invariant: a pair that was good once is never replaced by none or by a broken one.

use crate::{
    model::refusal::Refusal,
    store::tls_pair::{self, TlsFiles},
    sys::{
        clock,
        private_file::{Stamp, stamp},
    },
};
use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::CertificateDer,
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The pair of one moment.
pub struct InForce {
    config: Arc<ServerConfig>,
    chain: Vec<CertificateDer<'static>>,
    /// Why the newest state of the files is not in force.
    pub stale: Option<Refusal>,
    /// Grows with every change that took effect.
    pub generation: u64,
}

impl InForce {
    /// The server's own certificate.
    #[must_use]
    pub fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }
}

/// The pair, followed.
pub struct Tls {
    files: TlsFiles,
    home: Option<PathBuf>,
    now: ArcSwap<InForce>,
    seen: Mutex<Option<[Stamp; 2]>>,
    failures: AtomicU64,
    ended: watch::Sender<bool>,
}

impl Tls {
    /// Reads the files for the first time; `home` as in `private_file::read`.
    ///
    /// # Errors
    /// As [`tls_pair::load`].
    pub fn start(files: TlsFiles, home: Option<PathBuf>) -> Result<Self, Refusal> {
        let seen = stamps(&files);
        let now = in_force(tls_pair::load(&files, home.as_deref())?, 1)?;
        Ok(Self {
            files,
            home,
            now: ArcSwap::from_pointee(now),
            seen: Mutex::new(seen),
            failures: AtomicU64::new(0),
            ended: watch::Sender::new(false),
        })
    }

    /// Where the files are.
    #[must_use]
    pub const fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// The pair as the files have it now, or the last good one.
    #[must_use]
    pub fn current(&self) -> Arc<InForce> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps.is_none() || *seen != stamps {
            *seen = stamps;
            self.reload();
        }
        self.now.load_full()
    }

    /// How many changes were broken.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Shakes hands with a caller, for as long as a request head may take.
    ///
    /// # Errors
    /// The caller broke it off, was too slow, or the proxy ends.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        limit: Duration,
    ) -> io::Result<TlsStream<S>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current().config));
        let mut ended = self.ended.subscribe();
        tokio::select! {
            done = tokio::time::timeout(limit, acceptor.accept(stream)) => done?,
            // Nothing was asked yet, so there is nothing to finish.
            _ = ended.wait_for(|ended| *ended) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Breaks off every handshake that is not done.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    fn reload(&self) {
        let old = self.now.load_full();
        let read = tls_pair::load(&self.files, self.home.as_deref())
            .and_then(|pair| in_force(pair, old.generation + 1));
        match read {
            // The same certificate: its key can only be the same one.
            Ok(new) if new.chain == old.chain && old.stale.is_none() => {}
            Ok(new) => {
                let generation = new.generation;
                tracing::info!(cert = %self.files.cert.display(), generation, "certificate changed");
                self.now.store(Arc::new(new));
            }
            Err(refusal) if old.stale.as_ref() == Some(&refusal) => {}
            Err(refusal) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    code = refusal.code.as_str(),
                    "the changed certificate is not used, the old one stays in force: {refusal}"
                );
                self.now.store(Arc::new(InForce {
                    config: Arc::clone(&old.config),
                    chain: old.chain.clone(),
                    stale: Some(refusal),
                    generation: old.generation,
                }));
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

fn in_force(pair: CertifiedKey, generation: u64) -> Result<InForce, Refusal> {
    let unusable = |error: rustls::Error| Refusal::config(format!("TLS cannot be used: {error}"));
    let chain = pair.cert.clone();
    // TLS 1.2 and 1.3; no early data, which could be replayed.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(InForce { config: Arc::new(config), chain, stale: None, generation })
}

/// The stamps of both; `None` if a further write could leave the same ones. Links are followed:
/// what they name is replaced, they are not.
fn stamps(files: &TlsFiles) -> Option<[Stamp; 2]> {
    let of = |path: &Path| stamp(&std::fs::canonicalize(path).unwrap_or_else(|_| path.into()));
    let found = [of(&files.cert), of(&files.key)];
    let now = i128::from(clock::now_micros()) * 1000;
    (!found.iter().any(|stamp| stamp.is_fresh(now))).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    fn write(path: &Path, text: &str) {
        let next = path.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(next, path).unwrap();
    }

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_good_change_is_used_at_once_and_a_broken_one_keeps_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles { cert: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        let (cert, key) = made();
        write(&files.cert, &cert);
        write(&files.key, &key);
        let tls = Tls::start(files.clone(), None).unwrap();
        let first = tls.current();
        assert_eq!((first.generation, first.stale.is_none()), (1, true));
        let (cert, key) = made();
        write(&files.cert, &cert);
        let between = tls.current();
        assert_eq!((between.generation, between.leaf()), (1, first.leaf()));
        assert!(between.stale.as_ref().unwrap().message.contains("not that of the certificate"));
        write(&files.key, &key);
        let second = tls.current();
        assert_eq!((second.generation, second.stale.is_none(), tls.failures()), (2, true, 1));
        assert_ne!(second.leaf(), first.leaf());
        // The same files again are no change.
        write(&files.cert, &cert);
        assert_eq!(tls.current().generation, 2);
        fs::remove_file(&files.key).unwrap();
        for _ in 0..3 {
            assert!(tls.current().stale.as_ref().unwrap().message.contains("does not exist"));
        }
        assert_eq!(tls.failures(), 2, "one broken change is counted once");
        assert!(!Arc::ptr_eq(&first.config, &tls.current().config));
    }
}
