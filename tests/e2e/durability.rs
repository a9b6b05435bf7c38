//! What was acknowledged is there after the process was killed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use prost::Message as _;
use testkit::otlp::{self, Row};
use testkit::send;
use testkit::serve::Serve;

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
/// Times that the process is killed.
const ROUNDS: usize = 25;
/// Senders at the same time; half of them over gRPC, half over HTTP.
const SENDERS: usize = 6;
/// Rows in a message, so that a message that was half written would show.
const ROWS_IN_MESSAGE: u32 = 5;

/// Guarantees: a request whose export was acknowledged survives SIGKILL right after the acknowledgement, with many senders at once and kills at
/// different moments; the data folder can be opened again every time; and each of the requests is there once.
#[test]
fn acknowledged_requests_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = AtomicU32::new(1);
    let acknowledged = Mutex::new(Vec::<Row>::new());
    for round in 1..=ROUNDS {
        let serve = Serve::start(BINARY, folder.path(), &[]);
        let (grpc, http) = (serve.otlp_grpc(), format!("{}/v1/traces", serve.otlp_http()));
        let serve = Mutex::new(serve);
        // The round ends with one acknowledgement, at another moment of the work every time.
        let left = AtomicUsize::new(round);
        let started = Instant::now();
        let sender = |sender: usize| {
            while left.load(Ordering::Acquire) > 0 && started.elapsed() < testkit::DEADLINE {
                let first = numbers.fetch_add(ROWS_IN_MESSAGE, Ordering::Relaxed);
                let rows: Vec<Row> = (first..first + ROWS_IN_MESSAGE).map(Row::numbered).collect();
                let message = otlp::request(rows.iter().map(Row::span).collect());
                let stored = if sender.is_multiple_of(2) {
                    send::grpc(&grpc, message, false).is_ok()
                } else {
                    let headers = [("content-type", send::PROTOBUF)];
                    let reply = send::try_post(&http, &headers, &message.encode_to_vec());
                    reply.is_some_and(|reply| reply.status == 200)
                };
                if stored {
                    // Who has the last acknowledgement kills at once: what is not on the disk by then never will be.
                    if left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)) == Ok(1) {
                        serve.lock().unwrap().kill();
                    }
                    acknowledged.lock().unwrap().extend(rows);
                }
            }
        };
        std::thread::scope(|scope| (0..SENDERS).for_each(|n| drop(scope.spawn(move || sender(n)))));
    }

    let serve = Serve::start(BINARY, folder.path(), &[]);
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= (1..=ROUNDS).sum::<usize>() * ROWS_IN_MESSAGE as usize);
    let lost: Vec<String> = acknowledged.iter().filter(|row| spans_of(&serve, row) != 1).map(Row::id_text).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged requests are not there once: {lost:?}", lost.len(), acknowledged.len());
}

/// How many spans the row's trace has.
fn spans_of(serve: &Serve, row: &Row) -> usize {
    let url = format!("{}/api/traces/{}", serve.tempo(), row.trace_id_text());
    let reply = send::get_with(&url, &[], "application/protobuf");
    if reply.status != 200 {
        return 0;
    }
    let trace = opentelemetry_proto::tonic::trace::v1::TracesData::decode(reply.body.as_slice()).unwrap();
    trace.resource_spans.iter().flat_map(|group| &group.scope_spans).map(|scope| scope.spans.len()).sum()
}

/// Guarantees: when it is asked to end, the process ends by itself with status 0, and what it had acknowledged is there when it starts again,
/// with nothing left over that a clean end should have tidied away.
#[test]
fn a_clean_end_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let row = Row::numbered(1);
    let mut serve = Serve::start(BINARY, folder.path(), &[]);
    send::grpc(&serve.otlp_grpc(), otlp::request(vec![row.span()]), false).unwrap();
    serve.assert_conserved();
    assert!(serve.terminate().success());
    let serve = Serve::start(BINARY, folder.path(), &[]);
    assert_eq!(spans_of(&serve, &row), 1);
}

/// Guarantees: a store that can no longer be written refuses messages, so that senders keep them, is not ready, and is said once with what to
/// check.
#[test]
fn a_store_that_fails_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut serve = Serve::start(BINARY, &data, &[]);
    let ready = || send::get(&format!("{}/readyz", serve.metrics())).status;
    assert_eq!(ready(), 200);
    std::fs::remove_dir_all(&data).unwrap();
    for number in 1..=3 {
        let status = send::grpc(&serve.otlp_grpc(), otlp::request(vec![Row::numbered(number).span()]), false).unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
    }
    assert_eq!(ready(), 503);
    serve.assert_conserved();
    serve.kill();
    assert_eq!(serve.stderr().matches("the store cannot be written").count(), 1, "{}", serve.stderr());
}
