//! Senders that take their time, in numbers, and an honest one beside them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::convert::Infallible;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message as _;
use testkit::otlp::{self, Row};
use testkit::send::{self, JSON, PROTOBUF};
use testkit::serve::Serve;

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
/// Slow senders over each protocol.
const SLOW: usize = 64;
/// How long an honest message may take beside them. A sender that takes its time is waited for several times as long.
const ORDINARY: Duration = Duration::from_secs(2);
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn serve() -> (tempfile::TempDir, Serve) {
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &[]);
    (folder, serve)
}

/// Connections over HTTP/1 that announce a large body, and send so many bytes of it.
fn slow_posts(serve: &Serve, bytes: usize) -> Vec<TcpStream> {
    let address = serve.otlp_http().strip_prefix("http://").unwrap().to_owned();
    let head = format!("POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\ncontent-length: {}\r\n\r\n", 32 << 20);
    let body = vec![0; bytes];
    let mut connections = Vec::new();
    for _ in 0..SLOW {
        let mut connection = TcpStream::connect(&address).unwrap();
        connection.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        connection.write_all(head.as_bytes()).unwrap();
        // Who is refused need not be able to send it all, nor who is not read from.
        let _ = connection.write_all(&body);
        connections.push(connection);
    }
    connections
}

/// One connection over HTTP/2 with as many calls, each of which sends a byte of a message now and then. They end with the runtime.
fn slow_calls(serve: &Serve) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = format!("http://{}", serve.otlp_grpc());
    let endpoint = tonic::transport::Endpoint::from_shared(address.clone()).unwrap();
    let channel = runtime.block_on(endpoint.connect()).unwrap();
    for _ in 0..SLOW {
        let mut client = channel.clone();
        let frames = futures_util::stream::unfold(0, |sent| async move {
            if sent > 0 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            // The head of a frame with a large message, then its bytes.
            let byte = [0, 0, 16, 0, 0].get(sent).copied().unwrap_or(0);
            Some((Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(&[byte]))), sent + 1))
        });
        let body = tonic::body::Body::new(StreamBody::new(frames));
        let request = http::Request::post(format!("{address}{TRACES}")).header("content-type", "application/grpc");
        let request = request.header("te", "trailers").body(body).unwrap();
        runtime.spawn(async move {
            use tonic::codegen::Service as _;
            std::future::poll_fn(|context| client.poll_ready(context)).await.unwrap();
            client.call(request).await
        });
    }
    runtime
}

/// Sends honest messages over every protocol, and asserts that each is served in ordinary time.
fn assert_honest_ones_are_served(serve: &Serve) {
    let message = otlp::request(vec![Row::numbered(1).span()]);
    let url = format!("{}/v1/traces", serve.otlp_http());
    let timed = |way: &str, send: &dyn Fn()| {
        let start = Instant::now();
        send();
        assert!(start.elapsed() < ORDINARY, "{way} took {:?}", start.elapsed());
    };
    timed("protobuf", &|| assert_eq!(send::post(&url, &[("content-type", PROTOBUF)], &message.encode_to_vec()).status, 200));
    timed("json", &|| {
        let json = send::gzip(&serde_json::to_vec(&message).unwrap());
        assert_eq!(send::post(&url, &[("content-type", JSON), ("content-encoding", "gzip")], &json).status, 200);
    });
    timed("grpc", &|| drop(send::grpc(&serve.otlp_grpc(), message.clone(), false).unwrap()));
    timed("grpc with gzip", &|| drop(send::grpc(&serve.otlp_grpc(), message.clone(), true).unwrap()));
}

/// Guarantees: beside 64 senders over HTTP and 64 over gRPC whose bodies do not end, an honest one is served in ordinary time, whichever way it
/// comes; and when they are gone, every message is accounted for.
#[test]
fn who_takes_their_time_takes_nobody_elses() {
    let (_folder, serve) = serve();
    let posts = slow_posts(&serve, 1);
    let calls = slow_calls(&serve);
    let all = 2 * SLOW as u64;
    let received = || serve.scrape().count("pooler_otel_received_messages_total", &[]);
    testkit::wait_for("the slow ones", || (received() == all).then_some(()));
    assert_honest_ones_are_served(&serve);
    assert_eq!(
        serve.scrape().count("pooler_otel_messages_in_progress", &[]),
        all,
        "the slow ones are neither refused nor parsed"
    );
    assert_eq!(
        serve.scrape().count("pooler_otel_refused_messages_total", &[]),
        0,
        "the slow ones have not been there all the time"
    );

    drop(posts);
    calls.shutdown_background();
    testkit::wait_for("their end", || {
        (serve.scrape().count("pooler_otel_refused_messages_total", &[("reason", "malformed")]) == all).then_some(())
    });
    serve.assert_conserved();
}

/// Guarantees: of 64 senders that send 8 MiB each and then wait, no more than there is room for is kept, and small messages find room all the same.
#[cfg(target_os = "linux")]
#[test]
fn who_sends_much_and_waits_leaves_room() {
    /// Twice what bodies that are being read may take, as a buffer that grows does, and what the process takes by itself.
    const MAX_MEMORY_BYTES: u64 = (2 * 256 + 128) * 1024 * 1024;
    let (_folder, serve) = serve();
    let posts = slow_posts(&serve, 8 << 20);
    assert_honest_ones_are_served(&serve);
    let refused = serve.scrape().count("pooler_otel_refused_messages_total", &[("reason", "overloaded")]);
    assert!(refused > 0 && refused < SLOW as u64, "{refused} were refused");
    let peak = serve.peak_memory_bytes();
    assert!(peak < MAX_MEMORY_BYTES, "{peak} bytes");
    drop(posts);
    serve.assert_conserved();
}
