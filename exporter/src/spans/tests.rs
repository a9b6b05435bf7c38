//! Spans of invented requests, as bytes on the wire, through the collector's own sanitizer.

use std::time::Duration;

use contract::{IncompleteReason, PricingStatus, ResponseStatus};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use prost::Message as _;
use sanitizer::{Sanitized, view};

use super::*;
use crate::lifecycle::{Account, ApiKey, AttemptEnd, Client, Denial, Ended, Price, Settlement};
use crate::testing::{self, ACCOUNT, ROW, at};

/// The spans after the sanitizer, which must not have found anything.
fn sent(mut spans: Vec<SpanData>) -> Sanitized {
    // Counted by the sender, and not sent.
    for span in &mut spans {
        span.dropped_attributes_count = 0;
    }
    let resource_spans = group_spans_by_resource_and_scope(spans, &ResourceAttributesWithSchema::default());
    let encoded = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let sanitized =
        sanitizer::protobuf::<ExportTraceServiceRequest>(&sanitizer::Policy::contract(), std::time::SystemTime::now(), &encoded)
            .unwrap();
    let report = sanitized.report();
    assert_eq!((report.stripped_total(), report.dropped_total()), (0, 0), "{report:?}");
    assert_eq!(sanitized.encoded().as_ref(), encoded);
    sanitized
}

fn text<'a>(message: &'a Sanitized, span: usize, key: &str) -> Option<&'a str> {
    view::text(&message.spans().nth(span)?.1.attributes, key)
}

fn lifecycle() -> Lifecycle {
    let mut lifecycle = Lifecycle::new(testing::admission(), at());
    let end = AttemptEnd { http_status: Some(200), latency_ms: Some(412), ..AttemptEnd::new(AttemptStatus::Succeeded) };
    lifecycle.attempts.push(Attempt { started_at: at(), end: Some(end), ..Attempt::new(testing::account(), Transport::HttpSse) });
    lifecycle.end =
        Some(Ended { at: at() + Duration::from_secs(1), http_status: Some(200), ..Ended::new(RequestStatus::Succeeded) });
    lifecycle
}

/// A lifecycle with the same text in every place that takes any.
fn with_everywhere(text: &str) -> Lifecycle {
    let some = || Some(text.to_owned());
    let mut lifecycle = lifecycle();
    let admission = &mut lifecycle.admission;
    admission.correlation_id = some();
    admission.client_request_id = some();
    admission.model = some();
    admission.pool.slug = text.to_owned();
    admission.pool.name = text.to_owned();
    admission.api_key = ApiKey::Key { id: ROW, label: some(), prefix: some() };
    admission.client = Some(Client { family: contract::ClientFamily::Codex, version: some() });
    let account = Account { label: some(), plan_label: some(), plan_family: some(), ..testing::account() };
    lifecycle.account = Some(account.clone());
    let attempt = &mut lifecycle.attempts[0];
    attempt.account = account;
    attempt.model = some();
    let end = attempt.end.as_mut().unwrap();
    end.status = AttemptStatus::Failed;
    end.error_code = some();
    end.response_model = some();
    let end = lifecycle.end.as_mut().unwrap();
    end.status = RequestStatus::Failed;
    end.error_code = some();
    end.denials = vec![Denial { code: text.to_owned(), ..Denial::default() }];
    lifecycle
}

/// Guarantees: whatever text a caller puts into whatever place, the spans pass the sanitizer as they are, with every required attribute,
/// and a text that must not be shown is in none of their bytes.
#[test]
fn hostile_texts_do_not_get_out() {
    let long = "A1b2".repeat(100);
    let hostile = [
        "alice@example.com",
        "192.0.2.7",
        "sk-cxp-1b158839f8aa-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
        "Bearer 0123456789abcdef",
        "write me a poem, please",
        "4111 1111 1111 1111",
        "https://example.com/?q=secret",
        "a\u{200b}b",
        "x · y",
        "– tokens",
        "",
        " ",
        &long,
    ];
    for text in hostile {
        let mut open = with_everywhere(text);
        open.end = None;
        let message = sent(finished(&with_everywhere(text)).into_iter().chain([marker(&open, 3, at())]).collect());
        assert_eq!(message.spans().count(), 3);
        for (_, span) in message.spans() {
            for key in contract::Record::of(view::record_kind(span)).required {
                assert!(span.attributes.iter().any(|attribute| attribute.key == *key), "{key} for {text:?}");
            }
            for attribute in &span.attributes {
                if let Some(any_value::Value::StringValue(value)) = attribute.value.as_ref().and_then(|v| v.value.as_ref()) {
                    // A pool or key may well be called `write me a poem`, but not where a closed form is asked for.
                    let free =
                        attribute.key.ends_with("label") || attribute.key.ends_with("name") || attribute.key.contains("text.");
                    let shown = text.trim().len() > 2 && value.contains(text);
                    assert!(!shown || (free && text == "write me a poem, please"), "{}: {text}", attribute.key);
                }
            }
        }
    }
}

/// Guarantees: a label that must not be shown becomes the short form of the account's id, in the filter and in the composed text.
#[test]
fn the_account_is_still_told_apart() {
    let message = sent(finished(&with_everywhere("alice@example.com")));
    let short = format!("acct-{}", &ACCOUNT.to_string()[..8]);
    assert_eq!(text(&message, 0, attr::UPSTREAM_ACCOUNT_LABEL), Some(short.as_str()));
    assert_eq!(text(&message, 1, attr::UPSTREAM_ACCOUNT_LABEL), Some(short.as_str()));
    assert_eq!(text(&message, 0, attr::TEXT_ACCOUNT), Some(format!("{short} · –").as_str()));
    // The row id stays searchable, and an unknown code is an error of an unknown kind.
    assert_eq!(text(&message, 0, attr::REQUEST_SEARCH), Some(ROW.to_string().as_str()));
    assert_eq!(text(&message, 0, attr::ERROR_TYPE), Some("_OTHER"));
    assert_eq!(text(&message, 0, attr::TEXT_ERRORS), Some("error"));
}

/// Guarantees: numbers beyond the contract's bounds cost their attribute and nothing else.
#[test]
fn numbers_out_of_bounds_are_left_out() {
    let mut lifecycle = lifecycle();
    let tokens = Tokens { input: Some(u64::MAX), total: Some(10), ..Tokens::default() };
    lifecycle.settlement = Settlement::Known { tokens, price: Price::Priced { usd: f64::NAN } };
    lifecycle.end.as_mut().unwrap().http_status = Some(999);
    let message = sent(finished(&lifecycle));
    let row = message.spans().next().unwrap().1;
    assert_eq!(view::int(&row.attributes, attr::USAGE_INPUT_TOKENS), None);
    assert_eq!(view::int(&row.attributes, attr::USAGE_TOTAL_TOKENS), Some(10));
    assert_eq!(view::double(&row.attributes, attr::COST_SETTLED_USD), None);
    assert_eq!(view::text(&row.attributes, attr::TEXT_USAGE), Some("10 tokens · cost n/a"));
    assert_eq!(view::int(&row.attributes, attr::HTTP_RESPONSE_STATUS_CODE), None);
}

/// Guarantees: only known usage has tokens and only a price has a cost, whatever the settlement.
#[test]
fn usage_and_cost_need_a_settlement() {
    let tokens = Tokens { input: Some(640), total: Some(692), ..Tokens::default() };
    let known = |price| Settlement::Known { tokens, price };
    for (settlement, usage, pricing, expected_tokens, expected_usd) in [
        (Settlement::Pending, "usage_pending", "none", None, None),
        (Settlement::Unknown, "usage_unknown", "none", None, None),
        (Settlement::NotApplicable, "not_applicable", "none", None, None),
        (known(Price::Priced { usd: 0.25 }), "usage_known", "priced", Some(692), Some(0.25)),
        (known(Price::Unpriced(PricingStatus::UnpricedAutoTier)), "usage_known", "unpriced_auto_tier", Some(692), None),
        (known(Price::Unpriced(PricingStatus::Priced)), "usage_known", "_OTHER", Some(692), None),
    ] {
        let message = sent(finished(&Lifecycle { settlement, ..lifecycle() }));
        let row = message.spans().next().unwrap().1;
        assert_eq!(view::text(&row.attributes, attr::USAGE_STATUS), Some(usage));
        assert_eq!(view::text(&row.attributes, attr::PRICING_STATUS), Some(pricing));
        assert_eq!(view::int(&row.attributes, attr::USAGE_TOTAL_TOKENS), expected_tokens);
        assert_eq!(view::double(&row.attributes, attr::COST_SETTLED_USD), expected_usd);
    }
}

/// Guarantees: a correction says what changed and nothing else, below the row that it corrects.
#[test]
fn a_correction_carries_the_difference() {
    let before = lifecycle();
    let tokens = Tokens { total: Some(692), ..Tokens::default() };
    let mut after = Lifecycle { settlement: Settlement::Known { tokens, price: Price::Priced { usd: 0.5 } }, ..before.clone() };
    let end = after.end.as_mut().unwrap();
    end.response_status = Some(ResponseStatus::Incomplete);
    end.incomplete_reason = Some(IncompleteReason::MaxOutputTokens);
    let row = finished(&before).remove(0);
    let message = sent(vec![correction(&before, &after, 2, at())]);
    let (_, span) = message.spans().next().unwrap();
    let mut keys: Vec<_> = span.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    keys.sort_unstable();
    let mut expected = [
        attr::RECORD_KIND,
        attr::REQUEST_ID,
        attr::CORRECTION_SEQUENCE,
        attr::USAGE_STATUS,
        attr::USAGE_TOTAL_TOKENS,
        attr::PRICING_STATUS,
        attr::COST_SETTLED_USD,
        attr::TEXT_USAGE,
        attr::RESPONSE_STATUS,
        attr::RESPONSE_INCOMPLETE_REASON,
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(view::text(&span.attributes, attr::TEXT_USAGE), Some("692 tokens · $0.50"));
    assert_eq!(view::text(&span.attributes, attr::RECORD_KIND), Some("correction"));
    assert_eq!(span.trace_id, row.span_context.trace_id().to_bytes());
    assert_eq!(span.parent_span_id, row.span_context.span_id().to_bytes());
    assert_eq!((span.name.as_str(), span.start_time_unix_nano), ("correction", span.end_time_unix_nano));
}

/// Guarantees: a correction of the errors alone carries the code that they show: of a code that the contract does not know, nothing else says
/// that it may be shown.
#[test]
fn a_correction_of_the_errors_carries_their_code() {
    let failed = |denials| {
        let end = Ended { error_code: Some("code_of_tomorrow".into()), denials, ..Ended::new(RequestStatus::Failed) };
        Lifecycle { end: Some(Ended { at: at(), ..end }), ..lifecycle() }
    };
    let denial = crate::Denial { code: "policy_denied".into(), exhausted: false, resets_at: None };
    let message = sent(vec![correction(&failed(Vec::new()), &failed(vec![denial]), 1, at())]);
    let (_, span) = message.spans().next().unwrap();
    assert_eq!(view::text(&span.attributes, attr::ERROR_CODE), Some("code_of_tomorrow"));
    assert!(view::text(&span.attributes, attr::TEXT_ERRORS).unwrap().contains("code_of_tomorrow"));
}

/// Guarantees: a client's context becomes the one link, without its trace state, and never the parent.
#[test]
fn a_clients_context_is_a_link() {
    let state = TraceState::from_key_value([("vendor", "alice@example.com")]).unwrap();
    let context = SpanContext::new(TraceId::from(7), SpanId::from(9), TraceFlags::SAMPLED, true, state);
    let mut lifecycle = lifecycle();
    lifecycle.admission.client_context = Some(context);
    let message = sent(finished(&lifecycle));
    let (_, row) = message.spans().next().unwrap();
    assert!(row.parent_span_id.is_empty() && row.trace_id == ROW.as_bytes());
    assert_eq!((row.links.len(), row.links[0].trace_id.last(), row.links[0].span_id.last()), (1, Some(&7), Some(&9)));
}

/// Guarantees: clocks that disagree do not make a span that ends before it starts, which every receiver refuses.
#[test]
fn spans_do_not_end_before_they_start() {
    let mut lifecycle = lifecycle();
    lifecycle.end.as_mut().unwrap().at = at() - Duration::from_secs(5);
    sent(finished(&lifecycle));
}

/// Guarantees: a success has no error code, whatever the caller put there: it would be counted as both.
#[test]
fn a_success_has_no_code() {
    let end = Ended { error_code: Some("oops".into()), at: testing::at(), ..Ended::new(RequestStatus::Succeeded) };
    let lifecycle = Lifecycle { end: Some(end), ..Lifecycle::new(testing::admission(), testing::at()) };
    let text = format!("{:?}", finished(&lifecycle));
    assert!(text.contains("succeeded") && !text.contains("oops"), "{text}");
}
