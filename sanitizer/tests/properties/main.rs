//! Properties of the sanitizer on generated messages of every signal: it never panics, lets no planted text through, does nothing more the
//! second time, and the fast sanitizer is the reference.
//!
//! `cargo test` runs [`FEW_CASES`]. The variable `POOLER_OTEL_CASES` asks for more, in total over all properties; `cargo xtask proofs` asks
//! for a million, in a release build. The numbers come from a fixed seed: the same cases in every run, and more of them when asked for more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

#[path = "../../src/fast/tests/apart.rs"]
mod apart;
#[path = "../../src/fast/tests/damage.rs"]
mod damage;
#[path = "../../src/fast/tests/generate.rs"]
#[allow(dead_code, reason = "the sanitizer's own tests use the rest")]
mod generate;
mod holds;
#[path = "../../src/fast/tests/plain.rs"]
mod plain;
#[path = "../../src/fast/tests/policies.rs"]
mod policies;
mod records;
mod seeds;

use std::cell::RefCell;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use prost::Message as _;
use wire::otlp;
// The generator of traces is a module of the sanitizer's own tests, where these are in the root of the crate.
use sanitizer::{Export, Policy, check, protobuf};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::holds::Said;
use self::policies::POLICIES;

/// Cases in total, if nothing else is asked for.
const FEW_CASES: u32 = 6_000;

/// The shares of the properties, in percent of all cases. Together they are all.
const TRACES: u32 = 15;
const TRACES_TAKEN_APART: u32 = 15;
const TRACES_DAMAGED: u32 = 15;
const LOGS: u32 = 10;
const METRICS: u32 = 15;
const METRICS_TAKEN_APART: u32 = 15;
const METRICS_DAMAGED: u32 = 5;
const JSON_TRACES: u32 = 4;
const JSON_LOGS: u32 = 3;
const JSON_METRICS: u32 = 3;
const ALL: u32 = TRACES
    + TRACES_TAKEN_APART
    + TRACES_DAMAGED
    + LOGS
    + METRICS
    + METRICS_TAKEN_APART
    + METRICS_DAMAGED
    + JSON_TRACES
    + JSON_LOGS
    + JSON_METRICS;
const _: () = assert!(ALL == 100);

const _: () = assert!(generate::NOW_NS == holds::NOW_S * 1_000_000_000);

fn cases(percent: u32) -> u32 {
    let total =
        std::env::var("POOLER_OTEL_CASES").map_or(FEW_CASES, |text| text.parse().expect("POOLER_OTEL_CASES is no number"));
    total / 100 * percent
}

/// Runs `check` on its share of generated inputs, by the contract alone or by another policy, and holds that it ran so often, that each policy
/// had its turn, and that it said each of `expected` for at least one in a hundred. `check` also says whether the planted text was in the
/// message.
fn holds<S: Strategy>(name: &str, percent: u32, given: &S, expected: &[Said], check: impl Fn(&Policy, S::Value) -> (Said, bool)) {
    let cases = cases(percent);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let said = RefCell::new(([0; Said::ALL.len()], 0, vec![0; POLICIES.len()]));
    let policy = prop_oneof![Just(0), 1..POLICIES.len()];
    let result = runner.run(&(policy, given), |(policy, input)| {
        let (answer, planted) = check(&POLICIES[policy], input);
        let mut said = said.borrow_mut();
        said.0[answer as usize] += 1;
        said.1 += u32::from(planted);
        said.2[policy] += 1;
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    let (counts, planted, by_policy) = said.into_inner();
    assert_eq!(counts.iter().sum::<u32>(), cases);
    println!("{name}: {cases} cases, {planted} with the planted text, {:?} {counts:?}", Said::ALL);
    for answer in expected {
        assert!(counts[*answer as usize] >= cases / 100, "{name}: {answer:?} only {} times", counts[*answer as usize]);
    }
    assert!(planted >= cases / 20, "{name}: planted only {planted} times");
    assert!(by_policy.iter().all(|count| *count >= cases / 25), "{name}: a policy is hardly tried: {by_policy:?}");
}

/// Guarantees: judging by the other policies is no repetition. Each of them makes something else than the contract of some messages of every
/// signal.
#[test]
fn policies_differ() {
    differ("traces", &generate::request());
    differ("logs", &records::logs());
    differ("metrics", &records::metrics());
}

fn differ<R: Export>(name: &str, given: &impl Strategy<Value = R>) {
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut counts = vec![0; POLICIES.len()];
    for _ in 0..400 {
        let message = given.new_tree(&mut runner).unwrap().current().encode_to_vec();
        let by = |policy: &Policy| protobuf::<R>(policy, holds::now(), &message).unwrap().encoded().clone();
        let by_contract = by(&Policy::contract());
        POLICIES.iter().zip(&mut counts).for_each(|(policy, count)| *count += u32::from(by(policy) != by_contract));
    }
    println!("{name}: other policies differ in {counts:?} of 400");
    assert_eq!(counts[0], 0, "{name}: the first policy is the contract");
    assert!(counts[1..].iter().all(|count| *count > 0), "{name}: a policy that is never felt: {counts:?}");
}

/// Guarantees: on any well-formed message of traces, what must hold holds, and the fast sanitizer leaves none to the reference.
#[test]
fn traces() {
    holds("traces", TRACES, &generate::request(), &[Said::Clean, Said::Rewritten], |policy, request| {
        let message = request.encode_to_vec();
        let said = holds::of_traces(policy, &message);
        assert!(matches!(said, Said::Clean | Said::Rewritten), "{said:?}");
        (said, holds::has_marker(&message))
    });
}

/// Guarantees: it holds for messages with fields that are repeated, moved, unknown, padded, in groups or of another type.
#[test]
fn traces_that_were_taken_apart() {
    let given = (generate::request(), any::<u64>(), 4..200_u64);
    holds("traces, taken apart", TRACES_TAKEN_APART, &given, &Said::ALL, |policy, (request, seed, one_in)| {
        let message = apart::fields(&request.encode_to_vec(), seed, one_in);
        (holds::of_traces(policy, &message), holds::has_marker(&message))
    });
}

/// Guarantees: it holds for messages with damaged bytes.
#[test]
fn traces_with_damaged_bytes() {
    let given = (generate::request(), damage::bytes());
    holds("traces, damaged", TRACES_DAMAGED, &given, &[Said::Rewritten, Said::Refused], |policy, (request, damage)| {
        let mut message = request.encode_to_vec();
        damage::apply(&damage, &mut message);
        (holds::of_traces(policy, &message), holds::has_marker(&message))
    });
}

/// Guarantees: it holds for log records, damaged or not.
#[test]
fn logs() {
    let given = (records::logs(), prop::option::of(damage::bytes()));
    holds("logs", LOGS, &given, &[Said::Clean, Said::Rewritten, Said::Refused], |policy, (request, damage)| {
        let mut message = request.encode_to_vec();
        damage::apply(&damage.unwrap_or_default(), &mut message);
        (holds::of_logs(policy, &message), holds::has_marker(&message))
    });
}

/// Guarantees: it holds for metrics of all kinds, and the fast sanitizer leaves none that is well-formed to the reference.
#[test]
fn metrics() {
    holds("metrics", METRICS, &records::metrics(), &[Said::Clean, Said::Rewritten], |policy, request| {
        let message = request.encode_to_vec();
        let said = holds::of_metrics(policy, &message);
        assert!(matches!(said, Said::Clean | Said::Rewritten), "{said:?}");
        (said, holds::has_marker(&message))
    });
}

/// Guarantees: it holds for metrics with fields that are repeated, moved, unknown, padded, in groups or of another type, and with lists of
/// numbers in several pieces.
#[test]
fn metrics_that_were_taken_apart() {
    let given = (records::metrics(), any::<u64>(), 4..200_u64);
    holds("metrics, taken apart", METRICS_TAKEN_APART, &given, &Said::ALL, |policy, (request, seed, one_in)| {
        let of_type = &otlp::export_metrics_service_request::MESSAGE;
        let message = apart::fields_of(&request.encode_to_vec(), of_type, seed, one_in);
        (holds::of_metrics(policy, &message), holds::has_marker(&message))
    });
}

/// Guarantees: it holds for metrics with damaged bytes.
#[test]
fn metrics_with_damaged_bytes() {
    let given = (records::metrics(), damage::bytes());
    holds("metrics, damaged", METRICS_DAMAGED, &given, &[Said::Rewritten, Said::Refused], |policy, (request, damage)| {
        let mut message = request.encode_to_vec();
        damage::apply(&damage, &mut message);
        (holds::of_metrics(policy, &message), holds::has_marker(&message))
    });
}

/// Guarantees: a message in JSON, of any signal, damaged or not, is treated as the same message in protobuf.
#[test]
fn json() {
    in_json("JSON, traces", JSON_TRACES, generate::request());
    in_json("JSON, logs", JSON_LOGS, records::logs());
    in_json("JSON, metrics", JSON_METRICS, records::metrics());
}

fn in_json<R: Export + Serialize + DeserializeOwned>(name: &str, percent: u32, messages: impl Strategy<Value = R>) {
    let given = (messages, prop::option::weighted(0.3, damage::bytes()));
    holds(name, percent, &given, &[Said::Clean, Said::Rewritten, Said::Refused], |policy, (request, damage)| {
        let mut text = serde_json::to_vec(&request).expect("a message has a JSON form");
        damage::apply(&damage.unwrap_or_default(), &mut text);
        (holds::of_json::<R>(policy, &text), holds::has_marker(&text))
    });
}
