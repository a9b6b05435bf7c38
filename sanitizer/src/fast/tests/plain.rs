//! What a message says, as bytes, and what it must never say.

use wire::{Fields, Kind, Message, Value, otlp, write};

/// A text that no rule lets through, neither as a whole nor in part, and that no number can spell: read as eight bytes of a floating-point
/// number, wherever one begins, it is negative or larger than any that may go on.
pub const MARKER: &str = "zqplantedtextofaprompt⟦zq⟧";

/// The message without what says nothing: numbers, texts and bytes that are zero or empty, and could as well be absent. Inside a value they
/// say which type it has.
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
                && !std::ptr::eq(message, &raw const otlp::any_value::MESSAGE) => {}
            _ => out.extend_from_slice(&content[field.start..field.end]),
        }
    }
    out
}
