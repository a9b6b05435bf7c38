//! What is due by the clock: markers of open requests, and rows that have waited long enough for their settlement. One thread for all.

use std::sync::Weak;

use crate::open::Open;
use crate::queue::Queue;

/// What the queue's clock says is due.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// Requests whose next marker is due, with its number.
    pub(crate) markers: Vec<(Weak<Open>, u32)>,
    /// Rows that were held long enough.
    pub(crate) held: Vec<Weak<Open>>,
}

/// Runs until the queue is closed.
pub(crate) fn run(queue: &Queue) {
    while let Some(due) = queue.wait_for_due() {
        for (open, sequence) in due.markers {
            if let Some(request) = open.upgrade()
                && request.mark(queue, sequence)
            {
                queue.watch(open, sequence.saturating_add(1));
            }
        }
        record_all(queue, &due.held);
    }
}

/// Hands held rows to the queue as they are.
pub(crate) fn record_all(queue: &Queue, held: &[Weak<Open>]) {
    for open in held.iter().filter_map(Weak::upgrade) {
        open.record(queue);
    }
}
