//! Metrics: the fast sanitizer against the reference, and what it leaves to it.

use contract::attr;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
};
use wire::otlp::{
    buckets, exponential_histogram_data_point as exponential, export_metrics_service_request, gauge, histogram, metric,
    number_data_point, resource_metrics, scope_metrics,
};

use super::generate::{NOW_NS, attribute};
use super::*;

const GAUGE: &str = "codex_pooler.requests_in_flight";
const COUNTER: &str = "codex_pooler.requests";
const HISTOGRAM: &str = "codex_pooler.request.duration";

fn compare_metrics(policy: &Policy, message: &[u8]) -> Result<Said, TestCaseError> {
    compare_as::<ExportMetricsServiceRequest>(policy, message, &export_metrics_service_request::MESSAGE, |_| Ok(()))
}

fn said(message: &[u8]) -> Said {
    compare_metrics(&Policy::contract(), message).unwrap()
}

proptest! {
    #![proptest_config(at_least(3_000))]

    /// Guarantees: by any policy the fast sanitizer does with metrics what the reference does, and does it itself.
    #[test]
    fn agrees_on_metrics(request in records::metrics(), which in any::<prop::sample::Index>()) {
        let said = compare_metrics(which.get(&POLICIES), &request.encode_to_vec())?;
        prop_assert!(matches!(said, Said::Clean | Said::Rewritten), "{said:?}");
    }
}

/// Guarantees: it does so on metrics with fields that are repeated, moved, unknown, padded, in groups or of another type, and with lists in
/// several pieces.
#[test]
fn agrees_on_metrics_that_were_taken_apart() {
    let given = (records::metrics(), any::<u64>(), 4..200_u64);
    says_all(&given, &[Said::Clean, Said::Rewritten, Said::Slow, Said::Refused], |(request, seed, one_in)| {
        let of_type = &export_metrics_service_request::MESSAGE;
        compare_metrics(&Policy::contract(), &apart::fields_of(&request.encode_to_vec(), of_type, seed, one_in))
    });
}

/// Guarantees: it does so on metrics with damaged bytes.
#[test]
fn agrees_on_metrics_with_damaged_bytes() {
    let given = (records::metrics(), damage::bytes());
    says_all(&given, &[Said::Rewritten, Said::Refused], |(request, damage)| {
        let mut message = request.encode_to_vec();
        damage::apply(&damage, &mut message);
        compare_metrics(&Policy::contract(), &message)
    });
}

fn request(metric: Metric) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }] }
}

/// A message of a metric with this name and these bytes after it.
fn around(name: &str, rest: &[u8]) -> Vec<u8> {
    let wrap = |number, content: &[u8]| {
        let mut out = Vec::new();
        write::bytes_field(&mut out, number, content);
        out
    };
    let metric = [wrap(metric::NAME, name.as_bytes()), rest.to_vec()].concat();
    let scope = wrap(scope_metrics::METRICS, &metric);
    wrap(export_metrics_service_request::RESOURCE_METRICS, &wrap(resource_metrics::SCOPE_METRICS, &scope))
}

/// A message of one point of these bytes, which is in data of this kind.
fn around_point(name: &str, data: u32, point: &[u8]) -> Vec<u8> {
    let (mut points, mut rest) = (Vec::new(), Vec::new());
    write::bytes_field(&mut points, histogram::DATA_POINTS, point);
    write::bytes_field(&mut rest, data, &points);
    around(name, &rest)
}

fn attributes() -> Vec<KeyValue> {
    vec![attribute(attr::POOL_SLUG, "core-agents")]
}

fn exemplar() -> Exemplar {
    let value = Some(exemplar::Value::AsDouble(0.0));
    Exemplar { time_unix_nano: NOW_NS, trace_id: vec![1; 16], span_id: vec![2; 8], value, ..Exemplar::default() }
}

fn number_point() -> NumberDataPoint {
    let (attributes, exemplars, value) = (attributes(), vec![exemplar()], Some(Value::AsInt(0)));
    NumberDataPoint { attributes, time_unix_nano: NOW_NS, exemplars, flags: 0, value, ..NumberDataPoint::default() }
}

fn histogram_point() -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: NOW_NS - 5,
        time_unix_nano: NOW_NS,
        count: 6,
        sum: Some(0.0),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 2.5],
        exemplars: vec![exemplar()],
        min: Some(0.25),
        max: Some(7.5),
        ..HistogramDataPoint::default()
    }
}

fn exponential_point() -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        attributes: attributes(),
        time_unix_nano: NOW_NS,
        count: 306,
        sum: Some(7.5),
        scale: -3,
        zero_count: 3,
        positive: Some(Buckets { offset: -7, bucket_counts: vec![0, 1, 300] }),
        negative: Some(Buckets { offset: 0, bucket_counts: vec![2] }),
        exemplars: vec![exemplar()],
        zero_threshold: 0.5,
        ..ExponentialHistogramDataPoint::default()
    }
}

fn summary_point() -> SummaryDataPoint {
    let quantile_values = vec![ValueAtQuantile { quantile: 0.0, value: 0.0 }, ValueAtQuantile { quantile: 0.9, value: 2.0 }];
    SummaryDataPoint {
        attributes: attributes(),
        time_unix_nano: NOW_NS,
        count: 2,
        sum: 2.0,
        quantile_values,
        ..SummaryDataPoint::default()
    }
}

/// A clean metric of each kind of data.
fn clean() -> [Metric; 5] {
    let metric = |name: &str, data| {
        let rule = contract::otlp_metric(name).expect("a metric of the contract");
        let (description, unit) = (rule.description.to_owned(), rule.unit.to_owned());
        Metric { name: name.to_owned(), description, unit, data: Some(data), ..Metric::default() }
    };
    let two = |one: NumberDataPoint| vec![one.clone(), NumberDataPoint { value: None, flags: 1, ..one }];
    [
        metric(GAUGE, Data::Gauge(Gauge { data_points: two(number_point()) })),
        metric(COUNTER, Data::Sum(Sum { data_points: two(number_point()), aggregation_temporality: 2, is_monotonic: true })),
        metric(HISTOGRAM, Data::Histogram(Histogram { data_points: vec![histogram_point(); 2], aggregation_temporality: 1 })),
        metric(
            HISTOGRAM,
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![exponential_point(); 2],
                aggregation_temporality: 2,
            }),
        ),
        metric(HISTOGRAM, Data::Summary(Summary { data_points: vec![summary_point(); 2] })),
    ]
}

/// Guarantees: clean metrics of all kinds go on as the very bytes that came; with anything in them that goes, they do not.
#[test]
fn clean_metrics_are_not_touched() {
    for metric in clean() {
        let changed = |change: fn(&mut Metric)| {
            let mut metric = metric.clone();
            change(&mut metric);
            request(metric).encode_to_vec()
        };
        assert_eq!(said(&changed(|_| ())), Said::Clean, "{metric:?}");
        for dirty in [
            changed(|metric| metric.description.push('!')),
            changed(|metric| metric.unit = "ms".to_owned()),
            changed(|metric| metric.metadata = attributes()),
            changed(|metric| metric.name.push('s')),
            changed(|metric| metric.data = None),
        ] {
            assert_eq!(said(&dirty), Said::Rewritten, "{metric:?}");
        }
    }
}

/// Guarantees: a list of numbers that comes number by number, or in rows, comes out in one row; both lists of a histogram and the buckets of
/// an exponential one, wherever their pieces stand.
#[test]
fn lists_come_out_in_one_piece() {
    let point = histogram_point();
    let mut pieces = Vec::new();
    for (count, bound) in point.bucket_counts.iter().zip(point.explicit_bounds.iter().map(Some).chain([None])) {
        write::fixed64_field(&mut pieces, wire::otlp::histogram_data_point::BUCKET_COUNTS, *count);
        if let Some(bound) = bound {
            write::bytes_field(&mut pieces, wire::otlp::histogram_data_point::EXPLICIT_BOUNDS, &bound.to_le_bytes());
        }
    }
    let rest = HistogramDataPoint { bucket_counts: Vec::new(), explicit_bounds: Vec::new(), ..point.clone() };
    let message = around_point(HISTOGRAM, metric::HISTOGRAM, &[pieces, rest.encode_to_vec()].concat());
    assert_eq!(said(&message), Said::Rewritten);
    assert_eq!(only_point(&message), Some(Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 0 })));

    let point = exponential_point();
    let mut side = Vec::new();
    write::varint_field(&mut side, buckets::BUCKET_COUNTS, 0);
    write::bytes_field(&mut side, buckets::BUCKET_COUNTS, b"\x01\xac\x02");
    // The offset of -7 as the encoding writes it: 2 * 7 - 1.
    write::varint_field(&mut side, buckets::OFFSET, 13);
    let mut pieces = ExponentialHistogramDataPoint { positive: None, ..point.clone() }.encode_to_vec();
    write::bytes_field(&mut pieces, exponential::POSITIVE, &side);
    let message = around_point(HISTOGRAM, metric::EXPONENTIAL_HISTOGRAM, &pieces);
    assert_eq!(said(&message), Said::Rewritten);
    let expected = ExponentialHistogram { data_points: vec![point], aggregation_temporality: 0 };
    assert_eq!(only_point(&message), Some(Data::ExponentialHistogram(expected)));
}

/// The data that is left of a message with one metric.
fn only_point(message: &[u8]) -> Option<Data> {
    let policy = Policy::contract();
    let Ok(Fast::Rewritten(output, report)) = super::super::metrics(&policy, Times::until(now()), message) else { return None };
    assert_eq!((report.accepted_records, report.stripped_total()), (1, 0));
    let request = ExportMetricsServiceRequest::decode(output).ok()?;
    request.resource_metrics.into_iter().next()?.scope_metrics.into_iter().next()?.metrics.into_iter().next()?.data
}

/// Guarantees: what a decoder merges, overwrites or cuts short is left to the reference, so that nothing can hide in it.
#[test]
fn odd_metrics_are_left_to_the_reference() {
    let point = number_point().encode_to_vec();
    let with = |more: &[u8]| around_point(GAUGE, metric::GAUGE, &[&point[..], more].concat());
    let exponential = |more: &[u8]| {
        let point = ExponentialHistogramDataPoint { scale: 0, positive: None, count: 5, ..exponential_point() };
        around_point(HISTOGRAM, metric::EXPONENTIAL_HISTOGRAM, &[&point.encode_to_vec()[..], more].concat())
    };
    let mut points = Vec::new();
    write::bytes_field(&mut points, gauge::DATA_POINTS, &point);
    let mut data = Vec::new();
    write::bytes_field(&mut data, metric::GAUGE, &points);
    let sum = |more: &[u8]| {
        let mut sum = Vec::new();
        write::bytes_field(&mut sum, metric::SUM, &[&points[..], more].concat());
        around(COUNTER, &sum)
    };
    assert_eq!(said(&with(b"")), Said::Clean);
    assert_eq!(said(&exponential(b"")), Said::Clean);
    assert_eq!(said(&sum(b"\x18\x01")), Said::Clean);
    for (what, message) in [
        ("a time twice", with(&[&b"\x19"[..], &NOW_NS.to_le_bytes()].concat())),
        ("a value of each type", with(b"\x21\0\0\0\0\0\0\0\0")),
        ("flags beyond 32 bits", with(b"\x40\x80\x80\x80\x80\x10")),
        ("an exemplar with two values", with(b"\x2a\x12\x19\0\0\0\0\0\0\0\0\x31\0\0\0\0\0\0\0\0")),
        ("a scale beyond 32 bits", exponential(b"\x30\x80\x80\x80\x80\x10")),
        ("one side twice", exponential(b"\x4a\x00")),
        ("a padded count in a row", exponential(b"\x42\x04\x12\x02\x80\x00")),
        ("data twice", around(GAUGE, &data.repeat(2))),
        ("a name twice", around(GAUGE, &[&b"\x0a\x00"[..], &data].concat())),
        ("a truth beyond 1", sum(b"\x18\x02")),
        ("a temporality beyond 32 bits", sum(b"\x18\x01\x10\x80\x80\x80\x80\x10")),
        ("a group", with(b"\xa3\x06\xa4\x06")),
    ] {
        assert!(ExportMetricsServiceRequest::decode(&message[..]).is_ok(), "{what}");
        assert_eq!(said(&message), Said::Slow, "{what}");
    }
}

/// Guarantees: what no decoder accepts is refused, also in a point and in a metric that go.
#[test]
fn malformed_metrics_are_refused() {
    let point = number_point().encode_to_vec();
    for (what, message) in [
        ("a row that ends inside a number", around_point(HISTOGRAM, metric::HISTOGRAM, b"\x32\x09\0\0\0\0\0\0\0\0\0")),
        ("a row that ends inside a varint", around_point(HISTOGRAM, metric::EXPONENTIAL_HISTOGRAM, b"\x42\x04\x12\x02\x00\x80")),
        ("a list of another type", around_point(HISTOGRAM, metric::HISTOGRAM, b"\x30\x01")),
        ("a row of four bytes each", around_point(HISTOGRAM, metric::EXPONENTIAL_HISTOGRAM, b"\x42\x05\x15\0\0\0\0")),
        ("a key that is no text, in a point without time", around_point(GAUGE, metric::GAUGE, b"\x3a\x03\x0a\x01\xff")),
        ("a unit that is no text, of an unknown metric", around("unknown", b"\x1a\x01\xff")),
        ("a point that is none, of an unknown metric", around_point("unknown", metric::GAUGE, b"\x19\0")),
        ("a point that is cut off", around_point(GAUGE, metric::GAUGE, &point[..point.len() - 1])),
    ] {
        assert_eq!(said(&message), Said::Refused, "{what}");
    }
}

/// Whether the one point of this data stays; the reference says the same.
fn stays(name: &str, data: Data) -> bool {
    let message = request(Metric { name: name.to_owned(), data: Some(data), ..Metric::default() }).encode_to_vec();
    assert_ne!(said(&message), Said::Slow);
    match super::super::metrics(&Policy::contract(), Times::until(now()), &message).unwrap() {
        Fast::Clean(report) | Fast::Rewritten(_, report) => report.accepted_records == 1,
        Fast::Slow => false,
    }
}

/// Largest number of a point, by the contract, and the next one.
const MAX: u64 = 1_000_000_000_000_000;
const BEYOND: f64 = 1_000_000_000_000_001.0;

/// Guarantees: each rule for a point of one number lets through what is on its edge, and nothing beyond.
#[test]
fn numbers_have_edges() {
    let stays = |change: &dyn Fn(&mut NumberDataPoint)| {
        let mut point = number_point();
        change(&mut point);
        stays(GAUGE, Data::Gauge(Gauge { data_points: vec![point] }))
    };
    let int = |value| stays(&|point| point.value = Some(Value::AsInt(value)));
    let double = |value| stays(&|point| point.value = Some(Value::AsDouble(value)));
    assert_eq!([int(0), int(-1), int(1_000_000_000_000_000), int(1_000_000_000_000_001)], [true, false, true, false]);
    assert_eq!([double(0.0), double(-0.5), double(1e15), double(BEYOND), double(f64::NAN)], [true, false, true, false, false]);
    let none = |flags| stays(&|point| (point.value, point.flags) = (None, flags));
    assert_eq!([none(0), none(1), none(2), none(3)], [false, true, false, true]);
    let times = |start, time| stays(&|point| (point.start_time_unix_nano, point.time_unix_nano) = (start, time));
    assert_eq!([times(0, NOW_NS), times(NOW_NS, NOW_NS), times(NOW_NS + 1, NOW_NS)], [true, true, false]);
    assert_eq!([times(0, 0), times(1, NOW_NS), times(0, u64::MAX)], [false, false, false]);
}

/// Guarantees: the same for the buckets of a histogram.
#[test]
fn histograms_have_edges() {
    let stays = |count, counts: &[u64], bounds: &[f64]| {
        let (bucket_counts, explicit_bounds) = (counts.to_vec(), bounds.to_vec());
        let point = HistogramDataPoint { count, bucket_counts, explicit_bounds, ..histogram_point() };
        stays(HISTOGRAM, Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 2 }))
    };
    for bounds in [[0.5, 0.5], [2.5, 0.5], [-1.0, 0.5], [0.5, f64::NAN], [f64::NAN, 0.5], [0.5, BEYOND]] {
        assert!(!stays(6, &[1, 2, 3], &bounds), "{bounds:?}");
    }
    assert!(stays(6, &[1, 2, 3], &[0.0, 1e15]));
    assert!(stays(6, &[], &[]) && stays(6, &[6], &[]) && stays(MAX, &[], &[]));
    for (count, counts) in
        [(5, &[1, 2, 3][..]), (7, &[1, 2, 3]), (3, &[1, 2]), (6, &[1, 2, 3, 0]), (0, &[]), (1, &[u64::MAX, 1, 1])]
    {
        assert!(!stays(count, counts, &[0.5, 2.5]), "{count} {counts:?}");
    }
    assert!(!stays(MAX + 1, &[], &[]) && !stays(MAX + 1, &[MAX, 1], &[1.0]));
}

/// Guarantees: the same for an exponential histogram.
#[test]
fn exponential_histograms_have_edges() {
    let stays = |change: &dyn Fn(&mut ExponentialHistogramDataPoint)| {
        let mut point = exponential_point();
        change(&mut point);
        let data = ExponentialHistogram { data_points: vec![point], aggregation_temporality: 2 };
        stays(HISTOGRAM, Data::ExponentialHistogram(data))
    };
    let scale = |scale| stays(&|point| point.scale = scale);
    assert_eq!([scale(-10), scale(-11), scale(20), scale(21)], [true, false, true, false]);
    // Where the scale of 20 puts the smallest number: 1,074 halvings, each in 2^20 buckets.
    let offset = |offset| stays(&|point| point.positive = Some(Buckets { offset, bucket_counts: vec![301] }));
    let furthest = 1_074 * 1_048_576;
    assert_eq!([offset(furthest), offset(furthest + 1), offset(-furthest), offset(-furthest - 1)], [true, false, true, false]);
    let buckets = |number: u64| {
        stays(&|point| {
            let empty = vec![0; usize::try_from(number).unwrap()];
            (point.count, point.negative) = (304, Some(Buckets { offset: 0, bucket_counts: empty }));
        })
    };
    assert_eq!([buckets(320), buckets(321)], [true, false]);
    let threshold = |threshold| stays(&|point| point.zero_threshold = threshold);
    assert_eq!([threshold(0.0), threshold(-0.5), threshold(1e15), threshold(f64::NAN)], [true, false, true, false]);
    assert!(
        !stays(&|point| point.count += 1) && !stays(&|point| point.zero_count -= 1) && !stays(&|point| point.negative = None)
    );
    // A sum that is more than any number, and would be right without its upper bits.
    assert!(!stays(&|point| (point.zero_count, point.count) = (u64::MAX, 302)));
}

/// Guarantees: the same for a summary.
#[test]
fn summaries_have_edges() {
    let stays = |change: &dyn Fn(&mut SummaryDataPoint)| {
        let mut point = summary_point();
        change(&mut point);
        stays(HISTOGRAM, Data::Summary(Summary { data_points: vec![point] }))
    };
    let quantile = |quantile, value| stays(&|point| point.quantile_values[0] = ValueAtQuantile { quantile, value });
    assert_eq!([quantile(0.0, 0.0), quantile(1.0, 1e15), quantile(1.1, 0.0), quantile(-0.1, 0.0)], [true, true, false, false]);
    assert_eq!([quantile(f64::NAN, 0.0), quantile(0.5, -0.5), quantile(0.5, BEYOND)], [false, false, false]);
    let quantiles = |number| stays(&|point| point.quantile_values = vec![ValueAtQuantile::default(); number]);
    assert_eq!([quantiles(0), quantiles(32), quantiles(33)], [true, true, false]);
    let numbers = |count, sum| stays(&|point| (point.count, point.sum) = (count, sum));
    assert_eq!([numbers(MAX, 0.0), numbers(MAX + 1, 0.0), numbers(0, -0.5), numbers(0, f64::NAN)], [true, false, false, false]);
}

/// Guarantees: at the limits of the contract and of SDKs nothing has to be left to the reference; beyond the limit of attributes it has.
#[test]
fn limits_of_points_hold() {
    let histogram = |point: HistogramDataPoint| {
        let data = Histogram { data_points: vec![point], aggregation_temporality: 2 };
        said(
            &request(Metric { name: HISTOGRAM.to_owned(), data: Some(Data::Histogram(data)), ..Metric::default() })
                .encode_to_vec(),
        )
    };
    let bounds = |number: u32| HistogramDataPoint {
        explicit_bounds: (0..number).map(f64::from).collect(),
        bucket_counts: vec![1; number as usize + 1],
        count: u64::from(number) + 1,
        ..histogram_point()
    };
    assert_eq!((histogram(bounds(256)), histogram(bounds(257))), (Said::Clean, Said::Rewritten));
    let exemplars = |number| HistogramDataPoint { exemplars: vec![exemplar(); number], ..histogram_point() };
    assert_eq!((histogram(exemplars(257)), histogram(exemplars(258))), (Said::Clean, Said::Rewritten));
    let attributes = |number| HistogramDataPoint { attributes: vec![attribute("unknown", "x"); number], ..histogram_point() };
    assert_eq!(histogram(attributes(super::super::MAX_ATTRIBUTES)), Said::Rewritten);
    assert_eq!(histogram(attributes(super::super::MAX_ATTRIBUTES + 1)), Said::Slow);
    let point = SummaryDataPoint { quantile_values: vec![ValueAtQuantile::default(); 33], ..summary_point() };
    let message = around_point(HISTOGRAM, metric::SUMMARY, &point.encode_to_vec());
    assert_eq!(said(&message), Said::Rewritten);
}

/// Guarantees: a row of millions of counts, which would take eight times its size when it is decoded, is not left to the reference.
#[test]
fn a_long_row_is_not_decoded() {
    let (mut side, mut point) = (Vec::new(), Vec::new());
    write::bytes_field(&mut side, buckets::BUCKET_COUNTS, &vec![0; 4 << 20]);
    write::fixed64_field(&mut point, number_data_point::TIME_UNIX_NANO, NOW_NS);
    write::bytes_field(&mut point, exponential::POSITIVE, &side);
    let message = around_point(HISTOGRAM, metric::EXPONENTIAL_HISTOGRAM, &point);
    assert_eq!(said(&message), Said::Rewritten);
}
