//! What may pass: the contract, and what an operator added to it or took from it. Everything that judges is given one of these and judges by
//! no other.

mod canonical;
mod demand;
#[cfg(feature = "policy-file")]
mod file;
#[cfg(feature = "policy-file")]
mod forbidden;
mod hide;
#[cfg(test)]
mod tests;
#[cfg(feature = "policy-file")]
mod yaml;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, OnceLock};

use contract::{Attribute, Fallback, Record, RecordKind, StripReason, generated};

use crate::check::{self, Value};
use crate::derived::{self, Derived};
use crate::fast::Tables;
use demand::Demand;
#[cfg(feature = "policy-file")]
pub use file::{PolicyError, PolicyWarning};
use hide::Hide;
pub(crate) use hide::{HIDDEN, Hidden};
#[cfg(feature = "policy-file")]
pub use yaml::{UNCLOSED, unclosed_line};

/// Most attributes that an operator can add.
pub const MAX_ADDED_ATTRIBUTES: usize = 64;

/// The rules in force: the contract's, and what an operator added. It never changes; another one takes its place.
///
/// What an operator adds cannot widen the contract's own rules: a value under one of the contract's keys passes the contract's rule and the
/// operator's, or becomes what the contract puts in the place of a bad value.
///
/// ```
/// use sanitizer::Policy;
///
/// let policy = Policy::contract();
/// assert_eq!(policy.version().len(), 12);
/// ```
#[derive(Debug)]
pub struct Policy {
    /// In the order of their keys.
    rules: Vec<Arc<KeyRule>>,
    hide: Hide,
    internal_span_names: BTreeSet<String>,
    version: Arc<str>,
    #[cfg(feature = "policy-file")]
    warnings: Vec<PolicyWarning>,
    /// The fast sanitizer's form of all this, built at its first use.
    tables: OnceLock<Tables>,
}

/// What a policy changes, besides the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Attributes that an operator added.
    pub added: usize,
    /// Attributes of the contract that were tightened or removed.
    pub tightened: usize,
    /// Pools that are hidden.
    pub hidden_pools: usize,
    /// Upstream accounts that are hidden.
    pub hidden_accounts: usize,
    /// Names that spans without a record kind may keep.
    pub span_names: usize,
}

/// Where attributes stand, as far as it decides which may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// For the report.
    pub(crate) place: contract::Place,
    /// The contract's keys that may stand there, in order.
    listed: &'static [&'static str],
    /// Where an operator's keys say that they may stand; nowhere else may they.
    added: Option<AddedPlace>,
    /// Whether the record has only what changed.
    pub(crate) is_correction: bool,
}

/// A place that an operator's attribute can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AddedPlace {
    Resource,
    Row,
    Marker,
    Attempt,
    Correction,
    Internal,
}

/// One key that may stand somewhere, and what its value must be.
#[derive(Debug)]
pub(crate) struct KeyRule {
    pub(crate) key: Arc<str>,
    origin: Origin,
    /// What a value becomes that does not pass.
    pub(crate) fallback: Fallback,
    /// How the key is dealt with in a record that is hidden.
    hide: Option<hide::As>,
}

#[derive(Debug)]
#[cfg_attr(not(feature = "policy-file"), expect(dead_code, reason = "without files, there is the contract alone"))]
enum Origin {
    /// The contract's key, and what an operator demands of the value besides.
    Contract(&'static Attribute, Option<Tightening>),
    /// An operator's key.
    Added(BTreeSet<AddedPlace>, Demand),
}

#[derive(Debug)]
#[cfg_attr(not(feature = "policy-file"), expect(dead_code, reason = "without files, there is the contract alone"))]
enum Tightening {
    /// Nothing passes but what stands in for a value.
    Remove,
    Demand(Demand),
}

/// What becomes of a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Keep,
    Replace(StripReason, Cow<'static, str>),
    Drop(StripReason),
}

impl Policy {
    /// The contract alone.
    #[must_use]
    pub fn contract() -> Arc<Self> {
        static CONTRACT: LazyLock<Arc<Policy>> =
            LazyLock::new(|| Arc::new(Policy::new(contract_rules().collect(), Hide::default(), BTreeSet::new())));
        CONTRACT.clone()
    }

    /// The first 12 hexadecimal digits of a SHA-256 over all rules in force: the same in every process with the same rules.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    fn new(mut rules: Vec<KeyRule>, hide: Hide, internal_span_names: BTreeSet<String>) -> Self {
        rules.sort_by(|one, other| one.key.cmp(&other.key));
        for rule in &mut rules {
            rule.hide = hide.of(&rule.key);
        }
        let rules = rules.into_iter().map(Arc::new).collect();
        let mut policy = Self {
            rules,
            hide,
            internal_span_names,
            version: Arc::from(""),
            #[cfg(feature = "policy-file")]
            warnings: Vec::new(),
            tables: OnceLock::new(),
        };
        policy.version = canonical::version(&policy).into();
        policy
    }

    /// Builds what is otherwise built at the first message, in some 50 ms of an optimised build.
    pub fn prepare(&self) {
        self.tables();
    }

    /// What it changes, in numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let is = |what: fn(&Origin) -> bool| self.rules.iter().filter(|rule| what(&rule.origin)).count();
        Summary {
            added: is(|origin| matches!(origin, Origin::Added(..))),
            tightened: is(|origin| matches!(origin, Origin::Contract(_, Some(_)))),
            hidden_pools: self.hide.pools.len(),
            hidden_accounts: self.hide.accounts.len(),
            span_names: self.internal_span_names.len(),
        }
    }

    /// What is valid in the file that it is from, and yet is hardly meant, in the order of lines.
    #[cfg(feature = "policy-file")]
    #[must_use]
    pub fn warnings(&self) -> &[PolicyWarning] {
        &self.warnings
    }

    pub(crate) fn version_text(&self) -> &Arc<str> {
        &self.version
    }

    pub(crate) fn rules(&self) -> &[Arc<KeyRule>] {
        &self.rules
    }

    pub(crate) fn tables(&self) -> &Tables {
        self.tables.get_or_init(|| Tables::new(self))
    }

    /// The rule for a key, if it may stand anywhere.
    pub(crate) fn rule(&self, key: &str) -> Option<&Arc<KeyRule>> {
        self.rules.binary_search_by(|rule| (*rule.key).cmp(key)).ok().map(|at| &self.rules[at])
    }

    /// Whether a span of this record may have this name; if not, why.
    pub(crate) fn check_name(&self, record: &Record, name: &str) -> Result<(), StripReason> {
        if record.kind.is_none() && self.internal_span_names.contains(name) {
            return Ok(());
        }
        check::check_name(record, name)
    }

    /// The names that spans without a record kind may have besides the contract's.
    pub(crate) fn internal_span_names(&self) -> &BTreeSet<String> {
        &self.internal_span_names
    }

    /// What has to be hidden in a record or a resource; `text` gives the text of the first attribute with a key, if that is one.
    pub(crate) fn hidden<'a, E>(&self, text: impl Fn(&str) -> Result<Option<&'a str>, E>) -> Result<Hidden, E> {
        self.hide.hidden(text)
    }
}

/// Every rule of the contract, as it is.
fn contract_rules() -> impl Iterator<Item = KeyRule> {
    generated::ATTRIBUTES.iter().map(|attribute| KeyRule {
        key: attribute.key.into(),
        origin: Origin::Contract(attribute, None),
        fallback: attribute.fallback,
        hide: None,
    })
}

impl Site {
    pub(crate) const RESOURCE: Self = Self {
        place: contract::Place::ResourceAttribute,
        listed: generated::RESOURCE_ATTRIBUTES,
        added: Some(AddedPlace::Resource),
        is_correction: false,
    };

    /// The attributes of a span.
    pub(crate) fn span(record: &'static Record) -> Self {
        let added = match record.kind {
            Some(RecordKind::Request) => AddedPlace::Row,
            Some(RecordKind::InProgress) => AddedPlace::Marker,
            Some(RecordKind::Attempt) => AddedPlace::Attempt,
            Some(RecordKind::Correction) => AddedPlace::Correction,
            None => AddedPlace::Internal,
        };
        Self {
            place: contract::Place::SpanAttribute,
            listed: record.attributes,
            added: Some(added),
            is_correction: record.kind == Some(RecordKind::Correction),
        }
    }

    /// A place where nothing can be added.
    pub(crate) const fn fixed(place: contract::Place, listed: &'static [&'static str]) -> Self {
        Self { place, listed, added: None, is_correction: false }
    }

    /// Whether a key may stand here.
    pub(crate) fn allows(self, rule: &KeyRule) -> bool {
        match &rule.origin {
            Origin::Contract(attribute, _) => self.listed.binary_search(&attribute.key).is_ok(),
            Origin::Added(places, _) => self.added.is_some_and(|place| places.contains(&place)),
        }
    }
}

#[cfg(feature = "policy-file")]
impl AddedPlace {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Resource, "resource"),
        (Self::Row, "row"),
        (Self::Marker, "marker"),
        (Self::Attempt, "attempt"),
        (Self::Correction, "correction"),
        (Self::Internal, "internal"),
    ];
}

impl KeyRule {
    /// The contract's attribute, if the contract's rule is all that its values have to pass.
    pub(crate) fn plain(&self) -> Option<&'static Attribute> {
        match self.origin {
            Origin::Contract(attribute, None) => Some(attribute),
            _ => None,
        }
    }

    /// Whether it is dealt with in another way in a hidden record.
    pub(crate) fn hides(&self) -> bool {
        self.hide.is_some()
    }

    /// How its text has to follow from other attributes, if it has to.
    pub(crate) fn derived(&self) -> Option<&'static Derived> {
        if self.is_removed() { None } else { derived::of(&self.key) }
    }

    /// Whether a value may pass as it is; if not, why.
    pub(crate) fn check(&self, value: Value<'_>) -> Result<(), StripReason> {
        match &self.origin {
            Origin::Contract(attribute, tightening) => {
                check::by_rule(attribute, value)?;
                match tightening {
                    None => Ok(()),
                    // What stands in for a value always passes, so that sanitizing twice equals once.
                    Some(_) if self.stands_in(value) => Ok(()),
                    Some(Tightening::Remove) => Err(StripReason::Policy),
                    Some(Tightening::Demand(demand)) => demand.check(value),
                }
            }
            Origin::Added(_, demand) => match value {
                Value::Text(text) => demand::check_added_text(text).and_then(|()| demand.check(value)),
                // No type that an operator can name is a list, which could be as long as it likes.
                Value::TextList(_) => Err(StripReason::WrongType),
                _ => demand.check(value),
            },
        }
    }

    fn stands_in(&self, value: Value<'_>) -> bool {
        let Value::Text(text) = value else { return false };
        self.fallback == Fallback::Text(check::fixed_text(text))
            || (text == HIDDEN && self.hide == Some(hide::As::Text) && !self.is_removed())
    }

    /// Whether nothing passes but what stands in for a value.
    pub(crate) fn is_removed(&self) -> bool {
        matches!(self.origin, Origin::Contract(_, Some(Tightening::Remove)))
    }

    /// What becomes of a value under this key, from the answer of [`Self::check`] about it; `text` is the value if it is one, `account_id` the
    /// record's own where that is valid.
    pub(crate) fn outcome(
        &self,
        checked: Result<(), StripReason>,
        text: Option<&str>,
        hidden: Hidden,
        account_id: Option<&str>,
    ) -> Outcome {
        if !self.is_removed()
            && let Some(how) = hidden.how(self)
        {
            let reason = checked.err().unwrap_or(StripReason::Hidden);
            return match how {
                hide::As::Text if text == Some(HIDDEN) || text == Some(contract::ABSENT) => Outcome::Keep,
                hide::As::Text => Outcome::Replace(reason, HIDDEN.into()),
                hide::As::Absent => Outcome::Drop(reason),
            };
        }
        let Err(reason) = checked else { return Outcome::Keep };
        check::stand_in(self.fallback, account_id).map_or(Outcome::Drop(reason), |text| Outcome::Replace(reason, text))
    }
}
