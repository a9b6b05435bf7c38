//! What became of every span.

/// The exporter's account. At every moment `emitted = exported + dropped() + queued`. A row that is held for its settlement is not emitted yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Spans that were recorded.
    pub emitted: u64,
    /// Spans that the receiver took.
    pub exported: u64,
    /// Spans that wait, or are on their way.
    pub queued: u64,
    /// Spans that found the queue full.
    pub dropped_queue_full: u64,
    /// Spans that the contract has no place for: of an id of zeros, or of a time before 2020.
    pub dropped_invalid: u64,
    /// Spans that the receiver refused for good, in whole messages or in part of one.
    pub dropped_rejected: u64,
    /// Spans in messages that were tried again and again, until the time for that was over.
    pub dropped_exhausted: u64,
    /// Spans that came after the shutdown, or that it could not wait for. One that was on its way may have arrived.
    pub dropped_shutdown: u64,
}

impl Totals {
    /// Spans that were lost, for whatever reason.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped_queue_full + self.dropped_invalid + self.dropped_rejected + self.dropped_exhausted + self.dropped_shutdown
    }

    /// Spans that were queued and are no more.
    pub(crate) const fn settled(&self) -> u64 {
        self.exported + self.dropped_invalid + self.dropped_rejected + self.dropped_exhausted
    }
}
