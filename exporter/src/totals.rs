//! What became of every span.

use std::sync::atomic::{AtomicU64, Ordering};

/// The exporter's account. At every moment `emitted = exported + dropped() + queued`. A row that is held for its settlement is not emitted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Spans that were recorded.
    pub emitted: u64,
    /// Spans that the receiver took.
    pub exported: u64,
    /// Spans that wait, at most 8192 or as many as `OTEL_BSP_MAX_QUEUE_SIZE` says, and beside them those of the one message that is on its
    /// way, of 512 or `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
    pub queued: u64,
    /// Spans that found the queue full, or that made room for a row.
    pub dropped_queue_full: u64,
    /// Spans that the contract has no place for: of an id of zeros, or of a time that cannot be: before 2020, more
    /// than an hour from now, or a week after its start.
    pub dropped_invalid: u64,
    /// Spans that the receiver refused for good, in whole messages or in part of one.
    pub dropped_rejected: u64,
    /// Spans in messages that were tried again and again, until the time for that was over.
    pub dropped_exhausted: u64,
    /// Spans that came after the shutdown, or that it could not wait for. One that was on its way may have arrived.
    pub dropped_shutdown: u64,
    /// Values that the caller gave and the contract refused, such as a label with an address in it, or a number of tokens beyond all bounds,
    /// counted in every span that would have shown them. The span is sent without them, so that they are no part of the account above.
    pub refused_values: u64,
}

impl Totals {
    /// Spans that were lost, for whatever reason.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped_queue_full + self.dropped_invalid + self.dropped_rejected + self.dropped_exhausted + self.dropped_shutdown
    }
}

/// What becomes of a span, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Exported,
    Invalid,
    Rejected,
    Exhausted,
    /// It was queued, and made room for a row.
    Displaced,
    /// It was queued, and a shutdown did not wait for it.
    LeftBehind,
    /// It was never queued: there was no room.
    NoRoom,
    /// It was never queued: it came after the shutdown.
    TooLate,
}

/// Those that were queued before.
const LEFT_THE_QUEUE: [Fate; 6] =
    [Fate::Exported, Fate::Invalid, Fate::Rejected, Fate::Exhausted, Fate::Displaced, Fate::LeftBehind];

/// Where [`Totals`] are kept, without a lock. A span is counted as emitted before its fate is, and the two are read the other way round, so that
/// nobody ever sees more fates than spans. What is queued is the difference: the account is balanced in every reading.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    emitted: AtomicU64,
    fates: [AtomicU64; 8],
    refused_values: AtomicU64,
}

impl Counters {
    pub(crate) fn emit(&self, spans: usize) {
        self.emitted.fetch_add(spans as u64, Ordering::Release);
    }

    pub(crate) fn settle(&self, fate: Fate, spans: usize) {
        self.fates[fate as usize].fetch_add(spans as u64, Ordering::Release);
    }

    pub(crate) fn refuse(&self, values: u64) {
        self.refused_values.fetch_add(values, Ordering::Relaxed);
    }

    /// Spans that were queued and are no more.
    pub(crate) fn left_the_queue(&self) -> u64 {
        LEFT_THE_QUEUE.into_iter().map(|fate| self.get(fate)).sum()
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals {
            exported: self.get(Fate::Exported),
            dropped_queue_full: self.get(Fate::NoRoom) + self.get(Fate::Displaced),
            dropped_invalid: self.get(Fate::Invalid),
            dropped_rejected: self.get(Fate::Rejected),
            dropped_exhausted: self.get(Fate::Exhausted),
            dropped_shutdown: self.get(Fate::LeftBehind) + self.get(Fate::TooLate),
            refused_values: self.refused_values.load(Ordering::Relaxed),
            ..Totals::default()
        };
        totals.emitted = self.emitted.load(Ordering::Acquire);
        totals.queued = totals.emitted - totals.exported - totals.dropped();
        totals
    }

    fn get(&self, fate: Fate) -> u64 {
        self.fates[fate as usize].load(Ordering::Acquire)
    }
}
