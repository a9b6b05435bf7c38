//! When a row goes out, what is learned after it has, and when all of it happened.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use codex_pooler_exporter::{
    AttemptEnd, End, EndStatus, Exporter, Finished, Lifecycle, Price, Protocol, Rejection, Settlement, Terminal, Tokens,
};
use contract::{RecordKind, attr};
use opentelemetry_proto::tonic::trace::v1::Span;
use sanitizer::view;
use support::{admission, assert_clean, attempt, connected, spans_of};
use testkit::backend::{Answer, Backend, Script};
use testkit::wait_for;
use uuid::Uuid;

fn known(total: u64) -> Settlement {
    let tokens = Tokens { input: Some(600), output: Some(total - 600), total: Some(total), ..Tokens::default() };
    Settlement::Known { tokens, price: Price::Priced { usd: 0.25 } }
}

/// A request that has ended, with one attempt, and waits for its settlement.
fn pending(exporter: &Exporter) -> (Uuid, Finished) {
    let admission = admission();
    let id = admission.request_id;
    let request = exporter.admit(admission).dispatch();
    request.attempt(attempt("seat 1")).finish(AttemptEnd::of(Terminal::Completed));
    (id, request.finish(End::completed()))
}

fn rows(backend: &Backend, id: Uuid) -> Vec<Span> {
    spans_of(backend, RecordKind::Request, id)
}

fn usage(span: &Span) -> (Option<&str>, Option<i64>, Option<f64>) {
    (
        view::text(&span.attributes, attr::USAGE_STATUS),
        view::int(&span.attributes, attr::USAGE_TOTAL_TOKENS),
        view::double(&span.attributes, attr::COST_SETTLED_USD),
    )
}

/// Guarantees: a row waits for its settlement and goes out once, with it; known usage is final, so that a second settlement says nothing.
#[test]
fn a_row_waits_for_its_settlement() {
    let (backend, exporter) = connected();
    let (id, mut finished) = pending(&exporter);
    exporter.flush();
    assert!(rows(&backend, id).is_empty(), "held");
    finished.settle(known(692));
    finished.settle(known(999));
    finished.settle(Settlement::Unknown);
    drop(finished);
    exporter.shutdown();
    assert_eq!(rows(&backend, id).len(), 1);
    assert_eq!(usage(&rows(&backend, id)[0]), (Some("usage_known"), Some(692), Some(0.25)));
    assert!(spans_of(&backend, RecordKind::Correction, id).is_empty());
    assert_clean(&backend);
}

/// Guarantees: a row that has waited long enough goes out as it is, and what is learned then is a correction in its trace that carries the
/// usage; one more is numbered on.
#[test]
fn late_usage_is_a_correction() {
    let backend = Backend::http(Script::always(Answer::Accept));
    let builder = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf);
    let exporter = builder.settlement_hold(Duration::from_millis(50)).build().unwrap();
    let (id, mut finished) = pending(&exporter);
    let row = wait_for("the row", || rows(&backend, id).pop());
    assert_eq!(usage(&row), (Some("usage_pending"), None, None));
    let learned_at = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    finished.settle_at(known(692), learned_at);
    let mut better = finished.lifecycle().unwrap();
    better.settlement = known(693);
    finished.correct(better);
    exporter.shutdown();
    let corrections = spans_of(&backend, RecordKind::Correction, id);
    assert_eq!(corrections.len(), 2);
    for (at, (correction, total)) in corrections.iter().zip([692, 693]).enumerate() {
        assert_eq!((&correction.trace_id, &correction.parent_span_id), (&row.trace_id, &row.span_id));
        assert_eq!(view::int(&correction.attributes, attr::CORRECTION_SEQUENCE), Some(i64::try_from(at).unwrap() + 1));
        assert_eq!(usage(correction), (Some("usage_known"), Some(total), Some(0.25)));
    }
    assert_eq!(corrections[0].start_time_unix_nano, 1_790_000_000_000_000_000);
    assert_eq!(rows(&backend, id).len(), 1, "emitted once");
    assert_clean(&backend);
}

/// Guarantees: known usage is final also where it was learned late: no correction takes it back, and none says twice what was said.
#[test]
fn late_known_usage_is_final() {
    let backend = Backend::http(Script::always(Answer::Accept));
    let builder = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf);
    let exporter = builder.settlement_hold(Duration::from_millis(50)).build().unwrap();
    let (id, mut finished) = pending(&exporter);
    wait_for("the row", || rows(&backend, id).pop());
    let words = [Settlement::Unknown, Settlement::Unknown, known(692), known(999), Settlement::Unknown, Settlement::Pending];
    for word in words {
        finished.settle(word);
    }
    drop(finished);
    exporter.shutdown();
    let corrections = spans_of(&backend, RecordKind::Correction, id);
    let said: Vec<_> = corrections.iter().map(|span| (usage(span).0, usage(span).1)).collect();
    assert_eq!(said, [(Some("usage_unknown"), None), (Some("usage_known"), Some(692))]);
    assert_clean(&backend);
}

/// Guarantees: a row that went out as pending does not stay so: when its handle is let go without a settlement, a correction says that the usage
/// is unknown; once a correction has said more, none does.
#[test]
fn no_row_stays_pending() {
    let backend = Backend::http(Script::always(Answer::Accept));
    let builder = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf);
    let exporter = builder.settlement_hold(Duration::from_millis(50)).build().unwrap();
    let (forgotten, finished) = pending(&exporter);
    let row = wait_for("the row", || rows(&backend, forgotten).pop());
    assert_eq!(usage(&row), (Some("usage_pending"), None, None));
    drop(finished);
    let (corrected, mut finished) = pending(&exporter);
    wait_for("the row", || rows(&backend, corrected).pop());
    let settled = Lifecycle { settlement: known(692), ..finished.lifecycle().unwrap() };
    finished.correct(settled);
    drop(finished);
    exporter.shutdown();
    let corrections = |id| {
        spans_of(&backend, RecordKind::Correction, id).iter().map(|span| usage(span).0.map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(corrections(forgotten), [Some("usage_unknown".to_owned())]);
    assert_eq!(corrections(corrected), [Some("usage_known".to_owned())]);
    assert_clean(&backend);
}

/// Guarantees: a handle that is let go holds nothing back, and neither does a shutdown.
#[test]
fn nothing_is_held_for_nobody() {
    let (backend, exporter) = connected();
    let (dropped, finished) = pending(&exporter);
    drop(finished);
    exporter.flush();
    assert_eq!(rows(&backend, dropped).len(), 1);
    assert_eq!(usage(&rows(&backend, dropped)[0]), (Some("usage_unknown"), None, None));
    let (held, _finished) = pending(&exporter);
    let totals = exporter.shutdown();
    assert_eq!(usage(&rows(&backend, held)[0]), (Some("usage_unknown"), None, None));
    assert_eq!((totals.emitted, totals.exported), (6, 6));
}

/// Guarantees: late usage that turns a failure into a success is a correction that says so in every attribute that the failure had set.
#[test]
fn late_usage_can_turn_a_failure_into_a_success() {
    let (backend, exporter) = connected();
    let admission = admission();
    let id = admission.request_id;
    let request = exporter.admit(admission).dispatch();
    request.attempt(attempt("seat 1")).finish(AttemptEnd::of(Terminal::Truncated));
    request.settle(Settlement::Unknown);
    let mut finished = request.finish(End::truncated());
    let mut better = finished.lifecycle().unwrap();
    better.settlement = known(692);
    better.end = Some(End { http_status: Some(200), ..End::completed() }.into());
    better.attempts[0].end = Some(AttemptEnd::of(Terminal::Completed));
    finished.correct_at(better, UNIX_EPOCH + Duration::from_secs(1_790_000_000));
    exporter.shutdown();
    let failed = &rows(&backend, id)[0];
    assert_eq!(view::text(&failed.attributes, attr::ERROR_CODE), Some("upstream_stream_error"));
    let correction = &spans_of(&backend, RecordKind::Correction, id)[0];
    for (key, value) in [
        (attr::REQUEST_STATUS, "succeeded"),
        (attr::REQUEST_OUTCOME, "good"),
        (attr::ERROR_CODE, "none"),
        (attr::TEXT_ERRORS, "–"),
        (attr::RESPONSE_STATUS, "completed"),
        (attr::TEXT_USAGE, "692 tokens · $0.25"),
    ] {
        assert_eq!(view::text(&correction.attributes, key), Some(value), "{key}");
    }
    assert_eq!(usage(correction), (Some("usage_known"), Some(692), Some(0.25)));
    assert_eq!(correction.start_time_unix_nano, 1_790_000_000_000_000_000, "when it was learned");
    assert_clean(&backend);
}

/// Guarantees: history is told with its own times, by every handle: admission, attempts, first output, end, rejection and an answer without an
/// upstream, and so is a correction of a row that another process may have recorded; what happened in no time is a span without a length.
#[test]
fn explicit_times() {
    let (backend, exporter) = connected();
    let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(1_790_000_000_000 + ms);
    let (first, second, third) = (admission(), admission(), admission());
    let ids = [first.request_id, second.request_id, third.request_id];
    let request = exporter.admit_at(first, at(0)).dispatch();
    let end = AttemptEnd { first_output_ms: Some(250), ..AttemptEnd::of(Terminal::Completed) };
    request.attempt_at(attempt("seat 1"), at(10)).finish_at(end, at(422));
    request.settle(Settlement::Unknown);
    request.finish_at(End::completed(), at(500));
    exporter.admit_at(second, at(7)).reject_at(Rejection::new("policy_denied", 403), at(8));
    exporter.admit_at(third, at(9)).complete_at(End::new(EndStatus::Succeeded), at(9));
    let before = Lifecycle::new(admission(), at(0));
    exporter.correct_at(&before, &Lifecycle { settlement: known(692), ..before.clone() }, 3, at(11));
    exporter.shutdown();
    let correction = &spans_of(&backend, RecordKind::Correction, before.admission.request_id)[0];
    assert_eq!((view::int(&correction.attributes, attr::CORRECTION_SEQUENCE), usage(correction).1), (Some(3), Some(692)));
    assert_eq!(correction.start_time_unix_nano, 1_790_000_000_011_000_000);
    let ms = |ns: u64| ns / 1_000_000 - 1_790_000_000_000;
    let times = |span: &Span| (ms(span.start_time_unix_nano), ms(span.end_time_unix_nano));
    assert_eq!(times(&rows(&backend, ids[0])[0]), (0, 500));
    assert_eq!(view::int(&rows(&backend, ids[0])[0].attributes, attr::REQUEST_LATENCY_MS), Some(412));
    let attempt = &spans_of(&backend, RecordKind::Attempt, ids[0])[0];
    assert_eq!(times(attempt), (10, 422));
    assert_eq!(view::double(&attempt.attributes, attr::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK), Some(0.25));
    assert_eq!(times(&rows(&backend, ids[1])[0]), (7, 8));
    assert_eq!(times(&rows(&backend, ids[2])[0]), (9, 9));
    assert_clean(&backend);
    assert!(spans_of(&backend, RecordKind::InProgress, ids[0]).is_empty(), "history sends no markers");
}

/// Guarantees: an attempt that had been going on before it was told, and ends now, has taken the whole time, and so has its first output.
#[test]
fn an_attempt_is_told_late() {
    let (backend, exporter) = connected();
    let began = SystemTime::now() - Duration::from_secs(3);
    let admission = admission();
    let id = admission.request_id;
    let request = exporter.admit_at(admission, began).dispatch();
    let mut open = request.attempt_at(attempt("seat 1"), began);
    open.output();
    open.finish(AttemptEnd::of(Terminal::Completed));
    request.settle(Settlement::Unknown);
    request.finish(End::completed());
    exporter.shutdown();
    assert!(view::int(&rows(&backend, id)[0].attributes, attr::REQUEST_LATENCY_MS).unwrap() >= 3000);
    let attempt = &spans_of(&backend, RecordKind::Attempt, id)[0];
    assert!(attempt.end_time_unix_nano - attempt.start_time_unix_nano >= 3_000_000_000);
    assert!(view::double(&attempt.attributes, attr::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK).unwrap() >= 3.0);
    assert_clean(&backend);
}

/// Guarantees: the first visible output is noted once, however many chunks follow.
#[test]
fn first_output() {
    let (backend, exporter) = connected();
    let admission = admission();
    let id = admission.request_id;
    let request = exporter.admit(admission).dispatch();
    let started = Instant::now();
    let mut open = request.attempt(attempt("seat 1"));
    open.output();
    let first_at_most_s = started.elapsed().as_secs_f64();
    // Time has to pass, or the second output could not be told from the first.
    std::thread::sleep(Duration::from_millis(50));
    open.output();
    open.finish(AttemptEnd::of(Terminal::Completed));
    request.settle(Settlement::Unknown);
    request.finish(End::completed());
    exporter.shutdown();
    let attempt = &spans_of(&backend, RecordKind::Attempt, id)[0];
    assert!(view::double(&attempt.attributes, attr::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK).unwrap() <= first_at_most_s);
}
