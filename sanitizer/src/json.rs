//! OTLP's JSON form, turned into protobuf, so that there is one sanitizer for both.
//!
//! What may stand where is read from the protocol's own descriptors. The rules are those of proto3's JSON mapping, with OTLP's exceptions: ids are
//! hexadecimal, enumerations are numbers, names are in lower camel case alone, and unknown names are skipped, and counted. What has a known name and
//! another form is an error, and so is a name that occurs twice, or a second member of a oneof: which of the two would count is anyone's guess.
//!
//! Nothing is built in between: text goes in and bytes come out, fewer than there were. The parser allows 128 levels.

mod schema;
#[cfg(test)]
mod tests;
mod value;

use std::cell::Cell;
use std::fmt;

use contract::Signal;
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Refused;
use schema::{Field, Fields, Kind, Schema};
use value::Scalar;

/// An export request of a signal in protobuf, from its JSON form; and how many names in it OTLP does not define.
///
/// # Errors
/// [`Refused::Json`] if any part of it has another form than OTLP's.
pub(crate) fn to_protobuf(signal: Signal, message: &[u8]) -> Result<(Vec<u8>, usize), Refused> {
    let schema = Schema::of_otlp();
    // A byte order mark, which some editors write before UTF-8, is not of the text; RFC 8259, section 8.1, lets a parser pass over it.
    let message = message.strip_prefix("\u{feff}".as_bytes()).unwrap_or(message);
    let (mut out, undefined) = (Vec::new(), Cell::new(0));
    let mut text = serde_json::Deserializer::from_slice(message);
    let fields = schema.request(signal).ok_or(Refused::Json)?;
    let reading = Reading { schema, undefined: &undefined };
    OneMessage { reading, fields, out: &mut out }.deserialize(&mut text).and_then(|()| text.end()).map_err(|_| Refused::Json)?;
    Ok((out, undefined.get()))
}

/// What every part of a message is read with.
#[derive(Clone, Copy)]
struct Reading<'a> {
    schema: &'static Schema,
    /// Names so far that OTLP does not define.
    undefined: &'a Cell<usize>,
}

/// Reads an object, and writes the fields of a message.
struct OneMessage<'a> {
    reading: Reading<'a>,
    fields: &'static Fields,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for OneMessage<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneMessage<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut seen, mut chosen) = (Vec::<u32>::new(), Vec::<i32>::new());
        while let Some(name) = map.next_key::<String>()? {
            let Some(field) = self.fields.get(&name) else {
                map.next_value::<IgnoredAny>()?;
                self.reading.undefined.update(|names| names + 1);
                continue;
            };
            if seen.contains(&field.number) {
                return Err(A::Error::custom("the name occurs twice"));
            }
            seen.push(field.number);
            let is_there = map.next_value_seed(OneField { reading: self.reading, field, out: self.out })?;
            if let Some(oneof) = field.oneof.filter(|_| is_there) {
                if chosen.contains(&oneof) {
                    return Err(A::Error::custom("a second member of a oneof"));
                }
                chosen.push(oneof);
            }
        }
        Ok(())
    }
}

/// Reads what stands under a name; says whether that is more than null, which stands for nothing under every name.
struct OneField<'a> {
    reading: Reading<'a>,
    field: &'static Field,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for OneField<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for OneField<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_none<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let Self { reading, field, out } = self;
        if field.is_list {
            deserializer.deserialize_seq(List { reading, field, out })?;
        } else {
            Element { reading, field, out, packed: false }.deserialize(deserializer)?;
        }
        Ok(true)
    }
}

/// Reads a list.
struct List<'a> {
    reading: Reading<'a>,
    field: &'static Field,
    out: &'a mut Vec<u8>,
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { reading, field, out } = self;
        if field.kind.has_length() {
            while list.next_element_seed(Element { reading, field, out, packed: false })?.is_some() {}
            return Ok(());
        }
        let mut numbers = Vec::new();
        while list.next_element_seed(Element { reading, field, out: &mut numbers, packed: true })?.is_some() {}
        if !numbers.is_empty() {
            put_bytes(out, field.number, &numbers);
        }
        Ok(())
    }
}

/// Reads one value, which is not null.
struct Element<'a> {
    reading: Reading<'a>,
    field: &'static Field,
    out: &'a mut Vec<u8>,
    /// Numbers of a list stand without their keys.
    packed: bool,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { reading, field, out, packed } = self;
        if let Kind::Message(name) = &field.kind {
            let mut content = Vec::new();
            let fields = reading.schema.fields(name).ok_or_else(|| D::Error::custom("no such message"))?;
            OneMessage { reading, fields, out: &mut content }.deserialize(deserializer)?;
            put_bytes(out, field.number, &content);
            return Ok(());
        }
        let value = deserializer.deserialize_any(value::ReadScalar)?;
        put(field, value, packed, out).ok_or_else(|| D::Error::custom("another form than the field's"))
    }
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Writes a value; `None` if it has another form than the field's. What says nothing, a zero of a field that cannot be absent, is not written.
fn put(field: &Field, value: Scalar, packed: bool, out: &mut Vec<u8>) -> Option<()> {
    let must_stand = field.is_list || field.oneof.is_some();
    let number = |wire_type: WireType, says_nothing: bool, write: &mut dyn FnMut(&mut Vec<u8>), out: &mut Vec<u8>| {
        if must_stand || !says_nothing {
            if !packed {
                encode_key(field.number, wire_type, out);
            }
            write(out);
        }
    };
    match field.kind.encode(value)? {
        value::Encoded::Bytes(bytes) if must_stand || !bytes.is_empty() => put_bytes(out, field.number, &bytes),
        value::Encoded::Bytes(_) => {}
        value::Encoded::Varint(n) => number(WireType::Varint, n == 0, &mut |out| encode_varint(n, out), out),
        value::Encoded::Fixed32(n) => number(WireType::ThirtyTwoBit, n == 0, &mut |out| out.extend(n.to_le_bytes()), out),
        value::Encoded::Fixed64(n) => number(WireType::SixtyFourBit, n == 0, &mut |out| out.extend(n.to_le_bytes()), out),
    }
    Some(())
}
