//! How many parts a message has, counted on its bytes before anything is decoded: an empty span is two bytes in a message and hundreds in memory,
//! so that a limit on bytes alone would let a small message take gigabytes.

use wire::{Fields, Value};

/// Parts that a message may have: thirty thousand spans with sixteen attributes each, which is fifty times what an SDK sends at once.
pub(crate) const MAX_PARTS: usize = 2_000_000;
/// A tag and a length.
const MIN_PART_BYTES: usize = 2;
/// How deep parts are looked for. Deeper ones are counted by the bytes that they need.
const MAX_DEPTH: usize = 10;

/// Memory that a part takes when it is decoded, in bytes, by its depth: groups and records, attributes and links, and what is in those. Roughly
/// the sizes of the decoded structures.
const BYTES_BY_DEPTH: [usize; 4] = [320, 320, 320, 128];
const DEEP_BYTES: usize = 32;
/// The same for an object or a list in JSON, whose depth is not looked at.
const JSON_BYTES: usize = 160;

/// What a message costs.
#[derive(Default)]
struct Weight {
    parts: usize,
    bytes: usize,
}

/// Whether a message in protobuf has too many parts. Texts are counted as if they could be messages: a text that happens to be one counts for
/// more than it is, never for less.
pub(crate) fn protobuf_is_too_heavy(message: &[u8]) -> bool {
    // A part is two bytes at least, so most messages need not be looked at.
    message.len() / MIN_PART_BYTES > MAX_PARTS && protobuf(message).parts > MAX_PARTS
}

/// About how much memory a message in protobuf takes when it is decoded, in bytes, besides its own bytes. Of one with too many parts, which is refused,
/// it says what those up to the limit take.
#[must_use]
pub fn decoded_protobuf_bytes(message: &[u8]) -> usize {
    protobuf(message).bytes
}

/// About how much memory a message in JSON takes when it is decoded, in bytes, besides its own bytes. It becomes protobuf first, which is
/// never longer.
#[must_use]
pub fn decoded_json_bytes(message: &[u8]) -> usize {
    json_parts(message).min(MAX_PARTS) * JSON_BYTES + message.len()
}

fn protobuf(message: &[u8]) -> Weight {
    let mut weight = Weight::default();
    count(message, 0, &mut weight);
    weight
}

fn count(message: &[u8], depth: usize, weight: &mut Weight) {
    for field in Fields::new(message) {
        let Ok(field) = field else { return };
        // Numbers take no more memory decoded than encoded; only what has a length can be a message.
        if let Value::Bytes(inner) = field.value {
            weight.parts += 1;
            weight.bytes += BYTES_BY_DEPTH.get(depth).unwrap_or(&DEEP_BYTES);
            if weight.parts > MAX_PARTS {
                return;
            }
            if depth < MAX_DEPTH {
                count(inner, depth + 1, weight);
            } else {
                weight.parts += inner.len() / MIN_PART_BYTES;
                weight.bytes += inner.len() / MIN_PART_BYTES * DEEP_BYTES;
            }
        }
    }
}

fn json_parts(message: &[u8]) -> usize {
    message.iter().filter(|byte| matches!(byte, b'{' | b'[')).count()
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

    /// Guarantees: millions of empty spans, attributes or nested values are too many; a large text is not.
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
    }

    /// Guarantees: many small records weigh what their structures take in memory, not what their bytes do; a large text weighs next to nothing besides its
    /// own bytes. The structures' sizes are the compiler's.
    #[test]
    fn small_records_weigh_what_they_take() {
        use opentelemetry_proto::tonic::{common::v1::KeyValue, trace::v1::Span};
        let (spans, attributes) = (10_000, 100_000);
        let empty_spans = field(1, &field(2, &[0x12, 0].repeat(spans)));
        assert!(decoded_protobuf_bytes(&empty_spans) >= spans * size_of::<Span>());
        let empty_attributes = field(1, &field(2, &field(2, &[0x4a, 0].repeat(attributes))));
        assert!(decoded_protobuf_bytes(&empty_attributes) >= attributes * size_of::<KeyValue>());
        assert!(decoded_protobuf_bytes(&field(1, &field(2, &vec![b' '; 1 << 20]))) < 1 << 20);
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(spans - 1));
        assert!(decoded_json_bytes(json.as_bytes()) >= spans * 160);
    }
}
