//! Reads a configuration file: flat YAML, an option a line, each under the name of its flag with underscores. What the options are and what
//! they may say is the command line's business; here a file becomes names, values and lines.

use std::fmt;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::Invalid;

/// Largest configuration file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// One option of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name, with underscores.
    pub key: String,
    /// Value, or values where the file has a list.
    pub values: Vec<String>,
    /// Line of the file, from 1.
    pub line: u32,
}

/// Reads a file that the operator names, within a bound.
///
/// # Errors
/// A file that cannot be read, is too large, or is not UTF-8; the error names it.
pub fn read_text(path: &Path, max_bytes: u64) -> Result<String, Invalid> {
    let invalid = |text: String| Invalid::new(path.display(), text);
    let file = std::fs::File::open(path).map_err(|error| {
        invalid(match error.kind() {
            ErrorKind::NotFound => "cannot be opened: there is no such file; check the path".to_owned(),
            ErrorKind::PermissionDenied => "cannot be opened: this user may not read it; change its mode or its owner".to_owned(),
            kind => format!("cannot be opened: {kind}"),
        })
    })?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(invalid("is a folder; name a file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(|error| invalid(format!("cannot be read: {}", error.kind())))?;
    if bytes.len() as u64 > max_bytes {
        return Err(invalid(format!("is larger than {max_bytes} bytes; is it the right file?")));
    }
    String::from_utf8(bytes).map_err(|_| invalid("is not UTF-8 text; save it as such".to_owned()))
}

/// The options of a configuration file, in its order.
///
/// # Errors
/// [`read_text`]'s; YAML that cannot be parsed, an option that is there twice, has no value, or has more than a scalar or a list of them.
pub fn read(path: &Path) -> Result<Vec<Entry>, Invalid> {
    parse(&read_text(path, MAX_FILE_BYTES)?, &path.display().to_string())
}

/// The options in a text; `name` is the file's.
pub fn parse(text: &str, name: &str) -> Result<Vec<Entry>, Invalid> {
    let options: Options = serde_saphyr::from_str(text).map_err(|error| match sanitizer::unclosed_line(text) {
        Some(line) => Invalid::new(format_args!("{name}:{line}"), sanitizer::UNCLOSED),
        None => invalid(name, &error),
    })?;
    Ok(options.0)
}

/// The library's own texts may repeat what is in the file, and that may be a password in the wrong place.
fn invalid(name: &str, error: &serde_saphyr::Error) -> Invalid {
    use serde_saphyr::Error;
    let line = error.location().map_or(1, |location| location.line());
    let text = match error.without_snippet() {
        Error::DuplicateMappingKey { .. } => "this option is set twice; remove one of the two",
        // Only the visitors below write messages of their own, and theirs are constant.
        Error::Message { msg, .. } if msg == NO_VALUE => NO_VALUE,
        Error::Message { msg, .. } if msg == NOT_SCALAR => NOT_SCALAR,
        _ => "this is not YAML of the form `option: value`; check indentation, quotes and colons",
    };
    Invalid::new(format_args!("{name}:{line}"), text)
}

const NO_VALUE: &str = "the option has no value; give it one, or put a # before it";
const NOT_SCALAR: &str = "the option takes a single value, or a list of them";

struct Options(Vec<Entry>);

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OptionsVisitor;

        impl<'de> Visitor<'de> for OptionsVisitor {
            type Value = Options;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("options")
            }

            /// A file in which everything is commented out.
            fn visit_unit<E>(self) -> Result<Options, E> {
                Ok(Options(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Options, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    let Values(values) = map.next_value()?;
                    entries.push(Entry { key: key.value, values, line: u32::try_from(key.referenced.line()).unwrap_or(0) });
                }
                Ok(Options(entries))
            }
        }
        deserializer.deserialize_any(OptionsVisitor)
    }
}

/// A scalar or a list of scalars, as text.
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValuesVisitor;

        impl<'de> Visitor<'de> for ValuesVisitor {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, or a list of values")
            }

            fn visit_str<E>(self, text: &str) -> Result<Values, E> {
                Ok(Values(vec![text.to_owned()]))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Values, E> {
                Ok(Values(vec![value.to_string()]))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Values, E> {
                Ok(Values(vec![value.to_string()]))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Values, E> {
                Ok(Values(vec![value.to_string()]))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Values, E> {
                Ok(Values(vec![value.to_string()]))
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Values, E> {
                Err(E::custom(NO_VALUE))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut all = Vec::new();
                while let Some(Values(values)) = list.next_element()? {
                    let [value] = values.try_into().map_err(|_| A::Error::custom(NOT_SCALAR))?;
                    all.push(value);
                }
                if all.is_empty() { Err(A::Error::custom(NO_VALUE)) } else { Ok(Values(all)) }
            }

            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Values, A::Error> {
                Err(A::Error::custom(NOT_SCALAR))
            }
        }
        deserializer.deserialize_any(ValuesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: scalars of every kind and lists of them are read with the lines that they are on; a file of comments has no options.
    #[test]
    fn options_have_lines() {
        let text = "# a comment\ndata_dir: /var/lib/x\n\nmax_store_mib: 10240\nstore: true\nretention: '30d'\nforward_headers:\n  - a=b\n  - c=d\n";
        let entry = |key: &str, values: &[&str], line| Entry {
            key: key.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            line,
        };
        assert_eq!(
            parse(text, "f").unwrap(),
            [
                entry("data_dir", &["/var/lib/x"], 2),
                entry("max_store_mib", &["10240"], 4),
                entry("store", &["true"], 5),
                entry("retention", &["30d"], 6),
                entry("forward_headers", &["a=b", "c=d"], 7),
            ]
        );
        assert_eq!(parse("# nothing\n", "f").unwrap(), []);
        assert_eq!(parse("", "f").unwrap(), []);
    }

    /// Guarantees: what is no flat YAML is an error with the file's name and the line, and never repeats what the file says.
    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, place) in [
            ("retention: 1d\nretention: hunter2\n", "f:2: this option is set twice"),
            ("store: true\nretention:\n", "f:2: the option has no value"),
            ("store: true\nretention: []\n", "f:2: the option has no value"),
            ("forward:\n  endpoint: hunter2\n", "f:2: the option takes a single value"),
            ("forward: [[hunter2, b]]\n", "f:1: the option takes a single value"),
            ("store: true\nretention: \"hunter2\n", "f:2: what begins on this line is not closed"),
            ("store: true\nforward: [hunter2\nretention: 1d\n\n", "f:2: what begins on this line is not closed"),
            ("hunter2\n", "f:1: this is not YAML"),
            ("- hunter2\n", "f:1: this is not YAML"),
            ("a: *hunter2\n", "f:1: this is not YAML"),
        ] {
            let error = parse(text, "f").unwrap_err().to_string();
            assert!(error.starts_with(place), "{text:?}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
