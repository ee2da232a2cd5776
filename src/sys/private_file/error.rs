//! Why a credential file was not read or written, and what to do about it. Raised here and by
//! `locked_file`. Invariant: it holds paths and numbers only.

use crate::model::refusal::Refusal;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a credential file was not read. Holds paths only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum PrivateFileError {
    #[error("`{path}` is a symbolic link", path = path.display())]
    Symlink { path: PathBuf },
    #[error("`{path}` is not a regular file", path = path.display())]
    NotRegular { path: PathBuf },
    #[error("`{path}` is open to group or others (mode {mode:04o})", path = path.display())]
    Permissions { path: PathBuf, mode: u32 },
    #[error("`{path}` is larger than 1 MiB", path = path.display())]
    TooLarge { path: PathBuf },
    #[error("`{path}`: {kind}", path = path.display())]
    Io { path: PathBuf, kind: io::ErrorKind },
    #[error("`{path}` belongs to uid {owner}, and uid {us} may not read it", path = path.display())]
    NotOurs { path: PathBuf, owner: u32, us: u32 },
    #[error("`{path}` is locked by another program", path = path.display())]
    Busy { path: PathBuf },
}

impl PrivateFileError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Symlink { path } => {
                format!("replace `{}` by what it points to, or name the real path", path.display())
            }
            Self::NotRegular { path } => format!("put a regular file at `{}`", path.display()),
            Self::Permissions { path, .. } => format!("run: chmod 600 {}", path.display()),
            Self::NotOurs { path, owner: 0, .. } => format!(
                "give it to this program's group: chgrp GID {path} && chmod 440 {path}; in Kubernetes set `fsGroup`",
                path = path.display()
            ),
            Self::NotOurs { path, owner, us } => format!(
                "run as its owner (in a container: --user {owner}), or run: chown {us} {}",
                path.display()
            ),
            Self::TooLarge { path } => {
                format!("check that `{}` is the file that is meant", path.display())
            }
            Self::Io {
                kind: io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, ..
            } => {
                "free some disk space, then run the same command again; nothing was changed".into()
            }
            Self::Io { kind: io::ErrorKind::FileTooLarge, .. } => {
                "raise the limit on the size of files (ulimit -f), then run the same command again; nothing was changed".into()
            }
            Self::Io { kind: io::ErrorKind::ReadOnlyFilesystem, path } => format!(
                "`{}` is on a file system that is mounted read-only: name a file elsewhere, or mount it writable",
                path.display()
            ),
            Self::Busy { path } => format!(
                "wait for the other program and try again; `fuser {}` says who it is",
                path.display()
            ),
            Self::Io { path, .. } => {
                format!("check the owner and permissions of `{}`", path.display())
            }
        }
    }

    /// The same as a `CONFIG_ERROR`.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        Refusal::config(self.to_string()).hint(self.hint())
    }

    pub(in crate::sys) fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io { path: path.into(), kind: error.kind() }
    }
}
