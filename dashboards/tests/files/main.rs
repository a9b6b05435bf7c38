//! The files that operators load are held against the contract: dashboard, rules, and the configuration in `collector-config`.

#![expect(clippy::expect_used, clippy::panic, reason = "tests fail by panicking, their helpers too")]

mod boards;
mod collector_config;
mod compose;
mod promql;
mod request_dashboards;
mod rules;

use std::path::{Path, PathBuf};

/// A path below the workspace.
fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").join(path)
}

/// The committed content of a file below the workspace.
fn committed(path: &str) -> String {
    std::fs::read_to_string(workspace(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A committed YAML file as JSON values, which are easier to walk.
fn yaml(path: &str) -> serde_json::Value {
    serde_saphyr::from_str(&committed(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Guarantees: what is committed is what the generator makes, so that a reviewer sees what an operator loads.
#[test]
fn committed_files_are_the_generated_ones() {
    for (path, content) in dashboards::files() {
        assert!(committed(&path) == content, "{path} differs from what is generated: run `cargo xtask gen`");
    }
}
