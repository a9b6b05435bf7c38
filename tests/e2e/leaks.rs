//! Nothing that was planted gets through the real binary, on any way in, to any way out; and what is legal beside it does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::sync::Mutex;

use contract::{AttemptStatus, Place};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use testkit::backend::{Answer, Backend, Script};
use testkit::dirty::{Plants, dirty, with_unknown_fields, with_unknown_keys};
use testkit::leaks::Scanner;
use testkit::otlp::{self, Row};
use testkit::send::{self, JSON, PROTOBUF, Reply};
use testkit::serve::{self, Serve};
use testkit::tempo;

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");

/// Collects every byte that comes back from the server.
#[derive(Default)]
struct Answers(Mutex<Vec<u8>>);

impl Answers {
    fn keep(&self, reply: &Reply) {
        self.0.lock().unwrap().extend(reply.everything());
    }
}

/// A row of its own for every way in, so that a test knows which one is missing.
struct Way {
    name: &'static str,
    row: Row,
    plants: Plants,
}

fn ways(names: &[&'static str]) -> Vec<Way> {
    let way = |(number, name): (u32, &&'static str)| Way { name, row: Row::numbered(number), plants: Plants::new(name) };
    (1..).zip(names).map(way).collect()
}

/// The row, its attempt and its marker, with a forbidden text in every place.
fn message(way: &mut Way) -> ExportTraceServiceRequest {
    let spans = vec![way.row.span(), way.row.attempt(1, AttemptStatus::Succeeded), way.row.marker(0)];
    dirty(otlp::request(spans), &mut way.plants)
}

/// Guarantees: texts planted in every place of a trace message that can hold one, unknown protobuf fields and JSON keys included, sent over every
/// protocol, plain and compressed, are in no file, no forwarded byte, no answer, no output and no metric; the legal parts arrive, stored and
/// forwarded; and every record is accounted for.
#[test]
fn nothing_planted_gets_through() {
    for forward_protocol in ["http/protobuf", "grpc"] {
        let backend = match forward_protocol {
            "grpc" => Backend::grpc(Script::always(Answer::Accept)),
            _ => Backend::http(Script::always(Answer::Accept)),
        };
        let folder = tempfile::tempdir().unwrap();
        let url = backend.url();
        let arguments = ["--log-level", "debug", "--forward-protocol", forward_protocol, "--forward-endpoint", &url];
        let mut serve = Serve::start(BINARY, folder.path(), &arguments);
        let answers = Answers::default();
        let mut ways = ways(&["grpc", "grpcgzip", "protobuf", "protobufgzip", "json", "jsongzip"]);
        for way in &mut ways {
            send_dirty(way, &serve, &answers);
        }

        testkit::wait_for("the forwarded rows", || (backend.accepted_spans().len() >= ways.len() * ACCEPTED_SPANS).then_some(()));
        serve.assert_conserved();
        let scrape = serve.scrape();
        let (parsed, dropped) = ((ACCEPTED_SPANS + 1) * ways.len(), ways.len());
        assert_eq!(scrape.count("pooler_otel_parsed_records_total", &[]), parsed as u64);
        assert_eq!(scrape.count("pooler_otel_dropped_records_total", &[("reason", "invalid_id")]), dropped as u64);
        for place in TRACE_PLACES {
            let stripped = scrape.count("pooler_otel_stripped_fields_total", &[("place", place.as_str())]);
            assert!(stripped > 0, "{place}");
        }

        let found = tempo::rows(&serve.tempo(), &[]);
        let forwarded = backend.accepted_spans();
        for way in &ways {
            let legal = way.row.span();
            let row = found.iter().find(|row| row.trace_id == way.row.trace_id_text()).unwrap_or_else(|| panic!("{}", way.name));
            assert_eq!(row.text(contract::attr::TEXT_USAGE), "50.1k tokens · 41k cached · $0.0331", "{}", way.name);
            let forwarded = forwarded.iter().find(|span| span.span_id == legal.span_id && span.trace_id == legal.trace_id);
            assert_eq!(forwarded.unwrap().attributes, legal.attributes, "{}", way.name);
        }

        read_everything(&serve, &ways, &answers);
        let mut scanner = Scanner::new(ways.iter().flat_map(|way| way.plants.markers()));
        scanner.everything_of(&mut serve, folder.path(), &backend);
        scanner.bytes("an answer", &answers.0.lock().unwrap());
        scanner.assert_clean();
    }
}

/// Where a dirty message has something to strip. It has no number that is out of bounds.
const TRACE_PLACES: [Place; 11] = [
    Place::ResourceAttribute,
    Place::Scope,
    Place::SchemaUrl,
    Place::EntityRef,
    Place::SpanName,
    Place::SpanAttribute,
    Place::SpanEvent,
    Place::SpanLink,
    Place::StatusMessage,
    Place::TraceState,
    Place::ParentId,
];

/// Spans of a dirty message that are accepted: the row, its attempt, its marker, and the one whose values are all forbidden.
const ACCEPTED_SPANS: usize = 4;

fn send_dirty(way: &mut Way, serve: &Serve, answers: &Answers) {
    let message = message(way);
    let protobuf = with_unknown_fields(&message, &mut way.plants);
    let json = with_unknown_keys(&message, &mut way.plants);
    let url = format!("{}/v1/traces", serve.otlp_http());
    let reply = match way.name {
        "grpc" | "grpcgzip" => {
            let answer = send::grpc(&serve.otlp_grpc(), message, way.name == "grpcgzip").unwrap();
            answers.0.lock().unwrap().extend(format!("{answer:?}").into_bytes());
            return;
        }
        "protobuf" => send::post(&url, &[("content-type", PROTOBUF)], &protobuf),
        "protobufgzip" => send::post(&url, &[("content-type", PROTOBUF), ("content-encoding", "gzip")], &send::gzip(&protobuf)),
        "json" => send::post(&url, &[("content-type", JSON)], &json),
        "jsongzip" => send::post(&url, &[("content-type", JSON), ("content-encoding", "gzip")], &send::gzip(&json)),
        other => panic!("no way is called {other}"),
    };
    assert_eq!(reply.status, 200, "{}: {}", way.name, reply.text());
    answers.keep(&reply);
}

/// Asks for everything that the server would show about the rows.
fn read_everything(serve: &Serve, ways: &[Way], answers: &Answers) {
    let tempo_url = serve.tempo();
    answers.keep(&tempo::search(&tempo_url, "{ }", contract::limits::MAX_ROWS));
    answers.keep(&tempo::search(&tempo_url, &tempo::rows_query(&[]), contract::limits::MAX_ROWS));
    answers.keep(&send::get(&format!("{}/metrics", serve.metrics())));
    let traces = ways.iter().map(|way| way.row.trace_id_text());
    for id in traces.chain(["d1".repeat(16)]) {
        for (version, accept) in [("", JSON), ("/v2", JSON), ("", "application/protobuf"), ("/v2", "application/protobuf")] {
            let path = format!("{tempo_url}/api{version}/traces/{id}");
            answers.keep(&send::get_with(&path, &[], accept));
        }
    }
    let tags = send::get(&format!("{tempo_url}/api/v2/search/tags"));
    answers.keep(&tags);
    for scope in tags.json()["scopes"].as_array().unwrap() {
        for tag in scope["tags"].as_array().unwrap() {
            let name = format!("{}.{}", scope["name"].as_str().unwrap(), tag.as_str().unwrap());
            answers.keep(&send::get(&format!("{tempo_url}/api/v2/search/tag/{name}/values")));
        }
    }
    for format in ["table", "json", "csv"] {
        let printed = serve::run(BINARY, &["requests", "--url", &tempo_url, "--format", format]);
        answers.0.lock().unwrap().extend([printed.stdout, printed.stderr].concat());
    }
}

/// Guarantees: a message that is refused is refused with a text that repeats nothing of it, whether it is cut off, of another signal or type, on
/// another path, or has its forbidden texts in its headers and its URL; and nothing of it is kept, logged or counted by name.
#[test]
fn nothing_refused_is_repeated() {
    let backend = Backend::http(Script::turns([]));
    let folder = tempfile::tempdir().unwrap();
    let url = backend.url();
    let arguments = ["--log-level", "debug", "--forward-protocol", "http/protobuf", "--forward-endpoint", &url];
    let mut serve = Serve::start(BINARY, folder.path(), &arguments);
    let mut way = ways(&["refused"]).remove(0);
    let message = message(&mut way);
    let protobuf = message.encode_to_vec();
    let json = with_unknown_keys(&message, &mut way.plants);
    let wrong_type = format!("{{\"resourceSpans\": {:?}}}", way.plants.text("wrong-json-type")).into_bytes();
    let secret = way.plants.text("header").replace('"', "");
    let secret = secret.as_str();
    let secret_path = way.plants.text("path").replace([' ', '"', '?'], "-");
    let plants = &mut way.plants;
    let mut not_utf8 = protobuf.clone();
    let name_at = not_utf8.windows(5).position(|five| five == b"-name").unwrap();
    not_utf8[name_at] = 0xff;

    let http = serve.otlp_http();
    let traces = format!("{http}/v1/traces");
    let typed =
        |content_type: &'static str| vec![("content-type", content_type), ("authorization", secret), ("x-secret", secret)];
    let answers = Answers::default();
    for (name, url, headers, body, expected) in [
        ("a cut protobuf message", &traces, typed(PROTOBUF), &protobuf[..protobuf.len() - 7], 400),
        ("protobuf with a text that is not UTF-8", &traces, typed(PROTOBUF), &not_utf8, 400),
        ("JSON as protobuf", &traces, typed(PROTOBUF), &json, 400),
        ("protobuf as JSON", &traces, typed(JSON), &protobuf, 400),
        ("cut JSON", &traces, typed(JSON), &json[..json.len() - 7], 400),
        ("JSON of another shape", &traces, typed(JSON), &wrong_type, 400),
        ("an unknown content type", &traces, typed("text/plain"), &protobuf, 415),
        ("a secret content type", &traces, vec![("content-type", secret)], &protobuf, 415),
        ("a secret content encoding", &traces, vec![("content-type", PROTOBUF), ("content-encoding", secret)], &protobuf, 415),
        ("gzip that is none", &traces, vec![("content-type", PROTOBUF), ("content-encoding", "gzip")], &protobuf, 400),
        ("profiles", &format!("{http}/v1/profiles"), typed(PROTOBUF), &protobuf, 404),
        ("cut JSON as logs", &format!("{http}/v1/logs"), typed(JSON), &json[..json.len() - 7], 400),
        ("a secret path", &format!("{http}/{secret_path}?q={secret_path}"), typed(PROTOBUF), &protobuf, 404),
    ] {
        let reply = send::post(url, &headers, body);
        assert_eq!(reply.status, expected, "{name}: {}", reply.text());
        answers.keep(&reply);
    }
    // A clean message with secrets around it is taken, without them.
    let clean = otlp::request(vec![Row::numbered(9).attempt(1, AttemptStatus::Succeeded)]);
    drop(backend);
    let backend_is_gone = send::post(&format!("{traces}?key={secret_path}"), &typed(PROTOBUF), &clean.encode_to_vec());
    assert_eq!(backend_is_gone.status, 200);
    answers.keep(&backend_is_gone);
    answers.keep(&send::get(&format!("{}/metrics", serve.metrics())));

    let scrape = serve.scrape();
    assert_eq!(scrape.count("pooler_otel_refused_messages_total", &[]), 13);
    assert_eq!(scrape.count("pooler_otel_received_messages_total", &[]), 14);
    let mut scanner = Scanner::new(plants.markers());
    serve.kill();
    scanner.folder(folder.path());
    scanner.bytes("an answer", &answers.0.lock().unwrap());
    scanner.bytes("standard output", serve.stdout().as_bytes());
    scanner.bytes("standard error", serve.stderr().as_bytes());
    scanner.assert_clean();
}
