//! What is lost of logs and metrics, and for which reason. That nothing forbidden gets through is the canary's business.

use std::time::{Duration, UNIX_EPOCH};

use contract::{DropReason, Place, StripReason, attr};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
};

use crate::times::Times;
use crate::{Policy, Report};

/// 2026-08-24 06:00:00 UTC.
const NOW_NS: u64 = 1_787_551_200_000_000_000;
const GAUGE: &str = "codex_pooler.requests_in_flight";
const COUNTER: &str = "codex_pooler.requests";
const HISTOGRAM: &str = "gen_ai.client.inference.duration";

/// Of a message that arrives then.
fn times() -> Times {
    Times::until(UNIX_EPOCH + Duration::from_nanos(NOW_NS))
}

fn metrics(request: ExportMetricsServiceRequest) -> (ExportMetricsServiceRequest, Report) {
    super::metrics(&Policy::contract(), times(), request)
}

fn logs(request: ExportLogsServiceRequest) -> (ExportLogsServiceRequest, Report) {
    super::logs(&Policy::contract(), times(), request)
}

fn empty_report() -> Report {
    Report::under(&Policy::contract())
}

/// What is left of a metric, and the report.
fn metric(name: &str, data: impl Into<Option<Data>>) -> (Option<Metric>, Report) {
    let metric = Metric { name: name.to_owned(), data: data.into(), ..Metric::default() };
    sanitized(metric)
}

fn sanitized(metric: Metric) -> (Option<Metric>, Report) {
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    let (mut request, report) = metrics(ExportMetricsServiceRequest { resource_metrics });
    assert_eq!(report.parsed_records, report.accepted_records + report.dropped_total());
    let left = request.resource_metrics.pop().and_then(|mut r| r.scope_metrics.pop()).and_then(|mut s| s.metrics.pop());
    (left, report)
}

fn number() -> NumberDataPoint {
    NumberDataPoint { time_unix_nano: NOW_NS, value: Some(Value::AsInt(4)), ..NumberDataPoint::default() }
}

fn gauge(point: NumberDataPoint) -> Data {
    Data::Gauge(Gauge { data_points: vec![point] })
}

fn histogram(change: impl Fn(&mut HistogramDataPoint)) -> Data {
    let mut point = HistogramDataPoint {
        start_time_unix_nano: NOW_NS - 1,
        time_unix_nano: NOW_NS,
        count: 6,
        sum: Some(12.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 5.0],
        ..HistogramDataPoint::default()
    };
    change(&mut point);
    Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 2 })
}

fn exponential(change: impl Fn(&mut ExponentialHistogramDataPoint)) -> Data {
    let mut point = ExponentialHistogramDataPoint {
        time_unix_nano: NOW_NS,
        count: 6,
        scale: 20,
        zero_count: 1,
        positive: Some(Buckets { offset: 1_074 << 20, bucket_counts: vec![2, 3] }),
        ..ExponentialHistogramDataPoint::default()
    };
    change(&mut point);
    Data::ExponentialHistogram(ExponentialHistogram { data_points: vec![point], aggregation_temporality: 1 })
}

fn summary(quantile: f64, value: f64) -> Data {
    let quantile_values = vec![ValueAtQuantile { quantile, value }];
    let point = SummaryDataPoint { time_unix_nano: NOW_NS, count: 1, sum: 2.0, quantile_values, ..SummaryDataPoint::default() };
    Data::Summary(Summary { data_points: vec![point] })
}

/// Guarantees: a data point whose numbers contradict each other, or cannot be, is dropped for that reason; the one beside it is not.
#[test]
fn numbers_that_cannot_be_are_dropped() {
    let bounds = |count: usize| (0..count).map(|n| f64::from(u16::try_from(n).unwrap())).collect::<Vec<_>>();
    for (name, data, accepted) in [
        (GAUGE, gauge(number()), true),
        (GAUGE, gauge(NumberDataPoint { value: Some(Value::AsInt(-1)), ..number() }), false),
        (GAUGE, gauge(NumberDataPoint { value: Some(Value::AsInt(i64::MAX)), ..number() }), false),
        (GAUGE, gauge(NumberDataPoint { value: Some(Value::AsDouble(f64::NAN)), ..number() }), false),
        (GAUGE, gauge(NumberDataPoint { value: Some(Value::AsDouble(f64::INFINITY)), ..number() }), false),
        (GAUGE, gauge(NumberDataPoint { value: None, ..number() }), false),
        // The flag says that there is no value to record.
        (GAUGE, gauge(NumberDataPoint { value: None, flags: 1, ..number() }), true),
        (HISTOGRAM, histogram(|_| ()), true),
        (HISTOGRAM, histogram(|p| p.count = 7), false),
        (HISTOGRAM, histogram(|p| p.bucket_counts = vec![u64::MAX, 7, 0]), false),
        (HISTOGRAM, histogram(|p| p.bucket_counts = vec![6]), false),
        (HISTOGRAM, histogram(|p| p.explicit_bounds = vec![5.0, 0.5]), false),
        (HISTOGRAM, histogram(|p| p.explicit_bounds = vec![0.5, 0.5]), false),
        (HISTOGRAM, histogram(|p| p.explicit_bounds = vec![0.5, f64::NAN]), false),
        (HISTOGRAM, histogram(|p| p.explicit_bounds.clear()), false),
        (HISTOGRAM, histogram(|p| (p.explicit_bounds, p.bucket_counts) = (vec![], vec![])), true),
        (HISTOGRAM, histogram(|p| (p.explicit_bounds, p.bucket_counts) = (bounds(256), [vec![6], vec![0; 256]].concat())), true),
        (HISTOGRAM, histogram(|p| (p.explicit_bounds, p.bucket_counts) = (bounds(257), [vec![6], vec![0; 257]].concat())), false),
        (HISTOGRAM, exponential(|_| ()), true),
        (HISTOGRAM, exponential(|p| p.zero_count = 2), false),
        (HISTOGRAM, exponential(|p| p.negative = Some(Buckets { offset: 0, bucket_counts: vec![1] })), false),
        (HISTOGRAM, exponential(|p| p.scale = 21), false),
        (HISTOGRAM, exponential(|p| p.scale = -11), false),
        (HISTOGRAM, exponential(|p| p.zero_threshold = -1.0), false),
        (HISTOGRAM, exponential(|p| p.positive = Some(Buckets { offset: i32::MIN, bucket_counts: vec![5] })), false),
        (
            HISTOGRAM,
            exponential(|p| p.positive = Some(Buckets { offset: 0, bucket_counts: [vec![5], vec![0; 320]].concat() })),
            false,
        ),
        (HISTOGRAM, summary(0.5, 1.0), true),
        (HISTOGRAM, summary(1.5, 1.0), false),
        (HISTOGRAM, summary(0.5, f64::NEG_INFINITY), false),
    ] {
        let text = format!("{data:?}");
        let (left, report) = metric(name, data);
        assert_eq!(left.is_some(), accepted, "{text}");
        assert_eq!(report.dropped_records.get(&DropReason::InvalidNumber), if accepted { None } else { Some(&1) }, "{text}");
    }
}

/// Guarantees: times before 2020, a start after the end, and no time at all are dropped for that reason; an unknown start is not.
#[test]
fn times_that_cannot_be_are_dropped() {
    for (start_ns, end_ns, accepted) in [
        (0, NOW_NS, true),
        (NOW_NS, NOW_NS, true),
        (NOW_NS + 1, NOW_NS, false),
        (1, NOW_NS, false),
        (0, 0, false),
        (0, u64::MAX, false),
    ] {
        let point = NumberDataPoint { start_time_unix_nano: start_ns, time_unix_nano: end_ns, ..number() };
        let (left, report) = metric(GAUGE, gauge(point));
        assert_eq!(left.is_some(), accepted, "{start_ns} {end_ns}");
        assert_eq!(report.dropped_records.contains_key(&DropReason::InvalidTime), !accepted);
    }
}

/// Guarantees: a metric that is not in the contract, and data of another kind than the contract gives it, are dropped with all their data
/// points; a metric without data counts as one record, so that it is not lost in silence.
#[test]
fn metrics_without_identity_are_dropped() {
    let sum = |is_monotonic| {
        Data::Sum(Sum { data_points: vec![number(), number(), number()], aggregation_temporality: 2, is_monotonic })
    };
    let empty = Data::Gauge(Gauge { data_points: vec![] });
    for (name, data, expected) in [
        (COUNTER, Some(sum(true)), None),
        (COUNTER, Some(sum(false)), Some((DropReason::WrongType, 3))),
        (GAUGE, Some(sum(true)), Some((DropReason::WrongType, 3))),
        (COUNTER, Some(gauge(number())), Some((DropReason::WrongType, 1))),
        (COUNTER, Some(histogram(|_| ())), Some((DropReason::WrongType, 1))),
        (COUNTER, None, Some((DropReason::WrongType, 1))),
        ("http.server.request.duration", Some(sum(true)), Some((DropReason::UnknownName, 3))),
        ("pooler_otel.received_messages", Some(sum(true)), Some((DropReason::UnknownName, 3))),
        ("", None, Some((DropReason::UnknownName, 1))),
    ] {
        let (left, report) = metric(name, data);
        assert_eq!(left.is_some(), expected.is_none(), "{name}");
        assert_eq!(report.dropped_records, expected.into_iter().collect(), "{name}");
    }
    let (left, report) = metric(GAUGE, empty);
    assert_eq!((left, report), (None, empty_report()), "nothing was in it, and nothing is lost");
}

/// Guarantees: what a data point can do without is stripped and counted, and the point goes on.
#[test]
fn what_is_odd_goes_and_the_point_stays() {
    let exemplar = |value| Exemplar { time_unix_nano: NOW_NS, value, ..Exemplar::default() };
    let text = |text: &str| Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) });
    let attribute = |key: &str, value: &str| KeyValue { key: key.to_owned(), value: text(value), key_strindex: 0 };
    let data = histogram(|p| {
        p.min = Some(f64::NAN);
        p.max = Some(7.0);
        p.exemplars = vec![exemplar(None), exemplar(Some(exemplar::Value::AsInt(1)))];
        p.exemplars[1].trace_id = vec![1; 15];
        p.exemplars[1].span_id = vec![1; 8];
        p.exemplars[1].filtered_attributes = vec![attribute(attr::REQUEST_ID, "x")];
        // In the contract, and not a label of this metric.
        p.attributes = vec![attribute(attr::GEN_AI_REQUEST_MODEL, "gpt-5.4"), attribute(attr::REQUEST_ID, "x")];
    });
    let given = Metric {
        name: HISTOGRAM.to_owned(),
        description: "Time that a call to a model took.".to_owned(),
        unit: "ms".to_owned(),
        metadata: vec![attribute("prometheus.type", "histogram")],
        data: Some(data),
    };
    let (left, report) = sanitized(given);
    let left = left.unwrap();
    assert_eq!(
        (left.description.as_str(), left.unit.as_str(), left.metadata.len()),
        ("Time that a call to a model took.", "", 0)
    );
    let Some(Data::Histogram(histogram)) = left.data else { panic!("it was a histogram") };
    let point = &histogram.data_points[0];
    assert_eq!((point.min, point.max, point.attributes.len(), point.exemplars.len()), (None, Some(7.0), 1, 1));
    assert_eq!((point.exemplars[0].trace_id.len(), point.exemplars[0].span_id.len()), (0, 8));
    let expected = [
        ((Place::Number, StripReason::OutOfRange), 1),
        ((Place::TraceContext, StripReason::NotAllowed), 1),
        ((Place::MetricUnit, StripReason::NotAllowed), 1),
        ((Place::MetricMetadata, StripReason::NotAllowed), 1),
        ((Place::DataPointAttribute, StripReason::WrongPlace), 1),
        ((Place::Exemplar, StripReason::OutOfRange), 1),
        ((Place::Exemplar, StripReason::NotAllowed), 1),
    ];
    assert_eq!(report.stripped_fields, expected.into_iter().collect());
    assert_eq!(report.accepted_records, 1);
}

/// Guarantees: of log records only events of the contract with a possible time go on, and of an event neither body nor odd severity.
#[test]
fn logs_are_events() {
    let sanitized = |record: LogRecord| {
        let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
        let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
        let (mut request, report) = logs(ExportLogsServiceRequest { resource_logs });
        assert_eq!(report.parsed_records, 1);
        let left = request.resource_logs.pop().and_then(|mut r| r.scope_logs.pop()).and_then(|mut s| s.log_records.pop());
        (left, report)
    };
    let event = || LogRecord {
        event_name: "codex_pooler.request.started".to_owned(),
        observed_time_unix_nano: NOW_NS,
        ..LogRecord::default()
    };
    let body = Some(AnyValue { value: Some(any_value::Value::StringValue("a prompt".to_owned())) });
    for (record, reason) in [
        (LogRecord { event_name: String::new(), ..event() }, DropReason::UnknownName),
        (LogRecord { event_name: "gen_ai.user.message".to_owned(), body: body.clone(), ..event() }, DropReason::UnknownName),
        (LogRecord { observed_time_unix_nano: 0, ..event() }, DropReason::InvalidTime),
        (LogRecord { time_unix_nano: 5, ..event() }, DropReason::InvalidTime),
    ] {
        let (left, report) = sanitized(record);
        assert_eq!((left, report.dropped_records), (None, [(reason, 1)].into()));
    }
    let (left, report) = sanitized(LogRecord {
        body,
        severity_number: 25,
        severity_text: "Information".to_owned(),
        trace_id: vec![0; 16],
        flags: 0x101,
        ..event()
    });
    assert_eq!(left, Some(LogRecord { flags: 1, ..event() }));
    assert_eq!(report.stripped_total(), 5);
    for severity_text in ["INFO", "WARN2", "FATAL4"] {
        let given = LogRecord { severity_text: severity_text.to_owned(), severity_number: 24, ..event() };
        assert_eq!(sanitized(given.clone()), (Some(given), Report { parsed_records: 1, accepted_records: 1, ..empty_report() }));
    }
}
