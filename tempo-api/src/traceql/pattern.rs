//! Regular expressions as TraceQL has them: anchored at both ends, a dot also matches a line break.

use regex::{Regex, RegexBuilder};

/// Size of a compiled expression; far more than lists of labels need.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    /// Whether it is `.*`, which Grafana writes for each variable that filters nothing, and which needs no look at the text.
    everything: bool,
    literals: Option<Vec<String>>,
}

/// Two patterns are the same if they were written the same.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Pattern {
    /// Compiles an expression; `None` if it is none, or too large.
    #[must_use]
    pub fn new(expression: &str) -> Option<Self> {
        // Parsed alone first: otherwise one that closes a group it did not open would break out of the anchors.
        regex_syntax::parse(expression).ok()?;
        let regex = RegexBuilder::new(&format!("^(?s:{expression})$")).size_limit(MAX_COMPILED_BYTES).build().ok()?;
        Some(Self { regex, everything: expression == ".*", literals: literals(expression) })
    }

    /// Whether the whole text matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.everything || self.regex.is_match(text)
    }

    /// The texts that match, where the expression is nothing but a list of them.
    #[must_use]
    pub fn literals(&self) -> Option<&[String]> {
        self.literals.as_deref()
    }
}

/// The texts of an expression like `a|b` or `(a|b)`, with escaped punctuation, as Grafana writes the chosen values of a variable.
fn literals(expression: &str) -> Option<Vec<String>> {
    let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let mut texts = vec![String::new()];
    let mut characters = inner.unwrap_or(expression).chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            '|' => {
                texts.push(String::new());
                continue;
            }
            '\\' => characters.next().filter(char::is_ascii_punctuation)?,
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            _ => character,
        };
        texts.last_mut()?.push(literal);
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: expressions match whole texts, and what looks like a group's end does not undo that.
    #[test]
    fn patterns_are_anchored() {
        let matches = |expression: &str, text: &str| Pattern::new(expression).unwrap().is_match(text);
        assert!(matches("failed|rejected", "failed") && matches("failed|rejected", "rejected"));
        assert!(!matches("failed|rejected", "failed again") && !matches("failed", "unfailed"));
        assert!(matches("(?i).*ABC.*", "xabcx") && matches(".*", "") && matches(".*", "a\nb"));
        assert!(matches(r"gpt-5\.4\/x", "gpt-5.4/x"));
        for expression in ["a)|(b", "(", "[", "a{1000000}{1000000}", r"\C"] {
            assert_eq!(Pattern::new(expression), None, "{expression}");
        }
    }

    /// Guarantees: what is taken for a list of texts matches exactly these; anything else is not taken for one.
    #[test]
    fn lists_of_texts_are_recognized() {
        for (expression, expected) in [
            ("failed|rejected", Some(vec!["failed", "rejected"])),
            ("(failed|rejected)", Some(vec!["failed", "rejected"])),
            (r"(gpt\-5\.4|Команда 7 \(Zürich\))", Some(vec!["gpt-5.4", "Команда 7 (Zürich)"])),
            ("one", Some(vec!["one"])),
            ("", Some(vec![""])),
            ("a|", Some(vec!["a", ""])),
            (".*", None),
            (r"\d", None),
            (r"a\", None),
            ("(a)|(b)", None),
            ("(?i)a", None),
            ("a+", None),
        ] {
            let texts = literals(expression);
            assert_eq!(texts.as_deref().map(|t| t.iter().map(String::as_str).collect::<Vec<_>>()), expected, "{expression}");
            for text in texts.into_iter().flatten() {
                assert!(Pattern::new(expression).unwrap().is_match(&text), "{expression}");
            }
        }
    }
}
