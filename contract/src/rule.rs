//! The form of a value rule and of a record. The data is in [`crate::generated`]; the sanitizer applies it.

use crate::generated::{ATTRIBUTES, EVENTS, sets::RecordKind};

/// What stands in a filter attribute that has nothing to say.
pub const ABSENT: &str = "none";
/// What an unknown value of a closed set becomes.
pub const OTHER: &str = "_OTHER";
/// What stands in a composed text that has nothing to say.
pub const DASH: &str = "–";

/// One attribute of the contract.
#[derive(Debug)]
pub struct Attribute {
    /// Name on the wire.
    pub key: &'static str,
    /// What its value must be.
    pub rule: Rule,
    /// What a value that breaks the rule becomes.
    pub fallback: Fallback,
    /// Name as a Prometheus label, where it is one.
    pub label: Option<&'static str>,
}

/// What a value must be. Anything else is stripped.
#[derive(Debug)]
pub enum Rule {
    /// Text: one of `members`, or a match of the anchored `pattern`; at most `max_chars` characters.
    Text {
        /// Values that pass as they are.
        members: &'static [&'static str],
        /// Anchored regular expression in the syntax of the `regex` crate.
        pattern: Option<&'static str>,
        /// Length limit in characters.
        max_chars: usize,
    },
    /// A list of texts, each one of `members`.
    TextList {
        /// Values that pass.
        members: &'static [&'static str],
        /// How many items a list may have.
        max_items: usize,
    },
    /// A whole number within inclusive bounds.
    Int {
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
    },
    /// A finite number within inclusive bounds.
    Double {
        /// Smallest allowed value.
        min: f64,
        /// Largest allowed value.
        max: f64,
    },
    /// True or false.
    Bool,
}

/// What a value that breaks its rule becomes. A record is never lost for one odd value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The attribute goes.
    Drop,
    /// The attribute becomes a fixed text, which always passes.
    Text(&'static str),
    /// The attribute becomes `acct-` and the first 8 digits of the account's id, or [`ABSENT`] where the record has no valid id.
    AccountShortForm,
}

/// The OTLP span kinds that records have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// `SPAN_KIND_INTERNAL`
    Internal,
    /// `SPAN_KIND_SERVER`
    Server,
    /// `SPAN_KIND_CLIENT`
    Client,
}

impl SpanKind {
    /// Its number in OTLP.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Internal => 1,
            Self::Server => 2,
            Self::Client => 3,
        }
    }
}

/// One kind of span, and what it may carry.
#[derive(Debug)]
pub struct Record {
    /// Value of `codex_pooler.record.kind`; `None` for spans without one.
    pub kind: Option<RecordKind>,
    /// OTLP span kind.
    pub span_kind: SpanKind,
    /// Anchored regular expression for the span's name.
    pub name_pattern: &'static str,
    /// What any other name becomes.
    pub fallback_name: &'static str,
    /// Allowed attributes, in the order of their keys.
    pub attributes: &'static [&'static str],
    /// The ones among them that are always present.
    pub required: &'static [&'static str],
}

/// A log record that may arrive, and what it may carry.
#[derive(Debug)]
pub struct Event {
    /// Name of the event.
    pub name: &'static str,
    /// Allowed attributes, in the order of their keys.
    pub attributes: &'static [&'static str],
}

impl Record {
    /// Whether this record may carry the attribute.
    #[must_use]
    pub fn allows(&self, key: &str) -> bool {
        self.attributes.binary_search(&key).is_ok()
    }

    /// The record for a value of `codex_pooler.record.kind`, or the one for spans without it.
    #[must_use]
    pub fn of(kind: Option<RecordKind>) -> &'static Self {
        // The registry declares a record for every kind and one for none; a test holds that.
        crate::generated::RECORDS.iter().find(|record| record.kind == kind).unwrap_or(&crate::generated::RECORDS[0])
    }
}

/// The attribute with this name.
#[must_use]
pub fn attribute(key: &str) -> Option<&'static Attribute> {
    ATTRIBUTES.binary_search_by(|attribute| attribute.key.cmp(key)).ok().map(|at| &ATTRIBUTES[at])
}

/// The event with this name.
#[must_use]
pub fn event(name: &str) -> Option<&'static Event> {
    EVENTS.iter().find(|event| event.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: `Record::of` never falls back to a record of another kind.
    #[test]
    fn every_kind_has_a_record() {
        for kind in RecordKind::ALL.iter().copied().map(Some).chain([None]) {
            assert_eq!(Record::of(kind).kind, kind);
        }
    }

    /// Guarantees: look-ups by binary search find every name.
    #[test]
    fn every_attribute_of_a_record_is_found() {
        for record in crate::generated::RECORDS {
            assert!(record.attributes.is_sorted());
            for key in record.attributes {
                assert!(attribute(key).is_some() && record.allows(key), "{key}");
            }
            for key in record.required {
                assert!(record.allows(key), "{key}");
            }
        }
        assert!(attribute("gen_ai.input.messages").is_none());
    }
}
