//! Finished requests as they happen, for the inspector and for `tail`. Called by `observe`,
//! listened to by `inspector`. Invariants: it costs one load while nobody listens; it is
//! bounded: who listens too slowly misses events and is told how many.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::broadcast;

/// How many events wait for the slowest listener.
const KEPT: usize = 1024;
/// How many may listen at once.
const MOST: usize = 16;

/// The events of one proxy.
#[derive(Debug)]
pub struct Live {
    sender: broadcast::Sender<Arc<str>>,
    listeners: Arc<AtomicUsize>,
}

/// One who listens; leaves when dropped.
#[derive(Debug)]
pub struct Listener {
    receiver: broadcast::Receiver<Arc<str>>,
    listeners: Arc<AtomicUsize>,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// One request, as a JSON object.
    Request(Arc<str>),
    /// So many events were missed.
    Missed(u64),
    /// The proxy ends.
    Ended,
}

impl Default for Live {
    fn default() -> Self {
        // The ring is allocated at once; a small one grows with the first listener instead.
        Self { sender: broadcast::Sender::new(KEPT), listeners: Arc::default() }
    }
}

impl Live {
    /// Whether an event is worth making.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0
    }

    /// Tells all listeners.
    pub fn tell(&self, event: Arc<str>) {
        // Fails only if the last listener has just left.
        let _ = self.sender.send(event);
    }

    /// Tells all listeners that nothing more comes.
    pub fn end(&self) {
        self.tell(Arc::from(""));
    }

    /// Listens from now on; `None` if too many do.
    #[must_use]
    pub fn listen(&self) -> Option<Listener> {
        let joined = |count: usize| (count < MOST).then_some(count + 1);
        self.listeners.fetch_update(Ordering::Relaxed, Ordering::Relaxed, joined).ok()?;
        Some(Listener { receiver: self.sender.subscribe(), listeners: Arc::clone(&self.listeners) })
    }
}

impl Listener {
    /// Waits for the next event.
    pub async fn next(&mut self) -> Heard {
        match self.receiver.recv().await {
            Ok(event) => heard(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Heard::Missed(missed),
            Err(broadcast::error::RecvError::Closed) => Heard::Ended,
        }
    }

    /// The next event if it is there already.
    pub fn try_next(&mut self) -> Option<Heard> {
        match self.receiver.try_recv() {
            Ok(event) => Some(heard(event)),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(_) => None,
        }
    }
}

/// An event without text is the end.
fn heard(event: Arc<str>) -> Heard {
    if event.is_empty() { Heard::Ended } else { Heard::Request(event) }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_are_bounded_and_hear_what_they_missed() {
        let live = Live::default();
        assert!(!live.is_heard());
        let mut all: Vec<_> = std::iter::from_fn(|| live.listen()).collect();
        assert_eq!(all.len(), MOST);
        let mut one = all.pop().unwrap();
        drop(all);
        assert!(live.is_heard());
        live.tell("a".into());
        assert_eq!(one.next().await, Heard::Request("a".into()));
        for _ in 0..KEPT + 5 {
            live.tell("b".into());
        }
        assert_eq!(one.next().await, Heard::Missed(5));
        assert_eq!(one.try_next(), Some(Heard::Request("b".into())));
        drop(one);
        assert!(!live.is_heard());
    }
}
