//! Places among the requests of a project that are in flight at once, over all processes of
//! ours: one locked file each. Called by the pacer's thread.
//! Invariant: the kernel frees a place whose process died.

use super::thread::Command;
use crate::{store::pacer_ledger::Place, sys::locked_file};
use std::{os::fd::OwnedFd, sync::mpsc};

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Slot {
    file: Option<OwnedFd>,
    commands: mpsc::Sender<Command>,
}

impl Slot {
    /// Takes one of the first `most` places, if one is free. Where the files cannot be used
    /// there is always one: pacing fails open.
    #[must_use]
    pub fn take(place: &Place, most: u32, commands: &mpsc::Sender<Command>) -> Option<Self> {
        for number in 0..most {
            match locked_file::try_lock(&place.slot(number), place.home()) {
                Ok(Some(file)) => {
                    return Some(Self { file: Some(file), commands: commands.clone() });
                }
                Ok(None) => {}
                Err(_) => return Some(Self { file: None, commands: commands.clone() }),
            }
        }
        None
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.file.take());
        // Somebody may be waiting for it.
        let _ = self.commands.send(Command::Wake);
    }
}
