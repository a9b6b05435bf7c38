//! What a message says, as bytes, and what it must never say.

use wire::{Fields, Kind, Message, Value, otlp, write};

/// A text that no rule lets through, neither as a whole nor in part, and that no number can spell: read as eight bytes of a floating-point
/// number, wherever one begins, it is negative or larger than any that may go on.
pub const MARKER: &str = "zqplantedtextofaprompt⟦zq⟧";

/// Fields that say something by being there, even when they are zero: one of several of which one can be there, or one that can be absent.
fn has_presence(message: &Message, number: u32) -> bool {
    use otlp::{
        any_value, exemplar, exponential_histogram_data_point as exponential, histogram_data_point as histogram,
        number_data_point,
    };
    let of = |other: &Message, numbers: &[u32]| std::ptr::eq(message, other) && numbers.contains(&number);
    std::ptr::eq(message, &raw const any_value::MESSAGE)
        || of(&number_data_point::MESSAGE, &[number_data_point::AS_DOUBLE, number_data_point::AS_INT])
        || of(&exemplar::MESSAGE, &[exemplar::AS_DOUBLE, exemplar::AS_INT])
        || of(&histogram::MESSAGE, &[histogram::SUM, histogram::MIN, histogram::MAX])
        || of(&exponential::MESSAGE, &[exponential::SUM, exponential::MIN, exponential::MAX])
}

/// The message without what says nothing: numbers, texts and bytes that are zero or empty, and could as well be absent.
pub fn without_zeros(content: &[u8], message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    for field in Fields::new(content) {
        let field = field.expect("a valid message");
        match message.fields.iter().find(|(number, _)| *number == field.number) {
            Some((_, Kind::Message(inner))) => {
                let content = without_zeros(field.bytes().expect("a message"), inner);
                write::bytes_field(&mut out, field.number, &content);
            }
            _ if matches!(field.value, Value::Varint(0) | Value::Fixed32(0) | Value::Fixed64(0) | Value::Bytes(b""))
                && !has_presence(message, field.number) => {}
            _ => out.extend_from_slice(&content[field.start..field.end]),
        }
    }
    out
}
