//! The `tracing` layer through a real OTLP/HTTP receiver: what an application's own spans become, and what never leaves with them.

// What the tests share may panic as they do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt;
use std::sync::{Arc, Mutex};

use codex_pooler_exporter::{Admission, ApiKey, End, EndStatus, Exporter, Pool, Protocol, Request, ids, layer};
use contract::{Method, RecordKind, Route, Transport, attr};
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use prost::Message as _;
use sanitizer::view;
use testkit::backend::{Answer, Backend, Script};
use testkit::leaks::Scanner;
use tracing::{Instrument as _, error_span, info, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use uuid::Uuid;

fn start() -> (Backend, Exporter) {
    let backend = Backend::http(Script::always(Answer::Accept));
    let exporter = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).build().unwrap();
    (backend, exporter)
}

fn admit(exporter: &Exporter) -> Request {
    let pool = Pool { id: Uuid::new_v4(), slug: "core".into(), name: "Core agents".into() };
    let route = Route::BackendApiCodexResponses;
    let key = ApiKey::ExternalToken;
    exporter.admit(Admission::new(Uuid::new_v4(), pool, key, Method::Post, route, Transport::HttpSse)).dispatch()
}

/// Sends everything, and returns the internal spans; what arrived must be what the collector's sanitizer would leave of it, but for the names
/// of a list that it does not know.
fn internal_spans(backend: &Backend, exporter: &Exporter) -> Vec<Span> {
    assert_eq!(exporter.shutdown().dropped(), 0);
    for message in backend.recorded() {
        let sanitized: sanitizer::Sanitized = sanitizer::protobuf::<ExportTraceServiceRequest>(
            &sanitizer::Policy::contract(),
            std::time::SystemTime::now(),
            &message.body,
        )
        .unwrap();
        let mut sent = ExportTraceServiceRequest::decode(message.body.as_slice()).unwrap();
        let spans = sent.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans).flat_map(|scope| &mut scope.spans);
        let named = spans.filter(|span| view::record_kind(span).is_none() && span.name != "internal");
        let renamed = named.map(|span| "internal".clone_into(&mut span.name)).count() as u64;
        assert_eq!(sanitized.report().stripped_total(), renamed, "{:?}", sanitized.report());
        assert_eq!(ExportTraceServiceRequest::decode(sanitized.encoded().as_ref()).unwrap(), sent);
    }
    backend.accepted_spans().into_iter().filter(|span| view::record_kind(span).is_none()).collect()
}

/// Guarantees: spans inside a request, however the code gets there, are internal spans of its trace under the right parents; spans outside are
/// not exported, not even under one that was.
#[test]
fn spans_inside_a_request_belong_to_it() {
    let (backend, exporter) = start();
    let request = admit(&exporter);
    let id = request.id();
    let subscriber = tracing_subscriber::registry().with(layer::new(["select_account"]));
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _outside = info_span!("outside").entered();
        runtime.block_on(async {
            let work = async {
                let outer = info_span!("outer", http.route = "/v1/responses", http.response.status_code = 200);
                outer.record("http.response.status_code", 429);
                // On another task, and after its parent was left.
                let inner = info_span!(parent: &outer, "inner", "error.type" = "rate_limit_exceeded", otel.status_code = "error");
                tokio::spawn(async {}.instrument(inner)).await.unwrap();
                drop(outer);
                // A root on purpose: nobody's child, so in no request.
                info_span!(parent: None, "unrelated").in_scope(|| info_span!("below unrelated").in_scope(|| {}));
            };
            work.instrument(request.span()).await;
        });
        info_span!("afterwards").in_scope(|| {});
    });
    request.finish(End::new(EndStatus::Succeeded));

    let spans = internal_spans(&backend, &exporter);
    let (inner, outer): (Vec<_>, Vec<_>) =
        spans.iter().partition(|span| span.status.as_ref().unwrap().code == StatusCode::Error as i32);
    let ([inner], [outer]) = (inner.as_slice(), outer.as_slice()) else { panic!("{spans:?}") };
    assert_eq!(outer.parent_span_id, ids::request_span(id).to_bytes());
    assert_eq!(inner.parent_span_id, outer.span_id);
    assert_ne!(inner.span_id, outer.span_id);
    for span in [inner, outer] {
        assert_eq!(span.trace_id, id.as_bytes());
        assert_eq!((span.name.as_str(), span.kind), ("internal", SpanKind::Internal as i32));
        assert!(span.events.is_empty() && span.links.is_empty() && span.trace_state.is_empty());
        assert_eq!(view::text(&span.attributes, attr::REQUEST_ID), Some(id.to_string().as_str()));
    }
    assert_eq!(view::text(&outer.attributes, attr::HTTP_ROUTE), Some("/v1/responses"));
    assert_eq!(view::int(&outer.attributes, attr::HTTP_RESPONSE_STATUS_CODE), Some(429), "the last value counts");
    assert_eq!((outer.attributes.len(), inner.attributes.len()), (3, 2));
    assert_eq!(view::text(&inner.attributes, attr::ERROR_TYPE), Some("rate_limit_exceeded"));
    let row = backend.accepted_spans().into_iter().find(|span| view::record_kind(span) == Some(RecordKind::Request)).unwrap();
    assert_eq!(row.span_id, outer.parent_span_id);
}

/// Guarantees: a name is exported if it is on the list and has the strict form; the collector, whose policy does not name it, calls it `internal`
/// all the same, which `internal_spans` compares. No other name leaves the process.
#[test]
fn names_of_the_list_are_exported() {
    let (backend, exporter) = start();
    let request = admit(&exporter);
    let listed = ["select_account", "db.query2", "Select", "select account", "_x", "alice@example.com", "a-b", "ünit"];
    let listed = listed.into_iter().map(str::to_owned).chain(["x".repeat(64), "y".repeat(65)]);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer::new(listed)), || {
        request.span().in_scope(|| {
            info_span!("select_account").in_scope(|| {});
            info_span!("db.query2").in_scope(|| {});
            info_span!("not_listed").in_scope(|| {});
            info_span!("Select").in_scope(|| {});
            info_span!("select account").in_scope(|| {});
            info_span!("_x").in_scope(|| {});
            info_span!("alice@example.com").in_scope(|| {});
            info_span!("a-b").in_scope(|| {});
            info_span!("ünit").in_scope(|| {});
            info_span!("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx").in_scope(|| {});
            info_span!("yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy").in_scope(|| {});
        });
    });
    request.finish(End::new(EndStatus::Succeeded));
    let mut names: Vec<_> = internal_spans(&backend, &exporter).into_iter().map(|span| span.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names, ["db.query2".to_owned(), "internal".to_owned(), "select_account".to_owned(), "x".repeat(64)]);
}

/// Guarantees: of two requests that are worked on at the same time each gets its own spans, also where one span is inside the other's.
#[test]
fn requests_do_not_mix() {
    let (backend, exporter) = start();
    let (first, second) = (admit(&exporter), admit(&exporter));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer::new([""; 0])), || {
        let (in_first, in_second) = (first.span(), first.span().in_scope(|| second.span()));
        in_first.in_scope(|| {
            info_span!("first").in_scope(|| {});
            in_second.in_scope(|| info_span!("second", http.request.method = "GET").in_scope(|| {}));
        });
    });
    let expected = [(first.id(), None), (second.id(), Some("GET"))];
    first.finish(End::new(EndStatus::Succeeded));
    second.finish(End::new(EndStatus::Succeeded));
    let spans = internal_spans(&backend, &exporter);
    assert_eq!(spans.len(), 2);
    for (span, (id, method)) in spans.iter().zip(expected) {
        assert_eq!(span.trace_id, id.as_bytes());
        assert_eq!(span.parent_span_id, ids::request_span(id).to_bytes());
        assert_eq!(view::text(&span.attributes, attr::HTTP_REQUEST_METHOD), method);
    }
}

/// Guarantees: a loop with a span in it exports no more spans than the limit, and its row still arrives.
#[test]
fn the_number_of_spans_is_bounded() {
    let (backend, exporter) = start();
    let request = admit(&exporter);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer::new(["turn"])), || {
        request.span().in_scope(|| {
            for _ in 0..layer::MAX_SPANS + 10 {
                info_span!("turn").in_scope(|| {});
            }
        });
    });
    request.finish(End::new(EndStatus::Succeeded));
    assert_eq!(internal_spans(&backend, &exporter).len(), layer::MAX_SPANS as usize);
    assert!(backend.accepted_spans().iter().any(|span| view::record_kind(span) == Some(RecordKind::Request)));
}

/// Guarantees: without the layer a request's span is an ordinary one, and nothing is exported for it.
#[test]
fn it_works_without_the_layer() {
    let (backend, exporter) = start();
    let request = admit(&exporter);
    tracing::subscriber::with_default(tracing_subscriber::registry(), || {
        request.span().in_scope(|| info_span!("inner").in_scope(|| {}));
    });
    request.span().in_scope(|| info_span!("without any subscriber").in_scope(|| {}));
    request.finish(End::new(EndStatus::Succeeded));
    assert!(internal_spans(&backend, &exporter).is_empty());
}

/// What an application's own pipeline exports.
#[derive(Clone, Debug, Default)]
struct Own(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Own {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// Guarantees: an application that exports its spans with a pipeline of its own, in place of the layer, does so as without this crate: a request
/// neither moves them to another trace nor decides for the application's sampler.
#[test]
fn an_own_pipeline_is_left_alone() {
    let (backend, exporter) = start();
    for (sampler, expected) in [(Sampler::AlwaysOff, 0), (Sampler::AlwaysOn, 2)] {
        let own = Own::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(own.clone());
        let provider = provider.with_sampler(Sampler::ParentBased(Box::new(sampler))).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("application"));
        let request = admit(&exporter);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            request.span().in_scope(|| info_span!("inner").in_scope(|| {}));
        });
        let spans = own.0.lock().unwrap();
        assert_eq!(spans.len(), expected);
        assert!(spans.iter().all(|span| span.span_context.trace_id() != ids::trace(request.id())));
        request.finish(End::new(EndStatus::Succeeded));
    }
    assert!(internal_spans(&backend, &exporter).is_empty());
}

/// Guarantees: a request of a disabled exporter can be entered like any other, and has no span.
#[test]
fn a_disabled_exporter_makes_no_spans() {
    let request = admit(&Exporter::disabled());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer::new(["inner"])), || {
        assert!(request.span().is_none());
        request.span().in_scope(|| info_span!("inner").in_scope(|| {}));
    });
    request.finish(End::new(EndStatus::Succeeded));
}

/// An error with a cause, both with a text.
#[derive(Debug)]
struct Chain(String, Option<Box<Self>>);

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Chain {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_ref().map(|cause| cause.as_ref() as _)
    }
}

/// A name that is on the layer's list, and that the contract does not know.
const PLANTED_NAME: &str = "a planted name of a span";

/// Puts the text into every place where `tracing`, and its bridge to OpenTelemetry, take one. Makes two spans.
fn plant(text: &str) {
    let error = Chain(text.to_owned(), Some(Box::new(Chain(text.to_owned(), None))));
    let error: &(dyn std::error::Error + 'static) = &error;
    let span = error_span!(
        PLANTED_NAME,
        prompt = %text,
        answer = ?text,
        error,
        exception = error,
        otel.name = text,
        otel.kind = text,
        otel.status_code = "error",
        otel.status_description = text,
        http.request.method = text,
        http.route = text,
        http.response.status_code = text,
        "error.type" = text,
        "codex_pooler.request.id" = text,
        "codex_pooler.record.kind" = "request",
        "codex_pooler.pool.name" = text,
        "gen_ai.input.messages" = text,
        later = tracing::field::Empty,
        late_error = tracing::field::Empty,
    );
    span.record("later", text);
    span.record("late_error", error);
    span.set_attribute(text.to_owned(), text.to_owned());
    span.set_attribute(attr::HTTP_ROUTE, text.to_owned());
    span.set_status(Status::error(text.to_owned()));
    let state = TraceState::from_key_value([("vendor", "planted-trace-state-0123456789")]).unwrap();
    let context = SpanContext::new(TraceId::from(7), SpanId::from(7), TraceFlags::SAMPLED, true, state);
    span.add_link_with_attributes(context, vec![KeyValue::new("link", text.to_owned())]);
    span.add_event(text.to_owned(), vec![KeyValue::new("event", text.to_owned())]);
    span.in_scope(|| {
        tracing::error!(error, %text, "{text}");
        tracing::error!(parent: &span, error = %text);
        info!(target: "planted", prompt = text, "{text}");
        // Once its child has started, the span is no more a builder: the other way in.
        let child = info_span!("child", prompt = text, error);
        child.follows_from(&span);
        child.in_scope(|| info!("{text}"));
        span.record("later", text);
        span.record("late_error", error);
        span.set_attribute(text.to_owned(), text.to_owned());
        span.set_attribute(attr::ERROR_TYPE, text.to_owned());
        span.set_status(Status::error(text.to_owned()));
        span.add_event(text.to_owned(), vec![KeyValue::new("event", text.to_owned())]);
    });
}

/// Guarantees: no text leaves the process from any place of a span, an event or an error: not a prompt, not an id, not an address, whatever it
/// looks like. Every span does leave, so that there was something to look through.
#[test]
fn no_text_leaks() {
    const TEXTS: usize = 64;
    let shapes = prop_oneof![
        "[a-z0-9]{24,80}",
        "[A-Za-z][A-Za-z ,.!?'\"\n-]{30,200}",
        "[a-z]{12,20}@[a-z]{5,12}\\.example\\.com",
        "sk-[A-Za-z0-9]{32,48}",
        "/v1/files/[a-z0-9]{20,40}",
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}",
        "\\p{L}{20,60}",
        "\\PC{20,60}",
    ];
    let mut runner = TestRunner::default();
    let texts: Vec<String> = (0..TEXTS).map(|_| shapes.new_tree(&mut runner).unwrap().current()).collect();

    let (backend, exporter) = start();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer::new([PLANTED_NAME])), || {
        for text in &texts {
            let request = admit(&exporter);
            request.span().in_scope(|| plant(text));
            // Someone who knows how contexts work still cannot say where a request is.
            let elsewhere = SpanContext::new(TraceId::from(7), SpanId::from(7), TraceFlags::SAMPLED, true, TraceState::NONE);
            let outside = info_span!("outside", prompt = %text);
            outside.set_parent(Context::new().with_remote_span_context(elsewhere)).unwrap();
            outside.in_scope(|| plant(text));
            plant(text);
            request.finish(End::new(EndStatus::Succeeded));
        }
    });
    let spans = internal_spans(&backend, &exporter);
    assert_eq!(spans.len(), TEXTS * 2, "{texts:?}");

    let mut scanner = Scanner::new(texts.iter().map(String::as_str).chain([PLANTED_NAME, "planted-trace-state-0123456789"]));
    backend.recorded().iter().for_each(|message| scanner.bytes("the wire", &message.everything()));
    scanner.assert_clean();
}
