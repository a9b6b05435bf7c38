//! The bounded queue between the callers and the network, and its account: emitted = exported + dropped + queued, at every moment.
//!
//! Callers put in what happened; the exporter's thread takes it out and makes spans of it, because composing a row takes longer than a
//! request should be kept. No lock is shared between requests: what waits is in queues without one, a counter of spans bounds them, and who
//! wants room takes it from the counter before anything is put in. The locks here are for those who wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_queue::SegQueue;
use opentelemetry_sdk::trace::SpanData;

use crate::clock::Clock;
use crate::open::Open;
use crate::totals::{Counters, Fate, Totals};

/// Spans that wait at most. Each has its share of a lifecycle of a few kilobytes, so that a full queue is some 30 MB.
pub(crate) const MAX_QUEUED: usize = 8192;
/// Spans in one message at most, but for a row with more attempts than that.
pub(crate) const MAX_BATCH: usize = 512;
/// How long the first span of a message waits for others.
pub(crate) const LINGER: Duration = Duration::from_millis(500);
/// Longest wait that a caller can ask for; more than this cannot be added to a point in time.
pub(crate) const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a shutdown waits for a message on its way to be given up.
const ABANDON_TIME: Duration = Duration::from_secs(1);

/// Something that happened, and that becomes one span or more.
pub(crate) enum Job {
    /// The request was open then.
    Marker { open: Arc<Open>, sequence: u32, at: SystemTime },
    /// The request ended; so many spans.
    Row { open: Arc<Open>, spans: usize },
    /// Spans that were composed already.
    Spans(Vec<SpanData>),
    /// A span of the application's, made by the tracing layer.
    #[cfg(feature = "tracing-layer")]
    Internal(Box<SpanData>),
}

impl Job {
    /// How many spans it becomes.
    fn spans(&self) -> usize {
        match self {
            Self::Marker { .. } => 1,
            #[cfg(feature = "tracing-layer")]
            Self::Internal(_) => 1,
            Self::Row { spans, .. } => *spans,
            Self::Spans(spans) => spans.len(),
        }
    }
}

/// What became of the spans of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settled {
    pub(crate) exported: usize,
    pub(crate) invalid: usize,
    pub(crate) rejected: usize,
    pub(crate) exhausted: usize,
    pub(crate) shutdown: usize,
    /// Values that were left out of them, or replaced.
    pub(crate) refused_values: u64,
}

/// The bounds of a queue, and its times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_queued: usize,
    pub(crate) max_batch: usize,
    pub(crate) linger: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_queued: MAX_QUEUED, max_batch: MAX_BATCH, linger: LINGER }
    }
}

pub(crate) struct Queue {
    bounds: Bounds,
    /// What is due later.
    pub(crate) clock: Clock,
    /// Apart from the rest, so that a row can take their place.
    markers: SegQueue<Job>,
    others: SegQueue<Job>,
    /// Taken from `others` and too long for the last message.
    left_over: Mutex<Option<Job>>,
    /// Spans of all that waits, and of what is just being put in.
    waiting: AtomicUsize,
    counters: Counters,
    /// Someone waits until every span is settled: do not linger.
    flushes: AtomicUsize,
    closed: AtomicBool,
    /// The thread that takes out.
    sender: OnceLock<Thread>,
    /// For those who wait for `settled`.
    waiters: Mutex<()>,
    /// Spans were settled, or there is room.
    settled: Condvar,
    /// A message that is on its way should be given up.
    pub(crate) abandon: tokio::sync::Notify,
}

/// Says how much is queued and not what: that is what other callers recorded, as they gave it, and there can be megabytes of it.
impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("totals", &self.totals()).finish_non_exhaustive()
    }
}

impl Queue {
    pub(crate) fn new(bounds: Bounds, clock: Clock) -> Self {
        Self {
            bounds,
            clock,
            markers: SegQueue::new(),
            others: SegQueue::new(),
            left_over: Mutex::default(),
            waiting: AtomicUsize::new(0),
            counters: Counters::default(),
            flushes: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            sender: OnceLock::new(),
            waiters: Mutex::default(),
            settled: Condvar::new(),
            abandon: tokio::sync::Notify::new(),
        }
    }

    /// Adds it, or drops it where it does not fit: all of it or nothing, because half a request would be a wrong one. Never waits.
    pub(crate) fn push(&self, job: Job) {
        let spans = job.spans();
        if spans == 0 {
            return;
        }
        self.counters.emit(spans);
        let is_marker = matches!(job, Job::Marker { .. });
        let before = loop {
            if let Some(before) = self.reserve(spans) {
                break before;
            }
            // A marker only says that a request is open, and the next one, or its row, says it better: it makes room.
            if is_marker || self.markers.pop().is_none() {
                return self.counters.settle(Fate::NoRoom, spans);
            }
            self.waiting.fetch_sub(1, SeqCst);
            self.counters.settle(Fate::Displaced, 1);
        };
        self.put(job, spans, before);
    }

    /// Adds spans, and waits for room where there is none. The sender's own limits bound the wait.
    pub(crate) fn push_waiting(&self, given: Vec<SpanData>) {
        let spans = given.len();
        if spans == 0 {
            return;
        }
        let mut waiters = lock(&self.waiters);
        let before = loop {
            if let Some(before) = self.reserve(spans) {
                break before;
            }
            waiters = self.settled.wait(waiters).unwrap_or_else(PoisonError::into_inner);
        };
        drop(waiters);
        self.counters.emit(spans);
        self.put(Job::Spans(given), spans, before);
    }

    /// Takes room for so many spans, and says how many there were; none if they do not fit. What is longer than the queue fits when it is alone.
    fn reserve(&self, spans: usize) -> Option<usize> {
        let fits = |waiting: usize| Some(waiting + spans).filter(|sum| waiting == 0 || *sum <= self.bounds.max_queued);
        self.waiting.fetch_update(SeqCst, SeqCst, fits).ok()
    }

    /// Puts in what room was taken for.
    fn put(&self, job: Job, spans: usize, before: usize) {
        // Asked after the reservation, as the sender asks whether anything is reserved after it saw the queue closed: one of both sees it.
        if self.closed.load(SeqCst) {
            self.waiting.fetch_sub(spans, SeqCst);
            return self.counters.settle(Fate::TooLate, spans);
        }
        match job {
            Job::Marker { .. } => self.markers.push(job),
            _ => self.others.push(job),
        }
        // The sender sleeps until there is something, then until there is enough. Waking it costs more than all else here.
        let batch = self.bounds.max_batch;
        if before == 0 || (before < batch && before + spans >= batch) {
            self.wake_sender();
        }
    }

    /// Waits for something to send, and takes it. None when the queue is closed and empty. For one thread.
    pub(crate) fn next_batch(&self) -> Option<Vec<Job>> {
        let _ = self.sender.get_or_init(std::thread::current);
        let mut send_at = None;
        loop {
            let closed = self.closed.load(SeqCst);
            let waiting = self.waiting.load(SeqCst);
            if waiting == 0 {
                if closed {
                    return None;
                }
                send_at = None;
                std::thread::park();
                continue;
            }
            let send_at = *send_at.get_or_insert_with(|| Instant::now() + self.bounds.linger);
            let left = send_at.saturating_duration_since(Instant::now());
            if closed || left.is_zero() || waiting >= self.bounds.max_batch || self.flushes.load(SeqCst) > 0 {
                let batch = self.take_batch();
                if !batch.is_empty() {
                    return Some(batch);
                }
                // Someone has taken room, and is about to put something in.
                std::thread::yield_now();
            } else {
                std::thread::park_timeout(left);
            }
        }
    }

    /// Markers first: a marker that arrived after its row would show a request as open that has ended.
    fn take_batch(&self) -> Vec<Job> {
        let max = self.bounds.max_batch;
        let mut left_over = lock(&self.left_over);
        let mut batch: Vec<Job> = std::iter::from_fn(|| self.markers.pop()).take(max).collect();
        let mut spans = batch.len();
        let mut rows = Vec::new();
        while spans < max {
            let Some(job) = left_over.take().or_else(|| self.others.pop()) else { break };
            if spans > 0 && spans + job.spans() > max {
                *left_over = Some(job);
                break;
            }
            spans += job.spans();
            rows.push(job);
        }
        if !rows.is_empty() {
            // The markers of these rows that came meanwhile. There are as many as threads between two calls, and not more than fit the queue.
            let late = self.markers.len();
            batch.extend(std::iter::from_fn(|| self.markers.pop()).take(late).inspect(|_| spans += 1));
        }
        batch.append(&mut rows);
        drop(left_over);
        self.waiting.fetch_sub(spans, SeqCst);
        self.say_settled();
        batch
    }

    /// Says what became of a message's spans.
    pub(crate) fn settle(&self, settled: Settled) {
        let Settled { exported, invalid, rejected, exhausted, shutdown, refused_values } = settled;
        self.counters.refuse(refused_values);
        for (fate, spans) in [
            (Fate::Exported, exported),
            (Fate::Invalid, invalid),
            (Fate::Rejected, rejected),
            (Fate::Exhausted, exhausted),
            (Fate::LeftBehind, shutdown),
        ] {
            self.counters.settle(fate, spans);
        }
        self.say_settled();
    }

    /// Waits until what is queued now is settled, or the time is over.
    pub(crate) fn flush(&self, timeout: Duration) -> Totals {
        let deadline = Instant::now() + timeout.min(FOREVER);
        self.flushes.fetch_add(1, SeqCst);
        self.wake_sender();
        let mut waiters = lock(&self.waiters);
        let target = self.counters.left_the_queue() + self.totals().queued;
        while self.counters.left_the_queue() < target && self.totals().queued > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiters = self.settled.wait_timeout(waiters, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(waiters);
        self.flushes.fetch_sub(1, SeqCst);
        self.totals()
    }

    /// Takes no more; what waits still goes out, and so do rows that are held.
    pub(crate) fn close(&self) {
        self.clock.close(self);
        self.closed.store(true, SeqCst);
        self.wake_sender();
        self.say_settled();
    }

    /// Closes, waits until everything is settled, and gives up what is left when the time is over.
    pub(crate) fn shutdown(&self, timeout: Duration) -> Totals {
        self.close();
        let totals = self.flush(timeout);
        if totals.queued == 0 {
            return totals;
        }
        let left_over = lock(&self.left_over).take();
        let waiting = std::iter::from_fn(|| self.markers.pop().or_else(|| self.others.pop()));
        let left: usize = left_over.into_iter().chain(waiting).map(|job| job.spans()).sum();
        self.waiting.fetch_sub(left, SeqCst);
        self.counters.settle(Fate::LeftBehind, left);
        self.wake_sender();
        self.say_settled();
        if self.totals().queued > 0 {
            self.abandon.notify_one();
            return self.flush(ABANDON_TIME);
        }
        self.totals()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.counters.totals()
    }

    fn wake_sender(&self) {
        // Before its first look into the queue it need not be woken.
        if let Some(thread) = self.sender.get() {
            thread.unpark();
        }
    }

    fn say_settled(&self) {
        // Taken, so that nobody is between the look at the counters and the wait.
        drop(lock(&self.waiters));
        self.settled.notify_all();
    }
}

/// No code panics while it holds one of the locks, and if it did what they guard would still be right.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
