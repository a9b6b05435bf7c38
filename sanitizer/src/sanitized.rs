//! The proof type, and the two doors that lead to it.

use std::time::SystemTime;

use bytes::Bytes;
use contract::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::{resource::v1::Resource, trace::v1::Span};

use crate::times::Times;
use crate::{Policy, Report, reference, weight};

/// A message of one signal that holds nothing but what the contract allows. Only this crate can make one:
///
/// ```compile_fail
/// let forged: sanitizer::Sanitized =
///     sanitizer::Sanitized { request: Default::default(), encoded: Default::default(), report: Default::default() };
/// ```
#[derive(Clone, Debug)]
pub struct Sanitized<R = ExportTraceServiceRequest> {
    request: R,
    encoded: Bytes,
    report: Report,
}

/// An export request of OTLP. There is one for each signal, and no other can be added outside this crate.
pub trait Export: prost::Message + Default + scrub::Scrub {
    /// The signal.
    const SIGNAL: Signal;
}

impl Export for ExportTraceServiceRequest {
    const SIGNAL: Signal = Signal::Traces;
}

impl Export for ExportLogsServiceRequest {
    const SIGNAL: Signal = Signal::Logs;
}

impl Export for ExportMetricsServiceRequest {
    const SIGNAL: Signal = Signal::Metrics;
}

/// Out of reach for other crates, so that they cannot say of a message that it is sanitized.
mod scrub {
    use super::{
        ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTraceServiceRequest, Policy, Report, Times, reference,
    };

    pub trait Scrub: Sized {
        fn scrub(self, policy: &Policy, times: Times) -> (Self, Report);
    }

    impl Scrub for ExportTraceServiceRequest {
        fn scrub(self, policy: &Policy, times: Times) -> (Self, Report) {
            reference::traces(policy, times, self)
        }
    }

    impl Scrub for ExportLogsServiceRequest {
        fn scrub(self, policy: &Policy, times: Times) -> (Self, Report) {
            reference::logs(policy, times, self)
        }
    }

    impl Scrub for ExportMetricsServiceRequest {
        fn scrub(self, policy: &Policy, times: Times) -> (Self, Report) {
            reference::metrics(policy, times, self)
        }
    }
}

impl<R> Sanitized<R> {
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
}

impl Sanitized {
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
    /// The bytes are no OTLP export request of the signal in protobuf.
    #[error("the body is not an OTLP export request of this signal in protobuf")]
    Protobuf,
    /// The text is no OTLP export request of the signal in JSON.
    #[error("the body is not an OTLP export request of this signal in JSON")]
    Json,
    /// The message has more parts than any SDK sends; decoded, it would take memory out of all proportion.
    #[error("the message has more than two million parts; send smaller batches")]
    TooManyParts,
}

/// Sanitizes an export request in protobuf that arrives `now`, by this policy. The result follows from the three and from nothing else.
///
/// # Errors
/// [`Refused::Protobuf`] if any part of it cannot be parsed, [`Refused::TooManyParts`]; nothing of such a message goes on.
pub fn protobuf<R: Export>(policy: &Policy, now: SystemTime, message: &[u8]) -> Result<Sanitized<R>, Refused> {
    if weight::protobuf_is_too_heavy(message) {
        return Err(Refused::TooManyParts);
    }
    R::decode(message).map(|request| sanitize(policy, now, request)).map_err(|_| Refused::Protobuf)
}

/// Sanitizes an export request in OTLP's JSON form that arrives `now`, by this policy.
///
/// # Errors
/// [`Refused::Json`] if any part of it cannot be parsed, [`Refused::TooManyParts`]; nothing of such a message goes on.
pub fn json<R: Export>(policy: &Policy, now: SystemTime, message: &[u8]) -> Result<Sanitized<R>, Refused> {
    protobuf(policy, now, &crate::json::to_protobuf(R::SIGNAL, message)?).map_err(|refused| match refused {
        Refused::Protobuf => Refused::Json,
        other => other,
    })
}

fn sanitize<R: Export>(policy: &Policy, now: SystemTime, request: R) -> Sanitized<R> {
    let (request, report) = request.scrub(policy, Times::until(now));
    Sanitized { encoded: request.encode_to_vec().into(), request, report }
}
