//! What is due by the clock: markers of open requests, and rows that have waited long enough for their settlement. One thread for all.
//!
//! Everything of a kind waits equally long, so that what came first is due first. And what comes while the thread sleeps is not due before
//! the shorter of the two times is over, so that the thread need not be woken for it: it sleeps no longer than that.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_queue::SegQueue;

use crate::open::Open;
use crate::queue::{FOREVER, Job, Queue, lock};

/// Open requests that send heartbeats at most. Beyond it a request is still recorded, and sends its first marker only.
const MAX_WATCHED: usize = 65_536;
/// Rows that wait for their settlement at most. Beyond it a row is sent as it is, and its settlement as a correction.
const MAX_HELD: usize = 16_384;
/// Shortest sleep of the thread, so that a very short time does not keep it busy.
const MIN_SLEEP: Duration = Duration::from_millis(10);

pub(crate) struct Clock {
    heartbeat: Duration,
    hold: Duration,
    /// Requests whose next marker is due then, with its number.
    watched: SegQueue<(Instant, Weak<Open>, u32)>,
    /// Rows that are recorded then.
    held: SegQueue<(Instant, Weak<Open>)>,
    /// The first ones, once they were taken out and were not due. Held while rows are recorded, so that closing finds every row.
    next: Mutex<Next>,
    closed: AtomicBool,
    stop: Condvar,
}

#[derive(Default)]
struct Next {
    watched: Option<(Instant, Weak<Open>, u32)>,
    held: Option<(Instant, Weak<Open>)>,
}

impl Clock {
    /// With the time between two markers, and the time for which a row is held.
    pub(crate) fn new(heartbeat: Duration, hold: Duration) -> Self {
        Self {
            heartbeat: heartbeat.min(FOREVER),
            hold: hold.min(FOREVER),
            watched: SegQueue::new(),
            held: SegQueue::new(),
            next: Mutex::default(),
            closed: AtomicBool::new(false),
            stop: Condvar::new(),
        }
    }

    pub(crate) const fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// Asks for a marker with this number after the time between two.
    pub(crate) fn watch(&self, open: Weak<Open>, sequence: u32) {
        // Threads that ask at the same moment may pass the bound by one each.
        if self.watched.len() < MAX_WATCHED && !self.closed.load(SeqCst) {
            self.watched.push((Instant::now() + self.heartbeat, open, sequence));
        }
    }

    /// Keeps a row until it has waited long enough for its settlement. Refused when too many wait, or at the end.
    pub(crate) fn hold(&self, open: &Arc<Open>) -> bool {
        if self.hold.is_zero() || self.held.len() >= MAX_HELD {
            return false;
        }
        self.held.push((Instant::now() + self.hold, Arc::downgrade(open)));
        // Asked afterwards: who closes looks for rows after he has said so. A row that both record is recorded once.
        !self.closed.load(SeqCst)
    }

    /// Runs until it is closed.
    pub(crate) fn run(&self, queue: &Queue) {
        let mut next = lock(&self.next);
        while !self.closed.load(SeqCst) {
            let now = Instant::now();
            self.mark(queue, &mut next, now);
            self.release(queue, &mut next, now);
            let due = [next.watched.as_ref().map(|(due, ..)| *due), next.held.as_ref().map(|(due, _)| *due)];
            let due = due.into_iter().flatten().min().map_or(Duration::MAX, |due| due.saturating_duration_since(now));
            // No row waits for a time of zero.
            let hold = if self.hold.is_zero() { self.heartbeat } else { self.hold };
            let sleep = due.min(self.heartbeat).min(hold).max(MIN_SLEEP);
            next = self.stop.wait_timeout(next, sleep).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn mark(&self, queue: &Queue, next: &mut Next, now: Instant) {
        while let Some((due, open, sequence)) = next.watched.take().or_else(|| self.watched.pop()) {
            let Some(request) = open.upgrade() else { continue };
            if due > now {
                next.watched = Some((due, open, sequence));
                return;
            }
            if request.mark(queue, sequence) {
                self.watch(open, sequence.saturating_add(1));
            }
        }
    }

    fn release(&self, queue: &Queue, next: &mut Next, now: Instant) {
        while let Some((due, open)) = next.held.take().or_else(|| self.held.pop()) {
            let Some(request) = open.upgrade() else { continue };
            if due > now {
                next.held = Some((due, open));
                return;
            }
            request.record(queue);
        }
    }

    /// Ends the thread, and records every row that is held. Nobody is left who could settle it.
    pub(crate) fn close(&self, queue: &Queue) {
        self.closed.store(true, SeqCst);
        let mut next = lock(&self.next);
        while let Some((_, open)) = next.held.take().or_else(|| self.held.pop()) {
            if let Some(request) = open.upgrade() {
                request.settle_unknown();
                request.record(queue);
            }
        }
        *next = Next::default();
        while self.watched.pop().is_some() {}
        drop(next);
        self.stop.notify_all();
    }
}

/// Adds the first marker of a request that is admitted now, and watches over the further ones.
pub(crate) fn admit(queue: &Queue, open: &Arc<Open>, at: SystemTime) {
    queue.push(Job::Marker { open: Arc::clone(open), sequence: 0, at });
    queue.clock.watch(Arc::downgrade(open), 1);
}
