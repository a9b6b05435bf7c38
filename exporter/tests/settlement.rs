//! When a row goes out, and what is learned after it has: the settlement, and the traps around usage.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::{Duration, UNIX_EPOCH};

use codex_pooler_exporter::{
    Admission, Attempt, AttemptEnd, End, Exporter, Finished, Lifecycle, Price, Protocol, Settlement, Terminal, Tokens,
};
use contract::{RecordKind, Transport, attr};
use opentelemetry_proto::tonic::trace::v1::Span;
use sanitizer::view;
use support::{account, admission, assert_clean, attempt, connected, spans_of};
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

/// Guarantees: the traps of the pooler's own tables are none here: cost needs a price, a zero cost is a cost, a model that is a path is no
/// model, the account is the last attempt's and not the first's, the plan goes with it, and an attempt without a status has none.
#[test]
fn traps() {
    let (backend, exporter) = connected();
    let admission = Admission { model: Some("/backend-api/codex/models".into()), ..admission() };
    let id = admission.request_id;
    let request = exporter.admit(admission).dispatch();
    let with_plan = |label: &str, plan: &str| {
        let mut account = account(label);
        (account.plan_label, account.plan_family) = (Some(plan.into()), Some(plan.into()));
        Attempt::new(account, Transport::HttpSse)
    };
    request.attempt(with_plan("seat 1", "free")).finish(AttemptEnd::retryable("upstream_network_error"));
    request.attempt(with_plan("seat 2", "pro")).finish(AttemptEnd::of(Terminal::Completed));
    request.settle(Settlement::Known { tokens: Tokens::default(), price: Price::Priced { usd: 0.0 } });
    request.finish(End::completed());
    exporter.shutdown();
    let row = &rows(&backend, id)[0];
    let text = |key| view::text(&row.attributes, key);
    assert_eq!(usage(row), (Some("usage_known"), None, Some(0.0)));
    assert_eq!(text(attr::REQUEST_MODEL), Some("none"), "not the path");
    assert_eq!((text(attr::UPSTREAM_ACCOUNT_LABEL), text(attr::UPSTREAM_PLAN_FAMILY)), (Some("seat 2"), Some("pro")));
    let attempts = spans_of(&backend, RecordKind::Attempt, id);
    assert!(attempts.iter().all(|span| view::int(&span.attributes, attr::HTTP_RESPONSE_STATUS_CODE).is_none()));
    let ids: Vec<_> = attempts.iter().map(|span| view::text(&span.attributes, attr::ATTEMPT_ID).unwrap()).collect();
    assert!(ids[0] != ids[1] && ids.iter().all(|id| Uuid::parse_str(id).is_ok_and(|id| !id.is_nil())));
}

/// Guarantees: history is told with its own times, by every handle: admission, attempts, first output, end and rejection.
#[test]
fn explicit_times() {
    let (backend, exporter) = connected();
    let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(1_790_000_000_000 + ms);
    let (first, second) = (admission(), admission());
    let ids = [first.request_id, second.request_id];
    let request = exporter.admit_at(first, at(0)).dispatch();
    request.attempt_at(attempt("seat 1"), at(10)).finish_at(AttemptEnd::of(Terminal::Completed), at(422));
    request.settle(Settlement::Unknown);
    request.finish_at(End::completed(), at(500));
    exporter.admit_at(second, at(7)).reject_at(codex_pooler_exporter::Rejection::new("policy_denied", 403), at(8));
    exporter.shutdown();
    let ms = |ns: u64| ns / 1_000_000 - 1_790_000_000_000;
    let times = |span: &Span| (ms(span.start_time_unix_nano), ms(span.end_time_unix_nano));
    assert_eq!(times(&rows(&backend, ids[0])[0]), (0, 500));
    assert_eq!(view::int(&rows(&backend, ids[0])[0].attributes, attr::REQUEST_LATENCY_MS), Some(412));
    assert_eq!(times(&spans_of(&backend, RecordKind::Attempt, ids[0])[0]), (10, 422));
    assert_eq!(times(&rows(&backend, ids[1])[0]), (7, 8));
    assert!(spans_of(&backend, RecordKind::InProgress, ids[0]).is_empty(), "history sends no markers");
}

/// Guarantees: the first visible output is noted once, however many chunks follow.
#[test]
fn first_output() {
    let (backend, exporter) = connected();
    let admission = admission();
    let id = admission.request_id;
    let request = exporter.admit(admission).dispatch();
    let mut open = request.attempt(attempt("seat 1"));
    open.output();
    std::thread::sleep(Duration::from_millis(300));
    open.output();
    open.finish(AttemptEnd::of(Terminal::Completed));
    request.settle(Settlement::Unknown);
    request.finish(End::completed());
    exporter.shutdown();
    let attempt = &spans_of(&backend, RecordKind::Attempt, id)[0];
    assert!(view::double(&attempt.attributes, attr::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK).unwrap() < 0.3);
}
