//! The trail of what happened: one line of JSON for each request and for each event of a
//! credential, in a file that only grows. Fed at the end of each answer, written by a thread.
//! Invariants: no query, no body, no header value, no secret; a line is lost only if it is
//! said so in the log and in the metrics, and never under `--audit-required`.

pub mod line;

pub use line::Line;

use super::{
    observe::seen::{AnsweredBy, End, Seen},
    pace::counted,
};
use crate::{
    model::{
        account::{self, Account},
        id::Name,
        refusal::Refusal,
    },
    sys::{append_file::AppendFile, private_file::PrivateFileError},
};
use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Lines that wait for the disk.
const QUEUE: usize = 8192;
/// How often a disk that was full is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How long the end of the proxy waits for a disk that is full.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether the file was rotated.
const FOLLOW: Duration = Duration::from_millis(200);

/// Where the trail is kept, and what happens when it cannot be.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// What happens then.
    pub on_failure: OnFailure,
}

/// What happens when the trail cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Requests go on; lines that find no room are counted as lost.
    GoOn,
    /// Requests are refused until it can be written again.
    Refuse,
}

/// The trail.
#[derive(Debug)]
pub struct Audit {
    lines: Option<mpsc::SyncSender<Vec<u8>>>,
    health: Arc<Health>,
    on_failure: OnFailure,
    /// Which accounts were taken up in which state of the files.
    loaded: Mutex<(u64, HashSet<Name>)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Health {
    failing: AtomicBool,
    lost: AtomicU64,
    ending: AtomicBool,
}

impl Audit {
    /// Opens the file and starts its thread.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if the file cannot be opened, or no thread started.
    pub fn start(options: Options) -> Result<Self, Refusal> {
        let file = AppendFile::open(&options.path).map_err(|error| unusable(&error))?;
        let (lines, orders) = mpsc::sync_channel(QUEUE);
        let health = Arc::<Health>::default();
        let shared = Arc::clone(&health);
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || run(file, &orders, &shared))
            .map_err(|error| Refusal::config(format!("cannot start the audit trail: {error}")))?;
        Ok(Self {
            lines: Some(lines),
            health,
            on_failure: options.on_failure,
            loaded: Mutex::default(),
            thread: Some(thread),
        })
    }

    /// Whether a request may begin: not under `--audit-required` while lines cannot be written.
    ///
    /// # Errors
    /// `CONFIG_ERROR`, which is answered 503.
    pub fn admit(&self) -> Result<(), Refusal> {
        if self.on_failure == OnFailure::GoOn || !self.health.failing.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Refusal::config("the audit trail cannot be written, and --audit-required says to stop")
            .hint("free some disk space, or correct --audit-file; it is tried again twice a second")
            .retry_after(1))
    }

    /// Appends a line, behind.
    pub fn line(&self, line: &Line<'_>) {
        let (Some(bytes), Some(lines)) = (line.bytes(), &self.lines) else { return };
        if lines.try_send(bytes).is_err() {
            self.health.failing.store(true, Ordering::Relaxed);
            self.health.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Appends the end of a request; our own endpoints are nothing to put on record.
    pub fn request(&self, seen: &Seen<'_>) {
        let (answered_by, code) = match seen.answered_by {
            AnsweredBy::Endpoint | AnsweredBy::Nobody if seen.route == "/_mp" => return,
            AnsweredBy::Nobody => ("nobody", None),
            AnsweredBy::Endpoint => ("proxy", None),
            AnsweredBy::Refusal { code, .. } => ("proxy", Some(code)),
            AnsweredBy::Upstream => ("mixpanel", None),
            AnsweredBy::Shared => ("cache", None),
        };
        let whom = seen.whom;
        self.line(&Line::Request {
            id: seen.request_id,
            caller: seen.caller,
            account: whom.map(|whom| whom.account),
            project: whom.map(|whom| counted::project(seen.query, whom.project)),
            workspace: whom.and_then(|whom| whom.workspace),
            method: seen.method.as_str(),
            route: seen.route,
            path: seen.path,
            status: seen.status.as_u16(),
            answered_by,
            code,
            bytes_up: seen.bytes_up,
            bytes_down: seen.bytes_down,
            ms: millis(seen.times.total),
            waited_ms: millis(seen.times.paced),
            cut: seen.end == End::Cut,
        });
        if let (AnsweredBy::Upstream, 401, Some(whom)) =
            (seen.answered_by, seen.status.as_u16(), whom)
        {
            self.credential("refused", whom.account);
        }
    }

    /// Appends that a credential which does not expire was taken up: once a state of the files.
    pub fn loaded(&self, account: &Account, generation: u64) {
        if matches!(account.credential, account::Credential::OauthBrowser) {
            // Its tokens have events of their own.
            return;
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.0 != generation {
            *loaded = (generation, HashSet::new());
        }
        if loaded.1.insert(account.name.clone()) {
            self.credential("loaded", account.name.as_str());
        }
    }

    /// Appends what became of a credential.
    pub fn credential(&self, what: &str, account: &str) {
        self.line(&Line::Credential { what, account });
    }

    /// How many lines were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.health.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // Ends the thread once everything is written.
        self.health.ending.store(true, Ordering::Relaxed);
        drop(self.lines.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn unusable(error: &PrivateFileError) -> Refusal {
    Refusal::config(format!("audit file {error}")).hint(error.hint())
}

fn run(mut file: AppendFile, lines: &mpsc::Receiver<Vec<u8>>, health: &Health) {
    let mut looked = Instant::now();
    let mut told: Option<Instant> = None;
    while let Ok(line) = lines.recv() {
        file.begin(line);
        let due = looked.elapsed() >= FOLLOW;
        let look = if due { Look::Again } else { Look::Not };
        if due {
            looked = Instant::now();
        }
        let Err(mut error) = write(&mut file, look) else { continue };
        health.failing.store(true, Ordering::Relaxed);
        let began = Instant::now();
        loop {
            if told.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
                told = Some(Instant::now());
                tracing::error!(
                    lost = health.lost.load(Ordering::Relaxed),
                    "the audit trail cannot be written: {error}"
                );
            }
            // A proxy that ends does not wait for a disk for ever.
            if health.ending.load(Ordering::Relaxed) && began.elapsed() > PATIENCE {
                return;
            }
            std::thread::sleep(RETRY);
            match write(&mut file, Look::Again) {
                Ok(()) => break,
                Err(again) => error = again,
            }
        }
        health.failing.store(false, Ordering::Relaxed);
        tracing::info!("the audit trail is written again");
    }
}

/// Whether to look first if the file was rotated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Again,
    Not,
}

/// Writes the line that was begun. A file whose name is gone is no place for it: nobody would
/// ever find it there.
fn write(file: &mut AppendFile, look: Look) -> Result<(), String> {
    if look == Look::Again {
        file.follow().map_err(|error| error.to_string())?;
    }
    file.finish().map_err(|error| error.to_string())
}
