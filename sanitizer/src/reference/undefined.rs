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
