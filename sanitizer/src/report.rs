//! What was stripped and dropped, in counts by closed reason. Never a key, never a value.

use std::collections::BTreeMap;

use contract::{DropReason, Place, StripReason};

/// The account of one message: parsed = dropped + accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Spans in the message.
    pub parsed_spans: u64,
    /// Spans that went on, with whatever was stripped from them.
    pub accepted_spans: u64,
    /// Spans that did not, by reason.
    pub dropped_spans: BTreeMap<DropReason, u64>,
    /// Fields that were stripped, or replaced by a fixed text, by place and reason.
    pub stripped_fields: BTreeMap<(Place, StripReason), u64>,
}

impl Report {
    /// How many fields were stripped in all.
    #[must_use]
    pub fn stripped_total(&self) -> u64 {
        self.stripped_fields.values().sum()
    }

    /// How many spans were dropped in all.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped_spans.values().sum()
    }

    pub(crate) fn strip(&mut self, place: Place, reason: StripReason) {
        self.strip_many(place, reason, 1);
    }

    pub(crate) fn strip_many(&mut self, place: Place, reason: StripReason, fields: usize) {
        if fields > 0 {
            *self.stripped_fields.entry((place, reason)).or_default() += fields as u64;
        }
    }

    pub(crate) fn drop_span(&mut self, reason: DropReason) {
        *self.dropped_spans.entry(reason).or_default() += 1;
    }
}
