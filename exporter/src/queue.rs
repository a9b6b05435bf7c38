//! The bounded queue between the callers and the network, and its account: emitted = exported + dropped + queued, at every moment.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::trace::SpanData;

/// Spans that wait at most. A span is a few kilobytes, so that a full queue is some 30 MB.
const MAX_QUEUED: usize = 8192;
/// Spans in one message at most.
pub(crate) const MAX_BATCH: usize = 512;
/// How long the first span of a message waits for others.
const LINGER: Duration = Duration::from_millis(500);

/// What became of the spans. Always: emitted = exported + `dropped_queue_full` + `dropped_failed` + `dropped_shutdown` + queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Spans that were made.
    pub emitted: u64,
    /// Spans in messages that the receiver took.
    pub exported: u64,
    /// Spans that found the queue full.
    pub dropped_queue_full: u64,
    /// Spans in messages that the receiver did not take, after every retry.
    pub dropped_failed: u64,
    /// Spans that came after the shutdown, or that it could not wait for.
    pub dropped_shutdown: u64,
    /// Spans that wait, or are on their way.
    pub queued: u64,
}

impl Totals {
    /// Spans that were lost, for whatever reason.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped_queue_full + self.dropped_failed + self.dropped_shutdown
    }

    /// Spans that were queued and are no more.
    const fn settled(&self) -> u64 {
        self.exported + self.dropped_failed
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Anything in the state changed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<SpanData>,
    oldest: Option<Instant>,
    totals: Totals,
    /// Someone waits until every span is settled: do not linger.
    flushes: usize,
    closed: bool,
}

impl Queue {
    /// Adds spans, or drops the ones that do not fit. Never waits.
    pub(crate) fn push(&self, spans: impl IntoIterator<Item = SpanData>) {
        let mut state = self.lock();
        for span in spans {
            state.push(span);
        }
        self.changed.notify_all();
    }

    /// Adds spans, and waits for room where there is none. The sender's own limits bound the wait.
    pub(crate) fn push_waiting(&self, spans: impl IntoIterator<Item = SpanData>) {
        for span in spans {
            let mut state = self.lock();
            while state.waiting.len() >= MAX_QUEUED && !state.closed {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.push(span);
            self.changed.notify_all();
        }
    }

    /// Hands batches to `export`, which says whether they arrived, until the queue is closed and empty.
    pub(crate) fn drain(&self, mut export: impl FnMut(Vec<SpanData>) -> bool) {
        while let Some(batch) = self.next_batch() {
            let spans = batch.len() as u64;
            let arrived = export(batch);
            let mut state = self.lock();
            state.totals.queued -= spans;
            if arrived {
                state.totals.exported += spans;
            } else {
                state.totals.dropped_failed += spans;
            }
            self.changed.notify_all();
        }
    }

    fn next_batch(&self) -> Option<Vec<SpanData>> {
        let mut state = self.lock();
        loop {
            let due_in = state.oldest.map(|oldest| LINGER.saturating_sub(oldest.elapsed()));
            let hurry = state.flushes > 0 || state.closed || state.waiting.len() >= MAX_BATCH;
            state = match due_in {
                Some(wait) if hurry || wait.is_zero() => break,
                None if state.closed => return None,
                Some(wait) => self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let size = state.waiting.len().min(MAX_BATCH);
        let batch = state.waiting.drain(..size).collect();
        state.oldest = (!state.waiting.is_empty()).then(Instant::now);
        self.changed.notify_all();
        Some(batch)
    }

    /// Waits until what is queued now is settled, or the time is over.
    pub(crate) fn flush(&self, timeout: Duration) -> Totals {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        state.flushes += 1;
        self.changed.notify_all();
        let target = state.totals.settled() + state.totals.queued;
        while state.totals.settled() < target && state.totals.queued > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.flushes -= 1;
        state.totals
    }

    /// Takes no more spans; the ones that wait still go out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Closes, waits until everything is settled, and drops what is left when the time is over.
    pub(crate) fn shutdown(&self, timeout: Duration) -> Totals {
        self.close();
        self.flush(timeout);
        let mut state = self.lock();
        let left = state.waiting.len() as u64;
        state.waiting.clear();
        state.oldest = None;
        state.totals.queued -= left;
        state.totals.dropped_shutdown += left;
        self.changed.notify_all();
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
    fn push(&mut self, span: SpanData) {
        self.totals.emitted += 1;
        if self.closed {
            self.totals.dropped_shutdown += 1;
        } else if self.waiting.len() >= MAX_QUEUED {
            self.totals.dropped_queue_full += 1;
        } else {
            self.oldest.get_or_insert_with(Instant::now);
            self.waiting.push_back(span);
            self.totals.queued += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::lifecycle::Lifecycle;
    use crate::testing;

    fn spans(count: usize) -> Vec<SpanData> {
        let marker = crate::spans::marker(&Lifecycle::new(testing::admission(), testing::at()), 0, testing::at());
        vec![marker; count]
    }

    fn balanced(totals: Totals) -> bool {
        totals.emitted == totals.exported + totals.dropped() + totals.queued
    }

    /// Guarantees: a full queue drops and counts, it does not wait; and the account is balanced before, while and after it is drained.
    #[test]
    fn a_full_queue_drops_and_counts() {
        let queue = Queue::default();
        queue.push(spans(MAX_QUEUED + 3));
        let full = queue.totals();
        assert_eq!((full.emitted, full.queued, full.dropped_queue_full), (MAX_QUEUED as u64 + 3, MAX_QUEUED as u64, 3));
        queue.close();
        let mut batches = 0;
        queue.drain(|batch| {
            assert!(batch.len() <= MAX_BATCH && balanced(queue.totals()));
            batches += 1;
            batches % 2 == 0
        });
        let drained = queue.totals();
        assert!(balanced(drained) && drained.queued == 0);
        assert_eq!(drained.exported, drained.dropped_failed);
    }

    /// Guarantees: a producer that waits for room loses nothing, however much it has.
    #[test]
    fn waiting_for_room_loses_nothing() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            scope.spawn(|| queue.drain(|_| true));
            queue.push_waiting(spans(MAX_QUEUED * 2 + 1));
            queue.shutdown(Duration::from_secs(60));
        });
        assert_eq!(
            queue.totals(),
            Totals { emitted: MAX_QUEUED as u64 * 2 + 1, exported: MAX_QUEUED as u64 * 2 + 1, ..Totals::default() }
        );
    }

    /// Guarantees: a shutdown that cannot wait drops what is left, counts it, and what comes later is counted as well.
    #[test]
    fn shutdown_counts_what_it_leaves() {
        let queue = Queue::default();
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let queue = &queue;
            scope.spawn(move || {
                queue.drain(|_| {
                    started.send(()).unwrap();
                    released.recv().is_ok()
                });
            });
            queue.push(spans(MAX_BATCH + 5));
            has_started.recv().unwrap();
            let totals = queue.shutdown(Duration::from_millis(1));
            assert_eq!((totals.queued, totals.dropped_shutdown), (MAX_BATCH as u64, 5));
            queue.push(spans(1));
            release.send(()).unwrap();
        });
        let expected =
            Totals { emitted: MAX_BATCH as u64 + 6, exported: MAX_BATCH as u64, dropped_shutdown: 6, ..Totals::default() };
        assert_eq!(queue.totals(), expected);
    }
}
