//! The attributes of a row: every column and every filter of the request log. Rows, markers and corrections carry them.

use std::time::{SystemTime, UNIX_EPOCH};

use contract::display::{self, ErrorEntry, ModelText};
use contract::{
    ABSENT, DASH, OTHER, PricingStatus, RecordKind, RequestStatus, ServiceTier, Transport, UsageStatus, attr, outcome,
};

use crate::attributes::{Attributes, allowed, allowed_int};
use crate::lifecycle::{Account, ApiKey, Attempt, Lifecycle, Price, Settlement, Tokens};

/// Everything but what depends on the span: its kind, its sequence and `error.type`.
pub(crate) fn attributes(lifecycle: &Lifecycle, kind: RecordKind) -> Attributes {
    let none = Account::default();
    let account = lifecycle.account.as_ref().or_else(|| Some(&lifecycle.attempts.last()?.account)).unwrap_or(&none);
    let mut row = Attributes::new(account.id.map(|id| id.to_string()));
    // A text that stands in more than one column is checked once.
    let key_label = row.part(attr::API_KEY_LABEL, key_label(&lifecycle.admission.api_key));
    let latency_ms = latency_ms(lifecycle);
    row.member(attr::RECORD_KIND, kind.as_str());
    identity(&mut row, lifecycle);
    state(&mut row, lifecycle, latency_ms);
    ownership(&mut row, lifecycle, account, key_label);
    how(&mut row, lifecycle, key_label, latency_ms);
    settlement(&mut row, &lifecycle.settlement);
    row.compose();
    row
}

fn identity(row: &mut Attributes, lifecycle: &Lifecycle) {
    let admission = &lifecycle.admission;
    let id = admission.request_id.to_string();
    let correlation_id = admission.correlation_id.as_deref().and_then(|id| row.part(attr::REQUEST_CORRELATION_ID, id));
    // What a client calls its request is searched for where it has the form of an id, and is no error where it has not.
    let client_id = admission.client_request_id.as_deref().and_then(|id| allowed(attr::REQUEST_CORRELATION_ID, id));
    let mut search = id.clone();
    for other in [correlation_id, client_id].into_iter().flatten() {
        // Side by side, two ids can look like something else, such as a card number.
        let longer = format!("{search} {}", other.to_lowercase());
        if allowed(attr::REQUEST_SEARCH, &longer).is_some() {
            search = longer;
        }
    }
    row.composed(attr::TEXT_ID, display::short_id(&id).to_owned());
    row.checked(attr::REQUEST_ID, id);
    row.checked(attr::REQUEST_CORRELATION_ID, correlation_id.unwrap_or(ABSENT).to_owned());
    row.composed(attr::REQUEST_SEARCH, search);
    row.int(attr::REQUEST_ADMITTED_MS, unix_ms(lifecycle.admitted_at));
}

fn state(row: &mut Attributes, lifecycle: &Lifecycle, latency_ms: Option<u64>) {
    let end = lifecycle.end.as_ref();
    let code = error_code(lifecycle);
    let status = status(lifecycle);
    let retries = end.map_or(lifecycle.attempts.len().saturating_sub(1), |end| end.retry_count as usize);
    row.member(attr::REQUEST_STATUS, status.as_str());
    row.member(attr::REQUEST_OUTCOME, outcome::outcome(status, code).as_str());
    row.int(attr::REQUEST_RETRY_COUNT, retries);
    row.maybe_int(attr::REQUEST_LATENCY_MS, latency_ms);
    row.text(attr::ERROR_CODE, code.unwrap_or(ABSENT));
    row.composed(attr::TEXT_ERRORS, display::text_errors(&errors(lifecycle)));
    if let Some(end) = end {
        row.maybe_int(attr::HTTP_RESPONSE_STATUS_CODE, end.http_status);
        row.maybe_member(attr::RESPONSE_STATUS, end.response_status.map(contract::ResponseStatus::as_str));
        row.maybe_member(attr::RESPONSE_INCOMPLETE_REASON, end.incomplete_reason.map(contract::IncompleteReason::as_str));
    }
}

fn ownership(row: &mut Attributes, lifecycle: &Lifecycle, account: &Account, key_label: Option<&str>) {
    let pool = &lifecycle.admission.pool;
    let pool_name = row.part(attr::POOL_NAME, &pool.name);
    row.id(attr::POOL_ID, pool.id);
    row.text(attr::POOL_SLUG, &pool.slug);
    row.checked(attr::POOL_NAME, pool_name.unwrap_or(ABSENT).to_owned());
    let label = self::account(row, account);
    row.text(attr::UPSTREAM_PLAN_LABEL, plan(account).as_deref().unwrap_or(ABSENT));
    row.text(attr::UPSTREAM_PLAN_FAMILY, account.plan_family.as_deref().unwrap_or(ABSENT));
    row.checked(attr::API_KEY_LABEL, key_label.unwrap_or(ABSENT).to_owned());
    if let ApiKey::Key { id, prefix, .. } = &lifecycle.admission.api_key {
        row.id(attr::API_KEY_ID, *id);
        row.maybe_text(attr::API_KEY_PREFIX, prefix.as_deref());
    }
    row.composed(attr::TEXT_ACCOUNT, display::text_account(label.as_deref(), pool_name.unwrap_or(DASH)));
}

fn how(row: &mut Attributes, lifecycle: &Lifecycle, key_label: Option<&str>, latency_ms: Option<u64>) {
    let admission = &lifecycle.admission;
    let last = lifecycle.attempts.last();
    let effort = last.and_then(effort);
    let tier = lifecycle.end.as_ref().and_then(|end| end.service_tier).or(admission.service_tier);
    let fast_mode = admission.fast_mode || [tier, admission.requested_tier].contains(&Some(ServiceTier::Priority));
    let client = admission.client.as_ref();
    let version = client.and_then(|c| c.version.as_deref()).and_then(|v| row.part(attr::USER_AGENT_VERSION, v));
    // Of a request that is about no model, the log knows the path in its place.
    let model = admission.model.as_deref().filter(|model| !model.starts_with('/'));
    let model = model.map(|model| row.part(attr::REQUEST_MODEL, model).unwrap_or(OTHER));
    let text_model = display::text_model(&ModelText {
        model,
        effort,
        requested_effort: admission.requested_effort,
        tier,
        requested_tier: admission.requested_tier,
        fast_mode,
        api_key: key_label.unwrap_or(DASH),
    });
    let text_client = client.map(|client| (client.family, version));

    row.member(attr::HTTP_REQUEST_METHOD, admission.method.as_str());
    row.member(attr::HTTP_ROUTE, admission.route.as_str());
    row.checked(attr::REQUEST_MODEL, model.unwrap_or(ABSENT).to_owned());
    row.member(attr::REQUEST_TRANSPORT, admission.transport.as_str());
    row.member(attr::REQUEST_ROUTE_CLASS, admission.route_class.as_str());
    row.member(attr::REQUEST_SERVING_MODE, admission.serving_mode.as_str());
    if admission.transport == Transport::Websocket {
        row.member(attr::NETWORK_PROTOCOL_NAME, "websocket");
    }
    row.maybe_member(attr::REASONING_EFFORT_REQUESTED, admission.requested_effort.map(contract::ReasoningEffort::as_str));
    row.maybe_member(attr::REASONING_EFFORT_EFFECTIVE, effort.map(contract::ReasoningEffort::as_str));
    row.maybe_member(attr::REASONING_EFFORT_SOURCE, last.and_then(|last| last.effort_source).map(contract::EffortSource::as_str));
    row.maybe_member(attr::SERVICE_TIER_REQUESTED, admission.requested_tier.map(contract::ServiceTier::as_str));
    row.maybe_member(attr::SERVICE_TIER_ACTUAL, tier.map(contract::ServiceTier::as_str));
    row.maybe_member(attr::USER_AGENT_NAME, client.map(|client| client.family.as_str()));
    if let Some(version) = version {
        row.checked(attr::USER_AGENT_VERSION, version.to_owned());
    }
    row.composed(attr::TEXT_MODEL, text_model);
    row.composed(attr::TEXT_TRANSPORT, display::text_transport(admission.transport, fast_mode, text_client));
    row.composed(attr::TEXT_ROUTE, display::text_route(admission.route, admission.translated_from, latency_ms));
}

fn settlement(row: &mut Attributes, settlement: &Settlement) {
    let (status, pricing, tokens, usd) = match *settlement {
        Settlement::Pending => (UsageStatus::UsagePending, PricingStatus::None, Tokens::default(), None),
        Settlement::Unknown => (UsageStatus::UsageUnknown, PricingStatus::None, Tokens::default(), None),
        Settlement::NotApplicable => (UsageStatus::NotApplicable, PricingStatus::None, Tokens::default(), None),
        Settlement::Known { tokens, price } => {
            let (pricing, usd) = match price {
                Price::Priced { usd } if usd.is_finite() && usd >= 0.0 => (PricingStatus::Priced, Some(usd)),
                Price::Priced { .. } | Price::Unpriced(PricingStatus::Priced) => (PricingStatus::Other, None),
                Price::Unpriced(why) => (why, None),
            };
            (UsageStatus::UsageKnown, pricing, tokens, usd)
        }
    };
    row.member(attr::USAGE_STATUS, status.as_str());
    row.member(attr::PRICING_STATUS, pricing.as_str());
    row.maybe_int(attr::USAGE_INPUT_TOKENS, tokens.input);
    row.maybe_int(attr::USAGE_CACHE_READ_INPUT_TOKENS, tokens.cache_read);
    row.maybe_int(attr::USAGE_CACHE_WRITE_INPUT_TOKENS, tokens.cache_write);
    row.maybe_int(attr::USAGE_OUTPUT_TOKENS, tokens.output);
    row.maybe_int(attr::USAGE_REASONING_OUTPUT_TOKENS, tokens.reasoning);
    row.maybe_int(attr::USAGE_TOTAL_TOKENS, tokens.total);
    if let Some(usd) = usd {
        row.double(attr::COST_SETTLED_USD, usd);
    }
    // A number that is refused is not shown either.
    let total = tokens.total.and_then(|total| allowed_int(attr::USAGE_TOTAL_TOKENS, total));
    let cache_read = tokens.cache_read.and_then(|read| allowed_int(attr::USAGE_CACHE_READ_INPUT_TOKENS, read));
    row.composed(attr::TEXT_USAGE, display::text_usage(status, total, cache_read, usd));
}

/// Status of the row; an end that says "in progress" contradicts itself.
pub(crate) fn status(lifecycle: &Lifecycle) -> RequestStatus {
    match lifecycle.end.as_ref().map(|end| end.status) {
        None => RequestStatus::InProgress,
        Some(RequestStatus::InProgress) => RequestStatus::Other,
        Some(status) => status,
    }
}

/// Id and label of an account. The label is the one that may be shown, else the short form of the id, else `none`, and is returned.
pub(crate) fn account(span: &mut Attributes, account: &Account) -> Option<String> {
    let label = account.label.as_deref().and_then(|label| span.part(attr::UPSTREAM_ACCOUNT_LABEL, label)).map(str::to_owned);
    let label = label.or_else(|| Some(display::account_short_form(&account.id?.to_string())));
    span.maybe_id(attr::UPSTREAM_ACCOUNT_ID, account.id);
    span.checked(attr::UPSTREAM_ACCOUNT_LABEL, label.clone().unwrap_or(ABSENT.to_owned()));
    label
}

/// The plan badge.
pub(crate) fn plan(account: &Account) -> Option<String> {
    display::plan_badge(account.plan_label.as_deref(), account.plan_family.as_deref())
}

fn key_label(key: &ApiKey) -> &str {
    match key {
        ApiKey::ExternalToken => "external token",
        ApiKey::Key { label, .. } => label.as_deref().filter(|label| !label.trim().is_empty()).unwrap_or("unnamed key"),
    }
}

/// The effort that was sent upstream, else the one that policy applied.
pub(crate) fn effort(attempt: &Attempt) -> Option<contract::ReasoningEffort> {
    attempt.effective_effort.or(attempt.applied_effort)
}

fn latency_ms(lifecycle: &Lifecycle) -> Option<u64> {
    lifecycle.attempts.last()?.end.as_ref()?.latency_ms
}

/// The request's own code. A success has none, whatever its `End` says: the two would contradict each other in every count.
fn error_code(lifecycle: &Lifecycle) -> Option<&str> {
    lifecycle.end.as_ref().filter(|end| end.status != RequestStatus::Succeeded)?.error_code.as_deref()
}

/// What the errors column is made of: the request's code, its denials, then the code of every attempt that has one.
fn errors(lifecycle: &Lifecycle) -> Vec<ErrorEntry> {
    let end = lifecycle.end.as_ref();
    let own = error_code(lifecycle);
    let entry = |code: &str| entry(code, own);
    let request = own.map(entry);
    let denials = end.into_iter().flat_map(|end| &end.denials).map(|denial| ErrorEntry {
        exhausted: denial.exhausted,
        resets: denial.resets_at.and_then(instant),
        ..entry(&denial.code)
    });
    let attempts = lifecycle.attempts.iter().filter_map(|attempt| attempt.end.as_ref()?.error_code.as_deref().map(entry));
    request.into_iter().chain(denials).chain(attempts).collect()
}

/// A code that must not be shown is shown as the log shows an entry that has none; so is one that neither the contract knows nor the row has
/// itself.
fn entry(code: &str, own: Option<&str>) -> ErrorEntry {
    let shown = allowed(attr::ERROR_CODE, code).filter(|code| *code != OTHER && *code != ABSENT);
    let shown = shown.filter(|code| Some(*code) == own || display::is_known_code(code));
    ErrorEntry { code: shown.unwrap_or("error").to_owned(), ..ErrorEntry::default() }
}

fn instant(at: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(at).ok().map(|at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

fn unix_ms(at: SystemTime) -> u128 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}
