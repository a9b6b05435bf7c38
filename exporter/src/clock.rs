//! What is due by the clock: markers of open requests, and rows that have waited long enough for their settlement. One thread for all.
//!
//! Everything of a kind waits equally long, so that what came first is due first. And what comes while the thread sleeps is not due before
//! the shortest of their times is over, so that the thread need not be woken for it: it sleeps no longer than that.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_queue::SegQueue;

use crate::open::Open;
use crate::queue::{FOREVER, Job, Queue, lock};

/// Open requests that send heartbeats at most, and those that ended since their last marker was due, a heartbeat ago at most. Beyond it a request
/// is still recorded, and sends its first marker only.
const MAX_WATCHED: usize = 65_536;
/// How long after its admission a request is looked at, and how long after that again, until it has an attempt. Its next marker goes out then,
/// so that a live row soon shows its account, and a request that is over by then has cost no more than its first marker.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Rows that wait for their settlement at most, and those that were settled while one that ended before them still waits. Beyond it a row is sent
/// as it is, and its settlement as a correction.
const MAX_HELD: usize = 16_384;
/// Shortest sleep of the thread, so that a very short time does not keep it busy.
const MIN_SLEEP: Duration = Duration::from_millis(10);

pub(crate) struct Clock {
    heartbeat: Duration,
    look_after: Duration,
    hold: Duration,
    /// Requests that are looked at then, because no marker has shown an account yet.
    young: SegQueue<Watched>,
    /// Requests whose next marker is due then.
    watched: SegQueue<Watched>,
    /// Rows that are recorded then.
    held: SegQueue<(Instant, Weak<Open>)>,
    /// The first ones, once they were taken out and were not due. Held while rows are recorded, so that closing finds every row.
    next: Mutex<Next>,
    closed: AtomicBool,
    stop: Condvar,
}

/// A request that sends markers while it is open.
struct Watched {
    due: Instant,
    open: Weak<Open>,
    /// Number of its next marker.
    sequence: u32,
    /// When it sent the last one.
    marked: Instant,
}

#[derive(Default)]
struct Next {
    young: Option<Watched>,
    watched: Option<Watched>,
    held: Option<(Instant, Weak<Open>)>,
}

impl Clock {
    /// With the time between two markers, and the time for which a row is held.
    pub(crate) fn new(heartbeat: Duration, hold: Duration) -> Self {
        Self {
            heartbeat: heartbeat.min(FOREVER),
            look_after: heartbeat.min(LOOK_AFTER),
            hold: hold.min(FOREVER),
            young: SegQueue::new(),
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

    /// Looks after the further markers of a request that sends its first one now.
    fn watch(&self, open: Weak<Open>) {
        // Threads that ask at the same moment may pass the bound by one each.
        if self.young.len() + self.watched.len() < MAX_WATCHED && !self.closed.load(SeqCst) {
            let now = Instant::now();
            self.young.push(Watched { due: now + self.look_after, open, sequence: 1, marked: now });
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
            self.look(queue, &mut next, now);
            self.mark(queue, &mut next, now);
            self.release(queue, &mut next, now);
            let watched = [&next.young, &next.watched].map(|first| first.as_ref().map(|watched| watched.due));
            let due = watched.into_iter().chain([next.held.as_ref().map(|(due, _)| *due)]).flatten().min();
            let due = due.map_or(Duration::MAX, |due| due.saturating_duration_since(now));
            // No row waits for a time of zero.
            let hold = if self.hold.is_zero() { self.look_after } else { self.hold };
            let sleep = due.min(self.look_after).min(hold).max(MIN_SLEEP);
            next = self.stop.wait_timeout(next, sleep).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn look(&self, queue: &Queue, next: &mut Next, now: Instant) {
        while let Some(watched) = next.young.take().or_else(|| self.young.pop()) {
            let Some(request) = watched.open.upgrade() else { continue };
            if watched.due > now {
                next.young = Some(watched);
                return;
            }
            let has_attempt = request.has_attempt();
            if !has_attempt && now.saturating_duration_since(watched.marked) < self.heartbeat {
                self.young.push(Watched { due: now + self.look_after, ..watched });
            } else if request.mark(queue, watched.sequence) {
                let (sequence, marked) = (watched.sequence.saturating_add(1), now);
                if has_attempt {
                    self.watched.push(Watched { due: now + self.heartbeat, sequence, marked, ..watched });
                } else {
                    self.young.push(Watched { due: now + self.look_after, sequence, marked, ..watched });
                }
            }
        }
    }

    fn mark(&self, queue: &Queue, next: &mut Next, now: Instant) {
        while let Some(watched) = next.watched.take().or_else(|| self.watched.pop()) {
            let Some(request) = watched.open.upgrade() else { continue };
            if watched.due > now {
                next.watched = Some(watched);
                return;
            }
            if request.mark(queue, watched.sequence) {
                let sequence = watched.sequence.saturating_add(1);
                self.watched.push(Watched { due: now + self.heartbeat, sequence, marked: now, ..watched });
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
                request.give_up(queue);
            }
        }
        *next = Next::default();
        while self.young.pop().or_else(|| self.watched.pop()).is_some() {}
        drop(next);
        self.stop.notify_all();
    }
}

/// Adds the first marker of a request that is admitted now, and watches over the further ones.
pub(crate) fn admit(queue: &Queue, open: &Arc<Open>, at: SystemTime) {
    queue.push(Job::Marker { open: Arc::clone(open), sequence: 0, at });
    queue.clock.watch(Arc::downgrade(open));
}
