//! Attributes: read off the bytes, judged by their key's rule, and kept, replaced or cut.

mod order;
mod value;

use std::ops::Range;

use contract::{Fallback, Place, StripReason, attr};
use wire::otlp::{any_value, key_value};
use wire::{Fields, write};

use super::tables::{Key, Keys};
use super::{MAX_ATTRIBUTES, Once, Stop, Tables, Walk};
use crate::check::{Value, by_rule};
use crate::derived::{Derived, Input, Inputs, Source};
use crate::policy::{Hidden, Outcome};

use order::KeyOf;
pub(super) use order::{Order, VALUE_TAG, tag};
use value::{AnyValue, Kind};

/// An attribute as it stands in the message. Flat, and written where it stays: copying it about took longer than reading it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    /// Where it stands in the whole message.
    pub(super) start: usize,
    pub(super) end: usize,
    value: AnyValue<'a>,
    /// Number of the key, if the policy has it.
    number: Option<u8>,
    /// Whether nothing but a key and a value is in it.
    exact: bool,
    /// Whether it has an index into a dictionary.
    has_index: bool,
    /// What the key's own rule says of the value. A text that is made of closed sets and numbers is not judged before it is compared with
    /// what it follows from, and one without a rule never.
    verdict: Option<Result<(), StripReason>>,
}

/// What is known of all attributes of the record at hand.
pub(super) struct Present {
    keys: Keys,
    /// By the number of a key that is there, where it first occurs.
    first: [u8; 256],
    /// Whether each has a key of its own, nothing but a value, and passes the key's rule as far as that was asked.
    all_pass: bool,
}

impl Default for Present {
    fn default() -> Self {
        Self { keys: Keys::default(), first: [0; 256], all_pass: true }
    }
}

impl Present {
    /// Another record begins.
    pub(super) fn restart(&mut self) {
        (self.keys, self.all_pass) = (Keys::default(), true);
    }

    /// Notes an attribute with this key, after `before` others.
    #[inline]
    fn insert(&mut self, number: u8, before: usize) {
        if self.keys.insert(number) {
            // Below the most that there may be.
            self.first[usize::from(number)] = before.to_le_bytes()[0];
        } else {
            self.all_pass = false;
        }
    }

    /// The first attribute with this key and those that follow it; none if there is none.
    #[inline]
    fn since_first<'l, 'a>(&self, number: u8, attributes: &'l [Attribute<'a>]) -> &'l [Attribute<'a>] {
        if !self.keys.has(number) {
            return &[];
        }
        attributes.get(self.first[usize::from(number)].into()..).unwrap_or_default()
    }
}

/// What is the same for all attributes of a record or a resource.
pub(super) struct Rules<'a, 'r> {
    /// All of them.
    pub(super) attributes: &'r [Attribute<'a>],
    pub(super) allowed: &'r Keys,
    pub(super) hidden: Hidden,
    /// Whether the record has only what changed.
    pub(super) is_correction: bool,
    pub(super) place: Place,
    /// Number of the field that attributes are in.
    pub(super) field: u32,
}

impl<'a> Attribute<'a> {
    /// Reads it if it is short and laid out as every SDK does it: the key, by its number if the policy has it, then a value of one field.
    #[inline]
    fn read_usual(content: &'a [u8], tables: &Tables, order: &mut Order) -> Option<(KeyOf<'a>, AnyValue<'a>)> {
        const TEXT: u8 = tag(any_value::STRING_VALUE, 2);
        const INT: u8 = tag(any_value::INT_VALUE, 0);
        const DOUBLE: u8 = tag(any_value::DOUBLE_VALUE, 1);

        let (key, value) = order.key(content, tables)?;
        let [value_len @ 0..0x80, encoded @ ..] = value else { return None };
        if encoded.len() != usize::from(*value_len) {
            return None;
        }
        let (kind, bits, bytes) = match encoded {
            [TEXT, text_len @ 0..0x80, text @ ..] if text.len() == usize::from(*text_len) => (Kind::Text, 0, text),
            [INT, n @ 0..0x80] => (Kind::Int, u64::from(*n), &[][..]),
            [INT, ..] => (Kind::Int, Fields::new(encoded).only()?.varint().ok()?, &[][..]),
            [DOUBLE, bits @ ..] => (Kind::Double, u64::from_le_bytes(bits.try_into().ok()?), &[][..]),
            _ => return None,
        };
        Some((key, AnyValue { kind, bits, bytes }))
    }

    fn read_any(content: &'a [u8], depth: usize, tables: &Tables, range: Range<usize>) -> Result<Self, Stop> {
        let mut once = Once::default();
        let mut key: &[u8] = b"";
        let mut read = Self {
            start: range.start,
            end: range.end,
            value: AnyValue::OTHER,
            number: None,
            exact: true,
            has_index: false,
            verdict: None,
        };
        for field in Fields::new(content) {
            let field = field?;
            match field.number {
                key_value::KEY => {
                    once.see(field.number)?;
                    key = field.bytes()?;
                }
                key_value::VALUE => {
                    once.see(field.number)?;
                    let (value, exact) = AnyValue::read(field.bytes()?, depth + 1)?;
                    read.value = value;
                    read.exact &= exact;
                }
                key_value::KEY_STRINDEX => {
                    once.see(field.number)?;
                    let index = field.varint()?;
                    // The reference sees the lower half alone.
                    if i32::try_from(index.cast_signed()).is_err() {
                        return Err(Stop::Slow);
                    }
                    read.has_index = index != 0;
                }
                _ => read.exact = false,
            }
        }
        read.number = tables.number(key);
        if read.number.is_none() {
            wire::check_text(key)?;
            read.value.validate()?;
        }
        Ok(read)
    }

    /// What is left to check of one that goes: what was judged was checked.
    fn validate(&self) -> Result<(), Stop> {
        if self.verdict.is_none() { self.value.validate() } else { Ok(()) }
    }

    /// The texts under this key, which may not be UTF-8 yet.
    pub(super) fn texts<'t>(attributes: &'t [Self], number: Option<u8>) -> impl Iterator<Item = &'a [u8]> + use<'a, 't> {
        let of_key = attributes.iter().filter(move |attribute| attribute.number == number);
        of_key.filter(|attribute| attribute.value.kind == Kind::Text).map(|attribute| attribute.value.bytes)
    }

    /// The text of the first attribute with this key, if that is a text.
    pub(super) fn first_text(attributes: &[Self], number: Option<u8>) -> Result<Option<&'a str>, Stop> {
        match attributes.iter().find(|attribute| attribute.number == number) {
            Some(Self { value: AnyValue { kind: Kind::Text, bytes, .. }, .. }) => Ok(Some(wire::text(bytes)?)),
            _ => Ok(None),
        }
    }
}

impl<'a> Walk<'a> {
    /// The record's account id, if it has a valid one and this key's value needs it: it stands in for a label that must not be shown.
    fn account_id(&self, key: &Key, attributes: &[Attribute<'a>]) -> Result<Option<&'a str>, Stop> {
        if key.rule.fallback != Fallback::AccountShortForm {
            return Ok(None);
        }
        let Some(id) = Attribute::first_text(attributes, self.tables.account_id)? else { return Ok(None) };
        let key = self.tables.account_id.and_then(|number| self.tables.key(number));
        let rule = contract::attribute(attr::UPSTREAM_ACCOUNT_ID);
        let is_valid = key.is_some_and(|key| key.surely_passes(id.as_bytes()))
            || rule.is_some_and(|rule| by_rule(rule, Value::Text(id)).is_ok());
        Ok(is_valid.then_some(id))
    }

    /// Reads the `KeyValue` at the end of this range, `depth` messages deep, to the end of `attributes`; and judges it by its own rule.
    #[inline]
    pub(super) fn read_attribute(
        &mut self,
        content: &'a [u8],
        depth: usize,
        range: Range<usize>,
        attributes: &mut Vec<Attribute<'a>>,
    ) -> Result<(), Stop> {
        if attributes.len() >= MAX_ATTRIBUTES {
            return Err(Stop::Slow);
        }
        let (start, end) = (range.start, range.end);
        if self.tables.recurring.has(self.order.expected())
            && let Some((number, value_at)) = self.recent.get(content)
        {
            self.order.came(number);
            self.present.insert(number, attributes.len());
            let value = AnyValue { kind: Kind::Text, bits: 0, bytes: content.get(value_at..).unwrap_or_default() };
            let (number, verdict) = (Some(number), Some(Ok(())));
            attributes.push(Attribute { start, end, value, number, exact: true, has_index: false, verdict });
            return Ok(());
        }
        let Some((key, value)) = Attribute::read_usual(content, self.tables, &mut self.order) else {
            let mut attribute = Attribute::read_any(content, depth, self.tables, range)?;
            let is_plain = attribute.exact && !attribute.has_index;
            attribute.verdict = self.note(attribute.number, &attribute.value, is_plain, attributes.len())?;
            attributes.push(attribute);
            return Ok(());
        };
        if let Err(unknown) = key {
            wire::check_text(unknown)?;
            value.validate()?;
        }
        let number = key.ok();
        let verdict = self.note(number, &value, true, attributes.len())?;
        if let Some(number) = number
            && verdict == Some(Ok(()))
            && value.kind == Kind::Text
            && self.tables.recurring.has(number)
        {
            self.recent.remember(end - content.len()..end, number, content.len() - value.bytes.len());
        }
        attributes.push(Attribute { start, end, value, number, exact: true, has_index: false, verdict });
        Ok(())
    }

    /// Notes an attribute after `before` others, and what its own rule says, if that is asked now.
    #[inline]
    fn note(
        &mut self,
        number: Option<u8>,
        value: &AnyValue<'a>,
        is_plain: bool,
        before: usize,
    ) -> Result<Option<Result<(), StripReason>>, Stop> {
        let Some((number, key)) = number.and_then(|number| Some((number, self.tables.key(number)?))) else {
            self.present.all_pass = false;
            return Ok(None);
        };
        self.present.insert(number, before);
        let verdict = if key.is_closed() { None } else { Some(value.judge(key)?) };
        self.present.all_pass &= is_plain && !matches!(verdict, Some(Err(_)));
        Ok(verdict)
    }

    /// Whether every attribute stays as it is.
    pub(super) fn all_stay(&self, rules: &Rules<'a, '_>) -> Result<bool, Stop> {
        let present = &self.present;
        if !present.all_pass || !present.keys.is_within(rules.allowed) || !rules.hidden.is_nothing() {
            return Ok(false);
        }
        for number in &self.tables.derived {
            if let [attribute, ..] = present.since_first(*number, rules.attributes)
                && let Some((key, derived)) = self.tables.key(*number).and_then(|key| Some((key, key.derived?)))
                && self.derived(attribute, key, derived, rules)? != Outcome::Keep
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What becomes of a text that has to follow from others.
    fn derived(&self, attribute: &Attribute<'a>, key: &Key, derived: &Derived, rules: &Rules<'a, '_>) -> Result<Outcome, Stop> {
        let inputs = Inputs::new(|source| self.input(source, rules));
        let value = &attribute.value;
        let passes = match attribute.verdict {
            Some(verdict) => verdict.is_ok(),
            // Made of nothing but what may pass, it passes.
            None => true,
        };
        if passes && value.kind == Kind::Text && inputs.is_composed(self.policy, derived, value.bytes)? {
            return Ok(Outcome::Keep);
        }
        let checked = attribute.verdict.map_or_else(|| value.judge(key), Ok)?;
        let passes = |text: &str| matches!(key.judge(text.as_bytes()), Ok(Ok(())));
        inputs.outcome(self.policy, &key.rule, derived, checked, value.text()?, rules.is_correction, passes)
    }

    /// What becomes of a value that follows from no other.
    fn own_outcome(&self, attribute: &Attribute<'a>, key: &Key, rules: &Rules<'a, '_>) -> Result<Outcome, Stop> {
        let checked = attribute.verdict.map_or_else(|| attribute.value.judge(key), Ok)?;
        // What the value says matters where it is hidden, and the account's id where one stands in for a value.
        let text = if rules.hidden.is_nothing() { None } else { attribute.value.text()? };
        let account_id = if checked.is_ok() { None } else { self.account_id(key, rules.attributes)? };
        Ok(key.rule.outcome(checked, text, rules.hidden, account_id))
    }

    /// The value, as it stays, of the first attribute with this key that stays.
    fn input(&self, source: Source, rules: &Rules<'a, '_>) -> Result<Option<Input<'a>>, Stop> {
        let Some((number, key)) = self.tables.source(source).and_then(|number| Some((number, self.tables.key(number)?))) else {
            return Ok(None);
        };
        let with_key = self.present.since_first(number, rules.attributes).iter().filter(|other| other.number == Some(number));
        for attribute in with_key.filter(|_| rules.allowed.has(number)) {
            let value = &attribute.value;
            let text = value.text()?;
            // The usual case first.
            let passes = attribute.verdict == Some(Ok(())) && rules.hidden.is_nothing();
            let outcome = if passes { Outcome::Keep } else { self.own_outcome(attribute, key, rules)? };
            match outcome {
                Outcome::Drop(_) => {}
                Outcome::Replace(_, text) => return Ok(Some(Input::Text(text))),
                Outcome::Keep => {
                    return Ok(match value.kind {
                        Kind::Text => text.map(|text| Input::Text(text.into())),
                        Kind::Int => Some(Input::Int(value.bits.cast_signed())),
                        Kind::Double => Some(Input::Double(f64::from_bits(value.bits))),
                        Kind::Bool | Kind::List | Kind::Other => None,
                    });
                }
            }
        }
        Ok(None)
    }

    /// What has to be hidden in a record or resource with these attributes.
    pub(super) fn hidden(&self, attributes: &[Attribute<'a>]) -> Result<Hidden, Stop> {
        self.policy.hidden(|key| match self.tables.number(key.as_bytes()) {
            // Of two, one could say another name than the other hides.
            Some(number) if attributes.iter().filter(|attribute| attribute.number == Some(number)).count() == 1 => {
                Attribute::first_text(attributes, Some(number))
            }
            _ => Ok(None),
        })
    }

    /// Keeps an attribute, puts the fallback in its place, or cuts it.
    #[inline]
    pub(super) fn attribute(&mut self, attribute: &Attribute<'a>, rules: &Rules<'a, '_>) -> Result<(), Stop> {
        if let Some(number) = attribute.number
            && let Some(key) = self.tables.key(number)
            && attribute.verdict == Some(Ok(()))
            && rules.allowed.has(number)
            && !self.is_kept(number)
            && attribute.exact
            && !attribute.has_index
            && key.derived.is_none()
            && (rules.hidden.is_nothing() || !key.rule.hides())
        {
            self.keep(number);
            return Ok(());
        }
        self.edit_attribute(attribute, rules)
    }

    /// Whether a key was kept in the record at hand: of one that occurs twice, the first counts.
    fn is_kept(&self, number: u8) -> bool {
        self.kept.has(number)
    }

    fn keep(&mut self, number: u8) {
        self.kept.insert(number);
    }

    /// An attribute that cannot stay as it is, or is derived.
    fn edit_attribute(&mut self, attribute: &Attribute<'a>, rules: &Rules<'a, '_>) -> Result<(), Stop> {
        let range = attribute.start..attribute.end;
        self.may_have_undefined |= !attribute.exact;
        if attribute.has_index {
            // Indices into a dictionary have a meaning in profiles only.
            self.tally.strip(Place::Number, StripReason::NotAllowed);
        }
        let Some((number, key)) = attribute.number.and_then(|number| Some((number, self.tables.key(number)?))) else {
            self.tally.strip(rules.place, StripReason::UnknownKey);
            self.splice.cut(range);
            return Ok(());
        };
        let outcome = if !rules.allowed.has(number) {
            attribute.validate()?;
            Outcome::Drop(StripReason::WrongPlace)
        } else if self.is_kept(number) {
            attribute.validate()?;
            Outcome::Drop(StripReason::Duplicate)
        } else if let Some(derived) = key.derived {
            self.derived(attribute, key, derived, rules)?
        } else {
            self.own_outcome(attribute, key, rules)?
        };
        match outcome {
            // Hidden already, or as composed.
            Outcome::Keep if attribute.exact && !attribute.has_index => self.keep(number),
            Outcome::Keep => {
                self.keep(number);
                let value = self.plain_value(range.clone());
                self.splice.replace(range, |out| write_attribute(out, rules.field, key, &value));
            }
            Outcome::Replace(reason, text) => {
                self.tally.strip_value(rules.place, reason, number);
                self.keep(number);
                self.splice.replace(range, |out| write_text(out, rules.field, key, text.as_bytes()));
            }
            Outcome::Drop(reason) => {
                self.tally.strip_value(rules.place, reason, number);
                self.splice.cut(range);
            }
        }
        Ok(())
    }

    /// The encoding of the value of a valid attribute in this range, without what OTLP does not define. Lists with such a thing in them
    /// do not come here.
    fn plain_value(&self, range: Range<usize>) -> Vec<u8> {
        let attribute = Fields::new(&self.message[range]).flatten().next();
        let content = attribute.and_then(|field| field.bytes().ok()).unwrap_or_default();
        let value = Fields::new(content).flatten().find(|field| field.number == key_value::VALUE);
        let content = value.and_then(|field| field.bytes().ok()).unwrap_or_default();
        let mut plain = Vec::new();
        for field in Fields::new(content).flatten() {
            if any_value::MESSAGE.fields.iter().any(|(number, _)| *number == field.number) {
                plain.extend_from_slice(&content[field.start..field.end]);
            }
        }
        plain
    }
}

fn write_attribute(out: &mut Vec<u8>, number: u32, key: &Key, value: &[u8]) {
    write_start(out, number, key, value.len());
    out.extend_from_slice(value);
}

/// An attribute whose value is a text.
fn write_text(out: &mut Vec<u8>, number: u32, key: &Key, text: &[u8]) {
    write_start(out, number, key, write::bytes_field_len(any_value::STRING_VALUE, text.len()));
    write::bytes_field(out, any_value::STRING_VALUE, text);
}

/// All of an attribute but its value, of which so many bytes follow. Written from front to back, without a buffer for what is inside.
fn write_start(out: &mut Vec<u8>, number: u32, key: &Key, value_len: usize) {
    let content_len = key.start.len() + write::varint_len(value_len as u64) + value_len;
    write::bytes_field_start(out, number, content_len);
    out.extend_from_slice(&key.start);
    write::varint(out, value_len as u64);
}
