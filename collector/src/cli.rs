//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum as _};
use contract::Signal;
use contract::limits::{MAX_ROWS, METRICS_PORT, OTLP_GRPC_PORT, OTLP_HTTP_PORT, PAGE_ROWS, TEMPO_PORT};

use crate::logging::LogLevel;
use crate::serve::Config;
use crate::serve::forward::{ForwardConfig, ForwardProtocol};
use crate::serve::push::PushConfig;

/// Everything listens here unless told otherwise.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long the store keeps a request by default: as long as Tempo keeps a block.
const RETENTION: &str = "14d";
/// How large the store may become by default.
const MAX_STORE_MIB: u64 = 10 * 1024;
/// How often metrics are pushed by default, as OpenTelemetry's SDKs do.
const PUSH_INTERVAL: Duration = Duration::from_secs(60);
/// How often metrics may be pushed.
const MIN_PUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Metadata-only observability for Codex Pooler: collector, request log, demo.
#[derive(Debug, Parser)]
#[command(name = "pooler-otel", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  pooler-otel demo                          see it work, in a temporary folder
  pooler-otel serve                         collect, with the embedded store
  pooler-otel requests --status failed      the request log, failures only
  pooler-otel requests --id 0b5a2f0e        by a row id, correlation id, trace id, or a piece of one")]
pub struct Cli {
    /// How much is logged on standard error.
    #[arg(long, global = true, value_enum, default_value = "info", env = "POOLER_OTEL_LOG_LEVEL", hide_env_values = true)]
    pub log_level: LogLevel,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive OTLP, strip what must not get through, store and forward the rest, serve it to Grafana.
    Serve(ServeArgs),
    /// Print the request log, newest first.
    Requests(RequestsArgs),
    /// Run `serve` in a temporary folder with a simulated pooler, and show what arrives.
    Demo(DemoArgs),
}

/// Where to listen.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the fields are the flags' names")]
pub struct ListenArgs {
    /// Address of OTLP/gRPC; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::new(LOOPBACK, OTLP_GRPC_PORT), env = "POOLER_OTEL_OTLP_GRPC_LISTEN", hide_env_values = true)]
    pub otlp_grpc_listen: SocketAddr,
    /// Address of OTLP/HTTP.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::new(LOOPBACK, OTLP_HTTP_PORT), env = "POOLER_OTEL_OTLP_HTTP_LISTEN", hide_env_values = true)]
    pub otlp_http_listen: SocketAddr,
    /// Address of the Tempo API.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::new(LOOPBACK, TEMPO_PORT), env = "POOLER_OTEL_TEMPO_LISTEN", hide_env_values = true)]
    pub tempo_listen: SocketAddr,
    /// Address of /metrics, /livez and /readyz.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::new(LOOPBACK, METRICS_PORT), env = "POOLER_OTEL_METRICS_LISTEN", hide_env_values = true)]
    pub metrics_listen: SocketAddr,
}

/// Where to forward.
#[derive(Args, Clone, Debug)]
pub struct ForwardArgs {
    /// Send every sanitized message on to this OTLP endpoint, too.
    #[arg(long, value_name = "URL", env = "POOLER_OTEL_FORWARD_ENDPOINT", hide_env_values = true)]
    pub forward_endpoint: Option<String>,
    /// Protocol of that endpoint.
    #[arg(long, value_enum, default_value = "grpc", env = "POOLER_OTEL_FORWARD_PROTOCOL", hide_env_values = true)]
    pub forward_protocol: ForwardProtocol,
}

impl ForwardArgs {
    /// The destination, if there is one.
    pub fn into_config(self) -> Option<ForwardConfig> {
        Some(ForwardConfig { endpoint: self.forward_endpoint?, protocol: self.forward_protocol })
    }
}

/// Where to push metrics.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the fields are the flags' names")]
pub struct PushArgs {
    /// Push the metrics of /metrics to this OTLP endpoint, too [default: `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`].
    #[arg(long, value_name = "URL", env = "POOLER_OTEL_METRICS_OTLP_ENDPOINT", hide_env_values = true)]
    pub metrics_otlp_endpoint: Option<String>,
    /// Protocol of that endpoint [default: `OTEL_EXPORTER_OTLP_METRICS_PROTOCOL`, else grpc].
    #[arg(long, value_enum, env = "POOLER_OTEL_METRICS_OTLP_PROTOCOL", hide_env_values = true)]
    pub metrics_otlp_protocol: Option<ForwardProtocol>,
    /// Time between two pushes, such as 15s [default: `OTEL_METRIC_EXPORT_INTERVAL`, else 60s].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, env = "POOLER_OTEL_METRICS_OTLP_INTERVAL", hide_env_values = true)]
    pub metrics_otlp_interval: Option<Duration>,
}

impl PushArgs {
    /// Where to push, if anywhere: what the flags say, else what OpenTelemetry's own variables do.
    ///
    /// # Errors
    /// A variable that cannot be read.
    pub fn into_config(self) -> anyhow::Result<Option<PushConfig>> {
        self.or_standard(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn or_standard(self, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<PushConfig>> {
        const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
        const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL";
        const INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
        let Some(endpoint) = self.metrics_otlp_endpoint.or_else(|| variable(ENDPOINT)) else { return Ok(None) };
        // The standard variable names the whole path; the client appends it.
        let endpoint = endpoint.strip_suffix(crate::receive::http_path(Signal::Metrics)).unwrap_or(&endpoint).to_owned();
        let protocol = match (self.metrics_otlp_protocol, variable(PROTOCOL)) {
            (Some(protocol), _) => protocol,
            (None, None) => ForwardProtocol::Grpc,
            (None, Some(text)) => ForwardProtocol::from_str(&text, false)
                .ok()
                .with_context(|| format!("{PROTOCOL} must be grpc or http/protobuf"))?,
        };
        let interval = match (self.metrics_otlp_interval, variable(INTERVAL)) {
            (Some(interval), _) => interval,
            (None, None) => PUSH_INTERVAL,
            (None, Some(text)) => text
                .parse()
                .ok()
                .map(Duration::from_millis)
                .filter(|interval| *interval >= MIN_PUSH_INTERVAL)
                .with_context(|| format!("{INTERVAL} must be a number of milliseconds, 1000 at least"))?,
        };
        Ok(Some(PushConfig { destination: ForwardConfig { endpoint, protocol }, interval }))
    }
}

/// `serve`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pooler-otel serve
  pooler-otel serve --data-dir /var/lib/pooler-otel --retention 30d
  pooler-otel serve --forward-endpoint http://127.0.0.1:14317        on to a Tempo or a Collector, too")]
pub struct ServeArgs {
    /// Folder of the embedded store [default: $XDG_DATA_HOME/pooler-otel, or ~/.local/share/pooler-otel].
    #[arg(long, value_name = "FOLDER", env = "POOLER_OTEL_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<PathBuf>,
    /// How long a request is kept, such as 12h or 30d.
    #[arg(long, value_name = "DURATION", default_value = RETENTION, value_parser = parse_duration, env = "POOLER_OTEL_RETENTION", hide_env_values = true)]
    pub retention: Duration,
    /// How large the store may become, in MiB; beyond that the oldest requests go first.
    #[arg(long, value_name = "MIB", default_value_t = MAX_STORE_MIB, value_parser = clap::value_parser!(u64).range(1..), env = "POOLER_OTEL_MAX_STORE_MIB", hide_env_values = true)]
    pub max_store_mib: u64,
    /// Where to listen.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Where to forward.
    #[command(flatten)]
    pub forward: ForwardArgs,
    /// Where to push metrics.
    #[command(flatten)]
    pub push: PushArgs,
}

impl ServeArgs {
    /// What `serve` runs with.
    ///
    /// # Errors
    /// No data folder was given and the user has none.
    pub fn into_config(self) -> anyhow::Result<Config> {
        let data_dir = match self.data_dir {
            Some(folder) => folder,
            None => default_data_dir().context("there is no home folder to keep data in; choose one with --data-dir")?,
        };
        Ok(Config {
            data_dir,
            retention: self.retention,
            max_store_bytes: self.max_store_mib.saturating_mul(1024 * 1024),
            otlp_grpc: self.listen.otlp_grpc_listen,
            otlp_http: self.listen.otlp_http_listen,
            tempo: self.listen.tempo_listen,
            metrics: self.listen.metrics_listen,
            forward: self.forward.into_config(),
            push: self.push.into_config()?,
        })
    }
}

fn default_data_dir() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")))?;
    Some(data.join("pooler-otel"))
}

/// `requests`.
#[derive(Args, Debug)]
#[command(after_help = "A status or a date that is not understood is ignored, with a warning that says what is.

Examples:
  pooler-otel requests
  pooler-otel requests --pool core-agents --status failed,rejected --from 2h
  pooler-otel requests --id 33ecffe2-5175-44bc-86ca-7ca871e58a48 --format json
  pooler-otel requests --url https://tempo.example.com --tenant team-a")]
pub struct RequestsArgs {
    /// Base URL of the Tempo API: the embedded store's, or a real Tempo's.
    #[arg(long, value_name = "URL", default_value_t = format!("http://127.0.0.1:{TEMPO_PORT}"), env = "POOLER_OTEL_URL", hide_env_values = true)]
    pub url: String,
    /// Tenant of a multi-tenant Tempo, sent as `X-Scope-OrgID`.
    #[arg(long, value_name = "TENANT", env = "POOLER_OTEL_TENANT", hide_env_values = true)]
    pub tenant: Option<String>,
    /// Pool, by slug.
    #[arg(long, value_name = "SLUG")]
    pub pool: Option<String>,
    /// Statuses, separated by commas: `in_progress`, `succeeded`, `failed`, `rejected`, `cancelled`.
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub status: Vec<String>,
    /// Upstream account, by label.
    #[arg(long, value_name = "LABEL")]
    pub account: Option<String>,
    /// Model, or a piece of its name.
    #[arg(long, value_name = "TEXT")]
    pub model: Option<String>,
    /// API key, by label or a piece of it.
    #[arg(long, value_name = "TEXT")]
    pub api_key: Option<String>,
    /// Row id, correlation id, trace id, or a piece of one.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Admitted at this date or later: 2026-08-21, 2026-08-21T09:00:00Z, or 6h for six hours ago [default: 7 days ago].
    #[arg(long, value_name = "DATE")]
    pub from: Option<String>,
    /// Admitted at this date or earlier; a date alone means its last moment [default: now].
    #[arg(long, value_name = "DATE")]
    pub to: Option<String>,
    /// How many rows, 200 at most.
    #[arg(long, value_name = "ROWS", default_value_t = PAGE_ROWS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ROWS)))]
    pub limit: u32,
    /// How the rows are printed.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Nine columns, for people.
    Table,
    /// An array of objects, for programs: the columns, and every attribute that can be filtered by or summed.
    Json,
    /// The columns, for spreadsheets.
    Csv,
}

/// `demo`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pooler-otel demo
  pooler-otel demo --rate 20 --seed 7
  pooler-otel demo --for 10s --otlp-grpc-listen 127.0.0.1:0 --otlp-http-listen 127.0.0.1:0 --tempo-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0")]
pub struct DemoArgs {
    /// Live requests a second.
    #[arg(long, value_name = "REQUESTS", default_value_t = 1.0, value_parser = parse_rate)]
    pub rate: f64,
    /// Seed of the simulated traffic: the same seed gives the same requests.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// End by itself after this long, such as 30s [default: when Ctrl-C is pressed].
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Where to listen.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Where to forward.
    #[command(flatten)]
    pub forward: ForwardArgs,
}

/// `90s`, `15m`, `12h`, `30d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let help = || "give a number and a unit, such as 90s, 15m, 12h or 30d".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| help())?;
    let unit_s = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(help()),
    };
    number.checked_mul(unit_s).filter(|s| *s > 0).map(Duration::from_secs).ok_or_else(help)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    /// More than this is a load test, and the demo is none.
    const MAX_RATE: f64 = 1000.0;
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= MAX_RATE => Ok(rate),
        _ => Err(format!("give a number of requests a second above 0, at most {MAX_RATE}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the command line is well-formed: no clash of names, no default that does not parse.
    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    /// Guarantees: metrics are pushed where the flags say, else where OpenTelemetry's variables say, else nowhere; a variable that makes no sense
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
        let push = |endpoint: &str, protocol, seconds| {
            let destination = ForwardConfig { endpoint: endpoint.to_owned(), protocol };
            Some(PushConfig { destination, interval: Duration::from_secs(seconds) })
        };
        assert_eq!(none.clone().or_standard(|_| None).unwrap(), None);
        let expected = push("http://mimir:9009/otlp", ForwardProtocol::HttpProtobuf, 15);
        assert_eq!(none.clone().or_standard(standard).unwrap(), expected);
        let given = PushArgs {
            metrics_otlp_endpoint: Some("http://127.0.0.1:4317".to_owned()),
            metrics_otlp_protocol: Some(ForwardProtocol::Grpc),
            metrics_otlp_interval: Some(Duration::from_secs(5)),
        };
        assert_eq!(given.clone().or_standard(standard).unwrap(), push("http://127.0.0.1:4317", ForwardProtocol::Grpc, 5));
        let only_endpoint = PushArgs { metrics_otlp_endpoint: given.metrics_otlp_endpoint, ..none.clone() };
        assert_eq!(only_endpoint.or_standard(|_| None).unwrap(), push("http://127.0.0.1:4317", ForwardProtocol::Grpc, 60));
        for (bad, value) in [("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"), ("OTEL_METRIC_EXPORT_INTERVAL", "0")] {
            let variables = |name: &str| if name == bad { Some(value.to_owned()) } else { standard(name) };
            let error = none.clone().or_standard(variables).unwrap_err().to_string();
            assert!(error.starts_with(bad) && !error.contains("json"), "{error}");
        }
    }

    /// Guarantees: durations parse by their unit, and nothing else does.
    #[test]
    fn durations() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("14d"), Ok(Duration::from_secs(14 * 86_400)));
        for bad in ["", "5", "s", "0s", "1w", "-1s", "1.5h", "99999999999999999999s", "9999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
