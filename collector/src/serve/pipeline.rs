//! The route of a message, on one page: admit, sanitize, store, forward, count. The sender gets its acknowledgement after the store committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use contract::{Branch, DropReason, Protocol, Refusal};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use sanitizer::{Refused, Report, Sanitized};
use store::WriteError;
use tokio::sync::Semaphore;

use super::forward::Forward;
use super::metrics::Metrics;

/// Bytes of messages that are worked on at the same time. A sender beyond that is asked to try again.
const IN_FLIGHT_BYTES: usize = 256 * 1024 * 1024;
/// What one permit stands for, in bytes: permits are counted in 32 bits.
const PERMIT_BYTES: usize = 1024;
/// Messages from this size on are sanitized on a thread of their own, so that they do not hold up others.
const LARGE_BYTES: usize = 64 * 1024;

/// Where messages go after the receivers.
pub struct Pipeline {
    store: store::Store,
    forward: Option<Forward>,
    metrics: Arc<Metrics>,
    in_flight: Semaphore,
    /// Whether the store took the last message that was offered to it.
    store_works: AtomicBool,
}

impl Pipeline {
    /// A pipeline into the store and, optionally, on to another endpoint.
    pub fn new(store: store::Store, forward: Option<Forward>, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            forward,
            metrics,
            in_flight: Semaphore::new(IN_FLIGHT_BYTES / PERMIT_BYTES),
            store_works: AtomicBool::new(true),
        }
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How many spans wait in each branch now.
    pub fn queued(&self) -> [(Branch, u64); 2] {
        let forward = self.forward.as_ref().map_or(0, Forward::queued_spans);
        [(Branch::Store, self.store.queued_spans()), (Branch::Forward, forward)]
    }

    /// Whether a message would be stored, as far as the last one tells. Senders that were refused try again, and so it is found out.
    pub fn is_ready(&self) -> bool {
        self.store_works.load(Ordering::Relaxed)
    }

    /// Takes one message. On `Ok` it is stored for good.
    ///
    /// # Errors
    /// Why it was refused as a whole; it is counted already.
    pub async fn accept(&self, protocol: Protocol, message: Bytes) -> Result<Report, Refusal> {
        let result = self.take(protocol, message).await;
        if let Err(refusal) = result {
            self.metrics.refused(refusal);
        }
        result
    }

    async fn take(&self, protocol: Protocol, message: Bytes) -> Result<Report, Refusal> {
        let permits = u32::try_from(message.len() / PERMIT_BYTES + 1).map_err(|_| Refusal::TooLarge)?;
        let _permit = self.in_flight.try_acquire_many(permits).map_err(|_| Refusal::Overloaded)?;

        let sanitized = sanitize(protocol, message).await.map_err(|_| Refusal::Malformed)?;
        let spans = sanitized.report().accepted_spans;
        if spans > 0 {
            self.metrics.branch_accepted(Branch::Store, spans);
            let written = self.store.write(sanitized.clone()).await;
            self.store_works.store(matches!(written, Ok(()) | Err(WriteError::Full)), Ordering::Relaxed);
            if let Err(error) = written {
                let (reason, refusal) = match error {
                    WriteError::Full => (DropReason::QueueFull, Refusal::Overloaded),
                    WriteError::Closed => (DropReason::Shutdown, Refusal::Unavailable),
                    WriteError::Failed(_) => (DropReason::Rejected, Refusal::Unavailable),
                };
                self.metrics.branch_dropped(Branch::Store, reason, spans);
                return Err(refusal);
            }
            self.metrics.branch_delivered(Branch::Store, spans);
            if let Some(forward) = &self.forward {
                forward.enqueue(&sanitized);
            }
        }
        self.metrics.parsed(&sanitized);
        Ok(sanitized.report().clone())
    }
}

async fn sanitize(protocol: Protocol, message: Bytes) -> Result<Sanitized, Refused> {
    let large = message.len() >= LARGE_BYTES;
    let run = move || match protocol {
        Protocol::HttpJson => sanitizer::json(&message),
        Protocol::Grpc | Protocol::HttpProtobuf => sanitizer::protobuf(&message),
    };
    if large { tokio::task::spawn_blocking(run).await.unwrap_or(Err(Refused::Protobuf)) } else { run() }
}

/// OTLP's answer to a message that was taken: nothing, or how many spans were dropped from it.
pub fn export_response(report: &Report) -> ExportTraceServiceResponse {
    let dropped = report.dropped_total();
    let partial_success = (dropped > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: i64::try_from(dropped).unwrap_or(i64::MAX),
        error_message: report
            .dropped_spans
            .iter()
            .map(|(reason, spans)| format!("{spans} spans dropped: {reason}"))
            .collect::<Vec<_>>()
            .join(", "),
    });
    ExportTraceServiceResponse { partial_success }
}

/// What a sender is told about a refused message. Constant text: it never repeats what was sent.
pub const fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TooLarge => "the message is larger than the limit of 64 MiB; send smaller batches",
        Refusal::Malformed => "the message is not a valid OTLP trace export request",
        Refusal::Unsupported => "send application/x-protobuf or application/json, plain or with content-encoding gzip",
        Refusal::Overloaded => "too much is in flight; try again",
        Refusal::Unavailable => "the store cannot take the message now; try again",
    }
}
