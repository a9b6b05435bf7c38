//! What the exporter's tests share: a request of invented people, and what arrived of it.

// Not every test uses everything.
#![allow(dead_code)]

use codex_pooler_exporter::{Account, Admission, ApiKey, Attempt, Exporter, Pool, Protocol};
use contract::{Method, RecordKind, Route, Transport};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sanitizer::view;
use testkit::backend::{Answer, Backend, Script};
use uuid::Uuid;

/// A backend that takes everything, and an exporter that sends to it.
pub fn connected() -> (Backend, Exporter) {
    let backend = Backend::http(Script::always(Answer::Accept));
    let exporter = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).build().unwrap();
    (backend, exporter)
}

pub fn admission() -> Admission {
    let pool = Pool { id: Uuid::new_v4(), slug: "core".into(), name: "Core agents".into() };
    let key = ApiKey::Key { id: Uuid::new_v4(), label: Some("CI agents".into()), prefix: Some("sk-cxp-1b158839f8aa".into()) };
    Admission {
        model: Some("gpt-5.4".into()),
        ..Admission::new(Uuid::new_v4(), pool, key, Method::Post, Route::BackendApiCodexResponses, Transport::HttpSse)
    }
}

pub fn account(label: &str) -> Account {
    Account { id: Some(Uuid::new_v4()), label: Some(label.into()), ..Account::default() }
}

pub fn attempt(label: &str) -> Attempt {
    Attempt { model: Some("gpt-5.4".into()), ..Attempt::new(account(label), Transport::HttpSse) }
}

/// The spans of a kind that one request sent.
pub fn spans_of(backend: &Backend, kind: RecordKind, request: Uuid) -> Vec<Span> {
    let id = request.to_string();
    let mut spans: Vec<_> = backend.accepted_spans().into_iter().filter(|span| view::record_kind(span) == Some(kind)).collect();
    spans.retain(|span| view::text(&span.attributes, contract::attr::REQUEST_ID) == Some(id.as_str()));
    spans
}

/// Every message went through the collector's sanitizer as it was: nothing was stripped, and not a byte is different.
pub fn assert_clean(backend: &Backend) {
    for recorded in backend.recorded() {
        let sanitized = sanitizer::protobuf::<ExportTraceServiceRequest>(
            &sanitizer::Policy::contract(),
            std::time::SystemTime::now(),
            &recorded.body,
        )
        .unwrap();
        assert_eq!((sanitized.report().stripped_total(), sanitized.report().dropped_total()), (0, 0), "{:?}", sanitized.report());
        assert_eq!(sanitized.encoded().as_ref(), recorded.body);
        assert!(ExportTraceServiceRequest::decode(recorded.body.as_slice()).is_ok());
    }
}
