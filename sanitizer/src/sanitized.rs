//! The proof type, and the two doors that lead to it.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use contract::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::{resource::v1::Resource, trace::v1::Span};

use crate::fast::{self, Fast};
use crate::times::Times;
use crate::{Policy, Report, reference, weight};

/// A message of one signal that holds nothing but what the contract allows. Only this crate can make one:
///
/// ```compile_fail
/// let forged: sanitizer::Sanitized =
///     sanitizer::Sanitized { request: Default::default(), encoded: Default::default(), report: Default::default() };
/// ```
///
/// It holds the message's bytes; decoded it is when someone asks for that, once for all clones.
#[derive(Clone, Debug)]
pub struct Sanitized<R = ExportTraceServiceRequest> {
    request: Arc<OnceLock<R>>,
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
        ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTraceServiceRequest, Fast, Policy, Refused, Report, Times,
        fast, reference,
    };

    pub trait Scrub: Sized {
        /// The way that most messages take.
        fn scrub_bytes(policy: &Policy, times: Times, message: &[u8]) -> Result<Fast, Refused>;

        /// The way of unusual ones.
        fn scrub(self, policy: &Policy, times: Times) -> (Self, Report);
    }

    impl Scrub for ExportTraceServiceRequest {
        fn scrub_bytes(policy: &Policy, times: Times, message: &[u8]) -> Result<Fast, Refused> {
            fast::traces(policy, times, message)
        }

        fn scrub(self, policy: &Policy, times: Times) -> (Self, Report) {
            reference::traces(policy, times, self)
        }
    }

    impl Scrub for ExportLogsServiceRequest {
        fn scrub_bytes(policy: &Policy, times: Times, message: &[u8]) -> Result<Fast, Refused> {
            fast::logs(policy, times, message)
        }

        fn scrub(self, policy: &Policy, times: Times) -> (Self, Report) {
            reference::logs(policy, times, self)
        }
    }

    impl Scrub for ExportMetricsServiceRequest {
        fn scrub_bytes(policy: &Policy, times: Times, message: &[u8]) -> Result<Fast, Refused> {
            fast::metrics(policy, times, message)
        }

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

impl<R: Export> Sanitized<R> {
    /// The message, decoded at the first call.
    #[must_use]
    pub fn request(&self) -> &R {
        // What the sanitizer lets through can be decoded: the reference encoded it, or the fast path, which property tests and fuzzing hold against
        // the decoder, walked all of it.
        self.request.get_or_init(|| R::decode(self.encoded.clone()).unwrap_or_default())
    }
}

impl Sanitized {
    /// The spans, each with its resource.
    pub fn spans(&self) -> impl Iterator<Item = (Option<&Resource>, &Span)> {
        self.request()
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
    /// The message of metrics is encoded in a way that needs a decoder, and longer than is decoded.
    #[error("the message of metrics is encoded as no OpenTelemetry SDK does it, and larger than 4 MiB; send smaller batches")]
    Unusual,
}

/// Sanitizes an export request in protobuf that arrives `now`, by this policy. The result follows from the three and from nothing else. A message
/// in which nothing has to change is not copied.
///
/// # Errors
/// [`Refused::Protobuf`] if any part of it cannot be parsed, [`Refused::TooManyParts`], [`Refused::Unusual`]; nothing of such a message goes
/// on.
pub fn protobuf_bytes<R: Export>(policy: &Policy, now: SystemTime, message: &Bytes) -> Result<Sanitized<R>, Refused> {
    if weight::protobuf_is_too_heavy(R::SIGNAL, message) {
        return Err(Refused::TooManyParts);
    }
    sanitize(policy, now, message)
}

/// The same for bytes that are only lent.
///
/// # Errors
/// The same.
pub fn protobuf<R: Export>(policy: &Policy, now: SystemTime, message: &[u8]) -> Result<Sanitized<R>, Refused> {
    protobuf_bytes(policy, now, &Bytes::copy_from_slice(message))
}

/// Sanitizes an export request in OTLP's JSON form that arrives `now`, by this policy. It is put into protobuf first, and treated as that.
///
/// # Errors
/// [`Refused::Json`] if any part of it cannot be parsed, [`Refused::TooManyParts`], [`Refused::Unusual`]; nothing of such a message goes
/// on.
pub fn json<R: Export>(policy: &Policy, now: SystemTime, message: &[u8]) -> Result<Sanitized<R>, Refused> {
    let (message, undefined) = crate::json::to_protobuf(R::SIGNAL, message)?;
    let mut sanitized = protobuf_bytes(policy, now, &message.into()).map_err(|refused| match refused {
        Refused::Protobuf => Refused::Json,
        other => other,
    })?;
    sanitized.report.strip_undefined(undefined);
    Ok(sanitized)
}

/// By the fast path, or else by the reference.
fn sanitize<R: Export>(policy: &Policy, now: SystemTime, message: &Bytes) -> Result<Sanitized<R>, Refused> {
    let times = Times::until(now);
    let (encoded, report) = match R::scrub_bytes(policy, times, message)? {
        Fast::Clean(report) => (message.clone(), report),
        Fast::Rewritten(output, report) => (output, report),
        Fast::Slow if !weight::may_be_decoded(R::SIGNAL, message) => return Err(Refused::Unusual),
        Fast::Slow => {
            let (request, report) = reference::decoded::<R>(policy, times, message)?;
            return Ok(Sanitized { encoded: request.encode_to_vec().into(), request: Arc::new(request.into()), report });
        }
    };
    Ok(Sanitized { request: Arc::default(), encoded, report })
}
