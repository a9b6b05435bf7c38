//! Texts that must follow from a record's other attributes: the composed columns of the request log, and the joined ids. What the contract's
//! display rules compose from the attributes that stay is what such a text has to be, so that it can say nothing of its own.
//!
//! Some columns show what no attribute carries. That much is taken from the text itself, and only from closed sets: whether the request ran in
//! fast mode, the route that the client called, error codes of attempts and denials, and one more id to search by. A correction has only what
//! changed, so that most of its texts cannot be composed again; their patterns, and the contract's closed sets, have to do there.

mod columns;

use std::borrow::Cow;
use std::fmt::{self, Write};

use contract::display::{self, ModelText};
use contract::{
    ABSENT, ClientFamily, DASH, Fallback, OTHER, ReasoningEffort, Route, ServiceTier, StripReason, Transport, UsageStatus, attr,
};

use crate::Policy;
use crate::check::Value;
use crate::policy::{HIDDEN, KeyRule, Outcome};
use crate::times;

use columns::Column;
pub use columns::Source;
pub(crate) use columns::{Derived, of};

/// Whether a key's text follows from other attributes.
#[must_use]
pub fn is_derived(key: &str) -> bool {
    of(key).is_some()
}

/// The value of an attribute that stays.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Double(f64),
}

/// What the texts of one record follow from. Looked up when they are asked for, because no text follows from many.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<G>(G);

impl<'a, E, G: Fn(Source) -> Result<Option<Input<'a>>, E>> Inputs<G> {
    /// `get` gives the value, as it stays, of one of the record's attributes, if that stays. Its errors are those of the other functions.
    pub fn new(get: G) -> Self {
        Self(get)
    }

    /// What a derived text of a record should be, by the contract alone; `None` if it is right as it is. `given` is `None` for what is no text;
    /// `is_correction` says that the record has only what changed.
    ///
    /// # Errors
    /// Those of the look-up.
    pub fn correct(&self, key: &str, given: Option<&str>, is_correction: bool) -> Result<Option<String>, E> {
        let policy = Policy::contract();
        let (Some(rule), Some(derived)) = (policy.rule(key), of(key)) else { return Ok(None) };
        let checked = given.map_or(Err(StripReason::WrongType), |text| rule.check(Value::Text(text)));
        Ok(
            match self
                .outcome(&policy, rule, derived, checked, given, is_correction, |text| rule.check(Value::Text(text)).is_ok())?
            {
                Outcome::Keep => None,
                Outcome::Replace(_, text) => Some(text.into_owned()),
                Outcome::Drop(_) => Some(DASH.to_owned()),
            },
        )
    }

    /// What becomes of a derived text, from the answer of its own rule about it; `passes` asks that rule about another.
    #[allow(clippy::too_many_arguments, reason = "two callers, each of which has all of them at hand")]
    pub(crate) fn outcome(
        &self,
        policy: &Policy,
        rule: &KeyRule,
        derived: &Derived,
        checked: Result<(), StripReason>,
        given: Option<&str>,
        is_correction: bool,
        passes: impl Fn(&str) -> bool,
    ) -> Result<Outcome, E> {
        let text = if checked.is_ok() { given.unwrap_or("") } else { "" };
        let has_say = || {
            derived
                .inputs
                .iter()
                .filter_map(|source| policy.rule(source.key()))
                .any(|rule| rule.plain().is_none() || rule.hides())
        };
        let is_partial = is_correction && !derived.in_corrections;
        if is_partial && checked.is_ok() && !has_say() && has_known_labels(policy, derived.column, text) {
            return Ok(Outcome::Keep);
        }
        // The usual case first: the text is right, and its own rule has seen it.
        if checked.is_ok() && self.is_composed(policy, derived, text.as_bytes())? {
            return Ok(Outcome::Keep);
        }
        let fallback = if let Fallback::Text(text) = rule.fallback { text } else { DASH };
        // Of part of what it follows from, a text cannot be composed.
        let composed = if is_partial { None } else { self.composed(policy, derived, text)? };
        let expected = composed.filter(|composed| passes(composed)).map_or(Cow::Borrowed(fallback), Cow::Owned);
        if given == Some(&*expected) {
            return Ok(Outcome::Keep);
        }
        let reason = match checked {
            Ok(()) => self.operators_reason(policy, derived, is_partial)?.unwrap_or(StripReason::NotDerived),
            Err(reason) => reason,
        };
        Ok(Outcome::Replace(reason, expected))
    }

    /// Why a text cannot be right that the sender may have composed rightly: the policy took some of what it follows from.
    fn operators_reason(&self, policy: &Policy, derived: &Derived, is_partial: bool) -> Result<Option<StripReason>, E> {
        let rules = || derived.inputs.iter().filter_map(|source| policy.rule(source.key()));
        if rules().any(|rule| rule.is_removed()) {
            return Ok(Some(StripReason::Policy));
        }
        if !rules().any(|rule| rule.hides()) {
            return Ok(None);
        }
        let is_hidden = |source| Ok(self.text(source)?.as_deref() == Some(HIDDEN));
        let is_hidden = is_partial || is_hidden(Source::UpstreamAccountLabel)? || is_hidden(Source::PoolName)?;
        Ok(is_hidden.then_some(StripReason::Hidden))
    }

    /// Whether a text is what it should be. The usual ones are compared part by part, and nothing is put together for it.
    pub(crate) fn is_composed(&self, policy: &Policy, derived: &Derived, given: &[u8]) -> Result<bool, E> {
        if derived.column == Column::Search && self.is_usual_search(given)? {
            return Ok(true);
        }
        if matches!(derived.column, Column::Search | Column::Errors) {
            let Ok(given) = std::str::from_utf8(given) else { return Ok(false) };
            if derived.column == Column::Errors && is_fixed_error(given) {
                return Ok(true);
            }
            return Ok(self.composed(policy, derived, given)?.as_deref() == Some(given));
        }
        let is = |as_fast_mode| -> Result<bool, E> {
            let mut rest = Rest(given);
            Ok(matches!(self.write(&mut rest, policy, derived, given, as_fast_mode)?, Some(Ok(()))) && rest.0.is_empty())
        };
        // Fast mode is said by no attribute but by the tiers; where they do not say it, the text may.
        Ok(is(false)? || (matches!(derived.column, Column::Model | Column::Transport) && is(true)?))
    }

    /// What a text should be; what no attribute says is taken from `given`. `None` where nothing can be said.
    fn composed(&self, policy: &Policy, derived: &Derived, given: &str) -> Result<Option<String>, E> {
        Ok(match derived.column {
            Column::Search => self.search(policy, given)?,
            Column::Errors => Some(self.errors(policy, given)?),
            _ => {
                let mut text = String::new();
                // Writing to a string does not fail.
                self.write(&mut text, policy, derived, given.as_bytes(), false)?.map(|_| text)
            }
        })
    }

    /// Writes what a text should be, as that of a request in fast mode if it was asked for or the tiers say so. `None` where nothing can be said.
    fn write(
        &self,
        out: &mut impl Write,
        policy: &Policy,
        derived: &Derived,
        given: &[u8],
        as_fast_mode: bool,
    ) -> Result<Option<fmt::Result>, E> {
        let is_priority = |tier| tier == Some(ServiceTier::Priority);
        Ok(Some(match derived.column {
            Column::Id => {
                let Some(request_id) = self.text(Source::RequestId)? else { return Ok(None) };
                out.write_str(display::short_id(&request_id))
            }
            Column::Account => {
                let (account, pool_name) = (self.shown(Source::UpstreamAccountLabel)?, self.shown(Source::PoolName)?);
                display::write_account(out, account.as_deref(), pool_name.as_deref().unwrap_or(DASH))
            }
            Column::Model => {
                let (tier, requested_tier) =
                    (self.member(Source::ServiceTierActual, ServiceTier::parse)?, self.requested_tier()?);
                let (model, api_key) = (self.shown(Source::RequestModel)?, self.shown(Source::ApiKeyLabel)?);
                let row = ModelText {
                    model: model.as_deref(),
                    effort: self.member(Source::ReasoningEffortEffective, ReasoningEffort::parse)?,
                    requested_effort: self.member(Source::ReasoningEffortRequested, ReasoningEffort::parse)?,
                    tier,
                    requested_tier,
                    fast_mode: as_fast_mode || is_priority(tier) || is_priority(requested_tier),
                    api_key: api_key.as_deref().unwrap_or(DASH),
                };
                display::write_model(out, &row)
            }
            Column::Transport => {
                let tier = self.member(Source::ServiceTierActual, ServiceTier::parse)?;
                let fast_mode = as_fast_mode || is_priority(tier) || is_priority(self.requested_tier()?);
                let transport = self.member(Source::RequestTransport, Transport::parse)?.unwrap_or(Transport::Other);
                let client = self.member(Source::UserAgentName, ClientFamily::parse)?;
                let version = if client.is_some() { self.text(Source::UserAgentVersion)? } else { None };
                display::write_transport(out, transport, fast_mode, client.map(|client| (client, version.as_deref())))
            }
            Column::Route => {
                let Some(route) = self.member(Source::HttpRoute, Route::parse)? else { return Ok(None) };
                // Most have none, and to look for one byte takes less than to look for a text.
                let has_arrow = memchr::memchr("←".as_bytes()[0], given).is_some();
                let arrow = has_arrow.then(|| std::str::from_utf8(given).ok()?.split_once(" ← ")).flatten();
                let origin = arrow.and_then(|(_, rest)| rest.split(display::SEPARATOR).next());
                let origin = origin.filter(|origin| admits(policy, attr::HTTP_ROUTE, origin)).and_then(Route::parse);
                display::write_route(out, route, origin, self.count(Source::RequestLatencyMs)?)
            }
            Column::Usage => {
                let status = self.member(Source::UsageStatus, UsageStatus::parse)?.unwrap_or(UsageStatus::Other);
                let (total, cached) = (self.count(Source::UsageTotalTokens)?, self.count(Source::UsageCacheReadInputTokens)?);
                let cost_usd = match (self.0)(Source::CostSettledUsd)? {
                    Some(Input::Double(number)) => Some(number),
                    _ => None,
                };
                display::write_usage(out, status, total, cached, cost_usd)
            }
            Column::Search | Column::Errors => return Ok(None),
        }))
    }

    fn text(&self, source: Source) -> Result<Option<Cow<'a, str>>, E> {
        Ok(match (self.0)(source)? {
            Some(Input::Text(text)) => Some(text),
            _ => None,
        })
    }

    /// A text that says something.
    fn shown(&self, source: Source) -> Result<Option<Cow<'a, str>>, E> {
        Ok(self.text(source)?.filter(|text| text != ABSENT))
    }

    fn member<T>(&self, source: Source, parse: fn(&str) -> Option<T>) -> Result<Option<T>, E> {
        Ok(self.text(source)?.and_then(|text| parse(&text)))
    }

    fn requested_tier(&self) -> Result<Option<ServiceTier>, E> {
        self.member(Source::ServiceTierRequested, ServiceTier::parse)
    }

    fn count(&self, source: Source) -> Result<Option<u64>, E> {
        Ok(match (self.0)(source)? {
            Some(Input::Int(number)) => u64::try_from(number).ok(),
            _ => None,
        })
    }

    /// Whether the text is what [`Self::search`] joins of two ids in lower case; every row has one, and to compare it takes less than to join it.
    fn is_usual_search(&self, given: &[u8]) -> Result<bool, E> {
        let (Some(request_id), Some(correlation_id)) = (self.text(Source::RequestId)?, self.shown(Source::RequestCorrelationId)?)
        else {
            return Ok(false);
        };
        let rest = given.strip_prefix(request_id.as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
        Ok(rest == Some(correlation_id.as_bytes())
            && correlation_id.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()))
    }

    /// The ids in lower case; after them one more, which no attribute carries. An id is left out where it would make the whole look like something
    /// else, such as a card number.
    fn search(&self, policy: &Policy, given: &str) -> Result<Option<String>, E> {
        let Some(request_id) = self.text(Source::RequestId)? else { return Ok(None) };
        let correlation_id = self.shown(Source::RequestCorrelationId)?.map(|id| id.to_lowercase());
        let mut others = given.split(' ').skip(1).peekable();
        others.next_if(|id| Some(*id) == correlation_id.as_deref());
        let one_more = others.next().filter(|id| admits(policy, attr::REQUEST_CORRELATION_ID, id) && *id == id.to_lowercase());
        let all = [Some(&*request_id), correlation_id.as_deref(), one_more];
        let joined = all.into_iter().flatten().collect::<Vec<_>>().join(" ");
        if joined == given {
            return Ok(Some(joined));
        }
        let mut search = request_id.into_owned();
        for id in [correlation_id.as_deref(), one_more].into_iter().flatten() {
            let longer = format!("{search} {id}");
            if admits(policy, attr::REQUEST_SEARCH, &longer) {
                search = longer;
            }
        }
        Ok(Some(search))
    }

    /// The given lines, as far as each is a code that the contract lists, or the record's own.
    fn errors(&self, policy: &Policy, given: &str) -> Result<String, E> {
        if is_fixed_error(given) {
            return Ok(given.to_owned());
        }
        if given.starts_with(EXHAUSTED) {
            return Ok(EXHAUSTED.to_owned());
        }
        let error_code = self.shown(Source::ErrorCode)?.filter(|code| code != OTHER);
        let is_own = |code: &str| error_code.as_deref() == Some(code);
        let is_known = |code: &str| display::is_known_code(code) && admits(policy, attr::ERROR_CODE, code);
        let codes: Vec<&str> = given.split(display::SEPARATOR).filter(|code| is_own(code) || is_known(code)).collect();
        Ok(if codes.is_empty() { error_code.as_deref().unwrap_or(DASH).to_owned() } else { codes.join(display::SEPARATOR) })
    }
}

const EXHAUSTED: &str = "quota exhausted";

/// Whether the error lines say, within their pattern, what is no code.
fn is_fixed_error(given: &str) -> bool {
    // The time is said by no attribute; what is none of this age says something else in digits.
    let is_time = |rest: &str| rest.strip_prefix(" · resets ").is_some_and(times::is_possible_instant);
    [DASH, "no heartbeat", "quota evidence unavailable", EXHAUSTED].contains(&given)
        || given.strip_prefix(EXHAUSTED).is_some_and(is_time)
}

/// What is left of a text of which all that was written so far was the start; writing anything else to it fails.
struct Rest<'t>(&'t [u8]);

impl Write for Rest<'_> {
    #[inline]
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(part.as_bytes()).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// Whether the labels in a text that cannot be composed again are names, each by its own rule: the pattern of the whole does not count words.
fn has_known_labels(policy: &Policy, column: Column, text: &str) -> bool {
    let parts = text.split(display::SEPARATOR);
    let (keys, labels): (&[&str], Vec<&str>) = match column {
        Column::Account => (&[attr::UPSTREAM_ACCOUNT_LABEL, attr::POOL_NAME], parts.collect()),
        Column::Model => (&[attr::API_KEY_LABEL], parts.last().into_iter().collect()),
        _ => return true,
    };
    keys.len() == labels.len() && keys.iter().zip(labels).all(|(key, label)| label == DASH || admits(policy, key, label))
}

/// Whether a text may stand under a key, anywhere.
fn admits(policy: &Policy, key: &str, text: &str) -> bool {
    policy.rule(key).is_some_and(|rule| rule.check(Value::Text(text)).is_ok())
}

#[cfg(test)]
mod tests;
