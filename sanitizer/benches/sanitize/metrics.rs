//! What sanitizing metrics costs, per data point, for one shape of each kind of data but the summary, and for a long row of counts.

use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use contract::{RequestStatus, Route, Transport, attr};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, exemplar, number_data_point,
};
use prost::Message as _;
use sanitizer::fast::{self, Fast};
use sanitizer::times::Times;
use sanitizer::{Policy, reference};

use crate::engines::Engine;
use crate::shapes::{ADMITTED_MS, text};
use crate::{ROUNDS, as_f64, best};

/// Points in a message.
const POINTS: u64 = 512;
/// Counts in a long row, each of one byte.
const LONG_ROW: usize = 4 << 20;
const TIME_UNIX_NS: u64 = ADMITTED_MS * 1_000_000;

static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(Policy::contract);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ADMITTED_MS + 60_000)
}

/// The fast sanitizer; the reference; decoding and encoding alone; copying the bytes.
const ENGINES: [Engine; 4] = [
    ("fast", |message| fast(message).0.len()),
    ("reference", |message| slow(message).0.len()),
    ("prost", |message| ExportMetricsServiceRequest::decode(&message[..]).unwrap().encode_to_vec().len()),
    ("copy", |message| black_box(message.to_vec()).len()),
];

fn fast(message: &Bytes) -> (Bytes, sanitizer::Report) {
    match fast::metrics(&POLICY, Times::until(now()), message).unwrap() {
        Fast::Clean(report) => (message.clone(), report),
        Fast::Rewritten(output, report) => (output, report),
        Fast::Slow => panic!("a message of the benchmark is unusual"),
    }
}

fn slow(message: &Bytes) -> (Vec<u8>, sanitizer::Report) {
    reference::protobuf::<ExportMetricsServiceRequest>(&POLICY, now(), message).unwrap()
}

/// A shape of points, and a metric of such points, each with these attributes besides its own.
type Shape = (&'static str, fn(&[KeyValue]) -> Metric);

const SHAPES: [Shape; 3] = [("counter", counter), ("histogram", histogram), ("exponential", exponential)];

fn attributes(number: u64) -> Vec<KeyValue> {
    let at = usize::try_from(number).unwrap();
    vec![
        text(attr::POOL_SLUG, &format!("core-agents-{}", number % 7)),
        text(attr::REQUEST_MODEL, ["gpt-5.4", "gpt-5.4-mini", "gpt-5.1-codex-max"][at / 2 % 3]),
        text(attr::REQUEST_OUTCOME, ["good", "neutral"][at % 2]),
        text(attr::REQUEST_TRANSPORT, Transport::TEXTS[at % Transport::TEXTS.len()]),
    ]
}

fn metric(name: &str, data: Data) -> Metric {
    let rule = contract::otlp_metric(name).unwrap();
    Metric {
        name: name.to_owned(),
        description: rule.description.to_owned(),
        unit: rule.unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// Seven attributes and a number.
fn counter(more: &[KeyValue]) -> Metric {
    let points = (0..POINTS).map(|number| {
        let at = usize::try_from(number).unwrap();
        let mut attributes = attributes(number);
        attributes.push(text(attr::REQUEST_STATUS, RequestStatus::TEXTS[at % RequestStatus::TEXTS.len()]));
        attributes.push(text(attr::HTTP_ROUTE, Route::TEXTS[at % Route::TEXTS.len()]));
        attributes.push(text(attr::ERROR_CODE, contract::ABSENT));
        attributes.extend_from_slice(more);
        let value = Some(number_data_point::Value::AsInt(i64::try_from(number).unwrap()));
        NumberDataPoint {
            attributes,
            start_time_unix_nano: TIME_UNIX_NS - 1_000,
            time_unix_nano: TIME_UNIX_NS,
            value,
            ..NumberDataPoint::default()
        }
    });
    metric(
        "codex_pooler.requests",
        Data::Sum(Sum { data_points: points.collect(), aggregation_temporality: 2, is_monotonic: true }),
    )
}

fn example(number: u64) -> Vec<Exemplar> {
    vec![Exemplar {
        time_unix_nano: TIME_UNIX_NS,
        trace_id: (u128::from(number) + 1).to_be_bytes().to_vec(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        value: Some(exemplar::Value::AsDouble(0.5)),
        ..Exemplar::default()
    }]
}

/// Four attributes, 17 buckets, an exemplar.
fn histogram(more: &[KeyValue]) -> Metric {
    let points = (0..POINTS).map(|number| HistogramDataPoint {
        attributes: attributes(number).into_iter().chain(more.to_vec()).collect(),
        start_time_unix_nano: TIME_UNIX_NS - 1_000,
        time_unix_nano: TIME_UNIX_NS,
        count: 17 * number,
        sum: Some(31.5),
        bucket_counts: vec![number; 17],
        explicit_bounds: (0..16_u32).map(f64::from).collect(),
        exemplars: example(number),
        min: Some(0.1),
        max: Some(20.5),
        ..HistogramDataPoint::default()
    });
    metric(
        "codex_pooler.request.duration",
        Data::Histogram(Histogram { data_points: points.collect(), aggregation_temporality: 2 }),
    )
}

/// Four attributes, 160 buckets, as many as SDKs make by default.
fn exponential(more: &[KeyValue]) -> Metric {
    let points = (0..POINTS).map(|number| ExponentialHistogramDataPoint {
        attributes: attributes(number).into_iter().chain(more.to_vec()).collect(),
        start_time_unix_nano: TIME_UNIX_NS - 1_000,
        time_unix_nano: TIME_UNIX_NS,
        count: 160 * number,
        sum: Some(31.5),
        scale: 3,
        positive: Some(Buckets { offset: -20, bucket_counts: vec![number; 160] }),
        ..ExponentialHistogramDataPoint::default()
    });
    metric("codex_pooler.request.duration", exponential_data(points.collect()))
}

fn exponential_data(data_points: Vec<ExponentialHistogramDataPoint>) -> Data {
    Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality: 2 })
}

fn message(metric: Metric) -> Bytes {
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec().into()
}

/// Holds that the fast sanitizer is the reference, and that so many points stay and so many fields go.
fn verify(message: &Bytes, points: u64, stripped: u64) {
    let ((output, report), (expected, expected_report)) = (fast(message), slow(message));
    let decoded = |bytes: &[u8]| ExportMetricsServiceRequest::decode(bytes).unwrap();
    assert!(decoded(&output) == decoded(&expected), "the fast sanitizer means something else");
    assert_eq!(report, expected_report);
    assert_eq!((report.accepted_records, report.stripped_total()), (points, stripped));
}

/// Prints nanoseconds a point, and for the long row nanoseconds a count.
pub fn measure(once: bool) {
    println!("\nmetrics, ns a point in messages of {POINTS}, best of {ROUNDS} rounds; allocations a message");
    println!(
        "{:<12} {:<6} {:>7} {:>8} {:>9} {:>8} {:>7} {:>6} {:>8} {:>7} {:>7}",
        "shape", "dirty", "B/point", "fast", "reference", "prost", "copy", "GB/s", "ref/fast", "allocs", "ref"
    );
    for (name, shape) in SHAPES {
        for (dirty, more) in [("none", Vec::new()), ("all", vec![text("app.internal.debug.field", "x")])] {
            let stripped = if more.is_empty() { 0 } else { POINTS };
            let message = message(shape(&more));
            verify(&message, POINTS, stripped);
            line(name, dirty, &message, POINTS, once);
        }
    }
    let buckets = Buckets { offset: 0, bucket_counts: vec![0; LONG_ROW] };
    let point = ExponentialHistogramDataPoint {
        time_unix_nano: TIME_UNIX_NS,
        positive: Some(buckets),
        ..ExponentialHistogramDataPoint::default()
    };
    let row = message(metric("codex_pooler.request.duration", exponential_data(vec![point])));
    verify(&row, 0, 0);
    line("a long row", "all", &row, LONG_ROW as u64, once);
}

fn line(name: &str, dirty: &str, message: &Bytes, parts: u64, once: bool) {
    let allocations = |engine: Engine| allocation_counter::measure(|| _ = black_box((engine.1)(message))).count_total;
    let allocations = [allocations(ENGINES[0]), allocations(ENGINES[1])];
    let bytes = as_f64(message.len());
    let parts = as_f64(usize::try_from(parts).unwrap());
    let [fast, reference, prost, copy] = best(std::slice::from_ref(message), &ENGINES, once).map(|ns| ns / parts);
    println!(
        "{name:<12} {dirty:<6} {:>7.0} {fast:>8.1} {reference:>9.1} {prost:>8.1} {copy:>7.2} {:>6.2} {:>8.1} {:>7} {:>7}",
        bytes / parts,
        bytes / parts / fast,
        reference / fast,
        allocations[0],
        allocations[1],
    );
}
