//! `pooler-otel check`: is the configuration valid, and what is in force? Prints no secret.

use std::io::Write as _;

use sanitizer::{Policy, Summary};
use serde_json::{Value, json};

use crate::cli::{CheckArgs, ReportFormat};
use crate::config::{self, Setting};
use crate::serve::policy::PolicyFile;

/// Validates what `serve` would be given, and prints what is in force.
///
/// # Errors
/// The first thing that `serve` would refuse.
pub fn run(args: &CheckArgs, settings: &[Setting]) -> anyhow::Result<()> {
    let text = if args.print_default_config {
        config::DEFAULT_FILE.to_owned()
    } else {
        let config = config::serve::config(&args.serve, settings)?;
        let policy = config.policy.as_ref().map_or_else(Policy::contract, PolicyFile::policy);
        let warnings: Vec<String> = config.policy.iter().flat_map(PolicyFile::warnings).collect();
        match args.format {
            ReportFormat::Text => as_text(settings, &policy, &warnings),
            ReportFormat::Json => format!("{:#}\n", as_json(settings, &policy, &warnings)),
        }
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn as_text(settings: &[Setting], policy: &Policy, warnings: &[String]) -> String {
    let width = settings.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
    let mut text = "the configuration is valid\n\n".to_owned();
    for setting in settings {
        let value = setting.shown().unwrap_or_else(|| contract::DASH.to_owned());
        text += &format!("{:width$}  {value}  ({})\n", setting.key, setting.origin);
    }
    let summary = policy.summary();
    text += &format!("\nthe policy in force is {}:", policy.version());
    for (name, count) in counts(&summary) {
        text += &format!(" {name} {count},");
    }
    text.pop();
    text.push('\n');
    for warning in warnings {
        text += &format!("warning: {warning}\n");
    }
    text
}

fn as_json(settings: &[Setting], policy: &Policy, warnings: &[String]) -> Value {
    let options = settings.iter().map(|setting| {
        let place = setting.origin.to_string();
        (setting.key.clone(), json!({"value": setting.shown(), "origin": setting.origin.kind(), "place": place}))
    });
    let mut in_force = serde_json::Map::from_iter([("version".to_owned(), json!(policy.version()))]);
    in_force.extend(counts(&policy.summary()).map(|(name, count)| (name.replace(' ', "_"), json!(count))));
    json!({"valid": true, "options": options.collect::<serde_json::Map<_, _>>(), "policy": in_force, "warnings": warnings})
}

/// What a policy changes, besides the contract.
fn counts(summary: &Summary) -> [(&'static str, usize); 5] {
    [
        ("attributes added", summary.added),
        ("attributes tightened", summary.tightened),
        ("pools hidden", summary.hidden_pools),
        ("accounts hidden", summary.hidden_accounts),
        ("span names added", summary.span_names),
    ]
}
