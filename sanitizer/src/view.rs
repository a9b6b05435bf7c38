//! Reads attributes out of sanitized spans: by key, in the type that the contract gives them.

use contract::{RecordKind, attr};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

/// The text in one attribute, if it is text.
pub(crate) fn text_value(attribute: &KeyValue) -> Option<&str> {
    text_of(attribute.value.as_ref()?)
}

/// The text in a value, if it is text.
pub(crate) fn text_of(value: &AnyValue) -> Option<&str> {
    match value.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The text under a key.
#[must_use]
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The whole number under a key.
#[must_use]
pub fn int(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match value(attributes, key)? {
        Value::IntValue(n) => Some(*n),
        _ => None,
    }
}

/// The floating-point number under a key.
#[must_use]
pub fn double(attributes: &[KeyValue], key: &str) -> Option<f64> {
    match value(attributes, key)? {
        Value::DoubleValue(n) => Some(*n),
        _ => None,
    }
}

/// What a span records; `None` for a span without a record kind.
#[must_use]
pub fn record_kind(span: &Span) -> Option<RecordKind> {
    RecordKind::parse(text(&span.attributes, attr::RECORD_KIND)?)
}
