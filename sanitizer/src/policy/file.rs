//! An operator's policy, read from YAML. See `docs/decisions/0007-operators-policy-is-a-conjunction.md` for its shape.

use std::borrow::Cow;
use std::collections::BTreeSet;

use contract::{Attribute, Fallback, Rule, attr, generated};
use regex::{Regex, RegexBuilder};

use super::demand::{Demand, MAX_ADDED_CHARS, check_added_text};
use super::hide::Hide;
use super::yaml::{self, Entry, Node, Value};
use super::{AddedPlace, KeyRule, MAX_ADDED_ATTRIBUTES, Origin, Policy, Tightening, contract_rules, forbidden};
use crate::check::{self, by_rule};

/// Most values in one list of a policy.
const MAX_ITEMS: usize = 1000;
/// Most names that spans without a record kind can be given.
const MAX_INTERNAL_SPAN_NAMES: usize = 64;
/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 256;
/// Largest compiled pattern, in bytes: a class of Unicode's letters that repeats a few times is larger.
const MAX_REGEX_BYTES: usize = 128 * 1024;
/// Deepest nesting of groups in a pattern.
const MAX_REGEX_NESTING: u32 = 16;

/// What is wrong with a policy file: where, and what to change. Never says what stands there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct PolicyError {
    line: u64,
    problem: Cow<'static, str>,
}

impl PolicyError {
    pub(super) fn new(line: u64, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { line, problem: problem.into() }
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// What is wrong, and what to change.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

/// What is valid in a policy file, and yet is hardly meant: where, and what to change. Never says what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWarning {
    /// The line, from 1.
    pub line: u64,
    /// What to change.
    pub text: &'static str,
}

/// The number of a card has 13 digits at least.
const LEAST_CARD: i64 = 1_000_000_000_000;

/// A text of every kind of character that a text under an operator's own key may have, such as a question becomes whose spaces went.
const PROSE: &str = "tell:me/a.joke_about-Zurich:2026";

type Result<T> = std::result::Result<T, PolicyError>;

impl Policy {
    /// The contract, with what this file adds and tightens. A file that says `{}` is the contract alone, an
    /// empty one an error.
    ///
    /// ```
    /// # #[cfg(feature = "policy-file")] {
    /// use sanitizer::Policy;
    ///
    /// let policy = Policy::from_yaml("tighten:\n  user_agent.name: remove\n").unwrap();
    /// assert_ne!(policy.version(), Policy::contract().version());
    /// let error = Policy::from_yaml("# ours\ntightne: {}\n").unwrap_err();
    /// assert_eq!(error.line(), 2);
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first thing that is wrong with the file, with its line. Limits: 64 KiB, [`MAX_ADDED_ATTRIBUTES`], 1000 values in a list, 64 names of
    /// spans, patterns of 256 bytes.
    pub fn from_yaml(text: &str) -> Result<Self> {
        let (mut rules, mut warnings): (Vec<KeyRule>, _) = (contract_rules().collect(), Vec::new());
        let (mut hide, mut internal_span_names) = (Hide::default(), BTreeSet::new());
        for Entry { key, line, value } in entries(&yaml::read(text)?)? {
            match key.as_str() {
                "attributes" => warnings = added(value, &mut rules)?,
                "tighten" => tighten(value, &mut rules)?,
                "hide" => hide = self::hide(value)?,
                "internal_span_names" => internal_span_names = span_names(value)?,
                _ => {
                    let problem = "unknown option; there are `attributes`, `tighten`, `hide` and `internal_span_names`";
                    return Err(PolicyError::new(*line, problem));
                }
            }
        }
        Ok(Self { warnings, ..Self::new(rules, hide, internal_span_names) })
    }
}

fn added(section: &Node, rules: &mut Vec<KeyRule>) -> Result<Vec<PolicyWarning>> {
    let (added, mut warnings) = (entries(section)?, Vec::new());
    if let Some(one_too_many) = added.get(MAX_ADDED_ATTRIBUTES) {
        return Err(PolicyError::new(one_too_many.line, format!("more than {MAX_ADDED_ATTRIBUTES} attributes; add fewer")));
    }
    for Entry { key, line, value } in added {
        if let Some(why) = forbidden::refusal(key) {
            return Err(PolicyError::new(*line, why));
        }
        let options = Options::read(value, *line, &["places", "type", "members", "pattern", "max_chars", "min", "max"])?;
        let places = places(options.node("places"), *line)?;
        let demand = options.added_demand()?;
        if demand.check(check::Value::Text(PROSE)).is_ok()
            && let Some(pattern) = options.entry("pattern")
        {
            let text = "this pattern admits nearly any text without spaces; write a narrower one, or `members`";
            warnings.push(PolicyWarning { line: pattern.line, text });
        }
        let has_room = match demand {
            Demand::Int { max, .. } => max >= LEAST_CARD,
            #[expect(clippy::cast_precision_loss, reason = "below 2^53 every whole number is exact")]
            Demand::Double { max, .. } => max >= LEAST_CARD as f64,
            Demand::Text { .. } | Demand::Bool => false,
        };
        if has_room && let Some(max) = options.entry("max") {
            let text = "numbers this large can be those of cards, and detectors look at texts alone; write a lower `max`";
            warnings.push(PolicyWarning { line: max.line, text });
        }
        let origin = Origin::Added(places, demand);
        rules.push(KeyRule { key: key.as_str().into(), origin, fallback: Fallback::Drop, hide: None });
    }
    Ok(warnings)
}

fn places(node: Option<&Node>, line: u64) -> Result<BTreeSet<AddedPlace>> {
    const PROBLEM: &str = "`places` lists at least one of resource, row, marker, attempt, correction, internal";
    let Some(node) = node else { return Err(PolicyError::new(line, PROBLEM)) };
    let mut places = BTreeSet::new();
    for (text, line) in texts(node)? {
        let place = AddedPlace::ALL.iter().find(|(_, name)| *name == text).ok_or_else(|| PolicyError::new(line, PROBLEM))?;
        if !places.insert(place.0) {
            return Err(PolicyError::new(line, "the place occurs a second time; keep one of them"));
        }
    }
    if places.is_empty() {
        return Err(PolicyError::new(node.line, PROBLEM));
    }
    Ok(places)
}

fn tighten(section: &Node, rules: &mut [KeyRule]) -> Result<()> {
    for Entry { key, line, value } in entries(section)? {
        let attribute = contract::attribute(key).filter(|attribute| !attribute.key.starts_with("pooler_otel."));
        let rule = rules.iter_mut().find(|rule| *rule.key == **key);
        let (Some(attribute), Some(rule)) = (attribute, rule) else {
            return Err(PolicyError::new(*line, "only attributes of the contract can be tightened; this is none of them"));
        };
        let is_required = generated::RECORDS.iter().any(|record| record.required.contains(&attribute.key));
        if is_required && attribute.fallback == Fallback::Drop {
            return Err(PolicyError::new(*line, "the request log cannot do without this attribute; leave it as it is"));
        }
        let tightening = match &value.value {
            Value::Text(word) if word == "remove" => Tightening::Remove,
            _ if is_composed(attribute.key) => {
                let problem = "this text is composed from other attributes; tighten those, or write `remove`";
                return Err(PolicyError::new(*line, problem));
            }
            Value::Map(_) => {
                let options = Options::read(value, *line, &["members", "pattern", "max_chars", "min", "max"])?;
                Tightening::Demand(options.tighter_demand(attribute)?)
            }
            _ => return Err(PolicyError::new(value.line, "write `remove`, or what the value has to be besides, in braces")),
        };
        rule.fallback = match (&tightening, attribute.fallback) {
            (Tightening::Remove, _) if !is_required => Fallback::Drop,
            // The short form of an id is no member of anything.
            (_, Fallback::AccountShortForm) => Fallback::Text(contract::ABSENT),
            (_, fallback) => fallback,
        };
        rule.origin = Origin::Contract(attribute, Some(tightening));
    }
    Ok(())
}

fn is_composed(key: &str) -> bool {
    key.starts_with("codex_pooler.text.") || key == attr::REQUEST_SEARCH
}

fn hide(section: &Node) -> Result<Hide> {
    let mut hide = Hide::default();
    for Entry { key, line, value } in entries(section)? {
        let (set, rule, problem) = match key.as_str() {
            "pools" => (&mut hide.pools, attr::POOL_SLUG, "this is no slug of a pool: lower-case letters, digits, - and _"),
            "accounts" => (&mut hide.accounts, attr::UPSTREAM_ACCOUNT_ID, "this is no id of an account: a uuid in lower case"),
            _ => return Err(PolicyError::new(*line, "unknown option; there are `pools` and `accounts`")),
        };
        for (text, line) in texts(value)? {
            if text == contract::ABSENT {
                let problem = "`none` stands where there is none, so that there is nothing to hide; remove it";
                return Err(PolicyError::new(line, problem));
            }
            if contract::attribute(rule).is_none_or(|rule| by_rule(rule, check::Value::Text(text)).is_err()) {
                return Err(PolicyError::new(line, problem));
            }
            if !set.insert(text.to_owned()) {
                return Err(PolicyError::new(line, "this one occurs a second time; keep one of them"));
            }
        }
    }
    Ok(hide)
}

fn span_names(section: &Node) -> Result<BTreeSet<String>> {
    let given = texts(section)?;
    if given.len() > MAX_INTERNAL_SPAN_NAMES {
        return Err(PolicyError::new(section.line, format!("more than {MAX_INTERNAL_SPAN_NAMES} names; list fewer")));
    }
    let mut names = BTreeSet::new();
    for (name, line) in given {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
        if name.len() > 64 || !name.bytes().all(is_plain) || check_added_text(name).is_err() {
            let problem =
                "a name of a span is at most 64 lower-case letters, digits, _ . and -, and starts with a letter or digit";
            return Err(PolicyError::new(line, problem));
        }
        if !names.insert(name.to_owned()) {
            return Err(PolicyError::new(line, "the name occurs a second time; keep one of them"));
        }
    }
    Ok(names)
}

/// The options of one attribute.
struct Options<'a> {
    entries: &'a [Entry],
    line: u64,
}

impl<'a> Options<'a> {
    fn read(node: &'a Node, line: u64, known: &[&str]) -> Result<Self> {
        // A bare key has an error of its own.
        let entries = if matches!(node.value, Value::Nothing) { &[] } else { entries(node)? };
        if let Some(unknown) = entries.iter().find(|entry| !known.contains(&entry.key.as_str())) {
            return Err(PolicyError::new(unknown.line, format!("unknown option; there are {}", known.join(", "))));
        }
        if entries.is_empty() {
            return Err(PolicyError::new(line, "a bare key says nothing about its values; give it a rule in braces"));
        }
        Ok(Self { entries, line })
    }

    fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == name)
    }

    fn node(&self, name: &str) -> Option<&'a Node> {
        self.entry(name).map(|entry| &entry.value)
    }

    /// Refuses options that say nothing about values of this type.
    fn only(&self, names: &[&str], of: &str) -> Result<()> {
        let stray = self.entries.iter().find(|entry| !names.contains(&entry.key.as_str()));
        stray.map_or(Ok(()), |entry| Err(PolicyError::new(entry.line, format!("this option says nothing about {of}; remove it"))))
    }

    fn added_demand(&self) -> Result<Demand> {
        const TYPES: &str = "`type` is one of string, int, double, bool";
        let ty = self.node("type").ok_or_else(|| PolicyError::new(self.line, TYPES))?;
        let Value::Text(name) = &ty.value else { return Err(PolicyError::new(ty.line, TYPES)) };
        match name.as_str() {
            "string" => {
                self.only(&["places", "type", "members", "pattern", "max_chars"], "a string")?;
                if self.node("members").is_none() && self.node("pattern").is_none() {
                    return Err(PolicyError::new(self.line, "a string needs `members` or a `pattern`; say what it may be"));
                }
                let is_plain = |text: &str| check_added_text(text).is_ok();
                self.text(
                    MAX_ADDED_CHARS,
                    is_plain,
                    "a member has letters, digits and _ . : / - only, and must not look like a secret",
                )
            }
            "int" => {
                self.only(&["places", "type", "min", "max"], "a whole number")?;
                let (Some(min), Some(max)) = (self.int("min")?, self.int("max")?) else { return Err(self.needs_bounds()) };
                self.ordered(min <= max)?;
                Ok(Demand::Int { min, max })
            }
            "double" => {
                self.only(&["places", "type", "min", "max"], "a number")?;
                let (Some(min), Some(max)) = (self.double("min")?, self.double("max")?) else { return Err(self.needs_bounds()) };
                self.ordered(min <= max)?;
                Ok(Demand::Double { min, max })
            }
            "bool" => {
                self.only(&["places", "type"], "a truth value")?;
                Ok(Demand::Bool)
            }
            _ => Err(PolicyError::new(ty.line, TYPES)),
        }
    }

    fn tighter_demand(&self, attribute: &Attribute) -> Result<Demand> {
        match attribute.rule {
            Rule::Text { max_chars, .. } => {
                self.only(&["members", "pattern", "max_chars"], "a text")?;
                let passes = |text: &str| by_rule(attribute, check::Value::Text(text)).is_ok();
                self.text(max_chars, passes, "the contract's own rule refuses this member; remove it")
            }
            Rule::TextList { members, .. } => {
                self.only(&["members"], "a list of texts")?;
                let longest = members.iter().map(|member| member.chars().count()).max().unwrap_or(0);
                self.text(longest, |text| members.contains(&text), "the contract's own rule refuses this member; remove it")
            }
            Rule::Int { min: least, max: most } => {
                self.only(&["min", "max"], "a whole number")?;
                let (min, max) = (self.int("min")?.unwrap_or(least), self.int("max")?.unwrap_or(most));
                self.ordered(min <= max && min <= most && max >= least)?;
                Ok(Demand::Int { min, max })
            }
            Rule::Double { min: least, max: most } => {
                self.only(&["min", "max"], "a number")?;
                let (min, max) = (self.double("min")?.unwrap_or(least), self.double("max")?.unwrap_or(most));
                self.ordered(min <= max && min <= most && max >= least)?;
                Ok(Demand::Double { min, max })
            }
            Rule::Bool => Err(PolicyError::new(self.line, "a truth value cannot be tightened; write `remove`")),
        }
    }

    fn needs_bounds(&self) -> PolicyError {
        PolicyError::new(self.line, "a number needs `min` and `max`; say what it may be")
    }

    fn ordered(&self, ordered: bool) -> Result<()> {
        let line = self.entry("min").or_else(|| self.entry("max")).map_or(self.line, |entry| entry.line);
        if ordered { Ok(()) } else { Err(PolicyError::new(line, "no number is between these bounds; change `min` or `max`")) }
    }

    fn int(&self, name: &str) -> Result<Option<i64>> {
        let Some(node) = self.node(name) else { return Ok(None) };
        match node.value {
            Value::Int(number) => Ok(Some(number)),
            _ => Err(PolicyError::new(node.line, format!("`{name}` is a whole number here"))),
        }
    }

    fn double(&self, name: &str) -> Result<Option<f64>> {
        let Some(node) = self.node(name) else { return Ok(None) };
        match node.value {
            Value::Double(number) if number.is_finite() => Ok(Some(number)),
            // Exact to 2^53, far beyond any bound that makes sense.
            #[expect(clippy::cast_precision_loss)]
            Value::Int(number) => Ok(Some(number as f64)),
            _ => Err(PolicyError::new(node.line, format!("`{name}` is a finite number"))),
        }
    }

    fn text(&self, most_chars: usize, may_be: impl Fn(&str) -> bool, problem: &'static str) -> Result<Demand> {
        let max_chars = match self.int("max_chars")? {
            None => most_chars,
            Some(n) => usize::try_from(n).ok().filter(|n| (1..=most_chars).contains(n)).ok_or_else(|| {
                let line = self.node("max_chars").map_or(self.line, |node| node.line);
                PolicyError::new(line, format!("`max_chars` is between 1 and {most_chars} here"))
            })?,
        };
        let pattern = self.node("pattern").map(pattern).transpose()?;
        let mut members = None;
        if let Some(node) = self.node("members") {
            let mut list = Vec::new();
            for (text, line) in texts(node)? {
                if !may_be(text) {
                    return Err(PolicyError::new(line, problem));
                }
                if text.chars().count() > max_chars || pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text)) {
                    return Err(PolicyError::new(line, "`pattern` or `max_chars` refuses this member; change one of them"));
                }
                if list.iter().any(|other| other == text) {
                    return Err(PolicyError::new(line, "the member occurs a second time; keep one of them"));
                }
                list.push(text.to_owned());
            }
            if list.is_empty() {
                return Err(PolicyError::new(
                    node.line,
                    "`members` is empty, so that nothing would pass; list some, or write `remove`",
                ));
            }
            list.sort_unstable();
            members = Some(list);
        }
        Ok(Demand::Text { members, pattern, max_chars })
    }
}

/// An anchored pattern. It has to be one by itself before anything is put around it.
fn pattern(node: &Node) -> Result<Regex> {
    let Value::Text(pattern) = &node.value else {
        return Err(PolicyError::new(node.line, "`pattern` is a text; put it in quotes"));
    };
    if pattern.is_empty() || pattern.len() > MAX_PATTERN_BYTES {
        return Err(PolicyError::new(
            node.line,
            format!("a pattern has 1 to {MAX_PATTERN_BYTES} bytes; shorten it, or use `members`"),
        ));
    }
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(MAX_REGEX_BYTES)
            .dfa_size_limit(MAX_REGEX_BYTES)
            .nest_limit(MAX_REGEX_NESTING)
            .build()
            .map_err(|_| {
                PolicyError::new(node.line, "this is no regular expression of the regex crate, or becomes too large; simplify it")
            })
    };
    build(pattern)?;
    build(&format!(r"\A(?:{pattern})\z"))
}

/// The entries of a map. Nothing is no map: so does the beginning of a file look that is still being written, and half of a policy hides nothing.
fn entries(node: &Node) -> Result<&[Entry]> {
    match &node.value {
        Value::Map(entries) => Ok(entries),
        Value::Nothing => {
            Err(PolicyError::new(node.line, "nothing stands here; write `{}` where nothing is meant, or leave the key out"))
        }
        _ => Err(PolicyError::new(node.line, "keys with values are expected here, as in `key: value`")),
    }
}

/// The texts of a list, each with its line.
fn texts(node: &Node) -> Result<Vec<(&str, u64)>> {
    let Value::List(items) = &node.value else {
        return Err(PolicyError::new(node.line, "a list is expected here, as in `[one, two]`"));
    };
    if items.len() > MAX_ITEMS {
        return Err(PolicyError::new(node.line, format!("more than {MAX_ITEMS} values in one list; list fewer")));
    }
    items
        .iter()
        .map(|item| match &item.value {
            Value::Text(text) => Ok((text.as_str(), item.line)),
            _ => Err(PolicyError::new(item.line, "a text is expected here; put it in quotes")),
        })
        .collect()
}
