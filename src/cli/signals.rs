//! The signals that end a serving process, heard on a thread of their own: the main thread may stand
//! still with a reader of the log, and the second signal has to end even that.
//! Called by the commands that serve. Invariant: after the second signal the process ends.

use crate::model::refusal::Refusal;
use std::{io, thread, time::Duration};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// The exit code of a forced end.
pub(super) const FORCED: u8 = 130;
/// How long a forced end may take.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Done at the first SIGINT or SIGTERM. The second one calls `hurry`, which must not wait for
/// anything, and ends the process a moment later if that has not ended by itself.
///
/// # Errors
/// The system has no thread or no pipe left.
pub(super) fn first_signal(
    hurry: impl FnOnce() + Send + 'static,
) -> Result<impl Future<Output = ()>, Refusal> {
    let (heard, first) = oneshot::channel();
    listen(heard, hurry)
        .map_err(|error| Refusal::config(format!("cannot listen for signals: {error}")))?;
    Ok(async move {
        let _ = first.await;
    })
}

fn listen(heard: oneshot::Sender<()>, hurry: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    // Here, not on the thread: from now on a signal is heard.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(entered);
    thread::Builder::new().name("signals".into()).stack_size(64 * 1024).spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            let _ = heard.send(());
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        hurry();
        thread::sleep(LAST_WORDS);
        std::process::exit(FORCED.into());
    })?;
    Ok(())
}
