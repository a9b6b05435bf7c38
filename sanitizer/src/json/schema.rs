//! Which fields a message has, and of which kind, from the protocol's descriptors.

use std::collections::HashMap;
use std::sync::LazyLock;

use contract::Signal;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

/// The fields of a message, by their names in JSON.
pub(super) type Fields = HashMap<String, Field>;

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) is_list: bool,
    /// The oneof that it belongs to; a field that can be absent is in one of its own.
    pub(super) oneof: Option<i32>,
}

/// What a field holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message, by name.
    Message(String),
    /// An id of a trace or a span.
    Hex,
    /// Anything else, by its form on the wire.
    Scalar(Type),
}

impl Kind {
    /// Whether it stands with its length before it.
    pub(super) fn has_length(&self) -> bool {
        !matches!(self, Self::Scalar(of) if !matches!(of, Type::String | Type::Bytes))
    }
}

/// All messages, by name.
#[derive(Debug, Default)]
pub(super) struct Schema(HashMap<String, Fields>);

impl Schema {
    /// OTLP's.
    pub(super) fn of_otlp() -> &'static Self {
        static OTLP: LazyLock<Schema> = LazyLock::new(|| {
            // They are part of the program, and a test reads them. Without them there would be no message, and all would be refused.
            let files = FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).unwrap_or_default();
            let mut schema = Schema::default();
            for file in &files.file {
                for message in &file.message_type {
                    schema.add(&format!(".{}", file.package()), message);
                }
            }
            schema
        });
        &OTLP
    }

    fn add(&mut self, around: &str, message: &DescriptorProto) {
        let name = format!("{around}.{}", message.name());
        for inner in &message.nested_type {
            self.add(&name, inner);
        }
        let fields = message.field.iter().filter_map(|field| {
            let kind = match field.r#type() {
                Type::Message => Kind::Message(field.type_name().to_owned()),
                Type::Bytes if ["trace_id", "span_id", "parent_span_id"].contains(&field.name()) => Kind::Hex,
                scalar => Kind::Scalar(scalar),
            };
            let number = u32::try_from(field.number()).ok()?;
            let is_list = field.label() == Label::Repeated;
            Some((field.json_name().to_owned(), Field { number, kind, is_list, oneof: field.oneof_index }))
        });
        self.0.insert(name, fields.collect());
    }

    /// The fields of a message.
    pub(super) fn fields(&self, name: &str) -> Option<&Fields> {
        self.0.get(name)
    }

    /// The fields of a signal's export request.
    pub(super) fn request(&self, signal: Signal) -> Option<&Fields> {
        self.fields(match signal {
            Signal::Traces => ".opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest",
            Signal::Logs => ".opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest",
            Signal::Metrics => ".opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest",
        })
    }
}
