//! What was acknowledged is there after the process was killed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use prost::Message as _;
use testkit::otlp::{self, Row};
use testkit::send;
use testkit::serve::Serve;

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
/// Times that the process is killed.
const ROUNDS: u32 = 12;
/// Senders at the same time; half of them over gRPC, half over HTTP.
const SENDERS: u32 = 6;
/// Rows in a message, so that a message that was half written would show.
const ROWS_IN_MESSAGE: u32 = 5;

/// Guarantees: a request whose export was acknowledged survives SIGKILL right after the acknowledgement, with many senders at once and
/// kills at different moments; the data folder can be opened again every time; and each of the requests is there once.
#[test]
fn acknowledged_requests_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = AtomicU32::new(1);
    let acknowledged = Mutex::new(Vec::<Row>::new());
    for round in 1..=ROUNDS {
        let mut serve = Serve::start(BINARY, folder.path(), &[]);
        let enough = acknowledged.lock().unwrap().len() + (round * ROWS_IN_MESSAGE) as usize;
        let (grpc, http, killed) = (serve.otlp_grpc(), format!("{}/v1/traces", serve.otlp_http()), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for sender in 0..SENDERS {
                let (grpc, http, killed, numbers, acknowledged) = (&grpc, &http, &killed, &numbers, &acknowledged);
                scope.spawn(move || {
                    while !killed.load(Ordering::Acquire) {
                        let first = numbers.fetch_add(ROWS_IN_MESSAGE, Ordering::Relaxed);
                        let rows: Vec<Row> = (first..first + ROWS_IN_MESSAGE).map(Row::numbered).collect();
                        let message = otlp::request(rows.iter().map(Row::span).collect());
                        let stored = if sender % 2 == 0 {
                            send::grpc(grpc, message, false).is_ok()
                        } else {
                            let headers = [("content-type", send::PROTOBUF)];
                            send::try_post(http, &headers, &message.encode_to_vec()).is_some_and(|reply| reply.status == 200)
                        };
                        if stored {
                            acknowledged.lock().unwrap().extend(rows);
                        }
                    }
                });
            }
            testkit::wait_for("acknowledgements", || (acknowledged.lock().unwrap().len() >= enough).then_some(()));
            serve.kill();
            killed.store(true, Ordering::Release);
        });
    }

    let serve = Serve::start(BINARY, folder.path(), &[]);
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= (ROUNDS * ROWS_IN_MESSAGE) as usize);
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
