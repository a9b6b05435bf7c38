//! Handles on what is open: a request, and an attempt of one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use contract::{AttemptStatus, RequestStatus};

use crate::exporter::Inner;
use crate::lifecycle::{Attempt, AttemptEnd, End, INTERRUPTED, Lifecycle, Settlement};
use crate::spans;

/// An open request. It is recorded once, when it is finished; if it is dropped instead, because a task was cancelled or panicked, it is
/// recorded as failed with the code [`INTERRUPTED`].
#[derive(Debug)]
pub struct Request {
    exporter: Arc<Inner>,
    lifecycle: Arc<Mutex<Lifecycle>>,
}

// Called for what they do; what they return can be ignored.
#[allow(clippy::must_use_candidate)]
impl Request {
    pub(crate) fn new(exporter: Arc<Inner>, lifecycle: Lifecycle) -> Self {
        Self { exporter, lifecycle: Arc::new(Mutex::new(lifecycle)) }
    }

    /// Sends the first marker now, and further ones while the request is open. [`crate::Exporter::admit`] has done it already.
    pub fn start_markers(&self) {
        let lifecycle = lock(&self.lifecycle);
        let request_id = lifecycle.admission.request_id;
        self.exporter.queue.push([spans::marker(&lifecycle, 0, SystemTime::now())]);
        drop(lifecycle);
        self.exporter.heartbeats.start(request_id, Arc::clone(&self.lifecycle));
    }

    /// An attempt that starts now. It gets the next number.
    #[must_use = "an attempt that is dropped stays open until its request ends"]
    pub fn attempt(&self, attempt: Attempt) -> AttemptHandle {
        self.attempt_at(attempt, SystemTime::now())
    }

    /// An attempt that started at another time. It gets the next number.
    #[must_use = "an attempt that is dropped stays open until its request ends"]
    pub fn attempt_at(&self, attempt: Attempt, at: SystemTime) -> AttemptHandle {
        let mut lifecycle = lock(&self.lifecycle);
        let index = lifecycle.attempts.len();
        let number = lifecycle.attempts.last().map_or(1, |last| last.number.saturating_add(1));
        lifecycle.attempts.push(Attempt { number, started_at: at, ..attempt });
        AttemptHandle { lifecycle: Arc::clone(&self.lifecycle), index, started: Instant::now() }
    }

    /// Says what the ledger says; the last word before the end counts. What is learned later goes through [`crate::Exporter::correct`].
    pub fn settle(&self, settlement: Settlement) {
        lock(&self.lifecycle).settlement = settlement;
    }

    /// Ends the request now and records it. Returns what was recorded, for a later correction.
    pub fn finish(self, end: End) -> Lifecycle {
        self.finish_at(end, SystemTime::now())
    }

    /// Ends the request at another time and records it. Attempts that are still open are recorded as failed with the code [`INTERRUPTED`].
    /// Returns what was recorded, for a later correction.
    pub fn finish_at(self, end: End, at: SystemTime) -> Lifecycle {
        self.end(End { at, ..end });
        lock(&self.lifecycle).clone()
    }

    fn end(&self, end: End) {
        let mut lifecycle = lock(&self.lifecycle);
        for attempt in lifecycle.attempts.iter_mut().filter(|attempt| attempt.end.is_none()) {
            let code = Some(INTERRUPTED.to_owned());
            attempt.end = Some(AttemptEnd { at: end.at, error_code: code, ..AttemptEnd::new(AttemptStatus::Failed) });
        }
        lifecycle.end = Some(end);
        self.exporter.queue.push(spans::finished(&lifecycle));
        let request_id = lifecycle.admission.request_id;
        drop(lifecycle);
        self.exporter.heartbeats.end(request_id);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut lifecycle = lock(&self.lifecycle);
        if lifecycle.end.is_some() {
            return;
        }
        // Nobody is left who could settle it.
        if lifecycle.settlement == Settlement::Pending {
            lifecycle.settlement = if lifecycle.attempts.is_empty() { Settlement::NotApplicable } else { Settlement::Unknown };
        }
        drop(lifecycle);
        self.end(End { error_code: Some(INTERRUPTED.to_owned()), ..End::new(RequestStatus::Failed) });
    }
}

/// An open attempt. If it is dropped instead of finished, it stays open until its request ends.
#[derive(Debug)]
pub struct AttemptHandle {
    lifecycle: Arc<Mutex<Lifecycle>>,
    index: usize,
    started: Instant,
}

impl AttemptHandle {
    /// Ends the attempt now. Its latency, where `end` has none, is the time since it started by the monotonic clock.
    pub fn finish(self, end: AttemptEnd) {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).ok();
        let latency_ms = end.latency_ms.or(elapsed_ms);
        self.end(AttemptEnd { at: SystemTime::now(), latency_ms, ..end });
    }

    /// Ends the attempt at another time. Its latency, where `end` has none, is the time between start and end.
    pub fn finish_at(self, end: AttemptEnd, at: SystemTime) {
        let started_at = lock(&self.lifecycle).attempts.get(self.index).map(|attempt| attempt.started_at);
        let elapsed = started_at.and_then(|started_at| at.duration_since(started_at).ok());
        let latency_ms = end.latency_ms.or_else(|| u64::try_from(elapsed?.as_millis()).ok());
        self.end(AttemptEnd { at, latency_ms, ..end });
    }

    /// After the request ended, this changes nothing.
    fn end(self, end: AttemptEnd) {
        let mut lifecycle = lock(&self.lifecycle);
        if lifecycle.end.is_none()
            && let Some(attempt) = lifecycle.attempts.get_mut(self.index)
        {
            attempt.end = Some(end);
        }
    }
}

fn lock(lifecycle: &Mutex<Lifecycle>) -> MutexGuard<'_, Lifecycle> {
    lifecycle.lock().unwrap_or_else(PoisonError::into_inner)
}
