//! Rules about the tree: which crate may depend on which, the form of source files, and texts that have no place in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{cargo, generate};

/// The allowed dependencies between crates of the workspace, without the common prefix of their names.
const ARROWS: &[(&str, &[&str])] = &[
    ("contract", &[]),
    ("wire", &[]),
    ("sanitizer", &["contract", "wire"]),
    ("exporter", &["contract", "sanitizer"]),
    ("bridge", &["contract", "exporter"]),
    ("store", &["contract", "sanitizer"]),
    ("tempo-api", &["contract", "store"]),
    ("collector", &["contract", "sanitizer", "exporter", "bridge", "store", "tempo-api"]),
    ("dashboards", &["contract"]),
    ("testkit", &["contract", "sanitizer"]),
    ("xtask", &["dashboards"]),
];

/// What tests may use besides: the kit, and the sanitizer as the judge of what a crate emits.
const IN_TESTS: &[&str] = &["sanitizer", "testkit"];

/// A longer source file has more than one purpose. Generated files may be longer.
const MAX_LINES: usize = 700;

/// What `cargo metadata` says, as far as it is needed here.
#[derive(Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
    pub target_directory: PathBuf,
}

#[derive(Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub license: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `null` for an ordinary one, else `dev` or `build`.
    kind: Option<String>,
    /// Only crates of the workspace have one.
    path: Option<PathBuf>,
}

impl Metadata {
    /// The workspace's own crates. Needs no network.
    pub fn of_workspace(root: &Path) -> Result<Self> {
        Self::read(root, &["--no-deps", "--offline"])
    }

    /// Every crate of the lock file, for every platform. Fetches those that are not here yet.
    pub fn of_lock_file(root: &Path) -> Result<Self> {
        Self::read(root, &["--locked"])
    }

    fn read(root: &Path, arguments: &[&str]) -> Result<Self> {
        let output =
            cargo(root, &["metadata", "--format-version", "1"]).args(arguments).output().context("cannot start cargo")?;
        ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("cargo metadata has another format")
    }
}

/// Dependencies between crates that [`ARROWS`] does not allow, and crates that it does not know.
pub fn arrows(root: &Path) -> Result<Vec<String>> {
    Ok(arrow_findings(&Metadata::of_workspace(root)?.packages))
}

fn arrow_findings(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let from = short(&package.name);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == from) else {
            findings.push(format!("{from} is not in the list of crates in xtask/src/structure.rs"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            let to = short(&dependency.name);
            let in_tests = dependency.kind.as_deref() == Some("dev") && IN_TESTS.contains(&to);
            if !allowed.contains(&to) && !in_tests {
                findings.push(format!("{from} must not depend on {to}"));
            }
        }
    }
    findings
}

fn short(name: &str) -> &str {
    name.strip_prefix("codex-pooler-").unwrap_or(name)
}

/// Source files without a first line that says what they are for, and those that are too long.
pub fn sources(root: &Path) -> Result<Vec<String>> {
    let generated: BTreeSet<String> = generate::files(root)?.into_keys().collect();
    let mut findings = Vec::new();
    for (path, text) in tree(root)? {
        if Path::new(&path).extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        if !text.starts_with("//! ") {
            findings.push(format!("{path} does not start with `//!` and its purpose"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES && !generated.contains(&path) {
            findings.push(format!("{path} has {lines} lines, more than {MAX_LINES}: split it by purpose"));
        }
    }
    Ok(findings)
}

/// Crates that do not take the workspace's lints.
pub fn lints(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in Metadata::of_workspace(root)?.packages {
        let manifest = std::fs::read_to_string(&package.manifest_path).with_context(|| package.name.clone())?;
        if !manifest.contains("[lints]\nworkspace = true\n") {
            findings.push(format!("{} lacks `[lints] workspace = true`", package.name));
        }
    }
    Ok(findings)
}

/// Marks of unfinished work, and paths of one machine.
pub fn texts(root: &Path) -> Result<Vec<String>> {
    // In two parts each, so that this file is not a finding.
    let unwanted = [("TO", "DO"), ("FIX", "ME"), ("todo", "!("), ("unimplemented", "!("), ("/wo", "rk/"), ("/ro", "ot/")]
        .map(|(start, end)| format!("{start}{end}"));
    let mut findings = Vec::new();
    for (path, text) in tree(root)? {
        for (at, line) in text.lines().enumerate() {
            findings.extend(unwanted.iter().filter(|u| line.contains(*u)).map(|u| format!("{path}:{}: contains {u}", at + 1)));
        }
    }
    Ok(findings)
}

/// Every text file that is committed or could be: path below the workspace, and content.
fn tree(root: &Path) -> Result<Vec<(String, String)>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root).output().context("cannot start git")?;
    ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    let mut files = Vec::new();
    for path in String::from_utf8(output.stdout).context("a path is not UTF-8")?.split_terminator('\0') {
        // A file that was deleted and is still in the index is no concern; neither is one that is not text.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            files.push((path.to_owned(), text));
        }
    }
    ensure!(!files.is_empty(), "git lists no file");
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
                path: Some(PathBuf::new()),
            })
            .collect();
        Package { name: name.to_owned(), version: String::new(), license: None, manifest_path: PathBuf::new(), dependencies }
    }

    /// Guarantees: the crates of the workspace depend on each other as listed, and every crate is listed.
    #[test]
    fn crates_depend_only_as_listed() {
        let metadata = Metadata::of_workspace(&crate::root().expect("a root")).expect("metadata");
        assert_eq!(metadata.packages.len(), ARROWS.len());
        assert_eq!(arrow_findings(&metadata.packages), Vec::<String>::new());
    }

    /// Guarantees: the rule can fail. An arrow the wrong way, the test kit outside tests and an unknown crate are found; the rest is not.
    #[test]
    fn forbidden_arrows_are_found() {
        let packages = [
            package("codex-pooler-exporter", &[("codex-pooler-contract", None), ("codex-pooler-store", None)]),
            package("codex-pooler-bridge", &[("codex-pooler-sanitizer", Some("dev")), ("codex-pooler-sanitizer", None)]),
            package("codex-pooler-collector", &[("codex-pooler-testkit", Some("dev")), ("codex-pooler-store", None)]),
            package("codex-pooler-store", &[("codex-pooler-testkit", None), ("codex-pooler-collector", Some("dev"))]),
            package("codex-pooler-other", &[]),
        ];
        let expected = [
            "exporter must not depend on store",
            "bridge must not depend on sanitizer",
            "store must not depend on testkit",
            "store must not depend on collector",
            "other is not in the list of crates in xtask/src/structure.rs",
        ];
        assert_eq!(arrow_findings(&packages), expected);
    }
}
