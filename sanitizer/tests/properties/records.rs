//! Log records and metrics that mix what is legal with what is not, in every field.

use contract::{Instrument, generated};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

use super::generate::{NOW_NS, any_value, attributes, id, rarely, resource, schema_url, scope, text};

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![12 => NOW_NS..NOW_NS + 1_000, 2 => Just(0), 1 => any::<u64>()]
}

/// Attributes by the keys that are allowed in a place, with values of any kind.
fn keyed(keys: &'static [&'static str]) -> impl Strategy<Value = Vec<KeyValue>> {
    // A record without attributes still has to have one to choose from.
    let keys = if keys.is_empty() { &[""][..] } else { keys };
    let one = (select(keys), text()).prop_map(|(key, text)| super::generate::attribute(key, &text));
    prop::collection::vec(one, 0..3)
}

fn log_record() -> impl Strategy<Value = LogRecord> {
    let event = Union::new(generated::EVENTS.iter().map(|event| (Just(event.name.to_owned()), keyed(event.attributes))));
    let named = prop_oneof![6 => event, 1 => (text(), Just(Vec::new()))];
    let severity = (prop_oneof![4 => 0..26, 1 => any::<i32>()], prop_oneof![2 => Just("INFO".to_owned()), 1 => text()]);
    let body = rarely(any_value().prop_map(|value| Some(AnyValue { value: Some(value) })));
    let numbers = (rarely(any::<u32>()), prop_oneof![3 => 0..2_u32, 1 => any::<u32>()]);
    (named, attributes(4), (time(), time()), severity, body, numbers, (id(16), id(8))).prop_map(
        |((event_name, own), others, times, severity, body, numbers, ids)| LogRecord {
            time_unix_nano: times.0,
            observed_time_unix_nano: times.1,
            severity_number: severity.0,
            severity_text: severity.1,
            body,
            attributes: own.into_iter().chain(others).collect(),
            dropped_attributes_count: numbers.0,
            flags: numbers.1,
            trace_id: ids.0,
            span_id: ids.1,
            event_name,
        },
    )
}

/// Any message of log records.
pub fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scope_logs = (prop::option::of(scope()), prop::collection::vec(log_record(), 0..3), schema_url())
        .prop_map(|(scope, log_records, schema_url)| ScopeLogs { scope, log_records, schema_url });
    let group = (prop::option::of(resource()), prop::collection::vec(scope_logs, 0..3), schema_url())
        .prop_map(|(resource, scope_logs, schema_url)| ResourceLogs { resource, scope_logs, schema_url });
    prop::collection::vec(group, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![8 => (0..1_000_u32).prop_map(f64::from), 1 => Just(f64::NAN), 1 => any::<f64>()]
}

fn exemplar() -> impl Strategy<Value = Exemplar> {
    let value = prop_oneof![
        3 => number().prop_map(exemplar::Value::AsDouble),
        2 => prop_oneof![0..9_i64, any::<i64>()].prop_map(exemplar::Value::AsInt),
    ];
    (attributes(3), time(), id(8), id(16), prop::option::weighted(0.9, value)).prop_map(
        |(filtered_attributes, time_unix_nano, span_id, trace_id, value)| Exemplar {
            filtered_attributes,
            time_unix_nano,
            span_id,
            trace_id,
            value,
        },
    )
}

/// What every data point has: attributes, start and time, exemplars, flags.
type Common = (Vec<KeyValue>, (u64, u64), Vec<Exemplar>, u32);

fn common(keys: &'static [&'static str]) -> impl Strategy<Value = Common> {
    let attributes = (keyed(keys), rarely(attributes(3))).prop_map(|(own, others)| own.into_iter().chain(others).collect());
    let times = (time(), time()).prop_map(|(one, other)| (one.min(other), one.max(other)));
    (attributes, times, rarely(prop::collection::vec(exemplar(), 0..3)), prop_oneof![5 => 0..2_u32, 1 => any::<u32>()])
}

fn number_point(keys: &'static [&'static str]) -> impl Strategy<Value = NumberDataPoint> {
    let value = prop_oneof![
        number().prop_map(number_data_point::Value::AsDouble),
        prop_oneof![4 => 0..9_i64, 1 => any::<i64>()].prop_map(number_data_point::Value::AsInt),
    ];
    (common(keys), prop::option::weighted(0.9, value)).prop_map(|((attributes, times, exemplars, flags), value)| {
        NumberDataPoint { attributes, start_time_unix_nano: times.0, time_unix_nano: times.1, exemplars, flags, value }
    })
}

fn histogram_point(keys: &'static [&'static str]) -> impl Strategy<Value = HistogramDataPoint> {
    let counts = prop::collection::vec(prop_oneof![9 => 0..9_u64, 1 => any::<u64>()], 0..5);
    // As many bounds as the counts need, more or less; and the right total, more or less.
    let wrong = (rarely(0..3_u64), rarely(0..3_usize), rarely(0..4_u8));
    (common(keys), counts, wrong, prop::option::of(number()), prop::option::of(number()), prop::option::of(number())).prop_map(
        |((attributes, times, exemplars, flags), bucket_counts, (more, fewer, order), sum, min, max)| {
            let bounds = (bucket_counts.len().saturating_sub(1)).saturating_sub(fewer);
            // Rising, as they should be; or below zero, two of each, falling.
            let bound = |at: usize| {
                let at = u32::try_from(at).unwrap_or(0);
                match order {
                    0 => f64::from(at),
                    1 => -f64::from(at),
                    2 => f64::from(at / 2),
                    _ => f64::from(9_u32.saturating_sub(at)),
                }
            };
            HistogramDataPoint {
                attributes,
                start_time_unix_nano: times.0,
                time_unix_nano: times.1,
                count: bucket_counts.iter().fold(more, |sum, count| sum.wrapping_add(*count)),
                sum,
                explicit_bounds: (0..bounds).map(bound).collect(),
                bucket_counts,
                exemplars,
                flags,
                min,
                max,
            }
        },
    )
}

fn exponential_point(keys: &'static [&'static str]) -> impl Strategy<Value = ExponentialHistogramDataPoint> {
    let side = || {
        let offset = prop_oneof![6 => -9..9_i32, 1 => any::<i32>()];
        prop::option::of(
            (offset, prop::collection::vec(0..9_u64, 0..4)).prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts }),
        )
    };
    let numbers = (rarely(0..3_u64), prop_oneof![6 => -3..3_i32, 1 => any::<i32>()], 0..5_u64, number());
    (common(keys), (side(), side()), numbers, prop::option::of(number())).prop_map(
        |((attributes, times, exemplars, flags), (positive, negative), (more, scale, zero_count, zero_threshold), sum)| {
            let sides = [&positive, &negative].into_iter().flatten().flat_map(|side| &side.bucket_counts);
            ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano: times.0,
                time_unix_nano: times.1,
                count: sides.sum::<u64>() + zero_count + more,
                sum,
                scale,
                zero_count,
                positive,
                negative,
                flags,
                exemplars,
                min: sum,
                max: sum,
                zero_threshold,
            }
        },
    )
}

fn summary_point(keys: &'static [&'static str]) -> impl Strategy<Value = SummaryDataPoint> {
    let quantile =
        (prop_oneof![4 => Just(0.5), 1 => number()], number()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value });
    let numbers = (prop_oneof![6 => 0..9_u64, 1 => any::<u64>()], number());
    (common(keys), numbers, prop::collection::vec(quantile, 0..3)).prop_map(
        |((attributes, times, _, flags), (count, sum), quantile_values)| SummaryDataPoint {
            attributes,
            start_time_unix_nano: times.0,
            time_unix_nano: times.1,
            count,
            sum,
            quantile_values,
            flags,
        },
    )
}

/// Points of a kind, in data of that kind.
fn data(instrument: Instrument, keys: &'static [&'static str]) -> BoxedStrategy<Data> {
    fn points<P: std::fmt::Debug>(point: impl Strategy<Value = P>) -> impl Strategy<Value = Vec<P>> {
        prop::collection::vec(point, 0..3)
    }
    let temporality = || prop_oneof![5 => 0..3_i32, 1 => any::<i32>()];
    let histogram = (points(histogram_point(keys)), temporality())
        .prop_map(|(data_points, aggregation_temporality)| Data::Histogram(Histogram { data_points, aggregation_temporality }));
    let exponential = (points(exponential_point(keys)), temporality()).prop_map(|(data_points, aggregation_temporality)| {
        Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
    });
    let summary = points(summary_point(keys)).prop_map(|data_points| Data::Summary(Summary { data_points }));
    let gauge = points(number_point(keys)).prop_map(|data_points| Data::Gauge(Gauge { data_points }));
    let sum = (points(number_point(keys)), temporality(), prop::bool::weighted(0.9)).prop_map(
        |(data_points, aggregation_temporality, is_monotonic)| {
            Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
        },
    );
    match instrument {
        Instrument::Gauge => prop_oneof![9 => gauge, 1 => sum].boxed(),
        Instrument::Counter => prop_oneof![9 => sum, 1 => gauge].boxed(),
        Instrument::Histogram => prop_oneof![5 => histogram, 3 => exponential, 2 => summary, 1 => gauge].boxed(),
    }
}

fn metric() -> impl Strategy<Value = Metric> {
    let ours = Union::new(generated::OTLP_METRICS.iter().map(|rule| {
        let description = prop_oneof![3 => Just(rule.description.to_owned()), 1 => text()];
        let unit = prop_oneof![3 => Just(rule.unit.to_owned()), 1 => text()];
        let name = prop_oneof![12 => Just(rule.name.to_owned()), 1 => text()];
        let data = prop::option::weighted(0.95, data(rule.instrument, rule.attributes));
        (name, description, unit, data)
    }));
    (ours, rarely(attributes(3))).prop_map(|((name, description, unit, data), metadata)| Metric {
        name,
        description,
        unit,
        metadata,
        data,
    })
}

/// Any message of metrics.
pub fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let scope_metrics = (prop::option::of(scope()), prop::collection::vec(metric(), 0..3), schema_url())
        .prop_map(|(scope, metrics, schema_url)| ScopeMetrics { scope, metrics, schema_url });
    let group = (prop::option::of(resource()), prop::collection::vec(scope_metrics, 0..3), schema_url())
        .prop_map(|(resource, scope_metrics, schema_url)| ResourceMetrics { resource, scope_metrics, schema_url });
    prop::collection::vec(group, 0..3).prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}
