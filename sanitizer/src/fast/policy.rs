//! The contract in the form in which it is looked up fastest, built once. Everything here may only say yes where the reference does;
//! where it does not say yes, the reference is asked.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use contract::{Attribute, Fallback, Record, RecordKind, Rule, StripReason, attr, generated};

use super::automaton::Pattern;
use super::{Stop, secret};
use crate::check::{Value, check, check_name};

/// Slots of the table of keys: a power of two, and several times the number of keys.
const SLOTS: usize = 256;
/// An empty slot.
const EMPTY: u8 = u8::MAX;

/// A set of keys, one bit for each.
pub(super) type Keys = u128;

/// Everything that the walk looks up.
pub(super) struct Policy {
    /// Open addressing: a key's number is in the first slot from its hash on that is not taken by another.
    slots: [u8; SLOTS],
    keys: Vec<Key>,
    /// By kind, in the order of [`RecordKind::ALL`]; last the one without a kind.
    records: Vec<RecordPolicy>,
    /// What a resource may carry.
    pub(super) resource: Keys,
    /// Number of the key that says what a span records.
    pub(super) record_kind: Option<u8>,
    /// Number of the key with the account's id.
    pub(super) account_id: Option<u8>,
}

/// One key of the contract.
pub(super) struct Key {
    pub(super) attribute: &'static Attribute,
    texts: Option<Texts>,
}

/// What one kind of span may be.
pub(super) struct RecordPolicy {
    pub(super) record: &'static Record,
    pub(super) keys: Keys,
    name: Option<Arc<Pattern>>,
}

/// Texts that surely pass.
struct Texts {
    members: Members,
    pattern: Option<Arc<Pattern>>,
    /// No text of so many bytes has more characters.
    max_bytes: usize,
}

/// A set of texts, in the order of their lengths.
struct Members {
    texts: Vec<&'static str>,
    /// Where the texts of each length start.
    starts: Vec<usize>,
}

impl Policy {
    pub(super) fn get() -> &'static Self {
        static POLICY: LazyLock<Policy> = LazyLock::new(Policy::new);
        &POLICY
    }

    fn new() -> Self {
        let mut patterns = Patterns::default();
        let keys = generated::ATTRIBUTES.iter().map(|attribute| Key::new(attribute, &mut patterns)).collect();
        let mut policy =
            Self { slots: [EMPTY; SLOTS], keys, records: Vec::new(), resource: 0, record_kind: None, account_id: None };
        // A key that finds no slot or has no bit is taken for an unknown one; a test holds that there is none.
        for number in 0..policy.keys.len().min(SLOTS / 2) {
            let mut slot = hash(policy.keys[number].attribute.key.as_bytes());
            while policy.slots[slot] != EMPTY {
                slot = (slot + 1) % SLOTS;
            }
            policy.slots[slot] = u8::try_from(number).unwrap_or(EMPTY);
        }
        policy.resource = policy.keys_of(generated::RESOURCE_ATTRIBUTES);
        policy.record_kind = policy.number(attr::RECORD_KIND.as_bytes());
        policy.account_id = policy.number(attr::UPSTREAM_ACCOUNT_ID.as_bytes());
        let kinds = RecordKind::ALL.iter().copied().map(Some).chain([None]);
        policy.records = kinds
            .map(Record::of)
            .map(|record| RecordPolicy {
                record,
                keys: policy.keys_of(record.attributes),
                name: patterns.get(record.name_pattern),
            })
            .collect();
        policy
    }

    fn keys_of(&self, names: &[&str]) -> Keys {
        names.iter().filter_map(|name| self.number(name.as_bytes())).fold(0, |keys, number| keys | bit(number))
    }

    /// The number of a key, if the contract has it.
    #[inline]
    pub(super) fn number(&self, key: &[u8]) -> Option<u8> {
        let mut slot = hash(key);
        loop {
            let number = self.slots[slot];
            let candidate = self.keys.get(usize::from(number))?;
            if candidate.attribute.key.as_bytes() == key {
                return Some(number);
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// The key with this number.
    #[inline]
    pub(super) fn key(&self, number: u8) -> Option<&Key> {
        self.keys.get(usize::from(number))
    }

    /// What a span of this kind may be.
    #[inline]
    pub(super) fn record(&self, kind: Option<RecordKind>) -> &RecordPolicy {
        &self.records[kind.map_or(RecordKind::ALL.len(), |kind| kind as usize)]
    }
}

/// The bit of a key; none for a number without one.
#[inline]
pub(super) fn bit(number: u8) -> Keys {
    1_u128.checked_shl(u32::from(number)).unwrap_or(0)
}

/// The keys differ most at their ends; half of them start alike.
#[inline]
fn hash(key: &[u8]) -> usize {
    let tail = key.last_chunk::<8>().map_or(0, |tail| u64::from_le_bytes(*tail));
    let mixed = (tail ^ (key.len() as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as usize % SLOTS
}

impl Key {
    fn new(attribute: &'static Attribute, patterns: &mut Patterns) -> Self {
        let texts = match attribute.rule {
            Rule::Text { members, pattern, max_chars } => {
                // Of the fixed texts that stand in for a value, the key's own passes.
                let own = [contract::OTHER, contract::ABSENT, contract::DASH]
                    .into_iter()
                    .filter(|text| attribute.fallback == Fallback::Text(text));
                Some(Texts {
                    members: Members::new(members.iter().copied().chain(own)),
                    pattern: pattern.and_then(|pattern| patterns.get(pattern)),
                    max_bytes: max_chars,
                })
            }
            Rule::TextList { members, .. } => {
                Some(Texts { members: Members::new(members.iter().copied()), pattern: None, max_bytes: 0 })
            }
            Rule::Int { .. } | Rule::Double { .. } | Rule::Bool => None,
        };
        Self { attribute, texts }
    }

    /// Whether a text may pass; if not, why.
    #[inline]
    pub(super) fn judge(&self, text: &[u8]) -> Result<Result<(), StripReason>, Stop> {
        if matches!(self.attribute.rule, Rule::Text { .. }) && self.texts.as_ref().is_some_and(|texts| texts.surely_pass(text)) {
            return Ok(Ok(()));
        }
        Ok(check(self.attribute, Value::Text(wire::text(text)?)))
    }

    /// Whether a text is one of the members.
    pub(super) fn has_member(&self, text: &[u8]) -> bool {
        self.texts.as_ref().is_some_and(|texts| texts.members.contains(text))
    }
}

impl Texts {
    #[inline]
    fn surely_pass(&self, text: &[u8]) -> bool {
        if self.members.contains(text) {
            return true;
        }
        let Some(pattern) = &self.pattern else { return false };
        text.len() <= self.max_bytes && surely_match(pattern, text)
    }
}

#[inline]
fn surely_match(pattern: &Pattern, text: &[u8]) -> bool {
    pattern.matches(text) && (pattern.is_uuid() || secret::surely_harmless(text))
}

impl RecordPolicy {
    /// Whether a span may have this name; if not, why.
    #[inline]
    pub(super) fn judge_name(&self, name: &[u8]) -> Result<Result<(), StripReason>, Stop> {
        /// Far below the limit of names.
        const MAX_BYTES: usize = 128;
        if name.len() <= MAX_BYTES && self.name.as_ref().is_some_and(|pattern| surely_match(pattern, name)) {
            return Ok(Ok(()));
        }
        Ok(check_name(self.record, wire::text(name)?))
    }
}

impl Members {
    fn new(texts: impl Iterator<Item = &'static str>) -> Self {
        let mut texts: Vec<&str> = texts.collect();
        texts.sort_by_key(|text| text.len());
        let longest = texts.last().map_or(0, |text| text.len());
        let starts = (0..longest + 2).map(|length| texts.partition_point(|text| text.len() < length)).collect();
        Self { texts, starts }
    }

    #[inline]
    fn contains(&self, text: &[u8]) -> bool {
        let Some([start, end]) = self.starts.get(text.len()..text.len() + 2) else { return false };
        self.texts[*start..*end].iter().any(|member| member.as_bytes() == text)
    }
}

/// The patterns that were built; many keys share one.
#[derive(Default)]
struct Patterns(HashMap<&'static str, Option<Arc<Pattern>>>);

impl Patterns {
    fn get(&mut self, pattern: &'static str) -> Option<Arc<Pattern>> {
        self.0.entry(pattern).or_insert_with(|| Pattern::new(pattern).map(Arc::new)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: every key of the contract is found, has a bit, and nothing else is found.
    #[test]
    fn every_key_is_found() {
        let policy = Policy::get();
        for (number, attribute) in generated::ATTRIBUTES.iter().enumerate() {
            let found = policy.number(attribute.key.as_bytes()).expect("a key of the contract");
            assert_eq!(usize::from(found), number);
            assert_ne!(bit(found), 0, "{}", attribute.key);
            for end in 0..attribute.key.len() {
                let shorter = &attribute.key[..end];
                assert_eq!(policy.number(shorter.as_bytes()).is_some(), contract::attribute(shorter).is_some());
            }
        }
        assert_eq!(policy.number(b""), None);
    }

    /// Guarantees: no look-up takes long, whatever the key: between two empty slots are few others.
    #[test]
    fn no_look_up_takes_long() {
        let slots = Policy::get().slots;
        let longest = slots.repeat(2).split(|slot| *slot == EMPTY).map(<[u8]>::len).max();
        assert!(longest <= Some(8), "{longest:?}");
    }

    /// Guarantees: every pattern of the contract has a fast form.
    #[test]
    fn every_pattern_is_built() {
        for key in &Policy::get().keys {
            if let Rule::Text { pattern: Some(_), .. } = key.attribute.rule {
                assert!(key.texts.as_ref().is_some_and(|texts| texts.pattern.is_some()), "{}", key.attribute.key);
            }
        }
        for record in &Policy::get().records {
            assert!(record.name.is_some(), "{}", record.record.fallback_name);
        }
    }
}
