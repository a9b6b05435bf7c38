//! Traces: every message type of the signal, taken apart completely.

use contract::{DropReason, Place, Record, RecordKind, StripReason, attr};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Link};

use super::Work;
use super::common::{self, enumeration, is_id, zeroed};
use crate::policy::Site;
use crate::row_id::{is_at_home, is_root};
use crate::times::Times;
use crate::{Policy, Report};

/// Bits of a span's or link's flags that OTLP defines: the W3C trace flags, and whether the parent is remote.
pub(crate) const DEFINED_FLAGS: u32 = 0x3ff;
/// Status codes that OTLP defines: 0 (unset) to 2 (error).
pub(crate) const STATUS_CODES: std::ops::RangeInclusive<i32> = 0..=2;
/// A row has at most one link, to its client's context.
pub(crate) const MAX_LINKS: usize = 1;

pub(crate) fn traces(policy: &Policy, times: Times, request: ExportTraceServiceRequest) -> (ExportTraceServiceRequest, Report) {
    let mut work = Work::new(policy, times);
    let ExportTraceServiceRequest { resource_spans } = request;
    let resource_spans = resource_spans.into_iter().filter_map(|group| resource_group(group, &mut work)).collect();
    (ExportTraceServiceRequest { resource_spans }, work.report)
}

/// `None` when no span is left: an empty group says nothing.
fn resource_group(group: ResourceSpans, work: &mut Work<'_>) -> Option<ResourceSpans> {
    let ResourceSpans { resource, scope_spans, schema_url } = group;
    let resource = resource.map(|r| common::resource(r, work));
    let scope_spans: Vec<_> = scope_spans.into_iter().filter_map(|group| scope_group(group, work)).collect();
    let schema_url = common::schema_url(schema_url, work);
    (!scope_spans.is_empty()).then_some(ResourceSpans { resource, scope_spans, schema_url })
}

fn scope_group(group: ScopeSpans, work: &mut Work<'_>) -> Option<ScopeSpans> {
    let ScopeSpans { scope, spans, schema_url } = group;
    let scope = scope.map(|s| common::scope(s, work));
    let schema_url = common::schema_url(schema_url, work);
    let spans = common::records(spans, work, span);
    (!spans.is_empty()).then_some(ScopeSpans { scope, spans, schema_url })
}

fn span(span: Span, work: &mut Work<'_>) -> Result<Span, DropReason> {
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
    if !work.times.contain_span(start_time_unix_nano, end_time_unix_nano) {
        return Err(DropReason::InvalidTime);
    }
    let record = Record::of(record_kind(&attributes));
    if !is_at_home(record.kind, &trace_id, common::first_text(&attributes, attr::REQUEST_ID)) {
        return Err(DropReason::InvalidId);
    }
    let may_have_parent = !is_root(record.kind) && is_id(&parent_span_id, 8);
    let parent_span_id = if parent_span_id.is_empty() || may_have_parent {
        parent_span_id
    } else {
        work.strip(Place::ParentId, StripReason::NotAllowed);
        Vec::new()
    };
    self::trace_state(&trace_state, work);
    for count in [dropped_attributes_count, dropped_events_count, dropped_links_count] {
        zeroed(count, work);
    }
    work.strip_many(Place::SpanEvent, StripReason::NotAllowed, events.len());

    let span_kind = record.span_kind.number();
    if kind != span_kind {
        work.strip(Place::Number, StripReason::NotDerived);
    }
    Ok(Span {
        trace_id,
        span_id,
        trace_state: String::new(),
        parent_span_id,
        flags: common::flags(flags, DEFINED_FLAGS, work),
        name: self::name(name, record, work),
        kind: span_kind,
        start_time_unix_nano,
        end_time_unix_nano,
        attributes: common::attributes(attributes, Site::span(record), work),
        dropped_attributes_count: 0,
        events: Vec::new(),
        dropped_events_count: 0,
        links: self::links(links, work),
        dropped_links_count: 0,
        status: status.map(|s| self::status(s, work)),
    })
}

fn name(name: String, record: &Record, work: &mut Work<'_>) -> String {
    match work.policy.check_name(record, &name) {
        Ok(()) => name,
        Err(reason) => {
            work.strip(Place::SpanName, reason);
            record.fallback_name.to_owned()
        }
    }
}

fn links(links: Vec<Link>, work: &mut Work<'_>) -> Vec<Link> {
    let mut kept = Vec::new();
    for link in links {
        let Link { trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags } = link;
        work.strip_many(Place::SpanLink, StripReason::NotAllowed, attributes.len());
        self::trace_state(&trace_state, work);
        zeroed(dropped_attributes_count, work);
        if kept.len() == MAX_LINKS || !is_id(&trace_id, 16) || !is_id(&span_id, 8) {
            work.strip(Place::SpanLink, StripReason::NotAllowed);
            continue;
        }
        kept.push(Link {
            trace_id,
            span_id,
            trace_state: String::new(),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            flags: common::flags(flags, DEFINED_FLAGS, work),
        });
    }
    kept
}

fn status(status: Status, work: &mut Work<'_>) -> Status {
    let Status { message, code } = status;
    if !message.is_empty() {
        work.strip(Place::StatusMessage, StripReason::NotAllowed);
    }
    Status { message: String::new(), code: enumeration(code, STATUS_CODES, work) }
}

fn trace_state(trace_state: &str, work: &mut Work<'_>) {
    if !trace_state.is_empty() {
        work.strip(Place::TraceState, StripReason::NotAllowed);
    }
}

fn record_kind(attributes: &[KeyValue]) -> Option<RecordKind> {
    let attribute = attributes.iter().find(|attribute| attribute.key == attr::RECORD_KIND)?;
    RecordKind::parse(crate::view::text_value(attribute)?)
}
