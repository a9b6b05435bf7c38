//! How many fields OTLP does not define a message has. A decoder leaves them out without a word, so they are counted on the bytes.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use wire::{Kind, Message};

/// Counts them in a message of this type wherever they stand, also in what was dropped or stripped; what is inside one is not looked at.
///
/// Reads as leniently as the decoder, so that a padded number or a group hides none. The message was decoded, so it has no errors and is no deeper
/// than [`wire::MAX_DEPTH`]; at an error, counting would end.
pub(super) fn fields(mut message: &[u8], of_type: &Message) -> usize {
    let mut undefined = 0;
    while !message.is_empty() {
        let Ok((number, wire_type)) = decode_key(&mut message) else { break };
        match of_type.kind(number) {
            Some(Kind::Message(of_type)) if wire_type == WireType::LengthDelimited => {
                let length = decode_varint(&mut message).ok().and_then(|length| usize::try_from(length).ok());
                let Some((inner, rest)) = length.and_then(|length| message.split_at_checked(length)) else { break };
                undefined += fields(inner, of_type);
                message = rest;
                continue;
            }
            Some(_) => {}
            None => undefined += 1,
        }
        if skip_field(wire_type, number, &mut message, DecodeContext::default()).is_err() {
            break;
        }
    }
    undefined
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::otlp::export_trace_service_request::MESSAGE;

    /// Guarantees: each counts as one, at every level, also where only lenient decoders read on: behind a padded number, and as a group, whatever
    /// is in that.
    #[test]
    fn nothing_hides_behind_what_is_unusual() {
        // Field 100: a number, a text, a number whose tag is padded, one that is padded itself, and a group with a field of it in it.
        let unusual: [&[u8]; 5] =
            [b"\xa0\x06\x01", b"\xa2\x06\x02hi", b"\xa0\x86\x00\x01", b"\xa0\x06\x81\x00", b"\xa3\x06\xa0\x06\x01\xa4\x06"];
        for field in unusual {
            // In the request, in a group of spans, its length padded too, and beside an empty one.
            let len = u8::try_from(field.len()).unwrap();
            let message = [field, &[0x0a, len], field, &[0x0a, len | 0x80, 0], field, &[0x0a, 0]].concat();
            assert_eq!(fields(&message, &MESSAGE), 3, "{field:02x?}");
        }
        assert_eq!(fields(&unusual.concat(), &MESSAGE), 5);
        assert_eq!(fields(b"\x0a\x02\x1a\x00", &MESSAGE), 0, "an empty schema url");
    }
}
