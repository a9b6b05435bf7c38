//! The composed texts of a row, by the contract's display rules from the row's other attributes: what an emitter does, written a second time.

use contract::display::{self, ModelText};
use contract::{ABSENT, ClientFamily, DASH, OTHER, ReasoningEffort, Route, ServiceTier, Transport, UsageStatus, attr};
use opentelemetry_proto::tonic::common::v1::KeyValue;

use crate::otlp::{Value, attribute};

/// Composes the texts of a row or marker again, as far as it has them, after other attributes changed. The row is one without fast mode, without a
/// translated route, and with no other error than its own.
pub fn compose(attributes: &mut [KeyValue]) {
    let texts = texts(attributes);
    for (key, text) in texts {
        if let Some(found) = attributes.iter_mut().find(|attribute| attribute.key == key) {
            *found = attribute(key, text);
        }
    }
}

fn texts(attributes: &[KeyValue]) -> Vec<(&'static str, String)> {
    let value = |key: &str| attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref();
    let text = |key: &str| match value(key)? {
        Value::StringValue(text) if text != ABSENT => Some(text.as_str()),
        _ => None,
    };
    let number = |key: &str| match value(key)? {
        Value::IntValue(n) => u64::try_from(*n).ok(),
        _ => None,
    };
    let usd = match value(attr::COST_SETTLED_USD) {
        Some(Value::DoubleValue(usd)) => Some(*usd),
        _ => None,
    };
    let model = display::text_model(&ModelText {
        model: text(attr::REQUEST_MODEL),
        effort: text(attr::REASONING_EFFORT_EFFECTIVE).and_then(ReasoningEffort::parse),
        requested_effort: text(attr::REASONING_EFFORT_REQUESTED).and_then(ReasoningEffort::parse),
        tier: text(attr::SERVICE_TIER_ACTUAL).and_then(ServiceTier::parse),
        requested_tier: text(attr::SERVICE_TIER_REQUESTED).and_then(ServiceTier::parse),
        fast_mode: false,
        api_key: text(attr::API_KEY_LABEL).unwrap_or(DASH),
    });
    let client = text(attr::USER_AGENT_NAME).and_then(ClientFamily::parse);
    let transport = text(attr::REQUEST_TRANSPORT).and_then(Transport::parse).unwrap_or(Transport::Other);
    let usage = text(attr::USAGE_STATUS).and_then(UsageStatus::parse).unwrap_or(UsageStatus::Other);
    let id = text(attr::REQUEST_ID);
    let search = [id.map(str::to_owned), text(attr::REQUEST_CORRELATION_ID).map(str::to_lowercase)];
    vec![
        (attr::REQUEST_SEARCH, id.map_or(ABSENT.to_owned(), |_| search.into_iter().flatten().collect::<Vec<_>>().join(" "))),
        (attr::TEXT_ID, id.map_or(DASH, display::short_id).to_owned()),
        (attr::TEXT_ACCOUNT, display::text_account(text(attr::UPSTREAM_ACCOUNT_LABEL), text(attr::POOL_NAME).unwrap_or(DASH))),
        (attr::TEXT_MODEL, model),
        (
            attr::TEXT_TRANSPORT,
            display::text_transport(transport, false, client.map(|client| (client, text(attr::USER_AGENT_VERSION)))),
        ),
        (
            attr::TEXT_ROUTE,
            text(attr::HTTP_ROUTE)
                .and_then(Route::parse)
                .map_or(DASH.to_owned(), |route| display::text_route(route, None, number(attr::REQUEST_LATENCY_MS))),
        ),
        (
            attr::TEXT_USAGE,
            display::text_usage(usage, number(attr::USAGE_TOTAL_TOKENS), number(attr::USAGE_CACHE_READ_INPUT_TOKENS), usd),
        ),
        (attr::TEXT_ERRORS, text(attr::ERROR_CODE).filter(|code| *code != OTHER).unwrap_or(DASH).to_owned()),
    ]
}
