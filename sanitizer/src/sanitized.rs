//! The proof type, and the two doors that lead to it.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::{resource::v1::Resource, trace::v1::Span};
use prost::Message as _;

use crate::{Report, reference};

/// A message that holds nothing but what the contract allows. Only this crate can make one:
///
/// ```compile_fail
/// let forged = sanitizer::Sanitized { request: Default::default(), encoded: Default::default(), report: Default::default() };
/// ```
#[derive(Clone, Debug)]
pub struct Sanitized {
    request: ExportTraceServiceRequest,
    encoded: Bytes,
    report: Report,
}

impl Sanitized {
    /// The message as protobuf, ready to be forwarded. Cloning it is cheap.
    #[must_use]
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// What was stripped and dropped on the way.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The spans, each with its resource.
    pub fn spans(&self) -> impl Iterator<Item = (Option<&Resource>, &Span)> {
        self.request
            .resource_spans
            .iter()
            .flat_map(|group| group.scope_spans.iter().flat_map(|scope| &scope.spans).map(|span| (group.resource.as_ref(), span)))
    }
}

/// Why a message was refused. The text is constant: it never repeats what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The bytes are no OTLP trace message in protobuf.
    #[error("the body is not an OTLP trace export request in protobuf")]
    Protobuf,
    /// The text is no OTLP trace message in JSON.
    #[error("the body is not an OTLP trace export request in JSON")]
    Json,
}

/// Sanitizes an `ExportTraceServiceRequest` in protobuf.
///
/// # Errors
/// [`Refused::Protobuf`] if any part of it cannot be parsed; nothing of such a message goes on.
pub fn protobuf(message: &[u8]) -> Result<Sanitized, Refused> {
    let request = ExportTraceServiceRequest::decode(message).map_err(|_| Refused::Protobuf)?;
    Ok(sanitize(request))
}

/// Sanitizes an `ExportTraceServiceRequest` in OTLP's JSON form.
///
/// # Errors
/// [`Refused::Json`] if any part of it cannot be parsed; nothing of such a message goes on.
pub fn json(message: &[u8]) -> Result<Sanitized, Refused> {
    let request: ExportTraceServiceRequest = serde_json::from_slice(message).map_err(|_| Refused::Json)?;
    Ok(sanitize(request))
}

fn sanitize(request: ExportTraceServiceRequest) -> Sanitized {
    let (request, report) = reference::traces(request);
    Sanitized { encoded: request.encode_to_vec().into(), request, report }
}
