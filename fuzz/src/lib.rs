//! What each fuzz target holds of any bytes. It panics where something does not hold; that is what a fuzzer looks for.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

#[path = "../../sanitizer/src/fast/tests/apart.rs"]
#[allow(dead_code)]
mod apart;
// The property tests' judge.
#[path = "../../sanitizer/tests/properties/holds.rs"]
#[allow(dead_code)]
mod holds;
#[path = "../../sanitizer/src/fast/tests/plain.rs"]
mod plain;
#[path = "../../sanitizer/src/fast/tests/policies.rs"]
mod policies;
// The parser is no part of its crate's interface. Without the store around it, it is also built much sooner.
#[path = "../../tempo-api/src/traceql/mod.rs"]
#[allow(dead_code, unused_imports)]
mod traceql_parser;
mod wire_edits;
use ::wire::otlp;
// The policies are a module of the sanitizer's own tests, where this is in the root of the crate.
use sanitizer::Policy;

/// The policy by which to judge these bytes: their length chooses it, every second time the contract alone.
fn policy(data: &[u8]) -> &'static Policy {
    let policies = &*policies::POLICIES;
    policies.get(data.len() % (2 * policies.len() - 2)).unwrap_or(&policies[0])
}

/// Judges a row by every policy, so that what is made once, a policy's tables and expressions, is there before the first input: it takes seconds, on
/// a slow machine longer than an input may, or all of them.
pub fn ready() {
    for policy in &*policies::POLICIES {
        holds::of_traces(policy, include_bytes!("../seeds/traces/01"));
    }
}

/// Walks and edits OTLP bytes; see [`wire_edits`].
pub fn wire(data: &[u8]) {
    wire_edits::check(data);
}

/// Sanitizes traces, fast and slowly.
pub fn traces(data: &[u8]) {
    holds::of_traces(policy(data), data);
}

/// Changes a message of traces, in a buffer of `max_size` bytes, field by field or, often, as libFuzzer does, which only rarely keeps the
/// lengths of nested messages right. The new size.
pub fn mutate_traces(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    mutate(data, size, max_size, seed, &otlp::export_trace_service_request::MESSAGE)
}

/// The same for metrics.
pub fn mutate_metrics(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    mutate(data, size, max_size, seed, &otlp::export_metrics_service_request::MESSAGE)
}

fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32, of_type: &::wire::Message) -> usize {
    let message = &data[..size];
    if seed.is_multiple_of(2) && ::wire::validate(message, of_type, 0).is_ok() {
        // About one in so many fields changes.
        let one_in = 4 + u64::from(seed / 2 % 200);
        let changed = apart::fields_of(message, of_type, u64::from(seed), one_in);
        if changed.len() <= max_size {
            data[..changed.len()].copy_from_slice(&changed);
            return changed.len();
        }
    }
    libfuzzer_sys::fuzzer_mutate(data, size, max_size)
}

/// Sanitizes log records, fast and slowly.
pub fn logs(data: &[u8]) {
    holds::of_logs(policy(data), data);
}

/// Sanitizes metrics, fast and slowly.
pub fn metrics(data: &[u8]) {
    holds::of_metrics(policy(data), data);
}

/// Sanitizes JSON of the signal that the first byte says.
pub fn json(data: &[u8]) {
    match data.split_first() {
        Some((b'0', text)) => drop(holds::of_json::<ExportTraceServiceRequest>(policy(data), text)),
        Some((b'1', text)) => drop(holds::of_json::<ExportLogsServiceRequest>(policy(data), text)),
        Some((b'2', text)) => drop(holds::of_json::<ExportMetricsServiceRequest>(policy(data), text)),
        _ => {}
    }
}

/// Parses a TraceQL query, and a name of a tag. That it ends soon and in little memory, the fuzzer's own limits say.
pub fn traceql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(query) = traceql_parser::query(text) {
        assert!(query.shown().len() <= text.len(), "more fields than characters");
    }
    drop(traceql_parser::field(text));
}
