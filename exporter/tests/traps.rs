//! What is easy to get wrong in a request log, one test each: where a pooler's own tables say something else than they seem to, and where a
//! number that nobody knows looks like one that somebody does.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use codex_pooler_exporter::{
    Account, Admission, Attempt, AttemptEnd, End, EndStatus, Exporter, Price, Rejection, Request, Settlement, Terminal, Tokens,
};
use contract::{PricingStatus, RecordKind, Transport, attr};
use opentelemetry_proto::tonic::trace::v1::Span;
use sanitizer::view;
use support::{account, admission, assert_clean, attempt, connected, spans_of};
use uuid::Uuid;

/// Every number of tokens that a row can have.
const TOKENS: [&str; 6] = [
    attr::USAGE_INPUT_TOKENS,
    attr::USAGE_CACHE_READ_INPUT_TOKENS,
    attr::USAGE_CACHE_WRITE_INPUT_TOKENS,
    attr::USAGE_OUTPUT_TOKENS,
    attr::USAGE_REASONING_OUTPUT_TOKENS,
    attr::USAGE_TOTAL_TOKENS,
];

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    view::text(&span.attributes, key)
}

fn int(span: &Span, key: &str) -> Option<i64> {
    view::int(&span.attributes, key)
}

/// The row of a request and its attempts in the order of their numbers, as they arrived.
fn sent(drive: impl FnOnce(&Exporter) -> Uuid) -> (Span, Vec<Span>) {
    let (backend, exporter) = connected();
    let id = drive(&exporter);
    exporter.shutdown();
    assert_clean(&backend);
    let mut attempts = spans_of(&backend, RecordKind::Attempt, id);
    attempts.sort_by_key(|span| int(span, attr::ATTEMPT_NUMBER));
    (spans_of(&backend, RecordKind::Request, id).remove(0), attempts)
}

/// As [`sent`], of a request that was dispatched and is then driven to its end.
fn dispatched(drive: impl FnOnce(Request)) -> (Span, Vec<Span>) {
    sent(|exporter| {
        let request = exporter.admit(admission()).dispatch();
        let id = request.id();
        drive(request);
        id
    })
}

/// A request with one attempt, settled like this.
fn settled(settlement: Settlement) -> Span {
    let usage = Some(Tokens { input: Some(640), total: Some(692), ..Tokens::default() });
    let (row, _) = dispatched(|request| {
        request.attempt(attempt("seat 1")).finish(AttemptEnd { usage, ..AttemptEnd::of(Terminal::Completed) });
        request.settle(settlement);
        request.finish(End::completed());
    });
    row
}

/// Guarantees: a rejected request has no attempts, no account, no retries, no latency and no usage.
#[test]
fn a_rejected_request_has_no_attempts() {
    let (row, attempts) = sent(|exporter| {
        let request = exporter.admit(admission());
        let id = request.id();
        request.reject(Rejection::new("model_not_allowed", 403));
        id
    });
    assert!(attempts.is_empty());
    assert_eq!((text(&row, attr::REQUEST_STATUS), text(&row, attr::USAGE_STATUS)), (Some("rejected"), Some("not_applicable")));
    assert_eq!((text(&row, attr::UPSTREAM_ACCOUNT_LABEL), text(&row, attr::UPSTREAM_ACCOUNT_ID)), (Some("none"), None));
    assert_eq!((int(&row, attr::REQUEST_RETRY_COUNT), int(&row, attr::REQUEST_LATENCY_MS)), (Some(0), None));
}

/// Guarantees: a row has tokens only where usage is known, also where an attempt reported some: what stands in a ledger before that is the
/// estimate of a reservation.
#[test]
fn estimates_are_no_usage() {
    for (settlement, status) in [(Settlement::Unknown, "usage_unknown"), (Settlement::NotApplicable, "not_applicable")] {
        let row = settled(settlement);
        assert_eq!(text(&row, attr::USAGE_STATUS), Some(status));
        assert!(TOKENS.iter().all(|key| int(&row, key).is_none()), "{status}");
        assert_eq!(view::double(&row.attributes, attr::COST_SETTLED_USD), None, "{status}");
    }
}

/// Guarantees: of known usage, each number is there if it was reported: zero cached tokens are zero, and those that nobody reported are absent.
#[test]
fn a_reported_zero_is_not_an_absent_number() {
    let tokens = Tokens { input: Some(640), cache_read: Some(0), total: Some(692), ..Tokens::default() };
    let row = settled(Settlement::Known { tokens, price: Price::Unpriced(PricingStatus::UnpricedMissingModel) });
    assert_eq!(TOKENS.map(|key| int(&row, key)), [Some(640), Some(0), None, None, None, Some(692)]);
}

/// Guarantees: a cost that nobody knows is absent and never zero; a zero that somebody knows is a cost.
#[test]
fn an_unknown_cost_is_not_zero() {
    let tokens = Tokens { total: Some(692), ..Tokens::default() };
    let cost = |price| view::double(&settled(Settlement::Known { tokens, price }).attributes, attr::COST_SETTLED_USD);
    assert_eq!(cost(Price::Unpriced(PricingStatus::UnpricedMissingModel)), None);
    assert_eq!(cost(Price::Priced { usd: 0.0 }), Some(0.0));
    assert_eq!(cost(Price::Priced { usd: f64::NAN }), None);
}

/// Guarantees: after a retry, account and plan of the row are those of the last attempt, which served, and not of the first.
#[test]
fn the_account_that_served_is_the_last_attempts() {
    let on = |label: &str, plan: &str| {
        let account = Account { plan_label: Some(plan.into()), plan_family: Some(plan.into()), ..account(label) };
        Attempt::new(account, Transport::HttpSse)
    };
    let (row, attempts) = dispatched(|request| {
        request.attempt(on("seat 1", "free")).finish(AttemptEnd::retryable("upstream_network_error"));
        request.attempt(on("seat 2", "pro")).finish(AttemptEnd::of(Terminal::Completed));
        request.settle(Settlement::Unknown);
        request.finish(End::completed());
    });
    for key in [attr::UPSTREAM_ACCOUNT_ID, attr::UPSTREAM_ACCOUNT_LABEL, attr::UPSTREAM_PLAN_LABEL, attr::UPSTREAM_PLAN_FAMILY] {
        assert!(text(&row, key).is_some() && text(&row, key) == text(&attempts[1], key), "{key}");
    }
    assert_eq!((text(&row, attr::UPSTREAM_ACCOUNT_LABEL), text(&row, attr::UPSTREAM_PLAN_FAMILY)), (Some("seat 2"), Some("pro")));
}

/// Guarantees: retries are counted from the attempts; candidates that were skipped count too where the pooler says so.
#[test]
fn skipped_candidates_are_retries() {
    let retries = |retry_count| {
        let (row, attempts) = dispatched(|request| {
            request.attempt(attempt("seat 1")).finish(AttemptEnd::retryable("upstream_network_error"));
            request.attempt(attempt("seat 2")).finish(AttemptEnd::of(Terminal::Completed));
            request.settle(Settlement::Unknown);
            request.finish(End { retry_count, ..End::completed() });
        });
        (attempts.len(), int(&row, attr::REQUEST_RETRY_COUNT))
    };
    assert_eq!(retries(0), (2, Some(1)));
    assert_eq!(retries(4), (2, Some(4)));
}

/// Guarantees: attempts are children of the row in its trace, with numbers from 1, and lie inside it and one after the other; ids that nobody gave
/// them are derived, and differ.
#[test]
fn attempts_nest() {
    let (row, attempts) = dispatched(|request| {
        for label in ["seat 1", "seat 2"] {
            request.attempt(attempt(label)).finish(AttemptEnd::retryable("upstream_network_error"));
        }
        request.attempt(attempt("seat 3")).finish(AttemptEnd::of(Terminal::Completed));
        request.settle(Settlement::Unknown);
        request.finish(End::completed());
    });
    let numbers: Vec<_> = attempts.iter().map(|span| int(span, attr::ATTEMPT_NUMBER)).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
    for span in &attempts {
        assert_eq!((&span.trace_id, &span.parent_span_id), (&row.trace_id, &row.span_id));
        assert!(row.start_time_unix_nano <= span.start_time_unix_nano && span.end_time_unix_nano <= row.end_time_unix_nano);
    }
    assert!(attempts.windows(2).all(|pair| pair[0].end_time_unix_nano <= pair[1].start_time_unix_nano));
    let mut ids: Vec<_> = attempts.iter().map(|span| Uuid::parse_str(text(span, attr::ATTEMPT_ID).unwrap()).unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() == 3 && ids.iter().all(|id| !id.is_nil()));
}

/// Guarantees: an attempt that starts has not ended, whatever is said of its end before it has: dropped, it is interrupted.
#[test]
fn an_attempt_that_starts_has_not_ended() {
    let (_, attempts) = dispatched(|request| {
        drop(request.attempt(Attempt { end: Some(AttemptEnd::of(Terminal::Completed)), ..attempt("seat 1") }));
        request.settle(Settlement::Unknown);
        request.finish(End::failed("stale_reservation_recovered"));
    });
    assert_eq!(text(&attempts[0], attr::ATTEMPT_STATUS), Some("failed"));
}

/// Guarantees: an attempt that failed on the network has no status, and none is made up.
#[test]
fn a_network_failure_has_no_status() {
    let (row, attempts) = dispatched(|request| {
        request.attempt(attempt("seat 1")).finish(AttemptEnd::failed("upstream_network_error"));
        request.settle(Settlement::Unknown);
        request.finish(End { http_status: Some(502), ..End::failed("upstream_network_error") });
    });
    assert_eq!(int(&attempts[0], attr::HTTP_RESPONSE_STATUS_CODE), None);
    assert_eq!(int(&row, attr::HTTP_RESPONSE_STATUS_CODE), Some(502), "the pooler's own answer");
}

/// Guarantees: a latency that nobody measured, as of an attempt that nobody ended, is absent and not zero.
#[test]
fn an_unknown_latency_is_not_zero() {
    let (row, attempts) = dispatched(|request| {
        let _nobody_ends_it = request.attempt(attempt("seat 1"));
        request.settle(Settlement::Unknown);
        request.finish(End::failed("stale_reservation_recovered"));
    });
    assert_eq!(text(&attempts[0], attr::ERROR_CODE), Some("interrupted"));
    assert_eq!(int(&row, attr::REQUEST_LATENCY_MS), None);
    assert_eq!(text(&row, attr::TEXT_ROUTE), Some("/backend-api/codex/responses"));
}

/// Guarantees: a stream that broke after its header is a failure, although the client was told 200.
#[test]
fn a_failed_stream_keeps_its_200() {
    let (row, _) = dispatched(|request| {
        request.attempt(attempt("seat 1")).finish(AttemptEnd { http_status: Some(200), ..AttemptEnd::of(Terminal::Truncated) });
        request.settle(Settlement::Unknown);
        request.finish(End { http_status: Some(200), ..End::truncated() });
    });
    assert_eq!((text(&row, attr::REQUEST_STATUS), text(&row, attr::REQUEST_OUTCOME)), (Some("failed"), Some("bad")));
    assert_eq!(int(&row, attr::HTTP_RESPONSE_STATUS_CODE), Some(200));
}

/// Guarantees: an incomplete response is marked as one, whether it is a success that was cut short or a failure.
#[test]
fn an_incomplete_response_is_marked() {
    for (error, status, reason) in [(None, "succeeded", Some("max_output_tokens")), (Some("server_error"), "failed", None)] {
        let terminal = Terminal::Incomplete { reason: Some("max_output_tokens"), error };
        let (row, attempts) = dispatched(|request| {
            request.attempt(attempt("seat 1")).finish(AttemptEnd::of(terminal));
            request.settle(Settlement::Unknown);
            request.finish(End::of(terminal));
        });
        assert_eq!((text(&row, attr::REQUEST_STATUS), text(&row, attr::RESPONSE_INCOMPLETE_REASON)), (Some(status), reason));
        for span in [&row, &attempts[0]] {
            assert_eq!(text(span, attr::RESPONSE_STATUS), Some("incomplete"));
        }
    }
}

/// Guarantees: a path in the place of the model, as requests about no model have it, is no model.
#[test]
fn a_path_is_no_model() {
    let (row, _) = sent(|exporter| {
        let request = exporter.admit(Admission { model: Some("/backend-api/codex/models".into()), ..admission() });
        let id = request.id();
        request.complete(End::new(EndStatus::Succeeded));
        id
    });
    assert_eq!(text(&row, attr::REQUEST_MODEL), Some("none"));
    assert_eq!(text(&row, attr::TEXT_MODEL), Some("– / default · CI agents"));
}
