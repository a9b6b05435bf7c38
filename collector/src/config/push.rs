//! Where metrics are pushed: what the options say, else what OpenTelemetry's own variables do.

use std::time::Duration;

use clap::ValueEnum as _;
use contract::Signal;
use http::HeaderMap;

use super::serve::url;
use super::{Invalid, Setting, place};
use crate::cli::PushArgs;
use crate::receive::http_path;
use crate::serve::forward::{ForwardCompression, ForwardConfig, ForwardProtocol};
use crate::serve::push::PushConfig;

/// How often metrics are pushed by default, as OpenTelemetry's SDKs do.
const INTERVAL: Duration = Duration::from_secs(60);
/// How often metrics may be pushed.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How long one push may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where to push, if anywhere.
///
/// # Errors
/// An endpoint that is no URL, or a variable that cannot be read.
pub fn push(args: &PushArgs, settings: &[Setting]) -> Result<Option<PushConfig>, Invalid> {
    with(args, settings, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn with(args: &PushArgs, settings: &[Setting], variable: impl Fn(&str) -> Option<String>) -> Result<Option<PushConfig>, Invalid> {
    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
    const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL";
    const MILLISECONDS: &str = "OTEL_METRIC_EXPORT_INTERVAL";
    let (endpoint, place) = match (&args.metrics_otlp_endpoint, variable(ENDPOINT)) {
        (Some(endpoint), _) => (endpoint.clone(), place(settings, "metrics_otlp_endpoint")),
        (None, Some(endpoint)) => (endpoint, ENDPOINT.to_owned()),
        (None, None) => return Ok(None),
    };
    // The standard variable names the whole path; the client appends it.
    let endpoint = endpoint.strip_suffix(http_path(Signal::Metrics)).unwrap_or(&endpoint);
    let endpoint = url(endpoint).map_err(|text| Invalid::new(place, text))?;
    let protocol = match (args.metrics_otlp_protocol, variable(PROTOCOL)) {
        (Some(protocol), _) => protocol,
        (None, None) => ForwardProtocol::Grpc,
        (None, Some(text)) => {
            ForwardProtocol::from_str(&text, false).map_err(|_| Invalid::new(PROTOCOL, "it must be grpc or http/protobuf"))?
        }
    };
    let interval = match (args.metrics_otlp_interval, variable(MILLISECONDS)) {
        (Some(interval), _) => interval,
        (None, None) => INTERVAL,
        (None, Some(text)) => text
            .parse()
            .ok()
            .map(Duration::from_millis)
            .filter(|interval| *interval >= MIN_INTERVAL)
            .ok_or_else(|| Invalid::new(MILLISECONDS, "it must be a number of milliseconds, 1000 at least"))?,
    };
    let destination = ForwardConfig {
        endpoint,
        signals: vec![Signal::Metrics],
        protocol,
        headers: HeaderMap::new(),
        ca_pem: None,
        compression: ForwardCompression::None,
        timeout: TIMEOUT,
    };
    Ok(Some(PushConfig { destination, interval }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: metrics are pushed where the options say, else where OpenTelemetry's variables say, else nowhere; a variable that makes no sense
    /// is named, and its value is not repeated.
    #[test]
    fn standard_variables_are_honoured() {
        let none = PushArgs { metrics_otlp_endpoint: None, metrics_otlp_protocol: None, metrics_otlp_interval: None };
        let standard = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" => Some("http://mimir:9009/otlp/v1/metrics".to_owned()),
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL" => Some("http/protobuf".to_owned()),
            "OTEL_METRIC_EXPORT_INTERVAL" => Some("15000".to_owned()),
            _ => None,
        };
        let read = |args: &PushArgs, variable: &dyn Fn(&str) -> Option<String>| {
            let push = with(args, &[], variable).unwrap()?;
            Some((push.destination.endpoint.to_string(), push.destination.protocol, push.interval.as_secs()))
        };
        assert_eq!(read(&none, &|_| None), None);
        let expected = ("http://mimir:9009/otlp".to_owned(), ForwardProtocol::HttpProtobuf, 15);
        assert_eq!(read(&none, &standard), Some(expected));
        let given = PushArgs {
            metrics_otlp_endpoint: Some("http://127.0.0.1:4317".to_owned()),
            metrics_otlp_protocol: Some(ForwardProtocol::Grpc),
            metrics_otlp_interval: Some(Duration::from_secs(5)),
        };
        assert_eq!(read(&given, &standard), Some(("http://127.0.0.1:4317/".to_owned(), ForwardProtocol::Grpc, 5)));
        let only_endpoint = PushArgs { metrics_otlp_endpoint: given.metrics_otlp_endpoint, ..none.clone() };
        assert_eq!(read(&only_endpoint, &|_| None), Some(("http://127.0.0.1:4317/".to_owned(), ForwardProtocol::Grpc, 60)));
        for (bad, value) in [
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http/json"),
        ] {
            let variables = |name: &str| if name == bad { Some(value.to_owned()) } else { standard(name) };
            let error = with(&none, &[], variables).unwrap_err().to_string();
            assert!(error.starts_with(bad) && !error.contains("json"), "{error}");
        }
    }
}
