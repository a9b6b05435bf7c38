//! Every query of every dashboard, variable and rule, executed against the real binary and a real Prometheus, and held against the traffic. A
//! Tempo cannot be installed by a package manager: the suite asks one that runs already, where [`TEMPO`] and [`TEMPO_OTLP`] name it.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::{PROMETHEUS, binary, debian, succeed};

/// Variable with the URL of a running Tempo's API.
const TEMPO: &str = "INTEROP_TEMPO";
/// Variable with the URL of its OTLP/HTTP receiver.
const TEMPO_OTLP: &str = "INTEROP_TEMPO_OTLP";

/// Runs all of it.
pub fn run(root: &Path) -> Result<()> {
    let prometheus = debian(root, PROMETHEUS, "prometheus")?;
    let mut command = Command::new("python3");
    command.arg(root.join("tests/interop/queries/run.py")).arg(root).arg(binary(root)?).arg(prometheus);
    match (std::env::var_os(TEMPO), std::env::var_os(TEMPO_OTLP)) {
        (Some(api), Some(otlp)) => drop(command.arg("--tempo").arg(api).arg("--tempo-otlp").arg(otlp)),
        (None, None) => println!("no Tempo: set {TEMPO} and {TEMPO_OTLP} to ask a running one, too"),
        _ => bail!("set both {TEMPO} and {TEMPO_OTLP}, or neither"),
    }
    succeed(&mut command, "its output above says which answer is wrong")
}
