//! Configures an exporter and starts it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Compression, Config, Protocol};
use crate::environment::Environment;
use crate::exporter::Exporter;
use crate::queue::Queue;
use crate::sender;

/// Why an exporter could not be built. The texts repeat no value: an endpoint can hold a password, and a header a token.
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
    /// The endpoint has the wrong form.
    #[error("the OTLP endpoint is invalid: use a URL such as http://127.0.0.1:4317")]
    Endpoint,
    /// The timeout is out of bounds.
    #[error("the OTLP timeout is invalid: use 1 to 300000 milliseconds")]
    Timeout,
    /// The headers have the wrong form.
    #[error(
        "the OTLP headers are invalid: use name=value pairs joined by commas, with values percent-encoded, and no header that frames a \
         message, such as content-length"
    )]
    Headers,
    /// The system gave no thread.
    #[error("the exporter's thread or runtime could not be started")]
    Runtime(#[source] std::io::Error),
    /// A file of certificates or of a key cannot be used.
    #[error(
        "the OTLP certificates cannot be used: set OTEL_EXPORTER_OTLP_CERTIFICATE, and OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE together \
         with OTEL_EXPORTER_OTLP_CLIENT_KEY, to PEM files of at most 1 MiB that the program may read"
    )]
    Certificate,
    /// The system's TLS or HTTP client could not be set up.
    #[error("the OTLP client could not be set up: check the system's TLS certificates")]
    Client,
}

/// Names and values of headers, which may be secret.
#[derive(Clone, Default)]
pub(crate) struct GivenHeaders(pub(crate) Vec<(String, String)>);

impl fmt::Debug for GivenHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Configures an [`Exporter`]. What is not set here is taken from the environment, else from the defaults:
///
/// | here | variable, and its form for traces alone | default |
/// |---|---|---|
/// | | `OTEL_SDK_DISABLED` | `false` |
/// | | `OTEL_TRACES_EXPORTER`: `otlp`, `none` | `otlp` |
/// | [`endpoint`](Self::endpoint) | `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | `http://localhost:4317`, for HTTP `:4318` |
/// | [`protocol`](Self::protocol) | `OTEL_EXPORTER_OTLP_PROTOCOL`, `…_TRACES_PROTOCOL`: `grpc`, `http/protobuf` | `grpc` |
/// | | `OTEL_EXPORTER_OTLP_INSECURE`, `…_TRACES_INSECURE`: no TLS where a gRPC endpoint has no scheme | `false` |
/// | | `OTEL_EXPORTER_OTLP_CERTIFICATE`, `…_TRACES_CERTIFICATE`: a PEM file of trusted roots | the system's |
/// | | `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE` and `…_CLIENT_KEY`, and their forms for traces: PEM files | none |
/// | [`header`](Self::header) | `OTEL_EXPORTER_OTLP_HEADERS`, `…_TRACES_HEADERS` | none |
/// | [`timeout`](Self::timeout) | `OTEL_EXPORTER_OTLP_TIMEOUT`, `…_TRACES_TIMEOUT`, in milliseconds | 10 s |
/// | [`compression`](Self::compression) | `OTEL_EXPORTER_OTLP_COMPRESSION`, `…_TRACES_COMPRESSION`: `gzip`, `none` | `none` |
/// | [`retry_for`](Self::retry_for) | `OTEL_BSP_EXPORT_TIMEOUT`, in milliseconds | 300 s |
/// | | `OTEL_BSP_MAX_QUEUE_SIZE`, in spans, 128 to 65536 | 8192 |
/// | | `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, in spans, at most 2048 | 512 |
/// | | `OTEL_BSP_SCHEDULE_DELAY`, in milliseconds | 500 |
/// | [`service_name`](Self::service_name) | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | `codex-pooler` |
/// | [`service_version`](Self::service_version) | `OTEL_RESOURCE_ATTRIBUTES` | absent |
/// | | `OTEL_RESOURCE_ATTRIBUTES`: the resource attributes of the contract, and no others | |
///
/// OTLP over HTTP goes through the proxy that `HTTP_PROXY` or `HTTPS_PROXY` names, unless `NO_PROXY` excepts the receiver; over gRPC it does not.
///
/// What is set here and is wrong is an error. A variable that is wrong is ignored with a warning, as OpenTelemetry's specification wants it;
/// only a file of certificates that cannot be used is an error, because without it others would be trusted than the ones that were meant.
#[derive(Clone, Default)]
#[must_use = "call `build`"]
pub struct Builder {
    pub(crate) endpoint: Option<String>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) headers: GivenHeaders,
    pub(crate) timeout: Option<Duration>,
    pub(crate) compression: Option<Compression>,
    pub(crate) retry_for: Option<Duration>,
    pub(crate) service_name: Option<String>,
    pub(crate) service_version: Option<String>,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) settlement_hold: Option<Duration>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the endpoint: it can hold a password.
        f.debug_struct("Builder").field("protocol", &self.protocol).field("headers", &self.headers).finish_non_exhaustive()
    }
}

impl Builder {
    /// Base URL of the receiver, such as `http://127.0.0.1:4317`; for HTTP without `/v1/traces`.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Protocol.
    pub const fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Adds a header to every message, as for authentication. It is printed nowhere. One that frames a message, such as `content-length`, is an
    /// error.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.0.push((name.into(), value.into()));
        self
    }

    /// How long the receiver may take for one message; at most 300 s.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How messages are compressed.
    pub const fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// For how long a message that the receiver did not take for now is tried again before it is dropped; by default 300 s.
    pub const fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = Some(time);
        self
    }

    /// `service.name`.
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = Some(name.into());
        self
    }

    /// `service.version`, the pooler's own.
    pub fn service_version(mut self, version: impl Into<String>) -> Self {
        self.service_version = Some(version.into());
        self
    }

    /// How often an open request sends a marker; by default [`contract::limits::HEARTBEAT`].
    pub const fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// How long a row waits for its settlement; by default, and at most, [`contract::limits::SETTLEMENT_HOLD`].
    pub const fn settlement_hold(mut self, time: Duration) -> Self {
        self.settlement_hold = Some(time);
        self
    }

    /// Starts the exporter. Nothing is connected yet: a receiver that is not there is an export that waits, not a pooler that does not start.
    ///
    /// # Errors
    /// [`BuildError`] if the configuration is invalid or the system has no thread to give.
    pub fn build(self) -> Result<Exporter, BuildError> {
        // One that is no Unicode is wrong, and not absent: who named a file of certificates so must not be left with the system's.
        let variables = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let environment = Environment::new(&variables);
        let config = (!environment.disabled()).then(|| Config::resolve(&self, &environment));
        for ignored in environment.ignored() {
            tracing::warn!("{ignored}");
        }
        let Some(config) = config.transpose()? else { return Ok(Exporter::disabled()) };
        let queue = Arc::new(Queue::new(config.bounds, Clock::new(config.heartbeat, config.settlement_hold)));
        sender::start(config, Arc::clone(&queue))?;
        Exporter::start(queue)
    }
}
