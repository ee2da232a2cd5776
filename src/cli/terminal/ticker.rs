//! Progress on stderr: a line a step, and on a terminal the seconds that it takes. Called by
//! `terminal`. Invariant: whoever writes next finds an empty line.

use crate::cli::output::Notes;
use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// What goes on.
#[derive(Debug)]
pub(super) struct Ticker {
    now: Arc<Mutex<Option<Step>>>,
    notes: Notes,
    /// Its end ends the thread that counts.
    _alive: mpsc::Sender<()>,
}

#[derive(Debug)]
struct Step {
    what: String,
    since: Instant,
}

impl Ticker {
    /// Starts counting; nothing is written where stderr is no terminal, but for the steps.
    pub(super) fn start(notes: Notes) -> Self {
        let now: Arc<Mutex<Option<Step>>> = Arc::default();
        let (alive, ended) = mpsc::channel::<()>();
        if notes == Notes::Show && io::stderr().is_terminal() {
            let now = Arc::clone(&now);
            thread::spawn(move || {
                while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                    let now = now.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(step) = &*now {
                        let seconds = step.since.elapsed().as_secs();
                        let _ = write!(io::stderr().lock(), "\r\x1b[K{} … {seconds} s", step.what);
                    }
                }
            });
        }
        Self { now, notes, _alive: alive }
    }

    /// A new step.
    pub(super) fn step(&self, what: &str) {
        self.rest();
        if self.notes == Notes::Hide {
            return;
        }
        if io::stderr().is_terminal() {
            let step = Step { what: what.to_owned(), since: Instant::now() };
            *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
            let _ = write!(io::stderr().lock(), "{what} …");
        } else {
            let _ = writeln!(io::stderr().lock(), "{what} …");
        }
    }

    /// A step that need not be told of unless it takes a second, and then on a terminal only.
    pub(super) fn quietly(&self, what: &str) {
        self.rest();
        let step = Step { what: what.to_owned(), since: Instant::now() };
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(step);
    }

    /// Ends the step; the line is empty after it.
    pub(super) fn rest(&self) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.take().is_some() && io::stderr().is_terminal() {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.rest();
    }
}
