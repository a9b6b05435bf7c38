//! What a sender is told of a message that was taken in part, and what is refused that looks like a message.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message as _;
use testkit::otlp::{self, Row, attribute};
use testkit::send::{self, JSON};
use testkit::serve::Serve;

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");

fn serve() -> (tempfile::TempDir, Serve) {
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &[]);
    (folder, serve)
}

/// A message in which one field is stripped, and with `drops` one span is dropped.
fn message(number: u32, drops: bool) -> ExportTraceServiceRequest {
    let mut span = Row::numbered(number).span();
    span.attributes.push(attribute("hunter2.key", "hunter2 value"));
    let mut spans = vec![span];
    if drops {
        spans.push(opentelemetry_proto::tonic::trace::v1::Span { trace_id: vec![1; 7], ..Row::numbered(number + 100).span() });
    }
    otlp::request(spans)
}

fn told(answer: &ExportTraceServiceResponse) -> Option<(i64, &str)> {
    answer.partial_success.as_ref().map(|partial| (partial.rejected_spans, partial.error_message.as_str()))
}

/// Guarantees: the first message of which something is stripped is answered with a warning that rejects nothing, over gRPC as over HTTP; the next
/// ones of the same sender within a minute are answered with nothing, whichever way they come. What is dropped is told each time.
#[test]
fn stripping_is_told_once_and_drops_always() {
    let stripped = "1 stripped: span_attribute unknown_key";
    let (_folder, serve) = serve();
    let first = send::grpc(&serve.otlp_grpc(), message(1, false), false).unwrap();
    assert_eq!(told(&first), Some((0, stripped)));
    let url = format!("{}/v1/traces", serve.otlp_http());
    let post = |message: &ExportTraceServiceRequest| {
        let reply = send::post(&url, &[("content-type", JSON)], &serde_json::to_vec(message).unwrap());
        assert_eq!(reply.status, 200);
        reply.json()
    };
    assert_eq!(post(&message(2, false)), serde_json::json!({}));
    assert_eq!(told(&send::grpc(&serve.otlp_grpc(), message(3, false), false).unwrap()), None);
    for number in [4, 5] {
        let dropped = serde_json::json!({"partialSuccess": {"rejectedSpans": 1, "errorMessage": "1 dropped: invalid_id"}});
        let reply = post(&message(number, true));
        assert_eq!(reply["partialSuccess"]["errorMessage"], dropped["partialSuccess"]["errorMessage"]);
        assert_eq!(
            told(&send::grpc(&serve.otlp_grpc(), message(number + 10, true), false).unwrap()),
            Some((1, "1 dropped: invalid_id"))
        );
    }
    serve.assert_conserved();

    // A sender of another address is another one. The first to come over HTTP is told there.
    let (_folder, serve) = self::serve();
    let url = format!("{}/v1/traces", serve.otlp_http());
    let reply = send::post(&url, &[("content-type", JSON)], &serde_json::to_vec(&message(1, true)).unwrap());
    let text = reply.json()["partialSuccess"]["errorMessage"].as_str().unwrap().to_owned();
    assert_eq!(text, format!("1 dropped: invalid_id, {stripped}"));
}

/// Guarantees: JSON that is no object is malformed; an object without anything is an empty message. The log says once that messages are refused,
/// and why, however many there are.
#[test]
fn a_list_is_no_message() {
    let (_folder, mut serve) = serve();
    for signal in ["traces", "logs", "metrics"] {
        let url = format!("{}/v1/{signal}", serve.otlp_http());
        for (body, status) in [("[]", 400), (" \n[]", 400), ("null", 400), ("[[]]", 400), ("", 400), ("{}", 200), (" {}\n", 200)]
        {
            assert_eq!(send::post(&url, &[("content-type", JSON)], body.as_bytes()).status, status, "{signal}: {body:?}");
        }
    }
    assert_eq!(send::post(&format!("{}/v1/other", serve.otlp_http()), &[("content-type", JSON)], b"{}").status, 404);
    serve.assert_conserved();
    assert!(serve.terminate().success());
    for reason in ["malformed", "unsupported"] {
        let is_said = |line: &&str| line.contains("a message was refused") && line.contains(reason);
        assert_eq!(serve.stderr().lines().filter(is_said).count(), 1, "{reason}");
    }
}

/// Guarantees: a call with two messages is refused, and neither of them is stored: an answer that means both cannot be given for one.
#[test]
fn two_messages_in_one_call_are_refused() {
    let (_folder, serve) = serve();
    let two = [message(1, false), message(2, false)].map(|message| message.encode_to_vec());
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let status = send::grpc_stream(&serve.otlp_grpc(), path, two.to_vec()).unwrap_err();
    assert_eq!(status.code() as i32, 3, "{status:?}");
    serve.assert_conserved();
    assert_eq!(serve.scrape().count("pooler_otel_accepted_records_total", &[]), 0);
    assert_eq!(serve.scrape().count("pooler_otel_refused_messages_total", &[("reason", "malformed")]), 1);
}

/// Guarantees: of many messages at once that are small and take a hundred times their size when they are decoded, those for which there is no room
/// are refused as overloaded, with a time to try again; memory stays bounded; and afterwards all is as before.
#[cfg(target_os = "linux")]
#[test]
fn a_flood_is_refused() {
    const SENDERS: usize = 12;
    const ATTRIBUTES: usize = 300_000;
    /// Twice what messages may take at the same time. All of these, let in at once, would take more.
    const MAX_MEMORY_BYTES: u64 = 512 * 1024 * 1024;
    let (_folder, serve) = serve();
    let mut span = Row::numbered(1).span();
    span.attributes.extend(vec![opentelemetry_proto::tonic::common::v1::KeyValue::default(); ATTRIBUTES]);
    let heavy = otlp::request(vec![span]).encode_to_vec();
    let url = format!("{}/v1/traces", serve.otlp_http());
    let replies: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..SENDERS).map(|_| scope.spawn(|| send::post(&url, &[("content-type", send::PROTOBUF)], &heavy))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let count = |status: u16| replies.iter().filter(|reply| reply.status == status).count();
    let (taken, refused) = (count(200), count(503));
    assert_eq!(taken + refused, SENDERS);
    assert!(taken > 0 && refused > 0, "{taken} were taken, {refused} refused");
    assert!(replies.iter().filter(|reply| reply.status == 503).all(|reply| !reply.header("retry-after").is_empty()));
    let peak = serve.peak_memory_bytes();
    assert!(peak < MAX_MEMORY_BYTES, "{peak} bytes");
    send::grpc(&serve.otlp_grpc(), message(2, false), false).unwrap();
    serve.assert_conserved();
    assert_eq!(serve.scrape().count("pooler_otel_refused_messages_total", &[("reason", "overloaded")]), refused as u64);
}

/// A message of metrics with one point of so many empty buckets, each of which is a byte there and eight in memory.
#[cfg(target_os = "linux")]
fn long_row(buckets: usize) -> Vec<u8> {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
    use opentelemetry_proto::tonic::metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Metric, ResourceMetrics, ScopeMetrics, metric::Data,
    };
    let positive = Some(Buckets { offset: 0, bucket_counts: vec![0; buckets] });
    let point = ExponentialHistogramDataPoint {
        time_unix_nano: otlp::now_ms() * 1_000_000,
        positive,
        ..ExponentialHistogramDataPoint::default()
    };
    let data = Data::ExponentialHistogram(ExponentialHistogram { data_points: vec![point], aggregation_temporality: 2 });
    let metric = Metric { name: "codex_pooler.request.duration".to_owned(), data: Some(data), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }] }
        .encode_to_vec()
}

/// Guarantees: messages of metrics that would take eight times their size when they are decoded are not decoded: many at once are all taken, in
/// memory for their bytes. One that needs a decoder, by a padded number before it, is refused as too large.
#[cfg(target_os = "linux")]
#[test]
fn long_rows_are_not_decoded() {
    const SENDERS: usize = 6;
    const BUCKETS: usize = 12 << 20;
    /// Half of what they take decoded.
    const MAX_MEMORY_BYTES: u64 = (SENDERS * BUCKETS * size_of::<u64>() / 2) as u64;
    let (_folder, serve) = serve();
    let row = long_row(BUCKETS);
    let url = format!("{}/v1/metrics", serve.otlp_http());
    let post = |body: &[u8]| send::post(&url, &[("content-type", send::PROTOBUF)], body).status;
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(|| post(&row))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; SENDERS]);
    // Field 100, the number 0 in two bytes.
    assert_eq!(post(&[&b"\xa0\x06\x80\x00"[..], &row].concat()), 413);
    let peak = serve.peak_memory_bytes();
    assert!(peak < MAX_MEMORY_BYTES, "{peak} bytes");
    serve.assert_conserved();
    let dropped = [("reason", "invalid_number")];
    assert_eq!(serve.scrape().count("pooler_otel_dropped_records_total", &dropped), SENDERS as u64);
}

/// Guarantees: a small message of spans that would take gigabytes decoded is refused as too large, and a number that is padded before them, which
/// only a decoder takes, does not hide them.
#[cfg(target_os = "linux")]
#[test]
fn nothing_hides_behind_a_padded_number() {
    const SPANS: usize = 2_000_001;
    const MAX_MEMORY_BYTES: u64 = 256 * 1024 * 1024;
    let (_folder, serve) = serve();
    let field = |number: u8, content: &[u8]| {
        let mut out = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut out);
        [out, content.to_vec()].concat()
    };
    let spans = field(1, &field(2, &[0x12, 0].repeat(SPANS)));
    let url = format!("{}/v1/traces", serve.otlp_http());
    for before in [&b""[..], b"\xa0\x06\x80\x00", b"\xa3\x06\xa4\x06"] {
        let reply = send::post(&url, &[("content-type", send::PROTOBUF)], &[before, &spans].concat());
        assert_eq!(reply.status, 413, "{before:02x?}");
    }
    let peak = serve.peak_memory_bytes();
    assert!(peak < MAX_MEMORY_BYTES, "{peak} bytes");
}

/// Guarantees: the gauges say that it is ready and which version it is.
#[test]
fn the_gauges_say_what_runs() {
    let (_folder, serve) = serve();
    let scrape = serve.scrape();
    assert_eq!(scrape.count("pooler_otel_ready", &[]), 1);
    assert_eq!(scrape.count("pooler_otel_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1);
}
