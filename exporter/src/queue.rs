//! The bounded queue between the callers and the network, and its account: emitted = exported + dropped + queued, at every moment.
//!
//! Callers put in what happened; the exporter's thread takes it out and makes spans of it, because composing a row takes longer than a
//! request should be kept. One lock guards it all; a caller holds it for as long as it takes to append one entry.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry_sdk::trace::SpanData;

use crate::clock::{self, Due};
use crate::lifecycle::Lifecycle;
use crate::open::Open;
use crate::spans;
use crate::totals::Totals;

/// Spans that wait at most. Each has its share of a lifecycle of a few kilobytes, so that a full queue is some 30 MB.
pub(crate) const MAX_QUEUED: usize = 8192;
/// Spans in one message at most, but for a row with more attempts than that.
pub(crate) const MAX_BATCH: usize = 512;
/// How long the first span of a message waits for others.
const LINGER: Duration = Duration::from_millis(500);
/// Open requests that send heartbeats at most. Beyond it a request is still recorded, and sends its first marker only.
const MAX_WATCHED: usize = 65_536;
/// Rows that wait for their settlement at most. Beyond it a row is sent as it is, and its settlement as a correction.
const MAX_HELD: usize = 16_384;
/// Longest wait that a caller can ask for; more than this cannot be added to a point in time.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a shutdown waits for a message on its way to be given up.
const ABANDON_TIME: Duration = Duration::from_secs(1);

/// Something that happened, and that becomes one span or more.
pub(crate) enum Job {
    /// The request was open then.
    Marker { open: Arc<Open>, sequence: u32, at: SystemTime },
    /// The request ended; so many spans.
    Row { open: Arc<Open>, spans: usize },
    /// A recorded row is known better.
    Correction { before: Arc<Open>, after: Box<Lifecycle>, sequence: u32, at: SystemTime },
    /// Spans that were made elsewhere.
    Spans(Vec<SpanData>),
}

impl Job {
    /// How many spans it becomes.
    fn spans(&self) -> usize {
        match self {
            Self::Marker { .. } | Self::Correction { .. } => 1,
            Self::Row { spans, .. } => *spans,
            Self::Spans(spans) => spans.len(),
        }
    }

    pub(crate) fn into_spans(self) -> Vec<SpanData> {
        match self {
            Self::Marker { open, sequence, at } => vec![open.marker(sequence, at)],
            Self::Row { open, .. } => open.row(),
            Self::Correction { before, after, sequence, at } => {
                vec![spans::correction(&before.lifecycle(), &after, sequence, at)]
            }
            Self::Spans(spans) => spans,
        }
    }
}

/// What became of the spans of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    pub(crate) exported: u64,
    pub(crate) invalid: u64,
    pub(crate) rejected: u64,
    pub(crate) exhausted: u64,
    pub(crate) shutdown: u64,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    heartbeat: Duration,
    hold: Duration,
    /// There is something to send.
    work: Condvar,
    /// Something will be due.
    time: Condvar,
    /// Spans were settled, or there is room.
    settled: Condvar,
    /// A message that is on its way should be given up.
    pub(crate) abandon: tokio::sync::Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    waiting_spans: usize,
    oldest: Option<Instant>,
    totals: Totals,
    /// When the next markers are due, in order: every request waits equally long.
    watched: VecDeque<(Instant, Weak<Open>, u32)>,
    /// When held rows are due, in order.
    held: VecDeque<(Instant, Weak<Open>)>,
    /// Someone waits until every span is settled: do not linger.
    flushes: usize,
    closed: bool,
}

/// Says how much is queued and not what: that is what other callers recorded, as they gave it, and there can be megabytes of it.
impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("totals", &self.totals()).finish_non_exhaustive()
    }
}

impl Queue {
    /// With the time between two markers, and the time for which a row is held.
    pub(crate) fn new(heartbeat: Duration, hold: Duration) -> Self {
        Self {
            state: Mutex::default(),
            heartbeat,
            hold,
            work: Condvar::new(),
            time: Condvar::new(),
            settled: Condvar::new(),
            abandon: tokio::sync::Notify::new(),
        }
    }

    pub(crate) const fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// Adds spans, or drops the ones that do not fit. Never waits.
    pub(crate) fn push(&self, spans: impl IntoIterator<Item = SpanData>) {
        self.push_job(Job::Spans(spans.into_iter().collect()));
    }

    /// As [`Self::push`]; all of it or nothing.
    pub(crate) fn push_job(&self, job: Job) {
        self.lock().push(job, self);
    }

    /// Adds the first marker of a request that is admitted now, and watches over the further ones.
    pub(crate) fn admit(&self, open: &Arc<Open>, at: SystemTime) {
        let mut state = self.lock();
        state.push(Job::Marker { open: Arc::clone(open), sequence: 0, at }, self);
        state.watch(Arc::downgrade(open), 1, self);
    }

    /// Asks for a marker with this number after the time between two.
    pub(crate) fn watch(&self, open: Weak<Open>, sequence: u32) {
        self.lock().watch(open, sequence, self);
    }

    /// Keeps a row until it has waited long enough for its settlement. Refused when too many wait, or at the end.
    pub(crate) fn hold(&self, open: &Arc<Open>) -> bool {
        let mut state = self.lock();
        if state.closed || state.held.len() >= MAX_HELD {
            return false;
        }
        if state.held.is_empty() {
            self.time.notify_one();
        }
        state.held.push_back((Instant::now() + self.hold.min(FOREVER), Arc::downgrade(open)));
        true
    }

    /// Adds spans, and waits for room where there is none. The sender's own limits bound the wait.
    pub(crate) fn push_waiting(&self, spans: Vec<SpanData>) {
        let mut state = self.lock();
        while state.waiting_spans > 0 && state.waiting_spans + spans.len() > MAX_QUEUED && !state.closed {
            state = wait(&self.settled, state);
        }
        state.push(Job::Spans(spans), self);
    }

    /// Waits for something to send, and takes it. None when the queue is closed and empty.
    pub(crate) fn next_batch(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            let due_in = state.oldest.map(|oldest| LINGER.saturating_sub(oldest.elapsed()));
            let hurry = state.flushes > 0 || state.closed || state.waiting_spans >= MAX_BATCH;
            state = match due_in {
                Some(left) if hurry || left.is_zero() => break,
                None if state.closed => return None,
                Some(left) => wait_for(&self.work, state, left),
                None => wait(&self.work, state),
            };
        }
        let mut batch = Vec::new();
        let mut spans = 0;
        while let Some(job) = state.waiting.front() {
            if !batch.is_empty() && spans + job.spans() > MAX_BATCH {
                break;
            }
            spans += job.spans();
            batch.extend(state.waiting.pop_front());
        }
        state.waiting_spans -= spans;
        state.oldest = (!state.waiting.is_empty()).then(Instant::now);
        self.settled.notify_all();
        Some(batch)
    }

    /// Says what became of a message's spans.
    pub(crate) fn settle(&self, fate: Fate) {
        let Fate { exported, invalid, rejected, exhausted, shutdown } = fate;
        let totals = &mut self.lock().totals;
        totals.queued -= exported + invalid + rejected + exhausted + shutdown;
        totals.exported += exported;
        totals.dropped_invalid += invalid;
        totals.dropped_rejected += rejected;
        totals.dropped_exhausted += exhausted;
        totals.dropped_shutdown += shutdown;
        self.settled.notify_all();
    }

    /// Waits until something is due by the clock. None when the queue is closed.
    pub(crate) fn wait_for_due(&self) -> Option<Due> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let due = state.due();
            if !due.markers.is_empty() || !due.held.is_empty() {
                return Some(due);
            }
            let next = [state.watched.front().map(|(due, ..)| *due), state.held.front().map(|(due, _)| *due)];
            state = match next.into_iter().flatten().min() {
                Some(due) => wait_for(&self.time, state, due.saturating_duration_since(Instant::now())),
                None => wait(&self.time, state),
            };
        }
    }

    /// Waits until what is queued now is settled, or the time is over.
    pub(crate) fn flush(&self, timeout: Duration) -> Totals {
        let deadline = Instant::now() + timeout.min(FOREVER);
        let mut state = self.lock();
        state.flushes += 1;
        self.work.notify_all();
        let target = state.totals.settled() + state.totals.queued;
        while state.totals.settled() < target && state.totals.queued > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = wait_for(&self.settled, state, left);
        }
        state.flushes -= 1;
        state.totals
    }

    /// Takes no more; what waits still goes out.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        while !state.held.is_empty() {
            let held = std::mem::take(&mut state.held);
            // A request's lock is never taken under this one.
            drop(state);
            let held: Vec<_> = held.into_iter().map(|(_, open)| open).collect();
            clock::record_all(self, &held);
            state = self.lock();
        }
        state.closed = true;
        drop(state);
        self.work.notify_all();
        self.time.notify_all();
        self.settled.notify_all();
    }

    /// Closes, waits until everything is settled, and gives up what is left when the time is over.
    pub(crate) fn shutdown(&self, timeout: Duration) -> Totals {
        self.close();
        self.flush(timeout);
        let mut state = self.lock();
        let left = state.waiting_spans as u64;
        state.waiting.clear();
        state.waiting_spans = 0;
        state.oldest = None;
        state.totals.queued -= left;
        state.totals.dropped_shutdown += left;
        self.settled.notify_all();
        self.work.notify_all();
        if state.totals.queued > 0 {
            self.abandon.notify_one();
            drop(state);
            return self.flush(ABANDON_TIME);
        }
        state.totals
    }

    pub(crate) fn totals(&self) -> Totals {
        self.lock().totals
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and if it did the counts would still be counts.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes room for what cannot be said again: a marker only says that a request is open, and the next one, or its row, says it better.
    fn drop_markers(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain(|job| !matches!(job, Job::Marker { .. }));
        let dropped = before - self.waiting.len();
        self.waiting_spans -= dropped;
        self.totals.queued -= dropped as u64;
        self.totals.dropped_queue_full += dropped as u64;
    }

    fn push(&mut self, job: Job, queue: &Queue) {
        let spans = job.spans();
        if spans == 0 {
            return;
        }
        self.totals.emitted += spans as u64;
        if self.waiting_spans + spans > MAX_QUEUED && !matches!(job, Job::Marker { .. }) {
            self.drop_markers();
        }
        if self.closed {
            self.totals.dropped_shutdown += spans as u64;
        } else if self.waiting_spans + spans > MAX_QUEUED {
            self.totals.dropped_queue_full += spans as u64;
        } else {
            // The exporter's thread sleeps until there is something, then until there is enough. Waking it costs more than all else here.
            if self.waiting_spans == 0 {
                self.oldest = Some(Instant::now());
                queue.work.notify_one();
            } else if self.waiting_spans < MAX_BATCH && self.waiting_spans + spans >= MAX_BATCH {
                queue.work.notify_one();
            }
            self.waiting.push_back(job);
            self.waiting_spans += spans;
            self.totals.queued += spans as u64;
        }
    }

    fn watch(&mut self, open: Weak<Open>, sequence: u32, queue: &Queue) {
        if self.watched.len() < MAX_WATCHED && !self.closed {
            if self.watched.is_empty() {
                queue.time.notify_one();
            }
            self.watched.push_back((Instant::now() + queue.heartbeat, open, sequence));
        }
    }

    fn due(&mut self) -> Due {
        let now = Instant::now();
        let mut due = Due::default();
        let gone = |open: &Weak<Open>| open.strong_count() == 0;
        while self.watched.front().is_some_and(|(at, open, _)| *at <= now || gone(open)) {
            due.markers.extend(self.watched.pop_front().map(|(_, open, sequence)| (open, sequence)));
        }
        while self.held.front().is_some_and(|(at, open)| *at <= now || gone(open)) {
            due.held.extend(self.held.pop_front().map(|(_, open)| open));
        }
        due
    }
}

fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condition.wait(state).unwrap_or_else(PoisonError::into_inner)
}

fn wait_for<'a>(condition: &Condvar, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
    condition.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
}

#[cfg(test)]
mod tests;
