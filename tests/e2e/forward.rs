//! Forwarding by the real binary to a destination that is busy, refuses, or is not there: the sender never notices, and every span is counted.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use testkit::backend::{Answer, Backend, Nobody, Script};
use testkit::otlp::{self, Row};
use testkit::send;
use testkit::serve::Serve;

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");

fn serve(backend: &str, protocol: &str) -> (tempfile::TempDir, Serve) {
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &["--forward-protocol", protocol, "--forward-endpoint", backend]);
    (folder, serve)
}

fn export(serve: &Serve, row: &Row) {
    send::grpc(&serve.otlp_grpc(), otlp::request(vec![row.span()]), false).unwrap();
}

/// How many spans the forward branch has delivered, and dropped for this reason.
fn delivered_and_dropped(serve: &Serve, reason: &str) -> (u64, u64) {
    let scrape = serve.scrape();
    let forward = ("branch", "forward");
    (
        scrape.count("pooler_otel_branch_delivered_records_total", &[forward]),
        scrape.count("pooler_otel_branch_dropped_records_total", &[forward, ("reason", reason)]),
    )
}

/// Guarantees: a destination that is busy is asked again until it takes the message, over both protocols, and gets it once.
#[test]
fn a_busy_destination_gets_it_later() {
    for protocol in ["grpc", "http/protobuf"] {
        let script = Script::turns([Answer::Refuse(503), Answer::RefuseFor(503, 1), Answer::Accept]);
        let backend = if protocol == "grpc" { Backend::grpc(script) } else { Backend::http(script) };
        let (_folder, serve) = serve(&backend.url(), protocol);
        let row = Row::numbered(1);
        export(&serve, &row);
        serve.assert_conserved();
        assert_eq!(backend.accepted_spans(), [row.span()], "{protocol}");
        assert_eq!(delivered_and_dropped(&serve, "rejected"), (1, 0), "{protocol}");
        backend.finish();
    }
}

/// Guarantees: a message that the destination refuses for good is dropped, counted, and not sent again; the next one goes through.
#[test]
fn a_refusal_for_good_is_counted() {
    for protocol in ["grpc", "http/protobuf"] {
        let script = Script::turns([Answer::Refuse(400), Answer::Accept]);
        let backend = if protocol == "grpc" { Backend::grpc(script) } else { Backend::http(script) };
        let (_folder, serve) = serve(&backend.url(), protocol);
        export(&serve, &Row::numbered(1));
        let second = Row::numbered(2);
        export(&serve, &second);
        serve.assert_conserved();
        assert_eq!(backend.accepted_spans(), [second.span()], "{protocol}");
        assert_eq!(delivered_and_dropped(&serve, "rejected"), (1, 1), "{protocol}");
        backend.finish();
    }
}

/// Guarantees: a destination gets the signals that are its own alone; of another one the sender hears that it has no destination, and nothing
/// counts as lost on the way.
#[test]
fn a_destination_gets_its_signals_alone() {
    let backend = Backend::grpc(Script::always(Answer::Accept));
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &["--forward-endpoint", &backend.url(), "--forward-signals", "traces"]);
    let row = Row::numbered(1);
    export(&serve, &row);
    let now = otlp::now_ms();
    let log = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"{now}000000","eventName":"codex_pooler.request.started"}}]}}]}}]}}"#
    );
    let reply = send::post(&format!("{}/v1/logs", serve.otlp_http()), &[("content-type", "application/json")], log.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let told = &reply.json()["partialSuccess"];
    assert_eq!((&told["rejectedLogRecords"], &told["errorMessage"]), (&1.into(), &"1 dropped: no_destination".into()));
    serve.assert_conserved();
    assert_eq!(backend.accepted_spans(), [row.span()]);
    assert_eq!(backend.recorded().len(), 1, "nothing but the row was sent");
    assert_eq!(serve.scrape().count("pooler_otel_branch_dropped_records_total", &[]), 0);
    backend.finish();
}

/// Guarantees: a destination that is not there holds up neither the sender nor the end; what waits for it is counted meanwhile, and
/// the log says once that it waits.
#[test]
fn an_absent_http_destination_holds_nothing_up() {
    holds_nothing_up("http/protobuf");
}

/// Guarantees: the same over gRPC. A test of its own, because each waits for the end to give up on what is queued.
#[test]
fn an_absent_grpc_destination_holds_nothing_up() {
    holds_nothing_up("grpc");
}

fn holds_nothing_up(protocol: &str) {
    let nobody = Nobody::somewhere();
    let (_folder, mut serve) = serve(&nobody.url(), protocol);
    for number in 1..=20 {
        export(&serve, &Row::numbered(number));
    }
    let scrape = serve.scrape();
    assert_eq!(scrape.count("pooler_otel_branch_queued_records", &[("signal", "traces"), ("branch", "forward")]), 20);
    assert_eq!(scrape.count("pooler_otel_branch_delivered_records_total", &[("branch", "store")]), 20);
    assert_eq!(scrape.conservation(), Ok(()));
    let said = "the forward endpoint cannot be reached or is busy; traces wait, and are tried again";
    serve.wait_until_said(said);
    assert_eq!(serve.terminate().code(), Some(0));
    assert_eq!(serve.stderr().matches(said).count(), 1);
}
