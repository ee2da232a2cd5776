//! Places among the requests of a project that are in flight at once, over all processes of
//! ours: one locked file each. Called by the pacer's thread.
//! Invariant: the kernel frees a place whose process died.

use super::{lane::Lane, thread::Command};
use crate::sys::locked_file;
use std::{
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    time::Instant,
};

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Slot {
    file: Option<OwnedFd>,
    lane: Arc<Lane>,
    since: Instant,
    commands: mpsc::Sender<Command>,
}

impl Slot {
    /// Takes one of the first `most` places, if one is free. Where the files cannot be used
    /// there is always one: pacing fails open.
    #[must_use]
    pub fn take(lane: &Arc<Lane>, most: u32, commands: &mpsc::Sender<Command>) -> Option<Self> {
        let taken = |file| {
            let (lane, commands) = (Arc::clone(lane), commands.clone());
            Some(Self { file, lane, since: Instant::now(), commands })
        };
        for number in 0..most {
            match locked_file::try_lock(&lane.place.slot(number), lane.place.home()) {
                Ok(Some(file)) => return taken(Some(file)),
                Ok(None) => {}
                Err(_) => return taken(None),
            }
        }
        None
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.file.take());
        self.lane.took(self.since.elapsed());
        // Somebody may be waiting for it.
        let _ = self.commands.send(Command::Wake);
    }
}
