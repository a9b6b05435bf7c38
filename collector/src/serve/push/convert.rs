//! From the text that is scraped to OTLP: the same samples, under the contract's OTLP names, as cumulative sums, gauges and histograms.
//!
//! The text is the one form in which the client library gives its samples away; taking them from it makes both ways say the same.

use std::collections::{BTreeMap, HashMap};

use contract::generated::metrics as table;
use contract::{Instrument, Metric};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1 as otlp;
use opentelemetry_proto::tonic::metrics::v1::{exemplar, metric::Data, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// Data points from which on a message takes no further metric: far below what receivers take, 4 MiB at the least.
const FULL_MESSAGE_POINTS: usize = 2_000;

/// Label names and values of a series.
type Labels = Vec<(String, String)>;

/// A line of the text.
struct Sample<'a> {
    name: &'a str,
    labels: Labels,
    value: &'a str,
    exemplar: Option<otlp::Exemplar>,
}

/// Data points of one metric.
#[derive(Default)]
struct Points {
    numbers: Vec<otlp::NumberDataPoint>,
    histograms: BTreeMap<Labels, otlp::HistogramDataPoint>,
}

/// The messages that carry every sample of an OpenMetrics text; `times_ns` are the start of the process and now, since the Unix epoch.
pub fn requests(text: &str, resource: &Resource, times_ns: (u64, u64)) -> Vec<ExportMetricsServiceRequest> {
    let by_name: HashMap<&str, &'static Metric> = table::ALL.iter().map(|metric| (metric.name, *metric)).collect();
    let mut points: BTreeMap<&str, Points> = BTreeMap::new();
    for sample in text.lines().filter(|line| !line.starts_with('#')).filter_map(sample) {
        let suffix = ["_bucket", "_sum", "_count"].iter().find(|suffix| sample.name.ends_with(**suffix)).copied();
        let of_histogram = suffix.and_then(|suffix| Some((by_name.get(sample.name.strip_suffix(suffix)?)?, suffix)));
        if let Some((metric, suffix)) = of_histogram {
            add_to_histogram(&mut points.entry(metric.name).or_default().histograms, metric, suffix, sample, times_ns);
        } else if let Some(metric) = by_name.get(sample.name) {
            points.entry(metric.name).or_default().numbers.extend(number(metric, sample, times_ns));
        }
    }
    let mut messages: Vec<(Vec<otlp::Metric>, usize)> = Vec::new();
    for metric in table::ALL {
        let Some(points) = points.remove(metric.name) else { continue };
        let count = points.numbers.len() + points.histograms.len();
        match messages.last_mut() {
            Some((metrics, points_before)) if *points_before + count <= FULL_MESSAGE_POINTS => {
                metrics.push(whole(metric, points));
                *points_before += count;
            }
            _ => messages.push((vec![whole(metric, points)], count)),
        }
    }
    messages.into_iter().map(|(metrics, _)| message(metrics, resource)).collect()
}

fn message(metrics: Vec<otlp::Metric>, resource: &Resource) -> ExportMetricsServiceRequest {
    let scope = InstrumentationScope {
        name: contract::SCOPE_NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope = otlp::ScopeMetrics { scope: Some(scope), metrics, schema_url: contract::SCHEMA_URL.to_owned() };
    let resource = otlp::ResourceMetrics {
        resource: Some(resource.clone()),
        scope_metrics: vec![scope],
        schema_url: contract::SCHEMA_URL.to_owned(),
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

fn whole(metric: &Metric, points: Points) -> otlp::Metric {
    let cumulative = otlp::AggregationTemporality::Cumulative as i32;
    let data = match metric.instrument {
        Instrument::Counter => {
            Data::Sum(otlp::Sum { data_points: points.numbers, aggregation_temporality: cumulative, is_monotonic: true })
        }
        Instrument::Gauge => Data::Gauge(otlp::Gauge { data_points: points.numbers }),
        Instrument::Histogram => Data::Histogram(otlp::Histogram {
            data_points: points.histograms.into_values().map(buckets_apart).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    otlp::Metric {
        name: metric.otlp_name.to_owned(),
        description: metric.help.to_owned(),
        unit: metric.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

/// A bucket of the text holds all below it as well; one of OTLP does not.
fn buckets_apart(mut point: otlp::HistogramDataPoint) -> otlp::HistogramDataPoint {
    let mut below = 0;
    for bucket in &mut point.bucket_counts {
        let up_to_here = std::mem::replace(&mut below, *bucket);
        *bucket = bucket.saturating_sub(up_to_here);
    }
    point
}

fn number(metric: &Metric, sample: Sample<'_>, (started_ns, now_ns): (u64, u64)) -> Option<otlp::NumberDataPoint> {
    // What counts in whole numbers is written without a point.
    let value = match sample.value.parse() {
        Ok(whole) => number_data_point::Value::AsInt(whole),
        Err(_) => number_data_point::Value::AsDouble(sample.value.parse().ok()?),
    };
    Some(otlp::NumberDataPoint {
        attributes: attributes(metric, sample.labels),
        start_time_unix_nano: if metric.instrument == Instrument::Counter { started_ns } else { 0 },
        time_unix_nano: now_ns,
        value: Some(value),
        ..otlp::NumberDataPoint::default()
    })
}

fn add_to_histogram(
    points: &mut BTreeMap<Labels, otlp::HistogramDataPoint>,
    metric: &Metric,
    suffix: &str,
    mut sample: Sample<'_>,
    (started_ns, now_ns): (u64, u64),
) {
    sample.labels.retain(|(label, _)| label != "le");
    let point = points.entry(sample.labels.clone()).or_insert_with(|| otlp::HistogramDataPoint {
        attributes: attributes(metric, sample.labels),
        start_time_unix_nano: started_ns,
        time_unix_nano: now_ns,
        explicit_bounds: metric.buckets.to_vec(),
        ..otlp::HistogramDataPoint::default()
    });
    match suffix {
        "_sum" => point.sum = sample.value.parse().ok(),
        "_count" => point.count = sample.value.parse().unwrap_or(0),
        // In the order of their bounds, the last of which is infinite.
        _ => point.bucket_counts.push(sample.value.parse().unwrap_or(0)),
    }
    point.exemplars.extend(sample.exemplar);
}

fn attributes(metric: &Metric, labels: Labels) -> Vec<KeyValue> {
    let key_of = |label: &str| Some(metric.attributes[metric.labels.iter().position(|known| *known == label)?]);
    let attribute = |(label, value): (String, String)| {
        let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
        Some(KeyValue { key: key_of(&label)?.to_owned(), value, ..KeyValue::default() })
    };
    labels.into_iter().filter_map(attribute).collect()
}

/// `name{label="value",…} value`, with ` # {trace_id="…"} value seconds` after it where there is an exemplar.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, rest) = labels(rest)?;
    let (value, rest) = word(rest);
    let exemplar = rest.trim_start().strip_prefix("# ").and_then(exemplar);
    Some(Sample { name, labels, value, exemplar })
}

fn exemplar(text: &str) -> Option<otlp::Exemplar> {
    let (labels, rest) = labels(text)?;
    let (value, rest) = word(rest);
    let (seconds, _) = word(rest);
    let (_, trace_id) = labels.into_iter().find(|(label, _)| label == "trace_id")?;
    let time = std::time::Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    Some(otlp::Exemplar {
        time_unix_nano: u64::try_from(time.as_nanos()).ok()?,
        trace_id: u128::from_str_radix(&trace_id, 16).ok()?.to_be_bytes().to_vec(),
        value: Some(exemplar::Value::AsDouble(value.parse().ok()?)),
        ..otlp::Exemplar::default()
    })
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(' ').unwrap_or(text.len()))
}

/// The labels in braces, if the text begins with some, and what comes after them.
fn labels(text: &str) -> Option<(Labels, &str)> {
    let mut labels = Vec::new();
    let Some(mut rest) = text.strip_prefix('{') else { return Some((labels, text)) };
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (label, after) = rest.split_once("=\"")?;
        let (value, after) = unquoted(after)?;
        labels.push((label.to_owned(), value));
        rest = after;
    }
}

/// A label's value up to its closing quote, and what comes after that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            plain => value.push(plain),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: each kind of metric becomes what OTLP has for it, with its unit and its attributes; cumulative buckets are taken apart, whole
    /// numbers stay whole, exemplars keep their trace; and a text with many series becomes several messages.
    #[test]
    fn the_text_becomes_otlp() {
        let text = "# TYPE codex_pooler_retries counter\n\
            codex_pooler_retries_total{pool=\"a\\\"b\\\\\",model=\"m, {x}\"} 3\n\
            codex_pooler_cost_usd_total{pool=\"p\",model=\"m\"} 0.5\n\
            codex_pooler_requests_in_flight{pool=\"p\",transport=\"websocket\"} 2\n\
            codex_pooler_time_to_first_output_seconds_sum{pool=\"p\",model=\"m\"} 20.3\n\
            codex_pooler_time_to_first_output_seconds_count{pool=\"p\",model=\"m\"} 3\n\
            codex_pooler_time_to_first_output_seconds_bucket{le=\"0.1\",pool=\"p\",model=\"m\"} 1 # {trace_id=\"00ff00000000000000000000000000aa\"} 0.05 1800000000.5\n\
            codex_pooler_time_to_first_output_seconds_bucket{le=\"0.25\",pool=\"p\",model=\"m\"} 3\n\
            codex_pooler_time_to_first_output_seconds_bucket{le=\"+Inf\",pool=\"p\",model=\"m\"} 4\n\
            unknown_total 1\n# EOF\n";
        let messages = requests(text, &Resource::default(), (1, 2));
        assert_eq!(messages.len(), 1);
        let metrics = &messages[0].resource_metrics[0].scope_metrics[0].metrics;
        let of = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap();
        assert_eq!(metrics.len(), 4);

        let retries = of("codex_pooler.retries");
        assert_eq!(retries.unit, "{retry}");
        let Some(Data::Sum(sum)) = &retries.data else { panic!("{retries:?}") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "2 is cumulative");
        let point = &sum.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
        assert_eq!(point.value, Some(number_data_point::Value::AsInt(3)));
        let texts: Vec<_> = point.attributes.iter().map(|a| (a.key.as_str(), a.value.clone().unwrap().value.unwrap())).collect();
        let text = |text: &str| any_value::Value::StringValue(text.to_owned());
        assert_eq!(texts, [("codex_pooler.pool.slug", text("a\"b\\")), ("codex_pooler.request.model", text("m, {x}"))]);

        let Some(Data::Sum(cost)) = &of("codex_pooler.cost_usd").data else { panic!("a sum") };
        assert_eq!(cost.data_points[0].value, Some(number_data_point::Value::AsDouble(0.5)));
        let Some(Data::Gauge(open)) = &of("codex_pooler.requests_in_flight").data else { panic!("a gauge") };
        assert_eq!(open.data_points[0].value, Some(number_data_point::Value::AsInt(2)));
        let Some(Data::Histogram(first_output)) = &of("codex_pooler.time_to_first_output").data else { panic!("a histogram") };
        let point = &first_output.data_points[0];
        assert_eq!((point.count, point.sum, &point.bucket_counts), (3, Some(20.3), &vec![1, 2, 1]));
        let exemplar = &point.exemplars[0];
        assert_eq!(
            (exemplar.time_unix_nano, exemplar.trace_id[1], exemplar.trace_id[15]),
            (1_800_000_000_500_000_000, 0xff, 0xaa)
        );

        let many = |name: &str| (0..1_500).map(|n| format!("{name}{{pool=\"p{n}\",model=\"m\"}} 1\n")).collect::<Vec<_>>();
        let text = [many("codex_pooler_retries_total"), many("codex_pooler_cost_usd_total")].concat();
        assert_eq!(requests(&text.concat(), &Resource::default(), (1, 2)).len(), 2);
    }
}
