//! The pacer's own thread: the only one that writes ledger files while the proxy runs. It
//! writes behind what was observed, and has the queues give out slots to those who wait.

use super::{
    lane::Lane,
    now,
    queue::{Queue, Waiter},
};
use std::{
    sync::{Arc, mpsc},
    time::Instant,
};

/// What the thread is told.
#[derive(Debug)]
pub enum Command {
    /// Somebody wants a slot.
    Admit(Arc<Lane>, Waiter),
    /// Something has to be written.
    Dirty(Arc<Lane>),
    /// A place became free.
    Wake,
    /// The proxy ends.
    Stop,
}

/// Runs until told to stop, or until nobody is left who could tell.
pub fn run(orders: &mpsc::Receiver<Command>) {
    let mut queues: Vec<Queue> = Vec::new();
    loop {
        let next = match queues.iter().map(Queue::pause).min() {
            Some(pause) => orders.recv_timeout(pause),
            // With nobody in a queue it sleeps without a timer.
            None => orders.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
        };
        let mut order = match next {
            Ok(order) => Some(order),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Command::Stop),
        };
        while let Some(one) = order {
            match one {
                Command::Admit(lane, waiter) => queue(&mut queues, lane).waiting.push(waiter),
                Command::Dirty(lane) => {
                    queue(&mut queues, lane).dirty_since.get_or_insert_with(Instant::now);
                }
                Command::Wake => {}
                Command::Stop => {
                    for queue in queues.iter().filter(|queue| queue.lane.is_dirty()) {
                        queue.lane.settle(now(), |_, _| ());
                    }
                    return;
                }
            }
            order = orders.try_recv().ok();
        }
        for queue in &mut queues {
            queue.turn();
        }
        queues.retain(|queue| !queue.waiting.is_empty() || queue.dirty_since.is_some());
    }
}

fn queue(queues: &mut Vec<Queue>, lane: Arc<Lane>) -> &mut Queue {
    let place = queues.iter().position(|queue| Arc::ptr_eq(&queue.lane, &lane));
    let place = place.unwrap_or_else(|| {
        queues.push(Queue::new(lane));
        queues.len() - 1
    });
    &mut queues[place]
}
