//! Attributes: read off the bytes, judged by their key's rule, and kept, replaced or cut.

use std::ops::Range;

use contract::{Place, Rule, StripReason, attr};
use wire::otlp::{any_value, array_value, key_value, key_value_list, resource, span};
use wire::{Fields, write};

use super::policy::{Key, Keys, bit};
use super::span::{Entry, What};
use super::{Once, Policy, Stop, Walk};
use crate::check::{Value, check, fallback};

/// An attribute as it stands in the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    /// Number of the key, if the contract has it.
    pub(super) number: Option<u8>,
    pub(super) value: AnyValue<'a>,
    /// The value's encoding.
    encoded: &'a [u8],
    /// Whether nothing but a key and a value is in it.
    exact: bool,
    /// Whether it has an index into a dictionary.
    has_index: bool,
}

/// An attribute's value, as far as rules know it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum AnyValue<'a> {
    /// A text; whether it is UTF-8 is not known yet.
    Text(&'a [u8]),
    Int(i64),
    Double(f64),
    Bool(bool),
    /// The content of a valid list.
    List(&'a [u8]),
    /// Valid, and never allowed: bytes, a map, an index, or nothing.
    #[default]
    Other,
}

impl<'a> Attribute<'a> {
    /// Reads a `KeyValue`, `depth` messages deep.
    pub(super) fn parse(content: &'a [u8], depth: usize, policy: &Policy) -> Result<Self, Stop> {
        let mut once = Once::default();
        let mut key: &[u8] = b"";
        let mut parsed = Self { number: None, value: AnyValue::Other, encoded: b"", exact: true, has_index: false };
        for field in Fields::new(content) {
            let field = field?;
            match field.number {
                key_value::KEY => {
                    once.see(field.number)?;
                    key = field.bytes()?;
                }
                key_value::VALUE => {
                    once.see(field.number)?;
                    parsed.encoded = field.bytes()?;
                    let (value, exact) = AnyValue::parse(parsed.encoded, depth + 1)?;
                    parsed.value = value;
                    parsed.exact &= exact;
                }
                key_value::KEY_STRINDEX => {
                    once.see(field.number)?;
                    let index = field.varint()?;
                    // The reference sees the lower half alone.
                    if i32::try_from(index.cast_signed()).is_err() {
                        return Err(Stop::Slow);
                    }
                    parsed.has_index = index != 0;
                }
                _ => parsed.exact = false,
            }
        }
        parsed.number = policy.number(key);
        if parsed.number.is_none() {
            wire::text(key)?;
            parsed.value.validate()?;
        }
        Ok(parsed)
    }
}

impl<'a> AnyValue<'a> {
    /// Reads an `AnyValue`, `depth` messages deep; and says whether nothing else is in it.
    fn parse(content: &'a [u8], depth: usize) -> Result<(Self, bool), Stop> {
        let (mut parsed, mut seen, mut exact) = (Self::Other, false, true);
        for field in Fields::new(content) {
            let field = field?;
            parsed = match field.number {
                any_value::STRING_VALUE => Self::Text(field.bytes()?),
                // Truth has one number; the reference takes any but 0 for it.
                any_value::BOOL_VALUE => Self::Bool(match field.varint()? {
                    0 => false,
                    1 => true,
                    _ => return Err(Stop::Slow),
                }),
                any_value::INT_VALUE => Self::Int(field.varint()?.cast_signed()),
                any_value::DOUBLE_VALUE => Self::Double(f64::from_bits(field.fixed64()?)),
                any_value::ARRAY_VALUE => {
                    wire::validate(field.bytes()?, &array_value::MESSAGE, depth + 1)?;
                    Self::List(field.bytes()?)
                }
                any_value::KVLIST_VALUE => {
                    wire::validate(field.bytes()?, &key_value_list::MESSAGE, depth + 1)?;
                    Self::Other
                }
                any_value::BYTES_VALUE => {
                    field.bytes()?;
                    Self::Other
                }
                any_value::STRING_VALUE_STRINDEX => {
                    field.varint()?;
                    Self::Other
                }
                _ => {
                    exact = false;
                    continue;
                }
            };
            if std::mem::replace(&mut seen, true) {
                return Err(Stop::Slow);
            }
        }
        Ok((parsed, exact))
    }

    /// What is left to check of a value that goes.
    fn validate(self) -> Result<(), Stop> {
        if let Self::Text(text) = self {
            wire::text(text)?;
        }
        Ok(())
    }

    fn judge(self, key: &Key) -> Result<Result<(), StripReason>, Stop> {
        Ok(match self {
            Self::Text(text) => return key.judge(text),
            Self::List(content) => return judge_list(key, content),
            Self::Int(n) => check(key.attribute, Value::Int(n)),
            Self::Double(n) => check(key.attribute, Value::Double(n)),
            Self::Bool(b) => check(key.attribute, Value::Bool(b)),
            Self::Other => Err(StripReason::WrongType),
        })
    }
}

/// A valid list: of what kind its items are, and whether they pass.
fn judge_list(key: &Key, content: &[u8]) -> Result<Result<(), StripReason>, Stop> {
    let (mut items, mut all_text, mut all_members) = (0, true, true);
    for item in Fields::new(content) {
        let item = item?;
        if item.number != array_value::VALUES {
            return Err(Stop::Slow);
        }
        items += 1;
        match AnyValue::parse(item.bytes()?, 0)? {
            (_, false) => return Err(Stop::Slow),
            (AnyValue::Text(text), true) => all_members &= key.has_member(text),
            _ => all_text = false,
        }
    }
    let Rule::TextList { max_items, .. } = key.attribute.rule else { return Ok(Err(StripReason::WrongType)) };
    Ok(if !all_text {
        Err(StripReason::WrongType)
    } else if items > max_items {
        Err(StripReason::TooLong)
    } else if !all_members {
        Err(StripReason::NotAMember)
    } else {
        Ok(())
    })
}

impl<'a> Walk<'a> {
    /// Notes the edits of a resource whose attributes, and cuts, these are.
    pub(super) fn attributes(&mut self, entries: &[Entry<'a>], allowed: Keys, place: Place) -> Result<(), Stop> {
        let account_id = self.account_id(entries)?;
        let mut kept = 0;
        for Entry { range, what } in entries {
            match what {
                What::Attribute(attribute) => {
                    self.attribute(range.clone(), attribute, allowed, &mut kept, account_id, place)?;
                }
                _ => self.splice.cut(range.clone()),
            }
        }
        Ok(())
    }

    /// Keeps an attribute, puts the fallback in its place, or cuts it. `kept` are the keys that were kept so far: of a key that occurs
    /// twice, the first counts.
    pub(super) fn attribute(
        &mut self,
        range: Range<usize>,
        attribute: &Attribute<'a>,
        allowed: Keys,
        kept: &mut Keys,
        account_id: Option<&str>,
        place: Place,
    ) -> Result<(), Stop> {
        let number = match place {
            Place::ResourceAttribute => resource::ATTRIBUTES,
            _ => span::ATTRIBUTES,
        };
        if attribute.has_index {
            // Indices into a dictionary have a meaning in profiles only.
            self.tally.strip(Place::Number, StripReason::NotAllowed);
        }
        let judged = match attribute.number.and_then(|number| Some((bit(number), self.policy.key(number)?))) {
            None => Err(StripReason::UnknownKey),
            Some((bit, _)) if bit & allowed == 0 => Err(StripReason::WrongPlace),
            Some((bit, _)) if bit & *kept != 0 => Err(StripReason::Duplicate),
            Some((bit, key)) => Ok((bit, key, attribute.value.judge(key)?)),
        };
        match judged {
            Ok((bit, key, Ok(()))) => {
                *kept |= bit;
                if !attribute.exact || attribute.has_index {
                    let value = plain_value(attribute);
                    self.splice.replace(range, |out| write_attribute(out, number, key, &value));
                }
            }
            Ok((bit, key, Err(reason))) => {
                self.tally.strip(place, reason);
                if let Some(text) = fallback(key.attribute, account_id) {
                    *kept |= bit;
                    let mut value = Vec::with_capacity(text.len() + 2);
                    write::bytes_field(&mut value, any_value::STRING_VALUE, text.as_bytes());
                    self.splice.replace(range, |out| write_attribute(out, number, key, &value));
                } else {
                    self.splice.cut(range);
                }
            }
            Err(reason) => {
                self.tally.strip(place, reason);
                attribute.value.validate()?;
                self.splice.cut(range);
            }
        }
        Ok(())
    }

    /// The first attribute with this key.
    pub(super) fn first(entries: &[Entry<'a>], number: Option<u8>) -> Option<AnyValue<'a>> {
        entries.iter().find_map(|entry| match &entry.what {
            What::Attribute(attribute) if attribute.number == number => Some(attribute.value),
            _ => None,
        })
    }

    /// The record's account id, if it has a valid one: it stands in for a label that must not be shown.
    pub(super) fn account_id(&self, entries: &[Entry<'a>]) -> Result<Option<&'a str>, Stop> {
        let Some(AnyValue::Text(id)) = Self::first(entries, self.policy.account_id) else { return Ok(None) };
        let id = wire::text(id)?;
        Ok(contract::attribute(attr::UPSTREAM_ACCOUNT_ID).filter(|rule| check(rule, Value::Text(id)).is_ok()).map(|_| id))
    }
}

/// The value's encoding without what OTLP does not define. Lists with such a thing in them do not come here.
fn plain_value(attribute: &Attribute<'_>) -> Vec<u8> {
    let mut value = Vec::new();
    for field in Fields::new(attribute.encoded).flatten() {
        if any_value::MESSAGE.fields.iter().any(|(number, _)| *number == field.number) {
            value.extend_from_slice(&attribute.encoded[field.start..field.end]);
        }
    }
    value
}

fn write_attribute(out: &mut Vec<u8>, number: u32, key: &Key, value: &[u8]) {
    let mut content = Vec::new();
    write::bytes_field(&mut content, key_value::KEY, key.attribute.key.as_bytes());
    write::bytes_field(&mut content, key_value::VALUE, value);
    write::bytes_field(out, number, &content);
}
