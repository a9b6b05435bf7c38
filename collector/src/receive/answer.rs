//! What a sender is told: nothing more than it has to know, and never what it sent.

use contract::{Protocol, Refusal, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use sanitizer::{Report, Stripped, is_operators_doing};

/// Longest text that a sender is told, in bytes: it lands in logs.
const MAX_TEXT_BYTES: usize = 512;
/// What a text ends with that was too long.
const CUT: &str = ", …";

/// OTLP's answer to a message that was taken: nothing; or how many records were dropped from it, and why; or, `with_stripped`, what was stripped from
/// those that were not, which OTLP calls a warning.
pub fn accepted(signal: Signal, protocol: Protocol, report: &Report, with_stripped: bool) -> Vec<u8> {
    let rejected = i64::try_from(report.dropped_total()).unwrap_or(i64::MAX);
    let error_message = text(report, with_stripped);
    if error_message.is_empty() {
        // OTLP wants the partial success left out of the JSON, not null.
        return if protocol == Protocol::HttpJson { b"{}".to_vec() } else { Vec::new() };
    }
    match signal {
        Signal::Traces => {
            let partial_success = Some(ExportTracePartialSuccess { rejected_spans: rejected, error_message });
            encode(protocol, &ExportTraceServiceResponse { partial_success })
        }
        Signal::Logs => {
            let partial_success = Some(ExportLogsPartialSuccess { rejected_log_records: rejected, error_message });
            encode(protocol, &ExportLogsServiceResponse { partial_success })
        }
        Signal::Metrics => {
            let partial_success = Some(ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message });
            encode(protocol, &ExportMetricsServiceResponse { partial_success })
        }
    }
}

/// Counts and closed reasons, and keys that the policy knows. Nothing of what was sent.
fn text(report: &Report, with_stripped: bool) -> String {
    let dropped = report.dropped_records.iter().map(|(reason, records)| format!("{records} dropped: {reason}"));
    let stripped = if with_stripped { report.stripped_by_rule() } else { Vec::new() };
    // What the policy takes out or hides, the sender may well send.
    let faults = stripped.into_iter().filter(|stripped| !is_operators_doing(stripped.reason));
    let stripped = faults.map(|Stripped { place, reason, rule, fields }| {
        let rule = rule.map_or_else(String::new, |rule| format!(" {rule}"));
        format!("{fields} stripped: {place} {reason}{rule}")
    });
    let mut text = String::new();
    for item in dropped.chain(stripped) {
        let separator = if text.is_empty() { "" } else { ", " };
        if text.len() + separator.len() + item.len() + CUT.len() > MAX_TEXT_BYTES {
            return text + CUT;
        }
        text += separator;
        text += &item;
    }
    text
}

/// A message in the form in which the request came.
pub fn encode<T: prost::Message + serde::Serialize>(protocol: Protocol, message: &T) -> Vec<u8> {
    match protocol {
        // The messages are plain structures, which always have a JSON form.
        Protocol::HttpJson => serde_json::to_vec(message).unwrap_or_default(),
        Protocol::Grpc | Protocol::HttpProtobuf => message.encode_to_vec(),
    }
}

/// What a sender is told about a refused message. Constant text: it never repeats what was sent.
pub const fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TooLarge => {
            "the message is larger than 64 MiB, has more than two million parts, or is one of metrics that is larger than 4 MiB and encoded as no \
             OpenTelemetry SDK does it; send smaller batches"
        }
        Refusal::Malformed => "the message is not a valid OTLP export request",
        Refusal::Unsupported => "send application/x-protobuf, application/json or application/grpc, plain or with gzip",
        Refusal::Slow => "the message took too long to arrive; try again, or send smaller batches",
        Refusal::Overloaded => "too much is in flight; try again",
        Refusal::Unavailable => "the store cannot take the message now; try again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{DropReason, Place, StripReason};
    use prost::Message as _;

    /// Guarantees: full success says nothing, and a partial one counts what was dropped under the name that OTLP gives it for the signal.
    #[test]
    fn what_was_dropped_is_counted() {
        let mut report = Report::default();
        for signal in Signal::ALL {
            assert_eq!(accepted(*signal, Protocol::HttpJson, &report, true), b"{}");
            assert!(accepted(*signal, Protocol::Grpc, &report, true).is_empty());
        }
        report.dropped_records.extend([(DropReason::InvalidTime, 2), (DropReason::NoDestination, 40)]);
        for (signal, name) in
            [(Signal::Traces, "rejectedSpans"), (Signal::Logs, "rejectedLogRecords"), (Signal::Metrics, "rejectedDataPoints")]
        {
            let json: serde_json::Value = serde_json::from_slice(&accepted(signal, Protocol::HttpJson, &report, false)).unwrap();
            let expected = serde_json::json!({name: 42, "errorMessage": "2 dropped: invalid_time, 40 dropped: no_destination"});
            assert_eq!(json["partialSuccess"], expected);
            // Field 1 of the answer holds field 1 with the number 42, as the protocol defines all three.
            assert_eq!(accepted(signal, Protocol::Grpc, &report, false)[2..4], [0x08, 42]);
        }
    }

    /// Guarantees: what was stripped is a warning that rejects nothing, and is told only when it may be; every text is within its bound.
    #[test]
    fn what_was_stripped_is_a_warning() {
        let mut report = Report::default();
        report.stripped_fields.insert((Place::SpanAttribute, StripReason::UnknownKey), 3);
        assert_eq!(accepted(Signal::Traces, Protocol::HttpJson, &report, false), b"{}");
        let answer = accepted(Signal::Traces, Protocol::Grpc, &report, true);
        let answer = ExportTraceServiceResponse::decode(&*answer).unwrap().partial_success.unwrap();
        assert_eq!((answer.rejected_spans, &*answer.error_message), (0, "3 stripped: span_attribute unknown_key"));

        report.dropped_records.insert(DropReason::InvalidId, 1);
        assert_eq!(text(&report, false), "1 dropped: invalid_id");
        assert_eq!(text(&report, true), "1 dropped: invalid_id, 3 stripped: span_attribute unknown_key");
        let by_policy = [StripReason::Policy, StripReason::Hidden].map(|reason| ((Place::SpanAttribute, reason), 7));
        report.stripped_fields.extend(by_policy);
        assert_eq!(text(&report, true), "1 dropped: invalid_id, 3 stripped: span_attribute unknown_key");
        let every = Place::ALL.iter().flat_map(|place| StripReason::ALL.iter().map(|reason| ((*place, *reason), u64::MAX)));
        report.stripped_fields.extend(every);
        let text = text(&report, true);
        assert!(text.starts_with("1 dropped: invalid_id, ") && text.ends_with(", …") && text.len() <= 512, "{text}");
    }
}
