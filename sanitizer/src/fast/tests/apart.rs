//! Takes messages apart, field by field, with what the encoding allows and SDKs do not write.

use wire::{Field, Fields, Kind, Message, Value, otlp, write};

/// A small generator of numbers, so that a seed says everything.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The message with about one in so many fields repeated, moved, lost, made unknown, padded or given another type, on every level.
pub fn fields(message: &[u8], seed: u64, one_in: u64) -> Vec<u8> {
    fields_of(message, &otlp::export_trace_service_request::MESSAGE, seed, one_in)
}

/// The same for a message of this type.
pub fn fields_of(message: &[u8], of_type: &Message, seed: u64, one_in: u64) -> Vec<u8> {
    rebuilt(message, of_type, &mut Numbers(seed), one_in)
}

/// A list of numbers in pieces: each number in a field of its own, or in a row of one with an empty row before it.
fn in_pieces(field: &Field<'_>, is_wide: bool, numbers: &mut Numbers, out: &mut Vec<u8>) {
    let row: Vec<u64> = if is_wide {
        wire::fixed64s(field).unwrap().collect()
    } else {
        wire::varints(field).unwrap().map(Result::unwrap).collect()
    };
    for n in row {
        match (is_wide, numbers.next().is_multiple_of(2)) {
            (true, true) => write::fixed64_field(out, field.number, n),
            (false, true) => write::varint_field(out, field.number, n),
            (_, false) => {
                write::bytes_field(out, field.number, b"");
                let mut one = Vec::new();
                if is_wide {
                    one.extend_from_slice(&n.to_le_bytes());
                } else {
                    write::varint(&mut one, n);
                }
                write::bytes_field(out, field.number, &one);
            }
        }
    }
}

fn rebuilt(content: &[u8], message: &Message, numbers: &mut Numbers, one_in: u64) -> Vec<u8> {
    let (mut out, mut moved) = (Vec::new(), Vec::new());
    for field in Fields::new(content) {
        let field = field.unwrap();
        let kind = message.fields.iter().find(|(number, _)| *number == field.number).map(|(_, kind)| kind);
        let mut encoded = Vec::new();
        match (kind, field.value) {
            (Some(Kind::Message(inner)), Value::Bytes(bytes)) => {
                write::bytes_field(&mut encoded, field.number, &rebuilt(bytes, inner, numbers, one_in));
            }
            (Some(Kind::VarintList | Kind::Fixed64List), Value::Bytes(_)) if numbers.next().is_multiple_of(one_in) => {
                in_pieces(&field, matches!(kind, Some(Kind::Fixed64List)), numbers, &mut encoded);
            }
            _ => encoded.extend_from_slice(&content[field.start..field.end]),
        }
        if !numbers.next().is_multiple_of(one_in) {
            out.extend_from_slice(&encoded);
            continue;
        }
        let other_number = u32::try_from(numbers.next() % 20 + 1).unwrap();
        match numbers.next() % 14 {
            0 => {}
            1 => out.extend_from_slice(&encoded.repeat(2)),
            2 => moved.extend_from_slice(&encoded),
            3 => {
                write::bytes_field(&mut out, 1_999, b"unknown");
                out.extend_from_slice(&encoded);
            }
            4 => {
                out.extend_from_slice(&encoded);
                write::varint_field(&mut out, 77, numbers.next());
            }
            // The field's tag, padded: its last byte gets a follower. (Of a list of no elements in pieces there is no tag.)
            5 if !encoded.is_empty() => {
                let tag_len = write::varint_len(u64::from(field.number) << 3);
                out.extend_from_slice(&encoded[..tag_len - 1]);
                out.extend_from_slice(&[encoded[tag_len - 1] | 0x80, 0]);
                out.extend_from_slice(&encoded[tag_len..]);
            }
            6 => {
                // A group around a field that OTLP does not have.
                write::varint(&mut out, 99 << 3 | 3);
                write::varint_field(&mut out, 1, 5);
                write::varint(&mut out, 99 << 3 | 4);
                out.extend_from_slice(&encoded);
            }
            7 => write::varint_field(&mut out, field.number, numbers.next()),
            8 => write::fixed32_field(&mut out, field.number, 0xffff_ffff),
            9 => write::varint_field(&mut out, other_number, numbers.next() % 300),
            10 => write::bytes_field(&mut out, other_number, &encoded),
            11 => write::bytes_field(&mut out, field.number, b"\xff\xfe"),
            12 => write::bytes_field(&mut out, field.number, b""),
            // The same bytes, or a zero, under the same number once more.
            _ => {
                out.extend_from_slice(&encoded);
                if let Value::Varint(_) = field.value {
                    write::varint_field(&mut out, field.number, 0);
                }
            }
        }
    }
    out.extend_from_slice(&moved);
    out
}
