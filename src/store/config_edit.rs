//! Changes to `config.toml`: one read-modify-write under the lock, comments and layout kept.
//! Called by `ops`. Invariants: every account block is checked before anything is written
//! (quirk M8; targets and `[active]` are not, M9); a change that is refused touches nothing.

mod changes;
mod draft;

use super::snapshot;
use crate::{
    model::refusal::Refusal,
    sys::{
        env::Env,
        locked_file::LockedFile,
        private_file::{self, PrivateFileError},
    },
};
pub use draft::Draft;
use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};
use zeroize::Zeroizing;

/// How long to wait for other writers.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Changes the config. `change` is called twice: first on the file as it stands, so that what is
/// refused leaves neither a directory nor a lock behind, then under the lock.
///
/// # Errors
/// What `change` refuses, a broken account block, an unsafe or malformed file, or one that cannot
/// be written. Then the file is as it was, byte for byte.
pub fn edit<T>(env: &Env, change: impl Fn(&mut Draft) -> Result<T, Refusal>) -> Result<T, Refusal> {
    let path = env.config_path().ok_or_else(snapshot::no_place)?;
    let failed = |error: PrivateFileError| error.refusal();
    let attempt = |bytes: Option<Zeroizing<Vec<u8>>>| {
        let mut draft = Draft::parse(bytes.unwrap_or_default(), &path)?;
        let done = change(&mut draft)?;
        Ok((done, draft.finish()?))
    };
    attempt(private_file::read(&path, env.home()).map_err(failed)?)?;
    let file = LockedFile::acquire(&path, env.home(), LOCK_WAIT).map_err(failed)?;
    let before = file.read().map_err(failed)?;
    let (done, text) = attempt(before.clone())?;
    if before.is_none_or(|before| *before != text.as_bytes()) {
        close_our_directory(env, &path)?;
        file.write(text.as_bytes()).map_err(failed)?;
        tracing::debug!(path = %path.display(), "the config is written");
    }
    Ok(done)
}

/// Only `~/.mp` is ours to close; any other directory belongs to whoever made it (quirk M4).
fn close_our_directory(env: &Env, config: &Path) -> Result<(), Refusal> {
    let Some(ours) = env.home().map(|home| home.join(".mp")) else { return Ok(()) };
    if config.parent() != Some(ours.as_path()) {
        return Ok(());
    }
    let failed = |error: std::io::Error| {
        Refusal::config(format!("`{}`: {}", ours.display(), error.kind()))
            .hint(format!("run: chmod 700 {}", ours.display()))
    };
    let mode = std::fs::metadata(&ours).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}
