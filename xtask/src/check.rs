//! `cargo xtask check`: everything that a change must pass besides the tests. One line a step, quick ones first; stops at the first failure.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{cargo, generate, licence, structure};

/// A step's name, and what it does: an empty list is a pass, the findings explain a failure.
type Step = (&'static str, fn(&Path) -> Result<Vec<String>>);

const STEPS: &[Step] = &[
    ("formatting", formatting),
    ("generated files", generated),
    ("crate dependencies", structure::arrows),
    ("source files", structure::sources),
    ("lints inherited", structure::lints),
    ("texts", structure::texts),
    ("licences", licence::findings),
    ("clippy", clippy),
    ("documentation", documentation),
];

/// Runs every step.
pub fn run(root: &Path) -> Result<()> {
    for (name, step) in STEPS {
        let start = Instant::now();
        let findings = step(root).with_context(|| format!("{name}: the check itself could not run"))?;
        let verdict = if findings.is_empty() { "ok" } else { "FAILED" };
        println!("{name:<20} {verdict:<8} {:>6.1} s", start.elapsed().as_secs_f64());
        if !findings.is_empty() {
            bail!("{name}:\n  {}", findings.join("\n  "));
        }
    }
    Ok(())
}

fn formatting(root: &Path) -> Result<Vec<String>> {
    output_on_failure(&mut cargo(root, &["fmt", "--all", "--check"]), "run `cargo fmt --all`")
}

fn generated(root: &Path) -> Result<Vec<String>> {
    let differing = generate::differing(root)?;
    Ok(differing.into_keys().map(|path| format!("{path} differs from what is generated: run `cargo xtask gen`")).collect())
}

fn clippy(root: &Path) -> Result<Vec<String>> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    output_on_failure(&mut cargo(root, &arguments), "clippy has findings")
}

fn documentation(root: &Path) -> Result<Vec<String>> {
    let mut command = cargo(root, &["doc", "--workspace", "--no-deps", "--quiet"]);
    output_on_failure(command.env("RUSTDOCFLAGS", "-D warnings"), "the documentation has faults")
}

/// Runs a command; on failure its output and, last, what to do.
fn output_on_failure(command: &mut Command, advice: &str) -> Result<Vec<String>> {
    let output = command.output().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(vec![]);
    }
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).chain([advice.to_owned()]).collect())
}
