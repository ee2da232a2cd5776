//! A private file that is parsed once and read again when it changes.
//! Called by the caller tokens and by the listener's TLS key.
//! Invariant: a file that became unreadable or malformed is an error from the next look on; the
//! old content is never used in its place.

use crate::{
    model::refusal::Refusal,
    sys::private_file::{self, Stamp},
};
use arc_swap::ArcSwapOption;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Makes the value out of the bytes; the path is for messages.
type Parse<T> = fn(&[u8], &Path) -> Result<T, Refusal>;

/// One file and the value that was parsed from it.
pub struct Watched<T> {
    path: PathBuf,
    home: Option<PathBuf>,
    parse: Parse<T>,
    cached: ArcSwapOption<Cached<T>>,
    reading: Mutex<()>,
}

struct Cached<T> {
    stamp: Stamp,
    /// Whether an equal stamp proves an equal content.
    settled: bool,
    value: Result<Arc<T>, Refusal>,
}

impl<T> Watched<T> {
    /// Reads nothing yet. `home` as in [`private_file::read`].
    #[must_use]
    pub fn new(path: PathBuf, home: Option<PathBuf>, parse: Parse<T>) -> Self {
        Self { path, home, parse, cached: ArcSwapOption::empty(), reading: Mutex::new(()) }
    }

    /// The path, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file as it is now; one `lstat` if it did not change.
    ///
    /// # Errors
    /// `CONFIG_ERROR`: not there, not private, or malformed.
    pub fn current(&self) -> Result<Arc<T>, Refusal> {
        if let Some(value) = self.unchanged() {
            return value;
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have read while this one waited.
        self.unchanged().unwrap_or_else(|| self.reload())
    }

    fn unchanged(&self) -> Option<Result<Arc<T>, Refusal>> {
        let cached = self.cached.load();
        let cached = cached.as_ref()?;
        (cached.settled && cached.stamp == private_file::stamp(&self.path))
            .then(|| cached.value.clone())
    }

    fn reload(&self) -> Result<Arc<T>, Refusal> {
        let now = nanos();
        let before = private_file::stamp(&self.path);
        let value = self.read().map(Arc::new);
        let settled = before == private_file::stamp(&self.path) && !before.is_fresh(now);
        self.cached.store(Some(Arc::new(Cached { stamp: before, settled, value: value.clone() })));
        value
    }

    fn read(&self) -> Result<T, Refusal> {
        let bytes = private_file::read(&self.path, self.home.as_deref())
            .map_err(|error| error.refusal())?
            .ok_or_else(|| {
                Refusal::config(format!("`{}` does not exist", self.path.display()))
                    .hint("put the file there (mode 0600), or start mp-proxy without naming it")
            })?;
        (self.parse)(&bytes, &self.path)
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("path", &self.path).finish_non_exhaustive()
    }
}

fn nanos() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    static PARSED: AtomicUsize = AtomicUsize::new(0);

    fn number(bytes: &[u8], _path: &Path) -> Result<u32, Refusal> {
        PARSED.fetch_add(1, Ordering::Relaxed);
        std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Refusal::config("not a number"))
    }

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_change_is_seen_at_once_and_no_change_reads_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let watched = Watched::new(path.clone(), None, number);
        assert_eq!(format!("{watched:?}"), format!("Watched {{ path: {path:?}, .. }}"));
        assert!(watched.current().unwrap_err().message.contains("does not exist"));
        for value in 1..50 {
            write(&path, &value.to_string());
            assert_eq!(*watched.current().unwrap(), value);
        }
        std::thread::sleep(Duration::from_millis(60));
        watched.current().unwrap();
        let parsed = PARSED.load(Ordering::Relaxed);
        assert_eq!(*watched.current().unwrap(), 49);
        assert_eq!(PARSED.load(Ordering::Relaxed), parsed);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(watched.current().unwrap_err().hint.unwrap().starts_with("run: chmod 600"));
        write(&path, "x");
        assert_eq!(watched.current().unwrap_err().message, "not a number");
        fs::remove_file(&path).unwrap();
        assert!(watched.current().is_err());
    }
}
