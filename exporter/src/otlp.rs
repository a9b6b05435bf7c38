//! OTLP over gRPC and over HTTP: one message out, and what the receiver says to it.

use std::error::Error;
use std::io::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::write::GzEncoder;
use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message as _;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::builder::BuildError;
use crate::config::{Compression, Config, Protocol};

/// Bytes of an answer at most, as OTLP says.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// How the content type of every gRPC answer starts.
const GRPC_CONTENT: &[u8] = b"application/grpc";

/// What the receiver says to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It took the spans, but for so many.
    Taken { rejected: u64 },
    /// Never.
    Refused(Refusal),
    /// Not now; after this time, if it said so.
    NotNow(Option<Duration>),
    /// It speaks another protocol. Who mends its configuration gets what waits.
    OtherProtocol,
    /// It does not speak TLS, or its certificate is not trusted. The same holds.
    NoTls,
}

/// Why a receiver refuses, as far as that says what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Who sends is not known, or not allowed to.
    Credentials,
    /// Traces are not taken there.
    Path,
    /// The message, or anything else.
    Message,
}

/// A message that is ready to be sent, more than once if need be.
pub(crate) enum Ready {
    Grpc(Box<ExportTraceServiceRequest>),
    Http(bytes::Bytes),
}

type GrpcClient = TraceServiceClient<Channel>;

pub(crate) enum Client {
    Grpc { endpoint: Box<Endpoint>, compression: Compression, client: Box<GrpcClient>, metadata: MetadataMap, timeout: Duration },
    Http { client: reqwest::Client, request: reqwest::Request, compression: Compression },
}

impl Client {
    /// Must be called inside the runtime that it will be used in.
    pub(crate) fn new(config: &Config) -> Result<Self, BuildError> {
        // A process has one TLS implementation. An error means that the application has chosen one already, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let roots = config.tls.roots.as_deref().map(roots).transpose()?;
        match config.protocol {
            Protocol::Grpc => Self::grpc(config),
            Protocol::HttpProtobuf => Self::http(config, roots),
        }
    }

    fn grpc(config: &Config) -> Result<Self, BuildError> {
        let mut endpoint = Endpoint::from_shared(config.url.to_string()).map_err(|_| BuildError::Endpoint)?;
        endpoint = endpoint.connect_timeout(config.timeout);
        if config.url.scheme() == "https" {
            let tls = match &config.tls.roots {
                Some(roots) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            let tls = match &config.tls.identity {
                Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
                None => tls,
            };
            endpoint = endpoint.tls_config(tls).map_err(|_| config.tls.error())?;
        }
        let (compression, timeout) = (config.compression, config.timeout);
        let client = Box::new(grpc_client(&endpoint, compression));
        let metadata = MetadataMap::from_headers(config.headers.0.clone());
        Ok(Self::Grpc { endpoint: Box::new(endpoint), compression, client, metadata, timeout })
    }

    fn http(config: &Config, roots: Option<Vec<reqwest::Certificate>>) -> Result<Self, BuildError> {
        // A redirect could lead the messages, or the credentials, somewhere else.
        let mut client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(config.timeout);
        if let Some(roots) = roots {
            client = client.tls_certs_only(roots);
        }
        if let Some((certificate, key)) = &config.tls.identity {
            let both = [&certificate[..], b"\n", key].concat();
            client = client.identity(reqwest::Identity::from_pem(&both).map_err(|_| BuildError::Certificate)?);
        }
        let client = client.build().map_err(|_| config.tls.error())?;
        let mut headers = config.headers.0.clone();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-protobuf"));
        if config.compression == Compression::Gzip {
            headers.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
        }
        let request = client.post(config.url.clone()).headers(headers).build().map_err(|_| BuildError::Endpoint)?;
        Ok(Self::Http { client, request, compression: config.compression })
    }

    /// Encodes a message, once.
    pub(crate) fn prepare(&self, message: ExportTraceServiceRequest) -> Ready {
        match self {
            Self::Grpc { .. } => Ready::Grpc(Box::new(message)),
            Self::Http { compression: Compression::None, .. } => Ready::Http(message.encode_to_vec().into()),
            Self::Http { compression: Compression::Gzip, .. } => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                // Writing to memory does not fail.
                let _ = encoder.write_all(&message.encode_to_vec());
                Ready::Http(encoder.finish().unwrap_or_default().into())
            }
        }
    }

    /// Sends a message once.
    pub(crate) async fn send(&mut self, message: &Ready) -> Answer {
        match (self, message) {
            (Self::Grpc { endpoint, compression, client, metadata, timeout }, Ready::Grpc(message)) => {
                let message = tonic::Request::from_parts(metadata.clone(), tonic::Extensions::default(), (**message).clone());
                match tokio::time::timeout(*timeout, client.export(message)).await {
                    Ok(Ok(response)) => taken(&response.into_inner()),
                    Ok(Err(status)) if is_tls(&status) => Answer::NoTls,
                    Ok(Err(status)) if is_no_grpc(&status) => Answer::OtherProtocol,
                    Ok(Err(status)) => grpc_answer(&status),
                    Err(_) => {
                        // The connection may be one that a machine in between has forgotten, and would stay silent for a quarter of an hour.
                        **client = grpc_client(endpoint, *compression);
                        Answer::NotNow(None)
                    }
                }
            }
            (Self::Http { client, request, .. }, Ready::Http(body)) => {
                let Some(mut request) = request.try_clone() else { return Answer::Refused(Refusal::Message) };
                *request.body_mut() = Some(body.clone().into());
                match client.execute(request).await {
                    Ok(response) => http_answer(response).await,
                    Err(error) if is_tls(&error) => Answer::NoTls,
                    Err(error) if is_no_http1(&error) => Answer::OtherProtocol,
                    Err(_) => Answer::NotNow(None),
                }
            }
            // A client prepares its own messages.
            _ => Answer::Refused(Refusal::Message),
        }
    }
}

/// The certificates of a file. One without any vouches for nobody, and was not meant.
fn roots(pem: &[u8]) -> Result<Vec<reqwest::Certificate>, BuildError> {
    let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| BuildError::Certificate)?;
    if roots.is_empty() { Err(BuildError::Certificate) } else { Ok(roots) }
}

/// A client that connects when it is used.
fn grpc_client(endpoint: &Endpoint, compression: Compression) -> GrpcClient {
    let client = TraceServiceClient::new(endpoint.connect_lazy()).max_decoding_message_size(MAX_ANSWER_BYTES);
    match compression {
        Compression::Gzip => client.send_compressed(CompressionEncoding::Gzip),
        Compression::None => client,
    }
}

fn taken(response: &ExportTraceServiceResponse) -> Answer {
    let rejected = response.partial_success.as_ref().map_or(0, |partial| partial.rejected_spans);
    Answer::Taken { rejected: u64::try_from(rejected).unwrap_or(0) }
}

/// The first error of this type among the error and its causes.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error that was made of another one does not name that as its source, but that one's source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &dyn Error).or_else(|| error.source());
    }
    None
}

/// Whether TLS failed.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    cause::<rustls::Error>(error).is_some()
}

/// Whether what answered does not speak gRPC: bytes that are no HTTP/2, or HTTP/2 with an answer that has no gRPC status.
fn is_no_grpc(status: &tonic::Status) -> bool {
    // The text of an HTTP/1.1 answer, read as a frame's head, promises a frame far longer than is allowed.
    let no_frame = |error: &h2::Error| error.reason() == Some(h2::Reason::FRAME_SIZE_ERROR);
    // tonic makes a status of an HTTP one in these words only.
    let no_status = status.message().contains("grpc-status header missing");
    let content_type = status.metadata().get(header::CONTENT_TYPE.as_str()).map(AsciiMetadataValue::as_encoded_bytes);
    let other_content = content_type.is_some_and(|text| !text.starts_with(GRPC_CONTENT));
    no_status || other_content || cause::<h2::Error>(status).is_some_and(no_frame)
}

/// Whether what answered is no HTTP/1.1: a gRPC server starts with a frame of HTTP/2, which arrives after the request or before.
fn is_no_http1(error: &reqwest::Error) -> bool {
    // hyper has no other way to tell the second case.
    let early = |error: &hyper::Error| error.to_string() == "received unexpected message from connection";
    cause::<hyper::Error>(error).is_some_and(|error| error.is_parse() || early(error))
}

/// OTLP's table of gRPC codes that may be tried again.
fn grpc_answer(status: &tonic::Status) -> Answer {
    use tonic::Code::{
        Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, PermissionDenied, ResourceExhausted, Unauthenticated,
        Unavailable, Unimplemented, Unknown,
    };
    use tonic_types::StatusExt as _;
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match status.code() {
        // tonic's own words, and no code of theirs: an answer that nobody has to read says nothing against the spans, which were taken.
        OutOfRange if status.message().starts_with("Error, decoded message length too large") => Answer::Taken { rejected: 0 },
        Cancelled | DeadlineExceeded | Aborted | OutOfRange | Unavailable | DataLoss => Answer::NotNow(asked),
        ResourceExhausted if asked.is_some() => Answer::NotNow(asked),
        // Not the receiver's word: the connection broke.
        Unknown if std::error::Error::source(status).is_some() => Answer::NotNow(None),
        Unauthenticated | PermissionDenied => Answer::Refused(Refusal::Credentials),
        Unimplemented => Answer::Refused(Refusal::Path),
        _ => Answer::Refused(Refusal::Message),
    }
}

/// OTLP's list of HTTP statuses that may be tried again.
async fn http_answer(mut response: reqwest::Response) -> Answer {
    let content_type = response.headers().get(header::CONTENT_TYPE).map(header::HeaderValue::as_bytes);
    // A gRPC server that takes HTTP/1.1 as well; its status is 200 whatever it thinks of the message.
    if content_type.is_some_and(|text| text.starts_with(GRPC_CONTENT)) {
        return Answer::OtherProtocol;
    }
    match response.status() {
        status if status.is_success() => {
            let mut body = Vec::new();
            // An answer that cannot be read says nothing against the spans, which were taken.
            while let Ok(Some(chunk)) = response.chunk().await {
                if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                    return Answer::Taken { rejected: 0 };
                }
                body.extend_from_slice(&chunk);
            }
            taken(&ExportTraceServiceResponse::decode(&body[..]).unwrap_or_default())
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Answer::NotNow(retry_after(response.headers(), SystemTime::now())),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Answer::Refused(Refusal::Credentials),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Answer::Refused(Refusal::Path),
        _ => Answer::Refused(Refusal::Message),
    }
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(date.timestamp().as_second()).ok()?);
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests;
