//! Logs on standard error, from our own code only: libraries log headers and frames, and those hold credentials.

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// And what may.
    Warn,
    /// And what happened.
    Info,
    /// And what is of use to a developer.
    Debug,
}

/// Installs the logger, and a panic hook that says where a panic happened and never what it said: its text could repeat payload.
pub fn init(level: LogLevel) {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    let ours = ["pooler_otel", "store", "tempo_api", "sanitizer", "codex_pooler_exporter", "bridge"];
    let targets = Targets::new().with_default(LevelFilter::OFF).with_targets(ours.map(|target| (target, level)));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    // A logger that is installed already, in a test, stays.
    let _ = tracing_subscriber::registry().with(format).with(targets).try_init();

    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or("an unknown place".to_owned(), |l| format!("{}:{}", l.file(), l.line()));
        eprintln!("pooler-otel: internal error at {place}; please report this place");
    }));
}
