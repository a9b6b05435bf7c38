//! The canary through the real binary: every way in, every way out, all forbidden values at once.

use std::collections::BTreeSet;

use contract::{DropReason, Signal};
use sanitizer::Report;
use testkit::backend::{Answer, Backend, Script, service};
use testkit::leaks::Scanner;
use testkit::send::{self, JSON, PROTOBUF};
use testkit::serve::Serve;

use super::schema::Schema;
use super::{Canary, canaries, json, legal, normal, sanitize_json, sanitize_protobuf, walk};

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
/// Key and value that the protocol does not have, in every object of a JSON message.
const UNKNOWN_JSON: &str = "zq7unknown write \"me\" a poem?";

/// A way in: its protocol, and whether the message is compressed.
const WAYS: [(&str, bool); 6] =
    [("grpc", false), ("grpc", true), (PROTOBUF, false), (PROTOBUF, true), (JSON, false), (JSON, true)];

/// Sends a message, and returns everything that comes back.
fn export(serve: &Serve, signal: Signal, (protocol, compressed): (&str, bool), protobuf: &[u8], json: &[u8]) -> Vec<u8> {
    if protocol == "grpc" {
        let answer = send::grpc_bytes(&serve.otlp_grpc(), service(signal), protobuf.to_vec(), compressed);
        return answer.unwrap_or_else(|status| panic!("{signal}: {status}")).to_vec();
    }
    let body = if protocol == JSON { json } else { protobuf };
    let url = format!("{}/v1/{signal}", serve.otlp_http());
    let reply = if compressed {
        send::post(&url, &[("content-type", protocol), ("content-encoding", "gzip")], &send::gzip(body))
    } else {
        send::post(&url, &[("content-type", protocol)], body)
    };
    assert_eq!(reply.status, 200, "{signal}: {}", reply.text());
    reply.everything()
}

/// Every forbidden number as protobuf has it, with the field's name.
fn number_bytes(schema: &Schema) -> BTreeSet<(String, Vec<u8>)> {
    let fields = Signal::ALL.iter().flat_map(|signal| walk::paths(schema, *signal)).filter_map(|path| path.last().cloned());
    fields.filter_map(|field| Some((field.name.clone(), walk::rare_number_marker(&field)?))).collect()
}

/// A scanner for these texts and for every forbidden number, as digits and as protobuf has it.
fn scanner(schema: &Schema, texts: impl IntoIterator<Item = String>) -> Scanner {
    Scanner::with_bytes(texts.into_iter().chain(walk::number_texts()), number_bytes(schema))
}

/// Guarantees: with a forbidden value in every field of every signal, sent over every protocol, plain and compressed, none is in any file, any
/// forwarded message, any answer, the metrics, or what is printed; the scanner finds each of them in what was sent; and every record
/// is accounted for.
#[test]
fn nothing_forbidden_gets_through_the_binary() {
    let schema = Schema::of_otlp();
    for forward_protocol in ["grpc", "http/protobuf"] {
        let script = Script::always(Answer::Accept);
        let backend = if forward_protocol == "grpc" { Backend::grpc(script) } else { Backend::http(script) };
        let folder = tempfile::tempdir().unwrap();
        let url = backend.url();
        let arguments = ["--log-level", "debug", "--forward-protocol", forward_protocol, "--forward-endpoint", &url];
        let mut serve = Serve::start(BINARY, folder.path(), &arguments);

        let mut markers = vec!["zq7unknown".to_owned()];
        let mut answers = Vec::new();
        let mut numbers_sent = scanner(&schema, []);
        for signal in Signal::ALL {
            let canaries = canaries(&schema, *signal);
            // An export request has nothing but a list, so that messages one after the other are one message.
            let all: Vec<u8> = canaries.iter().flat_map(|canary| canary.protobuf.clone()).collect();
            let all_json = json(*signal, &all, Some(UNKNOWN_JSON));
            let texts = canaries.iter().filter(|canary| canary.path.last().unwrap().holds_text()).map(|canary| &canary.marker);
            let mut bypassed = Scanner::new(texts.clone());
            bypassed.bytes("what was sent", &all);
            assert_eq!(bypassed.findings().len(), texts.clone().count(), "{signal}: not all are planted");
            markers.extend(texts.cloned());
            numbers_sent.bytes("JSON", &all_json);
            numbers_sent.bytes("protobuf", &all);
            for way in WAYS {
                answers.extend(export(&serve, *signal, way, &all, &all_json));
            }
        }
        serve.assert_conserved();
        let scrape = serve.scrape();
        for signal in Signal::TEXTS {
            let delivered = [("signal", *signal), ("branch", "forward")];
            assert!(scrape.count("pooler_otel_branch_delivered_records_total", &delivered) > 0, "{signal}");
        }
        // Wherever something can be stripped, something was.
        for place in contract::Place::TEXTS {
            assert!(scrape.count("pooler_otel_stripped_fields_total", &[("place", place)]) > 0, "{place}");
        }

        answers.extend(send::get(&format!("{}/metrics", serve.metrics())).everything());
        let is_sent = |what: &str| numbers_sent.findings().iter().any(|finding| finding.starts_with(what));
        for text in walk::number_texts() {
            assert!(is_sent(&format!("JSON: {text} (")), "{text} is not planted");
        }
        for (field, _) in number_bytes(&schema) {
            assert!(is_sent(&format!("protobuf: {field} (bytes)")), "no number is planted in {field}");
        }
        let mut scanner = scanner(&schema, markers);
        scanner.everything_of(&mut serve, folder.path(), &backend);
        scanner.bytes("an answer", &answers);
        scanner.assert_clean();
    }
}

/// What becomes of one message: the way to its forbidden value, and what is to be forwarded.
type Expected = (String, Vec<u8>);

/// What the library makes of these messages, as far as anything is left of them.
fn expected(signal: Signal, canaries: &[Canary], sanitize: impl Fn(&Canary) -> (Vec<u8>, Report)) -> Vec<Expected> {
    let of = |canary: &Canary| {
        let (output, report) = sanitize(canary);
        (report.accepted_records > 0).then(|| (walk::text(&canary.path), normal(signal, &output)))
    };
    canaries.iter().filter_map(of).collect()
}

/// Guarantees: of messages that each have one forbidden value, in each field of every signal in turn, sent one by one over every protocol, plain and
/// compressed, the binary forwards what the library makes of that message, in which the test of the library finds nothing; and no
/// text of them is in any file, any answer, the metrics, or what is printed.
#[test]
fn no_single_forbidden_value_gets_through_the_binary() {
    let schema = Schema::of_otlp();
    let backend = Backend::http(Script::always(Answer::Accept));
    let folder = tempfile::tempdir().unwrap();
    let url = backend.url();
    let arguments = ["--log-level", "debug", "--forward-protocol", "http/protobuf", "--forward-endpoint", &url];
    let mut serve = Serve::start(BINARY, folder.path(), &arguments);
    let mut answers = Vec::new();
    let mut seen = 0;
    for signal in Signal::ALL {
        let canaries = canaries(&schema, *signal);
        let jsons: Vec<Vec<u8>> = canaries.iter().map(|canary| json(*signal, &canary.protobuf, None)).collect();
        let from_protobuf = expected(*signal, &canaries, |canary| sanitize_protobuf(*signal, &canary.protobuf));
        let from_json = expected(*signal, &canaries, |canary| sanitize_json(*signal, &json(*signal, &canary.protobuf, None)));
        assert!(from_protobuf.len() > canaries.len() / 2, "{signal}: too little is left to prove anything");
        for (protocol, compressed) in WAYS {
            if protocol == "grpc" {
                let messages = canaries.iter().map(|canary| canary.protobuf.clone());
                let replies = send::grpc_each(&serve.otlp_grpc(), service(*signal), messages, compressed).unwrap();
                answers.extend(replies.into_iter().flat_map(|reply| reply.unwrap_or_else(|status| panic!("{signal}: {status}"))));
            } else {
                for (canary, json) in canaries.iter().zip(&jsons) {
                    answers.extend(export(&serve, *signal, (protocol, compressed), &canary.protobuf, json));
                }
            }
            // Nothing waits any more, so that what was forwarded is all there.
            serve.assert_conserved();
            let forwarded = backend.recorded().split_off(seen);
            seen += forwarded.len();
            let expected = if protocol == JSON { &from_json } else { &from_protobuf };
            assert_eq!(forwarded.len(), expected.len(), "{signal} by {protocol}");
            for (request, (place, expected)) in forwarded.iter().zip(expected) {
                assert!(normal(*signal, &request.body) == *expected, "{place} by {protocol}, compressed: {compressed}");
            }
        }
    }
    answers.extend(send::get(&format!("{}/metrics", serve.metrics())).everything());
    // What every marker begins with.
    let mut scanner = scanner(&schema, Signal::ALL.iter().map(|signal| format!("zq7{signal}x")));
    scanner.everything_of(&mut serve, folder.path(), &backend);
    scanner.bytes("an answer", &answers);
    scanner.assert_clean();
}

/// Guarantees: legal messages of every signal arrive at the destination as they were sent, by every way in and both ways out.
#[test]
fn what_is_legal_is_forwarded_complete() {
    let schema = Schema::of_otlp();
    for forward_protocol in ["grpc", "http/protobuf"] {
        let script = Script::always(Answer::Accept);
        let backend = if forward_protocol == "grpc" { Backend::grpc(script) } else { Backend::http(script) };
        let folder = tempfile::tempdir().unwrap();
        let url = backend.url();
        let serve = Serve::start(BINARY, folder.path(), &["--forward-protocol", forward_protocol, "--forward-endpoint", &url]);
        for signal in Signal::ALL {
            let all: Vec<u8> = legal(&schema, *signal).into_iter().flat_map(|(_, message)| message).collect();
            for way in WAYS {
                let answer = export(&serve, *signal, way, &all, &json(*signal, &all, None));
                assert!(!String::from_utf8_lossy(&answer).contains("dropped"), "{signal}: {}", String::from_utf8_lossy(&answer));
            }
            serve.assert_conserved();
            let path = if forward_protocol == "grpc" { service(*signal).to_owned() } else { format!("/v1/{signal}") };
            let forwarded: Vec<_> = backend.recorded().into_iter().filter(|request| request.path == path).collect();
            assert_eq!(forwarded.len(), WAYS.len(), "{signal}");
            for request in forwarded {
                assert!(normal(*signal, &request.body) == normal(*signal, &all), "{signal} is not forwarded as it was sent");
            }
        }
    }
}

/// Guarantees: without a destination, spans are stored, and log records and data points are dropped for that reason; the sender is told how
/// many, and nothing of them is kept.
#[test]
fn without_a_destination_what_is_not_stored_is_dropped() {
    let schema = Schema::of_otlp();
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &[]);
    for (signal, told) in
        [(Signal::Traces, None), (Signal::Logs, Some("rejectedLogRecords")), (Signal::Metrics, Some("rejectedDataPoints"))]
    {
        let (_, message) = legal(&schema, signal).remove(0);
        let reply =
            send::post(&format!("{}/v1/{signal}", serve.otlp_http()), &[("content-type", JSON)], &json(signal, &message, None));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let scrape = serve.scrape();
        let of = |name: &str| scrape.count(name, &[("signal", signal.as_str())]);
        assert_eq!(of("pooler_otel_parsed_records_total"), 1);
        let reason = [("signal", signal.as_str()), ("reason", DropReason::NoDestination.as_str())];
        let dropped = scrape.count("pooler_otel_dropped_records_total", &reason);
        match told {
            None => assert_eq!((dropped, of("pooler_otel_accepted_records_total"), reply.text().as_str()), (0, 1, "{}")),
            Some(name) => {
                assert_eq!((dropped, of("pooler_otel_accepted_records_total")), (1, 0));
                assert_eq!(reply.json()["partialSuccess"][name], 1, "{}", reply.text());
            }
        }
    }
    serve.assert_conserved();
}
