//! OTLP/HTTP: `POST /v1/traces` in protobuf or JSON, plain or gzip.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing::post};
use contract::{Protocol, Refusal};
use http::{HeaderMap, StatusCode, header};
use sanitizer::Report;

use super::body::{self, Encoding};
use super::{MAX_MESSAGE_BYTES, RETRY_AFTER};
use crate::serve::pipeline::{Pipeline, export_response, refusal_text};

/// The receiver's routes.
pub fn router(pipeline: Arc<Pipeline>) -> Router {
    Router::new().route("/v1/traces", post(traces)).fallback(unsupported).with_state(pipeline)
}

async fn traces(State(pipeline): State<Arc<Pipeline>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let protocol = protocol(&head.headers);
    // A message of an unknown type has arrived all the same, and is counted as the default one.
    pipeline.metrics().received(protocol.unwrap_or(Protocol::HttpProtobuf));
    let message = match (protocol, encoding(&head.headers)) {
        (Some(protocol), Some(encoding)) => read(body, encoding).await.map(|message| (protocol, message)),
        _ => Err(Refusal::Unsupported),
    };
    match message {
        Ok((protocol, message)) => match pipeline.accept(protocol, message).await {
            Ok(report) => accepted(protocol, &report),
            Err(refusal) => refuse(protocol, refusal),
        },
        Err(refusal) => {
            pipeline.metrics().refused(refusal);
            refuse(protocol.unwrap_or(Protocol::HttpJson), refusal)
        }
    }
}

async fn unsupported(State(pipeline): State<Arc<Pipeline>>, request: Request) -> Response {
    let protocol = protocol(request.headers()).unwrap_or(Protocol::HttpJson);
    pipeline.metrics().received(protocol);
    pipeline.metrics().refused(Refusal::Unsupported);
    let status = Status { code: 12, message: "this server takes POST /v1/traces".to_owned() };
    answer(protocol, StatusCode::NOT_FOUND, &status)
}

async fn read(body: Body, encoding: Encoding) -> Result<bytes::Bytes, Refusal> {
    let body = body::read(body).await?;
    if encoding == Encoding::Identity {
        return Ok(body);
    }
    // Inflating up to the limit takes long enough to starve other requests on this thread.
    tokio::task::spawn_blocking(move || body::decompress(body, encoding)).await.unwrap_or(Err(Refusal::Malformed))
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
        Refusal::Overloaded | Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, 14),
    };
    let mut response = answer(protocol, http, &Status { code: grpc, message: refusal_text(refusal).to_owned() });
    if http == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER.as_secs().into());
    }
    response
}

/// The answer to a message that was taken. In JSON, full success is an empty object: OTLP wants the partial success left out, not null.
fn accepted(protocol: Protocol, report: &Report) -> Response {
    let response = export_response(report);
    if protocol == Protocol::HttpJson && response.partial_success.is_none() {
        return ([(header::CONTENT_TYPE, "application/json")], "{}").into_response();
    }
    answer(protocol, StatusCode::OK, &response)
}

/// A body in the type in which the request came.
fn answer<T: prost::Message + serde::Serialize>(protocol: Protocol, status: StatusCode, message: &T) -> Response {
    match protocol {
        Protocol::HttpJson => match serde_json::to_vec(message) {
            Ok(json) => (status, [(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(_) => status.into_response(),
        },
        Protocol::Grpc | Protocol::HttpProtobuf => {
            (status, [(header::CONTENT_TYPE, "application/x-protobuf")], message.encode_to_vec()).into_response()
        }
    }
}

const _: () = assert!(MAX_MESSAGE_BYTES <= u32::MAX as usize, "gRPC frames carry a length of 32 bits");
