//! OTLP/gRPC: `TraceService/Export`, with the message taken as bytes.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use contract::{Protocol, Refusal};
use prost::Message as _;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Request, Response, Status};

use super::raw_codec::RawCodec;
use super::{MAX_MESSAGE_BYTES, RETRY_AFTER};
use crate::serve::pipeline::{Pipeline, export_response};

/// The service. Cloning shares the pipeline.
#[derive(Clone)]
pub struct TraceService {
    pipeline: Arc<Pipeline>,
}

impl TraceService {
    /// A service that hands every message to the pipeline.
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline }
    }
}

impl NamedService for TraceService {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl tower_service::Service<http::Request<Body>> for TraceService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let pipeline = Arc::clone(&self.pipeline);
        Box::pin(async move {
            pipeline.metrics().received(Protocol::Grpc);
            if request.uri().path() != "/opentelemetry.proto.collector.trace.v1.TraceService/Export" {
                pipeline.metrics().refused(Refusal::Unsupported);
                return Ok(Status::unimplemented("this server takes TraceService/Export").into_http());
            }
            let reached = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let mut grpc = Grpc::new(RawCodec)
                .accept_compressed(CompressionEncoding::Gzip)
                .apply_max_message_size_config(Some(MAX_MESSAGE_BYTES), None);
            let export = Export { pipeline: Arc::clone(&pipeline), reached: Arc::clone(&reached) };
            let mut response = grpc.unary(export, request).await;
            if !reached.load(std::sync::atomic::Ordering::Acquire) {
                pipeline.metrics().refused(refusal_of(&mut response));
            }
            Ok(response)
        })
    }
}

/// Why tonic refused a message before the pipeline saw it. tonic answers an oversized message with `OUT_OF_RANGE`, which OTLP clients retry for
/// ever; OTLP asks for `RESOURCE_EXHAUSTED`, which without retry information they do not.
fn refusal_of(response: &mut http::Response<Body>) -> Refusal {
    let status = response.headers().get("grpc-status").and_then(|code| code.to_str().ok()).map(str::to_owned);
    match status.as_deref() {
        Some("11" | "8") => {
            *response = Status::resource_exhausted("the message is larger than the limit of 64 MiB").into_http();
            Refusal::TooLarge
        }
        Some("12") => Refusal::Unsupported,
        _ => Refusal::Malformed,
    }
}

/// One call.
struct Export {
    pipeline: Arc<Pipeline>,
    /// Set when the message got as far as the pipeline, which then accounts for it.
    reached: Arc<std::sync::atomic::AtomicBool>,
}

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.reached.store(true, std::sync::atomic::Ordering::Release);
        let pipeline = Arc::clone(&self.pipeline);
        Box::pin(async move {
            match pipeline.accept(Protocol::Grpc, request.into_inner()).await {
                Ok(report) => Ok(Response::new(export_response(&report).encode_to_vec().into())),
                Err(refusal) => Err(status(refusal)),
            }
        })
    }
}

/// The gRPC answer to a refused message, by OTLP's table of what a client may try again.
fn status(refusal: Refusal) -> Status {
    let text = crate::serve::pipeline::refusal_text(refusal);
    match refusal {
        Refusal::TooLarge => Status::new(Code::ResourceExhausted, text),
        Refusal::Malformed => Status::new(Code::InvalidArgument, text),
        Refusal::Unsupported => Status::new(Code::Unimplemented, text),
        Refusal::Overloaded | Refusal::Unavailable => {
            use tonic_types::{ErrorDetails, StatusExt as _};
            let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
            Status::with_error_details(Code::Unavailable, text, details)
        }
    }
}
