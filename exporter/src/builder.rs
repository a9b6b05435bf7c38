//! Configures an exporter and starts it.

use std::sync::Arc;
use std::time::Duration;

use contract::attr;
use opentelemetry::KeyValue;
use uuid::Uuid;

use crate::attributes::allowed;
use crate::exporter::Exporter;
use crate::transport::{self, Destination};

/// Name of the sending service where none is given.
const DEFAULT_SERVICE_NAME: &str = "codex-pooler";
/// Shortest heartbeat that is accepted.
const MIN_HEARTBEAT: Duration = Duration::from_millis(100);

/// OTLP's transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    HttpProtobuf,
}

/// Why an exporter could not be built. The texts repeat no value: an endpoint can hold a password.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The service's name has the wrong form.
    #[error(
        "the service name is invalid: use a lower-case letter, then lower-case letters, digits, `_` or `-`, at most 63 characters"
    )]
    ServiceName,
    /// The service's version has the wrong form.
    #[error("the service version is invalid: use one to four numbers joined by dots, at most 32 characters")]
    ServiceVersion,
    /// The interval between heartbeats is out of bounds.
    #[error("the heartbeat is invalid: use at least 100 ms and less than the 60 s after which a request counts as lost")]
    Heartbeat,
    /// The endpoint, or a variable `OTEL_EXPORTER_OTLP_*`, has the wrong form.
    #[error("the OTLP endpoint or an OTEL_EXPORTER_OTLP_* variable is invalid: use a URL such as http://127.0.0.1:4317")]
    Endpoint,
    /// The system gave no thread.
    #[error("the exporter's thread or runtime could not be started")]
    Runtime(#[source] std::io::Error),
}

/// Configures an [`Exporter`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    endpoint: Option<String>,
    protocol: Option<Protocol>,
    service_name: Option<String>,
    service_version: Option<String>,
    heartbeat: Option<Duration>,
}

impl Builder {
    /// Base URL of the receiver, such as `http://127.0.0.1:4317`; for HTTP without `/v1/traces`. By default `OTEL_EXPORTER_OTLP_ENDPOINT`,
    /// or else this machine and the protocol's own port.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Protocol. By default `OTEL_EXPORTER_OTLP_PROTOCOL` (`grpc` or `http/protobuf`), or else gRPC.
    #[must_use]
    pub const fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// `service.name`; by default `codex-pooler`.
    #[must_use]
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = Some(name.into());
        self
    }

    /// `service.version`, the pooler's own; by default absent.
    #[must_use]
    pub fn service_version(mut self, version: impl Into<String>) -> Self {
        self.service_version = Some(version.into());
        self
    }

    /// How often an open request sends a marker; by default [`contract::limits::HEARTBEAT`].
    #[must_use]
    pub const fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// Starts the exporter. Nothing is connected yet: a receiver that is not there is an export that fails, not a pooler that does not start.
    ///
    /// # Errors
    /// [`BuildError`] if the configuration is invalid or the system has no thread to give.
    pub fn build(self) -> Result<Exporter, BuildError> {
        let name = self.service_name.as_deref().unwrap_or(DEFAULT_SERVICE_NAME);
        let name = allowed(attr::SERVICE_NAME, name).ok_or(BuildError::ServiceName)?;
        let mut resource = vec![
            KeyValue::new(attr::SERVICE_NAME, name.to_owned()),
            KeyValue::new(attr::SERVICE_INSTANCE_ID, Uuid::new_v4().to_string()),
        ];
        if let Some(version) = &self.service_version {
            let version = allowed(attr::SERVICE_VERSION, version).ok_or(BuildError::ServiceVersion)?;
            resource.push(KeyValue::new(attr::SERVICE_VERSION, version.to_owned()));
        }
        let heartbeat = self.heartbeat.unwrap_or(contract::limits::HEARTBEAT);
        if !(MIN_HEARTBEAT..contract::limits::HEARTBEAT_LOST_AFTER).contains(&heartbeat) {
            return Err(BuildError::Heartbeat);
        }
        let destination = Destination {
            endpoint: self.endpoint,
            protocol: self.protocol.map_or_else(protocol_from_environment, Ok)?,
            resource: transport::resource(resource),
        };
        let queue = Arc::default();
        transport::start(destination, Arc::clone(&queue))?;
        Exporter::start(queue, heartbeat)
    }
}

fn protocol_from_environment() -> Result<Protocol, BuildError> {
    let variables = [opentelemetry_otlp::OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, opentelemetry_otlp::OTEL_EXPORTER_OTLP_PROTOCOL];
    match variables.into_iter().find_map(|variable| std::env::var(variable).ok()).as_deref() {
        None | Some("" | "grpc") => Ok(Protocol::Grpc),
        Some("http/protobuf") => Ok(Protocol::HttpProtobuf),
        Some(_) => Err(BuildError::Endpoint),
    }
}
