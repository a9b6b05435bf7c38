//! Walks the protocol, and builds messages that are legal but for one field: the messages are put together from the descriptors, as bytes.

use contract::Signal;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::Type;

use super::rules::{self, Fate, Value};
use super::schema::{Field, Kind, Schema, root};

/// Number of a field that OTLP does not have.
pub const UNKNOWN_FIELD: u32 = 1_999;
/// How many attribute values may be inside each other.
const MAX_NESTING: usize = 2;
const ANY_VALUE: &str = "common.v1.AnyValue";
const KEY_VALUE: &str = "common.v1.KeyValue";
const METRIC: &str = "metrics.v1.Metric";

/// The way from an export request to a field that holds no message.
pub type Path = Vec<Field>;

/// What is put into the field at the end of a path.
#[derive(Clone, Copy, Debug)]
pub enum Plant<'a> {
    /// A text, into a field for text or bytes; a number that no rule allows into others.
    Forbidden(&'a str),
    /// What the rule has as a legal value.
    Legal,
    /// Nothing: the field is left out.
    Nothing,
}

/// The way as text, such as `resource_spans.scope_spans.spans.name`.
pub fn text(path: &[Field]) -> String {
    path.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(".")
}

/// The ways to every field of a signal that holds no message, and in every message to a field that the protocol does not have.
pub fn paths(schema: &Schema, signal: Signal) -> Vec<Path> {
    let mut paths = Vec::new();
    collect(schema, root(signal), &mut Vec::new(), &mut paths);
    paths
}

fn collect(schema: &Schema, message: &str, way: &mut Path, paths: &mut Vec<Path>) {
    let unknown = Field { name: "unknown".to_owned(), number: UNKNOWN_FIELD, kind: Kind::Text, oneof: None };
    for field in schema.fields(message).iter().chain([&unknown]) {
        way.push(field.clone());
        match &field.kind {
            Kind::Message(inner) => {
                let nested = way.iter().filter(|field| field.kind == Kind::Message(ANY_VALUE.to_owned())).count();
                if nested <= MAX_NESTING {
                    collect(schema, inner, way, paths);
                }
            }
            _ => paths.push(way.clone()),
        }
        way.pop();
    }
}

/// How many fields from the beginning of the path on arrive, before the first one that does not.
pub fn arriving(schema_root: &str, path: &[Field]) -> usize {
    let mut message = schema_root;
    for (at, field) in path.iter().enumerate() {
        if field.number == UNKNOWN_FIELD || matches!(rules::fate(message, &field.name), Fate::Gone) {
            return at;
        }
        if let Kind::Message(inner) = &field.kind {
            message = inner;
        }
    }
    path.len()
}

/// An export request in protobuf that is legal but for what is planted at the end of the path.
pub fn build(schema: &Schema, signal: Signal, path: &[Field], plant: Plant<'_>) -> Vec<u8> {
    message(schema, root(signal), path, plant, &[])
}

/// `around` are the attributes that are legal where a key and its value are planted.
fn message(schema: &Schema, name: &str, path: &[Field], plant: Plant<'_>, around: &[(&str, Value)]) -> Vec<u8> {
    let mut out = Vec::new();
    let target = path.first();
    let in_target = |oneof: Option<i32>| oneof.is_some() && target.is_some_and(|target| target.oneof == oneof);
    let mut data = None;
    for field in schema.fields(name) {
        let is_target = target.is_some_and(|target| target.number == field.number);
        // Of a oneof there is the target, or else the first member.
        let first = || schema.fields(name).iter().find(|other| other.oneof == field.oneof).map(|first| first.number);
        let chosen = field.oneof.is_none() || (!in_target(field.oneof) && first() == Some(field.number));
        if field.oneof.is_some() && (is_target || chosen) {
            data = Some(field.name.as_str());
        }
        if chosen && !is_target {
            legal(schema, name, field, around, &mut out);
        }
    }
    let data = data.filter(|_| name == METRIC);
    if let Some(data) = data {
        of_metric(schema, data, target, &mut out);
    }
    if let Some(field) = target {
        planted(schema, name, (field, &path[1..]), plant, around, data, &mut out);
    }
    out
}

/// The field with its legal value.
fn legal(schema: &Schema, name: &str, field: &Field, around: &[(&str, Value)], out: &mut Vec<u8>) {
    match rules::fate(name, &field.name) {
        Fate::Gone | Fate::OfMetric => {}
        Fate::Inner => {
            let Kind::Message(inner) = &field.kind else { panic!("{name}.{} is no message", field.name) };
            if name == KEY_VALUE {
                let (_, value) = around.first().expect("an attribute is legal here");
                any_value(schema, field.number, *value, out);
            } else {
                nested(field.number, &message(schema, inner, &[], Plant::Nothing, around), out);
            }
        }
        Fate::Attributes(attributes) => {
            for (key, value) in attributes {
                attribute(schema, field.number, key, *value, out);
            }
        }
        Fate::OfAttribute => {
            let (key, value) = around.first().expect("an attribute is legal here");
            if name == KEY_VALUE {
                nested(field.number, key.as_bytes(), out);
            } else {
                value_field(schema, *value, out);
            }
        }
        Fate::Text(text) => nested(field.number, text.as_bytes(), out),
        Fate::Bytes(bytes) => nested(field.number, bytes, out),
        Fate::Int(n) => number(field, n, out),
        Fate::Ints(list) => list.iter().for_each(|n| number(field, *n, out)),
        Fate::Double(n) => double(field.number, n, out),
        Fate::Doubles(list) => list.iter().for_each(|n| double(field.number, *n, out)),
    }
}

/// Name, description and unit of the metric that has this kind of data.
fn of_metric(schema: &Schema, data: &str, target: Option<&Field>, out: &mut Vec<u8>) {
    for field in schema.fields(METRIC) {
        if target.is_none_or(|target| target.number != field.number)
            && let Some(text) = metric_text(data, &field.name)
        {
            nested(field.number, text.as_bytes(), out);
        }
    }
}

fn metric_text(data: &str, field: &str) -> Option<&'static str> {
    let metric = rules::metric_of(data);
    match field {
        "name" => Some(metric.name),
        "description" => Some(metric.description),
        "unit" => Some(metric.unit),
        _ => None,
    }
}

/// The field at which the path goes on, with what is to be in it.
fn planted(
    schema: &Schema,
    name: &str,
    (field, rest): (&Field, &[Field]),
    plant: Plant<'_>,
    around: &[(&str, Value)],
    data: Option<&str>,
    out: &mut Vec<u8>,
) {
    let attributes = match rules_of(name, field) {
        Some(Fate::Attributes(attributes)) => attributes,
        // Where no attribute is legal at all, any will do.
        _ if around.is_empty() => &[(contract::attr::SERVICE_NAME, Value::Text("codex-pooler"))],
        _ => around,
    };
    if let Some(Fate::Attributes(legal)) = rules_of(name, field) {
        // The first one is where the plant is: twice the same key would hide it.
        for (key, value) in &legal[1..] {
            attribute(schema, field.number, key, *value, out);
        }
    }
    match (&field.kind, plant) {
        (_, Plant::Nothing) if rest.is_empty() => {}
        (Kind::Message(inner), _) => nested(field.number, &message(schema, inner, rest, plant, attributes), out),
        (Kind::Text | Kind::Bytes, Plant::Forbidden(text)) => nested(field.number, text.as_bytes(), out),
        (Kind::Number(_), Plant::Forbidden(_)) => forbidden_number(field, out),
        (_, Plant::Legal) => match (rules_of(name, field), data) {
            (Some(Fate::OfMetric), Some(data)) => {
                nested(field.number, metric_text(data, &field.name).expect("a text of the metric").as_bytes(), out);
            }
            _ => legal(schema, name, field, around, out),
        },
        (_, Plant::Nothing) => unreachable!("a path ends with a field that holds no message"),
    }
}

fn rules_of(name: &str, field: &Field) -> Option<Fate> {
    (field.number != UNKNOWN_FIELD).then(|| rules::fate(name, &field.name))
}

fn attribute(schema: &Schema, number: u32, key: &str, value: Value, out: &mut Vec<u8>) {
    let mut content = Vec::new();
    for field in schema.fields(KEY_VALUE) {
        match field.name.as_str() {
            "key" => nested(field.number, key.as_bytes(), &mut content),
            "value" => any_value(schema, field.number, value, &mut content),
            _ => {}
        }
    }
    nested(number, &content, out);
}

fn any_value(schema: &Schema, number: u32, value: Value, out: &mut Vec<u8>) {
    let mut content = Vec::new();
    value_field(schema, value, &mut content);
    nested(number, &content, out);
}

fn value_field(schema: &Schema, value: Value, out: &mut Vec<u8>) {
    let field = |name: &str| schema.fields(ANY_VALUE).iter().find(|field| field.name == name).expect("a kind of value");
    match value {
        Value::Text(text) => nested(field("string_value").number, text.as_bytes(), out),
        Value::Bool(value) => number(field("bool_value"), i64::from(value), out),
        Value::Int(value) => number(field("int_value"), value, out),
        Value::Double(value) => double(field("double_value").number, value, out),
        Value::Texts(texts) => {
            let mut list = Vec::new();
            let values = schema.fields("common.v1.ArrayValue")[0].number;
            for text in texts {
                any_value(schema, values, Value::Text(text), &mut list);
            }
            nested(field("array_value").number, &list, out);
        }
    }
}

fn nested(number: u32, content: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend(content);
}

fn double(number: u32, value: f64, out: &mut Vec<u8>) {
    encode_key(number, WireType::SixtyFourBit, out);
    out.extend(value.to_le_bytes());
}

fn number(field: &Field, value: i64, out: &mut Vec<u8>) {
    let Kind::Number(kind) = &field.kind else { panic!("{} is no number", field.name) };
    match kind {
        Type::Fixed64 | Type::Sfixed64 => {
            encode_key(field.number, WireType::SixtyFourBit, out);
            out.extend(value.to_le_bytes());
        }
        Type::Fixed32 | Type::Sfixed32 => {
            encode_key(field.number, WireType::ThirtyTwoBit, out);
            out.extend(i32::try_from(value).expect("a number of 32 bits").to_le_bytes());
        }
        Type::Sint32 | Type::Sint64 => {
            encode_key(field.number, WireType::Varint, out);
            encode_varint(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
        }
        Type::Double | Type::Float => panic!("{} is no whole number", field.name),
        Type::Uint32 => {
            encode_key(field.number, WireType::Varint, out);
            encode_varint(value.cast_unsigned() & u64::from(u32::MAX), out);
        }
        _ => {
            encode_key(field.number, WireType::Varint, out);
            encode_varint(value.cast_unsigned(), out);
        }
    }
}

/// Numbers that are out of every range: a double, one of 64 bits, and one of 32.
const FORBIDDEN_DOUBLE: f64 = -1.234_567_890_123_456_7e300;
const FORBIDDEN_LONG: i64 = -0x0e1d_2c3b_4a59_6877;
const FORBIDDEN_SHORT: i32 = -0x6152_4111;

/// The digits by which a forbidden number is recognised in a text, whether it was taken for a signed number or not: each of these is in what
/// is sent as JSON.
pub fn number_texts() -> [String; 5] {
    [
        format!("{:e}", -FORBIDDEN_DOUBLE).split_once('e').expect("an exponent").0.to_owned(),
        FORBIDDEN_LONG.unsigned_abs().to_string(),
        FORBIDDEN_LONG.cast_unsigned().to_string(),
        FORBIDDEN_SHORT.unsigned_abs().to_string(),
        FORBIDDEN_SHORT.cast_unsigned().to_string(),
    ]
}

/// A number that is out of every range.
fn forbidden_number(field: &Field, out: &mut Vec<u8>) {
    match &field.kind {
        Kind::Number(Type::Double) => double(field.number, FORBIDDEN_DOUBLE, out),
        Kind::Number(Type::Bool) => number(field, 0, out),
        Kind::Number(Type::Fixed64 | Type::Sfixed64 | Type::Int64 | Type::Uint64) => number(field, FORBIDDEN_LONG, out),
        _ => number(field, FORBIDDEN_SHORT.into(), out),
    }
}

/// The bytes by which a forbidden number is recognised; a truth value cannot be.
pub fn number_marker(field: &Field) -> Option<Vec<u8>> {
    let mut encoded = Vec::new();
    match &field.kind {
        Kind::Number(Type::Bool) | Kind::Text | Kind::Bytes | Kind::Message(_) => return None,
        Kind::Number(_) => forbidden_number(&Field { number: 1, ..field.clone() }, &mut encoded),
    }
    // The key of field 1 is one byte.
    Some(encoded.split_off(1))
}

/// The same for a scan of much else: with the field's key where the bytes alone could be there by chance.
pub fn rare_number_marker(field: &Field) -> Option<Vec<u8>> {
    const FEW_BYTES: usize = 5;
    let marker = number_marker(field)?;
    let mut with_key = Vec::new();
    forbidden_number(field, &mut with_key);
    Some(if marker.len() > FEW_BYTES { marker } else { with_key })
}
