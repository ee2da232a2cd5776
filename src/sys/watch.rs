//! Whether files may have changed, without asking for each of them: the kernel says so (inotify).
//! Kept by each thread of the proxy for the config and the bridge.
//! Invariant: where a change could go unseen, there is no watch, and the files are asked.

#[cfg(target_os = "linux")]
pub use linux::Watch;
#[cfg(not(target_os = "linux"))]
pub use nothing::Watch;

#[cfg(target_os = "linux")]
mod linux {
    use rustix::{
        fs::{
            FsWord,
            inotify::{self, CreateFlags, WatchFlags},
            statfs,
        },
        io::Errno,
    };
    use std::{
        io,
        path::{Path, PathBuf},
        sync::atomic::{AtomicBool, Ordering},
    };
    use tokio::net::unix::pipe::Receiver;

    /// File systems whose files change by way of this kernel alone: ext, XFS, btrfs, F2FS, ZFS,
    /// tmpfs, ramfs, overlayfs. A network, a host or a process changes those of others unseen.
    const LOCAL: [FsWord; 8] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0xF2F5_2010,
        0x2FC1_2FC1,
        0x0102_1994,
        0x8584_58F6,
        0x794C_7630,
    ];

    /// How often the way to a file is looked at anew while folders are made on it.
    const ATTEMPTS: usize = 8;

    /// The watch of one thread.
    #[derive(Debug)]
    pub struct Watch {
        /// An inotify queue, which is read as a pipe is: bytes as they come, of one descriptor.
        events: Receiver,
        paths: Vec<PathBuf>,
        /// Something came to stand where it cannot be watched.
        blind: AtomicBool,
    }

    impl Watch {
        /// A watch of these paths, links not followed; each may be missing, and its folders too.
        /// `None` where some change could not be seen. Call it in the runtime of the thread.
        #[must_use]
        pub fn new(paths: Vec<PathBuf>) -> Option<Self> {
            let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
            let events = Receiver::from_owned_fd_unchecked(events).ok()?;
            let watch = Self { events, paths, blind: AtomicBool::new(false) };
            watch.arm().is_ok().then_some(watch)
        }

        /// Whether something may have happened since this was asked last. Costs no system call if
        /// not: the runtime has waited for the request that asks, and heard of it on the way.
        pub fn is_touched(&self) -> bool {
            let mut any = self.blind.load(Ordering::Relaxed);
            // Until it would block: only then is the next event heard of.
            while self.events.try_read(&mut [0; 512]).is_ok_and(|read| read > 0) {
                any = true;
            }
            if any {
                // What was replaced or made is watched from now on.
                self.blind.store(self.arm().is_err(), Ordering::Relaxed);
            }
            any
        }

        fn arm(&self) -> io::Result<()> {
            self.paths.iter().try_for_each(|path| self.arm_one(path))
        }

        /// Watches the folder in which the path, or the next part of the way to it, is replaced or
        /// made; then what is there already. In this order nothing is made between the two unseen.
        fn arm_one(&self, path: &Path) -> io::Result<()> {
            // Each tells once until it is armed again: a folder that others are busy in wakes nobody.
            let own = WatchFlags::MODIFY
                | WatchFlags::ATTRIB
                | WatchFlags::DONT_FOLLOW
                | WatchFlags::ONESHOT;
            let names = WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ATTRIB
                | WatchFlags::ONLYDIR
                | WatchFlags::ONESHOT;
            for _ in 0..ATTEMPTS {
                let mut next = path;
                let there = path.ancestors().skip(1).find_map(|folder| {
                    let added = self.add(folder, names).transpose();
                    if added.is_none() {
                        next = folder;
                    }
                    added
                });
                there.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))?;
                match self.add(next, own)? {
                    Some(()) if next != path => {}
                    Some(()) | None => return Ok(()),
                }
            }
            Err(io::ErrorKind::Interrupted.into())
        }

        /// `None` if there is nothing to watch.
        fn add(&self, path: &Path, flags: WatchFlags) -> io::Result<Option<()>> {
            match inotify::add_watch(&self.events, path, flags) {
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
                Err(errno) => Err(errno.into()),
                // A single file can be mounted, too.
                Ok(_) if LOCAL.contains(&statfs(path)?.f_type) => Ok(Some(())),
                Ok(_) => Err(io::ErrorKind::Unsupported.into()),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nothing {
    use std::path::PathBuf;

    /// There is none on this system.
    #[derive(Debug)]
    pub enum Watch {}

    impl Watch {
        /// None.
        #[must_use]
        pub fn new(_paths: Vec<PathBuf>) -> Option<Self> {
            None
        }

        /// Never called.
        pub fn is_touched(&self) -> bool {
            match *self {}
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

    type Change = fn(&Path);

    /// As a request does: the runtime waits for something, then the watch is asked.
    async fn touched(watch: &Watch) -> bool {
        tokio::time::sleep(Duration::from_millis(2)).await;
        watch.is_touched()
    }

    async fn quiet(watch: &Watch) {
        while touched(watch).await {}
    }

    #[tokio::test]
    async fn every_kind_of_change_is_heard_of_once() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a/b");
        let file = place.join("config.toml");
        let watch = Watch::new(vec![dir.path().join("other"), file.clone()]).unwrap();
        assert!(!touched(&watch).await, "before anything happened");
        let changes: [(&str, Change); 10] = [
            ("a folder on the way", |file| fs::create_dir_all(file.parent().unwrap()).unwrap()),
            ("a new file", |file| fs::write(file, "1").unwrap()),
            ("a write in place", |file| fs::write(file, "2").unwrap()),
            ("a mode", |file| {
                fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap()
            }),
            ("a replacement", |file| {
                fs::write(file.with_extension("new"), "3").unwrap();
                fs::rename(file.with_extension("new"), file).unwrap();
            }),
            ("a write into the replacement", |file| fs::write(file, "4").unwrap()),
            ("a file moved away", |file| fs::rename(file, file.with_extension("old")).unwrap()),
            ("a link", |file| std::os::unix::fs::symlink("config.old", file).unwrap()),
            ("the folder moved away", |file| {
                let folder = file.parent().unwrap();
                fs::rename(folder, folder.with_extension("old")).unwrap();
            }),
            ("the folder made anew", |file| fs::create_dir(file.parent().unwrap()).unwrap()),
        ];
        for (what, change) in changes {
            change(&file);
            assert!(touched(&watch).await, "{what}");
            quiet(&watch).await;
        }
        fs::write(&file, "5").unwrap();
        assert!(touched(&watch).await, "a file in the folder that was made anew");
    }

    #[tokio::test]
    async fn where_others_may_write_there_is_no_watch() {
        assert!(Watch::new(vec!["/proc/self/nothing".into()]).is_none());
    }
}
