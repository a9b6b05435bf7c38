//! The receivers: OTLP over gRPC and over HTTP. They turn a request into bytes within limits, hand it to the pipeline, and turn its verdict
//! into the protocol's answer.

pub mod answer;
pub mod body;
pub mod grpc;
pub mod http;
pub mod notices;

use std::time::Duration;

use contract::Signal;

/// Largest OTLP message that is taken, in bytes, before and after decompression. The figure is OTLP's recommendation.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// How long a sender that was turned away should wait before it tries again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Path of a signal over OTLP/gRPC.
pub const fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}

/// Path of a signal over OTLP/HTTP.
pub const fn http_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/v1/traces",
        Signal::Logs => "/v1/logs",
        Signal::Metrics => "/v1/metrics",
    }
}
