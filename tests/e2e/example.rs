//! The exporter's example beside the real binary, driven over HTTP: each way in which a request can go is the row that a reader of the request
//! log expects, within seconds, also while its stream is open.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

extern crate exporter as codex_pooler_exporter;

#[path = "../../exporter/examples/pooler/app.rs"]
mod app;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use contract::attr;
use exporter::{Exporter, Protocol, layer};
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use prost::Message as _;
use testkit::leaks::Scanner;
use testkit::serve::Serve;
use testkit::tempo::{self, Found, matches};
use testkit::{otlp, send};
use tracing_subscriber::layer::SubscriberExt as _;
const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
/// The policy that the example is documented with.
const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../exporter/examples/pooler/policy.yaml");
const PATH: &str = "backend-api/codex/responses";
const KEY: (&str, &str) = ("authorization", "Bearer demo");
const PROMPT: &str = "planted-prompt-0123456";
/// How soon after its end a request is in the log, on a slow and busy machine.
const SECONDS: Duration = Duration::from_secs(15);

/// The collector, and two poolers that send to it.
struct System {
    serve: Serve,
    exporter: Exporter,
    /// Answers in twenty words.
    pooler: SocketAddr,
    /// Does not come to an end.
    endless: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl System {
    /// With these arguments for the collector.
    fn start(arguments: &[&str]) -> Self {
        // Both tests export the same spans; the second one finds the layer there.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer::new(app::SPAN_NAMES)));
        let folder = tempfile::tempdir().unwrap();
        let serve = Serve::start(BINARY, folder.path(), arguments);
        let exporter = Exporter::builder().endpoint(format!("http://{}", serve.otlp_grpc())).protocol(Protocol::Grpc);
        let exporter = exporter.heartbeat(Duration::from_millis(500)).build().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let start = |words| {
            let app = app::app(exporter.clone(), app::Upstream { words, pause: Duration::from_millis(20) });
            let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            runtime.spawn(async move { axum::serve(listener, app).await });
            address
        };
        let (pooler, endless) = (start(20), start(1_000_000));
        Self { serve, exporter, pooler, endless, _runtime: runtime, folder }
    }

    fn ask(&self, question: &str) -> send::Reply {
        send::post(&format!("http://{}/{PATH}", self.pooler), &[KEY], question.as_bytes())
    }

    /// The newest row, once it is as expected.
    fn row(&self, what: &str, conditions: &[String]) -> Found {
        let start = Instant::now();
        let row = testkit::wait_for(what, || tempo::rows(&self.serve.tempo(), conditions).into_iter().next());
        assert!(start.elapsed() < SECONDS, "{what} took {:?}", start.elapsed());
        row
    }

    /// The spans of a row's trace.
    fn trace(&self, row: &Found) -> Vec<Span> {
        let url = format!("{}/api/traces/{}", self.serve.tempo(), row.trace_id);
        let trace = TracesData::decode(send::get_with(&url, &[], "application/protobuf").body.as_slice()).unwrap();
        let groups = trace.resource_spans.into_iter().flat_map(|group| group.scope_spans);
        groups.flat_map(|scope| scope.spans).collect()
    }

    /// Names of the application's own spans inside the request.
    fn own_spans(&self, row: &Found) -> Vec<String> {
        let spans = self.trace(row).into_iter();
        spans.filter(|span| text(span, attr::RECORD_KIND).is_empty()).map(|span| span.name).collect()
    }
}

fn status(status: &str) -> String {
    matches(attr::REQUEST_STATUS, status)
}

fn model(model: &str) -> String {
    matches(attr::REQUEST_MODEL, model)
}

fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key);
    match attribute.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(otlp::Value::StringValue(text)) => text,
        _ => "",
    }
}

/// Guarantees: a completed stream, one that was cut short, one that was broken off, a rejection and a retry, each driven with plain HTTP, are the
/// rows of the request log's documentation; an open stream is a row in progress; a caller that is not known is none; and nothing is lost.
#[test]
fn the_example_fills_the_log() {
    let system = System::start(&["--policy", POLICY]);

    // An open stream, which is watched while the others come and go.
    let mut open = TcpStream::connect(system.endless).unwrap();
    let question = format!(r#"{{"model": "gpt-5.4", "input": "{PROMPT}"}}"#);
    let head = format!("POST /{PATH} HTTP/1.1\r\nhost: pooler\r\n{}: {}\r\n", KEY.0, KEY.1);
    write!(open, "{head}user-agent: curl/8.9.1\r\ncontent-length: {}\r\n\r\n{question}", question.len()).unwrap();
    let live =
        system.row("the row in progress", &[status("in_progress"), matches(attr::UPSTREAM_ACCOUNT_LABEL, "Aurora seat 1")]);
    assert_eq!(live.text(attr::TEXT_ACCOUNT), "Aurora seat 1 · Core agents");
    assert_eq!(live.text(attr::TEXT_USAGE), "– (usage pending)");
    assert_eq!(live.text(attr::USER_AGENT_NAME), "curl");
    let mut some = [0; 256];
    assert!(open.read(&mut some).unwrap() > 0, "the answer has begun");

    let reply = system.ask(r#"{"model": "gpt-5.4"}"#);
    assert!(reply.status == 200 && reply.text().contains("event: response.completed"), "{}", reply.text());
    let row = system.row("the completed row", &[status("succeeded")]);
    assert_eq!(row.text(attr::TEXT_USAGE), "660 tokens · $0.0013");
    assert_eq!(row.text(attr::API_KEY_LABEL), "CI agents");
    assert_eq!(row.text(attr::RESPONSE_STATUS), "completed");
    assert_eq!((row.int(attr::REQUEST_RETRY_COUNT), row.int(attr::HTTP_RESPONSE_STATUS_CODE)), (Some(0), Some(200)));
    assert!(row.int(attr::REQUEST_LATENCY_MS).unwrap() >= 400, "twenty words take their time");
    assert_eq!(system.own_spans(&row), ["connect"], "the application's own span");

    let reply = system.ask(r#"{"model": "gpt-5.4", "max_output_tokens": 5}"#);
    assert!(reply.text().contains("event: response.incomplete"), "{}", reply.text());
    let row = system.row("the row cut short", &[matches(attr::RESPONSE_STATUS, "incomplete")]);
    assert_eq!((row.text(attr::REQUEST_STATUS), row.text(attr::ERROR_CODE)), ("succeeded", "none"));
    assert_eq!(row.text(attr::RESPONSE_INCOMPLETE_REASON), "max_output_tokens");

    assert_eq!(system.ask(r#"{"model": "gpt-5.4-pro"}"#).status, 403);
    let row = system.row("the rejected row", &[model("gpt-5.4-pro"), status("rejected")]);
    assert_eq!((row.text(attr::ERROR_CODE), row.int(attr::HTTP_RESPONSE_STATUS_CODE)), ("model_not_allowed", Some(403)));
    assert_eq!((row.text(attr::UPSTREAM_ACCOUNT_LABEL), row.text(attr::USAGE_STATUS)), ("none", "not_applicable"));

    assert_eq!(system.ask(r#"{"model": "gpt-5.4-mini"}"#).status, 200);
    let row = system.row("the retried row", &[model("gpt-5.4-mini"), status("succeeded")]);
    assert_eq!((row.text(attr::UPSTREAM_ACCOUNT_LABEL), row.int(attr::REQUEST_RETRY_COUNT)), ("Borealis seat 2", Some(1)));
    let mut attempts = system.trace(&row);
    attempts.retain(|span| text(span, attr::RECORD_KIND) == "attempt");
    attempts.sort_by_key(|span| span.start_time_unix_nano);
    let shown: Vec<_> = attempts.iter().map(|span| (text(span, attr::ATTEMPT_STATUS), text(span, attr::ERROR_CODE))).collect();
    assert_eq!(shown, [("retryable_failed", "upstream_rate_limited"), ("succeeded", "none")]);

    let unknown = send::post(&format!("http://{}/{PATH}", system.pooler), &[], br#"{"model": "gpt-5.4"}"#);
    assert_eq!(unknown.status, 401);

    drop(open);
    let row = system.row("the row broken off", &[matches(attr::ERROR_CODE, "client_disconnected")]);
    assert_eq!(row.trace_id.len(), 32);
    assert_eq!(row.text(attr::REQUEST_ID), live.text(attr::REQUEST_ID), "the same request, now at its end");
    assert_eq!((row.text(attr::REQUEST_STATUS), row.text(attr::REQUEST_OUTCOME)), ("failed", "neutral"));
    assert_eq!(row.int(attr::HTTP_RESPONSE_STATUS_CODE), Some(200));

    let rows = tempo::rows(&system.serve.tempo(), &[]);
    assert_eq!(rows.len(), 5, "one row a request, and none for a caller that is not known");
    let totals = system.exporter.shutdown();
    assert_eq!((totals.dropped(), totals.exported), (0, totals.emitted));
    let scrape = system.serve.scrape();
    assert_eq!(scrape.count("pooler_otel_stripped_fields_total", &[]), 0, "the sanitizer finds nothing to strip");
    system.serve.assert_conserved();
    let mut scanner = Scanner::new([PROMPT]);
    scanner.folder(system.folder.path());
    scanner.assert_clean();
}

/// Guarantees: a collector whose policy does not name the application's spans calls them `internal`, counts that, and takes nothing else away.
#[test]
fn without_a_policy_own_spans_lose_their_names() {
    let system = System::start(&[]);
    assert_eq!(system.ask(r#"{"model": "gpt-5.4-mini"}"#).status, 200);
    let row = system.row("the row", &[status("succeeded")]);
    // Both attempts connect.
    assert_eq!(system.own_spans(&row), ["internal", "internal"]);
    system.exporter.shutdown();
    let scrape = system.serve.scrape();
    let names = [("place", "span_name"), ("reason", "pattern")];
    assert_eq!(scrape.count("pooler_otel_stripped_fields_total", &names), 2);
    assert_eq!(scrape.count("pooler_otel_stripped_fields_total", &[]), 2);
    system.serve.assert_conserved();
}
