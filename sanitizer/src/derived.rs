//! Texts that must follow from a record's other attributes: the composed columns of the request log, and the joined ids. What the contract's
//! display rules compose from the attributes that stay is what such a text has to be, so that it can say nothing of its own.
//!
//! Some columns show what no attribute carries. That much is taken from the text itself, and only from closed sets: whether the request ran in
//! fast mode, the route that the client called, error codes of attempts and denials, and one more id to search by. A correction has only what
//! changed, so that most of its texts cannot be composed again; their patterns, and the contract's closed sets, have to do there.

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

/// A text that follows from others.
#[derive(Debug)]
pub(crate) struct Derived {
    key: &'static str,
    column: Column,
    /// The attributes that it follows from.
    inputs: &'static [Source],
    /// Whether a correction can be held to it.
    in_corrections: bool,
    /// Whether it is made of closed sets and numbers alone, so that whatever is composed of values that pass, passes its own rule. A test holds that.
    pub(crate) is_closed: bool,
}

/// Which of them it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Search,
    Id,
    Account,
    Model,
    Transport,
    Route,
    Usage,
    Errors,
}

const DERIVED: &[Derived] = &[
    Derived {
        key: attr::REQUEST_SEARCH,
        column: Column::Search,
        inputs: &[Source::RequestId, Source::RequestCorrelationId],
        in_corrections: true,
        is_closed: false,
    },
    Derived { key: attr::TEXT_ID, column: Column::Id, inputs: &[Source::RequestId], in_corrections: true, is_closed: true },
    Derived {
        key: attr::TEXT_ACCOUNT,
        column: Column::Account,
        inputs: &[Source::UpstreamAccountLabel, Source::PoolName],
        in_corrections: false,
        is_closed: false,
    },
    Derived {
        key: attr::TEXT_MODEL,
        column: Column::Model,
        inputs: &[
            Source::RequestModel,
            Source::ReasoningEffortEffective,
            Source::ReasoningEffortRequested,
            Source::ServiceTierActual,
            Source::ServiceTierRequested,
            Source::ApiKeyLabel,
        ],
        in_corrections: false,
        is_closed: false,
    },
    Derived {
        key: attr::TEXT_TRANSPORT,
        column: Column::Transport,
        inputs: &[Source::RequestTransport, Source::UserAgentName, Source::UserAgentVersion],
        in_corrections: false,
        is_closed: false,
    },
    Derived {
        key: attr::TEXT_ROUTE,
        column: Column::Route,
        inputs: &[Source::HttpRoute, Source::RequestLatencyMs],
        in_corrections: false,
        is_closed: true,
    },
    Derived {
        key: attr::TEXT_USAGE,
        column: Column::Usage,
        inputs: &[Source::UsageStatus, Source::UsageTotalTokens, Source::UsageCacheReadInputTokens, Source::CostSettledUsd],
        in_corrections: false,
        is_closed: true,
    },
    Derived {
        key: attr::TEXT_ERRORS,
        column: Column::Errors,
        inputs: &[Source::ErrorCode],
        in_corrections: true,
        is_closed: false,
    },
];

/// The attributes that texts follow from.
macro_rules! sources {
    ($($name:ident = $key:ident,)+) => {
        /// An attribute that texts follow from.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each has the name of its key")]
        pub enum Source { $($name,)+ }

        impl Source {
            /// Every one.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// Its key.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => attr::$key,)+ }
            }
        }
    };
}

sources! {
    RequestId = REQUEST_ID,
    RequestCorrelationId = REQUEST_CORRELATION_ID,
    UpstreamAccountLabel = UPSTREAM_ACCOUNT_LABEL,
    PoolName = POOL_NAME,
    RequestModel = REQUEST_MODEL,
    ReasoningEffortEffective = REASONING_EFFORT_EFFECTIVE,
    ReasoningEffortRequested = REASONING_EFFORT_REQUESTED,
    ServiceTierActual = SERVICE_TIER_ACTUAL,
    ServiceTierRequested = SERVICE_TIER_REQUESTED,
    ApiKeyLabel = API_KEY_LABEL,
    RequestTransport = REQUEST_TRANSPORT,
    UserAgentName = USER_AGENT_NAME,
    UserAgentVersion = USER_AGENT_VERSION,
    HttpRoute = HTTP_ROUTE,
    RequestLatencyMs = REQUEST_LATENCY_MS,
    UsageStatus = USAGE_STATUS,
    UsageTotalTokens = USAGE_TOTAL_TOKENS,
    UsageCacheReadInputTokens = USAGE_CACHE_READ_INPUT_TOKENS,
    CostSettledUsd = COST_SETTLED_USD,
    ErrorCode = ERROR_CODE,
}

/// Whether a key's text follows from other attributes.
#[must_use]
pub fn is_derived(key: &str) -> bool {
    of(key).is_some()
}

/// How a key's text follows from other attributes, if it does.
pub(crate) fn of(key: &str) -> Option<&'static Derived> {
    DERIVED.iter().find(|derived| derived.key == key)
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
        Ok(match self.outcome(&policy, rule, derived, checked, given, is_correction)? {
            Outcome::Keep => None,
            Outcome::Replace(_, text) => Some(text),
            Outcome::Drop(_) => Some(DASH.to_owned()),
        })
    }

    /// What becomes of a derived text, from the answer of its own rule about it.
    pub(crate) fn outcome(
        &self,
        policy: &Policy,
        rule: &KeyRule,
        derived: &Derived,
        checked: Result<(), StripReason>,
        given: Option<&str>,
        is_correction: bool,
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
        let expected = match composed {
            Some(composed) if rule.check(Value::Text(&composed)).is_ok() => composed,
            _ => fallback.to_owned(),
        };
        if given == Some(&expected) {
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
mod tests {
    use super::*;
    use crate::check::by_rule;
    use contract::Rule;

    /// Numbers of every length up to the largest that a key allows, and those at which they are shown in another way.
    fn numbers(key: &str) -> Vec<Option<u64>> {
        let Some(Rule::Int { max, .. }) = contract::attribute(key).map(|attribute| &attribute.rule) else { panic!("no number") };
        let powers = (0..13).map(|exponent| 10_u64.pow(exponent));
        let numbers = powers.flat_map(|power| [power - 1, power, power / 2, power * 3 + 250, power * 9 + 50]);
        let max = u64::try_from(*max).unwrap();
        numbers.filter(|n| *n < max).chain([max]).map(Some).chain([None]).collect()
    }

    /// Guarantees: what is composed of closed sets and numbers alone passes its own rule and the detectors, so that it need not be asked.
    #[test]
    fn texts_of_closed_sets_and_numbers_pass() {
        let mut composed = Vec::new();
        for route in Route::ALL {
            for origin in Route::ALL.iter().copied().map(Some).chain([None]) {
                let texts = numbers(attr::REQUEST_LATENCY_MS).into_iter().map(|ms| display::text_route(*route, origin, ms));
                composed.extend(texts.map(|text| (attr::TEXT_ROUTE, text)));
            }
        }
        let Some(Rule::Double { max, .. }) = contract::attribute(attr::COST_SETTLED_USD).map(|cost| &cost.rule) else {
            panic!("no cost")
        };
        let costs: Vec<_> = [0.0, 0.000_01, 0.000_1, 0.01, 0.012, 0.099_99, 1.0, 999.994, 1e5, *max].map(Some).into();
        for status in UsageStatus::ALL {
            for total in numbers(attr::USAGE_TOTAL_TOKENS) {
                for cached in numbers(attr::USAGE_CACHE_READ_INPUT_TOKENS).into_iter().step_by(4) {
                    for cost in costs.iter().copied().chain([None]) {
                        composed.push((attr::TEXT_USAGE, display::text_usage(*status, total, cached, cost)));
                    }
                }
            }
        }
        composed.extend(["00000000", "12345678", "abcdef01"].map(|id| (attr::TEXT_ID, id.to_owned())));
        for (key, text) in composed {
            assert!(of(key).is_some_and(|derived| derived.is_closed));
            assert_eq!(by_rule(contract::attribute(key).unwrap(), Value::Text(&text)), Ok(()), "{key}: {text}");
        }
    }

    /// Guarantees: a text stays only if it is all of what it should be: not with its own pattern's characters behind it, not without its end, not
    /// with another character; whatever it is compared with comes from the display rules themselves.
    #[test]
    fn a_text_is_compared_to_its_end() {
        let request_id = "0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11";
        let inputs = Inputs::new(|source| {
            Ok::<_, std::convert::Infallible>(Some(match source {
                Source::RequestId => Input::Text(request_id.into()),
                Source::UpstreamAccountLabel => Input::Text("Aurora seat 1".into()),
                Source::PoolName => Input::Text("Core agents".into()),
                Source::RequestTransport => Input::Text(Transport::HttpSse.as_str().into()),
                Source::UserAgentName => Input::Text(ClientFamily::Codex.as_str().into()),
                Source::UserAgentVersion => Input::Text("0.142.0".into()),
                Source::HttpRoute => Input::Text("/v1/responses".into()),
                Source::RequestLatencyMs => Input::Int(8_400),
                Source::UsageStatus => Input::Text(UsageStatus::UsageKnown.as_str().into()),
                Source::UsageTotalTokens => Input::Int(50_103),
                Source::CostSettledUsd => Input::Double(0.033_112_5),
                _ => return Ok(None),
            }))
        });
        let policy = Policy::contract();
        for (key, text) in [
            (attr::TEXT_ID, "0b5a2f0e"),
            (attr::TEXT_ACCOUNT, "Aurora seat 1 · Core agents"),
            (attr::TEXT_TRANSPORT, "HTTP SSE · Codex 0.142.0"),
            (attr::TEXT_ROUTE, "/v1/responses · 8.4s"),
            (attr::TEXT_USAGE, "50.1k tokens · $0.0331"),
        ] {
            let derived = of(key).unwrap();
            assert_eq!(inputs.is_composed(&policy, derived, text.as_bytes()), Ok(true), "{key}");
            assert_eq!(inputs.correct(key, Some(text), false), Ok(None));
            let (start, last) = text.split_at(text.len() - 1);
            for other in [format!("{text}1"), format!("{text} "), start.to_owned(), format!("{start}~"), format!("{last}{start}")]
            {
                assert_eq!(inputs.is_composed(&policy, derived, other.as_bytes()), Ok(false), "{key}: {other}");
                assert_eq!(inputs.correct(key, Some(&other), false), Ok(Some(text.to_owned())), "{key}: {other}");
            }
        }
    }

    /// Guarantees: of what a correction's texts cannot be composed from again, the labels are names of six words at most, and the time is one.
    #[test]
    fn a_corrections_texts_hold_no_prose() {
        let inputs = Inputs::new(|_| Ok::<_, std::convert::Infallible>(None));
        let corrected = |key, text| inputs.correct(key, Some(text), true).unwrap();
        for (key, text) in [
            (attr::TEXT_ACCOUNT, "Aurora seat 1 · nightly batch (EU & US) 7"),
            (attr::TEXT_ACCOUNT, "– · –"),
            (attr::TEXT_MODEL, "gpt-5.4 · high / default · CI agents"),
            (attr::TEXT_ERRORS, "quota exhausted · resets 2026-08-24 06:00:00 UTC"),
            (attr::TEXT_ERRORS, "quota exhausted"),
        ] {
            assert_eq!(corrected(key, text), None, "{text}");
        }
        for (key, text, becomes) in [
            (attr::TEXT_ACCOUNT, "Aurora seat 1 · please tell me what this contract says", DASH),
            (attr::TEXT_ACCOUNT, "please tell me what this contract says · Core agents", DASH),
            (attr::TEXT_MODEL, "gpt-5.4 · high / default · please tell me what this contract says", DASH),
            (attr::TEXT_ERRORS, "quota exhausted · resets 4912-71-83 64:91:20 UTC", "quota exhausted"),
        ] {
            assert_eq!(corrected(key, text).as_deref(), Some(becomes), "{text}");
        }
    }
}
