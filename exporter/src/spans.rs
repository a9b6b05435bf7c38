//! Turns a lifecycle into spans: pure functions, the same lifecycle always gives the same spans.
//!
//! The `dropped_attributes_count` of each says how many of the values that were given the contract refused, so that they were left out or
//! replaced. [`crate::Exporter`] adds it up in [`crate::Totals::refused_values`], and does not send it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use contract::limits::MAX_AHEAD;
use contract::{AttemptStatus, Method, OTHER, Operation, Record, RecordKind, RequestStatus, Route, Transport, attr, outcome};
use opentelemetry::InstrumentationScope;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sanitizer::check::check_name;

use crate::attributes::{Attributes, allowed};
use crate::bounds::MAX_FINISH_REASONS;
use crate::lifecycle::{Attempt, Lifecycle, Tokens};
use crate::{ids, row};

/// The spans of a finished request: its row and one span for each attempt. None for an open one.
#[must_use]
pub fn finished(lifecycle: &Lifecycle) -> Vec<SpanData> {
    let Some(end) = &lifecycle.end else { return Vec::new() };
    let code = end.error_code.as_deref();
    let error = request_failed(row::status(lifecycle), code, end.http_status);
    let mut attributes = row::attributes(lifecycle, RecordKind::Request);
    if error {
        attributes.text(attr::ERROR_TYPE, error_type(code, end.http_status));
    }
    let admission = &lifecycle.admission;
    let mut span = span(
        RecordKind::Request,
        &format!("{} {}", admission.method, admission.route),
        (ids::trace(admission.request_id), ids::request_span(admission.request_id)),
        SpanId::INVALID,
        (lifecycle.admitted_at, end.at),
        attributes,
    );
    span.status = status(error);
    // No trace state: it is free text.
    span.links.links.extend(admission.client_context.as_ref().filter(|context| context.is_valid()).map(|context| {
        let (trace_id, span_id) = (context.trace_id(), context.span_id());
        Link::with_context(SpanContext::new(trace_id, span_id, context.trace_flags(), true, TraceState::NONE))
    }));
    let attempts = lifecycle.attempts.iter().map(|attempt| self::attempt(lifecycle, attempt, end.at));
    std::iter::once(span).chain(attempts).collect()
}

/// The marker that says that a request is open, with the whole row as it is now; `sequence` counts from 0.
#[must_use]
pub fn marker(lifecycle: &Lifecycle, sequence: u32, observed_at: SystemTime) -> SpanData {
    let mut attributes = row::attributes(lifecycle, RecordKind::InProgress);
    attributes.int(attr::IN_PROGRESS_SEQUENCE, sequence);
    let id = lifecycle.admission.request_id;
    span(
        RecordKind::InProgress,
        &format!("in_progress {}", lifecycle.admission.route),
        (ids::in_progress_trace(id), ids::in_progress_span(id, sequence)),
        SpanId::INVALID,
        (observed_at, observed_at),
        attributes,
    )
}

/// Texts which may show what no closed set knows only beside the attribute that says it: an error's code, a client's id.
const SAID_BESIDE: [(&str, &str); 2] =
    [(attr::TEXT_ERRORS, attr::ERROR_CODE), (attr::REQUEST_SEARCH, attr::REQUEST_CORRELATION_ID)];

/// The correction that says what a row has become since it was sent: the attributes of `after` that `before` had not, or had otherwise.
/// An attribute that is gone, or a span status that changed, cannot be said. `sequence` counts from 1.
#[must_use]
pub fn correction(before: &Lifecycle, after: &Lifecycle, sequence: u32, learned_at: SystemTime) -> SpanData {
    let id = after.admission.request_id;
    let (before, _) = row::attributes(before, RecordKind::Correction).into_parts();
    let (after, refused) = row::attributes(after, RecordKind::Correction).into_parts();
    let mut attributes = Attributes::new(None);
    attributes.member(attr::RECORD_KIND, RecordKind::Correction.as_str());
    attributes.id(attr::REQUEST_ID, id);
    attributes.int(attr::CORRECTION_SEQUENCE, sequence);
    // Never again what says which row this is, should a caller have mixed two up.
    let own: Vec<_> = attributes.iter().map(|own| own.key.clone()).collect();
    let changed = |now: &KeyValue| !before.contains(now);
    let has_changed = |key: &str| after.iter().any(|now| now.key.as_str() == key && changed(now));
    let besides: Vec<_> = SAID_BESIDE.iter().filter(|(composed, _)| has_changed(composed)).map(|(_, part)| *part).collect();
    let is_carried = |now: &KeyValue| changed(now) || besides.contains(&now.key.as_str());
    attributes.extend(after.into_iter().filter(|now| is_carried(now) && !own.contains(&now.key)));
    attributes.refuse(refused);
    span(
        RecordKind::Correction,
        "correction",
        (ids::trace(id), ids::correction_span(id, sequence)),
        ids::request_span(id),
        (learned_at, learned_at),
        attributes,
    )
}

fn attempt(lifecycle: &Lifecycle, attempt: &Attempt, row_ended_at: SystemTime) -> SpanData {
    let admission = &lifecycle.admission;
    let end = attempt.end.as_ref();
    let code = end.and_then(|end| end.error_code.as_deref());
    let http_status = end.and_then(|end| end.http_status);
    let attempt_status = end.map_or(AttemptStatus::Other, |end| end.status);
    let error = attempt_failed(attempt_status, code);

    let mut span_attributes = Attributes::new(attempt.account.id.map(|id| id.to_string()));
    let a = &mut span_attributes;
    a.member(attr::RECORD_KIND, RecordKind::Attempt.as_str());
    a.id(attr::REQUEST_ID, admission.request_id);
    a.id(attr::POOL_ID, admission.pool.id);
    a.text(attr::POOL_SLUG, &admission.pool.slug);
    row::account(a, &attempt.account);
    a.maybe_id(attr::UPSTREAM_ASSIGNMENT_ID, attempt.account.assignment_id);
    a.maybe_text(attr::UPSTREAM_PLAN_LABEL, row::plan(&attempt.account));
    a.maybe_text(attr::UPSTREAM_PLAN_FAMILY, attempt.account.plan_family.as_deref());
    let id = if attempt.id.is_nil() { ids::attempt(admission.request_id, attempt.number) } else { attempt.id };
    a.id(attr::ATTEMPT_ID, id);
    a.int(attr::ATTEMPT_NUMBER, attempt.number);
    a.member(attr::ATTEMPT_STATUS, attempt_status.as_str());
    a.member(attr::ATTEMPT_TRANSPORT, attempt.transport.as_str());
    a.text(attr::ERROR_CODE, code.unwrap_or(contract::ABSENT));
    a.maybe_int(attr::HTTP_RESPONSE_STATUS_CODE, http_status);
    if error {
        a.text(attr::ERROR_TYPE, error_type(code, http_status));
    }
    if let Some(end) = end {
        a.bool(attr::ATTEMPT_RETRYABLE, end.retryable);
        a.maybe_member(attr::RESPONSE_STATUS, end.response_status.map(contract::ResponseStatus::as_str));
    }
    let method = upstream_method(admission.method, admission.transport, attempt.transport);
    a.member(attr::HTTP_REQUEST_METHOD, method.as_str());
    let name = match operation(admission.route) {
        None => method.to_string(),
        Some(operation) => {
            inference(a, attempt, operation);
            let model = attempt.model.as_deref().map(|model| allowed(attr::GEN_AI_REQUEST_MODEL, model).unwrap_or(OTHER));
            model.map_or(method.to_string(), |model| format!("{operation} {model}"))
        }
    };

    let mut span = span(
        RecordKind::Attempt,
        &name,
        (ids::trace(admission.request_id), ids::attempt_span(admission.request_id, attempt.number)),
        ids::request_span(admission.request_id),
        (attempt.started_at, attempt_end_at(attempt, row_ended_at)),
        span_attributes,
    );
    span.status = status(error);
    span
}

/// The attributes of a model call, by their conventional names.
fn inference(a: &mut Attributes, attempt: &Attempt, operation: Operation) {
    a.member(attr::GEN_AI_OPERATION_NAME, operation.as_str());
    a.member(attr::GEN_AI_PROVIDER_NAME, "openai");
    if operation == Operation::Chat {
        a.member(attr::OPENAI_API_TYPE, "responses");
    }
    if matches!(attempt.transport, Transport::HttpSse | Transport::Websocket) {
        a.bool(attr::GEN_AI_REQUEST_STREAM, true);
    }
    a.maybe_text(attr::GEN_AI_REQUEST_MODEL, attempt.model.as_deref());
    a.maybe_member(attr::GEN_AI_REQUEST_REASONING_LEVEL, row::effort(attempt).map(contract::ReasoningEffort::as_str));
    a.maybe_member(attr::OPENAI_REQUEST_SERVICE_TIER, attempt.service_tier.map(contract::ServiceTier::as_str));
    let Some(end) = &attempt.end else { return };
    a.maybe_text(attr::GEN_AI_RESPONSE_MODEL, end.response_model.as_deref());
    a.maybe_member(attr::OPENAI_RESPONSE_SERVICE_TIER, end.service_tier.map(contract::ServiceTier::as_str));
    let reasons: Vec<_> = end.finish_reasons.iter().take(MAX_FINISH_REASONS).map(|reason| reason.as_str()).collect();
    if !reasons.is_empty() {
        a.texts(attr::GEN_AI_RESPONSE_FINISH_REASONS, &reasons);
    }
    if let Some(ms) = end.first_output_ms {
        a.double(attr::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, Duration::from_millis(ms).as_secs_f64());
    }
    let Tokens { input, cache_read, cache_write, output, reasoning, total: _ } = end.usage.unwrap_or_default();
    a.maybe_int(attr::GEN_AI_USAGE_INPUT_TOKENS, input);
    a.maybe_int(attr::GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, cache_read);
    a.maybe_int(attr::GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, cache_write);
    a.maybe_int(attr::GEN_AI_USAGE_OUTPUT_TOKENS, output);
    a.maybe_int(attr::GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, reasoning);
}

/// The kind of model call that a route makes; none where it makes no such call.
const fn operation(route: Route) -> Option<Operation> {
    match route {
        Route::BackendApiCodexResponses
        | Route::BackendApiCodexResponsesCompact
        | Route::V1Responses
        | Route::V1ChatCompletions
        | Route::BackendApiCodexV1Responses
        | Route::BackendApiCodexV1ChatCompletions => Some(Operation::Chat),
        Route::BackendApiTranscribe
        | Route::V1AudioTranscriptions
        | Route::BackendApiCodexImagesGenerations
        | Route::BackendApiCodexImagesEdits
        | Route::V1ImagesGenerations
        | Route::V1ImagesEdits => Some(Operation::GenerateContent),
        _ => None,
    }
}

/// A websocket is opened with `GET`; what came over one and goes on without one is posted.
const fn upstream_method(method: Method, downstream: Transport, upstream: Transport) -> Method {
    match (downstream, upstream) {
        (_, Transport::Websocket) => Method::Get,
        (Transport::Websocket, _) => Method::Post,
        _ => method,
    }
}

/// The latency is measured by a monotonic clock; where it is missing or cannot be, or the try never ended, wall clocks have to do.
fn attempt_end_at(attempt: &Attempt, row_ended_at: SystemTime) -> SystemTime {
    let Some(end) = &attempt.end else { return row_ended_at };
    let by_latency = end.latency_ms.and_then(|ms| attempt.started_at.checked_add(Duration::from_millis(ms)));
    // Two clocks agree better than that, and a span from the future would be refused.
    by_latency.filter(|at| at.duration_since(end.at).unwrap_or_default() <= MAX_AHEAD).unwrap_or(end.at)
}

/// Whether a row's span status is Error. By convention a server span with a 4xx is not; a client that went away is no error of the
/// server either, whatever status was made up for it; what a recovery closed is one, although its made-up status is a 4xx.
fn request_failed(status: RequestStatus, code: Option<&str>, http_status: Option<u16>) -> bool {
    if status == RequestStatus::Failed && code.is_some_and(outcome::is_recovery) {
        return true;
    }
    if code == Some(outcome::CLIENT_DISCONNECTED) {
        return false;
    }
    match (status, http_status) {
        (RequestStatus::Failed, Some(400..=499)) => false,
        (RequestStatus::Failed, _) | (RequestStatus::Rejected, Some(500..=599)) => true,
        _ => false,
    }
}

/// Whether an attempt's span status is Error: it failed, and not because the caller gave it up.
fn attempt_failed(status: AttemptStatus, code: Option<&str>) -> bool {
    matches!(status, AttemptStatus::Failed | AttemptStatus::RetryableFailed) && code != Some(outcome::CLIENT_DISCONNECTED)
}

/// The code, else the HTTP status as text, if that says that something went wrong: a stream can break after its 200. What the contract does
/// not know becomes its `_OTHER` on the way in.
fn error_type(code: Option<&str>, http_status: Option<u16>) -> Cow<'_, str> {
    match (code, http_status) {
        (Some(code), _) => code.into(),
        (None, Some(status @ 400..)) => status.to_string().into(),
        (None, _) => OTHER.into(),
    }
}

/// Never with a description: that is free text.
fn status(error: bool) -> Status {
    if error { Status::error("") } else { Status::Unset }
}

fn span(
    kind: RecordKind,
    name: &str,
    (trace_id, span_id): (TraceId, SpanId),
    parent_span_id: SpanId,
    (start_time, end_time): (SystemTime, SystemTime),
    attributes: Attributes,
) -> SpanData {
    let (attributes, refused) = attributes.into_parts();
    let record = Record::of(Some(kind));
    let name = if check_name(record, name).is_ok() { Cow::Owned(name.to_owned()) } else { Cow::Borrowed(record.fallback_name) };
    SpanData {
        span_context: SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id,
        parent_span_is_remote: false,
        span_kind: match record.span_kind {
            contract::SpanKind::Internal => SpanKind::Internal,
            contract::SpanKind::Server => SpanKind::Server,
            contract::SpanKind::Client => SpanKind::Client,
        },
        name,
        start_time,
        // The clocks of two machines can disagree; a span that ends before it starts is refused everywhere.
        end_time: end_time.max(start_time),
        attributes,
        dropped_attributes_count: refused,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: status(false),
        instrumentation_scope: scope(),
    }
}

/// The instrumentation scope of every span.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(contract::SCOPE_NAME)
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(contract::SCHEMA_URL)
        .build()
}

#[cfg(test)]
mod tests;
