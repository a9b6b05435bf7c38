//! What was stripped and dropped, in counts by closed reason. Never a key, never a value.

use std::collections::BTreeMap;

use contract::{DropReason, Place, StripReason};

/// The account of one message: parsed = dropped + accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records in the message: spans, log records, or data points.
    pub parsed_records: u64,
    /// Records that went on, with whatever was stripped from them.
    pub accepted_records: u64,
    /// Records that did not, by reason.
    pub dropped_records: BTreeMap<DropReason, u64>,
    /// Fields that were stripped, or replaced by a fixed text, by place and reason.
    pub stripped_fields: BTreeMap<(Place, StripReason), u64>,
}

impl Report {
    /// How many fields were stripped in all.
    #[must_use]
    pub fn stripped_total(&self) -> u64 {
        self.stripped_fields.values().sum()
    }

    /// How many records were dropped in all.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped_records.values().sum()
    }

    /// Counts the accepted records as dropped after all, because nothing took them.
    pub fn drop_accepted(&mut self, reason: DropReason) {
        let records = std::mem::take(&mut self.accepted_records);
        if records > 0 {
            *self.dropped_records.entry(reason).or_default() += records;
        }
    }

    pub(crate) fn strip(&mut self, place: Place, reason: StripReason) {
        self.strip_many(place, reason, 1);
    }

    pub(crate) fn strip_many(&mut self, place: Place, reason: StripReason, fields: usize) {
        if fields > 0 {
            *self.stripped_fields.entry((place, reason)).or_default() += fields as u64;
        }
    }

    pub(crate) fn accept_record(&mut self) {
        self.parsed_records += 1;
        self.accepted_records += 1;
    }

    pub(crate) fn drop_records(&mut self, reason: DropReason, records: u64) {
        if records > 0 {
            self.parsed_records += records;
            *self.dropped_records.entry(reason).or_default() += records;
        }
    }
}
