//! OTLP/gRPC: `Export` of the three services, with the message taken as bytes. The protocol's frame around a message is five bytes, which are read
//! here, so that a body is received within the same bounds whichever way it comes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::{Router, routing::any};
use bytes::{BufMut as _, Bytes, BytesMut};
use contract::{Protocol, Refusal, Signal};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt as _, Full};
use tonic::{Code, Status};

use super::body::{Encoding, Received};
use super::notices::Sender;
use super::{MAX_MESSAGE_BYTES, RETRY_AFTER, answer, grpc_path};
use crate::serve::pipeline::Pipeline;

/// What stands before a message: whether it is compressed, and its length in four bytes.
const FRAME_HEAD_BYTES: usize = 5;

/// The receiver's routes, which hand every message to the pipeline.
pub fn router(pipeline: Arc<Pipeline>) -> Router {
    let mut router = Router::new().fallback(unsupported);
    for signal in Signal::ALL {
        router = router.route(grpc_path(*signal), any(|State(pipeline), request| uncancelled(*signal, pipeline, request)));
    }
    router.with_state(pipeline)
}

/// A sender that leaves cancels its call. The work goes on all the same: a message that is half way into the store must be counted and passed on.
async fn uncancelled(signal: Signal, pipeline: Arc<Pipeline>, request: Request) -> Response {
    let done = tokio::spawn(export(signal, pipeline, request)).await;
    done.unwrap_or_else(|_| Status::internal("internal error").into_http())
}

async fn export(signal: Signal, pipeline: Arc<Pipeline>, request: Request) -> Response {
    let _in_progress = pipeline.metrics().received(Protocol::Grpc);
    let sender = request.extensions().get::<Sender>().copied();
    let (head, body) = request.into_parts();
    let message = match encoding(&head.headers) {
        Some(encoding) => {
            let body = pipeline.room().read(body, FRAME_HEAD_BYTES + MAX_MESSAGE_BYTES).await;
            body.and_then(|body| message(body, encoding))
        }
        None => Err(Refusal::Unsupported),
    };
    match message {
        Ok((encoding, message)) => match pipeline.accept(signal, Protocol::Grpc, encoding, message).await {
            Ok(report) => {
                let with_stripped = pipeline.may_tell_stripped(&report, sender);
                reply(&answer::accepted(signal, Protocol::Grpc, &report, with_stripped))
            }
            Err(refusal) => refuse(refusal),
        },
        Err(refusal) => {
            pipeline.refuse(refusal);
            refuse(refusal)
        }
    }
}

async fn unsupported(State(pipeline): State<Arc<Pipeline>>) -> Response {
    let _in_progress = pipeline.metrics().received(Protocol::Grpc);
    pipeline.refuse(Refusal::Unsupported);
    Status::unimplemented("this server takes Export of TraceService, LogsService and MetricsService").into_http()
}

/// What messages of a call are compressed with that say they are.
fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Some(Encoding::Identity),
        Some(b"gzip") => Some(Encoding::Gzip),
        Some(_) => None,
    }
}

/// The one message of a unary call. Of two, an answer could not say which it means.
fn message(mut body: Received<'_>, encoding: Encoding) -> Result<(Encoding, Received<'_>), Refusal> {
    let Some((&[compressed, ref length @ ..], message)) = body.bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else {
        return Err(Refusal::Malformed);
    };
    if length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)) != message.len() {
        return Err(Refusal::Malformed);
    }
    let encoding = match (compressed, encoding) {
        (0, _) => Encoding::Identity,
        (1, Encoding::Gzip) => Encoding::Gzip,
        _ => return Err(Refusal::Malformed),
    };
    body.bytes = body.bytes.slice(FRAME_HEAD_BYTES..);
    Ok((encoding, body))
}

/// An answer, which is never compressed, and after it the status: well.
fn reply(message: &[u8]) -> Response {
    let mut frame = BytesMut::with_capacity(FRAME_HEAD_BYTES + message.len());
    frame.put_u8(0);
    // An answer is a text of bounded length.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    let trailers = HeaderMap::from_iter([(header::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
    let body = Full::<Bytes>::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// The gRPC answer to a refused message, by OTLP's table of what a client may try again.
fn refuse(refusal: Refusal) -> Response {
    let text = answer::refusal_text(refusal);
    let status = match refusal {
        Refusal::TooLarge => Status::new(Code::ResourceExhausted, text),
        Refusal::Malformed => Status::new(Code::InvalidArgument, text),
        Refusal::Unsupported => Status::new(Code::Unimplemented, text),
        Refusal::Slow | Refusal::Overloaded | Refusal::Unavailable => {
            use tonic_types::{ErrorDetails, StatusExt as _};
            let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
            Status::with_error_details(Code::Unavailable, text, details)
        }
    };
    let mut response = status.into_http();
    if refusal == Refusal::Unsupported {
        response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip"));
    }
    response
}
