//! Holds the fast sanitizer against the reference: on messages that mix what is legal with what is not, and on damaged ones.

mod apart;
mod damage;
mod generate;
mod metrics;
mod plain;
mod policies;
#[path = "../../tests/properties/records.rs"]
mod records;
mod texts;

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{Span, span::Link};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use prost::Message as _;
use wire::{otlp, write};

use self::policies::POLICIES;
use super::Fast;
use crate::check;
use crate::times::Times;
use crate::{Export, Policy, Refused, Report, looks_secret, reference};

/// So many cases, or as many as the variable `PROPTEST_CASES` asks for.
fn at_least(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(cases), ..default }
}

/// When every message arrives.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(generate::NOW_NS)
}

fn sanitized(message: &[u8]) -> Option<(ExportTraceServiceRequest, Report)> {
    sanitized_by(&Policy::contract(), message)
}

fn sanitized_by(policy: &Policy, message: &[u8]) -> Option<(ExportTraceServiceRequest, Report)> {
    Some(reference::traces(policy, Times::until(now()), ExportTraceServiceRequest::decode(message).ok()?))
}

fn traces(message: &Bytes) -> Result<Fast, Refused> {
    super::traces(&Policy::contract(), Times::until(now()), message)
}

/// What the fast sanitizer said, for those that want to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Refused,
    Clean,
    Rewritten,
    Slow,
}

/// Compares both on one message: refusal, meaning of the output, report; and that nothing is hidden in it, and nothing more to do.
fn compare(message: &[u8]) -> Result<Said, TestCaseError> {
    compare_by(&Policy::contract(), message)
}

fn compare_by(policy: &Policy, message: &[u8]) -> Result<Said, TestCaseError> {
    compare_as(policy, message, &otlp::export_trace_service_request::MESSAGE, |request| never_wider(policy, request))
}

fn compare_logs(policy: &Policy, message: &[u8]) -> Result<Said, TestCaseError> {
    compare_as::<ExportLogsServiceRequest>(policy, message, &otlp::export_logs_service_request::MESSAGE, |_| Ok(()))
}

/// `also` is what else holds of the reference's output.
fn compare_as<R: Export + PartialEq + std::fmt::Debug>(
    policy: &Policy,
    message: &[u8],
    of_type: &wire::Message,
    also: impl Fn(&R) -> Result<(), TestCaseError>,
) -> Result<Said, TestCaseError> {
    let times = Times::until(now());
    let expected = reference::decoded::<R>(policy, times, message).ok();
    let (said, output, report) = match R::scrub_bytes(policy, times, message) {
        Err(_) => {
            prop_assert!(expected.is_none(), "refused what the reference accepts");
            return Ok(Said::Refused);
        }
        Ok(Fast::Slow) => return Ok(Said::Slow),
        Ok(Fast::Clean(report)) => (Said::Clean, Bytes::copy_from_slice(message), report),
        Ok(Fast::Rewritten(output, report)) => (Said::Rewritten, output, report),
    };
    let Some((request, expected_report)) = expected else {
        return Err(TestCaseError::fail("accepted what the reference refuses"));
    };
    prop_assert_eq!(report, expected_report);
    also(&request)?;
    let decoded = R::decode(&output[..]);
    prop_assert_eq!(decoded.as_ref(), Ok(&request));
    // No byte is in it that means nothing.
    let plain = plain::without_zeros(&output, of_type);
    prop_assert_eq!(plain.len(), request.encoded_len());
    match R::scrub_bytes(policy, times, &output) {
        Ok(Fast::Clean(again)) => {
            prop_assert!(again.stripped_total() == 0 && again.dropped_total() == 0);
        }
        other => return Err(TestCaseError::fail(format!("the output is not clean: {other:?}"))),
    }
    Ok(said)
}

/// Whatever the policy: what is left under one of the contract's keys passes the contract's rule, and under others the policy's.
fn never_wider(policy: &Policy, request: &ExportTraceServiceRequest) -> Result<(), TestCaseError> {
    let spans = request.resource_spans.iter().flat_map(|group| &group.scope_spans).flat_map(|group| &group.spans);
    let resources = request.resource_spans.iter().filter_map(|group| group.resource.as_ref());
    for attribute in spans.flat_map(|span| &span.attributes).chain(resources.flat_map(|resource| &resource.attributes)) {
        let Some(rule) = contract::attribute(&attribute.key) else {
            prop_assert!(policy.rule(&attribute.key).is_some() && generate::ADDED_KEYS.contains(&attribute.key.as_str()));
            match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(AnyValue::StringValue(text)) => {
                    prop_assert!(text.len() <= 128 && !text.contains(' ') && !looks_secret(text));
                }
                Some(AnyValue::IntValue(_) | AnyValue::DoubleValue(_) | AnyValue::BoolValue(_)) => {}
                _ => return Err(TestCaseError::fail("a value of no type that an operator can name")),
            }
            continue;
        };
        let items: Vec<&str>;
        let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(AnyValue::StringValue(text)) => check::Value::Text(text),
            Some(AnyValue::IntValue(number)) => check::Value::Int(*number),
            Some(AnyValue::DoubleValue(number)) => check::Value::Double(*number),
            Some(AnyValue::BoolValue(value)) => check::Value::Bool(*value),
            Some(AnyValue::ArrayValue(list)) => {
                items = list.values.iter().filter_map(crate::view::text_of).collect();
                prop_assert_eq!(items.len(), list.values.len());
                check::Value::TextList(&items)
            }
            _ => return Err(TestCaseError::fail("a value of no type that rules know")),
        };
        prop_assert_eq!(check::by_rule(rule, value), Ok(()), "{}", attribute.key);
    }
    Ok(())
}

proptest! {
    #![proptest_config(at_least(3_000))]

    /// Guarantees: by any policy the fast sanitizer does what the reference does, and nothing gets wider than the contract.
    #[test]
    fn agrees_by_any_policy(request in generate::request(), which in any::<prop::sample::Index>()) {
        let said = compare_by(which.get(&POLICIES), &request.encode_to_vec())?;
        prop_assert!(matches!(said, Said::Clean | Said::Rewritten), "{said:?}");
    }

    /// Guarantees: the same for logs, by any policy.
    #[test]
    fn agrees_on_logs(request in records::logs(), which in any::<prop::sample::Index>()) {
        for policy in [which.get(&POLICIES), &Policy::contract()] {
            let said = compare_logs(policy, &request.encode_to_vec())?;
            prop_assert!(matches!(said, Said::Clean | Said::Rewritten), "{said:?}");
        }
    }

    /// Guarantees: on any well-formed message the fast sanitizer does what the reference does, and does it itself.
    #[test]
    fn agrees_on_whole_messages(request in generate::request()) {
        let said = compare(&request.encode_to_vec())?;
        prop_assert!(matches!(said, Said::Clean | Said::Rewritten), "{said:?}");
    }
}

/// Runs `check` on many inputs, and holds that it said each of `expected` for at least one in fifty: a comparison that always ends early
/// compares nothing.
fn says_all<S: Strategy>(given: &S, expected: &[Said], check: impl Fn(S::Value) -> Result<Said, TestCaseError>) {
    let said = RefCell::new(Vec::new());
    let config = at_least(3_000);
    let fewest = config.cases as usize / 50;
    let run = TestRunner::new(config).run(given, |input| {
        said.borrow_mut().push(check(input)?);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
    for outcome in expected {
        let count = said.borrow().iter().filter(|said| *said == outcome).count();
        assert!(count >= fewest, "{outcome:?} only {count} times");
    }
}

/// Guarantees: it does so on messages with fields that are repeated, moved, unknown, padded, in groups or of another type.
#[test]
fn agrees_on_messages_that_were_taken_apart() {
    let given = (generate::request(), any::<u64>(), 4..200_u64);
    says_all(&given, &[Said::Clean, Said::Rewritten, Said::Slow, Said::Refused], |(request, seed, one_in)| {
        compare(&apart::fields(&request.encode_to_vec(), seed, one_in))
    });
}

/// Guarantees: the same for logs.
#[test]
fn agrees_on_logs_that_were_taken_apart() {
    let given = (records::logs(), any::<u64>(), 4..200_u64);
    says_all(&given, &[Said::Clean, Said::Rewritten, Said::Slow, Said::Refused], |(request, seed, one_in)| {
        let of_type = &otlp::export_logs_service_request::MESSAGE;
        compare_logs(&Policy::contract(), &apart::fields_of(&request.encode_to_vec(), of_type, seed, one_in))
    });
}

/// Guarantees: the same for logs, and it is one of the contract's events that goes on as the very bytes that came.
#[test]
fn a_clean_log_record_is_not_touched() {
    let event = contract::generated::EVENTS.first().expect("the contract has events");
    let log_record = LogRecord {
        time_unix_nano: generate::NOW_NS,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        flags: 1,
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        event_name: event.name.to_owned(),
        ..LogRecord::default()
    };
    let message = |log_record| ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs { log_records: vec![log_record], ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }],
    };
    assert_eq!(compare_logs(&Policy::contract(), &message(log_record.clone()).encode_to_vec()).unwrap(), Said::Clean);
    for dirty in [
        LogRecord { severity_text: "tell me a joke".to_owned(), ..log_record.clone() },
        LogRecord { flags: 0x1_01, ..log_record.clone() },
        LogRecord { trace_id: vec![1; 15], ..log_record.clone() },
        LogRecord { event_name: "joke".to_owned(), ..log_record },
    ] {
        assert_eq!(compare_logs(&Policy::contract(), &message(dirty).encode_to_vec()).unwrap(), Said::Rewritten);
    }
}

/// Guarantees: it does so on messages with damaged bytes.
#[test]
fn agrees_on_damaged_bytes() {
    let given = (generate::request(), damage::bytes());
    says_all(&given, &[Said::Rewritten, Said::Refused], |(request, damage)| {
        let mut message = request.encode_to_vec();
        damage::apply(&damage, &mut message);
        compare(&message)
    });
}

/// Guarantees: the order of a span's fields and of its attributes makes no message unusual. Each attribute is moved to the front once,
/// the whole list is reversed, and attributes come before the rest.
#[test]
fn order_does_not_matter() {
    let request = generate::row();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    for at in 0..span.attributes.len() {
        let mut moved = request.clone();
        moved.resource_spans[0].scope_spans[0].spans[0].attributes.rotate_left(at);
        assert_eq!(compare(&moved.encode_to_vec()).unwrap(), Said::Clean);
        moved.resource_spans[0].scope_spans[0].spans[0].attributes.reverse();
        assert_eq!(compare(&moved.encode_to_vec()).unwrap(), Said::Clean);
    }
}

/// Guarantees: a clean message goes on as the very bytes that came, and a dirty one keeps the clean spans' bytes.
#[test]
fn a_clean_message_is_not_touched() {
    let request = generate::row();
    assert_eq!(compare(&request.encode_to_vec()).unwrap(), Said::Clean);
    let clean_span = request.resource_spans[0].scope_spans[0].spans[0].encode_to_vec();
    let mut dirty = request;
    let spans = &mut dirty.resource_spans[0].scope_spans[0].spans;
    spans.push(spans[0].clone());
    spans[1].name = "tell me a joke".to_owned();
    let message = Bytes::from(dirty.encode_to_vec());
    let Ok(Fast::Rewritten(output, _)) = traces(&message) else { panic!("it is dirty") };
    assert!(output.windows(clean_span.len()).any(|window| window == clean_span));
    assert!(!output.windows(4).any(|window| window == b"joke"));
}

/// Guarantees: what can hide bytes in a message that means something clean is not passed on.
#[test]
fn bytes_cannot_hide() {
    let clean = generate::row().encode_to_vec();
    // A truth value, an enumeration and a count with upper bits that mean nothing, each as the only odd thing in a span.
    for field in [
        &b"\x30\x82\x80\x80\x80\x80\x80\x80\x01"[..],
        b"\x50\x80\x80\x80\x80\x80\x80\x80\x01",
        b"\x4a\x16\x0a\x0bservice.nam\x12\x07\x10\xff\xff\xff\xff\xff\x01",
        b"\x30\x82\x00",
    ] {
        // Without a kind of its own, so that no field occurs twice.
        let row = Span { kind: 0, ..generate::row().resource_spans[0].scope_spans[0].spans[0].clone() };
        let mut span = row.encode_to_vec();
        span.extend_from_slice(field);
        let mut scope = Vec::new();
        write::bytes_field(&mut scope, otlp::scope_spans::SPANS, &span);
        let mut group = Vec::new();
        write::bytes_field(&mut group, otlp::resource_spans::SCOPE_SPANS, &scope);
        let mut message = Vec::new();
        write::bytes_field(&mut message, otlp::export_trace_service_request::RESOURCE_SPANS, &group);
        assert!(sanitized(&message).is_some(), "{field:02x?}");
        assert_eq!(compare(&message).unwrap(), Said::Slow, "{field:02x?}");
    }
    assert_eq!(compare(&clean).unwrap(), Said::Clean);
}

/// Guarantees: more attributes or links than SDKs send are left to the reference, and as many as they send are not.
#[test]
fn limits_hold() {
    let with = |attributes: usize, links: usize| {
        let mut request = generate::row();
        let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
        span.attributes = vec![generate::attribute("unknown", "x"); attributes];
        span.links = vec![Link::default(); links];
        compare(&request.encode_to_vec()).unwrap()
    };
    assert_eq!(with(super::MAX_ATTRIBUTES, super::MAX_LINKS), Said::Rewritten);
    assert_eq!(with(super::MAX_ATTRIBUTES + 1, 0), Said::Slow);
    assert_eq!(with(0, super::MAX_LINKS + 1), Said::Slow);
}
