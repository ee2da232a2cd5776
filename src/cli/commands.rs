//! One file per noun of the command line.

#[cfg(feature = "demo")]
pub mod demo;
pub mod serve;
pub mod session;

use std::io::{self, Write as _};

/// Writes data to stdout; a closed pipe is an error, not a panic.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
