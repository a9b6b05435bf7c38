//! Makes a clean message dirty: a different forbidden text in every place of a trace message that can hold one, beside what is legal.

use contract::{Fallback, RecordKind, Rule, attr};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, EntityRef, KeyValue, KeyValueList, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

use crate::otlp::attribute;

/// Number of a protobuf field that OTLP does not have.
const UNKNOWN_FIELD: u32 = 1_999;
/// Keys that other instrumentations use for content and credentials.
const CONTENT_KEYS: &[&str] = &[
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
    "gen_ai.prompt",
    "http.request.header.authorization",
    "http.response.header.set-cookie",
    "url.full",
    "url.query",
    "client.address",
    "user_agent.original",
    "enduser.id",
    "exception.message",
    "db.query.text",
];

/// Plants texts, and remembers them.
#[derive(Debug)]
pub struct Plants {
    prefix: String,
    markers: Vec<String>,
}

impl Plants {
    /// `tag` goes into every text, so that a leak tells by which way its message came.
    #[must_use]
    pub fn new(tag: &str) -> Self {
        Self { prefix: format!("zq7{tag}"), markers: Vec::new() }
    }

    /// A new forbidden text for this place: a marker, then what no rule lets through.
    pub fn text(&mut self, place: &str) -> String {
        let marker = format!("{}-{}-{place}", self.prefix, self.markers.len());
        self.markers.push(marker.clone());
        format!("{marker} write \"me\" a poem? alice@example.com 192.0.2.77")
    }

    /// The markers to look for: the beginning of every planted text, so that a text that was cut short is found too.
    #[must_use]
    pub fn markers(&self) -> &[String] {
        &self.markers
    }

    fn bytes(&mut self, place: &str) -> Vec<u8> {
        self.text(place).into_bytes()
    }
}

/// The message with a forbidden text in every place that can hold one. What was legal before is still in it, and two spans come on
/// top: one whose every value is forbidden, and one whose ids are texts.
#[must_use]
pub fn dirty(mut request: ExportTraceServiceRequest, plants: &mut Plants) -> ExportTraceServiceRequest {
    for group in &mut request.resource_spans {
        dirty_resource(group, plants);
        for scope in &mut group.scope_spans {
            dirty_scope(scope, plants);
            if let Some(model) = scope.spans.first().cloned() {
                scope.spans.push(forbidden_values(model.clone(), plants));
                scope.spans.push(forbidden_ids(model, plants));
            }
            for span in &mut scope.spans {
                dirty_span(span, plants);
            }
        }
    }
    request
}

/// The message in protobuf, with a field that OTLP does not have on every level from the message to the span, each with a forbidden text.
#[must_use]
pub fn with_unknown_fields(request: &ExportTraceServiceRequest, plants: &mut Plants) -> Vec<u8> {
    let mut message = Vec::new();
    for group in &request.resource_spans {
        let mut group_bytes = ResourceSpans { scope_spans: Vec::new(), ..group.clone() }.encode_to_vec();
        for scope in &group.scope_spans {
            let mut scope_bytes = ScopeSpans { spans: Vec::new(), ..scope.clone() }.encode_to_vec();
            for span in &scope.spans {
                let mut span_bytes = span.encode_to_vec();
                // Field 9 of a span is an attribute, field 15 its status.
                for (number, place) in [(9, "unknown-in-attribute"), (15, "unknown-in-status")] {
                    put(&mut span_bytes, number, &field(UNKNOWN_FIELD, &plants.bytes(place)));
                }
                put(&mut span_bytes, UNKNOWN_FIELD, &plants.bytes("unknown-in-span"));
                put(&mut scope_bytes, 2, &span_bytes);
            }
            put(&mut scope_bytes, UNKNOWN_FIELD, &plants.bytes("unknown-in-scope-spans"));
            put(&mut group_bytes, 2, &scope_bytes);
        }
        put(&mut group_bytes, UNKNOWN_FIELD, &plants.bytes("unknown-in-resource-spans"));
        put(&mut message, 1, &group_bytes);
    }
    put(&mut message, UNKNOWN_FIELD, &plants.bytes("unknown-in-message"));
    message
}

/// The message in OTLP's JSON form, with a key that OTLP does not have in every object, each with a forbidden text.
#[must_use]
pub fn with_unknown_keys(request: &ExportTraceServiceRequest, plants: &mut Plants) -> Vec<u8> {
    fn add(value: &mut serde_json::Value, plants: &mut Plants) {
        match value {
            serde_json::Value::Object(object) => {
                // An attribute's value is one of several: another key there makes another message, not a dirtier one.
                let is_any_value = object.keys().any(|key| key.ends_with("Value"));
                object.values_mut().for_each(|inner| add(inner, plants));
                if !is_any_value {
                    object.insert("zq7Unknown".to_owned(), plants.text("unknown-json-key").into());
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(|inner| add(inner, plants)),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(request).expect("a message has a JSON form");
    add(&mut value, plants);
    value.to_string().into_bytes()
}

fn dirty_resource(group: &mut ResourceSpans, plants: &mut Plants) {
    group.schema_url = format!("https://example.com/{}", plants.text("resource-schema-url"));
    let resource = group.resource.get_or_insert_default();
    plant_attributes(&mut resource.attributes, "resource", plants);
    resource.attributes.push(attribute(attr::DEPLOYMENT_ENVIRONMENT_NAME, plants.text("resource-legal-key")));
    resource.entity_refs.push(EntityRef {
        schema_url: plants.text("entity-schema-url"),
        r#type: plants.text("entity-type"),
        id_keys: vec![plants.text("entity-id-key")],
        description_keys: vec![plants.text("entity-description-key")],
    });
}

fn dirty_scope(group: &mut ScopeSpans, plants: &mut Plants) {
    group.schema_url = plants.text("scope-schema-url");
    let scope = group.scope.get_or_insert_default();
    scope.name = plants.text("scope-name");
    scope.version = plants.text("scope-version");
    plant_attributes(&mut scope.attributes, "scope", plants);
}

fn dirty_span(span: &mut Span, plants: &mut Plants) {
    span.name = plants.text("span-name");
    span.trace_state = format!("vendor={}", plants.text("trace-state"));
    let status = span.status.get_or_insert_default();
    *status = Status { message: plants.text("status-message"), ..status.clone() };
    plant_attributes(&mut span.attributes, "span", plants);
    for key in CONTENT_KEYS {
        span.attributes.push(attribute(key, plants.text(key)));
    }
    // A key that is there already: what counts is the first one.
    if let Some(first) = span.attributes.first().map(|a| a.key.clone()) {
        span.attributes.push(attribute(&first, plants.text("duplicate-key")));
    }
    let mut event = Event { time_unix_nano: span.start_time_unix_nano, name: plants.text("event-name"), ..Event::default() };
    plant_attributes(&mut event.attributes, "event", plants);
    event.attributes.push(attribute("exception.stacktrace", plants.text("stacktrace")));
    span.events.push(event);
    let mut link =
        Link { trace_id: vec![7; 16], span_id: vec![7; 8], trace_state: plants.text("link-trace-state"), ..Link::default() };
    plant_attributes(&mut link.attributes, "link", plants);
    span.links.push(link);
    span.links.push(Link { trace_id: plants.bytes("link-trace-id"), span_id: plants.bytes("link-span-id"), ..Link::default() });
}

/// A span like this one, with an id of its own, in which every text that a rule governs is a forbidden one.
fn forbidden_values(span: Span, plants: &mut Plants) -> Span {
    let kind = RecordKind::Request;
    let keys = contract::Record::of(Some(kind)).attributes.iter();
    let mut attributes = vec![attribute(attr::RECORD_KIND, kind.as_str())];
    for rule in keys.filter_map(|key| contract::attribute(key)).filter(|rule| rule.key != attr::RECORD_KIND) {
        let text = match (&rule.rule, rule.fallback) {
            (Rule::Text { .. }, Fallback::Text(_)) => plants.text(rule.key),
            // Such a key goes, whatever its value is; the type is wrong where it is not a text.
            _ => plants.text(&format!("{}-dropped", rule.key)),
        };
        attributes.push(attribute(rule.key, text));
    }
    Span { trace_id: vec![0xd1; 16], span_id: vec![0xd1; 8], parent_span_id: plants.bytes("parent-span-id"), attributes, ..span }
}

/// A span like this one, whose ids are texts.
fn forbidden_ids(span: Span, plants: &mut Plants) -> Span {
    Span { trace_id: plants.bytes("trace-id"), span_id: plants.bytes("span-id"), ..span }
}

/// Unknown keys with values of every type, and a text in a key.
fn plant_attributes(attributes: &mut Vec<KeyValue>, place: &str, plants: &mut Plants) {
    let mut plant = |kind: &str| plants.text(&format!("{place}-{kind}"));
    let text = |text: String| AnyValue { value: Some(Value::StringValue(text)) };
    let nested = KeyValue { key: plant("nested-key"), value: Some(text(plant("nested-value"))), ..KeyValue::default() };
    let secret_key = plant("key");
    attributes.extend([
        attribute("unknown.text", plant("text")),
        attribute(&secret_key, true),
        attribute("unknown.bytes", Value::BytesValue(plant("bytes").into_bytes())),
        attribute("unknown.list", Value::ArrayValue(ArrayValue { values: vec![text(plant("list"))] })),
        attribute("unknown.map", Value::KvlistValue(KeyValueList { values: vec![nested] })),
    ]);
}

fn put(message: &mut Vec<u8>, number: u32, content: &[u8]) {
    message.extend(field(number, content));
}

/// A length-delimited protobuf field.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    const LENGTH_DELIMITED: u64 = 2;
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number) << 3 | LENGTH_DELIMITED, &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaks::Scanner;
    use crate::otlp::{self, Row};

    /// Guarantees: every planted text is in the bytes that are sent, in both forms, and nothing else is taken for one. Without this a
    /// scan that finds nothing would prove nothing.
    #[test]
    fn what_is_planted_is_sent() {
        let clean = otlp::request(vec![Row::numbered(1).span()]);
        let mut plants = Plants::new("self");
        let message = dirty(clean.clone(), &mut plants);
        let protobuf = with_unknown_fields(&message, &mut plants);
        let before_json = plants.markers().len();
        let json = with_unknown_keys(&message, &mut plants);
        for (form, bytes, sent) in [
            ("protobuf", &protobuf, plants.markers()[..before_json].to_vec()),
            ("JSON", &json, plants.markers().iter().filter(|marker| !marker.contains("unknown-in")).cloned().collect()),
        ] {
            let mut scanner = Scanner::new(plants.markers());
            scanner.bytes("message", bytes);
            for marker in plants.markers() {
                let found = scanner.findings().iter().any(|finding| finding.contains(&format!(" {marker} (")));
                assert_eq!(found, sent.contains(marker), "{marker} in {form}");
            }
        }
        let mut scanner = Scanner::new(plants.markers());
        scanner.bytes("clean message", &clean.encode_to_vec());
        scanner.assert_clean();
    }

    /// Guarantees: the dirty message is a message all the same, in both forms, unknown fields included, so that it is sanitized and not merely refused; and
    /// the sanitizer leaves none of the planted texts.
    #[test]
    fn a_dirty_message_is_sanitized() {
        let row = Row::numbered(1);
        let mut plants = Plants::new("self");
        let message = dirty(otlp::request(vec![row.span()]), &mut plants);
        let protobuf = sanitizer::protobuf(
            &sanitizer::Policy::contract(),
            std::time::SystemTime::now(),
            &with_unknown_fields(&message, &mut plants),
        )
        .unwrap();
        let json = sanitizer::json(
            &sanitizer::Policy::contract(),
            std::time::SystemTime::now(),
            &with_unknown_keys(&message, &mut plants),
        )
        .unwrap();
        for sanitized in [protobuf, json] {
            assert_eq!((sanitized.report().parsed_records, sanitized.report().accepted_records), (3, 2));
            let mut scanner = Scanner::new(plants.markers());
            scanner.bytes("sanitized message", sanitized.encoded());
            scanner.assert_clean();
            let (_, span) = sanitized.spans().next().unwrap();
            assert_eq!(span.attributes, row.span().attributes);
        }
    }
}
