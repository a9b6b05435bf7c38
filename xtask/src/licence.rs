//! Holds the licences of the lock file against the list in `deny.toml`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use regex::Regex;

use crate::structure::Metadata;

/// Crates whose licence is not on the list, or that name none.
pub fn findings(root: &Path) -> Result<Vec<String>> {
    let allowed = allowed(&std::fs::read_to_string(root.join("deny.toml")).context("cannot read deny.toml")?)?;
    let mut findings = Vec::new();
    for package in Metadata::of_lock_file(root)?.packages {
        let name = format!("{} {}", package.name, package.version);
        match package.license {
            Some(licence) if satisfied(&licence, &allowed) => {}
            Some(licence) => findings.push(format!("{name} is under {licence}, which deny.toml does not allow")),
            None => findings.push(format!("{name} names no licence")),
        }
    }
    Ok(findings)
}

/// The list `allow` of deny.toml.
fn allowed(deny: &str) -> Result<BTreeSet<String>> {
    let list = Regex::new(r"(?s)\nallow = \[(.*?)\]")?;
    let list = list.captures(deny).context("deny.toml has no list `allow`")?;
    let allowed: BTreeSet<String> = Regex::new(r#""([^"]+)""#)?.captures_iter(&list[1]).map(|c| c[1].to_owned()).collect();
    ensure!(!allowed.is_empty(), "the list `allow` of deny.toml is empty");
    Ok(allowed)
}

/// Whether an SPDX expression can be met with allowed licences; a malformed one cannot. `OR` binds weaker than `AND`; older crates write
/// `/` for `OR`.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any(&mut rest, allowed) == Some(true) && rest.is_empty()
}

// Each of these takes its part off the front of `rest`, met or not; `None` is a malformed expression.

fn any(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = all(rest, allowed)?;
    while let ["OR", tail @ ..] = *rest {
        *rest = tail;
        met |= all(rest, allowed)?;
    }
    Some(met)
}

fn all(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = one(rest, allowed)?;
    while let ["AND", tail @ ..] = *rest {
        *rest = tail;
        met &= one(rest, allowed)?;
    }
    Some(met)
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    match *rest {
        ["(", tail @ ..] => {
            *rest = tail;
            let met = any(rest, allowed)?;
            *rest = rest.strip_prefix(&[")"])?;
            Some(met)
        }
        [licence, "WITH", exception, tail @ ..] => {
            *rest = tail;
            Some(allowed.contains(&format!("{licence} WITH {exception}")))
        }
        [licence, tail @ ..] => {
            *rest = tail;
            Some(allowed.contains(*licence))
        }
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: expressions mean what SPDX says; one that is malformed is not met.
    #[test]
    fn expressions_mean_what_spdx_says() {
        let allowed = allowed("[licenses]\nallow = [\"MIT\", \"Apache-2.0 WITH LLVM-exception\", \"Zlib\"]\n").expect("a list");
        for met in [
            "MIT",
            "GPL-3.0 OR MIT",
            "GPL-3.0/MIT",
            "MIT AND Zlib",
            "(GPL-3.0 OR MIT) AND Zlib",
            "GPL-3.0 AND X OR MIT",
            "Apache-2.0 WITH LLVM-exception OR X",
        ] {
            assert!(satisfied(met, &allowed), "{met}");
        }
        for unmet in ["", "GPL-3.0", "Apache-2.0", "MIT AND GPL-3.0", "(MIT OR Zlib) AND X", "(MIT", "MIT)", "MIT OR", "MIT Zlib"]
        {
            assert!(!satisfied(unmet, &allowed), "{unmet}");
        }
    }
}
