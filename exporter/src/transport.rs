//! The way out: an OTLP exporter and the small runtime that it needs, on a thread of their own, so that callers need neither.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{ResourceDetector as _, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SpanExporter as _;

use crate::builder::{BuildError, Protocol};
use crate::queue::Queue;

/// How long one message may take, retries included.
pub(crate) const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a message is sent again at most; the timeout can end it earlier.
const MAX_RETRIES: usize = 8;
/// Longest wait between two tries.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(3);

/// Where to send, and as whom.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) endpoint: Option<String>,
    pub(crate) protocol: Protocol,
    pub(crate) resource: Resource,
}

/// Starts the thread that sends what is in the queue, and waits until it can.
pub(crate) fn start(destination: Destination, queue: Arc<Queue>) -> Result<(), BuildError> {
    let (ready, is_ready) = mpsc::sync_channel(1);
    let run = move || {
        // The runtime lives and ends on this thread: dropping one inside another runtime's task would panic.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(BuildError::Runtime(error)))),
        };
        let exporter = {
            let _inside = runtime.enter();
            exporter(&destination)
        };
        match exporter {
            Err(error) => drop(ready.send(Err(error))),
            Ok(exporter) => {
                drop(ready.send(Ok(())));
                queue.drain(|batch| runtime.block_on(exporter.export(batch)).is_ok());
            }
        }
    };
    std::thread::Builder::new().name("codex-pooler-export".to_owned()).spawn(run).map_err(BuildError::Runtime)?;
    is_ready.recv().unwrap_or(Err(BuildError::Endpoint))
}

fn exporter(destination: &Destination) -> Result<SpanExporter, BuildError> {
    // A process has one TLS implementation. An error means that the application has chosen one already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let retries = RetryPolicy::default().with_max_retries(MAX_RETRIES).with_max_delay(MAX_RETRY_DELAY);
    let endpoint = destination.endpoint.as_deref().map(|endpoint| endpoint.trim_end_matches('/'));
    let mut exporter = match destination.protocol {
        Protocol::Grpc => {
            let builder = SpanExporter::builder().with_tonic().with_retry_policy(retries).with_timeout(EXPORT_TIMEOUT);
            match endpoint {
                Some(endpoint) => builder.with_endpoint(endpoint),
                None => builder,
            }
            .build()
        }
        Protocol::HttpProtobuf => {
            let builder = SpanExporter::builder().with_http().with_retry_policy(retries).with_timeout(EXPORT_TIMEOUT);
            let builder = builder.with_protocol(opentelemetry_otlp::Protocol::HttpBinary);
            match endpoint {
                Some(endpoint) => builder.with_endpoint(format!("{endpoint}/v1/traces")),
                None => builder,
            }
            .build()
        }
    }
    // The library's text repeats the endpoint, which can hold a password.
    .map_err(|_| BuildError::Endpoint)?;
    exporter.set_resource(&destination.resource);
    Ok(exporter)
}

/// The resource, without what detectors find: names of hosts, processes and paths.
pub(crate) fn resource(attributes: Vec<KeyValue>) -> Resource {
    let sdk = TelemetryResourceDetector.detect();
    let sdk = sdk.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty().with_schema_url(attributes.into_iter().chain(sdk), contract::SCHEMA_URL).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: an `https` endpoint can be used with both protocols, in an application that has not chosen a TLS implementation.
    #[test]
    fn tls_is_there() {
        for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
            let endpoint = Some("https://127.0.0.1:1".to_owned());
            let destination = Destination { endpoint, protocol, resource: resource(vec![]) };
            assert!(start(destination, Arc::new(Queue::default())).is_ok(), "{protocol:?}");
        }
    }
}
