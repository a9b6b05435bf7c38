//! A policy in the form in which it is looked up fastest, built once. Of the contract's rules for texts it says what the reference says of them,
//! and why; what it does not have, the reference is asked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use contract::{Attribute, Fallback, OtlpMetric, Place, Record, RecordKind, Rule, StripReason, attr, generated};
use wire::otlp::key_value;
use wire::write;

use super::attributes::VALUE_TAG;
use super::automaton::{self, Pattern};
use super::recent::same;
use super::{Stop, secret};
use crate::check::Value;
use crate::derived::{Derived, Source};
use crate::policy::{KeyRule, Site};
use crate::{Policy, looks_secret};

/// Slots of the table of keys: a power of two, and several times the number of keys.
const SLOTS: usize = 512;
/// How many keys have a number. [`EMPTY`] is none.
const MAX_KEYS: usize = 250;
/// An empty slot.
const EMPTY: u8 = u8::MAX;

/// Keys of which no two records have the same value, so that to remember one would be of no use.
const UNIQUE: [&str; 2] = [attr::REQUEST_CORRELATION_ID, attr::REQUEST_SEARCH];

/// A set of keys, by their numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keys([u64; 4]);

impl Keys {
    #[inline]
    pub(super) fn has(&self, number: u8) -> bool {
        self.0[usize::from(number >> 6)] >> (number & 63) & 1 != 0
    }

    /// Adds a key; whether it is a new one.
    #[inline]
    pub(super) fn insert(&mut self, number: u8) -> bool {
        let (word, bit) = (&mut self.0[usize::from(number >> 6)], 1 << (number & 63));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    #[inline]
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(one, other)| one & !other == 0)
    }
}

/// Everything that the walk looks up.
pub(crate) struct Tables {
    /// Open addressing: a key's number is in the first slot from its hash on that is not taken by another.
    slots: [u8; SLOTS],
    keys: Vec<Key>,
    /// By kind, in the order of [`RecordKind::ALL`]; last the one without a kind.
    records: Vec<RecordTables>,
    /// What each event of a log may carry, in the order of [`generated::EVENTS`].
    events: Vec<Keys>,
    /// What a data point of each metric may carry, in the order of [`generated::OTLP_METRICS`].
    metrics: Vec<Keys>,
    /// What a resource may carry.
    pub(super) resource: Keys,
    /// Keys whose value is a text that often comes again.
    pub(super) recurring: Keys,
    /// Numbers of the keys whose text has to follow from other attributes.
    pub(super) derived: Vec<u8>,
    /// Numbers of the keys that such texts follow from, in the order of [`Source::ALL`].
    sources: [Option<u8>; Source::ALL.len()],
    /// Number of the key that says what a span records.
    pub(super) record_kind: Option<u8>,
    /// Number of the key with the request's id.
    pub(super) request_id: Option<u8>,
    /// Number of the key with a service's version.
    pub(super) service_version: Option<u8>,
    /// Number of the key with the account's id.
    pub(super) account_id: Option<u8>,
}

/// One key of the policy.
pub(super) struct Key {
    pub(super) rule: Arc<KeyRule>,
    /// How an attribute with this key starts: the key as a field, and the value's tag.
    pub(super) start: Vec<u8>,
    /// How its text has to follow from other attributes, if it has to.
    pub(super) derived: Option<&'static Derived>,
    texts: Option<Texts>,
    /// Bounds of a number, where the contract's rule is one of a whole number and nothing else is demanded.
    bounds: Option<RangeInclusive<i64>>,
}

/// What one kind of span may be.
pub(super) struct RecordTables {
    pub(super) record: &'static Record,
    /// Its number, under which its names are remembered.
    pub(super) number: u8,
    pub(super) keys: Keys,
    /// Names that surely pass; or a pattern for them, where they are too many.
    names: Members,
    name: Option<Arc<Pattern>>,
}

/// Which texts pass.
struct Texts {
    members: Members,
    pattern: Option<Arc<Pattern>>,
    max_chars: usize,
    /// So many UUIDs with spaces between pass, whatever their digits: the detectors know them.
    max_uuids: usize,
}

/// A set of texts, in the order of their lengths and then their bytes.
struct Members {
    texts: Vec<Cow<'static, str>>,
    /// Where the texts of each length start.
    starts: Vec<usize>,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

impl Tables {
    pub(crate) fn new(policy: &Policy) -> Self {
        let mut patterns = Patterns::default();
        let keys = policy.rules().iter().map(|rule| Key::new(rule, &mut patterns)).collect();
        let mut tables = Self {
            slots: [EMPTY; SLOTS],
            keys,
            records: Vec::new(),
            events: Vec::new(),
            metrics: Vec::new(),
            resource: Keys::default(),
            recurring: Keys::default(),
            derived: Vec::new(),
            sources: [None; Source::ALL.len()],
            record_kind: None,
            request_id: None,
            service_version: None,
            account_id: None,
        };
        // A key that finds no slot is taken for an unknown one; a test holds that there is none.
        for number in 0..tables.keys.len().min(MAX_KEYS) {
            let mut slot = hash(tables.keys[number].rule.key.as_bytes());
            while tables.slots[slot] != EMPTY {
                slot = (slot + 1) % SLOTS;
            }
            tables.slots[slot] = u8::try_from(number).unwrap_or(EMPTY);
        }
        tables.resource = tables.keys_at(Site::RESOURCE);
        tables.recurring = tables.keys_that(Key::is_recurring);
        tables.derived = (0..).zip(&tables.keys).filter(|(_, key)| key.derived.is_some()).map(|(number, _)| number).collect();
        tables.sources = Source::ALL.map(|source| tables.number(source.key().as_bytes()));
        let events = generated::EVENTS.iter().map(|event| Site::fixed(Place::LogAttribute, event.attributes));
        tables.events = events.map(|site| tables.keys_at(site)).collect();
        let metrics = generated::OTLP_METRICS.iter().map(|metric| Site::fixed(Place::DataPointAttribute, metric.attributes));
        tables.metrics = metrics.map(|site| tables.keys_at(site)).collect();
        tables.record_kind = tables.number(attr::RECORD_KIND.as_bytes());
        tables.request_id = tables.number(attr::REQUEST_ID.as_bytes());
        tables.service_version = tables.number(attr::SERVICE_VERSION.as_bytes());
        tables.account_id = tables.number(attr::UPSTREAM_ACCOUNT_ID.as_bytes());
        let kinds = RecordKind::ALL.iter().copied().map(Some).chain([None]);
        tables.records = kinds
            .map(Record::of)
            .zip(0..)
            .map(|(record, number)| {
                let names = all_names(record, policy);
                RecordTables {
                    record,
                    number,
                    keys: tables.keys_at(Site::span(record)),
                    name: if names.is_none() { patterns.get(record.name_pattern) } else { None },
                    names: Members::new(names.unwrap_or_default().into_iter().map(Cow::Owned)),
                }
            })
            .collect();
        tables
    }

    fn keys_at(&self, site: Site) -> Keys {
        self.keys_that(|key| site.allows(&key.rule))
    }

    fn keys_that(&self, are: impl Fn(&Key) -> bool) -> Keys {
        let mut keys = Keys::default();
        for (_, number) in self.keys.iter().zip(0..).filter(|(key, _)| are(key)) {
            keys.insert(number);
        }
        keys
    }

    /// The number of a key, if the contract has it.
    #[inline]
    pub(super) fn number(&self, key: &[u8]) -> Option<u8> {
        let mut slot = hash(key);
        loop {
            let number = self.slots[slot];
            let candidate = self.keys.get(usize::from(number))?;
            if same(candidate.rule.key.as_bytes(), key) {
                return Some(number);
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    /// The number of the key that a derived text follows from.
    #[inline]
    pub(super) fn source(&self, source: Source) -> Option<u8> {
        self.sources[source as usize]
    }

    /// The key with this number.
    #[inline]
    pub(super) fn key(&self, number: u8) -> Option<&Key> {
        self.keys.get(usize::from(number))
    }

    /// Whether a text surely passes this rule of the contract. By identity, so that no other rule under the same key is taken for it.
    pub(crate) fn surely_pass(&self, attribute: &Attribute, text: &[u8]) -> bool {
        let key = self.number(attribute.key.as_bytes()).and_then(|number| self.key(number));
        key.is_some_and(|key| key.rule.plain().is_some_and(|rule| std::ptr::eq(rule, attribute)) && key.surely_passes(text))
    }

    /// What an event of this name may carry, if there is one.
    pub(super) fn event(&self, name: &[u8]) -> Option<&Keys> {
        let at = generated::EVENTS.iter().position(|event| event.name.as_bytes() == name)?;
        self.events.get(at)
    }

    /// The metric of this name, if there is one, and what its points may carry.
    pub(super) fn metric(&self, name: &str) -> Option<(&'static OtlpMetric, &Keys)> {
        let at = generated::OTLP_METRICS.binary_search_by(|metric| metric.name.cmp(name)).ok()?;
        Some((&generated::OTLP_METRICS[at], self.metrics.get(at)?))
    }

    /// What a span of this kind may be.
    #[inline]
    pub(super) fn record(&self, kind: Option<RecordKind>) -> &RecordTables {
        &self.records[kind.map_or(RecordKind::ALL.len(), |kind| kind as usize)]
    }
}

/// The keys differ most at their ends; half of them start alike.
#[inline]
fn hash(key: &[u8]) -> usize {
    let tail = key.last_chunk::<8>().map_or(0, |tail| u64::from_le_bytes(*tail));
    let mixed = (tail ^ (key.len() as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 55) as usize % SLOTS
}

impl Key {
    fn new(rule: &Arc<KeyRule>, patterns: &mut Patterns) -> Self {
        // What an operator demands, the policy alone judges.
        let texts = rule.plain().and_then(|attribute| match attribute.rule {
            Rule::Text { members, pattern, max_chars } => {
                let pattern = match pattern {
                    Some(pattern) => Some(patterns.get(pattern)?),
                    None => None,
                };
                // Of the fixed texts that stand in for a value, the key's own passes.
                let own = [contract::OTHER, contract::ABSENT, contract::DASH]
                    .into_iter()
                    .filter(|text| attribute.fallback == Fallback::Text(text));
                Some(Texts {
                    members: Members::new(members.iter().copied().chain(own).map(Cow::Borrowed)),
                    max_uuids: pattern.as_ref().map_or(0, |pattern| pattern.max_uuids()),
                    pattern,
                    max_chars,
                })
            }
            _ => None,
        });
        let bounds = rule.plain().and_then(|attribute| match attribute.rule {
            Rule::Int { min, max } => Some(min..=max),
            _ => None,
        });
        let mut start = Vec::new();
        write::bytes_field(&mut start, key_value::KEY, rule.key.as_bytes());
        start.push(VALUE_TAG);
        Self { rule: rule.clone(), start, derived: rule.derived(), texts, bounds }
    }

    /// Whether its value is a text that often comes again. The parts of those that follow from others do; but not the amounts.
    fn is_recurring(&self) -> bool {
        let is_uuid = self.texts.as_ref().and_then(|texts| texts.pattern.as_ref()).is_some_and(|pattern| pattern.is_uuid());
        !is_uuid && !UNIQUE.contains(&&*self.rule.key) && self.derived.is_none_or(|derived| !derived.is_closed)
    }

    /// Whether its own rule need not be asked about what follows from other attributes.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.texts.is_some() && self.derived.is_some_and(|derived| derived.is_closed)
    }

    /// Whether a text passes that need not be judged. It does by the contract, and nothing besides is demanded.
    #[inline]
    pub(super) fn surely_passes(&self, text: &[u8]) -> bool {
        self.texts.as_ref().is_some_and(|texts| texts.surely_pass(text))
    }

    /// Whether a text may pass; if not, why.
    #[inline]
    pub(super) fn judge(&self, text: &[u8]) -> Result<Result<(), StripReason>, Stop> {
        match &self.texts {
            Some(texts) => texts.judge(text),
            None => Ok(self.rule.check(Value::Text(wire::text(text)?))),
        }
    }

    /// Whether a whole number may pass; if not, why.
    #[inline]
    pub(super) fn judge_int(&self, n: i64) -> Result<(), StripReason> {
        match &self.bounds {
            Some(bounds) if bounds.contains(&n) => Ok(()),
            _ => self.rule.check(Value::Int(n)),
        }
    }
}

impl Texts {
    #[inline]
    fn surely_pass(&self, text: &[u8]) -> bool {
        if self.members.contains(text) || self.are_uuids(text) {
            return true;
        }
        let Some(pattern) = &self.pattern else { return false };
        // No text has more characters than bytes.
        text.len() <= self.max_chars && surely_match(pattern, text)
    }

    /// Whether a text may pass; if not, why. In the order in which the reference asks, and no question twice.
    #[inline]
    fn judge(&self, bytes: &[u8]) -> Result<Result<(), StripReason>, Stop> {
        if self.members.contains(bytes) || self.are_uuids(bytes) {
            return Ok(Ok(()));
        }
        let Some(pattern) = &self.pattern else {
            wire::check_text(bytes)?;
            return Ok(Err(StripReason::NotAMember));
        };
        if bytes.len() > self.max_chars {
            let text = wire::text(bytes)?;
            if bytes.len() > self.max_chars * 4 || text.chars().count() > self.max_chars {
                return Ok(Err(StripReason::TooLong));
            }
        }
        if !pattern.matches(bytes) {
            wire::check_text(bytes)?;
            return Ok(Err(StripReason::Pattern));
        }
        if pattern.is_uuid() || secret::surely_harmless(bytes) {
            return Ok(Ok(()));
        }
        Ok(if looks_secret(wire::text(bytes)?) { Err(StripReason::Detected) } else { Ok(()) })
    }

    /// Whether a text is UUIDs, not more than always pass.
    #[inline]
    fn are_uuids(&self, text: &[u8]) -> bool {
        match text.split_first_chunk() {
            Some((first, [])) => self.max_uuids >= 1 && secret::is_lower_uuid(first),
            Some((first, [b' ', second @ ..])) => {
                self.max_uuids >= 2 && second.try_into().is_ok_and(secret::is_lower_uuid) && secret::is_lower_uuid(first)
            }
            _ => false,
        }
    }
}

#[inline]
fn surely_match(pattern: &Pattern, text: &[u8]) -> bool {
    pattern.matches(text) && (pattern.is_uuid() || secret::surely_harmless(text))
}

impl RecordTables {
    /// Whether a span may have this name; if not, why.
    #[inline]
    pub(super) fn judge_name(&self, policy: &Policy, name: &[u8]) -> Result<Result<(), StripReason>, Stop> {
        /// Far below the limit of names.
        const MAX_BYTES: usize = 128;
        if self.names.contains(name) {
            return Ok(Ok(()));
        }
        if name.len() <= MAX_BYTES && self.name.as_ref().is_some_and(|pattern| surely_match(pattern, name)) {
            return Ok(Ok(()));
        }
        Ok(policy.check_name(self.record, wire::text(name)?))
    }
}

/// All names that a record's spans may have, if they are few. The reference's check has the last word on each.
fn all_names(record: &'static Record, policy: &Policy) -> Option<Vec<String>> {
    let mut names = automaton::all_matches(record.name_pattern)?;
    names.push(record.fallback_name.to_owned());
    if record.kind.is_none() {
        names.extend(policy.internal_span_names().iter().cloned());
    }
    names.retain(|name| policy.check_name(record, name).is_ok());
    Some(names)
}

impl Members {
    fn new(texts: impl Iterator<Item = Cow<'static, str>>) -> Self {
        let mut texts: Vec<_> = texts.collect();
        texts.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        let longest = texts.last().map_or(0, |text| text.len());
        let starts = (0..longest + 2).map(|length| texts.partition_point(|text| text.len() < length)).collect();
        Self { texts, starts }
    }

    #[inline]
    fn contains(&self, text: &[u8]) -> bool {
        let Some([start, end]) = self.starts.get(text.len()..text.len() + 2) else { return false };
        let candidates = &self.texts[*start..*end];
        match candidates {
            [] => false,
            [one] => same(one.as_bytes(), text),
            _ => candidates.binary_search_by(|member| member.as_bytes().cmp(text)).is_ok(),
        }
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

    /// Guarantees: every key of the contract is found, and nothing else is found.
    #[test]
    fn every_key_is_found() {
        let policy = Policy::contract();
        let tables = policy.tables();
        for attribute in generated::ATTRIBUTES {
            let found =
                tables.number(attribute.key.as_bytes()).and_then(|number| tables.key(number)).expect("a key of the contract");
            assert_eq!(&*found.rule.key, attribute.key);
            for end in 0..attribute.key.len() {
                let shorter = &attribute.key[..end];
                assert_eq!(tables.number(shorter.as_bytes()).is_some(), contract::attribute(shorter).is_some());
            }
        }
        assert_eq!(tables.number(b""), None);
    }

    /// Guarantees: no look-up takes long, whatever the key: between two empty slots are few others.
    #[test]
    fn no_look_up_takes_long() {
        let slots = Policy::contract().tables().slots;
        let longest = slots.repeat(2).split(|slot| *slot == EMPTY).map(<[u8]>::len).max();
        assert!(longest <= Some(8), "{longest:?}");
    }

    /// Guarantees: there are numbers for every key that a policy can have.
    #[test]
    fn every_key_has_a_number() {
        assert!(generated::ATTRIBUTES.len() + crate::MAX_ADDED_ATTRIBUTES <= MAX_KEYS);
    }

    /// Guarantees: every pattern of the contract has a fast form.
    #[test]
    fn every_pattern_is_built() {
        let policy = Policy::contract();
        for key in &policy.tables().keys {
            let attribute = contract::attribute(&key.rule.key).expect("a key of the contract");
            if let Rule::Text { pattern: Some(_), .. } = attribute.rule {
                assert!(key.texts.as_ref().is_some_and(|texts| texts.pattern.is_some()), "{}", attribute.key);
                assert!(key.derived.is_none_or(|derived| !derived.is_closed || key.is_closed()));
            }
        }
        for record in &policy.tables().records {
            assert!(record.name.is_some() || !record.names.texts.is_empty(), "{}", record.record.fallback_name);
        }
    }
}
