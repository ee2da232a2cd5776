//! A file that only grows, one whole line after the other, for trails that others rotate.
//! Called by the audit trail's thread.
//! Invariants: opened for appending, 0600, links not followed; a line is written whole or
//! finished later; a file that was moved away is opened anew under its name.

use super::private_file::PrivateFileError;
use rustix::fs::{Mode, OFlags, fstat, open};
use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The open file.
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    file: File,
    /// The last line, and how much of it is written; the rest comes after a disk that was full.
    last: Vec<u8>,
    written: usize,
}

impl AppendFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// A link, anything but a regular file, one that others may write, or the system's refusal.
    pub fn open(path: &Path) -> Result<Self, PrivateFileError> {
        let file = opened(path)?;
        Ok(Self { path: path.to_path_buf(), file, last: Vec::new(), written: 0 })
    }

    /// Takes up the next line, `\n` at its end included, once the one before is written.
    pub fn begin(&mut self, line: Vec<u8>) {
        (self.last, self.written) = (line, 0);
    }

    /// Writes what is left of the last line.
    ///
    /// # Errors
    /// The system's own refusal; what was not written is kept.
    pub fn finish(&mut self) -> io::Result<()> {
        while let Some(rest) = self.last.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Opens the file anew if another one, or none, has its name by now.
    ///
    /// # Errors
    /// As [`AppendFile::open`]; the old file stays open then.
    pub fn follow(&mut self) -> Result<(), PrivateFileError> {
        let named = std::fs::symlink_metadata(&self.path).map(|meta| (meta.dev(), meta.ino())).ok();
        let held = self.file.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
        if named.is_some() && named == held {
            return Ok(());
        }
        if self.written > 0 && self.finish().is_err() {
            // Whole in the new file rather than in halves.
            self.written = 0;
        }
        self.file = opened(&self.path)?;
        Ok(())
    }
}

fn opened(path: &Path) -> Result<File, PrivateFileError> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NONBLOCK;
    let file = open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| match error {
        rustix::io::Errno::LOOP => PrivateFileError::Symlink { path: path.into() },
        error => PrivateFileError::io(path, &error.into()),
    })?;
    let stat = fstat(&file).map_err(|error| PrivateFileError::io(path, &error.into()))?;
    let file = File::from(file);
    let regular = file.metadata().is_ok_and(|meta| meta.is_file());
    if !regular {
        return Err(PrivateFileError::NotRegular { path: path.into() });
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        #[allow(clippy::useless_conversion, reason = "the width differs between systems")]
        let mode = u32::from(mode.as_raw_mode()) & 0o7777;
        return Err(PrivateFileError::Permissions { path: path.into(), mode });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    fn line(file: &mut AppendFile, text: &[u8]) {
        file.begin(text.to_vec());
        file.finish().unwrap();
    }

    #[test]
    fn it_grows_and_follows_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        let mut file = AppendFile::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        line(&mut file, b"one\n");
        fs::rename(&path, dir.path().join("a.1")).unwrap();
        line(&mut file, b"two\n");
        file.follow().unwrap();
        line(&mut file, b"three\n");
        fs::remove_file(&path).unwrap();
        file.follow().unwrap();
        file.follow().unwrap();
        line(&mut file, b"four\n");
        assert_eq!(fs::read_to_string(dir.path().join("a.1")).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
        line(&mut AppendFile::open(&path).unwrap(), b"five\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\nfive\n");
    }

    #[test]
    fn links_and_odd_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("target"), &path).unwrap();
        assert_eq!(AppendFile::open(&path).unwrap_err(), PrivateFileError::Symlink { path });
        assert!(!dir.path().join("target").exists());
        assert!(AppendFile::open(dir.path()).is_err());
        let open = dir.path().join("open");
        fs::write(&open, "").unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(matches!(AppendFile::open(&open), Err(PrivateFileError::Permissions { .. })));
    }

    #[test]
    fn a_full_disk_leaves_no_torn_line() {
        // Writes to it fail with ENOSPC.
        let full = Path::new("/dev/full");
        if !full.exists() {
            return;
        }
        let file = File::options().append(true).open(full).unwrap();
        let mut file = AppendFile { path: full.into(), file, last: Vec::new(), written: 0 };
        file.begin(b"one\n".to_vec());
        assert!(file.finish().is_err());
        let dir = tempfile::tempdir().unwrap();
        file.file = File::create(dir.path().join("f")).unwrap();
        file.finish().unwrap();
        line(&mut file, b"two\n");
        assert_eq!(fs::read_to_string(dir.path().join("f")).unwrap(), "one\ntwo\n");
    }
}
