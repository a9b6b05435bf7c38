//! The canary: a forbidden value in every field that the protocol's own descriptors have, one at a time and all at once, in the library
//! and through the real binary. Nothing is listed by hand but what may arrive: a field that the protocol gains makes this fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

#[path = "canary/binary.rs"]
mod binary;
#[path = "canary/rules.rs"]
mod rules;
#[path = "canary/schema.rs"]
mod schema;
#[path = "canary/walk.rs"]
mod walk;

use std::collections::BTreeSet;

use contract::{Place, RecordKind, Signal, StripReason, attr};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sanitizer::Report;
use testkit::leaks::Scanner;

use schema::{Kind, Schema};
use walk::{Path, Plant, build, paths};

/// A message with one forbidden value.
struct Canary {
    path: Path,
    /// What to look for.
    marker: String,
    protobuf: Vec<u8>,
}

/// One message for every field. The text is one that no rule allows, and longer than any id.
fn canaries(schema: &Schema, signal: Signal) -> Vec<Canary> {
    let canary = |(number, path): (usize, Path)| {
        let marker = format!("zq7{signal}x{number:04}");
        let forbidden = format!("{marker} write \"me\" a poem? alice@example.com 192.0.2.77");
        Canary { protobuf: build(schema, signal, &path, Plant::Forbidden(&forbidden)), path, marker }
    };
    paths(schema, signal).into_iter().enumerate().map(canary).collect()
}

/// Messages in which every field that may arrive has a legal value: one for each field, so that every member of a oneof has its turn.
fn legal(schema: &Schema, signal: Signal) -> Vec<(Path, Vec<u8>)> {
    let is_legal = |path: &Path| {
        // Values of other kinds than text are legal under keys of their own, which every one of these messages has.
        let values = path.iter().filter(|field| field.name.ends_with("_value")).count();
        walk::arriving(schema::root(signal), path) == path.len()
            && (values == 0 || (values == 1 && path.last().unwrap().name == "string_value"))
    };
    let message = |path: Path| {
        let protobuf = build(schema, signal, &path, Plant::Legal);
        (path, protobuf)
    };
    paths(schema, signal).into_iter().filter(is_legal).map(message).collect()
}

/// Runs a function for the type of a signal's export request.
macro_rules! for_signal {
    ($signal:expr, $function:ident($($argument:expr),*)) => {
        match $signal {
            Signal::Traces => $function::<ExportTraceServiceRequest>($($argument),*),
            Signal::Logs => $function::<ExportLogsServiceRequest>($($argument),*),
            Signal::Metrics => $function::<ExportMetricsServiceRequest>($($argument),*),
        }
    };
}

/// The message in JSON, with a key that the protocol does not have in every object, if it is to have a value.
fn json(signal: Signal, protobuf: &[u8], unknown: Option<&str>) -> Vec<u8> {
    fn of<R: prost::Message + Default + serde::Serialize>(protobuf: &[u8]) -> serde_json::Value {
        serde_json::to_value(R::decode(protobuf).unwrap()).unwrap()
    }
    fn plant(value: &mut serde_json::Value, text: &str) {
        match value {
            serde_json::Value::Object(object) => {
                object.values_mut().for_each(|value| plant(value, text));
                object.insert(text.to_owned(), text.into());
            }
            serde_json::Value::Array(list) => list.iter_mut().for_each(|value| plant(value, text)),
            _ => {}
        }
    }
    let mut json = for_signal!(signal, of(protobuf));
    if let Some(text) = unknown {
        plant(&mut json, text);
    }
    serde_json::to_vec(&json).unwrap()
}

/// The message as the types write it, so that two can be compared by what they mean.
fn normal(signal: Signal, protobuf: &[u8]) -> Vec<u8> {
    fn of<R: prost::Message + Default>(protobuf: &[u8]) -> Vec<u8> {
        R::decode(protobuf).unwrap().encode_to_vec()
    }
    for_signal!(signal, of(protobuf))
}

fn sanitize_protobuf(signal: Signal, message: &[u8]) -> (Vec<u8>, Report) {
    fn of<R: sanitizer::Export>(message: &[u8]) -> (Vec<u8>, Report) {
        let sanitized = sanitizer::protobuf::<R>(&sanitizer::Policy::contract(), std::time::SystemTime::now(), message)
            .expect("a message of the signal");
        (sanitized.encoded().to_vec(), sanitized.report().clone())
    }
    for_signal!(signal, of(message))
}

fn sanitize_json(signal: Signal, message: &[u8]) -> (Vec<u8>, Report) {
    fn of<R: sanitizer::Export>(message: &[u8]) -> (Vec<u8>, Report) {
        let sanitized = sanitizer::json::<R>(&sanitizer::Policy::contract(), std::time::SystemTime::now(), message)
            .expect("a message of the signal");
        (sanitized.encoded().to_vec(), sanitized.report().clone())
    }
    for_signal!(signal, of(message))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Guarantees: every field that the protocol has is decided about in `rules.rs`, and no rule is for a field that it does not have.
#[test]
fn every_field_has_a_rule() {
    let schema = Schema::of_otlp();
    let reachable: BTreeSet<_> = Signal::ALL.iter().flat_map(|signal| schema.reachable(*signal)).collect();
    let ruled: BTreeSet<_> = rules::RULES
        .iter()
        .flat_map(|(message, fields)| fields.iter().map(|(field, _)| ((*message).to_owned(), (*field).to_owned())))
        .collect();
    assert_eq!(reachable.difference(&ruled).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "fields without a rule");
    assert_eq!(ruled.difference(&reachable).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "rules without a field");
    // The walk is not empty: it comes to texts, bytes and numbers of each signal.
    for signal in Signal::ALL {
        for kind in [Kind::Text, Kind::Bytes] {
            let of_kind = paths(&schema, *signal).iter().filter(|path| path.last().unwrap().kind == kind).count();
            assert!(of_kind > 10, "{signal}: {of_kind} fields of {kind:?}");
        }
    }
}

/// Guarantees: a legal message arrives complete, whatever the form in which it came, with every field that may arrive and every member of
/// every oneof; so that an empty output is no way to pass the other tests.
#[test]
fn what_is_legal_arrives_complete() {
    let schema = Schema::of_otlp();
    for signal in Signal::ALL {
        for (path, message) in legal(&schema, *signal) {
            let place = walk::text(&path);
            let expected = normal(*signal, &message);
            for (output, report) in [sanitize_protobuf(*signal, &message), sanitize_json(*signal, &json(*signal, &message, None))]
            {
                assert_eq!((report.stripped_total(), report.dropped_total()), (0, 0), "{place}: {report:?}");
                let complete = normal(*signal, &output) == expected;
                assert!(report.accepted_records == 1 && complete, "{place} does not arrive as it was");
            }
        }
    }
}

/// Guarantees: a forbidden value in any single field of an otherwise legal message is not in the output, in no encoding, nor in the report,
/// from protobuf and from JSON; and where nothing may arrive, the message is the same as without the field. The scanner finds each of
/// them in the input. Sanitizing twice equals once.
#[test]
fn no_single_forbidden_value_gets_through() {
    let schema = Schema::of_otlp();
    for signal in Signal::ALL {
        for canary in canaries(&schema, *signal) {
            let field = canary.path.last().unwrap();
            let place = walk::text(&canary.path);
            let (output, report) = sanitize_protobuf(*signal, &canary.protobuf);
            let as_json = json(*signal, &canary.protobuf, None);
            let (from_json, json_report) = sanitize_json(*signal, &as_json);
            if let Some(number) = walk::number_marker(field) {
                assert!(contains(&canary.protobuf, &number), "{place}: not planted");
                assert!(!contains(&output, &number) && !contains(&from_json, &number), "{place} got through");
            } else if field.holds_text() {
                let mut bypassed = Scanner::new([&canary.marker]);
                bypassed.bytes(&place, &canary.protobuf);
                assert!(!bypassed.findings().is_empty(), "{place}: not planted");
                let mut scanner = Scanner::new([&canary.marker]);
                for bytes in [&output, &from_json, format!("{report:?}{json_report:?}").as_bytes()] {
                    scanner.bytes(&place, bytes);
                }
                scanner.assert_clean();
            }
            assert_eq!(sanitize_protobuf(*signal, &output).0, output, "{place}: twice is not once");
            let arriving = walk::arriving(schema::root(*signal), &canary.path);
            if arriving < canary.path.len() {
                let without = build(&schema, *signal, &canary.path[..=arriving], Plant::Nothing);
                let expected = sanitize_protobuf(*signal, &without).0;
                assert_eq!(normal(*signal, &output), normal(*signal, &expected), "{place} changes what arrives");
            }
        }
    }
}

/// Guarantees: a field that OTLP does not define is counted, wherever it stands, and nothing else is counted as one; in JSON a name in any object.
#[test]
fn what_otlp_does_not_define_is_counted() {
    const NAME: &str = "zq7 name";
    let undefined =
        |report: &Report| *report.stripped_fields.get(&(Place::UndefinedField, StripReason::NotAllowed)).unwrap_or(&0);
    let planted = |json: &[u8]| json.windows(NAME.len()).filter(|window| *window == NAME.as_bytes()).count() as u64;
    let schema = Schema::of_otlp();
    for signal in Signal::ALL {
        let mut counted = 0;
        for canary in canaries(&schema, *signal) {
            let place = walk::text(&canary.path);
            let expected = u64::from(canary.path.last().unwrap().number == walk::UNKNOWN_FIELD);
            assert_eq!(undefined(&sanitize_protobuf(*signal, &canary.protobuf).1), expected, "{place}");
            assert_eq!(undefined(&sanitize_json(*signal, &json(*signal, &canary.protobuf, None)).1), 0, "{place}");
            let in_each_object = json(*signal, &canary.protobuf, Some(NAME));
            // Each has it as a name, and as what stands under it.
            assert_eq!(2 * undefined(&sanitize_json(*signal, &in_each_object).1), planted(&in_each_object), "{place}");
            counted += expected;
        }
        assert!(counted > 10, "{signal}: a field was planted in {counted} messages");
    }
}

/// Guarantees: a legal key does not carry a forbidden value of any kind, on any record, data point or resource.
#[test]
fn no_legal_key_carries_a_forbidden_value() {
    use any_value::Value;
    let marker = "zq7legalkey";
    let text = format!("{marker} write \"me\" a poem?");
    let of = |value: Value| AnyValue { value: Some(value) };
    let attribute = |key: &str, value: Value| KeyValue { key: key.to_owned(), value: Some(of(value)), key_strindex: 0 };
    let values = [
        Value::StringValue(text.clone()),
        Value::BytesValue(text.clone().into_bytes()),
        Value::ArrayValue(ArrayValue {
            values: vec![of(Value::StringValue("stop".to_owned())), of(Value::StringValue(text.clone()))],
        }),
        Value::KvlistValue(KeyValueList { values: vec![attribute(&text, Value::StringValue(text.clone()))] }),
    ];
    let schema = Schema::of_otlp();
    for value in values {
        let attributes: Vec<_> = contract::generated::ATTRIBUTES.iter().map(|a| attribute(a.key, value.clone())).collect();
        for signal in Signal::ALL {
            // One message of each kind of data.
            let is_one = |(path, _): &(Path, Vec<u8>)| {
                ["start_time_unix_nano", "event_name"].contains(&path.last().unwrap().name.as_str())
            };
            let messages: Vec<_> = legal(&schema, *signal).into_iter().filter(is_one).collect();
            assert_eq!(messages.len(), if *signal == Signal::Metrics { 5 } else { 1 });
            for (_, message) in messages {
                let dirty = with_attributes(*signal, &message, &attributes);
                let mut scanner = Scanner::new([marker]);
                scanner.bytes("input", &dirty);
                assert!(!scanner.findings().is_empty());
                let mut scanner = Scanner::new([marker]);
                scanner.bytes("output", &sanitize_protobuf(*signal, &dirty).0);
                scanner.assert_clean();
            }
        }
    }
}

/// The message with these attributes on its resource and on its records; its span as often as there are kinds of spans.
fn with_attributes(signal: Signal, message: &[u8], attributes: &[KeyValue]) -> Vec<u8> {
    let given = || attributes.to_vec();
    match signal {
        Signal::Traces => {
            let mut request = ExportTraceServiceRequest::decode(message).unwrap();
            let group = &mut request.resource_spans[0];
            group.resource.as_mut().unwrap().attributes = given();
            let model = group.scope_spans[0].spans[0].clone();
            let kinds =
                RecordKind::TEXTS.iter().map(|kind| vec![testkit::otlp::attribute(attr::RECORD_KIND, *kind)]).chain([vec![]]);
            let span = |kind: Vec<KeyValue>| Span { attributes: [kind, given()].concat(), ..model.clone() };
            group.scope_spans[0].spans = kinds.map(span).collect();
            request.encode_to_vec()
        }
        Signal::Logs => {
            let mut request = ExportLogsServiceRequest::decode(message).unwrap();
            request.resource_logs[0].resource.as_mut().unwrap().attributes = given();
            request.resource_logs[0].scope_logs[0].log_records[0].attributes = given();
            request.encode_to_vec()
        }
        Signal::Metrics => {
            let mut request = ExportMetricsServiceRequest::decode(message).unwrap();
            request.resource_metrics[0].resource.as_mut().unwrap().attributes = given();
            match request.resource_metrics[0].scope_metrics[0].metrics[0].data.as_mut().unwrap() {
                Data::Gauge(gauge) => gauge.data_points[0].attributes = given(),
                Data::Sum(sum) => sum.data_points[0].attributes = given(),
                Data::Histogram(histogram) => histogram.data_points[0].attributes = given(),
                Data::ExponentialHistogram(histogram) => histogram.data_points[0].attributes = given(),
                Data::Summary(summary) => summary.data_points[0].attributes = given(),
            }
            request.encode_to_vec()
        }
    }
}
