//! What was stripped and dropped in one message, counted without looking anything up.

use std::collections::BTreeMap;

use contract::{DropReason, Place, StripReason};

use crate::{Policy, Report};

/// Counts in the order of the sets' members.
#[derive(Debug)]
pub(super) struct Tally {
    parsed: u64,
    accepted: u64,
    dropped: [u64; DropReason::ALL.len()],
    stripped: [[u64; StripReason::ALL.len()]; Place::ALL.len()],
    /// By the number of the key whose rule was broken.
    broken_rules: BTreeMap<(Place, StripReason, u8), u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            parsed: 0,
            accepted: 0,
            dropped: [0; DropReason::ALL.len()],
            stripped: [[0; StripReason::ALL.len()]; Place::ALL.len()],
            broken_rules: BTreeMap::new(),
        }
    }
}

impl Tally {
    pub(super) fn parsed(&mut self) {
        self.parsed += 1;
    }

    pub(super) fn accepted(&mut self) {
        self.accepted += 1;
    }

    pub(super) fn dropped(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// Counts records that go unread.
    pub(super) fn lost(&mut self, reason: DropReason, records: u64) {
        self.parsed += records;
        self.dropped[reason as usize] += records;
    }

    pub(super) fn strip(&mut self, place: Place, reason: StripReason) {
        self.strip_many(place, reason, 1);
    }

    pub(super) fn strip_many(&mut self, place: Place, reason: StripReason, fields: u64) {
        self.stripped[place as usize][reason as usize] += fields;
    }

    /// Counts a value under the key with this number.
    pub(super) fn strip_value(&mut self, place: Place, reason: StripReason, number: u8) {
        self.strip(place, reason);
        *self.broken_rules.entry((place, reason, number)).or_default() += 1;
    }

    pub(super) fn into_report(self, policy: &Policy) -> Report {
        let mut report = Report { parsed_records: self.parsed, accepted_records: self.accepted, ..Report::under(policy) };
        let key = |number: u8| policy.rules().get(usize::from(number)).map(|rule| rule.key.clone());
        let broken = self.broken_rules.into_iter();
        report.broken_rules.extend(broken.filter_map(|((place, reason, number), n)| Some(((place, reason, key(number)?), n))));
        let dropped = DropReason::ALL.iter().zip(self.dropped);
        report.dropped_records.extend(dropped.filter(|(_, spans)| *spans > 0).map(|(reason, spans)| (*reason, spans)));
        for (place, by_reason) in Place::ALL.iter().zip(self.stripped) {
            let stripped = StripReason::ALL.iter().zip(by_reason).filter(|(_, fields)| *fields > 0);
            report.stripped_fields.extend(stripped.map(|(reason, fields)| ((*place, *reason), fields)));
        }
        report
    }
}
