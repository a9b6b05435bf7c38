//! `cargo xtask interop`: suites that run against programs of others. Each installs what it needs below `target/interop`, without touching
//! the system, and fails, never skips, where that is not possible.

mod grafana;
mod opentelemetry;
mod queries;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;
use crate::structure::Metadata;

/// A suite's name, and what it runs.
type Suite = (&'static str, fn(&Path) -> Result<()>);

const SUITES: &[Suite] = &[
    ("rules", rules),
    ("grafana", grafana::run),
    ("queries", queries::run),
    ("opentelemetry", opentelemetry::run),
    ("python", python),
];

/// How often a download is tried, and how long it waits before it is tried again.
const DOWNLOAD_TRIES: u32 = 3;
const DOWNLOAD_PAUSE: Duration = Duration::from_secs(5);

/// Debian's package of Prometheus.
const PROMETHEUS: &str = "prometheus";

/// Runs the named suites, or all.
pub fn run(root: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let known: Vec<&str> = SUITES.iter().map(|suite| suite.0).collect();
        ensure!(known.contains(name), "unknown suite {name:?}; there are: {}", known.join(", "));
    }
    for (name, suite) in SUITES.iter().filter(|suite| names.is_empty() || names.contains(&suite.0)) {
        println!("interop {name}");
        let start = Instant::now();
        suite(root).with_context(|| format!("interop {name} FAILED"))?;
        println!("interop {name} ok {:.1} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Prometheus's own tools read the configuration, the rules and Alertmanager's files, and run the rules' tests.
fn rules(root: &Path) -> Result<()> {
    let promtool = debian(root, PROMETHEUS, "promtool")?;
    let run = |arguments: &[&str]| {
        succeed(Command::new(&promtool).args(arguments).current_dir(root), "fix the file that promtool names")
    };
    run(&["check", "rules", "dashboards/rules/codex-pooler-rules.yaml"])?;
    run(&["check", "config", "collector-config/prometheus.yml"])?;
    // Its paths are those of a container.
    run(&["check", "config", "--syntax-only", "collector-config/compose/prometheus.yml"])?;
    alertmanager(root)?;
    let mut tests = Vec::new();
    for entry in std::fs::read_dir(root.join("dashboards/rules/tests")).context("cannot list dashboards/rules/tests")? {
        tests.push(entry?.path());
    }
    ensure!(!tests.is_empty(), "dashboards/rules/tests holds no test");
    succeed(Command::new(&promtool).args(["test", "rules"]).args(tests).current_dir(root), "the rules or their tests are wrong")
}

/// Alertmanager's own tool reads its files, and says who hears of what. Debian's Alertmanager itself starts only where it is installed.
fn alertmanager(root: &Path) -> Result<()> {
    const CONFIG: &str = "collector-config/alertmanager/alertmanager.yml";
    let program = debian(root, "prometheus-alertmanager", "amtool")?;
    let amtool = |arguments: &[&str], advice: &str| succeed(Command::new(&program).args(arguments).current_dir(root), advice);
    amtool(&["check-config", CONFIG], "fix the file that amtool names")?;
    for (severity, receiver) in [("critical", "on-call"), ("warning", "team"), ("info", "nobody")] {
        let alert = format!("severity={severity}");
        let verify = format!("--verify.receivers={receiver}");
        amtool(&["config", "routes", "test", "--config.file", CONFIG, &verify, &alert], "an alert goes to the wrong receiver")?;
    }
    let message = r#"{{ template "codex-pooler.title" . }} {{ template "codex-pooler.text" . }}"#;
    let arguments = ["template", "render", "--template.glob=collector-config/alertmanager/*.tmpl", "--template.text", message];
    amtool(&arguments, "the template cannot be rendered")
}

/// A program of one of Debian's packages, unpacked, not installed.
fn debian(root: &Path, package: &str, program: &str) -> Result<PathBuf> {
    let interop = folder(root)?;
    let (place, path) = (interop.join(package), Path::new("usr/bin").join(program));
    if place.join(&path).is_file() {
        return Ok(place.join(path));
    }
    // Unpacked beside its place, so that a package that was left half made is made again.
    let making = interop.join(format!("{package}.new"));
    let fetch = || {
        // What an earlier try left must not be taken for the package.
        emptied(&making)?;
        // The default sandbox user may not write below target.
        let mut command = Command::new("apt-get");
        command.args(["-o", "APT::Sandbox::User=root", "--quiet", "download", package]).current_dir(&making);
        succeed(&mut command, "apt-get download has to work on this machine")
    };
    if fetch().is_err() {
        // No package lists yet, or old ones.
        download(Command::new("apt-get").args(["--quiet", "update"]), "apt-get update has to work on this machine")?;
        fetch()?;
    }
    let archive = std::fs::read_dir(&making)?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .context("apt-get downloaded no package")?;
    succeed(Command::new("dpkg-deb").arg("-x").arg(archive).arg(&making), "dpkg-deb has to work on this machine")?;
    ensure!(making.join(&path).is_file(), "Debian's package {package} has no {} any more", path.display());
    emptied(&place)?;
    std::fs::rename(&making, &place).with_context(|| format!("cannot make target/interop/{package}"))?;
    Ok(place.join(path))
}

fn emptied(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).context("cannot empty a folder below target/interop")?;
    }
    std::fs::create_dir_all(folder).context("cannot create a folder below target/interop")
}

/// OpenTelemetry's SDK for Python and curl send to the real binary.
fn python(root: &Path) -> Result<()> {
    let suite = root.join("tests/interop/python");
    let interpreter = venv(root, "venv", &suite.join("requirements.txt"))?;
    let binary = binary(root)?;
    succeed(Command::new(interpreter).arg(suite.join("run.py")).arg(binary), "its output above says what failed")
}

/// The binary pooler-otel, built.
fn binary(root: &Path) -> Result<PathBuf> {
    succeed(&mut cargo(root, &["build", "--quiet", "--bin", "pooler-otel"]), "the binary pooler-otel has to build")?;
    Ok(Metadata::of_workspace(root)?.target_directory.join("debug/pooler-otel"))
}

/// The Python of a virtual environment of this name with exactly these requirements.
fn venv(root: &Path, name: &str, requirements: &Path) -> Result<PathBuf> {
    let folder = folder(root)?.join(name);
    let wanted = std::fs::read_to_string(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let interpreter = folder.join("bin/python");
    // Written last, so that an environment that was left half made is made again.
    let stamp = folder.join("requirements.txt");
    if std::fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
        succeed(
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder),
            "python3 with its module venv has to be installed (Debian: python3-venv)",
        )?;
        let mut pip = Command::new(&interpreter);
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "-r"]).arg(requirements);
        download(&mut pip, "pip has to reach a package index")?;
        std::fs::write(stamp, wanted).context("cannot write below target/interop")?;
    }
    Ok(interpreter)
}

fn folder(root: &Path) -> Result<PathBuf> {
    let folder = Metadata::of_workspace(root)?.target_directory.join("interop");
    std::fs::create_dir_all(&folder).context("cannot create target/interop")?;
    Ok(folder)
}

/// Runs a command that does nothing but download, again where it fails: an index or a mirror that fails once is not what a suite is about. What
/// has come by then, the tools have kept.
fn download(command: &mut Command, advice: &str) -> Result<()> {
    for _ in 1..DOWNLOAD_TRIES {
        let Err(error) = succeed(command, advice) else { return Ok(()) };
        println!("{error}; it is tried again in {} s", DOWNLOAD_PAUSE.as_secs());
        std::thread::sleep(DOWNLOAD_PAUSE);
    }
    succeed(command, advice)
}

/// Runs a command with its output shown; fails with what it was and what to do.
fn succeed(command: &mut Command, advice: &str) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("cannot start {program}: {advice}"))?;
    if !status.success() {
        bail!("{program} failed ({status}): {advice}");
    }
    Ok(())
}
