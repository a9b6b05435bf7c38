//! Development tasks. `cargo xtask gen` writes what is generated from the contract's registry; `cargo xtask check` is everything that a change
//! must pass besides the tests; `cargo xtask interop` runs the suites that need foreign programs.

mod generate;
mod registry;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask <gen | check | interop>

  gen      write the files that are generated from contract/registry and from the dashboards crate
  check    formatting, clippy, documentation, generated files, structure
  interop  suites that need foreign programs; installs them below target/interop";

fn main() -> Result<()> {
    let root = root()?;
    match std::env::args().nth(1).as_deref() {
        Some("gen") => generate::write(&root),
        Some(other) => bail!("unknown task {other:?}\n\n{USAGE}"),
        None => bail!("{USAGE}"),
    }
}

/// The workspace's folder.
fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).context("xtask lies in the workspace")
}
