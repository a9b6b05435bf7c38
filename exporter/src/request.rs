//! Handles on what is open: a request as it was admitted, then dispatched, then finished; and an attempt of one.
//!
//! A handle of an exporter that is disabled holds nothing and does nothing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::bounds;
use crate::clock;
use crate::end::{AttemptEnd, End, Ended, Rejection};
use crate::exporter::Inner;
use crate::lifecycle::{Attempt, INTERRUPTED, Lifecycle, Settlement};
use crate::open::Open;
use crate::queue::Job;
use crate::spans;

/// A request, and what makes a silence of it impossible: dropped while it is open, it is recorded as failed with the code [`INTERRUPTED`].
#[derive(Debug)]
struct Guard {
    exporter: Arc<Inner>,
    open: Arc<Open>,
}

impl Guard {
    fn finish(self, end: Ended) -> Finished {
        let (queue, open) = (&self.exporter.queue, &self.open);
        if !(open.end(end) && queue.clock.hold(open)) {
            open.record(queue);
        }
        Finished { inner: Some(self), corrections: 0, corrected: None }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.open.is_open() {
            // Nobody is left who could settle it.
            self.open.end(End::failed(INTERRUPTED).into());
            self.open.give_up(&self.exporter.queue);
        }
    }
}

/// A request that was admitted, and has no attempts. It is [rejected](Self::reject), [answered](Self::complete) without an upstream, or
/// [dispatched](Self::dispatch). If it is dropped instead, because a task was cancelled or panicked, it is recorded as failed with the code
/// [`INTERRUPTED`].
///
/// A rejected request cannot have attempts, because this handle is gone then:
///
/// ```compile_fail
/// # fn never(request: codex_pooler_exporter::Admitted, attempt: codex_pooler_exporter::Attempt) {
/// request.reject(codex_pooler_exporter::Rejection::new("model_not_allowed", 403));
/// request.dispatch().attempt(attempt);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a request that is dropped is recorded as interrupted"]
pub struct Admitted(Option<Guard>);

impl Admitted {
    #[inline]
    pub(crate) fn new(exporter: Option<(Arc<Inner>, Arc<Open>)>) -> Self {
        Self(exporter.map(|(exporter, open)| Guard { exporter, open }))
    }

    /// Row id; nil if the exporter is disabled.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.0.as_ref().map_or(Uuid::nil(), |guard| guard.open.id())
    }

    /// Where spans inside this request are recorded; none if the exporter is disabled.
    #[cfg(feature = "tracing-layer")]
    pub(crate) fn exporter(&self) -> Option<&Arc<Inner>> {
        self.0.as_ref().map(|guard| &guard.exporter)
    }

    /// Sends the first marker now, and further ones while the request is open. [`crate::Exporter::admit`] has done it already.
    pub fn start_markers(&self) {
        if let Some(guard) = &self.0 {
            clock::admit(&guard.exporter.queue, &guard.open, SystemTime::now());
        }
    }

    /// Refuses the request now, before any upstream work.
    pub fn reject(self, rejection: Rejection) {
        self.reject_at(rejection, SystemTime::now());
    }

    /// As [`Self::reject`], at another time.
    pub fn reject_at(self, rejection: Rejection, at: SystemTime) {
        self.end(Ended::from(rejection), at);
    }

    /// Ends a request that needed no attempt, or for which none could start. Its usage is "not applicable".
    pub fn complete(self, end: End) {
        self.complete_at(end, SystemTime::now());
    }

    /// As [`Self::complete`], at another time.
    pub fn complete_at(self, end: End, at: SystemTime) {
        self.end(end.into(), at);
    }

    fn end(self, end: Ended, at: SystemTime) {
        if let Some(guard) = self.0 {
            drop(guard.finish(Ended { at, ..end }));
        }
    }

    /// Goes on to the upstream: from here on there are attempts, and no rejection.
    #[inline]
    pub fn dispatch(self) -> Request {
        Request(self.0)
    }
}

/// A request that was dispatched. It is recorded once, when it is finished; if it is dropped instead, because a task was cancelled or
/// panicked, it is recorded as failed with the code [`INTERRUPTED`].
#[derive(Debug)]
#[must_use = "a request that is dropped is recorded as interrupted"]
pub struct Request(Option<Guard>);

// Called for what they do; what they return can be ignored.
#[allow(clippy::must_use_candidate)]
impl Request {
    /// Row id; nil if the exporter is disabled.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.0.as_ref().map_or(Uuid::nil(), |guard| guard.open.id())
    }

    /// Where spans inside this request are recorded; none if the exporter is disabled.
    #[cfg(feature = "tracing-layer")]
    pub(crate) fn exporter(&self) -> Option<&Arc<Inner>> {
        self.0.as_ref().map(|guard| &guard.exporter)
    }

    /// An attempt that starts now. It gets the next number, and has no end, whatever the one given says.
    pub fn attempt(&self, attempt: Attempt) -> AttemptHandle {
        self.start(attempt, SystemTime::now(), Duration::ZERO)
    }

    /// As [`Self::attempt`]; a disabled exporter does not ask for it.
    pub fn attempt_with(&self, attempt: impl FnOnce() -> Attempt) -> AttemptHandle {
        if self.0.is_some() { self.attempt(attempt()) } else { AttemptHandle(None) }
    }

    /// An attempt that started at another time. It gets the next number. Of more than 64 attempts the last ones are kept.
    pub fn attempt_at(&self, attempt: Attempt, at: SystemTime) -> AttemptHandle {
        self.start(attempt, at, at.elapsed().unwrap_or_default())
    }

    fn start(&self, attempt: Attempt, at: SystemTime, before: Duration) -> AttemptHandle {
        AttemptHandle(self.0.as_ref().map(|guard| OpenAttempt {
            number: guard.open.attempt(attempt, at),
            open: Arc::clone(&guard.open),
            before,
            created: Instant::now(),
            first_output: None,
        }))
    }

    /// Says what the ledger says. Known usage is final; of anything else the last word counts.
    pub fn settle(&self, settlement: Settlement) {
        if let Some(guard) = &self.0 {
            guard.open.settle(settlement);
        }
    }

    /// Ends the request now. Attempts that are still open are recorded as failed with the code [`INTERRUPTED`]. Retries are counted from the
    /// attempts, where `end` does not say more.
    ///
    /// The row is recorded at once if the request is settled; else it waits for the settlement as long as somebody has what this returns, for
    /// [`contract::limits::SETTLEMENT_HOLD`] at most.
    pub fn finish(self, end: End) -> Finished {
        self.finish_at(end, SystemTime::now())
    }

    /// As [`Self::finish`]; a disabled exporter does not ask for it.
    pub fn finish_with(self, end: impl FnOnce() -> End) -> Finished {
        if self.0.is_some() { self.finish(end()) } else { Finished::NONE }
    }

    /// As [`Self::finish`], at another time.
    pub fn finish_at(self, end: End, at: SystemTime) -> Finished {
        self.0.map_or(Finished::NONE, |guard| guard.finish(Ended { at, ..end.into() }))
    }
}

/// A request that has ended, for what is learned of it later.
///
/// Dropped before anybody settled it, it says that the usage is unknown, because nobody is left who could say more: in the row, or in a
/// correction of it if the row has waited long enough and went out as pending. So no row stays pending for ever, but for one whose process
/// died in between. That is the pooler's own rule: of a request that has ended, usage is known, unknown or not applicable.
///
/// ```no_run
/// # fn later(request: codex_pooler_exporter::Request, settlement: codex_pooler_exporter::Settlement) {
/// let mut finished = request.finish(codex_pooler_exporter::End::completed());
/// // … when the ledger has done its work, in time for the row or as a correction of it:
/// finished.settle(settlement);
/// # }
/// ```
#[derive(Debug)]
pub struct Finished {
    inner: Option<Guard>,
    corrections: u32,
    /// What the last correction said of the settlement. Boxed, because hardly any request has one, and handles are moved about.
    corrected: Option<Box<Settlement>>,
}

// A disabled exporter hands it over as well, and handing over is all that one costs: with a settlement in it, that was four times as much.
const _: () = assert!(size_of::<Finished>() <= 32);

impl Finished {
    const NONE: Self = Self { inner: None, corrections: 0, corrected: None };

    /// Says what the ledger says. A row that was held for it is recorded; for one that went out before, a correction is. Known usage is final,
    /// whichever of both said it; what was said already is not said again.
    pub fn settle(&mut self, settlement: Settlement) {
        self.settle_at(settlement, SystemTime::now());
    }

    /// As [`Self::settle`]; `at` is when it was learned, should it be a correction.
    pub fn settle_at(&mut self, settlement: Settlement, at: SystemTime) {
        let Some(Guard { exporter, open }) = &self.inner else { return };
        open.settle(settlement);
        open.record(&exporter.queue);
        let said = self.corrected.as_deref().copied().unwrap_or_else(|| open.settlement());
        if said != settlement && !matches!(said, Settlement::Known { .. }) {
            let after = Lifecycle { settlement, ..open.lifecycle() };
            self.correct_at(after, at);
        }
    }

    /// Says what the request has become since it ended, as when late usage turns a failure into a success. A row that is held is recorded as
    /// it was, and the difference goes out as a correction.
    pub fn correct(&mut self, after: Lifecycle) {
        self.correct_at(after, SystemTime::now());
    }

    /// As [`Self::correct`], learned at another time.
    pub fn correct_at(&mut self, mut after: Lifecycle, at: SystemTime) {
        if let Some(Guard { exporter, open }) = &self.inner {
            bounds::lifecycle(&mut after);
            open.record(&exporter.queue);
            self.corrections = self.corrections.saturating_add(1);
            self.corrected = Some(Box::new(after.settlement));
            // Composed here, though it takes longer than to hand both over: it is late and rare, and its difference is small, where a lifecycle is
            // as large as its attempts are many.
            exporter.queue.push(Job::Spans(vec![spans::correction(&open.lifecycle(), &after, self.corrections, at)]));
        }
    }

    /// What was recorded, or will be; none if the exporter is disabled.
    #[must_use]
    pub fn lifecycle(&self) -> Option<Lifecycle> {
        self.inner.as_ref().map(|guard| guard.open.lifecycle())
    }
}

impl Drop for Finished {
    #[inline]
    fn drop(&mut self) {
        if matches!(self.corrected.as_deref(), None | Some(Settlement::Pending))
            && let Some(Guard { exporter, open }) = &self.inner
            && open.give_up(&exporter.queue)
        {
            self.settle(Settlement::Unknown);
        }
    }
}

/// An open attempt. If it is dropped instead of finished, it stays open until its request ends, and is recorded as interrupted then.
#[derive(Debug)]
#[must_use = "an attempt that is dropped is recorded as interrupted"]
pub struct AttemptHandle(Option<OpenAttempt>);

#[derive(Debug)]
struct OpenAttempt {
    open: Arc<Open>,
    number: u32,
    /// For how long the attempt had been going on when this handle was made.
    before: Duration,
    created: Instant,
    /// Time from the start to the first visible output.
    first_output: Option<Duration>,
}

impl OpenAttempt {
    fn elapsed(&self) -> Duration {
        self.before.saturating_add(self.created.elapsed())
    }
}

impl AttemptHandle {
    /// Call it for every chunk that the client can see: the first call notes the time to the first output, every other does nothing.
    #[inline]
    pub fn output(&mut self) {
        if let Some(attempt) = &mut self.0
            && attempt.first_output.is_none()
        {
            attempt.first_output = Some(attempt.elapsed());
        }
    }

    /// Ends the attempt now. Where `end` has no latency or no time to the first output, they are what the monotonic clock says.
    pub fn finish(self, end: AttemptEnd) {
        if let Some(attempt) = self.0 {
            let latency_ms = end.latency_ms.or(milliseconds(attempt.elapsed()));
            let first_output_ms = end.first_output_ms.or(attempt.first_output.and_then(milliseconds));
            attempt.open.end_attempt(attempt.number, AttemptEnd { at: SystemTime::now(), latency_ms, first_output_ms, ..end });
        }
    }

    /// As [`Self::finish`]; a disabled exporter does not ask for it.
    pub fn finish_with(self, end: impl FnOnce() -> AttemptEnd) {
        if self.0.is_some() {
            self.finish(end());
        }
    }

    /// Ends the attempt at another time. Its latency, where `end` has none, is the time between start and end.
    pub fn finish_at(self, end: AttemptEnd, at: SystemTime) {
        if let Some(attempt) = self.0 {
            attempt.open.end_attempt(attempt.number, AttemptEnd { at, ..end });
        }
    }
}

fn milliseconds(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_millis()).ok()
}
