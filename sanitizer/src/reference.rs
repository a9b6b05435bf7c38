//! The slow and obvious sanitizer. Every message type of OTLP's trace signal has a function here that takes it apart completely, so that a
//! new field in the protocol does not compile until someone has decided about it, and builds a new one from what the contract allows.

use contract::limits::{EARLIEST_UNIX_S, LATEST_UNIX_S};
use contract::{Attribute, DropReason, Place, Record, RecordKind, StripReason, attr};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Link};

use crate::Report;
use crate::check::{Value, check, check_name, fallback};

/// Bits of a span's or link's flags that OTLP defines: the W3C trace flags, and whether the parent is remote.
pub(crate) const DEFINED_FLAGS: u32 = 0x3ff;
/// Span kinds that OTLP defines: 0 (unspecified) to 5 (consumer).
pub(crate) const SPAN_KINDS: std::ops::RangeInclusive<i32> = 0..=5;
/// Status codes that OTLP defines: 0 (unset) to 2 (error).
pub(crate) const STATUS_CODES: std::ops::RangeInclusive<i32> = 0..=2;
/// A row has at most one link, to its client's context.
pub(crate) const MAX_LINKS: usize = 1;

/// Sanitizes an `ExportTraceServiceRequest` in protobuf: decodes it, builds a new one, and encodes that.
///
/// # Errors
/// [`Refused::Protobuf`] if any part of it cannot be parsed.
#[cfg(feature = "reference")]
pub fn protobuf(message: &[u8]) -> Result<(Vec<u8>, Report), crate::Refused> {
    use prost::Message as _;
    let request = ExportTraceServiceRequest::decode(message).map_err(|_| crate::Refused::Protobuf)?;
    let (request, report) = traces(request);
    Ok((request.encode_to_vec(), report))
}

pub(crate) fn traces(request: ExportTraceServiceRequest) -> (ExportTraceServiceRequest, Report) {
    let mut report = Report::default();
    let ExportTraceServiceRequest { resource_spans } = request;
    let resource_spans = resource_spans.into_iter().filter_map(|group| resource_group(group, &mut report)).collect();
    (ExportTraceServiceRequest { resource_spans }, report)
}

/// `None` when no span is left: an empty group says nothing.
fn resource_group(group: ResourceSpans, report: &mut Report) -> Option<ResourceSpans> {
    let ResourceSpans { resource, scope_spans, schema_url } = group;
    let resource = resource.map(|r| self::resource(r, report));
    let scope_spans: Vec<_> = scope_spans.into_iter().filter_map(|group| scope_group(group, report)).collect();
    let schema_url = self::schema_url(schema_url, report);
    (!scope_spans.is_empty()).then_some(ResourceSpans { resource, scope_spans, schema_url })
}

fn scope_group(group: ScopeSpans, report: &mut Report) -> Option<ScopeSpans> {
    let ScopeSpans { scope, spans, schema_url } = group;
    let scope = scope.map(|s| self::scope(s, report));
    let schema_url = self::schema_url(schema_url, report);
    report.parsed_spans += spans.len() as u64;
    let spans: Vec<_> = spans
        .into_iter()
        .filter_map(|span| match self::span(span, report) {
            Ok(span) => {
                report.accepted_spans += 1;
                Some(span)
            }
            Err(reason) => {
                report.drop_span(reason);
                None
            }
        })
        .collect();
    (!spans.is_empty()).then_some(ScopeSpans { scope, spans, schema_url })
}

fn resource(resource: Resource, report: &mut Report) -> Resource {
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

fn scope(scope: InstrumentationScope, report: &mut Report) -> InstrumentationScope {
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

fn schema_url(url: String, report: &mut Report) -> String {
    if url.is_empty() || url == contract::SCHEMA_URL {
        return url;
    }
    report.strip(Place::SchemaUrl, StripReason::NotAllowed);
    String::new()
}

fn span(span: Span, report: &mut Report) -> Result<Span, DropReason> {
    let Span {
        trace_id,
        span_id,
        trace_state,
        parent_span_id,
        flags,
        name,
        kind,
        start_time_unix_nano,
        end_time_unix_nano,
        attributes,
        dropped_attributes_count,
        events,
        dropped_events_count,
        links,
        dropped_links_count,
        status,
    } = span;
    if !is_id(&trace_id, 16) || !is_id(&span_id, 8) {
        return Err(DropReason::InvalidId);
    }
    if !is_time(start_time_unix_nano) || !is_time(end_time_unix_nano) || end_time_unix_nano < start_time_unix_nano {
        return Err(DropReason::InvalidTime);
    }
    let parent_span_id = if parent_span_id.is_empty() || is_id(&parent_span_id, 8) {
        parent_span_id
    } else {
        report.strip(Place::ParentId, StripReason::NotAllowed);
        Vec::new()
    };
    self::trace_state(&trace_state, report);
    for count in [dropped_attributes_count, dropped_events_count, dropped_links_count] {
        zeroed(count, report);
    }
    report.strip_many(Place::SpanEvent, StripReason::NotAllowed, events.len());

    let record = Record::of(record_kind(&attributes));
    Ok(Span {
        trace_id,
        span_id,
        trace_state: String::new(),
        parent_span_id,
        flags: self::flags(flags, report),
        name: self::name(name, record, report),
        kind: enumeration(kind, SPAN_KINDS, report),
        start_time_unix_nano,
        end_time_unix_nano,
        attributes: self::attributes(attributes, record.attributes, Place::SpanAttribute, report),
        dropped_attributes_count: 0,
        events: Vec::new(),
        dropped_events_count: 0,
        links: self::links(links, report),
        dropped_links_count: 0,
        status: status.map(|s| self::status(s, report)),
    })
}

fn name(name: String, record: &Record, report: &mut Report) -> String {
    match check_name(record, &name) {
        Ok(()) => name,
        Err(reason) => {
            report.strip(Place::SpanName, reason);
            record.fallback_name.to_owned()
        }
    }
}

fn links(links: Vec<Link>, report: &mut Report) -> Vec<Link> {
    let mut kept = Vec::new();
    for link in links {
        let Link { trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags } = link;
        report.strip_many(Place::SpanLink, StripReason::NotAllowed, attributes.len());
        self::trace_state(&trace_state, report);
        zeroed(dropped_attributes_count, report);
        if kept.len() == MAX_LINKS || !is_id(&trace_id, 16) || !is_id(&span_id, 8) {
            report.strip(Place::SpanLink, StripReason::NotAllowed);
            continue;
        }
        kept.push(Link {
            trace_id,
            span_id,
            trace_state: String::new(),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            flags: self::flags(flags, report),
        });
    }
    kept
}

fn status(status: Status, report: &mut Report) -> Status {
    let Status { message, code } = status;
    if !message.is_empty() {
        report.strip(Place::StatusMessage, StripReason::NotAllowed);
    }
    Status { message: String::new(), code: enumeration(code, STATUS_CODES, report) }
}

fn trace_state(trace_state: &str, report: &mut Report) {
    if !trace_state.is_empty() {
        report.strip(Place::TraceState, StripReason::NotAllowed);
    }
}

fn flags(flags: u32, report: &mut Report) -> u32 {
    if flags & !DEFINED_FLAGS != 0 {
        report.strip(Place::Number, StripReason::OutOfRange);
    }
    flags & DEFINED_FLAGS
}

fn enumeration(value: i32, defined: std::ops::RangeInclusive<i32>, report: &mut Report) -> i32 {
    if defined.contains(&value) {
        return value;
    }
    report.strip(Place::Number, StripReason::OutOfRange);
    0
}

/// Counts of what a sender's SDK dropped say nothing here, and any number can carry a message.
fn zeroed(count: u32, report: &mut Report) {
    if count != 0 {
        report.strip(Place::Number, StripReason::NotAllowed);
    }
}

fn is_id(id: &[u8], length_bytes: usize) -> bool {
    id.len() == length_bytes && id.iter().any(|b| *b != 0)
}

fn is_time(unix_ns: u64) -> bool {
    (EARLIEST_UNIX_S..LATEST_UNIX_S).contains(&(unix_ns / 1_000_000_000))
}

fn record_kind(attributes: &[KeyValue]) -> Option<RecordKind> {
    let attribute = attributes.iter().find(|attribute| attribute.key == attr::RECORD_KIND)?;
    RecordKind::parse(crate::view::text_value(attribute)?)
}

/// The attributes that the place allows, each with a value that its rule allows. Of a key that occurs twice, the first counts.
fn attributes(given: Vec<KeyValue>, allowed: &[&str], place: Place, report: &mut Report) -> Vec<KeyValue> {
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
