//! What a message takes in memory when it is decoded, counted on its bytes before anything is: an empty span is two bytes in a message and hundreds in
//! memory, so that a limit on bytes alone would let a small message take gigabytes.
//!
//! Most messages are never decoded by the sanitizer; an unusual one is, and no one can tell before it was walked. So this reads as leniently as
//! the decoder does: whatever the decoder would build is counted.

use contract::Signal;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use wire::{Kind, Message, otlp};

/// Parts that a message may have: thirty thousand spans with sixteen attributes each, which is fifty times what an SDK sends at once.
pub(crate) const MAX_PARTS: usize = 2_000_000;
/// Longest message of metrics that is decoded, in bytes. In a list, a byte of a message is a number of eight bytes in memory; only the
/// decoder, which an unusual message needs, ever builds such a list.
pub(crate) const MAX_DECODED_METRICS_BYTES: usize = 4 << 20;
/// A tag and a length.
const MIN_PART_BYTES: usize = 2;
/// How deep parts are looked for. Deeper ones are counted by the bytes that they need.
const MAX_DEPTH: usize = 10;

/// Memory that a part takes when it is decoded, in bytes; roughly the sizes of the decoded structures: a group, a record or what is in one;
/// an attribute; a value or a text.
const RECORD_BYTES: usize = 320;
const ATTRIBUTE_BYTES: usize = 128;
const VALUE_BYTES: usize = 32;
/// The same for an object or a list in JSON, whose depth is not looked at.
const JSON_BYTES: usize = 160;
/// Memory for a number in a list. It takes one byte on the wire at least, and in JSON two.
const NUMBER_BYTES: usize = size_of::<u64>();

/// What a message costs.
#[derive(Default)]
struct Weight {
    parts: usize,
    bytes: usize,
    /// Of `bytes`, those of numbers in lists.
    list_bytes: usize,
}

/// Whether a message in protobuf has too many parts.
pub(crate) fn protobuf_is_too_heavy(signal: Signal, message: &[u8]) -> bool {
    // A part is two bytes at least, so most messages need not be looked at.
    message.len() / MIN_PART_BYTES > MAX_PARTS && protobuf(signal, message).parts > MAX_PARTS
}

/// Whether a message may be decoded, as far as its lists of numbers go.
pub(crate) fn may_be_decoded(signal: Signal, message: &[u8]) -> bool {
    signal != Signal::Metrics || message.len() <= MAX_DECODED_METRICS_BYTES
}

/// About how much memory a message of a signal in protobuf takes besides its own bytes, in bytes, if it has to be decoded. Of one with too many
/// parts, which is refused, it says what those up to the limit take; of one that is too long to be decoded, what edits of its parts take at most.
#[must_use]
pub fn decoded_protobuf_bytes(signal: Signal, message: &[u8]) -> usize {
    let weight = protobuf(signal, message);
    if may_be_decoded(signal, message) { weight.bytes } else { weight.bytes - weight.list_bytes }
}

/// About how much memory a message of a signal in JSON takes besides its own bytes, in bytes. It becomes protobuf first, which is hardly ever
/// longer; a list of numbers can be.
#[must_use]
pub fn decoded_json_bytes(signal: Signal, message: &[u8]) -> usize {
    let lists = if signal == Signal::Metrics { message.len() * NUMBER_BYTES } else { 0 };
    json_parts(message).min(MAX_PARTS) * JSON_BYTES + message.len() + lists
}

fn protobuf(signal: Signal, message: &[u8]) -> Weight {
    let mut weight = Weight::default();
    count(message, request(signal), 0, &mut weight);
    weight
}

/// The type of a signal's export request.
pub(crate) fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &otlp::export_trace_service_request::MESSAGE,
        Signal::Logs => &otlp::export_logs_service_request::MESSAGE,
        Signal::Metrics => &otlp::export_metrics_service_request::MESSAGE,
    }
}

/// Counts what the decoder builds of a message of this type: up to the first error, where it ends. What it skips takes no memory.
fn count(mut content: &[u8], message: &Message, depth: usize, weight: &mut Weight) {
    while !content.is_empty() {
        let Ok((number, wire_type)) = decode_key(&mut content) else { return };
        if wire_type != WireType::LengthDelimited {
            // Numbers take no more memory decoded than encoded.
            if skip_field(wire_type, number, &mut content, DecodeContext::default()).is_err() {
                return;
            }
            continue;
        }
        let length = decode_varint(&mut content).ok().and_then(|length| usize::try_from(length).ok());
        let Some((inner, rest)) = length.and_then(|length| content.split_at_checked(length)) else { return };
        content = rest;
        let Some(kind) = message.kind(number) else { continue };
        if let Kind::VarintList = kind {
            weight.list_bytes += inner.len() * NUMBER_BYTES;
            weight.bytes += inner.len() * NUMBER_BYTES;
            continue;
        }
        weight.parts += 1;
        weight.bytes += bytes(kind);
        if weight.parts > MAX_PARTS {
            return;
        }
        match kind {
            Kind::Message(message) if depth < MAX_DEPTH => count(inner, message, depth + 1, weight),
            Kind::Message(_) => {
                weight.parts += inner.len() / MIN_PART_BYTES;
                weight.bytes += inner.len() / MIN_PART_BYTES * VALUE_BYTES;
            }
            _ => {}
        }
    }
}

fn bytes(kind: &Kind) -> usize {
    let Kind::Message(message) = kind else { return VALUE_BYTES };
    let is = |other: &Message| std::ptr::eq(*message, other);
    if is(&otlp::key_value::MESSAGE) {
        ATTRIBUTE_BYTES
    } else if is(&otlp::any_value::MESSAGE) || is(&otlp::array_value::MESSAGE) || is(&otlp::key_value_list::MESSAGE) {
        VALUE_BYTES
    } else {
        RECORD_BYTES
    }
}

fn json_parts(message: &[u8]) -> usize {
    message.iter().filter(|byte| matches!(byte, b'{' | b'[')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length-delimited field.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    }

    /// A message of one group of one group of this.
    fn grouped(content: &[u8]) -> Vec<u8> {
        field(1, &field(2, content))
    }

    /// Guarantees: millions of empty groups, spans, attributes or nested values are too many; a large text is not, and neither is what no decoder
    /// builds.
    #[test]
    fn empty_parts_count() {
        let too_heavy = |message: &[u8]| protobuf_is_too_heavy(Signal::Traces, message);
        let many = |tag: u8| [tag, 0].repeat(MAX_PARTS + 1);
        for nested in [many(0x0a), grouped(&many(0x12)), grouped(&field(2, &many(0x4a)))] {
            assert!(too_heavy(&nested));
        }
        // The value of an attribute, which is a list of values, of which each is a list.
        let mut deep = many(0x0a);
        for _ in 0..30 {
            deep = field(1, &field(5, &deep));
        }
        assert!(too_heavy(&grouped(&field(2, &field(9, &field(2, &field(5, &deep)))))));
        assert!(!too_heavy(&grouped(&field(2, &field(5, &vec![b'a'; 32 << 20])))));
        assert!(!too_heavy(&many(0x7a)));
    }

    /// Guarantees: a number that is padded, and a group, which the decoder takes, end no counting.
    #[test]
    fn nothing_hides_behind_what_is_unusual() {
        let spans = grouped(&[0x12, 0].repeat(MAX_PARTS + 1));
        for before in [&b"\xa0\x86\x00\x00"[..], b"\xa0\x06\x80\x00", b"\xa3\x06\xa4\x06"] {
            let message = [before, &spans].concat();
            assert!(protobuf_is_too_heavy(Signal::Traces, &message), "{before:02x?}");
            let few = [before, &grouped(&[0x12, 0].repeat(1_000))].concat();
            assert!(decoded_protobuf_bytes(Signal::Traces, &few) >= 1_000 * RECORD_BYTES, "{before:02x?}");
        }
        // The length of the group is padded.
        let mut padded = vec![0x0a];
        let content = field(2, &[0x12, 0].repeat(1_000));
        prost::encoding::encode_varint(content.len() as u64, &mut padded);
        let last = padded.pop().unwrap();
        padded.extend_from_slice(&[last | 0x80, 0]);
        padded.extend_from_slice(&content);
        assert!(decoded_protobuf_bytes(Signal::Traces, &padded) >= 1_000 * RECORD_BYTES);
    }

    /// Guarantees: many small records weigh what their structures take in memory, not what their bytes do; a large text weighs next to nothing besides its
    /// own bytes. The structures' sizes are the compiler's.
    #[test]
    fn small_records_weigh_what_they_take() {
        use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
        use opentelemetry_proto::tonic::logs::v1::LogRecord;
        use opentelemetry_proto::tonic::metrics::v1::{
            Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
            SummaryDataPoint,
        };
        use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
        let (records, attributes) = (10_000, 100_000);
        let weight = |signal, message: &[u8]| decoded_protobuf_bytes(signal, message);
        let empty_records = grouped(&[0x12, 0].repeat(records));
        assert!(weight(Signal::Traces, &empty_records) >= records * size_of::<Span>());
        assert!(weight(Signal::Logs, &empty_records) >= records * size_of::<LogRecord>());
        assert!(weight(Signal::Metrics, &empty_records) >= records * size_of::<Metric>());
        let empty_attributes = grouped(&field(2, &[0x4a, 0].repeat(attributes)));
        assert!(weight(Signal::Traces, &empty_attributes) >= attributes * size_of::<KeyValue>());
        assert!(weight(Signal::Traces, &grouped(&field(2, &field(5, &vec![b' '; 1 << 20])))) < 1 << 20);
        let sizes = [
            size_of::<ResourceSpans>(),
            size_of::<ResourceMetrics>(),
            size_of::<NumberDataPoint>(),
            size_of::<HistogramDataPoint>(),
            size_of::<ExponentialHistogramDataPoint>(),
            size_of::<SummaryDataPoint>(),
            size_of::<Exemplar>(),
        ];
        assert!(sizes.iter().all(|size| *size <= RECORD_BYTES), "{sizes:?}");
        assert!(size_of::<AnyValue>() <= VALUE_BYTES);
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(records - 1));
        assert!(decoded_json_bytes(Signal::Traces, json.as_bytes()) >= records * 160);
    }

    /// Guarantees: a row of counts weighs what it takes decoded in a message that may be decoded, and nothing in one that may not.
    #[test]
    fn rows_weigh_what_they_take() {
        let row = |counts: usize| grouped(&field(2, &field(10, &field(1, &field(8, &field(2, &vec![0; counts]))))));
        let short = row(1 << 20);
        assert!(may_be_decoded(Signal::Metrics, &short));
        assert!(decoded_protobuf_bytes(Signal::Metrics, &short) >= 8 << 20);
        let long = row(MAX_DECODED_METRICS_BYTES);
        assert!(!may_be_decoded(Signal::Metrics, &long) && may_be_decoded(Signal::Traces, &long));
        assert!(decoded_protobuf_bytes(Signal::Metrics, &long) < 10_000);
    }
}
