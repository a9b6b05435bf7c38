//! The files for an OpenTelemetry Collector, validated and run by a real one: its own modules for Go, with the components that the files name.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::{binary, download, folder, succeed};

/// Runs all of it.
pub fn run(root: &Path) -> Result<()> {
    let suite = root.join("tests/interop/opentelemetry");
    let otelcol = folder(root)?.join("otelcol");
    let go = "Go 1.26 or later has to be installed and to reach a module proxy";
    // Loads what is built; Go itself asks a proxy once only.
    download(Command::new("go").args(["list", "-deps", "."]).current_dir(&suite).stdout(Stdio::null()), go)?;
    let mut build = Command::new("go");
    // Symbols for a debugger are half of what there is to link.
    build.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]).arg(&otelcol).arg(".").current_dir(&suite);
    succeed(&mut build, go)?;
    for side in ["before", "behind"] {
        let file = root.join(format!("collector-config/otel-collector-{side}.yaml"));
        succeed(Command::new(&otelcol).args(["validate", "--config"]).arg(file), "the file is not what the Collector takes")?;
    }
    let mut command = Command::new("python3");
    command.arg(suite.join("run.py")).arg(root).arg(binary(root)?).arg(otelcol);
    succeed(&mut command, "its output above says what did not arrive, or arrived that must not")
}
