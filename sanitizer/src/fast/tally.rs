//! What was stripped and dropped in one message, counted without looking anything up.

use contract::{DropReason, Place, StripReason};

use crate::Report;

/// Counts in the order of the sets' members.
#[derive(Debug)]
pub(super) struct Tally {
    parsed_spans: u64,
    accepted_spans: u64,
    dropped: [u64; DropReason::ALL.len()],
    stripped: [[u64; StripReason::ALL.len()]; Place::ALL.len()],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            parsed_spans: 0,
            accepted_spans: 0,
            dropped: [0; DropReason::ALL.len()],
            stripped: [[0; StripReason::ALL.len()]; Place::ALL.len()],
        }
    }
}

impl Tally {
    pub(super) fn parsed(&mut self) {
        self.parsed_spans += 1;
    }

    pub(super) fn accepted(&mut self) {
        self.accepted_spans += 1;
    }

    pub(super) fn dropped(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    pub(super) fn strip(&mut self, place: Place, reason: StripReason) {
        self.strip_many(place, reason, 1);
    }

    pub(super) fn strip_many(&mut self, place: Place, reason: StripReason, fields: u64) {
        self.stripped[place as usize][reason as usize] += fields;
    }

    pub(super) fn into_report(self) -> Report {
        let mut report = Report { parsed_records: self.parsed_spans, accepted_records: self.accepted_spans, ..Report::default() };
        let dropped = DropReason::ALL.iter().zip(self.dropped);
        report.dropped_records.extend(dropped.filter(|(_, spans)| *spans > 0).map(|(reason, spans)| (*reason, spans)));
        for (place, by_reason) in Place::ALL.iter().zip(self.stripped) {
            let stripped = StripReason::ALL.iter().zip(by_reason).filter(|(_, fields)| *fields > 0);
            report.stripped_fields.extend(stripped.map(|(reason, fields)| ((*place, *reason), fields)));
        }
        report
    }
}
