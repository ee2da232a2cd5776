//! The way to a private file, a directory at a time. Called by `private_file`, `locked_file` and
//! what else stands beside such files. Invariant: below home nothing is followed.

use super::PrivateFileError;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, mkdirat, open, openat, statat},
    io::Errno,
    process::geteuid,
};
use std::{
    ffi::OsStr,
    io,
    os::fd::OwnedFd,
    path::{Component, Path},
};

/// What to do about a directory that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::sys) enum Missing {
    /// Report it.
    Leave,
    /// Make it, for the owner only.
    Create,
}

/// Opens the directory of `path`; `None` if it does not exist and is not to be made.
/// SECURITY: below `home` no component is followed; above it, the system is trusted. A home of `/`
/// is a container without one: all is the system's then, its `/var/run` and `..data` links too.
pub(in crate::sys) fn open_parent(
    path: &Path,
    home: Option<&Path>,
    missing: Missing,
) -> Result<Option<OwnedFd>, PrivateFileError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let follow = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let home = home.filter(|home| *home != Path::new("/"));
    let below = home.and_then(|home| Some((home, parent.strip_prefix(home).ok()?)));
    // Without a home to be below of, all of the path is walked, links allowed.
    let (root, rest, flags) = match below {
        Some((home, rest)) => (home, rest, follow | OFlags::NOFOLLOW),
        None if parent.is_absolute() => {
            (Path::new("/"), parent.strip_prefix("/").unwrap_or(parent), follow)
        }
        None => (Path::new("."), parent, follow),
    };
    let mut at = match open(root, follow, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) if missing == Missing::Leave => return Ok(None),
        Err(error) => return Err(PrivateFileError::io(root, &error.into())),
    };
    let mut walked = root.to_path_buf();
    for name in rest.components().filter(|part| *part != Component::CurDir) {
        walked.push(name);
        at = match step(&at, name.as_os_str(), flags, &walked)? {
            Some(fd) => fd,
            None if missing == Missing::Leave => return Ok(None),
            None => {
                match mkdirat(&at, name.as_os_str(), Mode::RWXU) {
                    // Somebody else may have made it meanwhile.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(PrivateFileError::io(&walked, &error.into())),
                }
                step(&at, name.as_os_str(), flags, &walked)?
                    .ok_or_else(|| PrivateFileError::io(&walked, &io::ErrorKind::NotFound.into()))?
            }
        };
    }
    Ok(Some(at))
}

/// Opens one name without following it; `None` if it does not exist.
pub(in crate::sys) fn step(
    at: impl rustix::fd::AsFd,
    name: &OsStr,
    flags: OFlags,
    walked: &Path,
) -> Result<Option<OwnedFd>, PrivateFileError> {
    let error = match openat(&at, name, flags, Mode::empty()) {
        Ok(fd) => return Ok(Some(fd)),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => error,
    };
    let stat = statat(&at, name, AtFlags::SYMLINK_NOFOLLOW);
    let owner = stat.as_ref().map_or(0, |stat| stat.st_uid);
    Err(match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Symlink) => PrivateFileError::Symlink { path: walked.into() },
        Ok(FileType::Socket) => PrivateFileError::NotRegular { path: walked.into() },
        Ok(FileType::RegularFile) if error == Errno::ACCESS => {
            PrivateFileError::NotOurs { path: walked.into(), owner, us: geteuid().as_raw() }
        }
        _ => PrivateFileError::io(walked, &error.into()),
    })
}
