//! The slow and obvious sanitizer. Every message type of OTLP has a function here that takes it apart completely, so that a new field in the
//! protocol does not compile until someone has decided about it, and builds a new one from what the contract allows.

mod common;
mod logs;
pub(crate) mod metrics;
#[cfg(test)]
mod tests;
mod traces;
mod undefined;

use contract::{Place, StripReason};

use crate::times::Times;
use crate::{Policy, Report, weight};

pub(crate) use logs::{LOG_FLAGS, SEVERITIES, is_severity_text, logs};
pub(crate) use metrics::metrics;
pub(crate) use traces::{DEFINED_FLAGS, MAX_LINKS, STATUS_CODES, traces};

/// Sanitizes an export request in protobuf: decodes it, builds a new one, and encodes that.
///
/// # Errors
/// [`Refused::Protobuf`](crate::Refused::Protobuf) if any part of it cannot be parsed.
#[cfg(feature = "reference")]
pub fn protobuf<R: crate::Export>(
    policy: &Policy,
    now: std::time::SystemTime,
    message: &[u8],
) -> Result<(Vec<u8>, Report), crate::Refused> {
    let (request, report) = decoded::<R>(policy, Times::until(now), message)?;
    Ok((request.encode_to_vec(), report))
}

/// The same, decoded.
pub(crate) fn decoded<R: crate::Export>(policy: &Policy, times: Times, message: &[u8]) -> Result<(R, Report), crate::Refused> {
    let request = R::decode(message).map_err(|_| crate::Refused::Protobuf)?;
    let (request, mut report) = request.scrub(policy, times);
    report.strip_undefined(undefined::fields(message, weight::request(R::SIGNAL)));
    Ok((request, report))
}

/// One message at work: by which policy, at what time, and the account that is kept of it.
struct Work<'p> {
    policy: &'p Policy,
    times: Times,
    report: Report,
}

impl<'p> Work<'p> {
    fn new(policy: &'p Policy, times: Times) -> Self {
        Self { policy, times, report: Report::under(policy) }
    }

    fn strip(&mut self, place: Place, reason: StripReason) {
        self.report.strip(place, reason);
    }

    fn strip_many(&mut self, place: Place, reason: StripReason, fields: usize) {
        self.report.strip_many(place, reason, fields);
    }
}
