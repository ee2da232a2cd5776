//! The cheap check whether a file changed. Called on every request that depends on files.
//! Invariant: nothing is opened.

use std::{io, os::unix::fs::MetadataExt as _, path::Path};

/// What one `lstat` says of a file: two equal stamps mean an unchanged file, unless it was
/// written within the clock's tick (see [`Stamp::is_fresh`]).
#[derive(PartialEq, Eq, Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields are those of lstat, times in nanoseconds")]
pub enum Stamp {
    /// There is no such file.
    Absent,
    /// The system would not say.
    Unreadable,
    /// There is something.
    Present { dev: u64, ino: u64, size: u64, mtime: i128, ctime: i128, mode: u32 },
}

impl Stamp {
    /// Whether the file was written so shortly before (or after) `now`, in nanoseconds since the
    /// Unix epoch, that a further write could leave the same stamp.
    #[must_use]
    pub const fn is_fresh(&self, now: i128) -> bool {
        const TICK: u128 = 50_000_000;
        match self {
            Self::Present { mtime, ctime, .. } => {
                now.abs_diff(*mtime) < TICK || now.abs_diff(*ctime) < TICK
            }
            Self::Absent | Self::Unreadable => false,
        }
    }
}

/// The stamp of a path, links not followed.
#[must_use]
pub fn stamp(path: &Path) -> Stamp {
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Stamp::Present {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime: nanos(meta.mtime(), meta.mtime_nsec()),
            ctime: nanos(meta.ctime(), meta.ctime_nsec()),
            mode: meta.mode(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Stamp::Absent,
        Err(_) => Stamp::Unreadable,
    }
}
