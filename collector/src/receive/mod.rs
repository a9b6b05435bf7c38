//! The receivers: OTLP over gRPC and over HTTP. They turn a request into bytes within limits, hand it to the pipeline, and turn its verdict
//! into the protocol's answer.

pub mod body;
pub mod grpc;
pub mod http;
pub mod raw_codec;

use std::time::Duration;

/// Largest OTLP message that is taken, in bytes, before and after decompression. The figure is OTLP's recommendation.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// How long a sender that was turned away should wait before it tries again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
