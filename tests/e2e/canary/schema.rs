//! The protocol as its own descriptors tell it: every message that can be in an export request, and every field of it.

use std::collections::BTreeMap;

use contract::Signal;
use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

/// What all names start with.
const PACKAGE: &str = ".opentelemetry.proto.";

/// A field of a message.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub number: u32,
    pub kind: Kind,
    /// The oneof that it belongs to, by its place in the message.
    pub oneof: Option<i32>,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Bytes,
    /// Another message, by name.
    Message(String),
    /// A number, by its form on the wire.
    Number(Type),
}

impl Field {
    /// Whether it can hold a text as it is.
    pub fn holds_text(&self) -> bool {
        matches!(self.kind, Kind::Text | Kind::Bytes)
    }
}

/// Messages by name, such as `trace.v1.Span`.
pub struct Schema(BTreeMap<String, Vec<Field>>);

impl Schema {
    /// Reads the descriptors that belong to the types which this project uses.
    pub fn of_otlp() -> Self {
        let files = FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).expect("descriptors");
        let mut schema = Self(BTreeMap::new());
        for file in &files.file {
            for message in &file.message_type {
                schema.add(&format!(".{}", file.package()), message);
            }
        }
        schema
    }

    fn add(&mut self, around: &str, message: &DescriptorProto) {
        let name = format!("{around}.{}", message.name());
        for inner in &message.nested_type {
            self.add(&name, inner);
        }
        let fields = message.field.iter().map(|field| Field {
            name: field.name().to_owned(),
            number: u32::try_from(field.number()).expect("a field number"),
            kind: match field.r#type() {
                Type::String => Kind::Text,
                Type::Bytes => Kind::Bytes,
                Type::Message => Kind::Message(short(field.type_name())),
                number => Kind::Number(number),
            },
            // An optional field is a oneof of its own in the descriptors.
            oneof: field.oneof_index.filter(|_| !field.proto3_optional()),
        });
        self.0.insert(short(&name), fields.collect());
    }

    /// The fields of a message.
    pub fn fields(&self, message: &str) -> &[Field] {
        self.0.get(message).unwrap_or_else(|| panic!("{message} is not in the descriptors"))
    }

    /// Every field that can be in a signal's export request, as `message.field`.
    pub fn reachable(&self, signal: Signal) -> Vec<(String, String)> {
        let mut open = vec![root(signal).to_owned()];
        let mut seen: Vec<String> = Vec::new();
        while let Some(message) = open.pop() {
            if seen.contains(&message) {
                continue;
            }
            open.extend(self.fields(&message).iter().filter_map(|field| match &field.kind {
                Kind::Message(inner) => Some(inner.clone()),
                _ => None,
            }));
            seen.push(message);
        }
        seen.iter().flat_map(|message| self.fields(message).iter().map(|field| (message.clone(), field.name.clone()))).collect()
    }
}

/// A signal's export request.
pub const fn root(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "collector.trace.v1.ExportTraceServiceRequest",
        Signal::Logs => "collector.logs.v1.ExportLogsServiceRequest",
        Signal::Metrics => "collector.metrics.v1.ExportMetricsServiceRequest",
    }
}

fn short(name: &str) -> String {
    name.strip_prefix(PACKAGE).unwrap_or(name).to_owned()
}
