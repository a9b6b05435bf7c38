//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use contract::Signal;
use contract::limits::{MAX_ROWS, METRICS_PORT, OTLP_GRPC_PORT, OTLP_HTTP_PORT, PAGE_ROWS, TEMPO_PORT};

use crate::logging::LogLevel;
use crate::serve::forward::{ForwardCompression, ForwardProtocol};

/// Everything listens here unless told otherwise.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long the store keeps a request by default: as long as Tempo keeps a block.
const RETENTION: &str = "14d";
/// How large the store may become by default.
const MAX_STORE_MIB: u64 = 10 * 1024;
/// How large the store may be let become, in MiB: 16 TiB.
const LARGEST_STORE_MIB: u64 = 16 * 1024 * 1024;
/// Longest time that an option can be set to, in days: a century.
const LONGEST_DAYS: u64 = 36_500;
/// How long one attempt to forward may take by default.
const FORWARD_TIMEOUT: &str = "10s";

/// Metadata-only observability for Codex Pooler: collector, request log, demo.
#[derive(Debug, Parser)]
#[command(name = "pooler-otel", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  pooler-otel demo                          see it work, in a temporary folder
  pooler-otel serve                         collect, with the embedded store
  pooler-otel check --config pooler-otel.yaml
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
    /// Validate the configuration and the policy, and print what is in force.
    Check(CheckArgs),
    /// Strip one OTLP message: standard input to standard output, with a report on standard error.
    Sanitize(SanitizeArgs),
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
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::new(LOOPBACK, OTLP_GRPC_PORT), value_parser = parse_address, env = "POOLER_OTEL_OTLP_GRPC_LISTEN", hide_env_values = true)]
    pub otlp_grpc_listen: SocketAddr,
    /// Address of OTLP/HTTP.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::new(LOOPBACK, OTLP_HTTP_PORT), value_parser = parse_address, env = "POOLER_OTEL_OTLP_HTTP_LISTEN", hide_env_values = true)]
    pub otlp_http_listen: SocketAddr,
    /// Address of the Tempo API.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::new(LOOPBACK, TEMPO_PORT), value_parser = parse_address, env = "POOLER_OTEL_TEMPO_LISTEN", hide_env_values = true)]
    pub tempo_listen: SocketAddr,
    /// Address of /metrics, /livez and /readyz.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::new(LOOPBACK, METRICS_PORT), value_parser = parse_address, env = "POOLER_OTEL_METRICS_LISTEN", hide_env_values = true)]
    pub metrics_listen: SocketAddr,
}

/// Where to forward.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the fields are the flags' names")]
pub struct ForwardArgs {
    /// Send every sanitized message on to this OTLP endpoint, too.
    #[arg(long, value_name = "URL", env = "POOLER_OTEL_FORWARD_ENDPOINT", hide_env_values = true)]
    pub forward_endpoint: Option<String>,
    /// Signals that are sent there, separated by commas: a Tempo takes traces alone.
    #[arg(long, value_name = "SIGNALS", value_delimiter = ',', default_value = "traces,logs,metrics", value_parser = parse_signal, env = "POOLER_OTEL_FORWARD_SIGNALS", hide_env_values = true)]
    pub forward_signals: Vec<Signal>,
    /// Protocol of that endpoint.
    #[arg(long, value_enum, default_value = "grpc", env = "POOLER_OTEL_FORWARD_PROTOCOL", hide_env_values = true)]
    pub forward_protocol: ForwardProtocol,
    /// Headers for that endpoint, separated by commas, such as 'authorization=Bearer ${env:TOKEN}' or 'x-key=${file:/run/secrets/key}'.
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', env = "POOLER_OTEL_FORWARD_HEADERS", hide_env_values = true)]
    pub forward_headers: Vec<String>,
    /// Trust the certificates in this PEM file, besides the system's.
    #[arg(long, value_name = "FILE", env = "POOLER_OTEL_FORWARD_TLS_CA_FILE", hide_env_values = true)]
    pub forward_tls_ca_file: Option<PathBuf>,
    /// How messages to that endpoint are compressed.
    #[arg(long, value_enum, default_value = "none", env = "POOLER_OTEL_FORWARD_COMPRESSION", hide_env_values = true)]
    pub forward_compression: ForwardCompression,
    /// How long one attempt to send may take, such as 10s.
    #[arg(long, value_name = "DURATION", default_value = FORWARD_TIMEOUT, value_parser = parse_duration, env = "POOLER_OTEL_FORWARD_TIMEOUT", hide_env_values = true)]
    pub forward_timeout: Duration,
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

/// `serve`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "A flag wins over its variable, that over the configuration file, that over the default.
SIGHUP, or a change of its file, loads the policy again.

Examples:
  pooler-otel serve
  pooler-otel serve --config /etc/pooler-otel/pooler-otel.yaml
  pooler-otel serve --data-dir /var/lib/pooler-otel --retention 30d
  pooler-otel serve --forward-endpoint http://127.0.0.1:6317  to an OpenTelemetry Collector
  pooler-otel serve --forward-endpoint http://127.0.0.1:14317 --forward-signals traces  to a Tempo")]
pub struct ServeArgs {
    /// Configuration file; `pooler-otel check --print-default-config` prints one with every option.
    #[arg(long, value_name = "FILE", env = "POOLER_OTEL_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Policy file: adds attributes of your own, and tightens or hides those of the contract [default: the contract alone].
    #[arg(long, value_name = "FILE", env = "POOLER_OTEL_POLICY", hide_env_values = true)]
    pub policy: Option<PathBuf>,
    /// Whether spans are stored; without the store there is no Tempo API, and everything is forwarded only.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, env = "POOLER_OTEL_STORE", hide_env_values = true)]
    pub store: bool,
    /// Folder of the embedded store [default: $XDG_DATA_HOME/pooler-otel, or ~/.local/share/pooler-otel].
    #[arg(long, value_name = "FOLDER", env = "POOLER_OTEL_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<PathBuf>,
    /// How long a request is kept, such as 12h or 30d.
    #[arg(long, value_name = "DURATION", default_value = RETENTION, value_parser = parse_duration, env = "POOLER_OTEL_RETENTION", hide_env_values = true)]
    pub retention: Duration,
    /// How large the store may become, in MiB; beyond that the oldest requests go first.
    #[arg(long, value_name = "MIB", allow_negative_numbers = true, default_value_t = MAX_STORE_MIB, value_parser = parse_store_mib, env = "POOLER_OTEL_MAX_STORE_MIB", hide_env_values = true)]
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

/// `check`.
#[derive(Args, Debug)]
#[command(
    after_help = "Takes every option of serve, reads the same variables and files, and starts nothing. The status is 0 if serve would take it, else 2.

Examples:
  pooler-otel check
  pooler-otel check --config pooler-otel.yaml --policy policy.yaml
  pooler-otel check --print-default-config > pooler-otel.yaml"
)]
pub struct CheckArgs {
    /// What `serve` would be given.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Print the default configuration with every option explained, and end.
    #[arg(long)]
    pub print_default_config: bool,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value = "text")]
    pub format: ReportFormat,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// Lines, for people.
    Text,
    /// One object, for programs.
    Json,
}

/// `sanitize`.
#[derive(Args, Debug)]
#[command(
    after_help = "The status is 0 if there is a message on standard output, stripped or not; 1 with --fail-on-strip if anything was stripped or dropped; 2 if the message was refused, and then standard output is empty. Fields that OTLP does not define, such as those of another signal, count as stripped.

Examples:
  pooler-otel sanitize --signal traces --format json < export.json
  pooler-otel sanitize --signal logs --format protobuf --report json < export.pb > clean.pb
  pooler-otel sanitize --signal traces --format json --fail-on-strip < export.json > /dev/null"
)]
pub struct SanitizeArgs {
    /// Signal of the message: traces, logs or metrics.
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal)]
    pub signal: Signal,
    /// Form of the message.
    #[arg(long, value_enum)]
    pub format: MessageFormat,
    /// Form of the sanitized message [default: that of --format].
    #[arg(long, value_enum)]
    pub output_format: Option<MessageFormat>,
    /// Policy file [default: the contract alone].
    #[arg(long, value_name = "FILE", env = "POOLER_OTEL_POLICY", hide_env_values = true)]
    pub policy: Option<PathBuf>,
    /// End with status 1 if anything was stripped or dropped.
    #[arg(long)]
    pub fail_on_strip: bool,
    /// How the report on standard error is printed.
    #[arg(long, value_enum, default_value = "text")]
    pub report: ReportFormat,
}

/// Form of an OTLP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MessageFormat {
    /// Protobuf.
    Protobuf,
    /// OTLP's JSON.
    Json,
}

fn parse_signal(text: &str) -> Result<Signal, String> {
    Signal::parse(text).ok_or_else(|| format!("give one of {}", Signal::TEXTS.join(", ")))
}

/// `requests`.
#[derive(Args, Debug)]
#[command(
    after_help = "A status or a date that is not understood is ignored, with a warning that says which ones are understood.

Examples:
  pooler-otel requests
  pooler-otel requests --pool core-agents --status failed,rejected --from 2h
  pooler-otel requests --id 33ecffe2-5175-44bc-86ca-7ca871e58a48 --format json
  pooler-otel requests --url https://tempo.example.com --tenant team-a"
)]
pub struct RequestsArgs {
    /// Base URL of the Tempo API: the embedded store's, or a real Tempo's.
    #[arg(long, value_name = "URL", default_value_t = format!("http://127.0.0.1:{TEMPO_PORT}"), env = "POOLER_OTEL_URL", hide_env_values = true)]
    pub url: String,
    /// Tenant of a multi-tenant Tempo, sent as `X-Scope-OrgID`.
    #[arg(long, value_name = "TENANT", env = "POOLER_OTEL_TENANT", hide_env_values = true)]
    pub tenant: Option<String>,
    /// Pool, by its whole slug, which `--format json` shows; its name is in the table.
    #[arg(long, value_name = "SLUG")]
    pub pool: Option<String>,
    /// Statuses, separated by commas: `in_progress`, `succeeded`, `failed`, `rejected`, `cancelled`.
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub status: Vec<String>,
    /// Upstream account, by its whole label.
    #[arg(long, value_name = "LABEL")]
    pub account: Option<String>,
    /// Model, by its name or a piece of it, in any case.
    #[arg(long, value_name = "TEXT")]
    pub model: Option<String>,
    /// API key, by its label or a piece of it, in any case.
    #[arg(long, value_name = "TEXT")]
    pub api_key: Option<String>,
    /// Row id, correlation id, trace id, or a piece of one, in any case.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Admitted at this date or later: 2026-08-21, 2026-08-21T09:00:00Z, or 6h for six hours ago [default: 7 days ago].
    #[arg(long, value_name = "DATE")]
    pub from: Option<String>,
    /// Admitted at this date or earlier, in the forms of --from, so that 1h is an hour ago; a date alone means its last moment [default: now].
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
    let help = || format!("give a number and a unit, such as 90s, 15m, 12h or 30d; above 0, and {LONGEST_DAYS}d at most");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| help())?;
    let unit_s = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(help()),
    };
    let longest_s = LONGEST_DAYS * 24 * 3600;
    number.checked_mul(unit_s).filter(|s| (1..=longest_s).contains(s)).map(Duration::from_secs).ok_or_else(help)
}

fn parse_store_mib(text: &str) -> Result<u64, String> {
    let help = || format!("give a whole number of MiB, between 1 and {LARGEST_STORE_MIB}");
    text.parse().ok().filter(|mib| (1..=LARGEST_STORE_MIB).contains(mib)).ok_or_else(help)
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let help = "give an IP address and a port, such as 127.0.0.1:4317 or [::1]:4317; names such as localhost are not looked up";
    text.parse().map_err(|_| help.to_owned())
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

    /// Guarantees: durations parse by their unit, and nothing else does.
    #[test]
    fn durations() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("14d"), Ok(Duration::from_secs(14 * 86_400)));
        for bad in ["", "5", "s", "0s", "1w", "-1s", "1.5h", "36501d", "99999999999999999999s", "9999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
