//! A policy file as a tree that knows its lines. Nothing of the file is ever in an error but a line number.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Error, Options, Spanned};

use super::file::PolicyError;

/// Largest policy file, in bytes.
pub(super) const MAX_FILE_BYTES: usize = 64 * 1024;
/// Deepest nesting: the file, a section, an attribute, a list, a value; and some to spare.
const MAX_DEPTH: usize = 8;
/// Most keys and values in a file.
const MAX_NODES: usize = 20_000;

/// What is wrong at [`unclosed_line`].
pub const UNCLOSED: &str = "what begins on this line is not closed; look for a missing bracket or quote";

/// A value, and the line on which it starts.
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) line: u64,
}

pub(super) enum Value {
    Nothing,
    Bool,
    Int(i64),
    Double(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key, and the line on which it stands, with its value.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u64,
    pub(super) value: Node,
}

/// The tree of a file.
pub(super) fn read(text: &str) -> Result<Node, PolicyError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(PolicyError::new(1, "the policy is larger than 64 KiB; make it smaller"));
    }
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Node { value: Value::Nothing, line: 1 });
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| match unclosed_line(text) {
        Some(line) => PolicyError::new(line, UNCLOSED),
        None => problem(&error),
    })
}

fn options() -> Options {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::Error;
    options.merge_keys = MergeKeyPolicy::Error;
    // `no` and `on` are words here.
    options.strict_booleans = true;
    options.reject_unsupported_tags = true;
    // A snippet is a piece of the file.
    options.with_snippet = false;
    if let Some(budget) = &mut options.budget {
        budget.max_depth = MAX_DEPTH;
        budget.max_nodes = MAX_NODES;
        budget.max_documents = 1;
        // One rule in one place; and nothing can multiply.
        budget.max_anchors = 0;
        budget.max_aliases = 0;
    }
    options
}

/// The line on which a list, a map or a quoted text begins that never ends, if there is one: a parser finds out at the end of the file only, or where
/// the next thing makes no sense. Only for the line of an error; it knows as much of YAML as that takes.
#[must_use]
pub fn unclosed_line(text: &str) -> Option<u64> {
    let (mut open, mut quote, mut line, mut before) = (Vec::new(), None, 1, '\n');
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        // What stands in the middle of a plain text has no meaning.
        let begins = before.is_whitespace() || "[{,".contains(before);
        match (quote, character) {
            (Some(('"', _)), '\\') => drop(characters.next()),
            (Some((end, _)), _) if character == end => quote = None,
            (None, '#') if before.is_whitespace() => {
                characters = characters.as_str().trim_start_matches(|c| c != '\n').chars();
            }
            (None, '"' | '\'') if begins => quote = Some((character, line)),
            (None, '[' | '{') if begins || !open.is_empty() => open.push(line),
            (None, ']' | '}') => drop(open.pop()),
            _ => {}
        }
        line += u64::from(character == '\n');
        before = character;
    }
    quote.map(|(_, line)| line).or_else(|| open.pop())
}

fn problem(error: &Error) -> PolicyError {
    let line = error.location().map_or(1, |location| location.line().max(1));
    PolicyError::new(
        line,
        match error {
            Error::DuplicateMappingKey { .. } => "the key occurs a second time; keep one of them",
            Error::Budget { .. } | Error::MergeKeyNotAllowed { .. } | Error::MultipleDocuments { .. } => {
                "the policy is nested too deeply or has too many parts, or uses anchors, aliases, merge keys or a second document; write it \
                 as one plain document"
            }
            _ => {
                "this is not YAML as a policy is written in; look for a missing quote, a wrong indentation or a value of an unknown type"
            }
        },
    )
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { value, line: referenced.line() })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Bool)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Int).map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map: Vec<Entry> = Vec::new();
        while let Some(Spanned { value: key, referenced, .. }) = entries.next_key::<Spanned<String>>()? {
            if map.iter().any(|entry| entry.key == key) {
                return Err(A::Error::custom("the key occurs a second time"));
            }
            map.push(Entry { key, line: referenced.line(), value: entries.next_value()? });
        }
        Ok(Value::Map(map))
    }
}
