//! The value of an attribute: read off the bytes, and judged by its key's rule.

use contract::StripReason;
use wire::Fields;
use wire::otlp::{any_value, array_value, key_value_list};

use super::super::Stop;
use super::super::tables::Key;
use crate::check::Value;

/// An attribute's value, as far as rules know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnyValue<'a> {
    pub(super) kind: Kind,
    /// The bits of a number, or of a truth value.
    pub(super) bits: u64,
    /// The text, or the list's content.
    pub(super) bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whether it is UTF-8 is not known yet.
    Text,
    Int,
    Double,
    Bool,
    /// Valid.
    List,
    /// Valid, and never allowed: bytes, a map, an index, or nothing.
    Other,
}

impl<'a> AnyValue<'a> {
    pub(super) const OTHER: Self = Self { kind: Kind::Other, bits: 0, bytes: b"" };

    /// Reads an `AnyValue`, `depth` messages deep; and says whether nothing else is in it.
    pub(super) fn read(content: &'a [u8], depth: usize) -> Result<(Self, bool), Stop> {
        let (mut read, mut seen, mut exact) = (Self::OTHER, false, true);
        for field in Fields::new(content) {
            let field = field?;
            let (kind, bits, bytes) = match field.number {
                any_value::STRING_VALUE => (Kind::Text, 0, field.bytes()?),
                // Truth has one number; the reference takes any but 0 for it.
                any_value::BOOL_VALUE if field.varint()? > 1 => return Err(Stop::Slow),
                any_value::BOOL_VALUE => (Kind::Bool, field.varint()?, &[][..]),
                any_value::INT_VALUE => (Kind::Int, field.varint()?, &[][..]),
                any_value::DOUBLE_VALUE => (Kind::Double, field.fixed64()?, &[][..]),
                any_value::ARRAY_VALUE => {
                    exact &= !wire::validate(field.bytes()?, &array_value::MESSAGE, depth + 1)?;
                    (Kind::List, 0, field.bytes()?)
                }
                any_value::KVLIST_VALUE => {
                    exact &= !wire::validate(field.bytes()?, &key_value_list::MESSAGE, depth + 1)?;
                    (Kind::Other, 0, &[][..])
                }
                any_value::BYTES_VALUE => {
                    field.bytes()?;
                    (Kind::Other, 0, &[][..])
                }
                any_value::STRING_VALUE_STRINDEX => {
                    field.varint()?;
                    (Kind::Other, 0, &[][..])
                }
                _ => {
                    exact = false;
                    continue;
                }
            };
            if std::mem::replace(&mut seen, true) {
                return Err(Stop::Slow);
            }
            read = Self { kind, bits, bytes };
        }
        Ok((read, exact))
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Result<Option<&'a str>, Stop> {
        Ok(if self.kind == Kind::Text { Some(wire::text(self.bytes)?) } else { None })
    }

    /// What is left to check of a value that goes.
    pub(super) fn validate(self) -> Result<(), Stop> {
        if self.kind == Kind::Text {
            wire::check_text(self.bytes)?;
        }
        Ok(())
    }

    #[inline]
    pub(super) fn judge(&self, key: &Key) -> Result<Result<(), StripReason>, Stop> {
        Ok(match self.kind {
            Kind::Text => return key.judge(self.bytes),
            Kind::List => return judge_list(key, self.bytes),
            Kind::Int => key.judge_int(self.bits.cast_signed()),
            Kind::Double => key.rule.check(Value::Double(f64::from_bits(self.bits))),
            Kind::Bool => key.rule.check(Value::Bool(self.bits != 0)),
            Kind::Other => Err(StripReason::WrongType),
        })
    }
}

/// A valid list: of what kind its items are, and whether they pass.
fn judge_list(key: &Key, content: &[u8]) -> Result<Result<(), StripReason>, Stop> {
    let mut texts = Some(Vec::new());
    for item in Fields::new(content) {
        let item = item?;
        if item.number != array_value::VALUES {
            return Err(Stop::Slow);
        }
        let (value, exact) = AnyValue::read(item.bytes()?, 0)?;
        if !exact {
            return Err(Stop::Slow);
        }
        match &mut texts {
            Some(texts) if value.kind == Kind::Text => texts.push(wire::text(value.bytes)?),
            _ => texts = None,
        }
    }
    Ok(texts.map_or(Err(StripReason::WrongType), |texts| key.rule.check(Value::TextList(&texts))))
}
