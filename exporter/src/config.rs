//! What an exporter is configured with: by its builder, else by the `OTEL_*` variables, else by default.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use contract::{attr, limits};
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{ResourceDetector as _, TelemetryResourceDetector};
use reqwest::Url;
use uuid::Uuid;

use crate::attributes::allowed;
use crate::builder::{BuildError, Builder};
use crate::enforce;
use crate::environment::{Environment, boolean};
use crate::queue::Bounds;

/// Name of the sending service where none is given.
const DEFAULT_SERVICE_NAME: &str = "codex-pooler";
/// How long a receiver may take for one message.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that a receiver may be given.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);
/// For how long one message is tried again.
const DEFAULT_RETRY_FOR: Duration = Duration::from_secs(300);
/// What the environment can say of it.
const MIN_RETRY_FOR: Duration = Duration::from_secs(1);
const MAX_RETRY_FOR: Duration = Duration::from_secs(24 * 3600);
/// What the environment can say of the queue, in spans: room for one row of many attempts at least, and some 250 MB at most.
const MIN_QUEUED: usize = 128;
const MAX_QUEUED: usize = 65_536;
/// Spans in a message at most. A span is some 2 kB, and a gRPC receiver takes messages of 4 MB.
const MAX_BATCH: usize = 2048;
/// What the environment can say of the time for which a span waits for others.
const MAX_LINGER: Duration = Duration::from_secs(60);
/// Bytes of a PEM file at most; the roots of a whole system are some 200 kB.
const MAX_PEM_BYTES: u64 = 1 << 20;
/// What a variable should have said, for its warning.
const ENDPOINT_EXPECTED: &str = "a URL such as http://127.0.0.1:4317";
const HEADERS_EXPECTED: &str =
    "name=value pairs joined by commas, with values percent-encoded, and no header that frames a message, such as content-length";
const PAIRS_EXPECTED: &str = "key=value pairs joined by commas, with values percent-encoded";
const NAME_EXPECTED: &str = "a lower-case letter, then lower-case letters, digits, `_` or `-`, at most 63 characters";
/// Headers that frame a message. Given by anybody but who writes it they are wrong, and every message would be refused.
const FRAMING: [&str; 5] = ["content-encoding", "content-length", "grpc-encoding", "grpc-timeout", "transfer-encoding"];
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

/// How messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// With gzip.
    Gzip,
}

/// Headers of every message. They may hold secrets, so that they print their names only.
#[derive(Clone, Default)]
pub(crate) struct Headers(pub(crate) HeaderMap);

impl Headers {
    fn parse(text: &str) -> Option<Self> {
        let mut headers = Self::default();
        for (name, value) in pairs(text)? {
            headers.set(&name, &value)?;
        }
        Some(headers)
    }

    /// Adds a header, or takes the place of the one with this name; none if it has another form.
    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let name = name.parse().ok().filter(|name: &HeaderName| !FRAMING.contains(&name.as_str()))?;
        let mut value: HeaderValue = value.parse().ok()?;
        // Nor do the libraries that it goes through print it.
        value.set_sensitive(true);
        self.0.insert(name, value);
        Some(())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Everything that is needed to start.
pub(crate) struct Config {
    pub(crate) protocol: Protocol,
    /// With the path, for HTTP. It can hold a password.
    pub(crate) url: Url,
    pub(crate) headers: Headers,
    pub(crate) timeout: Duration,
    pub(crate) compression: Compression,
    pub(crate) tls: Tls,
    pub(crate) resource: Resource,
    pub(crate) retry_for: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) settlement_hold: Duration,
    pub(crate) bounds: Bounds,
}

/// What `https` goes by beyond the system's roots, as PEM. It holds a private key.
#[derive(Default)]
pub(crate) struct Tls {
    /// Trusted in place of the system's roots.
    pub(crate) roots: Option<Vec<u8>>,
    /// The client's certificate and its key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    /// Whose fault it is that TLS cannot be set up.
    pub(crate) const fn error(&self) -> BuildError {
        if self.roots.is_some() || self.identity.is_some() { BuildError::Certificate } else { BuildError::Client }
    }
}

impl Config {
    /// What the builder says, else what the variables say, else the default.
    pub(crate) fn resolve(builder: &Builder, environment: &Environment<'_>) -> Result<Self, BuildError> {
        let protocol = builder.protocol.or_else(|| environment.of_traces("PROTOCOL", "grpc or http/protobuf", protocol));
        let compression = builder.compression.or_else(|| environment.of_traces("COMPRESSION", "gzip or none", compression));
        let timeout = builder.timeout.or_else(|| {
            let valid = |text: &str| milliseconds(text).filter(is_timeout);
            environment.of_traces("TIMEOUT", "1 to 300000, in milliseconds", valid)
        });
        let timeout = Some(timeout.unwrap_or(DEFAULT_TIMEOUT)).filter(is_timeout).ok_or(BuildError::Timeout)?;
        let mut headers = environment.of_traces("HEADERS", HEADERS_EXPECTED, Headers::parse).unwrap_or_default();
        for (name, value) in &builder.headers.0 {
            headers.set(name, value).ok_or(BuildError::Headers)?;
        }
        let heartbeat = builder.heartbeat.unwrap_or(limits::HEARTBEAT);
        if !(MIN_HEARTBEAT..limits::HEARTBEAT_LOST_AFTER).contains(&heartbeat) {
            return Err(BuildError::Heartbeat);
        }
        let retry_for = builder.retry_for.or_else(|| {
            let valid = |text: &str| milliseconds(text).filter(|time| (MIN_RETRY_FOR..=MAX_RETRY_FOR).contains(time));
            environment.value("OTEL_BSP_EXPORT_TIMEOUT", "1000 to 86400000, in milliseconds", valid)
        });
        let protocol = protocol.unwrap_or(Protocol::Grpc);
        Ok(Self {
            protocol,
            url: url(builder.endpoint.as_deref(), protocol, environment)?,
            headers,
            timeout,
            compression: compression.unwrap_or(Compression::None),
            tls: tls(environment)?,
            resource: resource(builder, environment)?,
            retry_for: retry_for.unwrap_or(DEFAULT_RETRY_FOR),
            heartbeat,
            settlement_hold: builder.settlement_hold.unwrap_or(limits::SETTLEMENT_HOLD).min(limits::SETTLEMENT_HOLD),
            bounds: bounds(environment),
        })
    }
}

fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "grpc" => Some(Protocol::Grpc),
        "http/protobuf" => Some(Protocol::HttpProtobuf),
        _ => None,
    }
}

fn compression(text: &str) -> Option<Compression> {
    match text {
        "none" => Some(Compression::None),
        "gzip" => Some(Compression::Gzip),
        _ => None,
    }
}

fn milliseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

fn is_timeout(time: &Duration) -> bool {
    !time.is_zero() && *time <= MAX_TIMEOUT
}

/// The bounds of the queue, by the variables of the SDK's batch processor, whose work it does.
fn bounds(environment: &Environment<'_>) -> Bounds {
    let default = Bounds::default();
    let number = |range: RangeInclusive<usize>| move |text: &str| text.parse().ok().filter(|number| range.contains(number));
    let max_queued = environment.value("OTEL_BSP_MAX_QUEUE_SIZE", "128 to 65536", number(MIN_QUEUED..=MAX_QUEUED));
    let max_queued = max_queued.unwrap_or(default.max_queued);
    let size = "1 to 2048, and no more than the queue's size";
    let max_batch = environment.value("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", size, number(1..=max_queued.min(MAX_BATCH)));
    let delay = |text: &str| milliseconds(text).filter(|time| *time <= MAX_LINGER);
    let linger = environment.value("OTEL_BSP_SCHEDULE_DELAY", "0 to 60000, in milliseconds", delay);
    Bounds {
        max_queued,
        max_batch: max_batch.unwrap_or(default.max_batch.min(max_queued)),
        linger: linger.unwrap_or(default.linger),
    }
}

/// A file that cannot be read is an error, and not a warning: without it, others would be trusted than the ones that were meant.
fn tls(environment: &Environment<'_>) -> Result<Tls, BuildError> {
    let file = |name: &str| -> Result<Option<Vec<u8>>, BuildError> {
        let Some(path) = environment.of_traces(name, "a path", |path| Some(path.to_owned())) else { return Ok(None) };
        let mut pem = Vec::new();
        let file = File::open(path).map_err(|_| BuildError::Certificate)?;
        file.take(MAX_PEM_BYTES + 1).read_to_end(&mut pem).map_err(|_| BuildError::Certificate)?;
        if pem.len() as u64 > MAX_PEM_BYTES { Err(BuildError::Certificate) } else { Ok(Some(pem)) }
    };
    let roots = file("CERTIFICATE")?;
    let identity = match (file("CLIENT_CERTIFICATE")?, file("CLIENT_KEY")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(BuildError::Certificate),
    };
    Ok(Tls { roots, identity })
}

/// Where to send. Over HTTP, an endpoint is a base to which the path of the signal is added, unless it is given for traces alone.
fn url(given: Option<&str>, protocol: Protocol, environment: &Environment<'_>) -> Result<Url, BuildError> {
    let insecure = environment.of_traces("INSECURE", "true or false", boolean).unwrap_or(false);
    let base = |text: &str| {
        let mut url = endpoint(text, protocol, insecure)?;
        if protocol == Protocol::HttpProtobuf {
            let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
            url.set_path(&path);
        }
        Some(url)
    };
    if let Some(text) = given {
        return base(text).ok_or(BuildError::Endpoint);
    }
    let port = match protocol {
        Protocol::Grpc => limits::OTLP_GRPC_PORT,
        Protocol::HttpProtobuf => limits::OTLP_HTTP_PORT,
    };
    let complete = |text: &str| endpoint(text, protocol, insecure);
    environment
        .value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ENDPOINT_EXPECTED, complete)
        .or_else(|| environment.value("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT_EXPECTED, base))
        .or_else(|| base(&format!("http://localhost:{port}")))
        .ok_or(BuildError::Endpoint)
}

/// A URL; for gRPC also a host and a port, with TLS unless that is switched off.
fn endpoint(text: &str, protocol: Protocol, insecure: bool) -> Option<Url> {
    let url = match (text.contains("://"), protocol) {
        (true, _) => Url::parse(text),
        (false, Protocol::Grpc) => Url::parse(&format!("{}://{text}", if insecure { "http" } else { "https" })),
        (false, Protocol::HttpProtobuf) => return None,
    };
    url.ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
}

/// `k=v,k=v`, percent-encoded; none if it has another form.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    text.split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim().to_owned(), percent_decoded(value.trim())?))
        })
        .collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The resource, without what detectors find: names of hosts, processes and paths. Of `OTEL_RESOURCE_ATTRIBUTES`, what the contract does
/// not allow is left out without a word, since the variable is there for every program on the machine.
fn resource(builder: &Builder, environment: &Environment<'_>) -> Result<Resource, BuildError> {
    let mut given = environment.value("OTEL_RESOURCE_ATTRIBUTES", PAIRS_EXPECTED, pairs).unwrap_or_default();
    // What this program itself says, or is, comes after, and wins.
    given.retain(|(key, _)| !key.starts_with("telemetry."));
    if let Some(name) = &builder.service_name {
        allowed(attr::SERVICE_NAME, name).ok_or(BuildError::ServiceName)?;
    }
    let named = |text: &str| allowed(attr::SERVICE_NAME, text).map(str::to_owned);
    let name = builder.service_name.clone().or_else(|| environment.value("OTEL_SERVICE_NAME", NAME_EXPECTED, named));
    if let Some(name) = name {
        given.push((attr::SERVICE_NAME.to_owned(), name));
    }
    if let Some(version) = &builder.service_version {
        allowed(attr::SERVICE_VERSION, version).ok_or(BuildError::ServiceVersion)?;
        given.push((attr::SERVICE_VERSION.to_owned(), version.clone()));
    }
    let valid = |(key, value): &(String, String)| {
        contract::generated::RESOURCE_ATTRIBUTES.contains(&key.as_str()) && allowed(key, value).is_some()
    };
    let defaults = [
        KeyValue::new(attr::SERVICE_NAME, DEFAULT_SERVICE_NAME),
        KeyValue::new(attr::SERVICE_INSTANCE_ID, Uuid::new_v4().to_string()),
    ];
    let given = given.into_iter().filter(valid).map(|(key, value)| KeyValue::new(key, value));
    let sdk = TelemetryResourceDetector.detect();
    let sdk = sdk.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let attributes = defaults.into_iter().chain(given).chain(sdk);
    Ok(enforce::resource(&Resource::builder_empty().with_schema_url(attributes, contract::SCHEMA_URL).build()))
}

#[cfg(test)]
mod tests;
