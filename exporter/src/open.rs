//! One request that was admitted: what is known of it, shared by its handles, the clock and the queue. Each has a lock of its own.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use contract::outcome::CLIENT_DISCONNECTED;
use opentelemetry_sdk::trace::SpanData;
use uuid::Uuid;

use crate::bounds::{self, MAX_ATTEMPTS};
use crate::end::Terminal;
use crate::lifecycle::{Attempt, AttemptEnd, Ended, INTERRUPTED, Lifecycle, Settlement};
use crate::queue::{self, Job, Queue};
use crate::spans;

/// A request, from its admission on.
pub(crate) struct Open {
    id: Uuid,
    state: Mutex<State>,
}

struct State {
    lifecycle: Lifecycle,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Ended, and waits for its settlement.
    Held,
    /// Handed to the queue. Nothing changes any more.
    Recorded,
}

/// Says which request, and not what the application said about it: handles end up in other people's logs.
impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Open {
    pub(crate) fn new(mut lifecycle: Lifecycle) -> Self {
        bounds::admission(&mut lifecycle.admission);
        Self { id: lifecycle.admission.request_id, state: Mutex::new(State { lifecycle, phase: Phase::Open }) }
    }

    /// Row id.
    pub(crate) const fn id(&self) -> Uuid {
        self.id
    }

    /// Starts an attempt and says its number.
    pub(crate) fn attempt(&self, mut attempt: Attempt, at: SystemTime) -> u32 {
        bounds::attempt(&mut attempt);
        let attempts = &mut self.lock().lifecycle.attempts;
        let number = attempts.last().map_or(1, |last| last.number.saturating_add(1));
        if attempts.len() == MAX_ATTEMPTS {
            attempts.remove(0);
        }
        if attempts.is_empty() {
            // Most requests have one, and the room for four that a list would take at once is the largest thing that a request allocates.
            attempts.reserve_exact(1);
        }
        attempts.push(Attempt { number, started_at: at, end: None, ..attempt });
        number
    }

    /// Ends an attempt. After the request ended, this changes nothing. `latency_ms` is worked out from the attempt's start where nobody measured it.
    pub(crate) fn end_attempt(&self, number: u32, mut end: AttemptEnd) {
        bounds::attempt_end(&mut end);
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return;
        }
        if let Some(attempt) = state.lifecycle.attempts.iter_mut().rev().find(|attempt| attempt.number == number) {
            let elapsed = || end.at.duration_since(attempt.started_at).ok().and_then(|took| u64::try_from(took.as_millis()).ok());
            end.latency_ms = end.latency_ms.or_else(elapsed);
            attempt.end = Some(end);
        }
    }

    /// What the ledger says. Known usage is final.
    pub(crate) fn settle(&self, settlement: Settlement) {
        let mut state = self.lock();
        if state.phase != Phase::Recorded && !matches!(state.lifecycle.settlement, Settlement::Known { .. }) {
            state.lifecycle.settlement = settlement;
        }
    }

    /// Hands the row to the queue as [`Self::record`] does, because nobody is left who could settle it. Says whether it was recorded before, as
    /// pending.
    pub(crate) fn give_up(self: &Arc<Self>, queue: &Queue) -> bool {
        let mut state = self.lock();
        let is_pending = state.lifecycle.settlement == Settlement::Pending;
        if state.phase == Phase::Recorded {
            return is_pending;
        }
        if is_pending {
            state.lifecycle.settlement = Settlement::Unknown;
        }
        self.push(&mut state, queue);
        false
    }

    /// Ends the request, unless it has ended. Says whether it should be held for its settlement; else it is to be [recorded](Self::record).
    pub(crate) fn end(&self, mut end: Ended) -> bool {
        bounds::end(&mut end);
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return false;
        }
        state.phase = Phase::Held;
        let Lifecycle { attempts, settlement, .. } = &mut state.lifecycle;
        for attempt in attempts.iter_mut().filter(|attempt| attempt.end.is_none()) {
            attempt.end = Some(if end.error_code.as_deref() == Some(CLIENT_DISCONNECTED) {
                // Given up on purpose, and as long as it lasted.
                let took = end.at.duration_since(attempt.started_at).ok();
                let latency_ms = took.and_then(|took| u64::try_from(took.as_millis()).ok());
                AttemptEnd { at: end.at, latency_ms, ..AttemptEnd::of(Terminal::ClientDisconnected) }
            } else {
                AttemptEnd { at: end.at, ..AttemptEnd::failed(INTERRUPTED) }
            });
        }
        // Skipped candidates count too, so that there can be more retries than attempts, and never fewer.
        end.retry_count = end.retry_count.max(attempts.last().map_or(0, |last| last.number.saturating_sub(1)));
        // Without an attempt there is nothing that could use anything.
        if attempts.is_empty() && *settlement == Settlement::Pending {
            *settlement = Settlement::NotApplicable;
        }
        let pending = *settlement == Settlement::Pending;
        state.lifecycle.end = Some(end);
        pending
    }

    /// Hands the row to the queue, if the request has ended and this has not happened yet.
    pub(crate) fn record(self: &Arc<Self>, queue: &Queue) {
        self.push(&mut self.lock(), queue);
    }

    fn push(self: &Arc<Self>, state: &mut State, queue: &Queue) {
        if state.phase == Phase::Held {
            state.phase = Phase::Recorded;
            let spans = 1 + state.lifecycle.attempts.len();
            queue.push(Job::Row { open: Arc::clone(self), spans });
        }
    }

    /// Hands a marker to the queue if the request is open, and says whether it is.
    pub(crate) fn mark(self: &Arc<Self>, queue: &Queue, sequence: u32) -> bool {
        // Held while the marker is queued, so that none comes after the row.
        let state = self.lock();
        if state.phase == Phase::Open {
            queue.push(Job::Marker { open: Arc::clone(self), sequence, at: SystemTime::now() });
        }
        state.phase == Phase::Open
    }

    pub(crate) fn settlement(&self) -> Settlement {
        self.lock().lifecycle.settlement
    }

    /// Whether there is an account that a marker could show.
    pub(crate) fn has_attempt(&self) -> bool {
        !self.lock().lifecycle.attempts.is_empty()
    }

    /// Whether nobody has said how it ended.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().phase == Phase::Open
    }

    pub(crate) fn lifecycle(&self) -> Lifecycle {
        self.lock().lifecycle.clone()
    }

    /// The row and its attempts.
    pub(crate) fn row(&self) -> Vec<SpanData> {
        spans::finished(&self.lock().lifecycle)
    }

    /// The marker as of then, although the request may have ended since: the first one says what was known at admission.
    pub(crate) fn marker(&self, sequence: u32, at: SystemTime) -> SpanData {
        let mut lifecycle = self.lifecycle();
        lifecycle.end = None;
        if sequence == 0 {
            lifecycle.attempts.clear();
        }
        if lifecycle.settlement != Settlement::NotApplicable {
            lifecycle.settlement = Settlement::Pending;
        }
        spans::marker(&lifecycle, sequence, at)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        queue::lock(&self.state)
    }
}
