//! The answers to searches, exactly as Tempo's protobuf messages look in JSON. Grafana refuses a whole answer for one unknown key.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::traceql::{KINDS, STATUSES, Value};

/// `SearchResponse`
#[derive(Debug, Default, Serialize)]
pub struct SearchResponse {
    /// The traces, newest first.
    pub traces: Vec<TraceMetadata>,
    /// What it took.
    pub metrics: SearchMetrics,
}

/// `SearchMetrics`
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchMetrics {
    /// Traces that were looked at.
    pub inspected_traces: u32,
    /// Always 1: there is one store.
    pub completed_jobs: u32,
    /// Always 1.
    pub total_jobs: u32,
}

/// `TraceSearchMetadata`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceMetadata {
    /// All 32 digits.
    #[serde(rename = "traceID")]
    pub trace_id: String,
    /// Service of the root span.
    pub root_service_name: String,
    /// Name of the root span.
    pub root_trace_name: String,
    /// Start of the trace. Protobuf's JSON writes 64-bit numbers as text.
    pub start_time_unix_nano: String,
    /// Duration of the trace, at most what 32 bits hold.
    pub duration_ms: u32,
    /// The spans that match. Tempo has repeated the set in `spanSet` since that was replaced; nothing that is in use reads it.
    pub span_sets: Vec<SpanSet>,
    /// Spans by service.
    pub service_stats: BTreeMap<String, ServiceStats>,
}

/// `SpanSet`
#[derive(Debug, Serialize)]
pub struct SpanSet {
    /// Some of the spans.
    pub spans: Vec<SpanMetadata>,
    /// How many match in all.
    pub matched: u32,
}

/// `Span`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpanMetadata {
    /// Id in hexadecimal.
    #[serde(rename = "spanID")]
    pub span_id: String,
    /// Name, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Start.
    pub start_time_unix_nano: String,
    /// Duration.
    pub duration_nanos: String,
    /// What was asked for, by key.
    #[serde(serialize_with = "key_values")]
    pub attributes: BTreeMap<String, Json>,
}

/// `ServiceStats`
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStats {
    /// Spans of the trace.
    pub span_count: u32,
    /// Those with status Error.
    pub error_count: u32,
}

fn key_values<S: serde::Serializer>(attributes: &BTreeMap<String, Json>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(attributes.iter().map(|(key, value)| json!({"key": key, "value": value})))
}

/// A field's values as one `AnyValue`, always a scalar: Grafana's table breaks on lists. `None` if there is nothing to show.
pub fn shown(values: &[Value<'_>]) -> Option<Json> {
    match values {
        [] => None,
        [Value::Int(n)] => Some(json!({"intValue": n.to_string()})),
        [Value::Float(n)] => Some(json!({"doubleValue": n})),
        [Value::Bool(b)] => Some(json!({"boolValue": b})),
        values => Some(json!({"stringValue": values.iter().map(|value| tag_value(value).1).collect::<Vec<_>>().join(", ")})),
    }
}

/// A value as text, and the name of its type, as the values of a tag are given.
pub fn tag_value(value: &Value<'_>) -> (&'static str, String) {
    let name =
        |names: &[&'static str], code: i32| usize::try_from(code).ok().and_then(|at| names.get(at)).map_or("", |name| name);
    match value {
        Value::Text(text) => ("string", text.to_string()),
        Value::Int(n) => ("int", n.to_string()),
        Value::Float(n) => ("float", format!("{n:?}")),
        Value::Bool(b) => ("bool", b.to_string()),
        Value::Duration(ns) => ("duration", format!("{ns}ns")),
        Value::Status(code) => ("keyword", name(&STATUSES, *code).to_owned()),
        Value::Kind(code) => ("keyword", name(&KINDS, *code).to_owned()),
    }
}

/// An attribute's value in protobuf's JSON.
pub fn any_value(value: Option<&AnyValue>) -> Json {
    use any_value::Value as Any;
    match value.and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => json!({"stringValue": text}),
        Some(Any::IntValue(n)) => json!({"intValue": n.to_string()}),
        Some(Any::DoubleValue(n)) => json!({"doubleValue": n}),
        Some(Any::BoolValue(b)) => json!({"boolValue": b}),
        Some(Any::ArrayValue(list)) => {
            let values: Vec<Json> = list.values.iter().map(|item| any_value(Some(item))).collect();
            json!({"arrayValue": {"values": values}})
        }
        // The contract has no such attributes.
        Some(Any::KvlistValue(_) | Any::BytesValue(_) | Any::StringValueStrindex(_)) | None => json!({}),
    }
}
