//! The examples of the documentation, for an application that has this crate in its `Cargo.toml` and none of those that come with it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// What an application has without naming it, and an example that imports it does not compile there.
const COMES_WITH_IT: [&str; 2] = ["use contract::", "use uuid::"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Guarantees: no example imports what only this crate's own `Cargo.toml` names. The compiler, which runs them with that, does not see it.
#[test]
fn examples_compile_elsewhere() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut examples = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let documented = text.lines().filter_map(|line| {
            let line = line.trim_start();
            line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(|line| line.trim_start().trim_start_matches("# "))
        });
        for line in documented {
            examples += usize::from(line.starts_with("use codex_pooler_exporter::"));
            assert!(COMES_WITH_IT.iter().all(|import| !line.starts_with(import)), "{}: {line}", file.display());
        }
    }
    assert!(examples > 5, "there are examples");
}
