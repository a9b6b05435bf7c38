//! `cargo xtask proofs`: what shows that the sanitizer lets nothing through and that nothing goes around it. Too long for the tests: a million
//! generated messages, a short run of every fuzzer, and code that must not compile.

mod fuzz;
mod twins;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// Cases of the property tests, over all properties.
const CASES: u32 = 1_000_000;

/// A proof's name, and what it runs.
type Proof = (&'static str, fn(&Path) -> Result<()>);

const PROOFS: &[Proof] = &[("twins", twins::run), ("properties", properties), ("fuzz", fuzz::run)];

/// Runs the named proofs, or all.
pub fn run(root: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let known: Vec<&str> = PROOFS.iter().map(|proof| proof.0).collect();
        ensure!(known.contains(name), "unknown proof {name:?}; there are: {}", known.join(", "));
    }
    for (name, proof) in PROOFS.iter().filter(|proof| names.is_empty() || names.contains(&proof.0)) {
        println!("proof {name}");
        let start = Instant::now();
        proof(root).with_context(|| format!("proof {name} FAILED"))?;
        println!("proof {name} ok {:.1} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// The property tests of the sanitizer in a release build. They print, and hold, how many cases they ran.
fn properties(root: &Path) -> Result<()> {
    let arguments =
        ["test", "--quiet", "--release", "--package", "codex-pooler-sanitizer", "--test", "properties", "--", "--nocapture"];
    let mut command = cargo(root, &arguments);
    if std::env::var_os("POOLER_OTEL_CASES").is_none() {
        command.env("POOLER_OTEL_CASES", CASES.to_string());
    }
    ensure!(
        command.status().context("cannot start cargo")?.success(),
        "the output above has the message that does not hold, made small"
    );
    Ok(())
}
