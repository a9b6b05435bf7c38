//! Tempo's messages as a strict decoder knows them: any key that is not listed here fails, as it does in Grafana.

#![allow(clippy::struct_field_names, clippy::enum_variant_names, reason = "the names are Tempo's")]

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Protobuf's JSON has 64-bit numbers as text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchResponse {
    pub traces: Vec<Trace>,
    #[allow(dead_code, reason = "that it can be decoded is what counts")]
    pub metrics: Metrics,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[allow(dead_code, reason = "that it can be decoded is what counts")]
pub struct Metrics {
    inspected_traces: u32,
    inspected_bytes: String,
    total_blocks: u32,
    completed_jobs: u32,
    total_jobs: u32,
    total_block_bytes: String,
    inspected_spans: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Trace {
    #[serde(rename = "traceID")]
    pub trace_id: String,
    pub root_service_name: String,
    pub root_trace_name: String,
    #[serde(deserialize_with = "number")]
    pub start_time_unix_nano: u64,
    #[serde(default)]
    pub duration_ms: u32,
    #[allow(dead_code, reason = "deprecated, and allowed to be there")]
    pub span_set: Option<SpanSet>,
    pub span_sets: Vec<SpanSet>,
    #[serde(default)]
    pub service_stats: BTreeMap<String, ServiceStats>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanSet {
    pub spans: Vec<Span>,
    pub matched: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Span {
    #[serde(rename = "spanID")]
    pub span_id: String,
    #[serde(default)]
    pub name: String,
    #[serde(deserialize_with = "number")]
    pub start_time_unix_nano: u64,
    #[serde(deserialize_with = "number")]
    pub duration_nanos: u64,
    #[serde(default)]
    pub attributes: Vec<KeyValue>,
}

impl Span {
    /// The attributes as `key=value`, in their order.
    pub fn shown(&self) -> Vec<String> {
        self.attributes.iter().map(|attribute| format!("{}={}", attribute.key, attribute.value.text())).collect()
    }

    /// One attribute as text.
    pub fn attribute(&self, key: &str) -> Option<String> {
        self.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| attribute.value.text())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[derive(Default)]
pub struct ServiceStats {
    pub span_count: u32,
    pub error_count: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyValue {
    pub key: String,
    pub value: AnyValue,
}

/// Only the scalar ones: the others break Grafana's table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub enum AnyValue {
    StringValue(String),
    IntValue(String),
    DoubleValue(f64),
    BoolValue(bool),
}

impl AnyValue {
    fn text(&self) -> String {
        match self {
            Self::StringValue(text) | Self::IntValue(text) => text.clone(),
            Self::DoubleValue(n) => n.to_string(),
            Self::BoolValue(b) => b.to_string(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagValues {
    #[serde(rename = "tagValues")]
    pub tag_values: Vec<TagValue>,
    #[allow(dead_code, reason = "that it can be decoded is what counts")]
    pub metrics: Metrics,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagValue {
    #[serde(rename = "type")]
    pub kind: String,
    pub value: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    pub scopes: Vec<TagScope>,
    #[allow(dead_code, reason = "that it can be decoded is what counts")]
    pub metrics: Metrics,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagScope {
    pub name: String,
    pub tags: Vec<String>,
}
