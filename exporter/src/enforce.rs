//! The contract, enforced on the SDK's own span data before anything is encoded: what is let through is what the collector's sanitizer
//! would let through of the encoded spans. What this crate composes itself is checked as it is composed; everything else goes through
//! here, and [`Enforced`] puts it around any other span exporter.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use contract::{Attribute, DropReason, Record, RecordKind, attr};
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, Key, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use sanitizer::check::{self, check, check_name, fallback};
use sanitizer::derived::{Input, Inputs, is_derived};
use sanitizer::row_id::{is_at_home, is_root};
use sanitizer::times::Times;

/// A row has at most one link, to its client's context.
const MAX_LINKS: usize = 1;

/// A span exporter that sends what the contract allows, and nothing else.
///
/// For an application that has an OpenTelemetry pipeline of its own, and sends to a backend without a collector of this project between:
///
/// ```no_run
/// use codex_pooler_exporter::Enforced;
/// use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter};
///
/// fn provider(otlp: impl SpanExporter + 'static) -> SdkTracerProvider {
///     SdkTracerProvider::builder().with_batch_exporter(Enforced::new(otlp)).build()
/// }
/// ```
#[derive(Debug)]
pub struct Enforced<E> {
    exporter: E,
    dropped: AtomicU64,
}

impl<E> Enforced<E> {
    /// Around this exporter.
    pub const fn new(exporter: E) -> Self {
        Self { exporter, dropped: AtomicU64::new(0) }
    }

    /// Spans that the contract has no place for: of an id that cannot be or is not the row's, or of a time that cannot be.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl<E: SpanExporter> SpanExporter for Enforced<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let given = batch.len();
        let batch: Vec<_> = batch.into_iter().filter_map(|span| self::span(span).ok()).collect();
        self.dropped.fetch_add((given - batch.len()) as u64, Ordering::Relaxed);
        if batch.is_empty() { Ok(()) } else { self.exporter.export(batch).await }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(&self::resource(resource));
    }
}

/// The span, with what the contract allows of it.
///
/// # Errors
/// [`DropReason::InvalidId`] or [`DropReason::InvalidTime`] if nothing of it can be kept.
pub fn span(span: SpanData) -> Result<SpanData, DropReason> {
    sound(&span)?;
    // Taken apart completely, so that a field that the SDK adds does not compile until someone has decided about it.
    let SpanData {
        span_context,
        parent_span_id,
        parent_span_is_remote,
        span_kind: _,
        name,
        start_time,
        end_time,
        attributes,
        dropped_attributes_count: _,
        events: _,
        links,
        status,
        instrumentation_scope,
    } = span;
    let record = Record::of(record_kind(&attributes));
    if !is_at_home(record.kind, &span_context.trace_id().to_bytes(), texts(&attributes, attr::REQUEST_ID).map(str::as_bytes)) {
        return Err(DropReason::InvalidId);
    }
    let is_root = is_root(record.kind);
    let mut kept_links = SpanLinks::default();
    kept_links.links = links.links.iter().filter(|link| link.span_context.is_valid()).map(self::link).take(MAX_LINKS).collect();
    Ok(SpanData {
        span_context: context(&span_context),
        parent_span_id: if is_root { SpanId::INVALID } else { parent_span_id },
        parent_span_is_remote,
        span_kind: match record.span_kind {
            contract::SpanKind::Internal => SpanKind::Internal,
            contract::SpanKind::Server => SpanKind::Server,
            contract::SpanKind::Client => SpanKind::Client,
        },
        name: if check_name(record, &name).is_ok() { name } else { Cow::Borrowed(record.fallback_name) },
        start_time,
        end_time,
        attributes: self::attributes(attributes, record.attributes, record.kind == Some(RecordKind::Correction)),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: kept_links,
        status: match status {
            Status::Error { .. } => Status::error(""),
            status @ (Status::Unset | Status::Ok) => status,
        },
        instrumentation_scope: scope(instrumentation_scope),
    })
}

/// Whether anything of a span can be kept.
pub(crate) fn sound(span: &SpanData) -> Result<(), DropReason> {
    if !span.span_context.is_valid() {
        return Err(DropReason::InvalidId);
    }
    let possible = Times::until(SystemTime::now()).contain_span(unix_ns(span.start_time), unix_ns(span.end_time));
    if possible { Ok(()) } else { Err(DropReason::InvalidTime) }
}

/// As [`span`], of one that the tracing layer made, whose name may be one of the application's list. The collector decides about it by its
/// operator's policy; without one, the span is called `internal` there.
#[cfg(feature = "tracing-layer")]
pub(crate) fn internal(mut span: SpanData) -> Result<SpanData, DropReason> {
    let name = std::mem::take(&mut span.name);
    let mut span = self::span(span)?;
    if is_internal_name(&name) {
        span.name = name;
    }
    Ok(span)
}

/// Whether an application may give this name to a span inside a request: `[a-z][a-z0-9_.]{0,63}`, and nothing that looks like a secret.
#[cfg(feature = "tracing-layer")]
pub(crate) fn is_internal_name(name: &str) -> bool {
    const MAX_BYTES: usize = 64;
    name.len() <= MAX_BYTES
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte))
        && !sanitizer::looks_secret(name)
}

/// The resource, with what the contract allows of it.
#[must_use]
pub fn resource(resource: &Resource) -> Resource {
    let attributes = resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    let attributes = self::attributes(attributes, contract::generated::RESOURCE_ATTRIBUTES, false);
    let builder = Resource::builder_empty();
    match resource.schema_url() {
        Some(contract::SCHEMA_URL) => builder.with_schema_url(attributes, contract::SCHEMA_URL).build(),
        _ => builder.with_attributes(attributes).build(),
    }
}

/// Without its trace state, which is free text.
fn context(context: &SpanContext) -> SpanContext {
    let (trace_id, span_id): (TraceId, SpanId) = (context.trace_id(), context.span_id());
    SpanContext::new(trace_id, span_id, context.trace_flags(), context.is_remote(), TraceState::NONE)
}

fn link(link: &Link) -> Link {
    Link::with_context(context(&link.span_context))
}

fn scope(scope: InstrumentationScope) -> InstrumentationScope {
    let ours = scope.name() == contract::SCOPE_NAME;
    // A scope's version is a version, so the rule for the service's version holds for it.
    let version = scope.version().filter(|version| ours && allowed(attr::SERVICE_VERSION, version));
    let schema_url = scope.schema_url().filter(|url| *url == contract::SCHEMA_URL);
    let clean = scope.attributes().next().is_none() && version == scope.version() && schema_url == scope.schema_url();
    if ours && clean {
        return scope;
    }
    let mut builder = InstrumentationScope::builder(if ours { contract::SCOPE_NAME } else { "" });
    if let Some(version) = version {
        builder = builder.with_version(version.to_owned());
    }
    if schema_url.is_some() {
        builder = builder.with_schema_url(contract::SCHEMA_URL);
    }
    builder.build()
}

fn allowed(key: &str, text: &str) -> bool {
    contract::attribute(key).is_some_and(|rule| check(rule, check::Value::Text(text)).is_ok())
}

/// As it is encoded: a time before 1970 is 1970.
fn unix_ns(time: SystemTime) -> u64 {
    // What does not fit wraps around there, too, and is a time that cannot be, or another one.
    #[allow(clippy::cast_possible_truncation)]
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// The texts under a key.
fn texts<'a>(attributes: &'a [KeyValue], key: &str) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter(move |attribute| attribute.key.as_str() == key).filter_map(|attribute| match &attribute.value {
        Value::String(text) => Some(text.as_str()),
        _ => None,
    })
}

fn first_text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match &attributes.iter().find(|attribute| attribute.key.as_str() == key)?.value {
        Value::String(text) => Some(text.as_str()),
        _ => None,
    }
}

fn record_kind(attributes: &[KeyValue]) -> Option<RecordKind> {
    RecordKind::parse(first_text(attributes, attr::RECORD_KIND)?)
}

/// The attributes that the place allows, each with a value that its rule allows. Of a key that occurs twice, the first counts.
fn attributes(given: Vec<KeyValue>, allowed: &[&str], is_correction: bool) -> Vec<KeyValue> {
    let account_id = first_text(&given, attr::UPSTREAM_ACCOUNT_ID)
        .filter(|id| self::allowed(attr::UPSTREAM_ACCOUNT_ID, id))
        .map(str::to_owned);
    let mut kept: Vec<KeyValue> = Vec::with_capacity(given.len());
    for attribute in given {
        let key = attribute.key.as_str();
        let Some(rule) = contract::attribute(key).filter(|rule| allowed.binary_search(&rule.key).is_ok()) else { continue };
        if kept.iter().any(|other| other.key.as_str() == key) {
            continue;
        }
        // Texts that follow from others are corrected when these are known.
        let value = if is_derived(rule.key) || check_value(rule, &attribute.value) {
            Some(attribute.value)
        } else {
            fallback(rule, account_id.as_deref()).map(Value::from)
        };
        // The rule's own key: nobody else's memory goes on.
        kept.extend(value.map(|value| KeyValue::new(Key::from_static_str(rule.key), value)));
    }
    correct(&mut kept, is_correction);
    kept
}

/// Makes the texts that follow from other attributes what they have to be.
pub(crate) fn correct(kept: &mut [KeyValue], is_correction: bool) {
    let derived: Vec<_> = (0..kept.len()).filter(|at| is_derived(kept[*at].key.as_str())).collect();
    if derived.is_empty() {
        return;
    }
    let inputs = Inputs::new(|source| {
        let value = kept.iter().find(|attribute| attribute.key.as_str() == source.key()).map(|attribute| &attribute.value);
        Ok::<_, Infallible>(match value {
            Some(Value::String(text)) => Some(Input::Text(Cow::Borrowed(text.as_str()))),
            Some(Value::I64(number)) => Some(Input::Int(*number)),
            Some(Value::F64(number)) => Some(Input::Double(*number)),
            _ => None,
        })
    });
    let mut corrected = Vec::new();
    for at in derived {
        let attribute = &kept[at];
        let given = match &attribute.value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        };
        let Ok(text) = inputs.correct(attribute.key.as_str(), given, is_correction);
        corrected.extend(text.map(|text| (at, text)));
    }
    for (at, text) in corrected {
        kept[at].value = text.into();
    }
}

fn check_value(rule: &Attribute, value: &Value) -> bool {
    let value = match value {
        Value::Bool(value) => check::Value::Bool(*value),
        Value::I64(value) => check::Value::Int(*value),
        Value::F64(value) => check::Value::Double(*value),
        Value::String(value) => check::Value::Text(value.as_str()),
        Value::Array(Array::String(items)) => {
            let items: Vec<_> = items.iter().map(opentelemetry::StringValue::as_str).collect();
            return check(rule, check::Value::TextList(&items)).is_ok();
        }
        // On the wire, an empty list has no type.
        Value::Array(Array::Bool(items)) if items.is_empty() => check::Value::TextList(&[]),
        Value::Array(Array::I64(items)) if items.is_empty() => check::Value::TextList(&[]),
        Value::Array(Array::F64(items)) if items.is_empty() => check::Value::TextList(&[]),
        _ => return false,
    };
    check(rule, value).is_ok()
}
