//! Development tasks. `cargo xtask gen` writes what is generated from the contract's registry; `cargo xtask check` is everything that a change
//! must pass besides the tests; `cargo xtask proofs` runs what shows that the sanitizer holds; `cargo xtask interop` runs the suites that need foreign programs.

mod check;
mod generate;
mod interop;
mod licence;
mod proofs;
mod registry;
mod structure;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask <gen | check | proofs [proof…] | interop [suite…]>

  gen      write the files that are generated from contract/registry and from the dashboards crate
  check    formatting, generated files, structure, licences, clippy, documentation
  proofs   that nothing gets through or around the sanitizer; takes some minutes. Proofs: twins, properties, fuzz
  interop  suites that need foreign programs; installs them below target/interop. Suites: rules, grafana, queries, opentelemetry, python";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One readable text, without the backtrace that `Result` as the answer of main would print.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let root = root()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["gen"] => generate::write(&root),
        ["check"] => check::run(&root),
        ["proofs", ref proofs @ ..] => proofs::run(&root, proofs),
        ["interop", ref suites @ ..] => interop::run(&root, suites),
        _ => bail!("{USAGE}"),
    }
}

/// The workspace's folder.
fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).context("xtask lies in the workspace")
}

/// A command of the cargo that runs this.
fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root);
    command
}
