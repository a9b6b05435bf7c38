//! What is JSON of OTLP and what is not. The messages follow the examples of opentelemetry-proto; what they mean is written down by hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric::Data, number_data_point::Value as Number,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost_types::field_descriptor_proto::Type;

use super::*;

fn value(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn text(text: &str) -> AnyValue {
    value(any_value::Value::StringValue(text.to_owned()))
}

fn attribute(key: &str, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key: key.to_owned(), value, key_strindex: 0 }
}

fn read<M: prost::Message + Default>(signal: Signal, json: &str) -> M {
    M::decode(&to_protobuf(signal, json.as_bytes()).unwrap().0[..]).unwrap()
}

fn is_refused(signal: Signal, json: &str) -> bool {
    to_protobuf(signal, json.as_bytes()).is_err()
}

/// The value of the one attribute of a resource.
fn read_value(json: &str) -> Option<any_value::Value> {
    let message = format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"k","value":{json}}}]}}}}]}}"#);
    let mut request: ExportTraceServiceRequest = read(Signal::Traces, &message);
    request.resource_spans.remove(0).resource.unwrap().attributes.remove(0).value.unwrap().value
}

fn value_is_refused(json: &str) -> bool {
    let message = format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"k","value":{json}}}]}}}}]}}"#);
    is_refused(Signal::Traces, &message)
}

/// Guarantees: ids are hexadecimal of either case, 64-bit numbers are texts or numbers, enumerations are numbers, null says nothing, and a name that
/// OTLP does not have is counted and skipped, whatever is under it.
#[test]
fn traces_are_read_as_the_specification_says() {
    let json = r#"{"resourceSpans":[{
        "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}],"droppedAttributesCount":"3","entityRefs":null},
        "schemaUrl":null,
        "scopeSpans":[{
            "scope":{"name":"my.library","version":"1.0.0","attributes":[]},
            "future":{"deep":[1,{"a":null}]},
            "spans":[{
                "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","parentSpanId":"EEE19b7EC3C1B173",
                "name":"I'm a server span","startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,
                "kind":2,"flags":257,"traceState":null,"status":{"code":2,"message":"no"},"trace_state":"not a name of OTLP's JSON",
                "events":[{"timeUnixNano":"1","name":"e","attributes":null}],
                "links":[{"traceId":"","spanId":"0102030405060708","flags":1.0}]
            }]}]}]}"#;
    let span = Span {
        trace_id: vec![0x5b, 0x8e, 0xff, 0xf7, 0x98, 0x03, 0x81, 0x03, 0xd2, 0x69, 0xb6, 0x33, 0x81, 0x3f, 0xc6, 0x0c],
        span_id: vec![0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74],
        parent_span_id: vec![0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x73],
        name: "I'm a server span".to_owned(),
        start_time_unix_nano: 1_544_712_660_000_000_000,
        end_time_unix_nano: 1_544_712_661_000_000_000,
        kind: 2,
        flags: 257,
        status: Some(Status { code: 2, message: "no".to_owned() }),
        events: vec![span::Event { time_unix_nano: 1, name: "e".to_owned(), ..Default::default() }],
        links: vec![span::Link { span_id: vec![1, 2, 3, 4, 5, 6, 7, 8], flags: 1, ..Default::default() }],
        ..Span::default()
    };
    let scope = InstrumentationScope { name: "my.library".to_owned(), version: "1.0.0".to_owned(), ..Default::default() };
    let resource = Resource {
        attributes: vec![attribute("service.name", Some(text("my.service")))],
        dropped_attributes_count: 3,
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: vec![span], ..Default::default() }];
    let expected = vec![ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }];
    assert_eq!(read::<ExportTraceServiceRequest>(Signal::Traces, json).resource_spans, expected);
    // Those of `future` and `trace_state`; what is inside the first has no names of its own.
    assert_eq!(to_protobuf(Signal::Traces, json.as_bytes()).unwrap().1, 2);
}

/// Guarantees: every kind of value is read, in a body as in attributes, the empty ones among them.
#[test]
fn logs_are_read_as_the_specification_says() {
    use any_value::Value::{ArrayValue as Array, BoolValue, BytesValue, DoubleValue, IntValue, KvlistValue};
    let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{
        "timeUnixNano":"1544712660300000000","observedTimeUnixNano":"1544712660300000000","severityNumber":10,
        "traceId":"5B8EFFF798038103D269B633813FC60C","eventName":"x","body":{"stringValue":"Example log record"},
        "attributes":[
            {"key":"bool","value":{"boolValue":true}},
            {"key":"int","value":{"intValue":"-10"}},
            {"key":"double","value":{"doubleValue":637.704}},
            {"key":"array","value":{"arrayValue":{"values":[{"stringValue":"many"},{"intValue":7},{}]}}},
            {"key":"empty array","value":{"arrayValue":{}}},
            {"key":"array of null","value":{"arrayValue":{"values":null}}},
            {"key":"map","value":{"kvlistValue":{"values":[{"key":"some.map.key","value":{"stringValue":"some value"}}]}}},
            {"key":"empty map","value":{"kvlistValue":{}}},
            {"key":"bytes","value":{"bytesValue":"+/8="}},
            {"key":"bytes of the other alphabet","value":{"bytesValue":"-_8"}},
            {"key":"false","value":{"boolValue":false}},
            {"key":"empty","value":{}},
            {"key":"null","value":null},
            {"value":{"stringValue":null}}
        ]}]}]}]}"#;
    let list = |values: Vec<AnyValue>| Some(value(Array(ArrayValue { values })));
    let map = |values: Vec<KeyValue>| Some(value(KvlistValue(KeyValueList { values })));
    let attributes = vec![
        attribute("bool", Some(value(BoolValue(true)))),
        attribute("int", Some(value(IntValue(-10)))),
        attribute("double", Some(value(DoubleValue(637.704)))),
        attribute("array", list(vec![text("many"), value(IntValue(7)), AnyValue::default()])),
        attribute("empty array", list(vec![])),
        attribute("array of null", list(vec![])),
        attribute("map", map(vec![attribute("some.map.key", Some(text("some value")))])),
        attribute("empty map", map(vec![])),
        attribute("bytes", Some(value(BytesValue(vec![0xfb, 0xff])))),
        attribute("bytes of the other alphabet", Some(value(BytesValue(vec![0xfb, 0xff])))),
        attribute("false", Some(value(BoolValue(false)))),
        attribute("empty", Some(AnyValue::default())),
        attribute("null", None),
        attribute("", Some(AnyValue::default())),
    ];
    let record = LogRecord {
        time_unix_nano: 1_544_712_660_300_000_000,
        observed_time_unix_nano: 1_544_712_660_300_000_000,
        severity_number: 10,
        trace_id: vec![0x5b, 0x8e, 0xff, 0xf7, 0x98, 0x03, 0x81, 0x03, 0xd2, 0x69, 0xb6, 0x33, 0x81, 0x3f, 0xc6, 0x0c],
        event_name: "x".to_owned(),
        body: Some(text("Example log record")),
        attributes,
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..Default::default() }];
    let expected = vec![ResourceLogs { scope_logs, ..Default::default() }];
    assert_eq!(read::<ExportLogsServiceRequest>(Signal::Logs, json).resource_logs, expected);
}

/// Guarantees: all five kinds of metrics are read, with numbers of every form that JSON has for them.
#[test]
fn metrics_are_read_as_the_specification_says() {
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"my.counter","unit":"1","description":"I am a Counter",
         "sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{"asDouble":5,"startTimeUnixNano":"1","timeUnixNano":"2"}]}},
        {"name":"my.gauge","gauge":{"dataPoints":[{"asInt":"0"},{"asInt":-3},{"asDouble":"-Infinity"},{"asDouble":0},{"asDouble":"1e3"},{}]}},
        {"name":"my.histogram","histogram":{"aggregationTemporality":1,"dataPoints":[
            {"count":"2","sum":2,"bucketCounts":["1",1],"explicitBounds":[1,"2.5","Infinity"],"min":0,"max":null}]}},
        {"name":"my.exponential","exponentialHistogram":{"dataPoints":[
            {"count":3,"scale":-2,"zeroCount":1,"positive":{"offset":-1,"bucketCounts":["0",2]},"negative":{},"zeroThreshold":0.5}]}},
        {"name":"my.summary","summary":{"dataPoints":[{"count":"4","sum":0,"quantileValues":[{"quantile":0.99,"value":"7"}]}]}},
        {"name":"no data","sum":null}
    ]}]}]}"#;
    let number = |value: Option<Number>| NumberDataPoint { value, ..Default::default() };
    let metric = |name: &str, data: Data| Metric { name: name.to_owned(), data: Some(data), ..Metric::default() };
    let counter = NumberDataPoint { start_time_unix_nano: 1, time_unix_nano: 2, ..number(Some(Number::AsDouble(5.0))) };
    let gauge = [
        Some(Number::AsInt(0)),
        Some(Number::AsInt(-3)),
        Some(Number::AsDouble(f64::NEG_INFINITY)),
        Some(Number::AsDouble(0.0)),
        Some(Number::AsDouble(1000.0)),
        None,
    ];
    let histogram = HistogramDataPoint {
        count: 2,
        sum: Some(2.0),
        bucket_counts: vec![1, 1],
        explicit_bounds: vec![1.0, 2.5, f64::INFINITY],
        min: Some(0.0),
        ..HistogramDataPoint::default()
    };
    let exponential = ExponentialHistogramDataPoint {
        count: 3,
        scale: -2,
        zero_count: 1,
        positive: Some(Buckets { offset: -1, bucket_counts: vec![0, 2] }),
        negative: Some(Buckets::default()),
        zero_threshold: 0.5,
        ..ExponentialHistogramDataPoint::default()
    };
    let quantile_values = vec![ValueAtQuantile { quantile: 0.99, value: 7.0 }];
    let summary = SummaryDataPoint { count: 4, quantile_values, ..SummaryDataPoint::default() };
    let metrics = vec![
        Metric {
            unit: "1".to_owned(),
            description: "I am a Counter".to_owned(),
            ..metric("my.counter", Data::Sum(Sum { data_points: vec![counter], aggregation_temporality: 1, is_monotonic: true }))
        },
        metric("my.gauge", Data::Gauge(Gauge { data_points: gauge.map(number).into() })),
        metric("my.histogram", Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 1 })),
        metric(
            "my.exponential",
            Data::ExponentialHistogram(ExponentialHistogram { data_points: vec![exponential], aggregation_temporality: 0 }),
        ),
        metric("my.summary", Data::Summary(Summary { data_points: vec![summary] })),
        Metric { name: "no data".to_owned(), ..Metric::default() },
    ];
    let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
    let expected = vec![ResourceMetrics { scope_metrics, ..Default::default() }];
    assert_eq!(read::<ExportMetricsServiceRequest>(Signal::Metrics, json).resource_metrics, expected);
}

/// Guarantees: a message of another form is refused, wherever in it that is, and never read as one with less in it.
#[test]
fn other_forms_are_refused() {
    for json in [
        "",
        "[]",
        "null",
        "1",
        r#""resourceSpans""#,
        "{} {}",
        "{",
        r#"{"resourceSpans":{}}"#,
        r#"{"resourceSpans":[null]}"#,
        r#"{"resourceSpans":[[]]}"#,
        r#"{"resourceSpans":[],"resourceSpans":[]}"#,
        r#"{"resourceSpans":null,"resourceSpans":[]}"#,
        r#"{"unknown":[1,}"#,
    ] {
        assert!(is_refused(Signal::Traces, json), "{json}");
    }
    for field in [
        r#""traceId":"5B8"#,
        r#""traceId":"5B8""#,
        r#""traceId":"+/8=""#,
        r#""spanId":12"#,
        r#""kind":"SPAN_KIND_SERVER""#,
        r#""kind":"2""#,
        r#""kind":2147483648"#,
        r#""startTimeUnixNano":"-1""#,
        r#""startTimeUnixNano":1.5"#,
        r#""startTimeUnixNano":"""#,
        r#""flags":4294967296"#,
        r#""name":1"#,
        r#""name":["a"]"#,
        r#""status":"ok""#,
        r#""droppedLinksCount":true"#,
        r#""attributes":{"k":"v"}"#,
    ] {
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{field}}}]}}]}}]}}"#);
        assert!(is_refused(Signal::Traces, &json), "{json}");
    }
    for metric in [
        r#""sum":[]"#,
        r#""sum":{"dataPoints":[{"asInt":"x"}]}"#,
        r#""sum":{"dataPoints":[{"asInt":1,"asDouble":1}]}"#,
        r#""sum":{},"gauge":{}"#,
        r#""sum":{"isMonotonic":"true"}"#,
        r#""histogram":{"dataPoints":[{"bucketCounts":["1",null]}]}"#,
        r#""histogram":{"dataPoints":[{"sum":"inf"}]}"#,
        r#""histogram":{"dataPoints":[{"sum":"nan"}]}"#,
        r#""histogram":{"dataPoints":[{"sum":"1e999"}]}"#,
        r#""histogram":{"dataPoints":[{"sum":" 1"}]}"#,
    ] {
        let json = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{{metric}}}]}}]}}]}}"#);
        assert!(is_refused(Signal::Metrics, &json), "{json}");
    }
}

/// Guarantees: a value is one of its kinds, of that kind's form, and of its range; digits of base64 are complete.
#[test]
fn values_are_held_to_their_kind() {
    use any_value::Value::{BytesValue, DoubleValue, IntValue};
    assert_eq!(read_value(r#"{"intValue":"9223372036854775807"}"#), Some(IntValue(i64::MAX)));
    assert_eq!(read_value(r#"{"intValue":1e3}"#), Some(IntValue(1000)));
    assert_eq!(read_value(r#"{"doubleValue":"Infinity"}"#), Some(DoubleValue(f64::INFINITY)));
    assert!(matches!(read_value(r#"{"doubleValue":"NaN"}"#), Some(DoubleValue(n)) if n.is_nan()));
    assert_eq!(read_value(r#"{"doubleValue":"2.5"}"#), Some(DoubleValue(2.5)));
    assert_eq!(read_value(r#"{"stringValue":null,"intValue":1}"#), Some(IntValue(1)));
    // The vectors of RFC 4648, with and without their padding.
    for (plain, padded) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        for digits in [padded, padded.trim_end_matches('=')] {
            assert_eq!(read_value(&format!(r#"{{"bytesValue":"{digits}"}}"#)), Some(BytesValue(plain.into())), "{digits}");
        }
    }
    for json in [
        r#"{"stringValue":"a","intValue":1}"#,
        r#"{"stringValue":"a","stringValue":"b"}"#,
        r#"{"intValue":"9223372036854775808"}"#,
        r#"{"intValue":9007199254740993.5}"#,
        r#"{"intValue":true}"#,
        r#"{"boolValue":1}"#,
        r#"{"stringValue":{}}"#,
        r#"{"arrayValue":[]}"#,
        r#"{"arrayValue":{"values":[null]}}"#,
        r#"{"kvlistValue":{"values":[{"key":1}]}}"#,
        r#"{"bytesValue":"Z"}"#,
        r#"{"bytesValue":"Zg="}"#,
        r#"{"bytesValue":"Zm9v===="}"#,
        r#"{"bytesValue":"Zg==Zg=="}"#,
        r#"{"bytesValue":"Z g="}"#,
        r#""a""#,
        "[]",
    ] {
        assert!(value_is_refused(json), "{json}");
    }
}

/// Guarantees: nothing is deeper than the parser allows, and the stack holds what it does.
#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(levels), "]}}".repeat(levels));
    assert!(read_value(&nested(20)).is_some());
    assert!(value_is_refused(&nested(100)));
    assert!(is_refused(Signal::Traces, &format!(r#"{{"x":{}"#, "[".repeat(1 << 20))));
}

/// Guarantees: the descriptors are read, and every field that they have is of a kind that can be written.
#[test]
fn every_field_has_a_form() {
    let schema = Schema::of_otlp();
    let mut open: Vec<&Fields> =
        [Signal::Traces, Signal::Logs, Signal::Metrics].map(|signal| schema.request(signal).unwrap()).into();
    let mut seen = std::collections::BTreeSet::new();
    while let Some(fields) = open.pop() {
        for (name, field) in fields {
            match &field.kind {
                Kind::Message(inner) => {
                    if seen.insert(inner) {
                        open.push(schema.fields(inner).unwrap());
                    }
                }
                Kind::Hex => assert!(name.ends_with("raceId") || name.ends_with("panId"), "{name}"),
                Kind::Scalar(of) => {
                    let value = match of {
                        Type::String | Type::Bytes => Scalar::Text("Zm9v".to_owned()),
                        Type::Bool => Scalar::Bool(true),
                        _ => Scalar::Whole(1),
                    };
                    assert!(field.kind.encode(value).is_some(), "{name}");
                }
            }
        }
    }
    // Those of opentelemetry-proto 1.10 that an export request can have in it, the three requests not counted.
    assert!(seen.len() >= 27, "{seen:?}");
}
