//! What the three signals share: resource, scope, attributes, ids, times, numbers.

use std::ops::RangeInclusive;

use contract::limits::{EARLIEST_UNIX_S, LATEST_UNIX_S};
use contract::{Attribute, DropReason, Place, StripReason, attr};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::Report;
use crate::check::{Value, check, fallback};

/// The records that may go on. Each one is counted.
pub(super) fn records<T>(
    given: Vec<T>,
    report: &mut Report,
    sanitize: impl Fn(T, &mut Report) -> Result<T, DropReason>,
) -> Vec<T> {
    let mut kept = Vec::new();
    for record in given {
        match sanitize(record, report) {
            Ok(record) => {
                report.accept_record();
                kept.push(record);
            }
            Err(reason) => report.drop_records(reason, 1),
        }
    }
    kept
}

pub(super) fn resource(resource: Resource, report: &mut Report) -> Resource {
    let Resource { attributes, dropped_attributes_count, entity_refs } = resource;
    report.strip_many(Place::EntityRef, StripReason::NotAllowed, entity_refs.len());
    zeroed(dropped_attributes_count, report);
    let allowed = contract::generated::RESOURCE_ATTRIBUTES;
    Resource {
        attributes: self::attributes(attributes, allowed, Place::ResourceAttribute, report),
        dropped_attributes_count: 0,
        entity_refs: Vec::new(),
    }
}

pub(super) fn scope(scope: InstrumentationScope, report: &mut Report) -> InstrumentationScope {
    let InstrumentationScope { name, version, attributes, dropped_attributes_count } = scope;
    report.strip_many(Place::Scope, StripReason::NotAllowed, attributes.len());
    zeroed(dropped_attributes_count, report);
    // A scope's version is a version, so the rule for the service's version holds for it.
    let version_rule = contract::attribute(attr::SERVICE_VERSION);
    let mut kept = |text: String, allowed: bool| {
        if !text.is_empty() && !allowed {
            report.strip(Place::Scope, StripReason::NotAllowed);
            return String::new();
        }
        text
    };
    let ours = name == contract::SCOPE_NAME;
    let valid = ours && version_rule.is_some_and(|rule| check(rule, Value::Text(&version)).is_ok());
    InstrumentationScope {
        name: kept(name, ours),
        version: kept(version, valid),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
    }
}

pub(super) fn schema_url(url: String, report: &mut Report) -> String {
    if url.is_empty() || url == contract::SCHEMA_URL {
        return url;
    }
    report.strip(Place::SchemaUrl, StripReason::NotAllowed);
    String::new()
}

/// The defined ones among the flags.
pub(super) fn flags(flags: u32, defined: u32, report: &mut Report) -> u32 {
    if flags & !defined != 0 {
        report.strip(Place::Number, StripReason::OutOfRange);
    }
    flags & defined
}

pub(super) fn enumeration(value: i32, defined: RangeInclusive<i32>, report: &mut Report) -> i32 {
    if defined.contains(&value) {
        return value;
    }
    report.strip(Place::Number, StripReason::OutOfRange);
    0
}

/// Counts of what a sender's SDK dropped say nothing here, and any number can carry a message.
pub(super) fn zeroed(count: u32, report: &mut Report) {
    if count != 0 {
        report.strip(Place::Number, StripReason::NotAllowed);
    }
}

pub(super) fn is_id(id: &[u8], length_bytes: usize) -> bool {
    id.len() == length_bytes && id.iter().any(|b| *b != 0)
}

/// The ids of the trace that a record belongs to, each of them empty or valid.
pub(super) fn trace_context(trace_id: Vec<u8>, span_id: Vec<u8>, report: &mut Report) -> (Vec<u8>, Vec<u8>) {
    let mut valid = |id: Vec<u8>, length_bytes| {
        if id.is_empty() || is_id(&id, length_bytes) {
            return id;
        }
        report.strip(Place::TraceContext, StripReason::NotAllowed);
        Vec::new()
    };
    (valid(trace_id, 16), valid(span_id, 8))
}

/// Whether a time is unknown, which is 0, or can be.
pub(super) fn is_optional_time(unix_ns: u64) -> bool {
    unix_ns == 0 || is_time(unix_ns)
}

pub(super) fn is_time(unix_ns: u64) -> bool {
    (EARLIEST_UNIX_S..LATEST_UNIX_S).contains(&(unix_ns / 1_000_000_000))
}

/// The attributes that the place allows, each with a value that its rule allows. Of a key that occurs twice, the first counts.
pub(super) fn attributes(given: Vec<KeyValue>, allowed: &[&str], place: Place, report: &mut Report) -> Vec<KeyValue> {
    let mut kept: Vec<KeyValue> = Vec::new();
    let account_id = account_id(&given);
    for attribute in given {
        let KeyValue { key, value, key_strindex } = attribute;
        // Indices into a dictionary have a meaning in profiles only.
        if key_strindex != 0 {
            report.strip(Place::Number, StripReason::NotAllowed);
        }
        let verdict = match contract::attribute(&key) {
            None => Err(StripReason::UnknownKey),
            Some(_) if allowed.binary_search(&key.as_str()).is_err() => Err(StripReason::WrongPlace),
            Some(_) if kept.iter().any(|other| other.key == key) => Err(StripReason::Duplicate),
            Some(rule) => Ok((rule, check_value(rule, value.as_ref()))),
        };
        let value = match verdict {
            Ok((_, Ok(()))) => value,
            Ok((rule, Err(reason))) => {
                report.strip(place, reason);
                fallback(rule, account_id.as_deref()).map(|text| AnyValue { value: Some(any_value::Value::StringValue(text)) })
            }
            Err(reason) => {
                report.strip(place, reason);
                None
            }
        };
        if value.is_some() {
            kept.push(KeyValue { key, value, key_strindex: 0 });
        }
    }
    kept
}

/// The record's account id, if it has a valid one: it stands in for a label that must not be shown.
fn account_id(attributes: &[KeyValue]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == attr::UPSTREAM_ACCOUNT_ID)?;
    let id = crate::view::text_value(attribute)?;
    check(contract::attribute(attr::UPSTREAM_ACCOUNT_ID)?, Value::Text(id)).ok()?;
    Some(id.to_owned())
}

fn check_value(rule: &Attribute, value: Option<&AnyValue>) -> Result<(), StripReason> {
    use any_value::Value as Any;
    match value.and_then(|v| v.value.as_ref()) {
        Some(Any::StringValue(text)) => check(rule, Value::Text(text)),
        Some(Any::IntValue(n)) => check(rule, Value::Int(*n)),
        Some(Any::DoubleValue(n)) => check(rule, Value::Double(*n)),
        Some(Any::BoolValue(b)) => check(rule, Value::Bool(*b)),
        Some(Any::ArrayValue(list)) => {
            let texts: Option<Vec<&str>> = list
                .values
                .iter()
                .map(|item| match &item.value {
                    Some(Any::StringValue(text)) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            texts.map_or(Err(StripReason::WrongType), |texts| check(rule, Value::TextList(&texts)))
        }
        Some(Any::KvlistValue(_) | Any::BytesValue(_) | Any::StringValueStrindex(_)) | None => Err(StripReason::WrongType),
    }
}
