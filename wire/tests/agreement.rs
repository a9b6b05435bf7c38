//! Holds the reader and the tables against prost and the generated OTLP types: whatever these refuse is refused, and nothing else is but
//! padded numbers and groups.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;
use prost::Message as _;
use wire::{Error, Field, Fields, otlp, validate, write};

/// The field numbers that lead from the request to every message type, the way with most levels where there are several.
const PATHS: &[&[u32]] = &[
    &[],
    &[1],
    &[1, 1],
    &[1, 1, 1],
    &[1, 1, 1, 2],
    &[1, 1, 3],
    &[1, 2],
    &[1, 2, 1],
    &[1, 2, 1, 3],
    &[1, 2, 2],
    &[1, 2, 2, 9],
    &[1, 2, 2, 9, 2],
    &[1, 2, 2, 9, 2, 5],
    &[1, 2, 2, 9, 2, 5, 1],
    &[1, 2, 2, 9, 2, 6],
    &[1, 2, 2, 9, 2, 6, 1],
    &[1, 2, 2, 11],
    &[1, 2, 2, 11, 3, 2],
    &[1, 2, 2, 13],
    &[1, 2, 2, 13, 4, 2],
    &[1, 2, 2, 15],
];

/// The same for the message types of metrics.
const METRIC_PATHS: &[&[u32]] = &[
    &[],
    &[1],
    &[1, 2],
    &[1, 2, 2],
    &[1, 2, 2, 5],
    &[1, 2, 2, 5, 1],
    &[1, 2, 2, 5, 1, 5],
    &[1, 2, 2, 5, 1, 5, 7, 2],
    &[1, 2, 2, 5, 1, 7],
    &[1, 2, 2, 7],
    &[1, 2, 2, 7, 1],
    &[1, 2, 2, 9],
    &[1, 2, 2, 9, 1],
    &[1, 2, 2, 9, 1, 8],
    &[1, 2, 2, 9, 1, 9],
    &[1, 2, 2, 10],
    &[1, 2, 2, 10, 1],
    &[1, 2, 2, 10, 1, 1],
    &[1, 2, 2, 10, 1, 8],
    &[1, 2, 2, 10, 1, 9],
    &[1, 2, 2, 10, 1, 11],
    &[1, 2, 2, 11],
    &[1, 2, 2, 11, 1],
    &[1, 2, 2, 11, 1, 6],
    &[1, 2, 2, 11, 1, 7],
    &[1, 2, 2, 12],
];

fn wrapped(path: &[u32], content: &[u8]) -> Vec<u8> {
    path.iter().rev().fold(content.to_vec(), |content, number| {
        let mut out = Vec::new();
        write::bytes_field(&mut out, *number, &content);
        out
    })
}

/// What the tables say, and what prost says. They may differ on what lenient decoders alone accept.
fn agree(message: &[u8]) -> Result<(), String> {
    agree_as::<ExportTraceServiceRequest>(message, &otlp::export_trace_service_request::MESSAGE)
}

fn agree_as<R: prost::Message + Default>(message: &[u8], of_type: &wire::Message) -> Result<(), String> {
    let ours = validate(message, of_type, 0);
    let prost = R::decode(message);
    match (ours, prost) {
        (Ok(_), Ok(_)) | (Err(Error::Padded | Error::Group), _) | (Err(_), Err(_)) => Ok(()),
        (ours, prost) => Err(format!("{ours:?} but prost says {:?} of {message:02x?}", prost.err())),
    }
}

/// Whether the tables of a signal and prost say the same of a message.
type Agree = fn(&[u8]) -> Result<(), String>;

/// Guarantees: every field of every message type has the number and the kind that the generated types give it, on every level; numbers
/// that no field has are skipped.
#[test]
fn tables_are_those_of_the_protocol() {
    let contents: &[&[u8]] = &[
        b"\x00",             // the number 0, or the empty text, or an empty message
        b"\x05",             // the number 5, or a length that does not fit
        b"\x02\xff\xff",     // two bytes that are no UTF-8 and no message
        b"\x02hi",           // a text that is no message: field 13, wire type 0, and a number
        b"\x02\x08\x01",     // a message whose field 1 is a number
        b"\x02\x0a\x00",     // a message whose field 1 is empty
        b"\x00\x00\x00\x00", // four bytes
        b"\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x08\x00\x00\x00\x00\x00\x00\x00\x00", // a row of one number of eight bytes, or of eight numbers
        b"\x03\xac\x02\x80",                     // a row that ends inside a number
    ];
    let of_metrics: Agree =
        |message| agree_as::<ExportMetricsServiceRequest>(message, &otlp::export_metrics_service_request::MESSAGE);
    let paths = PATHS.iter().map(|path| (path, agree as Agree)).chain(METRIC_PATHS.iter().map(|path| (path, of_metrics)));
    let mut compared = 0;
    for (path, agree) in paths {
        for number in (1..=20).chain([1_000, (1 << 29) - 1]) {
            for wire_type in 0..8_u64 {
                for content in contents {
                    let mut field = Vec::new();
                    write::varint(&mut field, number << 3 | wire_type);
                    field.extend_from_slice(content);
                    agree(&wrapped(path, &field)).unwrap();
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, (PATHS.len() + METRIC_PATHS.len()) * 22 * 8 * contents.len());
}

/// Guarantees: the numbers of a list are what prost decodes, and what was encoded: in one row, one by one, or in several rows.
#[test]
fn lists_are_those_of_prost() {
    let (counts, wide): (&[u64], &[u64]) = (&[0, 1, 127, 128, 300, u64::MAX], &[0, 5, u64::MAX]);
    let mut row = Vec::new();
    for n in counts {
        write::varint(&mut row, *n);
    }
    let mut message = Vec::new();
    write::bytes_field(&mut message, otlp::buckets::BUCKET_COUNTS, &row);
    write::varint_field(&mut message, otlp::buckets::BUCKET_COUNTS, 300);
    write::bytes_field(&mut message, otlp::buckets::BUCKET_COUNTS, b"");
    let expected = [counts, &[300]].concat();
    let read: Vec<u64> = Fields::new(&message)
        .flat_map(|field| wire::varints(&field.unwrap()).unwrap().collect::<Vec<_>>())
        .map(Result::unwrap)
        .collect();
    assert_eq!((&read, Buckets::decode(&message[..]).unwrap().bucket_counts), (&expected, expected.clone()));

    let mut message = Vec::new();
    let row: Vec<u8> = wide.iter().flat_map(|n| n.to_le_bytes()).collect();
    write::bytes_field(&mut message, otlp::histogram_data_point::BUCKET_COUNTS, &row);
    write::fixed64_field(&mut message, otlp::histogram_data_point::BUCKET_COUNTS, 7);
    let expected = [wide, &[7]].concat();
    let read: Vec<u64> =
        Fields::new(&message).flat_map(|field| wire::fixed64s(&field.unwrap()).unwrap().collect::<Vec<_>>()).collect();
    assert_eq!((&read, HistogramDataPoint::decode(&message[..]).unwrap().bucket_counts), (&expected, expected.clone()));

    // A row that ends inside a number gives what is whole, an error, and no more.
    let field = Field { number: 2, value: wire::Value::Bytes(b"\x05\x80"), start: 0, end: 4 };
    let read: Vec<_> = wire::varints(&field).unwrap().collect();
    assert_eq!(read, [Ok(5), Err(Error::Truncated)]);
    assert_eq!(wire::fixed64s(&field).map(Iterator::count), Err(Error::Truncated));
}

/// Guarantees: each way of being malformed is refused for its own reason, on every level of nesting, and by prost too.
#[test]
fn malformed_fields_are_refused_on_every_level() {
    let cases: &[(&[u8], Error)] = &[
        (b"\x80", Error::Truncated),
        (b"\xa2\x06\x05abcd", Error::Truncated),
        (b"\xa1\x06\0\0\0\0\0\0\0", Error::Truncated),
        (b"\xa5\x06\0\0\0", Error::Truncated),
        (b"\xa0\x06", Error::Truncated),
        (b"\xa2\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Error::Truncated),
        (b"\xa0\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", Error::Varint),
        (b"\xa0\x06\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", Error::Varint),
        (b"\x00\x00", Error::FieldNumber),
        (b"\x02\x00", Error::FieldNumber),
        (b"\x80\x80\x80\x80\x10\x00", Error::FieldNumber),
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x01\x00", Error::FieldNumber),
        (b"\xa4\x06", Error::WireType),
        (b"\xa6\x06\x00", Error::WireType),
        (b"\xa7\x06\x00", Error::WireType),
    ];
    for path in PATHS {
        for (field, expected) in cases {
            let message = wrapped(path, field);
            let found = validate(&message, &otlp::export_trace_service_request::MESSAGE, 0);
            assert_eq!(found, Err(*expected), "{field:02x?} in {path:?}");
            assert!(ExportTraceServiceRequest::decode(&message[..]).is_err(), "{field:02x?} in {path:?}");
        }
        // A field that is whole by itself, in a message that ends before it does: cut at every place.
        let whole = wrapped(path, b"\xa2\x06\x02hi");
        for end in 1..whole.len() {
            agree(&whole[..end]).unwrap();
        }
    }
}

/// Guarantees: what only lenient decoders accept is told apart from what is wrong.
#[test]
fn padding_and_groups_are_told_apart() {
    for (message, expected) in [
        (&b"\xa0\x86\x00\x00"[..], Error::Padded),
        (b"\xa0\x06\x80\x00", Error::Padded),
        (b"\x0a\x80\x00", Error::Padded),
        (b"\xa0\x06\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", Error::Padded),
        (b"\xa3\x06\xa4\x06", Error::Group),
    ] {
        assert_eq!(validate(message, &otlp::export_trace_service_request::MESSAGE, 0), Err(expected));
        assert!(ExportTraceServiceRequest::decode(message).is_ok(), "{message:02x?}");
    }
}

/// Guarantees: the limit of nesting is prost's, for lists, for maps, and for an unknown field at the bottom.
#[test]
fn the_depth_limit_is_that_of_prost() {
    for (step, bottom) in [(&[5, 1][..], &b""[..]), (&[6, 1, 2], b""), (&[5, 1], b"\xa2\x06\x00"), (&[6, 1, 2], b"\xa2\x06\x00")]
    {
        let mut refused = 0;
        for levels in 20..60 {
            let path: Vec<u32> = [1, 2, 2, 9, 2].iter().chain(step.repeat(levels).iter()).copied().collect();
            let message = wrapped(&path, bottom);
            agree(&message).unwrap();
            refused += u32::from(ExportTraceServiceRequest::decode(&message[..]).is_err());
        }
        assert!((1..40).contains(&refused), "the limit is not among the depths that were tried");
    }
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        ".{0,8}".prop_map(|text| Some(Value::StringValue(text))),
        any::<i64>().prop_map(|n| Some(Value::IntValue(n))),
        any::<f64>().prop_map(|n| Some(Value::DoubleValue(n))),
        any::<bool>().prop_map(|b| Some(Value::BoolValue(b))),
        any::<Vec<u8>>().prop_map(|bytes| Some(Value::BytesValue(bytes))),
        any::<i32>().prop_map(|n| Some(Value::StringValueStrindex(n))),
    ];
    leaf.prop_map(|value| AnyValue { value }).prop_recursive(4, 12, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..3);
        let map = prop::collection::vec(("[a-z]{0,4}", inner), 0..3);
        prop_oneof![
            list.prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            map.prop_map(|pairs| {
                let values = pairs.into_iter().map(|(key, value)| KeyValue { key, value: Some(value), key_strindex: 7 });
                Value::KvlistValue(KeyValueList { values: values.collect() })
            }),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

/// A message with every field of every type in it.
fn full_message(values: [AnyValue; 4]) -> ExportTraceServiceRequest {
    let [a, b, c, d] = values;
    let attribute = |key: &str, value| vec![KeyValue { key: key.to_owned(), value: Some(value), key_strindex: 1 }];
    let text = || "text".to_owned();
    let event = Event { time_unix_nano: 1, name: text(), attributes: attribute("event", a.clone()), dropped_attributes_count: 1 };
    let link = Link {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        trace_state: text(),
        attributes: attribute("link", b.clone()),
        dropped_attributes_count: 1,
        flags: 1,
    };
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        trace_state: text(),
        parent_span_id: vec![3; 8],
        flags: 1,
        name: text(),
        kind: 2,
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        attributes: attribute("span", c),
        dropped_attributes_count: 1,
        events: vec![event],
        dropped_events_count: 1,
        links: vec![link],
        dropped_links_count: 1,
        status: Some(Status { message: text(), code: 2 }),
    };
    let entity = EntityRef { schema_url: text(), r#type: text(), id_keys: vec![text()], description_keys: vec![text()] };
    let resource = Resource { attributes: attribute("resource", d), dropped_attributes_count: 1, entity_refs: vec![entity] };
    let scope =
        InstrumentationScope { name: text(), version: text(), attributes: attribute("scope", b), dropped_attributes_count: 1 };
    let scope_spans = ScopeSpans { scope: Some(scope), spans: vec![span], schema_url: text() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans], schema_url: text() }],
    }
}

/// So many cases, or as many as the variable `PROPTEST_CASES` asks for.
fn at_least(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(cases), ..default }
}

proptest! {
    #![proptest_config(at_least(2_000))]

    /// Guarantees: a damaged message is refused exactly when prost refuses it.
    #[test]
    fn damaged_messages_are_refused_as_by_prost(
        values in [any_value(), any_value(), any_value(), any_value()],
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..4),
    ) {
        let mut message = full_message(values).encode_to_vec();
        prop_assert_eq!(validate(&message, &otlp::export_trace_service_request::MESSAGE, 0), Ok(false));
        for (at, byte, how) in damage {
            let at = at.index(message.len());
            match how {
                0 => message[at] = byte,
                1 => message.insert(at, byte),
                _ => message.truncate(at.max(1)),
            }
        }
        agree(&message).map_err(TestCaseError::fail)?;
    }

    /// Guarantees: the short cut gives the fields that the long way gives, or none.
    #[test]
    fn the_short_cut_gives_the_same_fields(
        texts in prop::collection::vec((1..4_u32, 0..300_usize), 0..8),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut message = Vec::new();
        for (number, length) in texts {
            write::bytes_field(&mut message, number, &vec![7; length]);
        }
        if let Some((at, byte)) = damage.filter(|_| !message.is_empty()) {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let (mut short, mut long) = (Fields::new(&message), Fields::new(&message));
        loop {
            // The tag of a text, bytes or a message in field 2.
            while let Some((content, range)) = short.take_short(0x12) {
                let expected = Field { number: 2, value: wire::Value::Bytes(content), start: range.start, end: range.end };
                prop_assert_eq!(long.next(), Some(Ok(expected)));
            }
            let next = short.next();
            prop_assert_eq!(&next, &long.next());
            if next.is_none() {
                break;
            }
        }
        let all: Vec<_> = Fields::new(&message).collect();
        let only = if let [Ok(field)] = all[..] { Some(field) } else { None };
        prop_assert_eq!(Fields::new(&message).only(), only);
    }
}
