//! Receivers that misbehave, times that cannot be, and programs that end badly: each costs the telemetry at most, and is counted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use codex_pooler_exporter::{
    Attempt, AttemptEnd, Denial, End, EndStatus, Exporter, Protocol, Rejection, Settlement, Terminal, Totals,
};
use contract::{RecordKind, attr};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use sanitizer::view;
use support::{admission, assert_clean, attempt, connected, spans_of};
use testkit::backend::{Answer, Backend, Script};

const PROTOCOLS: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];
/// An hour, which is as far as a clock may be off.
const HOUR: Duration = Duration::from_secs(3600);

fn one_request(exporter: &Exporter) {
    let request = exporter.admit(admission()).dispatch();
    request.attempt(attempt("seat 1")).finish(AttemptEnd::of(Terminal::Completed));
    request.settle(Settlement::Unknown);
    request.finish(End::completed());
}

/// A receiver that treats each connection, counted from 0, as the test says. Returns its URL.
fn receiver(treat: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let treat = Arc::new(treat);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (treat, stream) = (Arc::clone(&treat), stream.unwrap());
            std::thread::spawn(move || treat(number, stream));
        }
    });
    url
}

/// Reads until the other side has nothing more to say.
fn listen(mut stream: &TcpStream) {
    let _ = io::copy(&mut stream, &mut io::sink());
}

/// Guarantees: with a receiver that takes connections and never answers, answers nonsense, closes its half or all of a connection, or never ends
/// its answer, every span is settled as soon as the configuration says, and none is taken for exported that nobody said was.
#[test]
fn receivers_that_misbehave() {
    let never_answers = |_, stream: TcpStream| listen(&stream);
    let talks_nonsense = |_, mut stream: TcpStream| {
        let _ = stream.write_all(&vec![0xff; 64 * 1024]);
        listen(&stream);
    };
    let closes_its_half = |_, stream: TcpStream| {
        let _ = stream.shutdown(Shutdown::Write);
        listen(&stream);
    };
    let closes = |_, stream: TcpStream| drop(stream);
    let never_ends_its_head = |_, mut stream: TcpStream| while stream.write_all(b"HTTP/1.1 200 OK\r\nx: y\r\n").is_ok() {};
    let urls = [
        receiver(never_answers),
        receiver(talks_nonsense),
        receiver(closes_its_half),
        receiver(closes),
        receiver(never_ends_its_head),
    ];
    for (url, protocol) in urls.iter().flat_map(|url| PROTOCOLS.map(|protocol| (url, protocol))) {
        let builder = Exporter::builder().endpoint(url).protocol(protocol);
        let exporter = builder.timeout(Duration::from_millis(200)).retry_for(Duration::from_millis(1)).build().unwrap();
        one_request(&exporter);
        let expected = Totals { emitted: 3, dropped_exhausted: 3, ..Totals::default() };
        assert_eq!(exporter.shutdown(), expected, "{url} {protocol:?}");
    }
}

/// Guarantees: a shutdown does not wait for a receiver that never answers longer than it was told to, by a second.
#[test]
fn a_shutdown_is_bounded() {
    for protocol in PROTOCOLS {
        let url = receiver(|_, stream| listen(&stream));
        let exporter = Exporter::builder().endpoint(url).protocol(protocol).build().unwrap();
        one_request(&exporter);
        let started = Instant::now();
        let totals = exporter.shutdown_within(Duration::from_millis(100));
        assert_eq!(totals, Totals { emitted: 3, dropped_shutdown: 3, ..Totals::default() });
        // The receiver would have had ten seconds.
        assert!(started.elapsed() < Duration::from_secs(8), "{protocol:?}: {:?}", started.elapsed());
    }
}

/// Guarantees: a connection that fell silent, as when a machine in between forgot it, is not asked again: the next try makes a new one, and
/// nothing is lost.
#[test]
fn a_silent_connection_is_given_up() {
    for (protocol, start) in [(Protocol::HttpProtobuf, Backend::http as fn(Script) -> Backend), (Protocol::Grpc, Backend::grpc)] {
        let backend = start(Script::always(Answer::Accept));
        let to = backend.url().strip_prefix("http://").unwrap().to_owned();
        let url = receiver(move |number, near| {
            if number == 0 {
                return listen(&near);
            }
            let far = TcpStream::connect(&to).unwrap();
            let (mut near_out, mut far_in) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || io::copy(&mut far_in, &mut near_out));
            let _ = io::copy(&mut &near, &mut &far);
        });
        let exporter = Exporter::builder().endpoint(url).protocol(protocol).timeout(Duration::from_millis(500)).build().unwrap();
        one_request(&exporter);
        assert_eq!(exporter.shutdown(), Totals { emitted: 3, exported: 3, ..Totals::default() }, "{protocol:?}");
    }
}

/// Says this to every message.
struct Says(ExportTraceServiceResponse);

fn partial(rejected_spans: i64, error_message: String) -> ExportTraceServiceResponse {
    ExportTraceServiceResponse { partial_success: Some(ExportTracePartialSuccess { rejected_spans, error_message }) }
}

#[tonic::async_trait]
impl TraceService for Says {
    async fn export(
        &self,
        _: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        Ok(tonic::Response::new(self.0.clone()))
    }
}

fn says_over_grpc(answer: ExportTraceServiceResponse) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            tonic::transport::Server::builder()
                .add_service(TraceServiceServer::new(Says(answer)))
                .serve_with_incoming(incoming)
                .await
        })
    });
    url
}

fn says_over_http(answer: &ExportTraceServiceResponse) -> String {
    let body = answer.encode_to_vec();
    receiver(move |_, mut stream| {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
        let _ = io::copy(&mut (&stream).take(length), &mut io::sink());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    })
}

/// Guarantees: an answer longer than anyone has to read is one all the same: the spans were taken, and are not sent again.
#[test]
fn a_longwinded_receiver_took_the_spans() {
    let answer = partial(0, "x".repeat(5 << 20));
    for (url, protocol) in [(says_over_http(&answer), Protocol::HttpProtobuf), (says_over_grpc(answer), Protocol::Grpc)] {
        let exporter = Exporter::builder().endpoint(url).protocol(protocol).build().unwrap();
        one_request(&exporter);
        let started = Instant::now();
        assert_eq!(exporter.shutdown(), Totals { emitted: 3, exported: 3, ..Totals::default() }, "{protocol:?}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

/// Guarantees: what a receiver takes in part is counted in part, over both protocols; one that says to have refused more than it was sent, or less
/// than nothing, does not unbalance the account.
#[test]
fn partial_success_is_counted() {
    for (says, rejected) in [(1, 1), (3, 3), (i64::MAX, 3), (-1, 0), (i64::MIN, 0)] {
        let answer = partial(says, String::new());
        for (url, protocol) in [(says_over_http(&answer), Protocol::HttpProtobuf), (says_over_grpc(answer), Protocol::Grpc)] {
            let exporter = Exporter::builder().endpoint(url).protocol(protocol).build().unwrap();
            one_request(&exporter);
            let expected = Totals { emitted: 3, exported: 3 - rejected, dropped_rejected: rejected, ..Totals::default() };
            assert_eq!(exporter.shutdown(), expected, "{says} {protocol:?}");
        }
    }
}

/// Guarantees: a clock that is set back, and numbers beyond all bounds, make no span that ends before it starts, and none is lost; nor do the
/// longest times panic anywhere.
#[test]
fn times_that_cannot_be() {
    let (backend, exporter) = connected();
    let now = SystemTime::now();
    let admission = admission();
    let id = admission.request_id;
    let request = exporter.admit_at(admission, now).dispatch();
    let earlier = request.attempt_at(attempt("seat 1"), now - HOUR);
    earlier.finish_at(AttemptEnd::retryable("upstream_rate_limited"), now - 2 * HOUR);
    let endless = request.attempt_at(Attempt { id: uuid::Uuid::nil(), ..attempt("seat 2") }, now);
    let end = AttemptEnd { latency_ms: Some(u64::MAX), first_output_ms: Some(u64::MAX), ..AttemptEnd::of(Terminal::Completed) };
    endless.finish_at(end, now);
    request.settle(Settlement::Unknown);
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX) * 1000);
    let denials = vec![Denial { code: "quota_exhausted".into(), exhausted: true, resets_at: Some(far) }];
    drop(request.finish_at(End { denials, retry_count: u32::MAX, ..End::new(EndStatus::Failed) }, now - 3 * HOUR));
    let totals = exporter.flush_within(Duration::MAX);
    assert_eq!((totals.exported, totals.dropped()), (3, 0));
    for kind in [RecordKind::Request, RecordKind::Attempt] {
        for span in spans_of(&backend, kind, id) {
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        }
    }
    assert_eq!(exporter.shutdown_within(Duration::MAX).queued, 0);
    assert_clean(&backend);

    let longest = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf);
    let longest = longest.settlement_hold(Duration::MAX).retry_for(Duration::MAX).build().unwrap();
    one_request(&longest);
    assert_eq!(longest.shutdown().exported, 3);
}

/// Guarantees: handles that a runtime drops with its tasks, on threads that are about to end, are rows, also when nobody has the exporter any
/// more when they are; and code of the application that panics inside a call leaves the exporter as it was.
#[test]
fn programs_that_end_badly() {
    let (backend, exporter) = connected();
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| exporter.admit_with(|| panic!("no admission"))));
    assert!(panics.is_err());
    let admission = admission();
    let id = admission.request_id;
    let request = exporter.admit(admission).dispatch();
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| request.attempt_with(|| panic!("no attempt"))));
    assert!(panics.is_err());

    drop(exporter);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.spawn(async move {
        let _attempt = request.attempt(attempt("seat 1"));
        std::future::pending::<()>().await;
    });
    drop(runtime);
    let row = testkit::wait_for("the row", || spans_of(&backend, RecordKind::Request, id).pop());
    assert_eq!(view::text(&row.attributes, attr::ERROR_CODE), Some("interrupted"));
    assert_clean(&backend);
}

/// Guarantees: with more open requests than are watched, and nobody to send them to, memory beyond the handles stays within the queue's bound,
/// every one of them is a row in the end, or is counted as dropped, and nothing waits.
#[test]
fn more_requests_than_anyone_has() {
    const OPEN: usize = 70_000;
    let url = receiver(|_, stream| drop(stream));
    let exporter = Exporter::builder().endpoint(url).build().unwrap();
    let open: Vec<_> = (0..OPEN).map(|_| exporter.admit(admission())).collect();
    let most = 8192 + 512;
    assert!(exporter.totals().queued <= most);
    for admitted in open {
        admitted.reject(Rejection::new("no_eligible_backend", 503));
    }
    let totals = exporter.totals();
    assert!(totals.queued <= most && totals.emitted >= 2 * OPEN as u64);
    let totals = exporter.shutdown_within(Duration::ZERO);
    assert_eq!((totals.queued, totals.emitted), (0, totals.exported + totals.dropped()));
}
