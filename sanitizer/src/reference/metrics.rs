//! Metrics: every message type of the signal, taken apart completely. A record is a data point.

use contract::{DropReason, Instrument, OtlpMetric, Place, StripReason};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    DataPointFlags, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point, summary_data_point::ValueAtQuantile,
};

use super::Work;
use super::common::{self, enumeration};
use crate::policy::Site;
use crate::times::Times;
use crate::{Policy, Report};

/// Temporalities that OTLP defines: 0 (unspecified) to 2 (cumulative).
pub(crate) const TEMPORALITIES: std::ops::RangeInclusive<i32> = 0..=2;
/// Flags of a data point that OTLP defines.
pub(crate) const POINT_FLAGS: u32 = DataPointFlags::NoRecordedValueMask as u32;
/// Largest number that a data point may have, as a value, a sum, a bound or a count. No metric of the contract is ever negative.
const MAX_NUMBER: u64 = 1_000_000_000_000_000;
#[expect(clippy::cast_precision_loss, reason = "below 2^53 every whole number is exact")]
const MAX_VALUE: f64 = MAX_NUMBER as f64;
/// Most bounds of a histogram.
pub(crate) const MAX_BOUNDS: usize = 256;
/// Most buckets on each side of an exponential histogram: twice the default of OpenTelemetry's SDKs.
pub(crate) const MAX_EXPONENTIAL_BUCKETS: usize = 320;
/// Scales of exponential histograms that SDKs use.
pub(crate) const SCALES: std::ops::RangeInclusive<i32> = -10..=20;
/// Furthest bucket from 1: where the largest scale puts the smallest number.
pub(crate) const MAX_OFFSET: i32 = 1_074 << 20;
/// Most quantiles of a summary's point.
pub(crate) const MAX_QUANTILES: usize = 32;
/// Most exemplars of a data point: one for each bucket.
pub(crate) const MAX_EXEMPLARS: usize = MAX_BOUNDS + 1;

pub(crate) fn metrics(
    policy: &Policy,
    times: Times,
    request: ExportMetricsServiceRequest,
) -> (ExportMetricsServiceRequest, Report) {
    let mut work = Work::new(policy, times);
    let ExportMetricsServiceRequest { resource_metrics } = request;
    let resource_metrics = resource_metrics.into_iter().filter_map(|group| resource_group(group, &mut work)).collect();
    (ExportMetricsServiceRequest { resource_metrics }, work.report)
}

/// `None` when no data point is left: an empty group says nothing.
fn resource_group(group: ResourceMetrics, work: &mut Work<'_>) -> Option<ResourceMetrics> {
    let ResourceMetrics { resource, scope_metrics, schema_url } = group;
    let resource = resource.map(|r| common::resource(r, work));
    let scope_metrics: Vec<_> = scope_metrics.into_iter().filter_map(|group| scope_group(group, work)).collect();
    let schema_url = common::schema_url(schema_url, work);
    (!scope_metrics.is_empty()).then_some(ResourceMetrics { resource, scope_metrics, schema_url })
}

fn scope_group(group: ScopeMetrics, work: &mut Work<'_>) -> Option<ScopeMetrics> {
    let ScopeMetrics { scope, metrics, schema_url } = group;
    let scope = scope.map(|s| common::scope(s, work));
    let schema_url = common::schema_url(schema_url, work);
    let metrics: Vec<_> = metrics.into_iter().filter_map(|metric| self::metric(metric, work)).collect();
    (!metrics.is_empty()).then_some(ScopeMetrics { scope, metrics, schema_url })
}

fn metric(metric: Metric, work: &mut Work<'_>) -> Option<Metric> {
    let Metric { name, description, unit, metadata, data } = metric;
    // A metric without data is lost as well, and counts as one record.
    let points = data.as_ref().map_or(1, count);
    let Some(rule) = contract::otlp_metric(&name) else {
        work.report.drop_records(DropReason::UnknownName, points);
        return None;
    };
    let Some(data) = data.filter(|data| fits(rule.instrument, data)) else {
        work.report.drop_records(DropReason::WrongType, points);
        return None;
    };
    let data = self::data(data, rule, work);
    if count(&data) == 0 {
        return None;
    }
    work.strip_many(Place::MetricMetadata, StripReason::NotAllowed, metadata.len());
    Some(Metric {
        name,
        description: exactly(description, rule.description, Place::MetricDescription, work),
        unit: exactly(unit, rule.unit, Place::MetricUnit, work),
        metadata: Vec::new(),
        data: Some(data),
    })
}

fn count(data: &Data) -> u64 {
    let points = match data {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(summary) => summary.data_points.len(),
    };
    points as u64
}

/// Whether an instrument makes data of this kind.
fn fits(instrument: Instrument, data: &Data) -> bool {
    match data {
        Data::Gauge(_) => instrument == Instrument::Gauge,
        Data::Sum(sum) => instrument == Instrument::Counter && sum.is_monotonic,
        Data::Histogram(_) | Data::ExponentialHistogram(_) | Data::Summary(_) => instrument == Instrument::Histogram,
    }
}

/// The contract's own text, or none.
fn exactly(text: String, allowed: &str, place: Place, work: &mut Work<'_>) -> String {
    if text.is_empty() || text == allowed {
        return text;
    }
    work.strip(place, StripReason::NotAllowed);
    String::new()
}

fn data(data: Data, rule: &OtlpMetric, work: &mut Work<'_>) -> Data {
    let number = |point, work: &mut Work<'_>| number_point(point, rule, work);
    match data {
        Data::Gauge(Gauge { data_points }) => Data::Gauge(Gauge { data_points: common::records(data_points, work, number) }),
        Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic }) => Data::Sum(Sum {
            data_points: common::records(data_points, work, number),
            aggregation_temporality: enumeration(aggregation_temporality, TEMPORALITIES, work),
            is_monotonic,
        }),
        Data::Histogram(Histogram { data_points, aggregation_temporality }) => Data::Histogram(Histogram {
            data_points: common::records(data_points, work, |point, work| histogram_point(point, rule, work)),
            aggregation_temporality: enumeration(aggregation_temporality, TEMPORALITIES, work),
        }),
        Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality }) => {
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: common::records(data_points, work, |point, work| exponential_point(point, rule, work)),
                aggregation_temporality: enumeration(aggregation_temporality, TEMPORALITIES, work),
            })
        }
        Data::Summary(Summary { data_points }) => Data::Summary(Summary {
            data_points: common::records(data_points, work, |point, work| summary_point(point, rule, work)),
        }),
    }
}

fn number_point(point: NumberDataPoint, rule: &OtlpMetric, work: &mut Work<'_>) -> Result<NumberDataPoint, DropReason> {
    let NumberDataPoint { attributes, start_time_unix_nano, time_unix_nano, exemplars, flags, value } = point;
    check_times(start_time_unix_nano, time_unix_nano, work)?;
    let valid = match value {
        Some(number_data_point::Value::AsDouble(value)) => is_value(value),
        Some(number_data_point::Value::AsInt(value)) => is_count(value),
        None => flags & POINT_FLAGS != 0,
    };
    if !valid {
        return Err(DropReason::InvalidNumber);
    }
    Ok(NumberDataPoint {
        attributes: self::attributes(attributes, rule, work),
        start_time_unix_nano,
        time_unix_nano,
        exemplars: self::exemplars(exemplars, work),
        flags: common::flags(flags, POINT_FLAGS, work),
        value,
    })
}

fn histogram_point(point: HistogramDataPoint, rule: &OtlpMetric, work: &mut Work<'_>) -> Result<HistogramDataPoint, DropReason> {
    let HistogramDataPoint {
        attributes,
        start_time_unix_nano,
        time_unix_nano,
        count,
        sum,
        bucket_counts,
        explicit_bounds,
        exemplars,
        flags,
        min,
        max,
    } = point;
    check_times(start_time_unix_nano, time_unix_nano, work)?;
    let bounds_valid = explicit_bounds.len() <= MAX_BOUNDS
        && explicit_bounds.iter().all(|bound| is_value(*bound))
        && explicit_bounds.is_sorted_by(|lower, upper| lower < upper);
    // A histogram may have no buckets at all; otherwise there is one more than there are bounds between them.
    let counts_valid = (bucket_counts.is_empty() && explicit_bounds.is_empty())
        || (bucket_counts.len() == explicit_bounds.len() + 1 && total(&bucket_counts) == Some(count));
    if !is_count(count) || !bounds_valid || !counts_valid {
        return Err(DropReason::InvalidNumber);
    }
    Ok(HistogramDataPoint {
        attributes: self::attributes(attributes, rule, work),
        start_time_unix_nano,
        time_unix_nano,
        count,
        sum: optional(sum, work),
        bucket_counts,
        explicit_bounds,
        exemplars: self::exemplars(exemplars, work),
        flags: common::flags(flags, POINT_FLAGS, work),
        min: optional(min, work),
        max: optional(max, work),
    })
}

fn exponential_point(
    point: ExponentialHistogramDataPoint,
    rule: &OtlpMetric,
    work: &mut Work<'_>,
) -> Result<ExponentialHistogramDataPoint, DropReason> {
    let ExponentialHistogramDataPoint {
        attributes,
        start_time_unix_nano,
        time_unix_nano,
        count,
        sum,
        scale,
        zero_count,
        positive,
        negative,
        flags,
        exemplars,
        min,
        max,
        zero_threshold,
    } = point;
    check_times(start_time_unix_nano, time_unix_nano, work)?;
    let sides = [buckets(positive.as_ref()), buckets(negative.as_ref())];
    let counts_valid = match sides {
        [Some(positive), Some(negative)] => total(&[zero_count, positive, negative]) == Some(count),
        _ => false,
    };
    if !is_count(count) || !counts_valid || !SCALES.contains(&scale) || !is_value(zero_threshold) {
        return Err(DropReason::InvalidNumber);
    }
    Ok(ExponentialHistogramDataPoint {
        attributes: self::attributes(attributes, rule, work),
        start_time_unix_nano,
        time_unix_nano,
        count,
        sum: optional(sum, work),
        scale,
        zero_count,
        positive,
        negative,
        flags: common::flags(flags, POINT_FLAGS, work),
        exemplars: self::exemplars(exemplars, work),
        min: optional(min, work),
        max: optional(max, work),
        zero_threshold,
    })
}

/// How much is in one side's buckets; `None` if they cannot be.
fn buckets(buckets: Option<&Buckets>) -> Option<u64> {
    let Some(Buckets { offset, bucket_counts }) = buckets else { return Some(0) };
    let valid = (-MAX_OFFSET..=MAX_OFFSET).contains(offset) && bucket_counts.len() <= MAX_EXPONENTIAL_BUCKETS;
    if valid { total(bucket_counts) } else { None }
}

fn summary_point(point: SummaryDataPoint, rule: &OtlpMetric, work: &mut Work<'_>) -> Result<SummaryDataPoint, DropReason> {
    let SummaryDataPoint { attributes, start_time_unix_nano, time_unix_nano, count, sum, quantile_values, flags } = point;
    check_times(start_time_unix_nano, time_unix_nano, work)?;
    let quantiles_valid = quantile_values.len() <= MAX_QUANTILES
        && quantile_values.iter().all(|ValueAtQuantile { quantile, value }| (0.0..=1.0).contains(quantile) && is_value(*value));
    if !is_count(count) || !is_value(sum) || !quantiles_valid {
        return Err(DropReason::InvalidNumber);
    }
    Ok(SummaryDataPoint {
        attributes: self::attributes(attributes, rule, work),
        start_time_unix_nano,
        time_unix_nano,
        count,
        sum,
        quantile_values,
        flags: common::flags(flags, POINT_FLAGS, work),
    })
}

fn attributes(given: Vec<KeyValue>, rule: &OtlpMetric, work: &mut Work<'_>) -> Vec<KeyValue> {
    common::attributes(given, Site::fixed(Place::DataPointAttribute, rule.attributes), work)
}

/// An exemplar keeps its value, its time and the trace that it is an example from.
fn exemplars(given: Vec<Exemplar>, work: &mut Work<'_>) -> Vec<Exemplar> {
    let mut kept = Vec::new();
    for exemplar in given {
        let Exemplar { filtered_attributes, time_unix_nano, span_id, trace_id, value } = exemplar;
        work.strip_many(Place::Exemplar, StripReason::NotAllowed, filtered_attributes.len());
        let valid = match value {
            Some(exemplar::Value::AsDouble(value)) => is_value(value),
            Some(exemplar::Value::AsInt(value)) => is_count(value),
            None => false,
        };
        if !valid || !work.times.contain(time_unix_nano) {
            work.strip(Place::Exemplar, StripReason::OutOfRange);
            continue;
        }
        if kept.len() == MAX_EXEMPLARS {
            work.strip(Place::Exemplar, StripReason::TooLong);
            continue;
        }
        let (trace_id, span_id) = common::trace_context(trace_id, span_id, work);
        kept.push(Exemplar { filtered_attributes: Vec::new(), time_unix_nano, span_id, trace_id, value });
    }
    kept
}

/// The start may be unknown, which is 0.
fn check_times(start_unix_ns: u64, unix_ns: u64, work: &Work<'_>) -> Result<(), DropReason> {
    let valid = work.times.contain(unix_ns) && work.times.contain_or_unknown(start_unix_ns) && start_unix_ns <= unix_ns;
    valid.then_some(()).ok_or(DropReason::InvalidTime)
}

/// NaN and the infinities are in no range.
pub(crate) fn is_value(value: f64) -> bool {
    (0.0..=MAX_VALUE).contains(&value)
}

pub(crate) fn is_count(count: impl TryInto<u64>) -> bool {
    count.try_into().is_ok_and(|count| count <= MAX_NUMBER)
}

/// The sum of counts; `None` if it is more than any number.
fn total(counts: &[u64]) -> Option<u64> {
    counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count))
}

/// A number that a data point can do without.
fn optional(value: Option<f64>, work: &mut Work<'_>) -> Option<f64> {
    let kept = value.filter(|value| is_value(*value));
    if kept.is_none() && value.is_some() {
        work.strip(Place::Number, StripReason::OutOfRange);
    }
    kept
}
