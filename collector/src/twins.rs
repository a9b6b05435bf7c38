//! Proofs by compilation: raw bytes can be neither stored nor forwarded nor counted. `cargo xtask proofs twins` compiles this file as it is, and
//! once more without the lines that sanitize; then, and only there, every function has to have a wrong type.

#![allow(dead_code, reason = "it is compiled, never called")]

use std::time::SystemTime;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use sanitizer::{Policy, Refused, Sanitized};

use crate::serve::forward::Forward;
use crate::serve::request_metrics::RequestMetrics;

fn sanitized(message: &[u8]) -> Result<Sanitized, Refused> {
    sanitizer::protobuf::<ExportTraceServiceRequest>(&Policy::contract(), SystemTime::now(), message)
}

async fn stored(store: &store::Store, message: Bytes) -> Result<(), Refused> {
    #[cfg(not(raw))]
    let message = sanitized(&message)?;
    drop(store.write(message).await);
    Ok(())
}

fn forwarded(forward: &Forward, message: Bytes) -> Result<(), Refused> {
    #[cfg(not(raw))]
    let message = sanitized(&message)?;
    forward.enqueue(&message);
    Ok(())
}

fn counted(metrics: &RequestMetrics, message: Bytes) -> Result<(), Refused> {
    #[cfg(not(raw))]
    let message = sanitized(&message)?;
    metrics.observe(&message, None, SystemTime::now());
    Ok(())
}
