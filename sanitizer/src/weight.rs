//! How many parts a message has, counted on its bytes before anything is decoded: an empty span is two bytes in a message and hundreds in memory,
//! so that a limit on bytes alone would let a small message take gigabytes.

use wire::{Fields, Value};

/// Parts that a message may have: thirty thousand spans with sixteen attributes each, which is fifty times what an SDK sends at once.
pub(crate) const MAX_PARTS: usize = 2_000_000;
/// How deep parts are looked for. Deeper ones are counted by the bytes that they need.
const MAX_DEPTH: usize = 10;

/// Whether a message in protobuf has too many parts. Texts are counted as if they could be messages: a text that happens to be one counts for
/// more than it is, never for less.
pub(crate) fn protobuf_is_too_heavy(message: &[u8]) -> bool {
    let mut parts = 0;
    count(message, 0, &mut parts);
    parts > MAX_PARTS
}

fn count(message: &[u8], depth: usize, parts: &mut usize) {
    for field in Fields::new(message) {
        let Ok(field) = field else { return };
        // Numbers take no more memory decoded than encoded; only what has a length can be a message.
        if let Value::Bytes(inner) = field.value {
            *parts += 1;
            if *parts > MAX_PARTS {
                return;
            }
            if depth < MAX_DEPTH {
                count(inner, depth + 1, parts);
            } else {
                *parts += inner.len() / 2;
            }
        }
    }
}

/// Whether a message in JSON has too many parts.
pub(crate) fn json_is_too_heavy(message: &[u8]) -> bool {
    message.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() > MAX_PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length-delimited field number 1 or 2.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    }

    /// Guarantees: millions of empty spans, attributes or nested values are too many, in both encodings; a large text is not.
    #[test]
    fn empty_parts_count() {
        let many = [0x12, 0].repeat(MAX_PARTS + 1);
        for nested in [field(1, &field(2, &many)), field(1, &field(2, &field(2, &many))), many.clone()] {
            assert!(protobuf_is_too_heavy(&nested));
        }
        let mut deep = many;
        for _ in 0..30 {
            deep = field(2, &deep);
        }
        assert!(protobuf_is_too_heavy(&deep));
        assert!(!protobuf_is_too_heavy(&field(1, &field(2, &vec![b'a'; 32 << 20]))));
        assert!(json_is_too_heavy("{},".repeat(MAX_PARTS + 1).as_bytes()));
        assert!(!json_is_too_heavy(&vec![b'a'; 32 << 20]));
    }
}
