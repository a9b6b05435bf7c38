//! Ids of spans, derived from the row's id, so that a repeated delivery names the same spans and two processes agree without talking.

use opentelemetry::trace::{SpanId, TraceId};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Separates these ids from any other use of the same hash.
const DOMAIN: &[u8] = b"codex-pooler/span/v1";

/// The trace of a row: the 16 bytes of its id.
#[must_use]
pub fn trace(request_id: Uuid) -> TraceId {
    TraceId::from_bytes(request_id.into_bytes())
}

/// The span of the row itself.
#[must_use]
pub fn request_span(request_id: Uuid) -> SpanId {
    SpanId::from_bytes(derive("request", request_id, None))
}

/// The span of one attempt; `number` counts from 1.
#[must_use]
pub fn attempt_span(request_id: Uuid, number: u32) -> SpanId {
    SpanId::from_bytes(derive("attempt", request_id, Some(number)))
}

/// The id of an attempt that has none of its own; `number` counts from 1. In the form of a version 8 UUID, whose bits are its maker's.
#[must_use]
pub fn attempt(request_id: Uuid, number: u32) -> Uuid {
    uuid::Builder::from_custom_bytes(derive("attempt_id", request_id, Some(number))).into_uuid()
}

/// The trace that all markers of a row share. Not the row's own, which would then hold a span that says it is open.
#[must_use]
pub fn in_progress_trace(request_id: Uuid) -> TraceId {
    TraceId::from_bytes(derive("in_progress_trace", request_id, None))
}

/// The span of one marker; `sequence` counts from 0.
#[must_use]
pub fn in_progress_span(request_id: Uuid, sequence: u32) -> SpanId {
    SpanId::from_bytes(derive("in_progress", request_id, Some(sequence)))
}

/// The span of one correction; `sequence` counts from 1.
#[must_use]
pub fn correction_span(request_id: Uuid, sequence: u32) -> SpanId {
    SpanId::from_bytes(derive("correction", request_id, Some(sequence)))
}

fn derive<const N: usize>(label: &str, request_id: Uuid, suffix: Option<u32>) -> [u8; N] {
    let mut hash = Sha256::new();
    for part in [DOMAIN, &[0], label.as_bytes(), &[0], request_id.as_bytes()] {
        hash.update(part);
    }
    if let Some(suffix) = suffix {
        hash.update(suffix.to_be_bytes());
    }
    let digest = hash.finalize();
    let mut id = [0; N];
    for (to, from) in id.iter_mut().zip(digest) {
        *to = from;
    }
    // An id of zeros is invalid in OTLP.
    if id.iter().all(|b| *b == 0)
        && let Some(last) = id.last_mut()
    {
        *last = 1;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Uuid = Uuid::from_u128(0x0b5a_2f0e_6c0f_4f3a_9a53_0c7f_4f2f_8f11);

    /// Guarantees: ids are the ones that any other implementation derives. Expected values: `sha256sum` of the bytes that the rule names.
    #[test]
    fn ids_are_the_specified_ones() {
        let ids = [
            (trace(ROW).to_string(), "0b5a2f0e6c0f4f3a9a530c7f4f2f8f11"),
            (request_span(ROW).to_string(), "e2bc80a4691a66e9"),
            (attempt_span(ROW, 1).to_string(), "ee7eeccb052dde9f"),
            (attempt_span(ROW, 258).to_string(), "268594feafbd507f"),
            (in_progress_trace(ROW).to_string(), "b894186b5d96f02f5569b2b864fd8540"),
            (in_progress_span(ROW, 0).to_string(), "16c5f7c7e7aef654"),
            (correction_span(ROW, 1).to_string(), "16cf72e035f24226"),
        ];
        for (derived, expected) in ids {
            assert_eq!(derived, expected);
        }
    }
}
