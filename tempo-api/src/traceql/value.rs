//! What a span has to say about a field, in TraceQL's types.

use std::borrow::Cow;
use std::cmp::Ordering;

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::{Field, Intrinsic, Literal, Scope};

/// A value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    /// A status, as OTLP numbers them.
    Status(i32),
    /// A span kind, as OTLP numbers them.
    Kind(i32),
}

impl Value<'_> {
    /// How the value compares with a literal; `None` if their types have nothing in common. Durations alone take numbers of other types,
    /// as nanoseconds.
    #[must_use]
    pub fn compare(&self, literal: &Literal) -> Option<Ordering> {
        match (self, literal) {
            (Self::Text(value), Literal::Text(literal)) => Some(value.as_ref().cmp(literal)),
            (Self::Int(value), Literal::Int(literal))
            | (Self::Duration(value), Literal::Int(literal) | Literal::Duration(literal)) => Some(value.cmp(literal)),
            (Self::Float(value), Literal::Float(literal)) => value.partial_cmp(literal),
            #[expect(clippy::cast_precision_loss, reason = "a duration is compared with a fraction; below 104 days it is exact")]
            (Self::Duration(value), Literal::Float(literal)) => (*value as f64).partial_cmp(literal),
            (Self::Bool(value), Literal::Bool(literal)) => Some(value.cmp(literal)),
            (Self::Status(value), Literal::Status(literal)) | (Self::Kind(value), Literal::Kind(literal)) => {
                Some(value.cmp(literal))
            }
            _ => None,
        }
    }
}

/// What a query can ask of a trace as a whole.
#[derive(Clone, Debug)]
pub struct TraceContext<'a> {
    /// Id of the trace.
    pub trace_id: [u8; 16],
    /// From its start to its end.
    pub duration_ns: u64,
    /// Name of its root span, empty if that is not there.
    pub root_name: &'a str,
    /// Service of its root span.
    pub root_service: &'a str,
}

/// A span, and all that a query can ask of it.
#[derive(Clone, Copy, Debug)]
pub struct SpanContext<'a> {
    /// The span.
    pub span: &'a Span,
    /// Its resource.
    pub resource: Option<&'a Resource>,
    /// Its trace.
    pub trace: &'a TraceContext<'a>,
}

impl<'a> SpanContext<'a> {
    /// The values of a field: none for a missing one, several for a list.
    #[must_use]
    pub fn value(&self, field: &Field) -> Vec<Value<'a>> {
        let of_span = |key: &str| attribute(&self.span.attributes, key);
        let of_resource = |key: &str| self.resource.map_or_else(Vec::new, |resource| attribute(&resource.attributes, key));
        match field {
            Field::Attribute(Scope::Span, key) => of_span(key),
            Field::Attribute(Scope::Resource, key) => of_resource(key),
            Field::Attribute(Scope::Any, key) => {
                let values = of_span(key);
                if values.is_empty() { of_resource(key) } else { values }
            }
            Field::Intrinsic(intrinsic) => vec![self.intrinsic(*intrinsic)],
        }
    }

    fn intrinsic(&self, intrinsic: Intrinsic) -> Value<'a> {
        let duration = |ns: u64| Value::Duration(i64::try_from(ns).unwrap_or(i64::MAX));
        match intrinsic {
            Intrinsic::Name => Value::Text(Cow::Borrowed(&self.span.name)),
            Intrinsic::Kind => Value::Kind(self.span.kind),
            Intrinsic::Status => Value::Status(self.span.status.as_ref().map_or(0, |status| status.code)),
            Intrinsic::StatusMessage => {
                Value::Text(Cow::Borrowed(self.span.status.as_ref().map_or("", |status| &status.message)))
            }
            Intrinsic::Duration => duration(duration_ns(self.span)),
            Intrinsic::SpanId => Value::Text(Cow::Owned(hex(&self.span.span_id))),
            Intrinsic::ParentId => Value::Text(Cow::Owned(hex(&self.span.parent_span_id))),
            Intrinsic::TraceId => Value::Text(Cow::Owned(hex(&self.trace.trace_id))),
            Intrinsic::TraceDuration => duration(self.trace.duration_ns),
            Intrinsic::RootName => Value::Text(Cow::Borrowed(self.trace.root_name)),
            Intrinsic::RootServiceName => Value::Text(Cow::Borrowed(self.trace.root_service)),
        }
    }
}

/// How long a span took.
#[must_use]
pub fn duration_ns(span: &Span) -> u64 {
    span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano)
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Vec<Value<'a>> {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        None => Vec::new(),
        Some(any_value::Value::ArrayValue(list)) => list.values.iter().filter_map(|item| scalar(item.value.as_ref()?)).collect(),
        Some(value) => scalar(value).into_iter().collect(),
    }
}

fn scalar(value: &any_value::Value) -> Option<Value<'_>> {
    match value {
        any_value::Value::StringValue(text) => Some(Value::Text(Cow::Borrowed(text))),
        any_value::Value::IntValue(n) => Some(Value::Int(*n)),
        any_value::Value::DoubleValue(n) => Some(Value::Float(*n)),
        any_value::Value::BoolValue(b) => Some(Value::Bool(*b)),
        // The contract has no such attributes.
        any_value::Value::ArrayValue(_)
        | any_value::Value::KvlistValue(_)
        | any_value::Value::BytesValue(_)
        | any_value::Value::StringValueStrindex(_) => None,
    }
}
