//! What a row shows: the row span with its corrections laid over it, or, while the request is open, its last marker made into a row.

use std::time::Duration;

use contract::{RecordKind, attr, limits};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use sanitizer::view;

/// The error line of an open request that has not been heard of for [`limits::HEARTBEAT_LOST_AFTER`].
pub(crate) const NO_HEARTBEAT: &str = "no heartbeat";

const NS_PER_MS: u64 = 1_000_000;

/// A duration in nanoseconds; those of the contract fit easily.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The 16 bytes of a row id, which are its trace id. `None` for anything that is no UUID with dashes.
pub(crate) fn id_bytes(row_id: &str) -> Option<[u8; 16]> {
    let digits: String = row_id.chars().filter(|c| *c != '-').collect();
    let id = u128::from_str_radix(&digits, 16).ok().filter(|id| digits.len() == 32 && *id != 0)?;
    Some(id.to_be_bytes())
}

/// The row that a marker stands for: the request's trace, from admission to the marker.
pub(crate) fn live(marker: &Span, trace_id: [u8; 16]) -> Span {
    let attributes = &marker.attributes;
    let admitted_ns =
        view::int(attributes, attr::REQUEST_ADMITTED_MS).and_then(|ms| u64::try_from(ms).ok()).map(|ms| ms * NS_PER_MS);
    let name = match (view::text(attributes, attr::HTTP_REQUEST_METHOD), view::text(attributes, attr::HTTP_ROUTE)) {
        (Some(method), Some(route)) => format!("{method} {route}"),
        _ => contract::Record::of(Some(RecordKind::Request)).fallback_name.to_owned(),
    };
    let mut row = Span {
        trace_id: trace_id.to_vec(),
        parent_span_id: Vec::new(),
        name,
        kind: SpanKind::Server as i32,
        // A sender whose clock was set back must not make a row that ends before it began.
        start_time_unix_nano: admitted_ns.unwrap_or(marker.start_time_unix_nano).min(marker.end_time_unix_nano),
        ..marker.clone()
    };
    row.attributes.retain(|attribute| attribute.key != attr::IN_PROGRESS_SEQUENCE);
    set(&mut row.attributes, text(attr::RECORD_KIND, RecordKind::Request.as_str()));
    row
}

/// An open request's row as it is now: without a recent marker, it says so.
pub(crate) fn age(row: &mut Span, now_ns: u64) {
    if now_ns.saturating_sub(row.end_time_unix_nano) >= nanoseconds(limits::HEARTBEAT_LOST_AFTER) {
        set(&mut row.attributes, text(attr::TEXT_ERRORS, NO_HEARTBEAT));
    }
}

/// Lays corrections over a row, in the order of their numbers, so that of each attribute the highest number holds. Doing it again, with
/// all the corrections known by then, gives the same row as doing it once.
pub(crate) fn correct(row: &mut Span, corrections: &[Span]) {
    for correction in corrections {
        let changes_status = view::text(&correction.attributes, attr::REQUEST_STATUS).is_some();
        if let Some(status) = correction.status.as_ref().filter(|s| changes_status || s.code != StatusCode::Unset as i32) {
            row.status = Some(status.clone());
        } else if changes_status {
            row.status = None;
        }
        for attribute in &correction.attributes {
            if !matches!(attribute.key.as_str(), attr::RECORD_KIND | attr::CORRECTION_SEQUENCE) {
                set(&mut row.attributes, attribute.clone());
            }
        }
        // A correction cannot take an attribute away, and this one belongs to failed spans only.
        if changes_status && row.status.as_ref().is_none_or(|status| status.code != StatusCode::Error as i32) {
            row.attributes.retain(|attribute| attribute.key != attr::ERROR_TYPE);
        }
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn set(attributes: &mut Vec<KeyValue>, new: KeyValue) {
    match attributes.iter_mut().find(|attribute| attribute.key == new.key) {
        Some(old) => *old = new,
        None => attributes.push(new),
    }
}
