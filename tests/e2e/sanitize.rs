//! `pooler-otel sanitize`: one message in, what may pass out, a report of counts beside it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::process::Output;

use contract::AttemptStatus;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use testkit::dirty::{Plants, dirty, with_unknown_fields, with_unknown_keys};
use testkit::leaks::Scanner;
use testkit::otlp::{self, Row};
use testkit::serve;

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");

fn sanitize(arguments: &[&str], input: &[u8]) -> Output {
    serve::run_with(BINARY, &[&["sanitize"], arguments].concat(), &[], input)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn clean() -> ExportTraceServiceRequest {
    let row = Row::numbered(1);
    otlp::request(vec![row.span(), row.attempt(1, AttemptStatus::Succeeded)])
}

/// Guarantees: a clean message comes out as it went in, in either form and from one into the other, with status 0 also with --fail-on-strip.
#[test]
fn a_clean_message_passes() {
    let clean = clean();
    let (protobuf, json) = (clean.encode_to_vec(), serde_json::to_vec(&clean).unwrap());
    for (input, format) in [(&protobuf, "protobuf"), (&json, "json")] {
        for output_format in ["protobuf", "json"] {
            let arguments = ["--signal", "traces", "--format", format, "--output-format", output_format, "--fail-on-strip"];
            let done = sanitize(&arguments, input);
            assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
            let message: ExportTraceServiceRequest = match output_format {
                "json" => serde_json::from_slice(&done.stdout).unwrap(),
                _ => ExportTraceServiceRequest::decode(&*done.stdout).unwrap(),
            };
            assert_eq!(message, clean);
            assert!(text(&done.stderr).starts_with("traces: 2 records, 2 accepted"), "{}", text(&done.stderr));
        }
    }
    // A byte order mark before the JSON is passed over, and what comes out is a line.
    let marked = ["\u{feff}".as_bytes(), &json].concat();
    let done = sanitize(&["--signal", "traces", "--format", "json"], &marked);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(done.stdout.ends_with(b"}\n") && serde_json::from_slice::<serde_json::Value>(&done.stdout).is_ok());

    // The ids are in OTLP's JSON form, hexadecimal, and 64-bit numbers are texts.
    let done = sanitize(&["--signal", "traces", "--format", "protobuf", "--output-format", "json"], &protobuf);
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let span = &json["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], Row::numbered(1).trace_id_text());
    assert!(span["startTimeUnixNano"].is_string(), "{span}");
}

/// Guarantees: of a dirty message nothing that was planted comes out or is reported; the report counts by place and reason, as lines and as JSON; the
/// status is 0, and 1 with --fail-on-strip.
#[test]
fn a_dirty_message_is_stripped_and_reported() {
    let mut plants = Plants::new("filter");
    let message = dirty(clean(), &mut plants);
    let (protobuf, json) = (with_unknown_fields(&message, &mut plants), with_unknown_keys(&message, &mut plants));
    let mut scanner = Scanner::new(plants.markers());
    for (input, format) in [(&protobuf, "protobuf"), (&json, "json")] {
        let lines = sanitize(&["--signal", "traces", "--format", format], input);
        assert_eq!(lines.status.code(), Some(0));
        let report = text(&lines.stderr);
        assert!(
            report.lines().any(|line| line.starts_with("stripped ") && line.contains("place=span_attribute reason=unknown_key")),
            "{report}"
        );
        assert!(report.lines().any(|line| line == "dropped 1 reason=invalid_id"), "{report}");

        let strict = sanitize(&["--signal", "traces", "--format", format, "--fail-on-strip", "--report", "json"], input);
        assert_eq!(strict.status.code(), Some(1));
        assert_eq!(strict.stdout, lines.stdout, "the message is the same");
        let report: serde_json::Value = serde_json::from_slice(&strict.stderr).unwrap();
        assert_eq!(report["parsed_records"], 4);
        assert_eq!(report["accepted_records"], 3);
        assert_eq!(report["dropped"], serde_json::json!([{"reason": "invalid_id", "records": 1}]));
        assert!(report["stripped"].as_array().unwrap().iter().all(|item| item["fields"].as_u64() > Some(0)), "{report}");
        for output in [lines, strict] {
            scanner.bytes("standard output", &output.stdout);
            scanner.bytes("standard error", &output.stderr);
        }
    }
    scanner.assert_clean();
}

/// Guarantees: a field that OTLP does not define, in a message that is clean otherwise, is stripped, counted and reported, in either form; with
/// --fail-on-strip that is status 1.
#[test]
fn what_otlp_does_not_define_is_reported() {
    let clean = clean();
    let mut json = serde_json::to_value(&clean).unwrap();
    json["resourceSpans"][0]["hunter2"] = "hunter2".into();
    // Field 1999, a text: the tag is 1999 * 8 + 2.
    let protobuf = [&clean.encode_to_vec(), &b"\xfa\x7c\x07hunter2"[..]].concat();
    for (input, format) in [(&protobuf, "protobuf"), (&serde_json::to_vec(&json).unwrap(), "json")] {
        let arguments = ["--signal", "traces", "--format", format, "--output-format", "protobuf"];
        let done = sanitize(&[&arguments[..], &["--fail-on-strip"]].concat(), input);
        assert_eq!(done.status.code(), Some(1));
        let report = text(&done.stderr);
        assert_eq!(
            report.lines().skip(1).collect::<Vec<_>>(),
            ["stripped 1 place=undefined_field reason=not_allowed"],
            "{report}"
        );
        assert_eq!(ExportTraceServiceRequest::decode(&*done.stdout).unwrap(), clean);
        assert_eq!(sanitize(&arguments, input).status.code(), Some(0));
    }
}

/// Guarantees: what is no message of the signal in the form is refused with status 2 and constant text, and nothing is on standard output; so is
/// more than 64 MiB, without reading on.
#[test]
fn what_cannot_be_parsed_is_refused() {
    let large = vec![b' '; 64 * 1024 * 1024 + 1];
    for (format, input, why) in [
        ("protobuf", &b"hunter2"[..], "in protobuf"),
        ("json", &b"hunter2"[..], "in JSON"),
        ("json", &b"[]"[..], "in JSON"),
        ("json", &br#"{"resourceSpans":"hunter2"}"#[..], "in JSON"),
        ("protobuf", &large, "64 MiB"),
    ] {
        let refused = sanitize(&["--signal", "traces", "--format", format], input);
        assert_eq!(refused.status.code(), Some(2));
        assert!(refused.stdout.is_empty());
        let error = text(&refused.stderr);
        assert!(error.starts_with("refused: ") && error.contains(why) && !error.contains("hunter2"), "{error}");
        let refused = sanitize(&["--signal", "traces", "--format", format, "--report", "json"], input);
        assert!(serde_json::from_slice::<serde_json::Value>(&refused.stderr).unwrap()["refused"].is_string());
    }
    let usage = sanitize(&["--signal", "profiles", "--format", "json"], b"{}");
    assert_eq!(usage.status.code(), Some(2));
    assert!(text(&usage.stderr).contains("traces"), "{}", text(&usage.stderr));
}

/// Guarantees: of logs and metrics, too, only what the contract knows comes out.
#[test]
fn logs_and_metrics_pass_the_same_door() {
    let log = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1755766800000000000","body":{"stringValue":"hunter2"}}]}]}]}"#;
    let metric = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"hunter2","gauge":{"dataPoints":[{"asInt":"1","timeUnixNano":"1755766800000000000"}]}}]}]}]}"#;
    for (signal, input) in [("logs", &log[..]), ("metrics", &metric[..])] {
        let done = sanitize(&["--signal", signal, "--format", "json", "--fail-on-strip"], input);
        assert_eq!(done.status.code(), Some(1), "{}", text(&done.stderr));
        assert!(text(&done.stderr).contains("dropped 1 reason=unknown_name"), "{}", text(&done.stderr));
        assert!(!text(&done.stdout).contains("hunter2"));
    }
}

/// Guarantees: a reader that leaves early is no failure, and nothing is said of it.
#[test]
fn a_reader_may_leave() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    // Larger than any pipe holds.
    let spans = (1..=2000).map(|n| Row::numbered(n).span()).collect();
    let message = otlp::request(spans).encode_to_vec();
    let mut child = Command::new(BINARY)
        .args(["sanitize", "--signal", "traces", "--format", "protobuf"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(&message).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(text(&done.stderr).lines().count(), 1, "{}", text(&done.stderr));
}
