//! Plain clients: OTLP over gRPC, and HTTP/1.1 as it is on the wire. No retries, no redirects: a test sees every answer.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use bytes::{Buf as _, BufMut as _, Bytes};
use flate2::{Compression, write::GzEncoder};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;

use crate::DEADLINE;

/// Largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 256 << 20;
/// Content type of OTLP in protobuf.
pub const PROTOBUF: &str = "application/x-protobuf";
/// Content type of OTLP in JSON.
pub const JSON: &str = "application/json";

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers, with their values as text.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {} {}", self.status, self.text()))
    }

    /// A header's value, or an empty text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Everything that arrived, for a leak scan.
    #[must_use]
    pub fn everything(&self) -> Vec<u8> {
        let mut all = format!("{:?}\n", self.headers).into_bytes();
        all.extend(&self.body);
        all
    }
}

/// `GET`.
///
/// # Panics
/// If there is no answer.
#[must_use]
pub fn get(url: &str) -> Reply {
    get_with(url, &[], "*/*")
}

/// `GET` with query parameters and an `Accept` header.
///
/// # Panics
/// If there is no answer.
#[must_use]
pub fn get_with(url: &str, query: &[(&str, &str)], accept: &str) -> Reply {
    let parameters: Vec<String> = query.iter().map(|(key, value)| format!("{key}={}", percent_encoded(value))).collect();
    let url = if parameters.is_empty() { url.to_owned() } else { format!("{url}?{}", parameters.join("&")) };
    exchange("GET", &url, &[("accept", accept)], &[]).expect("an answer")
}

/// `POST` with these headers.
///
/// # Panics
/// If there is no answer.
#[must_use]
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    exchange("POST", url, headers, body).expect("an answer")
}

/// `POST` to a server that may be gone; `None` if there is no answer, or only a part of one.
#[must_use]
pub fn try_post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Reply> {
    exchange("POST", url, headers, body).ok()
}

/// Packs bytes with gzip.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes all")
}

/// Exports over gRPC on a connection of its own. `address` is `host:port`.
///
/// # Errors
/// The status with which the server answered, or `UNAVAILABLE` where it did not.
pub fn grpc(
    address: &str,
    request: ExportTraceServiceRequest,
    compressed: bool,
) -> Result<ExportTraceServiceResponse, tonic::Status> {
    let address = format!("http://{address}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
        let client = TraceServiceClient::connect(address).await.map_err(unavailable)?;
        let mut client = if compressed { client.send_compressed(CompressionEncoding::Gzip) } else { client };
        let answer = tokio::time::timeout(DEADLINE, client.export(request)).await;
        answer.map_err(|_| tonic::Status::deadline_exceeded("no answer"))?.map(tonic::Response::into_inner)
    })
}

/// Calls a method over gRPC with a message that is sent as it is, on a connection of its own. `address` is `host:port`.
///
/// # Errors
/// The status with which the server answered, or `UNAVAILABLE` where it did not.
pub fn grpc_bytes(address: &str, path: &'static str, message: Vec<u8>, compressed: bool) -> Result<Bytes, tonic::Status> {
    grpc_each(address, path, [message], compressed)?.remove(0)
}

/// Calls a method over gRPC with each of these messages, one after the other on one connection, and gives the answer to each.
///
/// # Errors
/// `UNAVAILABLE` where there is no connection.
pub fn grpc_each(
    address: &str,
    path: &'static str,
    messages: impl IntoIterator<Item = Vec<u8>>,
    compressed: bool,
) -> Result<Vec<Result<Bytes, tonic::Status>>, tonic::Status> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
        let mut client = tonic::client::Grpc::new(endpoint.connect().await.map_err(unavailable)?);
        if compressed {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let mut answers = Vec::new();
        for message in messages {
            client.ready().await.map_err(unavailable)?;
            let request = tonic::Request::new(Bytes::from(message));
            let call = client.unary(request, PathAndQuery::from_static(path), AsItIs);
            let answer = match tokio::time::timeout(DEADLINE, call).await {
                Ok(answer) => answer.map(tonic::Response::into_inner),
                Err(_) => Err(tonic::Status::deadline_exceeded("no answer")),
            };
            answers.push(answer);
        }
        Ok(answers)
    })
}

/// Calls a unary method as if it took a stream, with several messages, on a connection of its own. `address` is `host:port`.
///
/// # Errors
/// The status with which the server answered, or `UNAVAILABLE` where it did not.
pub fn grpc_stream(address: &str, path: &'static str, messages: Vec<Vec<u8>>) -> Result<Bytes, tonic::Status> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
        let mut client = tonic::client::Grpc::new(endpoint.connect().await.map_err(unavailable)?);
        client.ready().await.map_err(unavailable)?;
        let messages = tokio_stream::iter(messages.into_iter().map(Bytes::from));
        let call = client.client_streaming(tonic::Request::new(messages), PathAndQuery::from_static(path), AsItIs);
        let answer = tokio::time::timeout(DEADLINE, call).await;
        answer.map_err(|_| tonic::Status::deadline_exceeded("no answer"))?.map(tonic::Response::into_inner)
    })
}

/// Passes messages on as the bytes that they are.
#[derive(Clone, Copy)]
struct AsItIs;

impl Codec for AsItIs {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AsItIs {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for AsItIs {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// One HTTP/1.1 request on a connection of its own, so that none ever meets a connection that the server is about to close.
fn exchange(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Reply> {
    let (authority, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("http://host:port/path");
    let mut head =
        format!("{method} /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("a string takes all");
    }
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    // A server may answer, and close, before it has read all of a body that it will not take.
    let sent = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    match stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => return Err(error),
        _ if answer.is_empty() => return Err(sent.err().unwrap_or(ErrorKind::UnexpectedEof.into())),
        _ => {}
    }
    parse(&answer).ok_or_else(|| ErrorKind::InvalidData.into())
}

/// A whole answer; `None` if it is only a part of one.
fn parse(answer: &[u8]) -> Option<Reply> {
    let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&answer[..head_end]).ok()?.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let mut reply = Reply { status, headers: lines.map(header).collect::<Option<_>>()?, body: Vec::new() };
    let rest = &answer[head_end + 4..];
    reply.body = if reply.header("transfer-encoding") == "chunked" {
        unchunked(rest)?
    } else {
        let length = reply.header("content-length").parse().unwrap_or(rest.len());
        rest.get(..length)?.to_vec()
    };
    Some(reply)
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line_end]).ok()?, 16).ok()?;
        let start = line_end + 2;
        body.extend(rest.get(start..start + length)?);
        rest = rest.get(start + length + 2..)?;
        if length == 0 {
            return Some(body);
        }
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").expect("a string takes all");
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: answers are read whole, plain and in chunks, and one that broke off is no answer. The chunked one is RFC 9112's form.
    #[test]
    fn answers_are_read_whole() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello";
        let reply = parse(plain).unwrap();
        assert_eq!((reply.status, reply.header("x-a"), reply.text().as_str()), (200, "b", "hello"));
        let chunked = b"HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n4\r\nWiki\r\nA\r\npedia in\r\n\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().text(), "Wikipedia in\r\n");
        for cut in [plain.len() - 1, 20] {
            assert!(parse(&plain[..cut]).is_none());
        }
        for cut in [chunked.len() - 5, chunked.len() - 20] {
            assert!(parse(&chunked[..cut]).is_none());
        }
    }
}
