//! OTLP/gRPC: `Export` of the three services, with the message taken as bytes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{Request as HttpRequest, State};
use axum::{Router, routing::any};
use bytes::Bytes;
use contract::{Protocol, Refusal, Signal};
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::server::{Grpc, UnaryService};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use super::notices::Sender;
use super::raw_codec::RawCodec;
use super::{MAX_MESSAGE_BYTES, RETRY_AFTER, answer, grpc_path};
use crate::serve::pipeline::Pipeline;

/// The receiver's routes, which hand every message to the pipeline.
pub fn routes(pipeline: Arc<Pipeline>) -> Routes {
    let mut router = Router::new().fallback(unsupported);
    for signal in Signal::ALL {
        router = router.route(grpc_path(*signal), any(|State(pipeline), request| uncancelled(*signal, pipeline, request)));
    }
    router.with_state(pipeline).into()
}

/// A sender that leaves cancels its call. The work goes on all the same: a message that is half way into the store must be counted and passed on.
async fn uncancelled(signal: Signal, pipeline: Arc<Pipeline>, request: HttpRequest) -> http::Response<Body> {
    let done = tokio::spawn(export(signal, pipeline, request)).await;
    done.unwrap_or_else(|_| Status::internal("internal error").into_http())
}

async fn export(signal: Signal, pipeline: Arc<Pipeline>, request: HttpRequest) -> http::Response<Body> {
    pipeline.metrics().received(Protocol::Grpc);
    let _turn = pipeline.turn_to_receive().await;
    let reached = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut grpc = Grpc::new(RawCodec)
        .accept_compressed(CompressionEncoding::Gzip)
        .apply_max_message_size_config(Some(MAX_MESSAGE_BYTES), None);
    let export = Export { signal, pipeline: Arc::clone(&pipeline), reached: Arc::clone(&reached) };
    let mut response = grpc.unary(export, request).await;
    if !reached.load(std::sync::atomic::Ordering::Acquire) {
        pipeline.metrics().refused(refusal_of(&mut response));
    }
    response
}

async fn unsupported(State(pipeline): State<Arc<Pipeline>>) -> http::Response<Body> {
    pipeline.metrics().received(Protocol::Grpc);
    pipeline.metrics().refused(Refusal::Unsupported);
    Status::unimplemented("this server takes Export of TraceService, LogsService and MetricsService").into_http()
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
    signal: Signal,
    pipeline: Arc<Pipeline>,
    /// Set when the message got as far as the pipeline, which then accounts for it.
    reached: Arc<std::sync::atomic::AtomicBool>,
}

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.reached.store(true, std::sync::atomic::Ordering::Release);
        let (signal, pipeline) = (self.signal, Arc::clone(&self.pipeline));
        let sender = request.remote_addr().map(|address| Sender(address.ip()));
        Box::pin(async move {
            match pipeline.accept(signal, Protocol::Grpc, request.into_inner()).await {
                Ok(report) => {
                    let with_stripped = pipeline.may_tell_stripped(&report, sender);
                    Ok(Response::new(answer::accepted(signal, Protocol::Grpc, &report, with_stripped).into()))
                }
                Err(refusal) => Err(status(refusal)),
            }
        })
    }
}

/// The gRPC answer to a refused message, by OTLP's table of what a client may try again.
fn status(refusal: Refusal) -> Status {
    let text = answer::refusal_text(refusal);
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
