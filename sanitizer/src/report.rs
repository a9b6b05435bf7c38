//! What was stripped and dropped, in counts by closed reason. Never a key, never a value.

use std::collections::BTreeMap;

use std::sync::Arc;

use contract::{DropReason, Place, StripReason};

use crate::Policy;

/// The account of one message: parsed = dropped + accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Version of the policy that was in force.
    pub policy_version: Arc<str>,
    /// Records in the message: spans, log records, or data points.
    pub parsed_records: u64,
    /// Records that went on, with whatever was stripped from them.
    pub accepted_records: u64,
    /// Records that did not, by reason.
    pub dropped_records: BTreeMap<DropReason, u64>,
    /// Fields that were stripped, or replaced by a fixed text, by place and reason.
    pub stripped_fields: BTreeMap<(Place, StripReason), u64>,
    /// The ones among them that stood under a key which the policy knows, with that key: whose rule they broke, or which the policy takes out.
    pub broken_rules: BTreeMap<(Place, StripReason, Arc<str>), u64>,
}

/// A line of a report: fields of one place that were stripped for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripped<'a> {
    /// Where they stood.
    pub place: Place,
    /// Why they went.
    pub reason: StripReason,
    /// The key that the policy knows, whose rule they broke; none for whatever stood under no such key.
    pub rule: Option<&'a str>,
    /// How many.
    pub fields: u64,
}

/// Whether the operator's policy is why a field went, and no fault of who sent it.
#[must_use]
pub const fn is_operators_doing(reason: StripReason) -> bool {
    matches!(reason, StripReason::Policy | StripReason::Hidden)
}

impl Report {
    pub(crate) fn under(policy: &Policy) -> Self {
        Self { policy_version: policy.version_text().clone(), ..Self::default() }
    }

    /// How many fields were stripped in all.
    #[must_use]
    pub fn stripped_total(&self) -> u64 {
        self.stripped_fields.values().sum()
    }

    /// How many fields were stripped that the sender should not have sent.
    #[must_use]
    pub fn faults_total(&self) -> u64 {
        self.stripped_fields.iter().filter(|((_, reason), _)| !is_operators_doing(*reason)).map(|(_, fields)| fields).sum()
    }

    /// Every stripped field once: under the key whose rule it broke, or else by place and reason alone.
    #[must_use]
    pub fn stripped_by_rule(&self) -> Vec<Stripped<'_>> {
        let mut lines = Vec::new();
        for ((place, reason), fields) in &self.stripped_fields {
            let (place, reason, mut left) = (*place, *reason, *fields);
            for ((of, why, rule), fields) in &self.broken_rules {
                if (*of, *why) == (place, reason) {
                    lines.push(Stripped { place, reason, rule: Some(rule), fields: *fields });
                    left = left.saturating_sub(*fields);
                }
            }
            if left > 0 {
                lines.push(Stripped { place, reason, rule: None, fields: left });
            }
        }
        lines
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

    /// Counts fields that OTLP does not define.
    pub(crate) fn strip_undefined(&mut self, fields: usize) {
        self.strip_many(Place::UndefinedField, StripReason::NotAllowed, fields);
    }

    /// Counts a value under a key that the policy knows.
    pub(crate) fn strip_value(&mut self, place: Place, reason: StripReason, key: &Arc<str>) {
        self.strip(place, reason);
        *self.broken_rules.entry((place, reason, key.clone())).or_default() += 1;
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
