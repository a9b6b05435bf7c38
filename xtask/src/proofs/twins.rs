//! Compiles `collector/src/twins.rs` twice: as it is, and with the raw bytes instead of the sanitized message. The first has to compile, and of
//! the second every function has to fail, for the right reason.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::cargo;

const FILE: &str = "collector/src/twins.rs";
/// The type of an argument is another one.
const MISMATCHED_TYPES: &str = "E0308";
/// The calls that must not take raw bytes.
const CALLS: &[&str] = &["store.write(", "forward.enqueue(", "metrics.observe("];

#[derive(Deserialize)]
struct Message {
    reason: String,
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    code: Option<Code>,
    message: String,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    is_primary: bool,
    text: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    text: String,
}

/// Compiles both.
pub fn run(root: &Path) -> Result<()> {
    let errors = compile(root, &[])?;
    ensure!(errors.is_empty(), "with the sanitizing calls it has to compile: {}", errors.join("; "));
    let mut errors = compile(root, &["--cfg", "raw"])?;
    let mut expected: Vec<_> = CALLS.iter().map(|call| format!("{MISMATCHED_TYPES} {FILE} {call}")).collect();
    errors.sort_unstable();
    expected.sort_unstable();
    ensure!(errors == expected, "with raw bytes there have to be these errors, {expected:?}, but there are {errors:?}");
    println!("  {} calls take a sanitized message, and raw bytes of none", CALLS.len());
    Ok(())
}

/// The compiler's errors: code, file, and which of the calls it is about.
fn compile(root: &Path, flags: &[&str]) -> Result<Vec<String>> {
    let arguments = [
        "rustc",
        "--package",
        "codex-pooler-collector",
        "--bin",
        "pooler-otel",
        "--profile",
        "check",
        "--message-format",
        "json",
    ];
    let mut command = cargo(root, &arguments);
    let output = command.args(["--quiet", "--", "--cfg", "twins"]).args(flags).output().context("cannot start cargo")?;
    let mut errors = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Message = serde_json::from_str(line).context("cargo's messages have another format")?;
        let Some(diagnostic) = message.message.filter(|m| message.reason == "compiler-message" && m.level == "error") else {
            continue;
        };
        // The last error sums up the others, and has neither a code nor a place.
        if let Some(code) = diagnostic.code {
            let span = diagnostic.spans.iter().find(|span| span.is_primary).context("an error without a place")?;
            let line = span.text.first().map_or("", |line| line.text.as_str());
            let call = CALLS.iter().find(|call| line.contains(*call)).copied().unwrap_or(line.trim());
            errors.push(format!("{} {} {call}", code.code, span.file_name));
        } else if !diagnostic.spans.is_empty() {
            errors.push(diagnostic.message);
        }
    }
    ensure!(output.status.success() == errors.is_empty(), "cargo failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(errors)
}
