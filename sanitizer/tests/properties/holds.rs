//! What holds of any bytes that are given to the sanitizer, by whatever policy. One judge for the property tests and for the fuzz targets,
//! which include this file: it panics where something does not hold.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use contract::{Place, StripReason};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use sanitizer::fast::{self, Fast};
use sanitizer::times::Times;
use sanitizer::{Export, Policy, Sanitized, reference};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wire::otlp;

use super::plain::{MARKER, without_zeros};

/// When every message arrives: 2026-08-24 04:01:00 UTC, a minute after most of what the generators make.
pub const NOW_S: u64 = 1_787_544_060;

/// The same, as a time of the system.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW_S)
}

/// What became of a message, for those that want to count: a comparison that always ends early compares nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is no message.
    Refused,
    /// Nothing had to change.
    Clean,
    /// Something was stripped or dropped.
    Rewritten,
    /// The fast sanitizer left it to the reference.
    Slow,
}

impl Said {
    /// Every answer.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Clean, Self::Rewritten, Self::Slow];
}

/// Whether the planted text is in these bytes.
pub fn has_marker(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, MARKER.as_bytes()).is_some()
}

/// What holds of a message of any signal: a refusal, or a message without the planted text, which says so much and no more when it is
/// sanitized again, and whose report adds up.
pub fn of<R: Export>(policy: &Policy, message: &[u8]) -> Said {
    let Ok(sanitized) = sanitizer::protobuf::<R>(policy, now(), message) else { return Said::Refused };
    of_sanitized(policy, &sanitized);
    if sanitized.report().stripped_total() + sanitized.report().dropped_total() == 0 { Said::Clean } else { Said::Rewritten }
}

fn of_sanitized<R: Export>(policy: &Policy, sanitized: &Sanitized<R>) {
    assert!(!has_marker(sanitized.encoded()), "the planted text is in the output");
    let report = sanitized.report();
    assert_eq!(report.parsed_records, report.accepted_records + report.dropped_total(), "a record is lost");
    let again = sanitizer::protobuf::<R>(policy, now(), sanitized.encoded()).expect("the output is a message");
    assert_eq!(again.encoded(), sanitized.encoded(), "the second time changes something");
    let again = again.report();
    assert_eq!((again.parsed_records, again.stripped_total(), again.dropped_total()), (report.accepted_records, 0, 0));
}

/// The fast sanitizer of a signal.
type FastOf = fn(&Policy, Times, &[u8]) -> Result<Fast, sanitizer::Refused>;

/// What holds of traces: the above; and the fast sanitizer refuses what the reference refuses, means what the reference means, record by
/// record and attribute by attribute, counts the same, leaves no byte that means nothing, and has nothing more to do; and where nothing is
/// counted, nothing but empty groups is gone.
pub fn of_traces(policy: &Policy, message: &[u8]) -> Said {
    let without_empty = |request: &mut ExportTraceServiceRequest| {
        let groups = &mut request.resource_spans;
        for group in groups.iter_mut() {
            group.scope_spans.retain(|scope| !scope.spans.is_empty());
        }
        groups.retain(|group| !group.scope_spans.is_empty());
    };
    compared(policy, message, fast::traces, &otlp::export_trace_service_request::MESSAGE, without_empty)
}

/// The same for logs.
pub fn of_logs(policy: &Policy, message: &[u8]) -> Said {
    let without_empty = |request: &mut ExportLogsServiceRequest| {
        let groups = &mut request.resource_logs;
        for group in groups.iter_mut() {
            group.scope_logs.retain(|scope| !scope.log_records.is_empty());
        }
        groups.retain(|group| !group.scope_logs.is_empty());
    };
    compared(policy, message, fast::logs, &otlp::export_logs_service_request::MESSAGE, without_empty)
}

/// The same for metrics.
pub fn of_metrics(policy: &Policy, message: &[u8]) -> Said {
    let has_points = |data: &Data| match data {
        Data::Gauge(data) => !data.data_points.is_empty(),
        Data::Sum(data) => !data.data_points.is_empty(),
        Data::Histogram(data) => !data.data_points.is_empty(),
        Data::ExponentialHistogram(data) => !data.data_points.is_empty(),
        Data::Summary(data) => !data.data_points.is_empty(),
    };
    let without_empty = |request: &mut ExportMetricsServiceRequest| {
        let groups = &mut request.resource_metrics;
        for scope in groups.iter_mut().flat_map(|group| &mut group.scope_metrics) {
            scope.metrics.retain(|metric| metric.data.as_ref().is_some_and(has_points));
        }
        for group in groups.iter_mut() {
            group.scope_metrics.retain(|scope| !scope.metrics.is_empty());
        }
        groups.retain(|group| !group.scope_metrics.is_empty());
    };
    compared(policy, message, fast::metrics, &otlp::export_metrics_service_request::MESSAGE, without_empty)
}

fn compared<R: Export + PartialEq + std::fmt::Debug>(
    policy: &Policy,
    message: &[u8],
    fast: FastOf,
    of_type: &wire::Message,
    without_empty: impl FnOnce(&mut R),
) -> Said {
    of::<R>(policy, message);
    let expected = reference::protobuf::<R>(policy, now(), message);
    let (said, output, report) = match fast(policy, Times::until(now()), message) {
        Err(_) => {
            assert!(expected.is_err(), "the fast sanitizer refused what the reference accepts");
            return Said::Refused;
        }
        Ok(Fast::Slow) => return Said::Slow,
        Ok(Fast::Clean(report)) => (Said::Clean, Bytes::copy_from_slice(message), report),
        Ok(Fast::Rewritten(output, report)) => (Said::Rewritten, output, report),
    };
    let (expected, expected_report) = expected.expect("the reference refused what the fast sanitizer accepts");
    assert_eq!(report, expected_report, "the reports differ");
    let decoded = |bytes: &[u8]| R::decode(bytes).expect("the output is a message");
    // Lists are compared in order, so that a record that is lost, doubled or moved is seen.
    assert_eq!(decoded(&output), decoded(&expected), "the fast output means something else");
    if report.stripped_total() + report.dropped_total() == 0 {
        let mut given = decoded(message);
        without_empty(&mut given);
        assert_eq!(decoded(&output), given, "something is gone that is not counted");
    }
    assert!(!has_marker(&output), "the planted text is in the fast output");
    let plain = without_zeros(&output, of_type);
    assert_eq!(plain.len(), expected.len(), "bytes that mean nothing are in the fast output");
    match fast(policy, Times::until(now()), &output) {
        Ok(Fast::Clean(again)) => assert_eq!((again.stripped_total(), again.dropped_total()), (0, 0)),
        _ => panic!("the fast output is not clean"),
    }
    said
}

/// What holds of a text in JSON: if it is a message, it is treated as the same message in protobuf. Which message it is, another decoder
/// says; [`Said::Slow`] where that one cannot, so that nothing was compared.
pub fn of_json<R: Export + Serialize + DeserializeOwned>(policy: &Policy, text: &[u8]) -> Said {
    let Ok(sanitized) = sanitizer::json::<R>(policy, now(), text) else { return Said::Refused };
    of_sanitized(policy, &sanitized);
    // The other decoder knows less of what is allowed: no null, for one. And where it cannot decode one data point, it leaves out all of
    // the metric's, without an error.
    let (Ok(message), Ok(given)) = (serde_json::from_slice::<R>(text), serde_json::from_slice(text)) else { return Said::Slow };
    if data(&given) != data(&serde_json::to_value(&message).expect("a message has a JSON form")) {
        return Said::Slow;
    }
    let same = sanitizer::protobuf::<R>(policy, now(), &message.encode_to_vec()).expect("what was decoded can be encoded");
    let decoded = |bytes: &[u8]| R::decode(bytes).expect("the output is a message").encode_to_vec();
    assert_eq!(decoded(sanitized.encoded()), decoded(same.encoded()), "JSON is treated in another way");
    // Names that OTLP does not define, the other decoder leaves out.
    let mut report = sanitized.report().clone();
    report.stripped_fields.remove(&(Place::UndefinedField, StripReason::NotAllowed));
    assert_eq!(&report, same.report(), "JSON is counted in another way");
    if same.report().stripped_total() + same.report().dropped_total() == 0 { Said::Clean } else { Said::Rewritten }
}

/// How many lists of data points there are.
fn data(json: &Value) -> usize {
    match json {
        Value::Object(object) => object.iter().map(|(key, value)| usize::from(key == "dataPoints") + data(value)).sum(),
        Value::Array(list) => list.iter().map(data).sum(),
        _ => 0,
    }
}
