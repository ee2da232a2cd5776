//! A unix socket that nobody but its owner can connect to. Called by `proxy::listener`.
//! SECURITY: the file is 0600 before anybody can connect; it stands in a directory in which no
//! other user can replace it; what is removed to make room is a socket of ours that nobody
//! listens on, and nothing else.

use rustix::{
    fs::{
        AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, chmodat, fchmod, flock, fstat, open,
        statat, unlinkat,
    },
    io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio},
    net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket},
    process::geteuid,
};
use std::{
    ffi::{OsStr, OsString},
    fs::DirBuilder,
    io,
    os::{
        fd::OwnedFd,
        unix::{fs::DirBuilderExt as _, net::UnixListener},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// How long another process may take over the same place.
const PATIENCE: Duration = Duration::from_secs(2);
const OWNER: Mode = Mode::RUSR.union(Mode::WUSR);

/// Why there is no socket. Holds paths only.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum UnixSocketError {
    #[error("`{path}` names no file", path = .0.display())]
    NoName(PathBuf),
    #[error("`{path}` is too long for a unix socket", path = .0.display())]
    TooLong(PathBuf),
    #[error("other users can replace files in `{path}` (mode {mode:04o}, uid {owner})", path = path.display())]
    Directory { path: PathBuf, mode: u32, owner: u32 },
    #[error("`{path}` is {what}, not a socket", path = path.display())]
    NotASocket { path: PathBuf, what: &'static str },
    #[error("`{path}` belongs to uid {owner}", path = path.display())]
    NotOurs { path: PathBuf, owner: u32 },
    #[error("`{path}` is taken: a program listens on it", path = .0.display())]
    Taken(PathBuf),
    #[error("`{path}`: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl UnixSocketError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoName(_) => "name a file: --unix-socket /run/mp-proxy/mp-proxy.sock".to_owned(),
            Self::TooLong(_) => "choose a shorter path; about 100 bytes is the most".to_owned(),
            Self::Directory { path, .. } => format!(
                "run: chmod go-w {}; or name a directory that does not exist yet, it is made for you alone",
                path.display()
            ),
            Self::NotASocket { path, .. } | Self::NotOurs { path, .. } => {
                format!("choose another path, or remove `{}` yourself", path.display())
            }
            Self::Taken(path) => {
                format!("mp-proxy stop --unix-socket {}; or choose another path", path.display())
            }
            Self::Io { path, .. } => format!("check owner and permissions of `{}`", path.display()),
        }
    }
}

/// The file of a listening socket; removed when dropped, if it is still that one.
#[derive(Debug)]
pub struct SocketFile {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    /// Listens at `path`. A missing directory is made, for its owner only; a socket that its
    /// owner left behind is replaced.
    ///
    /// # Errors
    /// A directory in which others can replace files, anything at `path` but a dead socket of
    /// ours, or the system's own refusal.
    pub fn listen(path: &Path) -> Result<(UnixListener, Self), UnixSocketError> {
        let (directory, path) = real(path)?;
        let name = path.file_name().map(OsStr::to_owned).unwrap_or_default();
        let failed = |error: Errno| io_error(&path, error);
        let address =
            SocketAddrUnix::new(&path).map_err(|_| UnixSocketError::TooLong(path.clone()))?;
        let directory = checked(&directory)?;
        let fd = stream_socket().map_err(failed)?;
        // Linux gives the file this mode, less the umask; elsewhere it is closed below, before
        // anybody can connect.
        let _ = fchmod(&fd, OWNER);
        // Until it listens: two starts must not both find the same socket dead.
        let lock = Locked::take(&directory).map_err(failed)?;
        make_room(&directory, &name, &path, &address)?;
        bind(&fd, &address).map_err(failed)?;
        let made = statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if Mode::from_raw_mode(made.st_mode) != OWNER {
            chmodat(&directory, &name, OWNER, AtFlags::empty()).map_err(failed)?;
        }
        listen(&fd, BACKLOG).map_err(failed)?;
        drop(lock);
        let file = Self { directory, name, path, id: id(&made) };
        Ok((UnixListener::from(fd), file))
    }

    /// The path, its directory without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        let ours = found.is_ok_and(|found| id(&found) == self.id);
        if ours {
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// The same path with a directory that has no links in it; what is missing stays as it was
/// written. Two spellings of one socket are one name by it.
#[must_use]
pub fn canonical(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let directory = whole.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
    match (directory, whole.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => whole,
    }
}

#[allow(clippy::useless_conversion, reason = "the width differs between systems")]
fn id(stat: &Stat) -> (u64, u64) {
    (u64::from(stat.st_dev), u64::from(stat.st_ino))
}

/// The directory, made if need be, and the path in it.
fn real(path: &Path) -> Result<(PathBuf, PathBuf), UnixSocketError> {
    let nameless = || UnixSocketError::NoName(path.to_path_buf());
    let whole = std::path::absolute(path).map_err(|_| nameless())?;
    let directory = whole.parent().ok_or_else(nameless)?;
    let ends_in_slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    whole.file_name().filter(|_| !ends_in_slash).ok_or_else(nameless)?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // Its own parent is missing, or not ours to write in.
        Err(source) => return Err(UnixSocketError::Io { path: directory.to_path_buf(), source }),
    }
    let path = canonical(&whole);
    let directory = path.parent().ok_or_else(nameless)?.to_path_buf();
    Ok((directory, path))
}

/// SECURITY: whoever may write in the directory may put a socket of his own in the place of ours,
/// and would be sent what is meant for us, caller tokens included. `/tmp` is safe by its sticky bit.
fn checked(directory: &Path) -> Result<OwnedFd, UnixSocketError> {
    let failed = |error: Errno| io_error(directory, error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = open(directory, flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&fd).map_err(failed)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let sticky = mode.contains(Mode::SVTX);
    let others_write = mode.intersects(Mode::WGRP | Mode::WOTH) && !sticky;
    let known = stat.st_uid == 0 || stat.st_uid == geteuid().as_raw();
    if others_write || !known {
        #[allow(clippy::useless_conversion, reason = "the width differs between systems")]
        let mode = u32::from(mode.as_raw_mode()) & 0o7777;
        return Err(UnixSocketError::Directory {
            path: directory.to_path_buf(),
            mode,
            owner: stat.st_uid,
        });
    }
    Ok(fd)
}

/// Removes what a process of ours left behind at `name`.
fn make_room(
    directory: &OwnedFd,
    name: &OsStr,
    path: &Path,
    address: &SocketAddrUnix,
) -> Result<(), UnixSocketError> {
    let found = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(io_error(path, error)),
    };
    let what = match FileType::from_raw_mode(found.st_mode) {
        FileType::Socket => None,
        FileType::Symlink => Some("a symbolic link"),
        FileType::RegularFile => Some("a regular file"),
        FileType::Directory => Some("a directory"),
        _ => Some("a special file"),
    };
    if let Some(what) = what {
        return Err(UnixSocketError::NotASocket { path: path.to_path_buf(), what });
    }
    if found.st_uid != geteuid().as_raw() {
        return Err(UnixSocketError::NotOurs { path: path.to_path_buf(), owner: found.st_uid });
    }
    let failed = |error: Errno| io_error(path, error);
    let probe = stream_socket().map_err(failed)?;
    // A queue that is full must not hold us up.
    ioctl_fionbio(&probe, true).map_err(failed)?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ACCESS | Errno::PERM) => return Err(failed(Errno::ACCESS)),
        // Somebody is there, of whatever kind.
        _ => return Err(UnixSocketError::Taken(path.to_path_buf())),
    }
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn stream_socket() -> Result<OwnedFd, Errno> {
    let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// The directory, for one process at a time.
struct Locked<'a>(&'a OwnedFd);

impl<'a> Locked<'a> {
    /// Waits no longer than [`PATIENCE`]: anybody who may read the directory can lock it, and
    /// must not keep us from starting.
    fn take(directory: &'a OwnedFd) -> Result<Option<Self>, Errno> {
        let end = Instant::now() + PATIENCE;
        loop {
            match flock(directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self(directory))),
                Err(Errno::WOULDBLOCK) if Instant::now() < end => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(Errno::WOULDBLOCK | Errno::NOLCK | Errno::OPNOTSUPP | Errno::INVAL) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

fn io_error(path: &Path, error: Errno) -> UnixSocketError {
    UnixSocketError::Io { path: path.to_path_buf(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::{
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
            net::{UnixDatagram, UnixStream},
        },
    };

    fn error(path: &Path) -> UnixSocketError {
        SocketFile::listen(path).unwrap_err()
    }

    #[test]
    fn the_file_is_for_its_owner_and_goes_with_the_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/for/us.sock");
        assert!(matches!(error(&path), UnixSocketError::Io { .. }), "only one level is made");
        let path = dir.path().join("made/us.sock");
        let (listener, file) = SocketFile::listen(&path).unwrap();
        let meta = fs::symlink_metadata(&path).unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!(meta.mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("made")).unwrap().mode() & 0o7777, 0o700);
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        assert!(matches!(error(&path), UnixSocketError::Taken(_)));
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (listener, file) = SocketFile::listen(&path).unwrap();
        // As after a kill: the file stays.
        drop(listener);
        std::mem::forget(file);
        let (_listener, file) = SocketFile::listen(&path).unwrap();
        // Another file under our name is not ours to remove.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "x").unwrap();
        drop(file);
        assert!(matches!(error(&path), UnixSocketError::NotASocket { what: "a regular file", .. }));
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
        let link = dir.path().join("link");
        symlink(dir.path().join("nowhere"), &link).unwrap();
        assert!(matches!(
            error(&link),
            UnixSocketError::NotASocket { what: "a symbolic link", .. }
        ));
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(matches!(error(&folder), UnixSocketError::NotASocket { what: "a directory", .. }));
        let other = dir.path().join("datagrams");
        let _datagrams = UnixDatagram::bind(&other).unwrap();
        assert!(matches!(error(&other), UnixSocketError::Taken(_)));
    }

    #[test]
    fn a_directory_that_others_write_in_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let mode =
            |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        for open in [0o777, 0o770, 0o722] {
            mode(open);
            let refused = error(&path);
            assert!(matches!(refused, UnixSocketError::Directory { .. }), "{refused}");
            assert!(refused.hint().contains("chmod go-w"), "{}", refused.hint());
        }
        for closed in [0o1777, 0o755, 0o700] {
            mode(closed);
            SocketFile::listen(&path).unwrap();
        }
        // The directory may be named by a link; it is what the link names that counts.
        let link = dir.path().join("here");
        symlink(dir.path(), &link).unwrap();
        let (_listener, file) = SocketFile::listen(&link.join("s")).unwrap();
        assert_eq!(file.path(), canonical(&path));
        for nameless in ["/", "", "..", "x/"] {
            let refused = error(Path::new(nameless));
            assert!(matches!(refused, UnixSocketError::NoName(_)), "{nameless}: {refused}");
        }
        let long = dir.path().join("s".repeat(120));
        assert!(matches!(error(&long), UnixSocketError::TooLong(_)));
    }

    #[test]
    fn of_many_that_start_at_once_one_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (listener, file) = SocketFile::listen(&path).unwrap();
        drop(listener);
        std::mem::forget(file);
        let started: Vec<_> = thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| SocketFile::listen(&path))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let listening: Vec<_> = started.iter().filter(|one| one.is_ok()).collect();
        assert_eq!(listening.len(), 1, "{started:?}");
        UnixStream::connect(&path).unwrap();
    }
}
