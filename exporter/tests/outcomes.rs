//! Every way in which a request can end, as the request log tells it, down to the bytes of OTLP.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use codex_pooler_exporter::lifecycle::INCOMPLETE_ERRORS;
use codex_pooler_exporter::{AttemptEnd, End, EndStatus, Exporter, Rejection, Settlement, Terminal};
use contract::{AttemptStatus, RecordKind, attr};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use sanitizer::view;
use support::{admission, assert_clean, attempt, connected, spans_of};
use uuid::Uuid;

const NO: &str = "none";

/// What a row, or an attempt, must say.
struct Row {
    status: &'static str,
    outcome: &'static str,
    error_code: &'static str,
    /// Present if and only if the span's status is Error.
    error_type: Option<&'static str>,
    http_status: Option<i64>,
    response_status: Option<&'static str>,
    incomplete_reason: Option<&'static str>,
    retries: i64,
}

impl Row {
    const GOOD: Self = Self {
        status: "succeeded",
        outcome: "good",
        error_code: NO,
        error_type: None,
        http_status: Some(200),
        response_status: Some("completed"),
        incomplete_reason: None,
        retries: 0,
    };

    /// A failure for which the service answers.
    const fn bad(code: &'static str, http_status: i64) -> Self {
        Self {
            status: "failed",
            outcome: "bad",
            error_code: code,
            error_type: Some(code),
            http_status: Some(http_status),
            response_status: None,
            ..Self::GOOD
        }
    }
}

/// Status, error code, `error.type`, finish reasons.
type Attempt = (&'static str, &'static str, Option<&'static str>, &'static [&'static str]);

const SERVED: Attempt = ("succeeded", NO, None, &[]);

struct Case {
    situation: &'static str,
    drive: fn(&Exporter) -> Uuid,
    row: Row,
    attempts: &'static [Attempt],
}

/// One attempt, and the same terminal for it and for its request.
fn ends(exporter: &Exporter, terminal: Terminal<'_>, http_status: u16) -> Uuid {
    let admission = admission();
    let id = admission.request_id;
    let request = exporter.admit(admission).dispatch();
    request.attempt(attempt("seat 1")).finish(AttemptEnd { http_status: Some(200), ..AttemptEnd::of(terminal) });
    request.settle(Settlement::Unknown);
    request.finish(End { http_status: Some(http_status), ..End::of(terminal) });
    id
}

/// As many failed attempts as given, then the end of the last one and of the request.
fn tries(exporter: &Exporter, failed: &[AttemptEnd], last: AttemptEnd, end: End) -> Uuid {
    let admission = admission();
    let id = admission.request_id;
    let request = exporter.admit(admission).dispatch();
    for (number, failed) in failed.iter().enumerate() {
        request.attempt(attempt(&format!("seat {number}"))).finish(failed.clone());
    }
    request.attempt(attempt("seat last")).finish(last);
    request.settle(Settlement::Unknown);
    request.finish(end);
    id
}

fn rejected(exporter: &Exporter, code: &str, http_status: u16) -> Uuid {
    let admission = admission();
    let id = admission.request_id;
    exporter.admit(admission).reject(Rejection::new(code, http_status));
    id
}

const INCOMPLETE: Row = Row { response_status: Some("incomplete"), ..Row::GOOD };

const CASES: &[Case] = &[
    Case { situation: "normal", drive: |e| ends(e, Terminal::Completed, 200), row: Row::GOOD, attempts: &[SERVED] },
    Case {
        situation: "incomplete by the token limit",
        drive: |e| ends(e, Terminal::Incomplete { reason: Some("max_output_tokens"), error: None }, 200),
        row: Row { incomplete_reason: Some("max_output_tokens"), ..INCOMPLETE },
        attempts: &[("succeeded", NO, None, &["length"])],
    },
    Case {
        situation: "incomplete by the content filter",
        drive: |e| ends(e, Terminal::Incomplete { reason: Some("content_filter"), error: None }, 200),
        row: Row { incomplete_reason: Some("content_filter"), ..INCOMPLETE },
        attempts: &[("succeeded", NO, None, &["content_filter"])],
    },
    Case {
        situation: "incomplete for a harmless reason that nobody knows",
        drive: |e| ends(e, Terminal::Incomplete { reason: Some("user paused it"), error: None }, 200),
        row: Row { incomplete_reason: Some("_OTHER"), ..INCOMPLETE },
        attempts: &[SERVED],
    },
    Case {
        situation: "incomplete without a reason",
        drive: |e| ends(e, Terminal::Incomplete { reason: None, error: None }, 200),
        row: INCOMPLETE,
        attempts: &[SERVED],
    },
    Case {
        situation: "incomplete with an error object",
        drive: |e| ends(e, Terminal::Incomplete { reason: Some("max_output_tokens"), error: Some("cyber_policy") }, 200),
        row: Row { outcome: "neutral", response_status: Some("incomplete"), ..Row::bad("cyber_policy", 200) },
        attempts: &[("failed", "cyber_policy", Some("cyber_policy"), &[])],
    },
    Case {
        situation: "incomplete with an error object that has no code",
        drive: |e| ends(e, Terminal::Incomplete { reason: None, error: Some("") }, 200),
        row: Row { response_status: Some("incomplete"), ..Row::bad("response.incomplete", 200) },
        attempts: &[("failed", "response.incomplete", Some("response.incomplete"), &[])],
    },
    Case {
        situation: "incomplete whose reason is an error code",
        drive: |e| ends(e, Terminal::Incomplete { reason: Some("rate_limit_exceeded"), error: None }, 200),
        row: Row { response_status: Some("incomplete"), ..Row::bad("rate_limit_exceeded", 200) },
        attempts: &[("failed", "rate_limit_exceeded", Some("rate_limit_exceeded"), &[])],
    },
    Case {
        situation: "stale continuation anchor",
        drive: |e| ends(e, Terminal::Failed(Some("previous_response_not_found")), 200),
        row: Row { response_status: Some("failed"), ..Row::bad("stream_incomplete", 200) },
        attempts: &[("failed", "stream_incomplete", Some("stream_incomplete"), &[])],
    },
    Case {
        situation: "stale continuation anchor in an incomplete response",
        drive: |e| ends(e, Terminal::Incomplete { reason: Some("invalid_previous_response_id"), error: None }, 200),
        row: Row { response_status: Some("incomplete"), ..Row::bad("stream_incomplete", 200) },
        attempts: &[("failed", "stream_incomplete", Some("stream_incomplete"), &[])],
    },
    Case {
        situation: "response.failed after a 200",
        drive: |e| ends(e, Terminal::Failed(Some("model_not_found")), 200),
        row: Row { response_status: Some("failed"), ..Row::bad("model_not_found", 200) },
        attempts: &[("failed", "model_not_found", Some("model_not_found"), &[])],
    },
    Case {
        situation: "error without a code",
        drive: |e| ends(e, Terminal::Failed(None), 200),
        row: Row { response_status: Some("failed"), ..Row::bad("response.failed", 200) },
        attempts: &[("failed", "response.failed", Some("response.failed"), &[])],
    },
    Case {
        situation: "stream that ended without a terminal",
        drive: |e| ends(e, Terminal::Truncated, 200),
        row: Row::bad("upstream_stream_error", 200),
        attempts: &[("failed", "upstream_stream_error", Some("upstream_stream_error"), &[])],
    },
    Case {
        situation: "client went away, over SSE",
        drive: |e| ends(e, Terminal::ClientDisconnected, 200),
        row: Row { outcome: "neutral", error_type: None, ..Row::bad("client_disconnected", 200) },
        attempts: &[("cancelled", "client_disconnected", None, &[])],
    },
    Case {
        situation: "client went away, with the status that stands for it",
        drive: |e| ends(e, Terminal::ClientDisconnected, 499),
        row: Row { outcome: "neutral", error_type: None, ..Row::bad("client_disconnected", 499) },
        attempts: &[("cancelled", "client_disconnected", None, &[])],
    },
    Case {
        situation: "client went away, and the attempt is told as failed, as the pooler's own rows tell it",
        drive: |e| {
            let last = AttemptEnd { http_status: Some(499), ..AttemptEnd::failed("client_disconnected") };
            tries(e, &[], last, End { http_status: Some(499), ..End::client_disconnected() })
        },
        row: Row { outcome: "neutral", error_type: None, ..Row::bad("client_disconnected", 499) },
        attempts: &[("failed", "client_disconnected", None, &[])],
    },
    Case {
        situation: "client went away, in an old row",
        drive: |e| {
            let end = End { status: EndStatus::Cancelled, http_status: Some(499), ..End::client_disconnected() };
            tries(e, &[], AttemptEnd::of(Terminal::ClientDisconnected), end)
        },
        row: Row { status: "cancelled", outcome: "neutral", error_type: None, ..Row::bad("client_disconnected", 499) },
        attempts: &[("cancelled", "client_disconnected", None, &[])],
    },
    Case {
        situation: "succeeded after a retry",
        drive: |e| {
            let failed = AttemptEnd { http_status: Some(429), ..AttemptEnd::retryable("upstream_rate_limited") };
            let last = AttemptEnd::of(Terminal::Completed);
            tries(e, &[failed], last, End { http_status: Some(200), ..End::completed() })
        },
        row: Row { retries: 1, ..Row::GOOD },
        attempts: &[("retryable_failed", "upstream_rate_limited", Some("upstream_rate_limited"), &[]), SERVED],
    },
    Case {
        situation: "more candidates than attempts: some were skipped",
        drive: |e| {
            let end = End { http_status: Some(200), retry_count: 4, ..End::completed() };
            tries(e, &[AttemptEnd::retryable("upstream_network_error")], AttemptEnd::of(Terminal::Completed), end)
        },
        row: Row { retries: 4, ..Row::GOOD },
        attempts: &[("retryable_failed", "upstream_network_error", Some("upstream_network_error"), &[]), SERVED],
    },
    Case {
        situation: "upstream 4xx passed through, with a code",
        drive: |e| {
            let last = AttemptEnd { http_status: Some(400), ..AttemptEnd::failed("unsupported_value") };
            tries(e, &[], last, End { http_status: Some(400), ..End::failed("unsupported_value") })
        },
        row: Row { outcome: "neutral", error_type: None, ..Row::bad("unsupported_value", 400) },
        attempts: &[("failed", "unsupported_value", Some("unsupported_value"), &[])],
    },
    Case {
        situation: "upstream 4xx passed through, without one",
        drive: |e| {
            let last = AttemptEnd { http_status: Some(404), ..AttemptEnd::new(AttemptStatus::Failed) };
            tries(e, &[], last, End { http_status: Some(404), ..End::new(EndStatus::Failed) })
        },
        row: Row { error_code: NO, error_type: None, ..Row::bad("", 404) },
        attempts: &[("failed", NO, Some("404"), &[])],
    },
    Case {
        situation: "failed after a 200, without a code: a status of success is no type of error",
        drive: |e| {
            let last = AttemptEnd { http_status: Some(200), ..AttemptEnd::new(AttemptStatus::Failed) };
            tries(e, &[], last, End { http_status: Some(200), ..End::new(EndStatus::Failed) })
        },
        row: Row { error_code: NO, error_type: Some("_OTHER"), ..Row::bad("", 200) },
        attempts: &[("failed", NO, Some("_OTHER"), &[])],
    },
    Case {
        situation: "failed with 5xx",
        drive: |e| {
            let failed = AttemptEnd::retryable("upstream_network_error");
            let last = AttemptEnd::failed("upstream_network_error");
            tries(e, &[failed], last, End { http_status: Some(502), ..End::failed("upstream_network_error") })
        },
        row: Row { retries: 1, ..Row::bad("upstream_network_error", 502) },
        attempts: &[
            ("retryable_failed", "upstream_network_error", Some("upstream_network_error"), &[]),
            ("failed", "upstream_network_error", Some("upstream_network_error"), &[]),
        ],
    },
    Case {
        situation: "reserved, and no attempt could start",
        drive: |e| {
            let admission = admission();
            let id = admission.request_id;
            e.admit(admission).complete(End { http_status: Some(503), ..End::failed("no_eligible_backend") });
            id
        },
        row: Row::bad("no_eligible_backend", 503),
        attempts: &[],
    },
    Case {
        situation: "rejected with 4xx",
        drive: |e| rejected(e, "model_not_allowed", 403),
        row: Row { status: "rejected", outcome: "neutral", error_type: None, ..Row::bad("model_not_allowed", 403) },
        attempts: &[],
    },
    Case {
        situation: "rejected with 5xx",
        drive: |e| rejected(e, "quota_exhausted", 503),
        row: Row { status: "rejected", outcome: "neutral", ..Row::bad("quota_exhausted", 503) },
        attempts: &[],
    },
    Case {
        situation: "recovered stale row",
        drive: |e| {
            let last = AttemptEnd { http_status: Some(499), ..AttemptEnd::failed("terminal_request_attempt_recovered") };
            tries(e, &[], last, End { http_status: Some(499), ..End::failed("stale_reservation_recovered") })
        },
        row: Row::bad("stale_reservation_recovered", 499),
        attempts: &[("failed", "terminal_request_attempt_recovered", Some("terminal_request_attempt_recovered"), &[])],
    },
    Case {
        situation: "dropped by a task that panicked or was cancelled",
        drive: |e| {
            let admission = admission();
            let id = admission.request_id;
            let request = e.admit(admission).dispatch();
            let _open = request.attempt(attempt("seat 1"));
            drop(request);
            id
        },
        row: Row { http_status: None, ..Row::bad("interrupted", 0) },
        attempts: &[("failed", "interrupted", Some("interrupted"), &[])],
    },
    Case {
        situation: "dropped before it was dispatched",
        drive: |e| {
            let admission = admission();
            let id = admission.request_id;
            drop(e.admit(admission));
            id
        },
        row: Row { http_status: None, ..Row::bad("interrupted", 0) },
        attempts: &[],
    },
];

fn finish_reasons(span: &Span) -> Vec<&str> {
    let list = span.attributes.iter().find(|a| a.key == attr::GEN_AI_RESPONSE_FINISH_REASONS).and_then(|a| a.value.as_ref());
    match list.and_then(|list| list.value.as_ref()) {
        Some(Value::ArrayValue(list)) => list
            .values
            .iter()
            .map(|item| match &item.value {
                Some(Value::StringValue(text)) => text.as_str(),
                _ => panic!("a reason is a text"),
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn check_status(span: &Span, error_type: Option<&str>, situation: &str) {
    let expected = if error_type.is_some() { StatusCode::Error } else { StatusCode::Unset };
    let status = span.status.clone().unwrap_or_default();
    assert_eq!((status.code(), status.message.as_str()), (expected, ""), "{situation}");
    assert_eq!(view::text(&span.attributes, attr::ERROR_TYPE), error_type, "{situation}");
}

/// Guarantees: every line of the outcome mapping, from the handles to the bytes: status, outcome, code, span status, `error.type`, HTTP
/// status, response status and reason of the row; and the same of every attempt below it.
#[test]
fn every_outcome() {
    let (backend, exporter) = connected();
    let ids: Vec<_> = CASES.iter().map(|case| (case.drive)(&exporter)).collect();
    let totals = exporter.shutdown();
    assert_eq!((totals.dropped(), totals.queued), (0, 0));
    assert_clean(&backend);
    for (case, id) in CASES.iter().zip(ids) {
        let (situation, expected) = (case.situation, &case.row);
        let rows = spans_of(&backend, RecordKind::Request, id);
        assert_eq!(rows.len(), 1, "{situation}: emitted once");
        let row = &rows[0];
        let text = |key| view::text(&row.attributes, key);
        assert_eq!((row.kind(), row.parent_span_id.len()), (SpanKind::Server, 0), "{situation}");
        assert_eq!(text(attr::REQUEST_STATUS), Some(expected.status), "{situation}");
        assert_eq!(text(attr::REQUEST_OUTCOME), Some(expected.outcome), "{situation}");
        assert_eq!(text(attr::ERROR_CODE), Some(expected.error_code), "{situation}");
        assert_eq!(text(attr::RESPONSE_STATUS), expected.response_status, "{situation}");
        assert_eq!(text(attr::RESPONSE_INCOMPLETE_REASON), expected.incomplete_reason, "{situation}");
        assert_eq!(view::int(&row.attributes, attr::HTTP_RESPONSE_STATUS_CODE), expected.http_status, "{situation}");
        assert_eq!(view::int(&row.attributes, attr::REQUEST_RETRY_COUNT), Some(expected.retries), "{situation}");
        let usage = if case.attempts.is_empty() { "not_applicable" } else { "usage_unknown" };
        assert_eq!(text(attr::USAGE_STATUS), Some(usage), "{situation}");
        assert!(view::int(&row.attributes, attr::USAGE_TOTAL_TOKENS).is_none(), "{situation}");
        check_status(row, expected.error_type, situation);

        let mut attempts = spans_of(&backend, RecordKind::Attempt, id);
        attempts.sort_by_key(|span| view::int(&span.attributes, attr::ATTEMPT_NUMBER));
        assert_eq!(attempts.len(), case.attempts.len(), "{situation}");
        for (span, (status, code, error_type, reasons)) in attempts.iter().zip(case.attempts) {
            assert_eq!((span.kind(), &span.parent_span_id), (SpanKind::Client, &row.span_id), "{situation}");
            assert_eq!(view::text(&span.attributes, attr::ATTEMPT_STATUS), Some(*status), "{situation}");
            assert_eq!(view::text(&span.attributes, attr::ERROR_CODE), Some(*code), "{situation}");
            assert_eq!(finish_reasons(span), *reasons, "{situation}");
            check_status(span, *error_type, situation);
        }
        if let Some(last) = attempts.last() {
            let account = |span: &Span| view::text(&span.attributes, attr::UPSTREAM_ACCOUNT_LABEL).map(str::to_owned);
            assert_eq!(account(row), account(last), "{situation}: the account that served is the last attempt's");
        }
    }
}

/// Guarantees: every reason of the list makes a failure with the code that the log keeps; the two that name a stale anchor are masked.
#[test]
fn every_incomplete_error() {
    assert_eq!(INCOMPLETE_ERRORS.len(), 22);
    for reason in INCOMPLETE_ERRORS {
        let masked = ["previous_response_not_found", "invalid_previous_response_id"].contains(reason);
        let expected = if masked { "stream_incomplete" } else { reason };
        let end = End::incomplete(reason);
        assert_eq!((end.status, end.error_code.as_deref()), (EndStatus::Failed, Some(expected)), "{reason}");
        assert!(end.incomplete_reason.is_none());
    }
}
