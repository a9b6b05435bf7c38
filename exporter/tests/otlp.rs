//! The exporter against real OTLP receivers on the loopback, from every kind of caller.

// What the tests share may panic as they do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codex_pooler_exporter::{
    Account, Admission, ApiKey, Attempt, AttemptEnd, BuildError, End, EndStatus, Exporter, Pool, Protocol, Settlement, Totals,
};
use contract::{AttemptStatus, Method, RecordKind, RequestStatus, Route, Transport, attr};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sanitizer::view;
use uuid::Uuid;

/// What arrived, as it arrived.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Received {
    fn spans(&self) -> Vec<Span> {
        let messages = self.0.lock().unwrap();
        let groups = messages.iter().flat_map(|message| &message.resource_spans);
        groups.flat_map(|group| &group.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    fn of_kind(&self, kind: RecordKind) -> Vec<Span> {
        self.spans().into_iter().filter(|span| view::record_kind(span) == Some(kind)).collect()
    }

    /// Waits until the spans satisfy a condition.
    fn wait(&self, condition: impl Fn(&Self) -> bool) {
        testkit::wait_for("what was expected", || condition(self).then_some(()));
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A receiver for both protocols, on a runtime and a thread of its own that end with the test. Returns its base URL.
fn receiver(protocol: Protocol) -> (String, Received) {
    let received = Received::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let state = received.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let routes = match protocol {
                Protocol::Grpc => tonic::service::Routes::new(TraceServiceServer::new(state)).prepare().into_axum_router(),
                Protocol::HttpProtobuf => axum::Router::new().route(
                    "/v1/traces",
                    axum::routing::post(|body: axum::body::Bytes| async move {
                        state.0.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
                    }),
                ),
            };
            axum::serve(listener, routes).await.unwrap();
        });
    });
    (url, received)
}

fn admission() -> Admission {
    let pool = Pool { id: Uuid::new_v4(), slug: "core".into(), name: "Core agents".into() };
    let key = ApiKey::Key { id: Uuid::new_v4(), label: Some("CI agents".into()), prefix: Some("sk-cxp-1b158839f8aa".into()) };
    Admission {
        model: Some("gpt-5.4".into()),
        ..Admission::new(Uuid::new_v4(), pool, key, Method::Post, Route::BackendApiCodexResponses, Transport::HttpSse)
    }
}

fn account() -> Account {
    Account { id: Some(Uuid::new_v4()), label: Some("Aurora seat 1".into()), ..Account::default() }
}

/// One request from admission to end, with one attempt.
fn one_request(exporter: &Exporter) -> Uuid {
    let admission = admission();
    let id = admission.request_id;
    let request = exporter.admit(admission).dispatch();
    let attempt = request.attempt(Attempt { model: Some("gpt-5.4".into()), ..Attempt::new(account(), Transport::HttpSse) });
    attempt.finish(AttemptEnd { http_status: Some(200), ..AttemptEnd::new(AttemptStatus::Succeeded) });
    request.settle(Settlement::Unknown);
    request.finish(End { http_status: Some(200), ..End::new(EndStatus::Succeeded) });
    id
}

fn check_one_request(protocol: Protocol) {
    let (url, received) = receiver(protocol);
    let exporter = Exporter::builder().endpoint(url).protocol(protocol).service_version("0.6.8").build().unwrap();
    let id = one_request(&exporter);
    let totals = exporter.shutdown();
    assert_eq!(totals, Totals { emitted: 3, exported: 3, ..Totals::default() });

    let (row, attempt) = (&received.of_kind(RecordKind::Request)[0], &received.of_kind(RecordKind::Attempt)[0]);
    let marker = &received.of_kind(RecordKind::InProgress)[0];
    assert_eq!(received.spans().len(), 3);
    assert_eq!(row.trace_id, id.as_bytes());
    assert_eq!((&attempt.trace_id, &attempt.parent_span_id), (&row.trace_id, &row.span_id));
    assert!(marker.trace_id != row.trace_id && marker.parent_span_id.is_empty());
    assert_eq!(marker.start_time_unix_nano, marker.end_time_unix_nano);
    assert_eq!(view::text(&marker.attributes, attr::REQUEST_ID), Some(id.to_string().as_str()));
    assert_eq!(view::text(&row.attributes, attr::UPSTREAM_ACCOUNT_LABEL), Some("Aurora seat 1"));
    assert!(view::int(&row.attributes, attr::REQUEST_LATENCY_MS).is_some(), "measured, where the caller does not say");

    // Resource, scope and spans as they were on the wire.
    for message in received.0.lock().unwrap().iter() {
        let sanitized: sanitizer::Sanitized = sanitizer::protobuf::<ExportTraceServiceRequest>(
            &sanitizer::Policy::contract(),
            std::time::SystemTime::now(),
            &message.encode_to_vec(),
        )
        .unwrap();
        assert_eq!(sanitized.report().stripped_total(), 0, "{:?}", sanitized.report());
        assert_eq!(sanitized.encoded().as_ref(), message.encode_to_vec());
        let group = &message.resource_spans[0];
        let resource = group.resource.as_ref().unwrap();
        let mut keys: Vec<_> = resource.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        keys.sort_unstable();
        let telemetry = ["telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version"];
        assert_eq!(keys, [&["service.instance.id", "service.name", "service.version"][..], &telemetry].concat());
        assert_eq!(view::text(&resource.attributes, attr::SERVICE_NAME), Some("codex-pooler"));
        assert_eq!(
            (group.schema_url.as_str(), group.scope_spans[0].schema_url.as_str()),
            (contract::SCHEMA_URL, contract::SCHEMA_URL)
        );
        assert_eq!(group.scope_spans[0].scope.as_ref().unwrap().name, contract::SCOPE_NAME);
    }
}

/// Guarantees: from a plain thread, over gRPC, a request arrives as marker, row and attempt, and the sanitizer finds nothing in it.
#[test]
fn grpc_from_a_thread() {
    check_one_request(Protocol::Grpc);
}

/// Guarantees: the same over HTTP.
#[test]
fn http_from_a_thread() {
    check_one_request(Protocol::HttpProtobuf);
}

/// Guarantees: the same from inside an async program, with either of its schedulers: building, recording, flushing and dropping.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_from_async_tasks() {
    tokio::task::spawn_blocking(|| check_one_request(Protocol::Grpc)).await.unwrap();
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        check_one_request(protocol);
        tokio::spawn(async move { check_one_request(protocol) }).await.unwrap();
    }
}

/// Guarantees: the same on a scheduler with one thread.
#[tokio::test]
async fn both_from_a_single_threaded_program() {
    check_one_request(Protocol::Grpc);
    check_one_request(Protocol::HttpProtobuf);
}

/// Guarantees: an open request sends numbered markers until it ends, and none after; its row ends the story with the same id.
#[test]
fn heartbeats_while_open() {
    let (url, received) = receiver(Protocol::Grpc);
    let exporter = Exporter::builder().endpoint(url).heartbeat(Duration::from_millis(100)).build().unwrap();
    let request = exporter.admit(admission()).dispatch();
    received.wait(|received| received.of_kind(RecordKind::InProgress).len() >= 4);
    request.finish(End::new(EndStatus::Succeeded));
    let totals = exporter.shutdown();
    let markers = received.of_kind(RecordKind::InProgress);
    let sequences: Vec<_> = markers.iter().map(|span| view::int(&span.attributes, attr::IN_PROGRESS_SEQUENCE).unwrap()).collect();
    assert_eq!(sequences, (0..i64::try_from(markers.len()).unwrap()).collect::<Vec<_>>());
    assert!(markers.iter().all(|span| view::text(&span.attributes, attr::REQUEST_STATUS) == Some("in_progress")));
    assert!(markers.windows(2).all(|pair| pair[0].span_id != pair[1].span_id && pair[0].trace_id == pair[1].trace_id));
    assert_eq!(received.of_kind(RecordKind::Request).len(), 1);
    assert_eq!(totals.emitted, markers.len() as u64 + 1);
}

/// Guarantees: a request that is still open a second after its admission shows its account long before the first heartbeat, in one marker more;
/// one that has no attempt yet waits for it; and one that is over by then has sent its first marker only.
#[test]
fn a_live_row_soon_shows_its_account() {
    let (url, received) = receiver(Protocol::Grpc);
    let exporter = Exporter::builder().endpoint(url).build().unwrap();
    let of = |id: Uuid| move |span: &Span| view::text(&span.attributes, attr::REQUEST_ID) == Some(id.to_string().as_str());
    let markers = |id: Uuid| -> Vec<(Option<i64>, Option<String>)> {
        let spans = received.of_kind(RecordKind::InProgress).into_iter().filter(of(id));
        let shown = |span: Span| {
            let label = view::text(&span.attributes, attr::UPSTREAM_ACCOUNT_LABEL).map(str::to_owned);
            (view::int(&span.attributes, attr::IN_PROGRESS_SEQUENCE), label)
        };
        spans.map(shown).collect()
    };
    let marker = |sequence, label: &str| (Some(sequence), Some(label.to_owned()));

    let started = Instant::now();
    let waiting = exporter.admit(admission()).dispatch();
    let short = one_request(&exporter);
    let open = exporter.admit(admission()).dispatch();
    let attempt = open.attempt(Attempt::new(account(), Transport::HttpSse));
    received.wait(|_| markers(open.id()).len() >= 2);
    // What waited was looked at before, and has said nothing since.
    assert_eq!(markers(waiting.id()), [marker(0, "none")]);
    let late = waiting.attempt(Attempt::new(account(), Transport::HttpSse));
    received.wait(|_| markers(waiting.id()).len() >= 2);
    assert!(started.elapsed() < contract::limits::HEARTBEAT);
    for id in [open.id(), waiting.id()] {
        assert_eq!(markers(id), [marker(0, "none"), marker(1, "Aurora seat 1")]);
    }
    assert_eq!(markers(short), [marker(0, "none")]);
    drop((attempt, late, open, waiting));
}

/// Guarantees: a request that nobody finishes is recorded as interrupted, with its open attempt; once, and without an end of its own making.
#[test]
fn a_dropped_request_is_recorded() {
    let (url, received) = receiver(Protocol::Grpc);
    let exporter = Exporter::builder().endpoint(url).build().unwrap();
    let at = std::time::SystemTime::now() - Duration::from_secs(60);
    let request = exporter.admit_at(admission(), at).dispatch();
    let attempt = request.attempt_at(Attempt::new(account(), Transport::HttpSse), at);
    let task = std::thread::spawn(move || {
        let _request = request;
        panic!("a handler that fails");
    });
    assert!(task.join().is_err());
    attempt.finish(AttemptEnd::new(AttemptStatus::Succeeded));
    assert_eq!(exporter.shutdown(), Totals { emitted: 2, exported: 2, ..Totals::default() });
    assert!(received.of_kind(RecordKind::InProgress).is_empty(), "history sends no markers");
    for kind in [RecordKind::Request, RecordKind::Attempt] {
        let span = &received.of_kind(kind)[0];
        assert_eq!(view::text(&span.attributes, attr::ERROR_CODE), Some("interrupted"));
        assert_eq!(view::text(&span.attributes, attr::ERROR_TYPE), Some("interrupted"));
    }
    let row = &received.of_kind(RecordKind::Request)[0];
    assert_eq!(view::text(&row.attributes, attr::REQUEST_STATUS), Some("failed"));
    assert_eq!(view::text(&row.attributes, attr::USAGE_STATUS), Some("usage_unknown"));
}

/// Guarantees: a receiver that is not there costs the pooler nothing but the telemetry, and the loss is counted, for its reason.
#[test]
fn a_missing_receiver_is_counted() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let exporter = Exporter::builder().endpoint(&url).build().unwrap();
    let started = Instant::now();
    one_request(&exporter);
    assert!(started.elapsed() < Duration::from_secs(1), "recording does not wait");
    assert_eq!(
        exporter.shutdown_within(Duration::from_millis(100)),
        Totals { emitted: 3, dropped_shutdown: 3, ..Totals::default() }
    );

    let exporter = Exporter::builder().endpoint(&url).retry_for(Duration::from_millis(1)).build().unwrap();
    one_request(&exporter);
    assert_eq!(exporter.shutdown(), Totals { emitted: 3, dropped_exhausted: 3, ..Totals::default() });
}

/// Guarantees: a history far longer than the queue arrives whole, where the caller may wait.
#[test]
fn a_long_history_arrives_whole() {
    let (url, received) = receiver(Protocol::Grpc);
    let exporter = Exporter::builder().endpoint(url).build().unwrap();
    let mut lifecycle = codex_pooler_exporter::Lifecycle::new(admission(), std::time::SystemTime::now());
    lifecycle.end = Some(End::new(RequestStatus::Succeeded));
    for _ in 0..10_000 {
        exporter.record_waiting(&lifecycle);
    }
    let totals = exporter.shutdown_within(testkit::DEADLINE);
    assert_eq!(totals, Totals { emitted: 10_000, exported: 10_000, ..Totals::default() });
    assert_eq!(received.spans().len(), 10_000);
}

/// Guarantees: configuration that cannot work is refused when the exporter is built, in words that repeat none of it.
#[test]
fn bad_configuration_is_refused() {
    let secret = "user:hunter2@";
    for (builder, expected) in [
        (Exporter::builder().service_name("Alice's pooler"), "service name"),
        (Exporter::builder().service_version("alice@example.com"), "service version"),
        (Exporter::builder().heartbeat(Duration::from_secs(60)), "heartbeat"),
        (Exporter::builder().endpoint(format!("http://{secret} /")), "endpoint"),
        (Exporter::builder().endpoint(format!("http://{secret} /")).protocol(Protocol::HttpProtobuf), "endpoint"),
    ] {
        let error: BuildError = builder.build().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains("hunter2") && !text.contains("lice"), "{text}");
    }
}

/// Guarantees: an `https` endpoint can be used with both protocols, in an application that has not chosen a TLS implementation.
#[test]
fn tls_is_there() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        assert!(Exporter::builder().endpoint("https://127.0.0.1:1").protocol(protocol).build().is_ok(), "{protocol:?}");
    }
}
