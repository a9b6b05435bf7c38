//! Texts that must follow from a record's other attributes: the composed columns of the request log, and the joined ids. What the contract's
//! display rules compose from the attributes that stay is what such a text has to be, so that it can say nothing of its own.
//!
//! Some columns show what no attribute carries. That much is taken from the text itself, and only from closed sets: whether the request ran in
//! fast mode, the route that the client called, error codes of attempts and denials, and one more id to search by. A correction has only what
//! changed, so that most of its texts cannot be composed again; their patterns, and the contract's closed sets, have to do there.

use std::borrow::Cow;

use contract::display::{self, ModelText};
use contract::{
    ABSENT, ClientFamily, DASH, Fallback, OTHER, ReasoningEffort, Route, ServiceTier, StripReason, Transport, UsageStatus, attr,
};

use crate::Policy;
use crate::check::Value;
use crate::policy::{KeyRule, Outcome};
use crate::times;

/// Each derived text, with the attributes that it follows from; and whether a correction can be held to it.
const DERIVED: &[(&str, &[&str], bool)] = &[
    (attr::REQUEST_SEARCH, &[attr::REQUEST_ID, attr::REQUEST_CORRELATION_ID], true),
    (attr::TEXT_ID, &[attr::REQUEST_ID], true),
    (attr::TEXT_ACCOUNT, &[attr::UPSTREAM_ACCOUNT_LABEL, attr::POOL_NAME], false),
    (
        attr::TEXT_MODEL,
        &[
            attr::REQUEST_MODEL,
            attr::REASONING_EFFORT_EFFECTIVE,
            attr::REASONING_EFFORT_REQUESTED,
            attr::SERVICE_TIER_ACTUAL,
            attr::SERVICE_TIER_REQUESTED,
            attr::API_KEY_LABEL,
        ],
        false,
    ),
    (attr::TEXT_TRANSPORT, &[attr::REQUEST_TRANSPORT, attr::USER_AGENT_NAME, attr::USER_AGENT_VERSION], false),
    (attr::TEXT_ROUTE, &[attr::HTTP_ROUTE, attr::REQUEST_LATENCY_MS], false),
    (
        attr::TEXT_USAGE,
        &[attr::USAGE_STATUS, attr::USAGE_TOTAL_TOKENS, attr::USAGE_CACHE_READ_INPUT_TOKENS, attr::COST_SETTLED_USD],
        false,
    ),
    (attr::TEXT_ERRORS, &[attr::ERROR_CODE], true),
];

/// Whether a key's text follows from other attributes.
#[must_use]
pub fn is_derived(key: &str) -> bool {
    DERIVED.iter().any(|(derived, ..)| *derived == key)
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

/// What the texts follow from: the attributes of one record that stay, as they stay.
#[derive(Clone, Debug, Default)]
pub struct Inputs<'a> {
    request_id: Option<Cow<'a, str>>,
    correlation_id: Option<Cow<'a, str>>,
    account: Option<Cow<'a, str>>,
    pool_name: Option<Cow<'a, str>>,
    model: Option<Cow<'a, str>>,
    api_key: Option<Cow<'a, str>>,
    client_version: Option<Cow<'a, str>>,
    error_code: Option<Cow<'a, str>>,
    effort: Option<ReasoningEffort>,
    requested_effort: Option<ReasoningEffort>,
    tier: Option<ServiceTier>,
    requested_tier: Option<ServiceTier>,
    transport: Option<Transport>,
    client: Option<ClientFamily>,
    route: Option<Route>,
    usage_status: Option<UsageStatus>,
    latency_ms: Option<u64>,
    total_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    cost_usd: Option<f64>,
}

impl<'a> Inputs<'a> {
    /// Collects them; `get` gives the value of an attribute that stays.
    ///
    /// # Errors
    /// Those of `get`.
    pub fn collect<E>(get: impl Fn(&'static str) -> Result<Option<Input<'a>>, E>) -> Result<Self, E> {
        let text = |key| -> Result<Option<Cow<'a, str>>, E> {
            Ok(match get(key)? {
                Some(Input::Text(text)) => Some(text),
                _ => None,
            })
        };
        let shown = |key| Ok(text(key)?.filter(|text| text != ABSENT));
        let count = |key| -> Result<Option<u64>, E> {
            Ok(match get(key)? {
                Some(Input::Int(number)) => u64::try_from(number).ok(),
                _ => None,
            })
        };
        Ok(Self {
            request_id: text(attr::REQUEST_ID)?,
            correlation_id: shown(attr::REQUEST_CORRELATION_ID)?,
            account: shown(attr::UPSTREAM_ACCOUNT_LABEL)?,
            pool_name: shown(attr::POOL_NAME)?,
            model: shown(attr::REQUEST_MODEL)?,
            api_key: shown(attr::API_KEY_LABEL)?,
            client_version: text(attr::USER_AGENT_VERSION)?,
            error_code: shown(attr::ERROR_CODE)?.filter(|code| code != OTHER),
            effort: text(attr::REASONING_EFFORT_EFFECTIVE)?.and_then(|text| ReasoningEffort::parse(&text)),
            requested_effort: text(attr::REASONING_EFFORT_REQUESTED)?.and_then(|text| ReasoningEffort::parse(&text)),
            tier: text(attr::SERVICE_TIER_ACTUAL)?.and_then(|text| ServiceTier::parse(&text)),
            requested_tier: text(attr::SERVICE_TIER_REQUESTED)?.and_then(|text| ServiceTier::parse(&text)),
            transport: text(attr::REQUEST_TRANSPORT)?.and_then(|text| Transport::parse(&text)),
            client: text(attr::USER_AGENT_NAME)?.and_then(|text| ClientFamily::parse(&text)),
            route: text(attr::HTTP_ROUTE)?.and_then(|text| Route::parse(&text)),
            usage_status: text(attr::USAGE_STATUS)?.and_then(|text| UsageStatus::parse(&text)),
            latency_ms: count(attr::REQUEST_LATENCY_MS)?,
            total_tokens: count(attr::USAGE_TOTAL_TOKENS)?,
            cached_tokens: count(attr::USAGE_CACHE_READ_INPUT_TOKENS)?,
            cost_usd: match get(attr::COST_SETTLED_USD)? {
                Some(Input::Double(number)) => Some(number),
                _ => None,
            },
        })
    }

    /// What a derived text of a record should be, by the contract alone; `None` if it is right as it is. `given` is `None` for what is no text;
    /// `is_correction` says that the record has only what changed.
    #[must_use]
    pub fn correct(&self, key: &str, given: Option<&str>, is_correction: bool) -> Option<String> {
        let policy = Policy::contract();
        let rule = policy.rule(key)?;
        let checked = given.map_or(Err(StripReason::WrongType), |text| rule.check(Value::Text(text)));
        match self.outcome(&policy, rule, checked, given, is_correction) {
            Outcome::Keep => None,
            Outcome::Replace(_, text) => Some(text),
            Outcome::Drop(_) => Some(DASH.to_owned()),
        }
    }

    /// What becomes of a derived text, from the answer of its own rule about it.
    pub(crate) fn outcome(
        &self,
        policy: &Policy,
        rule: &KeyRule,
        checked: Result<(), StripReason>,
        given: Option<&str>,
        is_correction: bool,
    ) -> Outcome {
        let Some((key, inputs, always)) = DERIVED.iter().find(|(key, ..)| **key == *rule.key) else { return Outcome::Keep };
        let text = if checked.is_ok() { given.unwrap_or("") } else { "" };
        let has_say = || inputs.iter().filter_map(|input| policy.rule(input)).any(|rule| rule.plain().is_none() || rule.hides());
        let is_partial = is_correction && !always;
        if is_partial && checked.is_ok() && !has_say() && has_known_labels(policy, key, text) {
            return Outcome::Keep;
        }
        let fallback = if let Fallback::Text(text) = rule.fallback { text } else { DASH };
        if *key == attr::REQUEST_SEARCH && checked.is_ok() && self.is_usual_search(text) {
            return Outcome::Keep;
        }
        let composed = self.compose(policy, key, text);
        // The usual case first: the text is right, and its own rule has seen it.
        if checked.is_ok() && composed.as_deref() == given {
            return Outcome::Keep;
        }
        let expected = match composed {
            // Of part of what it follows from, a text cannot be composed.
            _ if is_partial => fallback.to_owned(),
            Some(composed) if rule.check(Value::Text(&composed)).is_ok() => composed,
            _ => fallback.to_owned(),
        };
        if given == Some(&expected) {
            return Outcome::Keep;
        }
        Outcome::Replace(checked.err().unwrap_or(StripReason::NotDerived), expected)
    }

    /// What a text should be; what no attribute says is taken from `given`. `None` where nothing can be said.
    fn compose(&self, policy: &Policy, key: &str, given: &str) -> Option<String> {
        Some(match key {
            attr::REQUEST_SEARCH => self.search(policy, given)?,
            attr::TEXT_ID => display::short_id(self.request_id.as_deref()?).to_owned(),
            attr::TEXT_ACCOUNT => display::text_account(self.account.as_deref(), self.pool_name.as_deref().unwrap_or(DASH)),
            attr::TEXT_MODEL => self.either(given, |fast_mode| {
                display::text_model(&ModelText {
                    model: self.model.as_deref(),
                    effort: self.effort,
                    requested_effort: self.requested_effort,
                    tier: self.tier,
                    requested_tier: self.requested_tier,
                    fast_mode,
                    api_key: self.api_key.as_deref().unwrap_or(DASH),
                })
            }),
            attr::TEXT_TRANSPORT => self.either(given, |fast_mode| {
                let client = self.client.map(|client| (client, self.client_version.as_deref()));
                display::text_transport(self.transport.unwrap_or(Transport::Other), fast_mode, client)
            }),
            attr::TEXT_ROUTE => {
                let origin = given.split_once(" ← ").and_then(|(_, rest)| rest.split(display::SEPARATOR).next());
                let origin = origin.filter(|origin| admits(policy, attr::HTTP_ROUTE, origin)).and_then(Route::parse);
                display::text_route(self.route?, origin, self.latency_ms)
            }
            attr::TEXT_USAGE => {
                let status = self.usage_status.unwrap_or(UsageStatus::Other);
                display::text_usage(status, self.total_tokens, self.cached_tokens, self.cost_usd)
            }
            attr::TEXT_ERRORS => self.errors(policy, given),
            _ => return None,
        })
    }

    /// Fast mode is said by no attribute but by the tiers; where they do not say it, the text may.
    fn either(&self, given: &str, compose: impl Fn(bool) -> String) -> String {
        let is_priority = [self.tier, self.requested_tier].contains(&Some(ServiceTier::Priority));
        let usual = compose(is_priority);
        if usual == given || is_priority {
            return usual;
        }
        let fast = compose(true);
        if fast == given { fast } else { usual }
    }

    /// Whether the text is what [`Self::search`] joins of two ids in lower case; every row has one, and to compare it takes less than to join it.
    fn is_usual_search(&self, given: &str) -> bool {
        let (Some(request_id), Some(correlation_id)) = (self.request_id.as_deref(), self.correlation_id.as_deref()) else {
            return false;
        };
        given.strip_prefix(request_id).and_then(|rest| rest.strip_prefix(' ')) == Some(correlation_id)
            && correlation_id.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
    }

    /// The ids in lower case; after them one more, which no attribute carries. An id is left out where it would make the whole look like something
    /// else, such as a card number.
    fn search(&self, policy: &Policy, given: &str) -> Option<String> {
        let request_id = self.request_id.as_deref()?;
        let correlation_id = self.correlation_id.as_deref().map(str::to_lowercase);
        let mut others = given.split(' ').skip(1).peekable();
        others.next_if(|id| Some(*id) == correlation_id.as_deref());
        let one_more = others.next().filter(|id| admits(policy, attr::REQUEST_CORRELATION_ID, id) && *id == id.to_lowercase());
        let all = [Some(request_id), correlation_id.as_deref(), one_more];
        let joined = all.into_iter().flatten().collect::<Vec<_>>().join(" ");
        if joined == given {
            return Some(joined);
        }
        let mut search = request_id.to_owned();
        for id in [correlation_id.as_deref(), one_more].into_iter().flatten() {
            let longer = format!("{search} {id}");
            if admits(policy, attr::REQUEST_SEARCH, &longer) {
                search = longer;
            }
        }
        Some(search)
    }

    /// The given lines, as far as each is a code that the contract lists, or the record's own.
    fn errors(&self, policy: &Policy, given: &str) -> String {
        const EXHAUSTED: &str = "quota exhausted";
        if [DASH, "no heartbeat", "quota evidence unavailable", EXHAUSTED].contains(&given) {
            return given.to_owned();
        }
        if let Some(rest) = given.strip_prefix(EXHAUSTED) {
            // The time is said by no attribute; what is none of this age says something else in digits.
            let is_time = rest.strip_prefix(" · resets ").is_some_and(times::is_possible_instant);
            return if is_time { given } else { EXHAUSTED }.to_owned();
        }
        let is_own = |code: &str| self.error_code.as_deref() == Some(code);
        let is_known = |code: &str| display::is_known_code(code) && admits(policy, attr::ERROR_CODE, code);
        let codes: Vec<&str> = given.split(display::SEPARATOR).filter(|code| is_own(code) || is_known(code)).collect();
        if codes.is_empty() { self.error_code.as_deref().unwrap_or(DASH).to_owned() } else { codes.join(display::SEPARATOR) }
    }
}

/// Whether the labels in a text that cannot be composed again are names, each by its own rule: the pattern of the whole does not count words.
fn has_known_labels(policy: &Policy, key: &str, text: &str) -> bool {
    let parts = text.split(display::SEPARATOR);
    let (keys, labels): (&[&str], Vec<&str>) = match key {
        attr::TEXT_ACCOUNT => (&[attr::UPSTREAM_ACCOUNT_LABEL, attr::POOL_NAME], parts.collect()),
        attr::TEXT_MODEL => (&[attr::API_KEY_LABEL], parts.last().into_iter().collect()),
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

    /// Guarantees: of what a correction's texts cannot be composed from again, the labels are names of six words at most, and the time is one.
    #[test]
    fn a_corrections_texts_hold_no_prose() {
        let inputs = Inputs::collect(|_| Ok::<_, ()>(None)).unwrap();
        let corrected = |key, text| inputs.correct(key, Some(text), true);
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
