//! Reading files that hold secrets. Called by the store for config, bridge and tokens.
//! SECURITY: what is checked is what is read: every step below home is opened without
//! following links, and the open file itself is examined.

mod error;
mod stamp;
mod walk;

pub use error::PrivateFileError;
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, fchmod, fstat, unlinkat},
    io::Errno,
    process::{getegid, geteuid, getgroups},
};
pub use stamp::{Stamp, stamp};
use std::{fs::File, io::Read as _, os::fd::OwnedFd, path::Path};
pub(super) use walk::{Missing, open_parent, step};
use zeroize::Zeroizing;

/// The largest credential file that is read.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// Room for the read that finds the end.
const PROBE: usize = 64;

/// Reads a credential file; `None` if it does not exist. What was read is wiped once it is dropped.
///
/// # Errors
/// A link at the file or at a directory below `home`, anything but a regular file, a group or
/// world permission bit (root's files apart, see `is_shared`), more than 1 MiB, or the system's own refusal.
pub fn read(
    path: &Path,
    home: Option<&Path>,
) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError> {
    open_checked(path, home)?.map(|fd| read_open(fd, path)).transpose()
}

/// The same for a file without a secret in it: permission bits of others are taken away instead
/// of refused (quirk C11).
///
/// # Errors
/// As [`read`], and if the permissions cannot be changed.
pub fn read_repaired(
    path: &Path,
    home: Option<&Path>,
) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError> {
    let Some(fd) = open_checked(path, home)? else { return Ok(None) };
    let stat = fstat(&fd).map_err(|error| PrivateFileError::io(path, &error.into()))?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if regular && Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
        fchmod(&fd, Mode::RUSR | Mode::WUSR)
            .map_err(|error| PrivateFileError::io(path, &error.into()))?;
    }
    read_open(fd, path).map(Some)
}

/// Examines and reads a file that is already open.
pub(super) fn read_open(fd: OwnedFd, path: &Path) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let stat = fstat(&fd).map_err(|error| PrivateFileError::io(path, &error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(PrivateFileError::NotRegular { path: path.into() });
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if is_shared(mode, stat.st_uid, geteuid().as_raw(), || is_our_group(stat.st_gid)) {
        #[allow(clippy::useless_conversion, reason = "the width differs between systems")]
        let mode = u32::from(mode.as_raw_mode()) & 0o7777;
        return Err(PrivateFileError::Permissions { path: path.into(), mode });
    }
    // SECURITY: a vector that grows leaves its former place unwiped, so all of it has room at once.
    let size = u64::try_from(stat.st_size).unwrap_or_default().min(MAX_BYTES);
    let room = usize::try_from(size).unwrap_or_default() + PROBE;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    File::from(fd)
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| PrivateFileError::io(path, &error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(PrivateFileError::TooLarge { path: path.into() });
    }
    Ok(bytes)
}

/// Whether others than `us` and root can get at a file of this mode and owner.
/// SECURITY: the group may read (and no more than read) what belongs to root, where we are not root
/// and in that group (PostgreSQL treats its keys so): only an administrator can have made it so, and
/// a mounted Kubernetes secret (`root:fsGroup 0440`) has no other way to reach a program that is not
/// root. Where we read it by an access list, the group is somebody else's.
fn is_shared(mode: Mode, owner: u32, us: u32, is_our_group: impl FnOnce() -> bool) -> bool {
    let others = mode.intersection(Mode::RWXG | Mode::RWXO);
    let mounted = || others == Mode::RGRP && owner == 0 && us != 0 && is_our_group();
    !others.is_empty() && !mounted()
}

/// Whether we are in a group. What the system does not tell counts as no.
fn is_our_group(gid: u32) -> bool {
    let others = || getgroups().unwrap_or_default();
    getegid().as_raw() == gid || others().iter().any(|group| group.as_raw() == gid)
}

/// Opens the file itself: every directory below `home` first, none of them through a link.
fn open_checked(path: &Path, home: Option<&Path>) -> Result<Option<OwnedFd>, PrivateFileError> {
    let file = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match (open_parent(path, home, Missing::Leave)?, path.file_name()) {
        (Some(parent), Some(name)) => step(&parent, name, file, path),
        _ => Ok(None),
    }
}

/// Removes a folder and the files in it; folders within are left alone, and are an error.
///
/// # Errors
/// A link at the folder or at a directory above it and below `home`, or the system's own refusal.
pub fn remove_folder(path: &Path, home: Option<&Path>) -> Result<(), PrivateFileError> {
    let failed = |error: Errno| PrivateFileError::io(path, &error.into());
    let (Some(parent), Some(name)) = (open_parent(path, home, Missing::Leave)?, path.file_name())
    else {
        return Ok(());
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Some(folder) = step(&parent, name, flags, path)? else { return Ok(()) };
    for entry in Dir::read_from(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            unlinkat(&folder, entry.file_name(), AtFlags::empty()).map_err(failed)?;
        }
    }
    unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    type Read = Result<Option<Vec<u8>>, PrivateFileError>;

    fn read(path: &Path, home: Option<&Path>) -> Read {
        super::read(path, home).map(|bytes| bytes.map(|bytes| bytes.to_vec()))
    }

    fn read_repaired(path: &Path, home: Option<&Path>) -> Read {
        super::read_repaired(path, home).map(|bytes| bytes.map(|bytes| bytes.to_vec()))
    }

    fn private(path: &Path, text: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn reads_private_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let path = home.join("a/b/file");
        assert_eq!(read(&path, Some(home)), Ok(None));
        private(&path, b"x");
        assert_eq!(read(&path, Some(home)), Ok(Some(b"x".to_vec())));
        assert_eq!(read(&path, None), Ok(Some(b"x".to_vec())));
        for mode in [0o640, 0o604, 0o610, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path, Some(home)).unwrap_err();
            assert_eq!(error, PrivateFileError::Permissions { path: path.clone(), mode });
            assert_eq!(error.hint(), format!("run: chmod 600 {}", path.display()));
        }
        assert_eq!(read_repaired(&path, Some(home)), Ok(Some(b"x".to_vec())));
        assert_eq!(read(&path, Some(home)), Ok(Some(b"x".to_vec())));
        private(&path, &vec![b'x'; 1024 * 1024 + 1]);
        assert_eq!(read(&path, None), Err(PrivateFileError::TooLarge { path: path.clone() }));
        let parent = home.join("a/b");
        let expected = Err(PrivateFileError::NotRegular { path: parent.clone() });
        assert_eq!(read(&parent, Some(home)), expected);
    }

    #[test]
    fn only_roots_files_may_be_read_by_a_group() {
        let shared =
            |mode, owner, us, ours| is_shared(Mode::from_raw_mode(mode), owner, us, move || ours);
        for mode in [0o400, 0o600, 0o440, 0o640] {
            let open = mode & 0o077 != 0;
            assert!(!shared(mode, 0, 65532, true), "{mode:o}");
            assert_eq!(shared(mode, 0, 65532, false), open, "{mode:o}: the group of others");
            assert_eq!(shared(mode, 65532, 65532, true), open, "{mode:o}: not root's");
            assert_eq!(shared(mode, 1000, 65532, true), open, "{mode:o}: not root's");
            assert_eq!(shared(mode, 0, 0, true), open, "{mode:o}: we are root");
        }
        for mode in [0o444, 0o660, 0o450, 0o404, 0o420, 0o410, 0o441, 0o442] {
            assert!(shared(mode, 0, 65532, true), "{mode:o}");
        }
        assert!(is_our_group(getegid().as_raw()));
        assert!(!is_our_group(u32::MAX - 7));
    }

    #[test]
    fn a_home_of_slash_is_none() {
        let dir = tempfile::tempdir().unwrap();
        private(&dir.path().join("..2026/bridge"), b"x");
        symlink("..2026", dir.path().join("..data")).unwrap();
        symlink("..data/bridge", dir.path().join("bridge")).unwrap();
        let inside = dir.path().join("..data/bridge");
        assert_eq!(read(&inside, Some(Path::new("/"))), Ok(Some(b"x".to_vec())));
        assert!(read(&inside, Some(dir.path())).is_err());
        // The file itself may be no link, wherever it is.
        let link = dir.path().join("bridge");
        let refused = PrivateFileError::Symlink { path: link.clone() };
        assert_eq!(read(&link, Some(Path::new("/"))), Err(refused));
    }

    #[test]
    fn links_below_home_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        private(&home.join("real/file"), b"x");
        symlink(home.join("real"), home.join("link")).unwrap();
        symlink("nowhere", home.join("dangling")).unwrap();
        symlink(&home, dir.path().join("home2")).unwrap();
        let refused = |path: &Path| Err(PrivateFileError::Symlink { path: path.into() });
        assert_eq!(read(&home.join("link/file"), Some(&home)), refused(&home.join("link")));
        assert_eq!(read(&home.join("dangling"), Some(&home)), refused(&home.join("dangling")));
        assert_eq!(read(&home.join("dangling"), None), refused(&home.join("dangling")));
        assert_eq!(read(&home.join("link/file"), None), Ok(Some(b"x".to_vec())));
        let home2 = dir.path().join("home2");
        assert_eq!(read(&home2.join("real/file"), Some(&home2)), Ok(Some(b"x".to_vec())));
    }
}
