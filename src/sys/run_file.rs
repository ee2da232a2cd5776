//! The note that a running proxy leaves for `mp-proxy stop`: which process listens where.
//! Written by `serve`, read by `stop`.
//! SECURITY: the process holds a lock on the note for life, and the kernel lets go of it when it
//! dies; so a process id is believed only while the lock is held, and can never be another's.

use super::env::Env;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, fstat, open},
    io::Errno,
    process::{Pid, geteuid},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

/// The note of a proxy that runs; gone when dropped.
#[derive(Debug)]
pub struct RunFile {
    path: PathBuf,
    _file: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    pid: i32,
    /// The process ids of a container mean nothing outside.
    namespace: Option<String>,
}

/// What a note says.
#[derive(Debug, PartialEq, Eq)]
pub enum Running {
    /// This process listens there.
    Process(Pid),
    /// Somebody does, in another container.
    Elsewhere,
    /// Nobody does.
    Nobody,
}

impl RunFile {
    /// Leaves the note for the listener `name`, such as `127.0.0.1:8787` or the path of a socket.
    ///
    /// # Errors
    /// No private place for it, or the system's own refusal.
    pub fn leave(env: &Env, name: &str) -> io::Result<Self> {
        let path = path(env, name).ok_or(io::ErrorKind::NotFound)?;
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(open(&path, flags, Mode::RUSR | Mode::WUSR)?);
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let note = serde_json::to_vec(&Note { pid, namespace: namespace() })?;
        file.set_len(0)?;
        file.write_all(&note)?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        // While the lock is still held: nobody else's note can stand here.
        let _ = fs::remove_file(&self.path);
    }
}

/// Who listens at `name`.
///
/// # Errors
/// The note cannot be read, or is not ours.
pub fn running(env: &Env, name: &str) -> io::Result<Running> {
    let Some(path) = path(env, name) else { return Ok(Running::Nobody) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match open(&path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Running::Nobody),
        Err(error) => return Err(error.into()),
    };
    let owner = fstat(&file)?.st_uid;
    if owner != geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("`{}` belongs to another user", path.display()),
        ));
    }
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        // Whoever wrote it is dead.
        Ok(()) => return Ok(Running::Nobody),
        Err(Errno::WOULDBLOCK) => {}
        Err(error) => return Err(error.into()),
    }
    let mut text = String::new();
    File::from(file).take(4096).read_to_string(&mut text)?;
    let note: Note = serde_json::from_str(&text)?;
    if note.namespace != namespace() {
        return Ok(Running::Elsewhere);
    }
    Ok(Pid::from_raw(note.pid).map_or(Running::Nobody, Running::Process))
}

/// `$XDG_RUNTIME_DIR/mp-proxy/`, else `run/` under the storage root.
fn path(env: &Env, name: &str) -> Option<PathBuf> {
    let runtime = env.get("XDG_RUNTIME_DIR").map(|path| PathBuf::from(path).join("mp-proxy"));
    let directory = runtime.or_else(|| Some(env.storage_root()?.join("run")))?;
    // A path is made one name, and no two paths the same.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_[]".contains(&byte);
    let safe = |byte: u8| match byte {
        b'/' => "%".to_owned(),
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("~{byte:02x}"),
    };
    Some(directory.join(format!("{}.json", name.bytes().map(safe).collect::<String>())))
}

fn namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_counts_only_while_its_writer_lives() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::new([("HOME", dir.path().to_str().unwrap())], dir.path());
        let name = "127.0.0.1:1";
        assert_eq!(running(&env, name).unwrap(), Running::Nobody);
        let note = RunFile::leave(&env, name).unwrap();
        assert!(RunFile::leave(&env, name).is_err(), "two at one address");
        assert_eq!(running(&env, name).unwrap(), Running::Process(rustix::process::getpid()));
        drop(note);
        assert_eq!(running(&env, name).unwrap(), Running::Nobody);
        // Left by a crash, naming a process that lives: ours.
        let stale = format!("{{\"pid\":{},\"namespace\":null}}", std::process::id());
        let path = path(&env, name).unwrap();
        fs::write(&path, &stale).unwrap();
        assert_eq!(running(&env, name).unwrap(), Running::Nobody);
        let held = RunFile::leave(&env, name).unwrap();
        fs::write(&path, r#"{"pid":1,"namespace":"pid:[1]"}"#).unwrap();
        assert_eq!(running(&env, name).unwrap(), Running::Elsewhere);
        drop(held);
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(running(&env, name).is_err() && RunFile::leave(&env, name).is_err());
    }
}
