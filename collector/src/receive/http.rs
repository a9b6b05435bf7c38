//! OTLP/HTTP: `POST /v1/traces`, `/v1/logs` and `/v1/metrics` in protobuf or JSON, plain or gzip.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing::post};
use contract::{Protocol, Refusal, Signal};
use http::{HeaderMap, StatusCode, header};

use super::body::Encoding;
use super::notices::Sender;
use super::{MAX_MESSAGE_BYTES, RETRY_AFTER, answer, http_path};
use crate::serve::pipeline::Pipeline;

/// The receiver's routes.
pub fn router(pipeline: Arc<Pipeline>) -> Router {
    let mut router = Router::new().fallback(unsupported);
    for signal in Signal::ALL {
        router = router.route(http_path(*signal), post(|State(pipeline), request| uncancelled(*signal, pipeline, request)));
    }
    router.with_state(pipeline)
}

/// A sender that leaves cancels its request. The work goes on all the same: a message that is half way into the store must be counted and
/// passed on.
async fn uncancelled(signal: Signal, pipeline: Arc<Pipeline>, request: Request) -> Response {
    let done = tokio::spawn(export(signal, pipeline, request)).await;
    done.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn export(signal: Signal, pipeline: Arc<Pipeline>, request: Request) -> Response {
    let sender = request.extensions().get::<Sender>().copied();
    let (head, body) = request.into_parts();
    let protocol = protocol(&head.headers);
    // A message of an unknown type has arrived all the same, and is counted as the default one.
    let _in_progress = pipeline.metrics().received(protocol.unwrap_or(Protocol::HttpProtobuf));
    let message = match (protocol, encoding(&head.headers)) {
        (Some(protocol), Some(encoding)) => {
            pipeline.room().read(body, MAX_MESSAGE_BYTES).await.map(|message| (protocol, encoding, message))
        }
        _ => Err(Refusal::Unsupported),
    };
    match message {
        Ok((protocol, encoding, message)) => match pipeline.accept(signal, protocol, encoding, message).await {
            Ok(report) => {
                let with_stripped = pipeline.may_tell_stripped(&report, sender);
                reply(protocol, StatusCode::OK, answer::accepted(signal, protocol, &report, with_stripped))
            }
            Err(refusal) => refuse(protocol, refusal),
        },
        Err(refusal) => {
            pipeline.refuse(refusal);
            refuse(protocol.unwrap_or(Protocol::HttpJson), refusal)
        }
    }
}

async fn unsupported(State(pipeline): State<Arc<Pipeline>>, request: Request) -> Response {
    let protocol = protocol(request.headers()).unwrap_or(Protocol::HttpJson);
    let _in_progress = pipeline.metrics().received(protocol);
    pipeline.refuse(Refusal::Unsupported);
    let status = Status { code: 12, message: "this server takes POST /v1/traces, /v1/logs and /v1/metrics".to_owned() };
    reply(protocol, StatusCode::NOT_FOUND, answer::encode(protocol, &status))
}

fn protocol(headers: &HeaderMap) -> Option<Protocol> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    match content_type.split(';').next()?.trim().to_ascii_lowercase().as_str() {
        "application/x-protobuf" => Some(Protocol::HttpProtobuf),
        "application/json" => Some(Protocol::HttpJson),
        _ => None,
    }
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    match headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().map(str::to_ascii_lowercase)) {
        None => Some(Encoding::Identity),
        Some(Ok(encoding)) if encoding == "identity" || encoding.is_empty() => Some(Encoding::Identity),
        Some(Ok(encoding)) if encoding == "gzip" => Some(Encoding::Gzip),
        Some(_) => None,
    }
}

/// `google.rpc.Status`, which OTLP wants as the body of every error; its details are not used.
#[derive(Clone, PartialEq, Eq, prost::Message, serde::Serialize)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// The HTTP answer to a refused message, by OTLP's table of what a client may try again.
fn refuse(protocol: Protocol, refusal: Refusal) -> Response {
    let (http, grpc) = match refusal {
        Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 8),
        Refusal::Malformed => (StatusCode::BAD_REQUEST, 3),
        Refusal::Unsupported => (StatusCode::UNSUPPORTED_MEDIA_TYPE, 12),
        Refusal::Slow | Refusal::Overloaded | Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, 14),
    };
    let status = Status { code: grpc, message: answer::refusal_text(refusal).to_owned() };
    let mut response = reply(protocol, http, answer::encode(protocol, &status));
    if http == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER.as_secs().into());
    }
    response
}

/// A body in the type in which the request came.
fn reply(protocol: Protocol, status: StatusCode, body: Vec<u8>) -> Response {
    let content_type = match protocol {
        Protocol::HttpJson => "application/json",
        Protocol::Grpc | Protocol::HttpProtobuf => "application/x-protobuf",
    };
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

const _: () = assert!(MAX_MESSAGE_BYTES <= u32::MAX as usize, "gRPC frames carry a length of 32 bits");
