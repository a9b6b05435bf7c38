//! A trace by its id, as protobuf or as protobuf's JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use serde_json::{Value as Json, json};
use store::Trace;

use crate::response::any_value;

/// Tempo's `TraceByIDResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TraceByIdResponse {
    /// The trace; it must be there, because Grafana does not ask.
    #[prost(message, optional, tag = "1")]
    pub trace: Option<TracesData>,
    /// 0: complete. 1: partial.
    #[prost(int32, tag = "3")]
    pub status: i32,
    /// Why it is partial.
    #[prost(string, tag = "4")]
    pub message: String,
}

const PARTIAL: i32 = 1;

/// The answer about a stored trace.
pub fn by_id(trace: Trace) -> TraceByIdResponse {
    let truncated = trace.truncated;
    let mut groups: Vec<ResourceSpans> = Vec::new();
    for stored in trace.row.into_iter().chain(trace.others) {
        let at = groups.iter().position(|group| group.resource == stored.resource).unwrap_or_else(|| {
            // The sanitizer lets no other scope through.
            let scope = InstrumentationScope { name: contract::SCOPE_NAME.to_owned(), ..InstrumentationScope::default() };
            let scope_spans = vec![ScopeSpans { scope: Some(scope), ..ScopeSpans::default() }];
            groups.push(ResourceSpans { resource: stored.resource.clone(), scope_spans, ..ResourceSpans::default() });
            groups.len() - 1
        });
        groups[at].scope_spans[0].spans.push(stored.span);
    }
    TraceByIdResponse {
        trace: Some(TracesData { resource_spans: groups }),
        status: if truncated { PARTIAL } else { 0 },
        message: if truncated { format!("only the first {} spans are shown", store::MAX_TRACE_SPANS) } else { String::new() },
    }
}

impl TraceByIdResponse {
    /// The spans by resource, in protobuf's JSON.
    pub fn resource_spans_json(&self) -> Json {
        self.trace.iter().flat_map(|trace| &trace.resource_spans).map(group_json).collect()
    }

    /// The whole answer in protobuf's JSON, which leaves out what is empty.
    pub fn json(&self) -> Json {
        let mut answer = json!({"trace": {"resourceSpans": self.resource_spans_json()}, "metrics": {}});
        if self.status == PARTIAL {
            answer["status"] = json!("PARTIAL");
            answer["message"] = json!(self.message);
        }
        answer
    }
}

fn group_json(group: &ResourceSpans) -> Json {
    let attributes = group.resource.as_ref().map_or_else(|| json!([]), |resource| attributes_json(&resource.attributes));
    let scopes: Json = group
        .scope_spans
        .iter()
        .map(|scope| {
            let spans: Json = scope.spans.iter().map(span_json).collect();
            json!({"scope": {"name": contract::SCOPE_NAME}, "spans": spans})
        })
        .collect();
    json!({"resource": {"attributes": attributes}, "scopeSpans": scopes})
}

fn span_json(span: &Span) -> Json {
    let mut json = json!({
        "traceId": BASE64.encode(&span.trace_id),
        "spanId": BASE64.encode(&span.span_id),
        "name": span.name,
        "kind": SpanKind::try_from(span.kind).unwrap_or_default().as_str_name(),
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        "attributes": attributes_json(&span.attributes),
        "status": {},
    });
    if !span.parent_span_id.is_empty() {
        json["parentSpanId"] = json!(BASE64.encode(&span.parent_span_id));
    }
    if let Some(status) = span.status.as_ref().filter(|status| status.code != StatusCode::Unset as i32) {
        json["status"]["code"] = json!(StatusCode::try_from(status.code).unwrap_or_default().as_str_name());
    }
    if !span.links.is_empty() {
        let link = |link: &opentelemetry_proto::tonic::trace::v1::span::Link| json!({"traceId": BASE64.encode(&link.trace_id), "spanId": BASE64.encode(&link.span_id)});
        json["links"] = span.links.iter().map(link).collect();
    }
    json
}

fn attributes_json(attributes: &[KeyValue]) -> Json {
    attributes.iter().map(|attribute| json!({"key": attribute.key, "value": any_value(attribute.value.as_ref())})).collect()
}
