//! What an exporter is configured with: by its builder, else by the `OTEL_*` variables, else by default.

use std::fmt;
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

/// Name of the sending service where none is given.
const DEFAULT_SERVICE_NAME: &str = "codex-pooler";
/// How long a receiver may take for one message.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that a receiver may be given.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);
/// For how long one message is tried again.
const DEFAULT_RETRY_FOR: Duration = Duration::from_secs(300);
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
    /// Adds a header, or takes the place of the one with this name.
    fn set(&mut self, name: &str, value: &str) -> Result<(), BuildError> {
        let name: HeaderName = name.parse().map_err(|_| BuildError::Headers)?;
        let mut value: HeaderValue = value.parse().map_err(|_| BuildError::Headers)?;
        // Nor do the libraries that it goes through print it.
        value.set_sensitive(true);
        self.0.insert(name, value);
        Ok(())
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
    pub(crate) resource: Resource,
    pub(crate) retry_for: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) settlement_hold: Duration,
}

/// Looks a variable up. An empty one counts as not set.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whether the environment switches everything off.
pub(crate) fn disabled(variables: Variables<'_>) -> bool {
    variables("OTEL_SDK_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

impl Config {
    /// What the builder says, else what the variables say, else the default.
    pub(crate) fn resolve(builder: &Builder, variables: Variables<'_>) -> Result<Self, BuildError> {
        let protocol = match builder.protocol {
            Some(protocol) => protocol,
            None => match of_traces(variables, "PROTOCOL").as_deref() {
                None | Some("grpc") => Protocol::Grpc,
                Some("http/protobuf") => Protocol::HttpProtobuf,
                Some(_) => return Err(BuildError::Protocol),
            },
        };
        let compression = match builder.compression {
            Some(compression) => compression,
            None => match of_traces(variables, "COMPRESSION").as_deref() {
                None | Some("none") => Compression::None,
                Some("gzip") => Compression::Gzip,
                Some(_) => return Err(BuildError::Compression),
            },
        };
        let timeout = match (builder.timeout, of_traces(variables, "TIMEOUT")) {
            (Some(timeout), _) => timeout,
            (None, Some(milliseconds)) => Duration::from_millis(milliseconds.trim().parse().map_err(|_| BuildError::Timeout)?),
            (None, None) => DEFAULT_TIMEOUT,
        };
        if timeout.is_zero() || timeout > MAX_TIMEOUT {
            return Err(BuildError::Timeout);
        }
        let mut headers = Headers::default();
        for (name, value) in pairs(&of_traces(variables, "HEADERS").unwrap_or_default()).ok_or(BuildError::Headers)? {
            headers.set(&name, &value)?;
        }
        for (name, value) in &builder.headers.0 {
            headers.set(name, value)?;
        }
        let heartbeat = builder.heartbeat.unwrap_or(limits::HEARTBEAT);
        if !(MIN_HEARTBEAT..limits::HEARTBEAT_LOST_AFTER).contains(&heartbeat) {
            return Err(BuildError::Heartbeat);
        }
        Ok(Self {
            protocol,
            url: url(builder.endpoint.as_deref(), protocol, variables)?,
            headers,
            timeout,
            compression,
            resource: resource(builder, variables)?,
            retry_for: builder.retry_for.unwrap_or(DEFAULT_RETRY_FOR),
            heartbeat,
            settlement_hold: builder.settlement_hold.unwrap_or(limits::SETTLEMENT_HOLD).min(limits::SETTLEMENT_HOLD),
        })
    }
}

/// A variable's form for traces, else its general form.
fn of_traces(variables: Variables<'_>, name: &str) -> Option<String> {
    variables(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}")).or_else(|| variables(&format!("OTEL_EXPORTER_OTLP_{name}")))
}

/// Over HTTP, an endpoint is a base to which the path of the signal is added, unless it is given for traces alone.
fn url(endpoint: Option<&str>, protocol: Protocol, variables: Variables<'_>) -> Result<Url, BuildError> {
    let for_traces = || variables("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(|url| (url, true));
    let general = || variables("OTEL_EXPORTER_OTLP_ENDPOINT").map(|url| (url, false));
    let given = endpoint.map(|url| (url.to_owned(), false)).or_else(for_traces).or_else(general);
    let port = match protocol {
        Protocol::Grpc => limits::OTLP_GRPC_PORT,
        Protocol::HttpProtobuf => limits::OTLP_HTTP_PORT,
    };
    let (text, complete) = given.unwrap_or_else(|| (format!("http://localhost:{port}"), false));
    let mut url = Url::parse(text.trim()).map_err(|_| BuildError::Endpoint)?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err(BuildError::Endpoint);
    }
    if protocol == Protocol::HttpProtobuf && !complete {
        let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(url)
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
fn resource(builder: &Builder, variables: Variables<'_>) -> Result<Resource, BuildError> {
    let mut given = pairs(&variables("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default()).unwrap_or_default();
    // What this program itself says, or is, comes after, and wins.
    given.retain(|(key, _)| !key.starts_with("telemetry."));
    let name = builder.service_name.clone().or_else(|| variables("OTEL_SERVICE_NAME"));
    if let Some(name) = name {
        allowed(attr::SERVICE_NAME, &name).ok_or(BuildError::ServiceName)?;
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
