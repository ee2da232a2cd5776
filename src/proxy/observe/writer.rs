//! Log lines on their way out: each thread fills a buffer of its own, one writer empties them.
//! Started by `observe`. A line costs the request no system call, and a reader of the log that
//! stands still does not hold up requests: past the bound lines are dropped and counted.
//! Invariant: while nothing is logged the writer sleeps without a timer.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// How long lines are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// How many bytes of a thread may wait.
const MOST: usize = 1024 * 1024;

/// The writer and the buffers that it empties.
pub struct LogWriter {
    shared: Arc<Shared>,
    thread: thread::Thread,
}

struct Shared {
    buffers: Mutex<Vec<Arc<Buffer>>>,
    waiting: AtomicBool,
    out: Mutex<Box<dyn Write + Send>>,
}

/// The lines of one thread.
#[derive(Debug, Default)]
pub struct Buffer {
    lines: Mutex<Vec<u8>>,
    dropped: AtomicU64,
}

impl LogWriter {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(out: Box<dyn Write + Send>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            buffers: Mutex::default(),
            waiting: AtomicBool::new(false),
            out: Mutex::new(out),
        });
        let weak = Arc::downgrade(&shared);
        let thread =
            thread::Builder::new().name("log".into()).stack_size(64 * 1024).spawn(move || {
                loop {
                    thread::park();
                    let Some(shared) = weak.upgrade() else { return };
                    if shared.waiting.load(Ordering::Acquire) {
                        thread::sleep(GATHER);
                        shared.flush();
                    }
                }
            })?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// A buffer for one thread.
    #[must_use]
    pub fn buffer(&self) -> Arc<Buffer> {
        let buffer = Arc::new(Buffer::default());
        lock(&self.shared.buffers).push(Arc::clone(&buffer));
        buffer
    }

    /// Appends what `write` writes, unless the reader is too far behind.
    pub fn line(&self, buffer: &Buffer, write: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = lock(&buffer.lines);
        if lines.len() >= MOST {
            buffer.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        write(&mut lines);
        drop(lines);
        // Read first: writing would take the cache line from the other cores each time.
        if !self.shared.waiting.load(Ordering::Relaxed)
            && !self.shared.waiting.swap(true, Ordering::AcqRel)
        {
            self.thread.unpark();
        }
    }

    /// Writes all that waits, now: before the process ends.
    pub fn flush(&self) {
        self.shared.flush();
    }

    /// Lines that were lost because their reader stood still.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let buffers = lock(&self.shared.buffers);
        buffers.iter().map(|buffer| buffer.dropped.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.flush();
        self.thread.unpark();
    }
}

impl Shared {
    fn flush(&self) {
        let mut out = lock(&self.out);
        // Before the buffers are read: a line that comes later wakes the writer again.
        self.waiting.store(false, Ordering::Release);
        let buffers = lock(&self.buffers).clone();
        let mut lines = Vec::new();
        for buffer in buffers {
            lines.append(&mut lock(&buffer.lines));
        }
        // Nobody is left to tell that the log cannot be written.
        let _ = out.write_all(&lines).and_then(|()| out.flush());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    struct Out(mpsc::SyncSender<Vec<u8>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_all_threads_arrive_and_a_stuck_reader_costs_lines_only() {
        let (send, receive) = mpsc::sync_channel(0);
        let writer = Arc::new(LogWriter::start(Box::new(Out(send))).unwrap());
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let writer = Arc::clone(&writer);
                thread::spawn(move || {
                    let buffer = writer.buffer();
                    for line in 0..50 {
                        writer.line(&buffer, |out| writeln!(out, "{number} {line}").unwrap());
                    }
                })
            })
            .collect();
        let mut all = Vec::new();
        while all.iter().filter(|byte| **byte == b'\n').count() < 200 {
            all.extend(receive.recv().unwrap());
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Nobody reads now: the writer blocks, the callers do not.
        let buffer = writer.buffer();
        let long = "x".repeat(1023);
        for _ in 0..3000 {
            writer.line(&buffer, |out| writeln!(out, "{long}").unwrap());
        }
        assert!(writer.dropped() >= 3000 - 2 * 1025, "{}", writer.dropped());
        drop(receive);
    }
}
