//! The route of a message, on one page: admit, sanitize, store, forward, count. The sender gets its acknowledgement after the store committed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use contract::generated::metrics;
use contract::{Branch, DropReason, Protocol, Refusal, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use sanitizer::{Export, Refused, Report, Sanitized};
use store::WriteError;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::forward::Forward;
use super::metrics::Metrics;
use super::policy::InForce;
use super::said::Said;
use crate::receive::body::{self, Encoding, Received, Room};
use crate::receive::notices::{Notices, Sender};

/// Bytes of messages that are worked on at the same time, encoded and decoded. A sender beyond that is asked to try again.
const IN_FLIGHT_BYTES: usize = 256 * 1024 * 1024;
/// What one permit stands for, in bytes: permits are counted in 32 bits.
const PERMIT_BYTES: usize = 1024;
/// Messages that are inflated, and wait to be admitted, at the same time, each up to the message limit; further ones wait their turn. No sender
/// can hold a turn: by then their message is here.
const MAX_INFLATING: usize = 4;
/// For how long a store that failed counts as one that does. Senders that were refused try again within a minute and its half.
const FAILURE_COUNTS: Duration = Duration::from_secs(120);
/// Messages from this size on are worked on on a thread of their own, so that they do not hold up others.
const LARGE_BYTES: usize = 64 * 1024;

/// Where messages go after the receivers.
pub struct Pipeline {
    policy: Arc<InForce>,
    store: Option<store::Store>,
    forward: Option<Forward>,
    metrics: Arc<Metrics>,
    in_flight: Semaphore,
    room: Room,
    inflating: Semaphore,
    notices: Notices,
    /// When the store failed, if it did not take the last message that was offered to it.
    store_failed_at: Mutex<Option<Instant>>,
    said: Said,
}

impl Pipeline {
    /// A pipeline into the store and on to another endpoint, each where there is one.
    pub fn new(policy: Arc<InForce>, store: Option<store::Store>, forward: Option<Forward>, metrics: Arc<Metrics>) -> Self {
        Self {
            policy,
            store,
            forward,
            metrics,
            in_flight: Semaphore::new(IN_FLIGHT_BYTES / PERMIT_BYTES),
            room: Room::default(),
            inflating: Semaphore::new(MAX_INFLATING),
            notices: Notices::default(),
            store_failed_at: Mutex::default(),
            said: Said::default(),
        }
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The room in which bodies are read.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Whether a sender is to be told what was stripped from its message.
    pub fn may_tell_stripped(&self, report: &Report, sender: Option<Sender>) -> bool {
        report.faults_total() > 0 && self.notices.may_tell(sender, Instant::now())
    }

    /// How many records wait in each branch now.
    fn queued(&self) -> Vec<(Signal, Branch, u64)> {
        let forward = |signal| self.forward.as_ref().map_or(0, |forward| forward.queued_records(signal));
        let mut queued: Vec<_> = Signal::ALL.iter().map(|signal| (*signal, Branch::Forward, forward(*signal))).collect();
        let stored = self.store.as_ref().map_or(0, store::Store::queued_spans);
        queued.push((Signal::Traces, Branch::Store, stored));
        queued
    }

    /// Every metric as it is now, in OpenMetrics' text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn metrics_text(&self) -> Result<String, std::fmt::Error> {
        for (signal, branch, records) in self.queued() {
            self.metrics.branch_queued(signal, branch, records);
        }
        self.metrics.text()
    }

    /// Counts a message that is refused as a whole, and says so.
    pub fn refuse(&self, refusal: Refusal) {
        self.metrics.refused(refusal);
        if self.said.may_say(refusal.as_str(), Instant::now()) {
            let counted_in = metrics::POOLER_OTEL_REFUSED_MESSAGES_TOTAL.name;
            tracing::warn!(reason = refusal.as_str(), "a message was refused; said once a minute, counted in {counted_in}");
        }
    }

    /// Whether a message would be stored, as far as the last ones tell. A failure is forgotten after [`FAILURE_COUNTS`]: who keeps senders away until
    /// then sends one again, and so it is found out.
    pub fn is_ready(&self) -> bool {
        let failed_at = *self.store_failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        !still_counts(failed_at, Instant::now())
    }

    /// Takes one message. On `Ok` its spans are stored for good; log records and data points go to the destination alone, and without one
    /// are dropped.
    ///
    /// # Errors
    /// Why it was refused as a whole; it is counted already.
    pub async fn accept(
        &self,
        signal: Signal,
        protocol: Protocol,
        encoding: Encoding,
        body: Received<'_>,
    ) -> Result<Report, Refusal> {
        let result = self.take(signal, protocol, encoding, body).await;
        if let Err(refusal) = result {
            self.refuse(refusal);
        }
        result
    }

    async fn take(&self, signal: Signal, protocol: Protocol, encoding: Encoding, body: Received<'_>) -> Result<Report, Refusal> {
        let (message, _permit) = self.admit(signal, protocol, encoding, body).await?;
        let report = match signal {
            Signal::Traces => self.take_traces(&self.sanitize(protocol, message).await?).await?,
            Signal::Logs => self.pass_on(&self.sanitize::<ExportLogsServiceRequest>(protocol, message).await?),
            Signal::Metrics => self.pass_on(&self.sanitize::<ExportMetricsServiceRequest>(protocol, message).await?),
        };
        self.metrics.parsed(signal, &report);
        Ok(report)
    }

    /// The message in a body, once there is room for it: for its own bytes, and about what it takes when it is decoded. One that takes more than there
    /// is room for is let in alone. Until then what it takes is the body's room, and, inflated, a turn.
    async fn admit(
        &self,
        signal: Signal,
        protocol: Protocol,
        encoding: Encoding,
        body: Received<'_>,
    ) -> Result<(Bytes, SemaphorePermit<'_>), Refusal> {
        let (packed, _held) = body.into_parts();
        let (message, _turn) = match encoding {
            Encoding::Identity => (packed, None),
            Encoding::Gzip => {
                // A closed semaphore, which there is none of, would let everyone in.
                let turn = self.inflating.acquire().await.ok();
                // Inflating up to the limit takes long enough to starve other requests on this thread.
                let inflated = tokio::task::spawn_blocking(move || body::inflate(&packed)).await;
                (inflated.unwrap_or(Err(Refusal::Malformed))?, turn)
            }
        };
        let bytes = message.clone();
        let decoded = off_thread(message.len(), move || match protocol {
            Protocol::HttpJson => sanitizer::decoded_json_bytes(signal, &bytes),
            Protocol::Grpc | Protocol::HttpProtobuf => sanitizer::decoded_protobuf_bytes(signal, &bytes),
        });
        let permits = ((message.len() + decoded.await?) / PERMIT_BYTES + 1).min(IN_FLIGHT_BYTES / PERMIT_BYTES);
        let permits = u32::try_from(permits).map_err(|_| Refusal::TooLarge)?;
        let permit = self.in_flight.try_acquire_many(permits).map_err(|_| Refusal::Overloaded)?;
        Ok((message, permit))
    }

    /// By the policy that is in force now, the whole message.
    async fn sanitize<R: Export + 'static>(&self, protocol: Protocol, message: Bytes) -> Result<Sanitized<R>, Refusal> {
        let (policy, now) = (self.policy.now(), SystemTime::now());
        let sanitized = off_thread(message.len(), move || match protocol {
            Protocol::HttpJson => sanitizer::json(&policy, now, &message),
            Protocol::Grpc | Protocol::HttpProtobuf => sanitizer::protobuf_bytes(&policy, now, &message),
        });
        sanitized.await?.map_err(|refused| match refused {
            Refused::TooManyParts | Refused::Unusual => Refusal::TooLarge,
            Refused::Protobuf | Refused::Json => Refusal::Malformed,
        })
    }

    async fn take_traces(&self, message: &Sanitized) -> Result<Report, Refusal> {
        let changes = match &self.store {
            Some(store) if message.report().accepted_records > 0 => Some(self.write(store, message).await?),
            Some(_) | None => None,
        };
        self.metrics.requests(message, changes.as_deref());
        Ok(match (self.destination(Signal::Traces), &self.store) {
            (None, Some(_)) => message.report().clone(),
            (Some(_), _) | (None, None) => self.pass_on(message),
        })
    }

    async fn write(&self, store: &store::Store, message: &Sanitized) -> Result<Vec<store::Change>, Refusal> {
        let spans = message.report().accepted_records;
        self.metrics.branch_accepted(Signal::Traces, Branch::Store, spans);
        let written = store.write(message.clone()).await;
        if let Err(WriteError::Failed(error)) = &written
            && self.said.may_say("store", Instant::now())
        {
            tracing::error!(%error, "the store cannot be written, and messages are refused: check that its folder is there, and its disk has room and works");
        }
        let failed = !matches!(written, Ok(_) | Err(WriteError::Full));
        *self.store_failed_at.lock().unwrap_or_else(PoisonError::into_inner) = failed.then(Instant::now);
        written.inspect(|_| self.metrics.branch_delivered(Signal::Traces, Branch::Store, spans)).map_err(|error| {
            let (reason, refusal) = match error {
                WriteError::Full => (DropReason::QueueFull, Refusal::Overloaded),
                WriteError::Closed => (DropReason::Shutdown, Refusal::Unavailable),
                WriteError::Failed(_) => (DropReason::Rejected, Refusal::Unavailable),
            };
            self.metrics.branch_dropped(Signal::Traces, Branch::Store, reason, spans);
            refusal
        })
    }

    /// Where a signal goes besides the store, if anywhere.
    fn destination(&self, signal: Signal) -> Option<&Forward> {
        self.forward.as_ref().filter(|forward| forward.takes(signal))
    }

    /// Hands a message to the destination; without one, its records are dropped.
    fn pass_on<R: Export>(&self, message: &Sanitized<R>) -> Report {
        let mut report = message.report().clone();
        match self.destination(R::SIGNAL) {
            Some(forward) if report.accepted_records > 0 => forward.enqueue(message),
            Some(_) => {}
            None => report.drop_accepted(DropReason::NoDestination),
        }
        report
    }
}

/// Whether a failure of the store says anything about the next message.
fn still_counts(failed_at: Option<Instant>, now: Instant) -> bool {
    failed_at.is_some_and(|at| now.saturating_duration_since(at) < FAILURE_COUNTS)
}

/// Works on a message; on a large one, on a thread of its own. One that makes the work panic is refused.
async fn off_thread<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    if bytes < LARGE_BYTES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a store that failed does not keep the process from being ready for longer than two minutes, so that a sender tries it again.
    #[test]
    fn a_failure_is_forgotten() {
        let start = Instant::now();
        let counts_after = |seconds| still_counts(Some(start), start + Duration::from_secs(seconds));
        assert!(counts_after(0) && counts_after(119) && !counts_after(120));
        assert!(!still_counts(None, start));
    }
}
