//! Text that must not get out, in every place where the lifecycle takes text: it is in none of the bytes that a receiver gets.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use codex_pooler_exporter::{
    Account, Admission, ApiKey, Attempt, AttemptEnd, Client, Denial, End, Exporter, Pool, Protocol, Rejection, Settlement,
    Terminal,
};
use contract::{AttemptStatus, ClientFamily, RequestStatus, Transport};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use support::{assert_clean, connected};
use testkit::backend::Backend;
use testkit::leaks::Scanner;

/// One request that is told in full, and one that is rejected, with the text wherever there is room for text.
fn tell(exporter: &Exporter, text: &str) {
    let some = || Some(text.to_owned());
    let account = || Account { label: some(), plan_label: some(), plan_family: some(), ..support::account(text) };
    let denial = || Denial { code: text.to_owned(), exhausted: false, resets_at: None };
    let admission = || {
        let base = support::admission();
        let ApiKey::Key { id, .. } = base.api_key else { panic!("a key") };
        // A trace state is text as well, as far as its own form allows.
        let state = TraceState::from_key_value([("vendor", text)]).unwrap_or_default();
        Admission {
            correlation_id: some(),
            client_request_id: some(),
            pool: Pool { slug: text.to_owned(), name: text.to_owned(), ..base.pool },
            api_key: ApiKey::Key { id, label: some(), prefix: some() },
            model: some(),
            client: Some(Client { family: ClientFamily::Codex, version: some() }),
            client_context: Some(SpanContext::new(TraceId::from(7), SpanId::from(9), TraceFlags::SAMPLED, true, state)),
            ..base
        }
    };
    let request = exporter.admit(admission()).dispatch();
    let attempt = request.attempt(Attempt { model: some(), ..Attempt::new(account(), Transport::HttpSse) });
    attempt.finish(AttemptEnd { error_code: some(), response_model: some(), ..AttemptEnd::new(AttemptStatus::RetryableFailed) });
    // What an upstream says is text, too.
    request.attempt(Attempt::new(account(), Transport::HttpSse)).finish(AttemptEnd::of(Terminal::Failed(Some(text))));
    let mut finished = request.finish(End {
        error_code: some(),
        denials: vec![denial()],
        ..End::of(Terminal::Incomplete { reason: Some(text), error: Some(text) })
    });
    finished.settle(Settlement::Unknown);
    let mut later = finished.lifecycle().unwrap();
    later.end = Some(End { error_code: some(), ..End::new(RequestStatus::Failed) });
    later.account = Some(account());
    later.admission = admission();
    finished.correct(later);
    exporter.admit(admission()).reject(Rejection { denials: vec![denial()], ..Rejection::new(text, 403) });
    let client = Client::from_user_agent(&format!("codex_exec/{text} ({text})"));
    drop(exporter.admit(Admission { client: Some(client), ..support::admission() }));
}

/// A canary, and the forbidden thing that it is in.
fn forbidden() -> impl Strategy<Value = (String, String)> {
    let canary = "q[a-z]{9}z";
    prop_oneof![
        canary.prop_map(|canary| (canary.clone(), format!("{canary}@example.com"))),
        canary.prop_map(|canary| (canary.clone(), format!("please {canary} the wall, and say: \"thanks\""))),
        canary.prop_map(|canary| (canary.clone(), format!("https://user:{canary}@example.com/?q=1"))),
        canary.prop_map(|canary| (canary.clone(), format!("Bearer {canary}0123456789abcdef"))),
        canary.prop_map(|canary| (canary.clone(), format!("{{\"input\": \"{canary}\"}}"))),
        canary.prop_map(|canary| (canary.clone(), format!("line\n{canary}\u{202e}"))),
        canary.prop_map(|canary| (canary.clone(), format!("{canary}{}", "x".repeat(200)))),
        canary.prop_map(|canary| (canary.clone(), format!("{canary}{}", "words and ".repeat(2000)))),
        canary.prop_map(|canary| (canary.clone(), format!("sk-{canary}0123456789abcdefghijklmnopqrstuv"))),
    ]
}

/// Guarantees: an address, a sentence, a URL, a credential, JSON, hidden characters and whatever is too long get out nowhere, in no encoding,
/// whole or in part; and what does get out is clean.
#[test]
fn forbidden_text_gets_out_nowhere() {
    let (backend, exporter) = connected();
    let mut runner = TestRunner::deterministic();
    let mut canaries = Vec::new();
    for _ in 0..120 {
        let (canary, text) = forbidden().new_tree(&mut runner).unwrap().current();
        tell(&exporter, &text);
        canaries.push(canary);
    }
    let totals = exporter.shutdown();
    assert_eq!((totals.dropped(), totals.exported), (0, totals.emitted));
    assert_clean(&backend);
    scan(&backend, &canaries).assert_clean();
}

fn scan(backend: &Backend, canaries: &[String]) -> Scanner {
    let mut scanner = Scanner::new(canaries);
    for recorded in backend.recorded() {
        scanner.bytes("what was sent", &recorded.everything());
    }
    scanner
}

/// Guarantees: the scan finds a text where the contract does allow it, so that finding none means something.
#[test]
fn the_scan_sees() {
    let (backend, exporter) = connected();
    tell(&exporter, "qallowedlabelz");
    exporter.shutdown();
    assert!(!scan(&backend, &["qallowedlabelz".to_owned()]).findings().is_empty());
}

/// Guarantees: nor does a text get out through the configuration.
#[test]
fn configuration_does_not_leak() {
    for text in ["qcanaryz@example.com", "Q canary z, please"] {
        let builder = || Exporter::builder().protocol(Protocol::HttpProtobuf);
        assert!(builder().service_name(text).build().is_err());
        assert!(builder().service_version(text).build().is_err());
    }
}
