//! Writing files that hold secrets: one lock, one atomic replacement.
//! Called by the store for config, tokens, clients, bridge and ledgers.
//! Invariants: nothing is written without the lock; at any instant the old or the new file is
//! there, complete, 0600; a link is never followed below home.

use super::private_file::{Missing, PrivateFileError, open_parent, read_open, step};
use rustix::{
    fs::{
        AtFlags, FlockOperation, Mode, OFlags, flock, fstat, fsync, openat, renameat, statat,
        unlinkat,
    },
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Write as _,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use zeroize::Zeroizing;

/// How long to sleep between two tries for a lock.
const RETRY: Duration = Duration::from_millis(10);

/// A file that no other program of ours writes while this value lives. The lock is an
/// exclusive `flock` on `NAME.lock` beside the file; the kernel lets go of it if we die.
#[derive(Debug)]
pub struct LockedFile {
    path: PathBuf,
    name: OsString,
    directory: OwnedFd,
    lock_name: OsString,
    _lock: OwnedFd,
}

/// What a write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    Disk,
    Cache,
}

impl LockedFile {
    /// Waits up to `wait` for the lock. Missing directories are made, 0700. Blocks the thread.
    ///
    /// # Errors
    /// A link below `home`, a lock held for longer than `wait`, or the system's own refusal.
    pub fn acquire(
        path: &Path,
        home: Option<&Path>,
        wait: Duration,
    ) -> Result<Self, PrivateFileError> {
        let lock = path.file_name().map(|name| suffixed(name, ".lock")).unwrap_or_default();
        Self::acquire_with(path, home, wait, &lock)
    }

    /// The same with a lock file of another name, where another program has settled on one.
    ///
    /// # Errors
    /// As [`LockedFile::acquire`].
    pub fn acquire_with(
        path: &Path,
        home: Option<&Path>,
        wait: Duration,
        lock_name: &OsStr,
    ) -> Result<Self, PrivateFileError> {
        let missing =
            |path: &Path| PrivateFileError::io(path, &std::io::ErrorKind::NotFound.into());
        let name = path.file_name().ok_or_else(|| missing(path))?.to_owned();
        let directory = open_parent(path, home, Missing::Create)?.ok_or_else(|| missing(path))?;
        let lock_path = path.with_file_name(lock_name);
        let deadline = Instant::now() + wait;
        let lock = loop {
            let lock = open_lock(&directory, lock_name, &lock_path)?;
            wait_for(&lock, deadline, &lock_path)?;
            if is_in_place(&directory, lock_name, &lock) {
                break lock;
            }
            // Somebody removed the lock that we waited for; the one in its place counts.
        };
        Ok(Self { path: path.into(), name, directory, lock_name: lock_name.into(), _lock: lock })
    }

    /// Lets go of the lock and removes its file, for files in folders of other people.
    pub fn leave_no_lock(self) {
        // Others that wait for it notice (see `acquire`). If it cannot go, it is only untidy.
        let _ = self.unlink(&self.lock_name);
    }

    /// The file that is locked.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file as it is now; `None` if it does not exist.
    ///
    /// # Errors
    /// As [`super::private_file::read`].
    pub fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = step(&self.directory, &self.name, flags, &self.path)?;
        open.map(|fd| read_open(fd, &self.path)).transpose()
    }

    /// Replaces the file: temporary file 0600, `fsync`, rename, `fsync` of the directory.
    ///
    /// # Errors
    /// The system's own refusal; the old file is then still there, untouched.
    pub fn write(&self, bytes: &[u8]) -> Result<(), PrivateFileError> {
        self.replace(bytes, Durability::Disk)
    }

    /// Replaces the file atomically without waiting for the disk: for what a power cut may take.
    ///
    /// # Errors
    /// As [`LockedFile::write`].
    pub fn write_unsynced(&self, bytes: &[u8]) -> Result<(), PrivateFileError> {
        self.replace(bytes, Durability::Cache)
    }

    fn replace(&self, bytes: &[u8], durability: Durability) -> Result<(), PrivateFileError> {
        let failed = |error: std::io::Error| PrivateFileError::io(&self.path, &error);
        // The lock makes the name ours: what stands there was left by a writer that died.
        let temporary = suffixed(&self.name, ".tmp");
        self.unlink(&temporary)?;
        let written = self.write_new(&temporary, bytes, durability).and_then(|()| {
            renameat(&self.directory, &temporary, &self.directory, &self.name).map_err(Into::into)
        });
        if let Err(error) = written {
            let _ = self.unlink(&temporary);
            return Err(failed(error));
        }
        match durability {
            Durability::Disk => fsync(&self.directory).map_err(|error| failed(error.into())),
            Durability::Cache => Ok(()),
        }
    }

    /// Removes the file; says whether there was one.
    ///
    /// # Errors
    /// The system's own refusal.
    pub fn remove(&self) -> Result<bool, PrivateFileError> {
        let removed = self.unlink(&self.name)?;
        if removed {
            fsync(&self.directory)
                .map_err(|error| PrivateFileError::io(&self.path, &error.into()))?;
        }
        Ok(removed)
    }

    fn write_new(
        &self,
        name: &OsString,
        bytes: &[u8],
        durability: Durability,
    ) -> std::io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(bytes)?;
        match durability {
            Durability::Disk => file.sync_all(),
            Durability::Cache => Ok(()),
        }
    }

    fn unlink(&self, name: &OsString) -> Result<bool, PrivateFileError> {
        match unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(PrivateFileError::io(&self.path, &error.into())),
        }
    }
}

/// Takes the exclusive lock on a file of its own, made if it is missing; `None` if somebody
/// holds it. It lasts as long as the descriptor.
///
/// # Errors
/// A link below `home`, or the system's own refusal.
pub fn try_lock(path: &Path, home: Option<&Path>) -> Result<Option<OwnedFd>, PrivateFileError> {
    let failed = |error: Errno| PrivateFileError::io(path, &error.into());
    let directory =
        open_parent(path, home, Missing::Create)?.ok_or_else(|| failed(Errno::NOENT))?;
    let name = path.file_name().ok_or_else(|| failed(Errno::NOENT))?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&directory, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn open_lock(directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd, PrivateFileError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::RUSR | Mode::WUSR).map_err(|error| match error {
        Errno::LOOP => PrivateFileError::Symlink { path: path.into() },
        error => PrivateFileError::io(path, &error.into()),
    })
}

fn wait_for(lock: &OwnedFd, deadline: Instant, path: &Path) -> Result<(), PrivateFileError> {
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(RETRY),
            Err(Errno::WOULDBLOCK) => return Err(PrivateFileError::Busy { path: path.into() }),
            Err(Errno::INTR) => {}
            Err(error) => return Err(PrivateFileError::io(path, &error.into())),
        }
    }
}

/// Whether the open lock is the one that others find by its name.
fn is_in_place(directory: &OwnedFd, name: &OsStr, lock: &OwnedFd) -> bool {
    let named = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    let (Ok(named), Ok(open)) = (named, fstat(lock)) else { return false };
    (named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)
}

fn suffixed(name: &OsStr, end: &str) -> OsString {
    let mut all = OsString::from(".");
    all.push(name);
    all.push(end);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, symlink},
    };

    const WAIT: Duration = Duration::from_millis(50);

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let path = home.join(".mp/deep/f.toml");
        let file = LockedFile::acquire(&path, Some(home), WAIT).unwrap();
        assert_eq!(file.read().unwrap(), None);
        fs::write(home.join(".mp/deep/.f.toml.tmp"), "left by a crash").unwrap();
        for text in ["a", "bb"] {
            file.write(text.as_bytes()).unwrap();
            assert_eq!(*file.read().unwrap().unwrap(), text.as_bytes());
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(home.join(".mp/deep")).unwrap().mode() & 0o7777, 0o700);
        assert!(!home.join(".mp/deep/.f.toml.tmp").exists());
        assert!(file.remove().unwrap() && !file.remove().unwrap());
    }

    #[test]
    fn one_writer_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let first = LockedFile::acquire(&path, None, WAIT).unwrap();
        let second = LockedFile::acquire(&path, None, WAIT).unwrap_err();
        assert_eq!(second, PrivateFileError::Busy { path: dir.path().join(".f.lock") });
        drop(first);
        LockedFile::acquire(&path, None, WAIT).unwrap();
    }

    #[test]
    fn a_lock_that_is_removed_while_others_wait_still_excludes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let first = LockedFile::acquire(&path, None, WAIT).unwrap();
        let waiting = {
            let path = path.clone();
            std::thread::spawn(move || LockedFile::acquire(&path, None, Duration::from_secs(10)))
        };
        std::thread::sleep(WAIT);
        first.leave_no_lock();
        let second = waiting.join().unwrap().unwrap();
        LockedFile::acquire(&path, None, WAIT).unwrap_err();
        second.leave_no_lock();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_are_neither_followed_nor_replaced_silently() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir_all(home.join("real")).unwrap();
        symlink(home.join("real"), home.join(".mp")).unwrap();
        let error = LockedFile::acquire(&home.join(".mp/f"), Some(&home), WAIT).unwrap_err();
        assert_eq!(error, PrivateFileError::Symlink { path: home.join(".mp") });
        symlink("elsewhere", home.join("real/.f.lock")).unwrap();
        let error = LockedFile::acquire(&home.join("real/f"), Some(&home), WAIT).unwrap_err();
        assert_eq!(error, PrivateFileError::Symlink { path: home.join("real/.f.lock") });
        symlink("elsewhere", home.join("real/g")).unwrap();
        let file = LockedFile::acquire(&home.join("real/g"), Some(&home), WAIT).unwrap();
        assert!(matches!(file.read(), Err(PrivateFileError::Symlink { .. })));
    }
}
