//! Answers searches and lists the values of tags.
//!
//! Of a filter's required comparisons, those that the store has columns for are compared before a span is decoded: equality and lists of
//! texts by the database, everything else, regular expressions above all, on the columns' texts. What is left is compared on the span.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use contract::{RecordKind, attr};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use store::{Candidate, Column, Reader, Records, Scan, StoredSpan, Trace};

use crate::error::ApiError;
use crate::response::{SearchMetrics, SearchResponse, ServiceStats, SpanMetadata, SpanSet, TraceMetadata, shown, tag_value};
use crate::traceql::{
    Comparison, Expr, Field, Intrinsic, Literal, Order, Query, Scope, SpanContext, Test, TraceContext, Value, ValueTest,
    duration_ns, hex,
};

/// What Tempo says where the root span is not there.
const NO_ROOT: &str = "<root span not yet received>";
/// Traces whose spans are decoded, and traces that are looked at, at most, to collect the values of a tag: the newest ones.
const MAX_DECODED_FOR_VALUES: u32 = 20_000;
const MAX_INSPECTED_FOR_VALUES: u32 = 500_000;
const NS_PER_MS: u64 = 1_000_000;

/// The limits of one search.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Traces.
    pub traces: usize,
    /// Spans of each.
    pub spans_per_set: usize,
    /// From and to in nanoseconds since the Unix epoch, both included.
    pub window_ns: (u64, u64),
    /// When to give up.
    pub deadline: Instant,
}

/// The newest traces with a span that the filter matches.
pub fn search(reader: &Reader, query: &Query, limits: Limits) -> Result<SearchResponse, ApiError> {
    let plan = Plan::of(&query.filter, limits.window_ns, limits.deadline);
    let fields = query.shown();
    let mut response =
        SearchResponse { traces: Vec::new(), metrics: SearchMetrics { inspected_traces: 0, completed_jobs: 1, total_jobs: 1 } };
    if limits.traces == 0 {
        return Ok(response);
    }
    reader.scan::<ApiError>(&plan.scan, |candidate| {
        response.metrics.inspected_traces = response.metrics.inspected_traces.saturating_add(1);
        if plan.may_match(candidate)
            && plan.row_matches(candidate, &query.filter)?
            && let Some(found) = matching(candidate, &candidate.trace()?, query, &fields, limits.spans_per_set)
        {
            response.traces.push(found);
        }
        Ok(if response.traces.len() == limits.traces { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(response)
}

/// The values of a field in the spans that the filter matches, each with its type, in order; of the newest traces only.
pub fn values(reader: &Reader, field: &Field, filter: &Expr, limits: Limits) -> Result<Vec<(&'static str, String)>, ApiError> {
    let plan = Plan::of(filter, limits.window_ns, limits.deadline);
    let column = match field {
        Field::Attribute(Scope::Span, key) if plan.decided_by_columns() => Column::of(key),
        _ => None,
    };
    let (mut inspected, mut decoded) = (0, 0);
    let mut found = BTreeMap::new();
    reader.scan::<ApiError>(&plan.scan, |candidate| {
        inspected += 1;
        if plan.may_match(candidate) {
            if let Some(column) = column {
                found.extend(candidate.text(column).map(|text| (text.to_owned(), "string")));
            } else {
                decoded += 1;
                let trace = candidate.trace()?;
                let context = trace_context(candidate, &trace);
                for span in trace.spans().map(|stored| span_context(stored, &context)).filter(|span| filter.matches(span)) {
                    found.extend(span.value(field).iter().map(tag_value).map(|(kind, text)| (text, kind)));
                }
            }
        }
        let enough = found.len() >= limits.traces || decoded == MAX_DECODED_FOR_VALUES || inspected == MAX_INSPECTED_FOR_VALUES;
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(found.into_iter().take(limits.traces).map(|(text, kind)| (kind, text)).collect())
}

/// How a filter is evaluated.
struct Plan<'a> {
    scan: Scan,
    /// Required comparisons that can be made on columns.
    on_columns: Vec<(Column, &'a Comparison)>,
    /// Required comparisons that `scan` and `on_columns` do not decide.
    others: usize,
    /// Whether the whole filter is nothing but required comparisons.
    all_required: bool,
}

impl<'a> Plan<'a> {
    fn of(filter: &'a Expr, window_ns: (u64, u64), deadline: Instant) -> Self {
        let required = filter.required();
        let records = required.iter().find_map(|comparison| records(comparison)).unwrap_or(Records::All);
        let mut plan = Self {
            scan: Scan { records, window_ns, ..Scan::all(deadline) },
            on_columns: Vec::new(),
            others: 0,
            all_required: only_required(filter),
        };
        for comparison in required {
            plan.push_down(comparison);
        }
        plan
    }

    /// Gives a required comparison to the scan or to the columns, where one of them can make it.
    fn push_down(&mut self, comparison: &'a Comparison) {
        // Columns say what the row span has. They decide only where no other span of the trace can match.
        let rows_only = self.scan.records != Records::All;
        match &comparison.field {
            Field::Intrinsic(Intrinsic::TraceId) => {
                if let Some([id]) = texts(&comparison.test) {
                    // No hexadecimal number, no trace: the comparison itself then finds that nothing matches.
                    self.scan.trace_id = u128::from_str_radix(id, 16).ok().map(u128::to_be_bytes);
                }
                self.others += 1;
            }
            Field::Attribute(Scope::Span, key) if rows_only && key == attr::REQUEST_ADMITTED_MS => {
                if let Some((min, max)) = bounds(&comparison.test) {
                    let (old_min, old_max) = self.scan.admitted_ms.unwrap_or((i64::MIN, i64::MAX));
                    self.scan.admitted_ms = Some((old_min.max(min), old_max.min(max)));
                } else {
                    self.others += 1;
                }
            }
            Field::Attribute(Scope::Span, key) if rows_only => match (Column::of(key), texts(&comparison.test)) {
                (Some(column), Some(texts)) => self.scan.any_of.push((column, texts.to_vec())),
                (Some(column), None) => self.on_columns.push((column, comparison)),
                // The kind that the scan was restricted to is decided.
                (None, _) => self.others += usize::from(records(comparison) != Some(self.scan.records)),
            },
            _ => self.others += 1,
        }
    }

    /// Whether the columns already say all there is to know: no span needs to be decoded to know that it matches.
    fn decided_by_columns(&self) -> bool {
        self.scan.records != Records::All && self.all_required && self.others == 0
    }

    /// Whether the columns leave it open that the trace matches.
    fn may_match(&self, candidate: &Candidate<'_>) -> bool {
        self.on_columns.iter().all(|(column, comparison)| {
            let value = candidate.text(*column).map(|text| Value::Text(text.into()));
            comparison.matches(value.as_slice())
        })
    }

    /// Whether the row matches, where only rows can; it spares the look at the trace's other spans.
    fn row_matches(&self, candidate: &Candidate<'_>, filter: &Expr) -> Result<bool, ApiError> {
        if self.scan.records == Records::All || self.decided_by_columns() {
            return Ok(true);
        }
        let trace = Trace { row: candidate.view()?, others: Vec::new(), truncated: false };
        let context = trace_context(candidate, &trace);
        Ok(trace.row.as_ref().is_some_and(|row| filter.matches(&span_context(row, &context))))
    }
}

/// Whether the filter is a conjunction of comparisons and nothing else.
fn only_required(filter: &Expr) -> bool {
    match filter {
        Expr::Compare(_) | Expr::Constant(true) => true,
        Expr::And(left, right) => only_required(left) && only_required(right),
        Expr::Constant(false) | Expr::Or(..) => false,
    }
}

/// The records to which a required comparison restricts a search.
fn records(comparison: &Comparison) -> Option<Records> {
    match (&comparison.field, texts(&comparison.test)?) {
        (Field::Attribute(Scope::Span, key), [kind]) if key == attr::RECORD_KIND => match RecordKind::parse(kind)? {
            RecordKind::Request => Some(Records::Requests),
            RecordKind::InProgress => Some(Records::Markers),
            RecordKind::Attempt | RecordKind::Correction => None,
        },
        _ => None,
    }
}

/// The texts of which a comparison wants one.
fn texts(test: &Test) -> Option<&[String]> {
    match test {
        Test::Is(ValueTest::Equal(Literal::Text(one))) => Some(std::slice::from_ref(one)),
        Test::Is(ValueTest::Matches(pattern)) => pattern.literals(),
        _ => None,
    }
}

/// The range of whole numbers, ends included, that a comparison wants.
fn bounds(test: &Test) -> Option<(i64, i64)> {
    match test {
        Test::Is(ValueTest::Equal(Literal::Int(n))) => Some((*n, *n)),
        Test::Is(ValueTest::Order(order, Literal::Int(n))) => match order {
            // Nothing is less than the least, nor greater than the greatest: such ranges are not a range, and are left to the comparison.
            Order::Less => Some((i64::MIN, n.checked_sub(1)?)),
            Order::LessOrEqual => Some((i64::MIN, *n)),
            Order::Greater => Some((n.checked_add(1)?, i64::MAX)),
            Order::GreaterOrEqual => Some((*n, i64::MAX)),
        },
        _ => None,
    }
}

fn service(stored: &StoredSpan) -> &str {
    let name = stored.resource.iter().flat_map(|r| &r.attributes).find(|attribute| attribute.key == attr::SERVICE_NAME);
    match name.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(any_value::Value::StringValue(name)) => name,
        _ => "",
    }
}

fn trace_context<'a>(candidate: &Candidate<'_>, trace: &'a Trace) -> TraceContext<'a> {
    let root = trace.row.as_ref().or_else(|| trace.others.iter().find(|stored| stored.span.parent_span_id.is_empty()));
    TraceContext {
        trace_id: candidate.trace_id,
        duration_ns: candidate.ended_ns.saturating_sub(candidate.started_ns),
        root_name: root.map_or("", |root| &root.span.name),
        root_service: root.map_or(NO_ROOT, service),
    }
}

fn span_context<'a>(stored: &'a StoredSpan, trace: &'a TraceContext<'a>) -> SpanContext<'a> {
    SpanContext { span: &stored.span, resource: stored.resource.as_ref(), trace }
}

/// What the answer says of a trace; `None` if no span matches.
fn matching(
    candidate: &Candidate<'_>,
    trace: &Trace,
    query: &Query,
    fields: &[&Field],
    spans_per_set: usize,
) -> Option<TraceMetadata> {
    let context = trace_context(candidate, trace);
    let matched: Vec<SpanContext<'_>> =
        trace.spans().map(|stored| span_context(stored, &context)).filter(|span| query.filter.matches(span)).collect();
    if matched.is_empty() {
        return None;
    }
    let mut service_stats: BTreeMap<String, ServiceStats> = BTreeMap::new();
    for stored in trace.spans() {
        let stats = service_stats.entry(service(stored).to_owned()).or_default();
        stats.span_count += 1;
        stats.error_count += u32::from(stored.span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32));
    }
    let spans = matched.iter().take(spans_per_set).map(|span| span_metadata(span, fields)).collect();
    Some(TraceMetadata {
        trace_id: hex(&candidate.trace_id),
        root_service_name: context.root_service.to_owned(),
        root_trace_name: context.root_name.to_owned(),
        start_time_unix_nano: candidate.started_ns.to_string(),
        duration_ms: u32::try_from(context.duration_ns / NS_PER_MS).unwrap_or(u32::MAX),
        span_sets: vec![SpanSet { spans, matched: u32::try_from(matched.len()).unwrap_or(u32::MAX) }],
        service_stats,
    })
}

fn span_metadata(span: &SpanContext<'_>, fields: &[&Field]) -> SpanMetadata {
    let mut name = None;
    let mut attributes = BTreeMap::new();
    for field in fields {
        match field {
            Field::Attribute(_, key) => attributes.extend(shown(&span.value(field)).map(|value| (key.clone(), value))),
            Field::Intrinsic(Intrinsic::Name) => name = Some(span.span.name.clone()),
            Field::Intrinsic(
                intrinsic @ (Intrinsic::Status | Intrinsic::Kind | Intrinsic::StatusMessage | Intrinsic::ParentId),
            ) => {
                let key = intrinsic.names().first().copied().unwrap_or_default();
                attributes.extend(shown(&span.value(field)).map(|value| (key.to_owned(), value)));
            }
            // The answer has these in fields of its own.
            Field::Intrinsic(
                Intrinsic::Duration
                | Intrinsic::SpanId
                | Intrinsic::TraceId
                | Intrinsic::TraceDuration
                | Intrinsic::RootName
                | Intrinsic::RootServiceName,
            ) => {}
        }
    }
    SpanMetadata {
        span_id: hex(&span.span.span_id),
        name,
        start_time_unix_nano: span.span.start_time_unix_nano.to_string(),
        duration_nanos: duration_ns(span.span).to_string(),
        attributes,
    }
}
