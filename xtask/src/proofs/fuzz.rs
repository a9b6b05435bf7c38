//! A short run of every fuzzer in `fuzz`: coverage-guided libFuzzer, from the committed seeds, with a fixed seed and a fixed number of runs.
//! It is a smoke test, and finds what is shallow: a stripping that is skipped, a field that may be doubled. `fuzz/README.md` says how to fuzz on.
//!
//! Stable Rust is enough: the instructions that count where a target goes come from a pass of LLVM, which stable flags turn on. What needs
//! nightly Rust are the sanitizers for memory, and without `unsafe` code there is little for them to find.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;
use crate::structure::Metadata;

/// Each target, and its runs: some seconds' worth.
const TARGETS: &[(&str, u32)] =
    &[("wire", 300_000), ("traces", 150_000), ("logs", 200_000), ("metrics", 200_000), ("json", 80_000), ("traceql", 60_000)];
/// A slow machine ends a target's runs after this many seconds.
const MAX_SECONDS: u32 = 60;
/// Fewer runs than this, even then, mean that something is wrong.
const FEWEST_RUNS: u32 = 5_000;
/// A single input that takes longer, in seconds, is a finding; so is one that takes more memory, in MiB.
const MAX_INPUT_SECONDS: u32 = 5;
const MAX_MIB: u32 = 512;
/// Longest input, in bytes.
const MAX_INPUT_BYTES: u32 = 4_096;

/// What makes the compiler count where the code goes, as `cargo fuzz` passes it.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Builds all targets and runs each.
pub fn run(root: &Path) -> Result<()> {
    let folder = Metadata::of_workspace(root)?.target_directory.join("fuzz");
    let host = host(root)?;
    // With a named target the flags are not for build scripts and macros, which could not be linked with them.
    let mut build = cargo(root, &["build", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", &host]);
    build.arg("--target-dir").arg(&folder).env("RUSTFLAGS", COVERAGE);
    ensure!(
        build.status().context("cannot start cargo")?.success(),
        "the fuzz targets have to build; libFuzzer needs a C++ compiler"
    );
    for (target, runs) in TARGETS {
        let executed = fuzz(root, &folder.join(&host).join("release").join(target), target, *runs, &folder)?;
        println!("  {target:<8} {executed:>8} runs");
        ensure!(executed >= FEWEST_RUNS, "{target} only ran {executed} times");
    }
    Ok(())
}

/// How often the target ran.
fn fuzz(root: &Path, binary: &Path, target: &str, runs: u32, folder: &Path) -> Result<u32> {
    let artifacts = emptied(folder.join("artifacts").join(target))?;
    let corpus = emptied(folder.join("corpus").join(target))?;
    let output = Command::new(binary)
        .arg(corpus)
        .arg(root.join("fuzz/seeds").join(target))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-dict={}", root.join("fuzz/otlp.dict").display()))
        .args(["-seed=1".to_owned(), format!("-runs={runs}"), format!("-max_total_time={MAX_SECONDS}")])
        .args([
            format!("-timeout={MAX_INPUT_SECONDS}"),
            format!("-rss_limit_mb={MAX_MIB}"),
            format!("-max_len={MAX_INPUT_BYTES}"),
        ])
        .arg("-print_final_stats=1")
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let last: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let last = &last[last.len().saturating_sub(40)..];
        let (folder, binary) = (artifacts.display(), binary.display());
        bail!("{}\n{target} found an input, now in {folder}; run {binary} with it to see it again", last.join("\n"));
    }
    let executed = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    executed.and_then(|number| number.trim().parse().ok()).context("libFuzzer printed no number of runs")
}

fn emptied(folder: PathBuf) -> Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("cannot empty a folder below target/fuzz")?;
    }
    std::fs::create_dir_all(&folder).context("cannot create a folder below target/fuzz")?;
    Ok(folder)
}

/// The name of this machine's platform.
fn host(root: &Path) -> Result<String> {
    let output = Command::new("rustc").arg("-vV").current_dir(root).output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc -vV names no host")
}
