//! What was stripped and dropped in one message, counted without looking anything up.

use std::collections::BTreeMap;

use contract::{DropReason, Place, StripReason};

use crate::{Policy, Report};

/// Of most messages nothing is stripped, and of the others the same few things: so these are in a list, and not in a table of everything.
#[derive(Debug, Default)]
pub(super) struct Tally {
    parsed: u64,
    accepted: u64,
    /// In the order of the set's members.
    dropped: [u64; DropReason::ALL.len()],
    /// Each place and reason once.
    stripped: Vec<(Place, StripReason, u64)>,
    /// By the number of the key whose rule was broken, which mostly tells them apart.
    broken_rules: BTreeMap<(u8, Place, StripReason), u64>,
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
        match self.stripped.iter_mut().find(|(of, why, _)| (*of, *why) == (place, reason)) {
            Some((_, _, count)) => *count += fields,
            None if fields > 0 => self.stripped.push((place, reason, fields)),
            None => {}
        }
    }

    /// Counts a value under the key with this number.
    pub(super) fn strip_value(&mut self, place: Place, reason: StripReason, number: u8) {
        self.strip(place, reason);
        *self.broken_rules.entry((number, place, reason)).or_default() += 1;
    }

    pub(super) fn into_report(self, policy: &Policy) -> Report {
        let mut report = Report { parsed_records: self.parsed, accepted_records: self.accepted, ..Report::under(policy) };
        let key = |number: u8| policy.rules().get(usize::from(number)).map(|rule| rule.key.clone());
        let broken = self.broken_rules.into_iter();
        report.broken_rules.extend(broken.filter_map(|((number, place, reason), n)| Some(((place, reason, key(number)?), n))));
        let dropped = DropReason::ALL.iter().zip(self.dropped);
        report.dropped_records.extend(dropped.filter(|(_, spans)| *spans > 0).map(|(reason, spans)| (*reason, spans)));
        report.stripped_fields.extend(self.stripped.into_iter().map(|(place, reason, fields)| ((place, reason), fields)));
        report
    }
}
