//! What is compared: bytes in, bytes out, and whether they are the right ones.

use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use sanitizer::fast::{self, Fast};
use sanitizer::times::Times;
use sanitizer::{Policy, reference};
use wire::otlp::{export_trace_service_request, key_value, resource_spans, scope_spans, span};
use wire::{Fields, Value};

use crate::shapes::ADMITTED_MS;

/// A name, and what it makes of a message: a number that depends on all of its work.
pub type Engine = (&'static str, fn(&Bytes) -> usize);

static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(Policy::contract);

/// When every message arrives.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ADMITTED_MS + 60_000)
}

/// The fast sanitizer; the reference; decoding and encoding alone; walking over all fields and looking at the keys, and nothing else; copying
/// the bytes.
pub const ENGINES: [Engine; 5] = [
    ("fast", |message| fast(message).len()),
    ("reference", |message| slow(message).len()),
    ("prost", prost),
    ("walk", walk),
    ("copy", copy),
];

fn fast(message: &Bytes) -> Bytes {
    match fast::traces(&POLICY, Times::until(now()), message).unwrap() {
        Fast::Clean(_) => message.clone(),
        Fast::Rewritten(output, _) => output,
        Fast::Slow => panic!("a message of the benchmark is unusual"),
    }
}

fn slow(message: &Bytes) -> Vec<u8> {
    reference::protobuf::<ExportTraceServiceRequest>(&POLICY, now(), message).unwrap().0
}

fn prost(message: &Bytes) -> usize {
    ExportTraceServiceRequest::decode(&message[..]).unwrap().encode_to_vec().len()
}

fn copy(message: &Bytes) -> usize {
    black_box(message.to_vec()).len()
}

/// The number of attributes, the first bytes of their keys added.
fn walk(message: &Bytes) -> usize {
    let inner = |content, number| {
        Fields::new(content).map(Result::unwrap).filter(move |field| field.number == number).map(|field| field.bytes().unwrap())
    };
    let mut sum = 0;
    for group in inner(&message[..], export_trace_service_request::RESOURCE_SPANS) {
        for scope in inner(group, resource_spans::SCOPE_SPANS) {
            for span in inner(scope, scope_spans::SPANS) {
                sum += walk_span(span);
            }
        }
    }
    sum
}

fn walk_span(content: &[u8]) -> usize {
    /// Tags of fields with a length.
    const ATTRIBUTE: u8 = (span::ATTRIBUTES << 3 | 2).to_le_bytes()[0];
    const KEY: u8 = (key_value::KEY << 3 | 2).to_le_bytes()[0];
    let (mut fields, mut sum) = (Fields::new(content), 0);
    loop {
        while let Some((attribute, _)) = fields.take_short(ATTRIBUTE) {
            let mut inside = Fields::new(attribute);
            let (key, _) = inside.take_short(KEY).unwrap();
            sum += usize::from(key[0]) + 1;
            for field in inside {
                black_box(field.unwrap());
            }
        }
        match fields.next() {
            Some(field) => match field.unwrap().value {
                // A long attribute.
                Value::Bytes(bytes) if bytes.len() >= 1 << 14 => panic!("longer than the benchmark's attributes are"),
                value => drop(black_box(value)),
            },
            None => return sum,
        }
    }
}

/// Holds that each engine does what it says: the fast one and the reference agree, and strip what is dirty and nothing else; the walk sees
/// every key.
pub fn verify(messages: &[Bytes], spans: u64, stripped: u64) {
    let (mut total_stripped, mut accepted) = (0, 0);
    for message in messages {
        let decoded = ExportTraceServiceRequest::decode(&message[..]).unwrap();
        assert_eq!(decoded.encode_to_vec(), message[..]);
        assert_eq!(prost(message), message.len());
        assert_eq!(copy(message), message.len());
        let attributes =
            decoded.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans).flat_map(|s| &s.attributes);
        assert_eq!(walk(message), attributes.map(|a| usize::from(a.key.as_bytes()[0]) + 1).sum::<usize>());

        let (expected, report) = reference::protobuf::<ExportTraceServiceRequest>(&POLICY, now(), message).unwrap();
        let decoded = |bytes: &[u8]| ExportTraceServiceRequest::decode(bytes).unwrap();
        assert!(decoded(&fast(message)) == decoded(&expected), "the fast sanitizer means something else");
        let fast_report = match fast::traces(&POLICY, Times::until(now()), message).unwrap() {
            Fast::Clean(report) | Fast::Rewritten(_, report) => report,
            Fast::Slow => panic!("a message of the benchmark is unusual"),
        };
        assert_eq!(fast_report, report);
        total_stripped += report.stripped_total();
        accepted += report.accepted_records;
    }
    assert_eq!((accepted, total_stripped), (spans, stripped));
}
