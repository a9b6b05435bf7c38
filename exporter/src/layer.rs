//! A `tracing` layer: the spans that an application makes inside a request, as `internal` spans of that request's trace.
//!
//! The application says where a request is, and its spans are where they were:
//!
//! ```
//! use codex_pooler_exporter::{Request, layer};
//! use tracing::Instrument as _;
//! use tracing_subscriber::layer::SubscriberExt as _;
//!
//! // With the layers that the application has. It needs no exporter: a span goes where its request goes.
//! let subscriber = tracing_subscriber::registry().with(layer::new(["select_account"]));
//!
//! async fn handle(request: &Request, prompt: &str) {
//!     async {
//!         // Exported, without the field: its name is not in the contract.
//!         let _span = tracing::info_span!("select_account", prompt = %prompt).entered();
//!     }
//!     .instrument(request.span())
//!     .await;
//! }
//! ```
//!
//! What leaves the process of such a span: that it was there, when, under which span of the same request, whether it set an error status,
//! and those of its fields whose names are attributes of the contract's `internal` record (`http.request.method`, `http.route`,
//! `http.response.status_code`, `error.type`), each with a value that the contract allows. Nothing else does: no other field, no event, no
//! error or its causes, no link, no status text. Spans outside a request are not exported at all.
//!
//! A span's name is exported if it is on the list given to [`new`] and has the form `[a-z][a-z0-9_.]{0,63}`; else the span is called
//! `internal`. The collector cannot know an application's list: unless its operator's policy names them as well, it calls all of them
//! `internal`.
//!
//! # Limits
//!
//! - The layer is one of [`tracing_opentelemetry`], which keeps the data of a span in one place: a registry can have one such layer, and with
//!   a second one the first span panics. An application that has one already keeps to one of the two.
//! - It cannot stand inside a `tracing_subscriber::reload::Layer`: a request would not find it, and its spans would be outside.
//! - One [`Request::span`] exports at most [`MAX_SPANS`] spans; what is beyond is not made, and not counted as dropped.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use contract::{Record, attr};
use opentelemetry::trace::{
    Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sanitizer::check::{self, check};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;
use uuid::Uuid;

use crate::exporter::Inner;
use crate::queue::Job;
use crate::request::{Admitted, Request};
use crate::{enforce, ids, spans};

/// Spans that one [`Request::span`] exports at most, so that a loop with a span in it does not push rows out of the queue.
pub const MAX_SPANS: u32 = 256;

/// A layer that exports the spans inside requests. `names` are the span names that may be exported, such as `select_account`; one of another
/// form than `[a-z][a-z0-9_.]{0,63}` is left out.
pub fn new<S>(names: impl IntoIterator<Item = impl Into<String>>) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    // A path to the method would fix the lifetime.
    #[allow(clippy::redundant_closure_for_method_calls)]
    let spans_only = filter_fn(|metadata| metadata.is_span());
    let names = names.into_iter().map(Into::into).filter(|name: &String| enforce::is_internal_name(name)).collect();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(InternalTracer { names })
        // Spans are found through `tracing`, so that what else the application does with OpenTelemetry is not changed.
        .with_context_activation(false)
        .with_error_fields_to_exceptions(false)
        .with_error_records_to_exceptions(false)
        .with_error_events_to_exceptions(false)
        .with_error_events_to_status(false)
        .with_location(false)
        .with_tracked_inactivity(false)
        .with_threads(false)
        .with_level(false)
        .with_target(false);
    // No event gets as far as being formatted.
    layer.and_then(Here).with_filter(spans_only)
}

/// Says to a request that the layer is this one.
struct Here;

impl<S: Subscriber> Layer<S> for Here {}

impl Admitted {
    /// As [`Request::span`], for what is done before there is an upstream to turn to.
    #[must_use]
    pub fn span(&self) -> tracing::Span {
        span(self.id(), self.exporter())
    }
}

impl Request {
    /// A `tracing` span that stands for this request: spans made inside it are exported as children of the row, if the layer is [`new`]'s.
    /// Enter it with [`tracing::Span::in_scope`] or, for a future, with [`tracing::Instrument::instrument`].
    ///
    /// To other layers it is an ordinary span called `request` with the field `request.id`. It has the level `ERROR`, so that a filter by
    /// level does not cut its children off.
    #[must_use]
    pub fn span(&self) -> tracing::Span {
        span(self.id(), self.exporter())
    }
}

fn span(id: Uuid, exporter: Option<&Arc<Inner>>) -> tracing::Span {
    let Some(exporter) = exporter else { return tracing::Span::none() };
    let span = tracing::error_span!("request", request.id = %id);
    // An application's own pipeline would take it for its parent, and leave the application's trace and its sampler's decision for it.
    if !tracing::dispatcher::get_default(tracing::Dispatch::is::<Here>) {
        return span;
    }
    // A context that came from elsewhere is how the layer is told the request, and how the tracer knows this span from its children.
    let row = SpanContext::new(ids::trace(id), ids::request_span(id), TraceFlags::SAMPLED, true, TraceState::NONE);
    let request = InRequest { id, exporter: Arc::clone(exporter), exported: AtomicU32::new(0) };
    // Behind a filter there is nobody to tell.
    let _ = span.set_parent(Context::new().with_remote_span_context(row).with_value(Arc::new(request)));
    span
}

/// What the context of every span inside a request holds. The type is private: nothing outside can claim to be inside.
struct InRequest {
    id: Uuid,
    exporter: Arc<Inner>,
    exported: AtomicU32,
}

/// Makes [`InternalSpan`]s. Not the SDK's tracer: that would keep every attribute and event until an exporter throws it away.
struct InternalTracer {
    names: HashSet<String>,
}

impl Tracer for InternalTracer {
    type Span = InternalSpan;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> InternalSpan {
        let Some(request) = parent.get::<Arc<InRequest>>() else {
            return InternalSpan { context: SpanContext::NONE, open: None };
        };
        let parent_span = parent.span();
        let parent_context = parent_span.span_context();
        if parent_context.is_remote() {
            // The span that stands for the request: its children are the row's.
            let (trace_id, span_id) = (parent_context.trace_id(), parent_context.span_id());
            let context = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE);
            return InternalSpan { context, open: None };
        }
        if request.exported.fetch_add(1, Ordering::Relaxed) >= MAX_SPANS {
            // Its children, if it has any, are beyond the limit as well.
            return InternalSpan { context: parent_context.clone(), open: None };
        }
        let mut span = InternalSpan {
            context: SpanContext::new(ids::trace(request.id), random_span_id(), TraceFlags::SAMPLED, false, TraceState::NONE),
            open: Some(Open {
                request: Arc::clone(request),
                parent: parent_context.span_id(),
                name: self.names.get(builder.name.as_ref()).cloned(),
                started_at: builder.start_time.unwrap_or_else(SystemTime::now),
                attributes: Vec::new(),
                status: Status::Unset,
            }),
        };
        span.set_attributes(builder.attributes.unwrap_or_default());
        span
    }
}

/// A span that keeps what the contract allows, and nothing else.
struct InternalSpan {
    context: SpanContext,
    /// Absent if the span is not exported, and once it has ended.
    open: Option<Open>,
}

struct Open {
    request: Arc<InRequest>,
    parent: SpanId,
    name: Option<String>,
    started_at: SystemTime,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Span for InternalSpan {
    fn add_event_with_timestamp<T>(&mut self, _name: T, _timestamp: SystemTime, _attributes: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
    }

    fn span_context(&self) -> &SpanContext {
        &self.context
    }

    fn is_recording(&self) -> bool {
        self.open.is_some()
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        let (Some(open), Some(attribute)) = (&mut self.open, allowed(attribute)) else { return };
        // The last value counts.
        open.attributes.retain(|earlier| earlier.key != attribute.key);
        open.attributes.push(attribute);
    }

    fn set_status(&mut self, status: Status) {
        let Some(open) = &mut self.open else { return };
        match status {
            // Never with a description: that is free text.
            Status::Error { .. } => open.status = Status::error(""),
            Status::Ok => open.status = Status::Ok,
            Status::Unset => {}
        }
    }

    /// The name is the one that the span was made with.
    fn update_name<T>(&mut self, _name: T)
    where
        T: Into<Cow<'static, str>>,
    {
    }

    fn add_link(&mut self, _span_context: SpanContext, _attributes: Vec<KeyValue>) {}

    fn end_with_timestamp(&mut self, ended_at: SystemTime) {
        let Some(open) = self.open.take() else { return };
        let Open { request, parent, name, started_at, mut attributes, status } = open;
        attributes.push(KeyValue::new(attr::REQUEST_ID, request.id.to_string()));
        let span = SpanData {
            span_context: self.context.clone(),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.map_or(Cow::Borrowed(Record::of(None).fallback_name), Cow::Owned),
            start_time: started_at,
            // The clock can be set back meanwhile.
            end_time: ended_at.max(started_at),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: spans::scope(),
        };
        request.exporter.queue.push(Job::Internal(Box::new(span)));
    }
}

/// The attribute as it may be exported, if at all. The request's id is the layer's to say.
fn allowed(attribute: KeyValue) -> Option<KeyValue> {
    let key = attribute.key.as_str();
    if !Record::of(None).allows(key) || key == attr::REQUEST_ID {
        return None;
    }
    let rule = contract::attribute(key)?;
    let verdict = match &attribute.value {
        Value::String(text) => check(rule, check::Value::Text(text.as_str())),
        Value::I64(number) => check(rule, check::Value::Int(*number)),
        Value::F64(number) => check(rule, check::Value::Double(*number)),
        Value::Bool(value) => check(rule, check::Value::Bool(*value)),
        // No attribute of this record is a list.
        _ => Err(contract::StripReason::WrongType),
    };
    match verdict {
        Ok(()) => Some(attribute),
        Err(_) => check::fallback(rule, None).map(|text| KeyValue::new(attribute.key, text)),
    }
}

/// 62 random bits; the version and variant bits of a UUID's second half keep it from being zero, which would be no id.
fn random_span_id() -> SpanId {
    let (_, half) = Uuid::new_v4().as_u64_pair();
    SpanId::from(half)
}
