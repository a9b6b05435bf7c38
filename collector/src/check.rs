//! `pooler-otel check`: is the configuration valid, and what is in force? Prints no secret.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::cli::{CheckArgs, ReportFormat};
use crate::config::{self, Setting};

/// Validates what `serve` would be given, and prints what is in force.
///
/// # Errors
/// The first thing that `serve` would refuse.
pub fn run(args: &CheckArgs, settings: &[Setting]) -> anyhow::Result<()> {
    let text = if args.print_default_config {
        config::DEFAULT_FILE.to_owned()
    } else {
        config::serve::config(&args.serve, settings)?;
        match args.format {
            ReportFormat::Text => as_text(settings),
            ReportFormat::Json => format!("{:#}\n", as_json(settings)),
        }
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn as_text(settings: &[Setting]) -> String {
    let width = settings.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
    let mut text = "the configuration is valid\n\n".to_owned();
    for setting in settings {
        let value = setting.shown().unwrap_or_else(|| contract::DASH.to_owned());
        text += &format!("{:width$}  {value}  ({})\n", setting.key, setting.origin);
    }
    text
}

fn as_json(settings: &[Setting]) -> Value {
    let options = settings.iter().map(|setting| {
        let place = setting.origin.to_string();
        (setting.key.clone(), json!({"value": setting.shown(), "origin": setting.origin.kind(), "place": place}))
    });
    json!({"valid": true, "options": options.collect::<serde_json::Map<_, _>>()})
}
