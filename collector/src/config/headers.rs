//! Headers for a destination. Their secrets are never written down: a value names the variable or the file that holds it.

use std::collections::HashSet;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::file::read_text;

/// Largest file with one secret, in bytes.
const MAX_SECRET_BYTES: u64 = 16 * 1024;
/// How a header is written.
const FORM: &str = "write NAME=${env:VARIABLE} or NAME=${file:PATH}, with a word such as Bearer before it if need be";
/// Headers that belong to the protocol, and not to the operator.
const RESERVED: [&str; 8] =
    ["content-type", "content-encoding", "content-length", "host", "connection", "transfer-encoding", "te", "grpc-timeout"];

/// The header of one `NAME=VALUE`. Its value is marked as sensitive, so that it does not print.
///
/// # Errors
/// What is wrong, without a word of what was written.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once('=').ok_or(format!("a header is malformed; {FORM}"))?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| format!("a header's name is malformed; {FORM}"))?;
    if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("grpc-") {
        return Err(format!("the header {name} is set by the protocol; remove it"));
    }
    let value = expand(value.trim()).map_err(|error| format!("the header {name}: {error}"))?;
    let mut value = HeaderValue::from_str(&value)
        .map_err(|_| format!("the header {name}: its value has characters that a header cannot hold"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// All headers.
///
/// # Errors
/// The first one that is wrong.
pub fn headers(texts: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let mut names = HashSet::new();
    for text in texts {
        let (name, value) = header(text)?;
        if !names.insert(name.clone()) {
            return Err(format!("the header {name} is given twice; remove one of the two"));
        }
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The names in front of the values, for whoever shows the configuration.
pub fn names(texts: &[String]) -> Vec<&str> {
    texts.iter().filter_map(|text| Some(text.split_once('=')?.0.trim())).collect()
}

/// Replaces every `${env:…}` and `${file:…}` by what it stands for. There has to be one: a value without is a secret in the clear.
fn expand(text: &str) -> Result<String, String> {
    let (mut expanded, mut rest, mut references) = (String::new(), text, 0);
    while let Some((before, after)) = rest.split_once("${") {
        let (reference, after) = after.split_once('}').ok_or(format!("a reference is not closed; {FORM}"))?;
        expanded.push_str(before);
        expanded.push_str(&look_up(reference)?);
        rest = after;
        references += 1;
    }
    if references == 0 {
        return Err(format!("its value is in the clear; {FORM}"));
    }
    Ok(expanded + rest)
}

fn look_up(reference: &str) -> Result<String, String> {
    let secret = match reference.split_once(':') {
        Some(("env", name)) => {
            std::env::var(name).map_err(|_| format!("the variable {} is not set, or is not text", printable(name)))?
        }
        Some(("file", path)) => read_text(Path::new(path), MAX_SECRET_BYTES).map_err(|error| format!("the file {error}"))?,
        _ => return Err(FORM.to_owned()),
    };
    let secret = secret.trim();
    if secret.is_empty() { Err("its variable or file is empty".to_owned()) } else { Ok(secret.to_owned()) }
}

/// A variable's name, if it is one: what stands there by mistake could be the secret itself.
fn printable(name: &str) -> &str {
    let is_name = name.len() <= 64 && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if is_name { name } else { "that it names" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: values come from variables and files, with text around them, without the line break at a file's end; they do not print.
    #[test]
    fn secrets_are_looked_up_and_do_not_print() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hunter2\n").unwrap();
        // Every process has this variable, under cargo as elsewhere.
        let home = std::env::var("PATH").unwrap();
        let all =
            headers(&[format!("authorization=Bearer ${{file:{}}}", path.display()), "x-path=${env:PATH}".to_owned()]).unwrap();
        assert_eq!(all["authorization"], "Bearer hunter2");
        assert_eq!(all["x-path"], home.as_str());
        assert!(!format!("{all:?}").contains("hunter2"), "{all:?}");
    }

    /// Guarantees: a secret in the clear, a reference to nothing, a header of the protocol and a malformed one are refused, and never repeated.
    #[test]
    fn what_is_not_a_reference_is_refused() {
        for (text, why) in [
            ("authorization=hunter2", "in the clear"),
            ("authorization=Bearer ${env:NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE is not set"),
            ("authorization=${env:hunter2}", "is not set"),
            ("authorization=${file:/no/such/file}", "cannot be opened"),
            ("authorization=${hunter2}", "write NAME="),
            ("authorization=${env:PATH", "not closed"),
            ("content-type=${env:PATH}", "set by the protocol"),
            ("hunter2", "malformed"),
            ("hunter2 hunter2=${env:PATH}", "malformed"),
        ] {
            let error = headers(&[text.to_owned()]).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(headers(&["a=${env:PATH}".to_owned(), "A=${env:PATH}".to_owned()]).unwrap_err().contains("twice"));
    }
}
