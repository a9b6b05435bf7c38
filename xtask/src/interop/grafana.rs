//! The dashboards by the code of Grafana and Prometheus: types, grammars, and the tables from the real binary to the cell. Node comes from
//! the Python package that carries it, so that no machine needs one.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{PROMETHEUS, binary, debian, download, folder, succeed, venv};
use crate::cargo;
use crate::structure::Metadata;

/// Runs all of it.
pub fn run(root: &Path) -> Result<()> {
    let dashboards = root.join("dashboards/grafana");
    promql(root, &dashboards)?;

    let suite = root.join("tests/interop/grafana");
    let python = venv(root, "node", &suite.join("requirements.txt"))?;
    let programs = python.parent().context("Python lies in a folder")?;
    let work = folder(root)?.join("grafana");
    install(&suite, programs, &work)?;

    let node = |script: &str| {
        let mut command = Command::new(programs.join("node"));
        command.arg(work.join(script));
        command
    };
    succeed(node("types.cjs").arg(&dashboards).arg(work.join("checked")), "a dashboard is not what Grafana's types say")?;
    succeed(node("traceql.cjs").arg(&dashboards), "a query is not what Grafana's grammar says")?;
    let binary = binary(root)?;
    let example = ["build", "--quiet", "--package", "codex-pooler-bridge", "--example", "send_rows"];
    succeed(&mut cargo(root, &example), "the bridge's example send_rows has to build")?;
    let send_rows = Metadata::of_workspace(root)?.target_directory.join("debug/examples/send_rows");
    let arguments = [root, &binary, &send_rows, &work.join("tables")];
    succeed(node("run.cjs").args(arguments), "its output above says which cell differs")
}

/// Installs the packages of the lock file, and the scripts beside them, where Node looks for packages.
fn install(suite: &Path, programs: &Path, work: &Path) -> Result<()> {
    std::fs::create_dir_all(work).context("cannot create target/interop/grafana")?;
    let installed = work.join("installed-package-lock.json");
    let lock = std::fs::read_to_string(suite.join("package-lock.json")).context("cannot read package-lock.json")?;
    for entry in std::fs::read_dir(suite).context("cannot list tests/interop/grafana")? {
        let path = entry?.path();
        let name = path.file_name().context("a file has a name")?;
        std::fs::copy(&path, work.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    // Written last, so that an installation that was left half made is made again.
    if std::fs::read_to_string(&installed).ok().as_ref() != Some(&lock) {
        let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--legacy-peer-deps", "--loglevel=error"];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(programs.to_path_buf()).chain(std::env::split_paths(&path)))?;
        let mut npm = Command::new(programs.join("npm"));
        download(npm.args(arguments).env("PATH", path).current_dir(work), "npm has to reach a package registry")?;
        std::fs::write(installed, lock).context("cannot write below target/interop/grafana")?;
    }
    Ok(())
}

/// Prometheus's own parser reads every expression of every dashboard, as a recording rule, with Grafana's variables replaced.
fn promql(root: &Path, dashboards: &Path) -> Result<()> {
    let mut rules = String::from("groups:\n  - name: dashboards\n    rules:\n");
    let mut count = 0;
    for entry in std::fs::read_dir(dashboards).context("cannot list dashboards/grafana")? {
        let dashboard: Value = serde_json::from_slice(&std::fs::read(entry?.path())?).context("a dashboard is not JSON")?;
        let panels = dashboard["panels"].as_array().map_or(&[][..], Vec::as_slice);
        for expr in panels.iter().filter_map(|p| p["targets"].as_array()).flatten().filter_map(|t| t["expr"].as_str()) {
            let expr = expr.replace("$__rate_interval", "5m").replace("$__range", "6h");
            // JSON's texts are YAML's, too. Other variables stand in strings.
            rules += &format!("      - record: dashboard:{count}:expr\n        expr: {}\n", Value::from(expr));
            count += 1;
        }
    }
    ensure!(count > 0, "the dashboards have no PromQL");
    let file = folder(root)?.join("dashboards.yaml");
    std::fs::write(&file, rules).context("cannot write below target/interop")?;
    let mut command = Command::new(debian(root, PROMETHEUS, "promtool")?);
    succeed(command.args(["check", "rules"]).arg(file), "an expression of a dashboard is not PromQL")
}
