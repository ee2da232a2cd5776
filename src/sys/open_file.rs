//! Reading files that hold rules rather than secrets: anybody may read them, only the owner
//! may write them. Called by the store for the policy.
//! SECURITY: the open file is examined, not the name; links are followed, since mounted
//! configuration is made of them.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// The largest file that is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum OpenFileError {
    #[error("it is not a regular file")]
    NotRegular,
    #[error("group or others can write it (mode {0:04o})")]
    Writable(u32),
    #[error("it is larger than 1 MiB")]
    TooLarge,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Reads the file; `None` if it does not exist.
///
/// # Errors
/// Not a regular file, writable by group or others, too large, or the system's own refusal.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, OpenFileError> {
    // A pipe would hold the open call up: it is looked at first, and once more when open.
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return Err(OpenFileError::NotRegular),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(OpenFileError::NotRegular);
    }
    if meta.mode() & 0o022 != 0 {
        return Err(OpenFileError::Writable(meta.mode() & 0o7777));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(OpenFileError::TooLarge);
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn others_may_read_but_not_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert!(read(&path).unwrap().is_none());
        assert!(matches!(read(dir.path()), Err(OpenFileError::NotRegular)));
        fs::write(&path, "x").unwrap();
        for (mode, ok) in [(0o644, true), (0o600, true), (0o664, false), (0o646, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), ok, "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        assert!(matches!(read(&path), Err(OpenFileError::TooLarge)));
    }
}
