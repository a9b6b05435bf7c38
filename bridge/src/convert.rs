//! Which column decides what. The request log's own rules, so that both show the same.

use contract::{
    AttemptStatus, EffortSource, Method, PricingStatus, ReasoningEffort, RequestStatus, ResponseStatus, Route, RouteClass,
    ServiceTier, ServingMode, Transport,
};
use exporter::lifecycle::route_class;
use exporter::{
    Account, Admission, ApiKey, Attempt, AttemptEnd, Client, Denial, Ended, Lifecycle, Pool, Price, Settlement, Tokens,
};
use uuid::Uuid;

use crate::rows::{self, Row};

/// The code of an entry that has none, as the request log shows it.
const NO_CODE: &str = "error";
/// Micro-dollars in a dollar.
const MICROS: f64 = 1e6;

/// The lifecycle of one request; open, if the request is.
#[must_use]
pub fn lifecycle(row: &Row) -> Lifecycle {
    let attempts = attempts(row);
    let end = end(row, &attempts);
    Lifecycle {
        admission: admission(row),
        admitted_at: row.requests.admitted_at,
        account: Some(account(row)),
        attempts,
        settlement: settlement(row),
        end,
    }
}

fn admission(row: &Row) -> Admission {
    let request = &row.requests;
    let metadata = &request.request_metadata;
    let api_key = request.api_key_id.map_or(ApiKey::ExternalToken, |id| ApiKey::Key {
        id,
        label: row.api_keys.as_ref().and_then(|key| key.display_name.clone()),
        prefix: row.api_keys.as_ref().and_then(|key| key.key_prefix.clone()),
    });
    let pool = Pool { id: row.pools.id, slug: row.pools.slug.clone(), name: row.pools.name.clone() };
    let transport = Transport::parse(&request.transport).unwrap_or(Transport::Other);
    let route = Route::parse(&request.endpoint).unwrap_or(Route::Other);
    let stored_class = metadata.routing.route_class.as_ref().or(metadata.reservation_snapshot_inputs.route_class.as_ref());
    let fast = |mode: &Option<String>| mode.as_deref() == Some("fast");
    Admission {
        correlation_id: Some(request.correlation_id.clone()),
        client_request_id: metadata.client_request_id.clone(),
        model: model(&request.requested_model),
        translated_from: present(metadata.openai_compatibility.source_endpoint.as_deref())
            .map(|path| Route::parse(path).unwrap_or(Route::Other)),
        route_class: stored_class
            .map_or_else(|| route_class(route, transport), |class| RouteClass::parse(class).unwrap_or(RouteClass::Other)),
        requested_effort: effort(request.reasoning_effort.as_deref()),
        requested_tier: tier(request.requested_service_tier.as_deref()),
        service_tier: tier(request.actual_service_tier.as_deref()).or_else(|| tier(request.service_tier.as_deref())),
        // The priced tier is hidden behind the actual one, and counts all the same.
        fast_mode: tier(request.service_tier.as_deref()) == Some(ServiceTier::Priority)
            || metadata.fast_mode
            || fast(&metadata.codex_mode)
            || fast(&metadata.codex.mode)
            || fast(&metadata.request.mode),
        serving_mode: serving_mode(&metadata.routing),
        client: present(request.user_agent.as_deref()).map(Client::from_user_agent),
        ..Admission::new(request.id, pool, api_key, method(route, transport), route, transport)
    }
}

/// The table has no column for it, and every route has only one.
const fn method(route: Route, transport: Transport) -> Method {
    match (route, transport) {
        (_, Transport::Websocket)
        | (
            Route::BackendApiCodexModels
            | Route::V1Models
            | Route::ApiCodexUsage
            | Route::WhamUsage
            | Route::BackendApiWhamUsage
            | Route::V1Usage
            | Route::V1FilesContent,
            _,
        ) => Method::Get,
        (Route::V1FilesDelete, _) => Method::Delete,
        (Route::Other, _) => Method::Other,
        _ => Method::Post,
    }
}

fn serving_mode(routing: &rows::Routing) -> ServingMode {
    let configured = routing.model_serving_mode_configured.as_deref();
    let effective = routing.model_serving_mode.as_deref();
    let valid = match routing.model_serving_mode_source.as_deref() {
        Some("catalog") => configured == Some("auto"),
        Some("override") => configured == effective,
        _ => false,
    };
    effective.filter(|_| valid).and_then(ServingMode::parse).unwrap_or(ServingMode::None)
}

/// The account that the row shows: the last one, by its name now if the request noted a name, with the plan that the request noted.
fn account(row: &Row) -> Account {
    let request = &row.requests;
    let facts = row.request_log_facts.as_ref();
    let last = row.attempts.iter().max_by_key(|attempt| attempt.attempt_number);
    let id = facts
        .and_then(|facts| facts.latest_upstream_identity_id)
        .or_else(|| last?.upstream_identity_id)
        .or(request.request_metadata.upstream_identity.id);
    let assignment_id =
        facts.and_then(|facts| facts.latest_pool_upstream_assignment_id).or_else(|| Some(last?.pool_upstream_assignment_id));
    let live = identity(row, id).and_then(|identity| present(identity.account_label.as_deref()));
    let noted = present(request.upstream_account_label.as_deref());
    let assigned = assignment(row, assignment_id).and_then(|assignment| present(assignment.assignment_label.as_deref()));
    let label = match noted {
        Some(noted) => Some(live.unwrap_or(noted)),
        None => assigned.or(live),
    };
    Account {
        id,
        label: label.map(str::to_owned),
        plan_label: request.upstream_account_plan_label.clone(),
        plan_family: request.upstream_account_plan_family.clone(),
        assignment_id,
    }
}

fn identity(row: &Row, id: Option<Uuid>) -> Option<&rows::Identity> {
    row.upstream_identities.iter().find(|identity| Some(identity.id) == id)
}

fn assignment(row: &Row, id: Option<Uuid>) -> Option<&rows::Assignment> {
    row.pool_upstream_assignments.iter().find(|assignment| Some(assignment.id) == id)
}

fn attempts(row: &Row) -> Vec<Attempt> {
    let mut attempts: Vec<_> = row.attempts.iter().map(|attempt| self::attempt(row, attempt)).collect();
    attempts.sort_by_key(|attempt| attempt.number);
    // The log's latency; it is the last attempt's, and the facts have the last word.
    if let Some(facts) = &row.request_log_facts
        && let Some(end) = attempts.last_mut().and_then(|last| last.end.as_mut())
    {
        end.latency_ms = facts.latest_latency_ms;
    }
    attempts
}

fn attempt(row: &Row, attempt: &rows::Attempt) -> Attempt {
    let identity = identity(row, attempt.upstream_identity_id);
    let label = identity.and_then(|identity| present(identity.account_label.as_deref()));
    let reasoning = &attempt.response_metadata.reasoning;
    Attempt {
        id: attempt.id,
        number: attempt.attempt_number,
        account: Account {
            id: attempt.upstream_identity_id,
            label: label
                .or_else(|| present(assignment(row, Some(attempt.pool_upstream_assignment_id))?.assignment_label.as_deref()))
                .map(str::to_owned),
            plan_label: identity.and_then(|identity| identity.plan_label.clone()),
            plan_family: identity.and_then(|identity| identity.plan_family.clone()),
            assignment_id: Some(attempt.pool_upstream_assignment_id),
        },
        transport: Transport::parse(&attempt.transport).unwrap_or(Transport::Other),
        model: model(&attempt.upstream_model_id),
        applied_effort: effort(reasoning.applied_effort.as_deref()),
        effective_effort: effort(reasoning.effective_effort.as_deref()),
        effort_source: reasoning.source.as_deref().map(|source| EffortSource::parse(source).unwrap_or(EffortSource::Other)),
        service_tier: None,
        started_at: attempt.started_at,
        end: attempt_end(row, attempt),
    }
}

fn attempt_end(row: &Row, attempt: &rows::Attempt) -> Option<AttemptEnd> {
    if matches!(attempt.status.as_str(), "queued" | "in_progress") {
        return None;
    }
    let metadata = &attempt.response_metadata;
    let code = [&attempt.network_error_code, &metadata.error_code, &metadata.error_kind];
    let first_output = row.codex_turns.as_ref().filter(|turn| turn.final_attempt_id == Some(attempt.id));
    Some(AttemptEnd {
        at: attempt.completed_at.unwrap_or(attempt.started_at),
        http_status: attempt.upstream_status_code,
        retryable: attempt.retryable,
        error_code: code.into_iter().find_map(|code| present(code.as_deref())).map(str::to_owned),
        latency_ms: attempt.latency_ms,
        usage: ledger_settlement(row)
            .filter(|entry| entry.attempt_id == Some(attempt.id) && entry.usage_status == "usage_known")
            .map(ledger_tokens),
        first_output_ms: first_output
            .and_then(|turn| turn.first_visible_output_at)
            .and_then(|at| u64::try_from(at.duration_since(attempt.started_at).ok()?.as_millis()).ok()),
        response_status: response_status(metadata),
        ..AttemptEnd::new(AttemptStatus::parse(&attempt.status).unwrap_or(AttemptStatus::Other))
    })
}

fn response_status(metadata: &rows::AttemptMetadata) -> Option<ResponseStatus> {
    let kind = metadata.public_openai_responses_stream.terminal_kind.as_deref()?;
    Some(ResponseStatus::parse(kind).unwrap_or(ResponseStatus::Other))
}

fn end(row: &Row, attempts: &[Attempt]) -> Option<Ended> {
    let request = &row.requests;
    if matches!(request.status.as_str(), "accepted" | "in_progress") {
        return None;
    }
    // Every terminal status is written with its time; for a row that breaks this, the best there is.
    let last = attempts.last().and_then(|attempt| attempt.end.as_ref()).map(|end| end.at);
    let at = request.completed_at.or(last).unwrap_or(request.admitted_at);
    let last_row = row.attempts.iter().max_by_key(|attempt| attempt.attempt_number);
    Some(Ended {
        at,
        http_status: request.response_status_code,
        error_code: present(request.last_error_code.as_deref()).map(str::to_owned),
        denials: denials(&request.request_metadata),
        response_status: last_row.and_then(|attempt| response_status(&attempt.response_metadata)),
        retry_count: request.retry_count,
        ..Ended::new(RequestStatus::parse(&request.status).unwrap_or(RequestStatus::Other))
    })
}

/// In the order in which the request log lists them.
fn denials(metadata: &rows::RequestMetadata) -> Vec<Denial> {
    let denials = [
        &metadata.policy_denial,
        &metadata.gateway_denial,
        &metadata.continuity_denial,
        &metadata.retryable_summary,
        &metadata.degraded_summary,
    ];
    let denials = denials.into_iter().flatten().map(|denial| Denial {
        code: first([&denial.code, &denial.denial_family, &denial.error_code, &denial.reason]),
        ..Denial::default()
    });
    let reasons = metadata.candidate_exclusions.iter().flat_map(|exclusion| &exclusion.reasons).map(|reason| Denial {
        code: first([&reason.code, &reason.reason]),
        exhausted: reason.reason_codes.iter().any(|code| code == "exhausted"),
        resets_at: reason.reset_at.as_deref().and_then(rows::parse_instant),
    });
    denials.chain(reasons).collect()
}

fn settlement(row: &Row) -> Settlement {
    let facts = row.request_log_facts.as_ref().filter(|facts| facts.latest_settlement_usage_status.is_some());
    let entry = ledger_settlement(row);
    let usage_status = facts
        .and_then(|facts| facts.latest_settlement_usage_status.as_deref())
        .or_else(|| Some(entry?.usage_status.as_str()))
        .unwrap_or(&row.requests.usage_status);
    match usage_status {
        "usage_pending" => Settlement::Pending,
        "not_applicable" => Settlement::NotApplicable,
        // The tokens of any other settlement repeat the reservation's estimate.
        "usage_known" => match (facts, entry) {
            (Some(facts), _) => Settlement::Known {
                tokens: facts_tokens(facts),
                price: price(facts.latest_settlement_pricing_status.as_deref(), facts.latest_settled_cost_micros.map(as_f64)),
            },
            (None, Some(entry)) => Settlement::Known {
                tokens: ledger_tokens(entry),
                price: price(
                    entry.details.pricing_status.as_deref(),
                    entry.details.settled_cost_micros.as_deref().and_then(|micros| micros.parse().ok()),
                ),
            },
            (None, None) => Settlement::Known { tokens: Tokens::default(), price: Price::Unpriced(PricingStatus::None) },
        },
        _ => Settlement::Unknown,
    }
}

/// The settlement that holds. An entry that was replaced is voided.
fn ledger_settlement(row: &Row) -> Option<&rows::LedgerEntry> {
    row.ledger_entries.iter().rfind(|entry| entry.entry_kind == "settlement" && entry.amount_status == "recorded")
}

fn facts_tokens(facts: &rows::Facts) -> Tokens {
    Tokens {
        input: facts.latest_input_tokens,
        cache_read: facts.latest_cached_input_tokens,
        cache_write: facts.latest_cache_write_tokens,
        output: facts.latest_output_tokens,
        reasoning: facts.latest_reasoning_tokens,
        total: facts.latest_total_tokens,
    }
}

fn ledger_tokens(entry: &rows::LedgerEntry) -> Tokens {
    Tokens {
        input: entry.input_tokens,
        cache_read: entry.cached_input_tokens,
        cache_write: entry.cache_write_tokens,
        output: entry.output_tokens,
        reasoning: entry.reasoning_tokens,
        total: entry.total_tokens,
    }
}

fn price(status: Option<&str>, cost_micros: Option<f64>) -> Price {
    match (status.map(PricingStatus::parse), cost_micros) {
        (Some(Some(PricingStatus::Priced)), Some(micros)) => Price::Priced { usd: micros / MICROS },
        (None, _) => Price::Unpriced(PricingStatus::None),
        (Some(Some(PricingStatus::Priced) | None), _) => Price::Unpriced(PricingStatus::Other),
        (Some(Some(why)), _) => Price::Unpriced(why),
    }
}

// Exact up to 2^53 micro-dollars, nine billion dollars.
#[allow(clippy::cast_precision_loss)]
const fn as_f64(n: u64) -> f64 {
    n as f64
}

/// Rows without a model hold their endpoint in its place.
fn model(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && !text.starts_with('/')).then(|| text.to_owned())
}

fn effort(text: Option<&str>) -> Option<ReasoningEffort> {
    let text = present(text)?.trim().to_lowercase();
    Some(ReasoningEffort::parse(&text).unwrap_or(ReasoningEffort::Other))
}

fn tier(text: Option<&str>) -> Option<ServiceTier> {
    let text = present(text)?.trim().to_lowercase();
    // Another word for it, in old rows.
    Some(if text == "fast" { ServiceTier::Priority } else { ServiceTier::parse(&text).unwrap_or(ServiceTier::Other) })
}

fn first<const N: usize>(codes: [&Option<String>; N]) -> String {
    codes.into_iter().find_map(|code| present(code.as_deref())).unwrap_or(NO_CODE).to_owned()
}

/// The text, unless it is blank.
fn present(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}
