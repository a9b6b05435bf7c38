//! The simulated pooler's traffic: two Pools, five accounts, and every way in which a request can go, each as a plan of a whole lifecycle. The
//! same seed gives the same plans.

use std::time::{Duration, SystemTime};

use contract::{
    AttemptStatus, EffortSource, FinishReason, IncompleteReason, Method, PricingStatus, ReasoningEffort, RequestStatus,
    ResponseStatus, Route, ServiceTier, ServingMode, Transport,
};
use exporter::lifecycle::{
    Account, Admission, ApiKey, Attempt, AttemptEnd, Client, Denial, Ended, Lifecycle, Pool, Price, Settlement, Tokens,
};
use fastrand::Rng;
use uuid::Uuid;

/// A request as it will go, and usage that will be learned only after its end.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The whole life.
    pub lifecycle: Lifecycle,
    /// What becomes known late.
    pub late_usage: Option<Settlement>,
}

/// How often each way comes up, in parts of the sum, and how to plan it.
type Scenario = (u32, fn(&mut World, SystemTime) -> Plan);

/// Every way in which a request can go.
pub const SCENARIOS: &[Scenario] = &[
    (300, |w, at| w.streamed(at).done()),
    (80, |w, at| w.json(at).done()),
    (60, |w, at| w.websocket(at).done()),
    (40, |w, at| w.translated(at, Route::V1Responses).upstream(Transport::Websocket).done()),
    (40, |w, at| w.translated(at, Route::V1ChatCompletions).done()),
    (30, |w, at| w.streamed(at).tier(ServiceTier::Priority, ServiceTier::Priority).done()),
    (20, |w, at| w.streamed(at).tier(ServiceTier::Flex, ServiceTier::Default).done()),
    (20, |w, at| w.streamed(at).effort_by_policy().done()),
    (25, |w, at| w.compact(at).done()),
    (20, |w, at| w.streamed(at).retried().done()),
    (12, |w, at| w.streamed(at).nobody_reached().done()),
    (15, |w, at| w.streamed(at).incomplete(true).done()),
    (15, |w, at| w.streamed(at).incomplete(false).done()),
    (12, |w, at| w.streamed(at).unpriced(PricingStatus::UnpricedMissingModel).done()),
    (8, |w, at| w.streamed(at).unpriced(PricingStatus::UnpricedAutoTier).done()),
    (15, |w, at| w.streamed(at).broken("client_disconnected", 200).done()),
    (8, |w, at| w.websocket(at).broken("client_disconnected", 499).done()),
    (15, |w, at| w.streamed(at).broken("upstream_stream_error", 200).done()),
    (8, |w, at| w.streamed(at).broken("stream_idle_timeout", 200).done()),
    (6, |w, at| w.websocket(at).broken("stream_incomplete", 200).done()),
    (6, |w, at| w.websocket(at).broken("owner_drained", 503).done()),
    (8, |w, at| w.streamed(at).broken("full_upstream_rejection", 400).done()),
    (12, |w, at| w.streamed(at).broken("upstream_rate_limited", 429).done()),
    (12, |w, at| w.streamed(at).rejected("model_not_allowed", 403, &[]).done()),
    (8, |w, at| w.streamed(at).rejected("api_key_policy_limit_exceeded", 429, &[]).done()),
    (15, |w, at| w.streamed(at).quota_exhausted().done()),
    (5, |w, at| w.streamed(at).rejected("quota_evidence_unavailable", 503, &[]).done()),
    (5, |w, at| w.streamed(at).rejected("pinned_continuation_reauth_required", 503, &["pinned_continuation_reauth"]).done()),
    (6, |w, at| w.streamed(at).rejected("no_eligible_backend", 503, &["routing_circuit_open"]).done()),
    (5, |w, at| w.streamed(at).no_attempt_started().done()),
    (30, |w, at| w.listing(at, Route::V1Models).done()),
    (20, |w, at| w.upload(at).done()),
    (5, |w, at| w.listing(at, Route::BackendApiFilesUploaded).failed_without_code().done()),
    (12, |w, at| w.listing(at, Route::WhamUsage).external_token().done()),
    (15, |w, at| w.acknowledgement(at).done()),
    (15, |w, at| w.transcription(at).done()),
    (8, |w, at| w.websocket(at).usage_comes_late()),
    (5, |w, at| w.streamed(at).recovered().done()),
    (12, |w, at| w.streamed(at).cancelled().done()),
];

/// How far the turn goes on, see [`World::next_in_turn`].
const TURN_STEP: usize = 7;
const _: () = assert!(!SCENARIOS.len().is_multiple_of(TURN_STEP), "the turn would skip scenarios");

/// The Pools, accounts and keys, and the source of chance.
pub struct World {
    rng: Rng,
    turn: usize,
    pools: [Pool; 2],
    accounts: [Account; 5],
    keys: [ApiKey; 4],
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut id = || Uuid::from_u128(rng.u128(..));
        let pool = |id, slug: &str, name: &str| Pool { id, slug: slug.to_owned(), name: name.to_owned() };
        let pools = [pool(id(), "core-agents", "Core agents"), pool(id(), "research", "Research")];
        let mut account = |label: Option<&str>, plan: &str, family: &str| Account {
            id: Some(id()),
            label: label.map(str::to_owned),
            plan_label: Some(plan.to_owned()),
            plan_family: Some(family.to_owned()),
            assignment_id: Some(id()),
        };
        let accounts = [
            account(Some("Aurora seat 1"), "pro", "pro"),
            account(Some("Borealis team"), "team", "team"),
            account(Some("Cirrus enterprise"), "enterprise_cbp_usage_based", "enterprise-cbp-usage-based"),
            account(Some("Dune plus"), "ChatGPT Plus", "plus"),
            // An operator who never named the account: its label would be an e-mail address, and becomes a short form of its id.
            account(Some("ember@example.com"), "prolite", "pro"),
        ];
        let mut key = |label: Option<&str>, digits: &str| ApiKey::Key {
            id: id(),
            label: label.map(str::to_owned),
            prefix: Some(format!("sk-cxp-{digits}")),
        };
        let keys = [
            key(Some("CI agents"), "1b158839f8aa"),
            key(Some("Developer laptops"), "7c02d55e9b10"),
            key(Some("Research notebook"), "a4410be27d63"),
            key(None, "03f6c81d92e5"),
        ];
        Self { rng, turn: 0, pools, accounts, keys }
    }

    /// A request that is admitted then, going some way at random.
    pub fn plan(&mut self, at: SystemTime) -> Plan {
        let total: u32 = SCENARIOS.iter().map(|(parts, _)| parts).sum();
        let mut pick = self.rng.u32(..total);
        for (parts, scenario) in SCENARIOS {
            if pick < *parts {
                return scenario(self, at);
            }
            pick -= parts;
        }
        self.streamed(at).done()
    }

    /// As [`World::plan`], but going each way in turn, so that a watcher sees them all.
    pub fn next_in_turn(&mut self, at: SystemTime) -> Plan {
        let (_, scenario) = SCENARIOS[self.turn % SCENARIOS.len()];
        // A step that has no divisor in common with the list's length visits every way, and not in the list's order.
        self.turn += TURN_STEP;
        scenario(self, at)
    }

    /// A time between half and one and a half times the mean: requests do not come like clockwork.
    pub fn around(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(0.5 + self.rng.f64())
    }

    /// A random time between two, in milliseconds.
    fn milliseconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.u64(from..to))
    }

    fn id(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.u128(..).to_be_bytes()).into_uuid()
    }

    fn admission(&mut self, method: Method, route: Route, transport: Transport, model: Option<&str>) -> Admission {
        let pool_at = usize::from(self.rng.u8(..10) >= 7);
        let key = self.keys[pool_at * 2 + self.rng.usize(..2)].clone();
        let mut admission = Admission::new(self.id(), self.pools[pool_at].clone(), key, method, route, transport);
        admission.correlation_id = Some(self.id().to_string());
        admission.model = model.map(str::to_owned);
        admission.serving_mode = ServingMode::Full;
        let agents = [
            "codex_exec/0.142.0 (Ubuntu 24.04; x86_64) xterm-256color",
            "Codex Desktop/1.2026.218 (Mac OS 15.5; arm64)",
            "opencode/1.18.4",
            "OpenAI/Python 2.8.1",
            "curl/8.9.1",
            "python-requests/2.32.4",
        ];
        admission.client = Some(Client::from_user_agent(agents[self.rng.usize(..agents.len())]));
        admission
    }

    fn model(&mut self) -> &'static str {
        ["gpt-5.4", "gpt-5.4", "gpt-5.4", "gpt-5.4-codex", "gpt-5.4-mini"][self.rng.usize(..5)]
    }

    fn account(&mut self) -> Account {
        self.accounts[self.rng.usize(..self.accounts.len())].clone()
    }

    /// Builds a request with one attempt that succeeds with known, priced usage; the scenarios bend it from there.
    fn served(&mut self, at: SystemTime, admission: Admission, took: Duration) -> Draft<'_> {
        let started_at = at + self.milliseconds(4, 40);
        let mut attempt = Attempt::new(self.account(), admission.transport);
        attempt.id = self.id();
        attempt.started_at = started_at;
        attempt.model.clone_from(&admission.model);
        let mut end = AttemptEnd::new(AttemptStatus::Succeeded);
        end.at = started_at + took;
        end.http_status = Some(200);
        end.latency_ms = Some(milliseconds(took));
        end.first_output_ms = Some(milliseconds(took) / 5);
        end.response_status = Some(ResponseStatus::Completed);
        end.finish_reasons = vec![FinishReason::Stop];
        end.response_model.clone_from(&admission.model);
        let (tokens, usd) = self.usage();
        end.usage = Some(tokens);
        attempt.end = Some(end);

        let mut finish = Ended::new(RequestStatus::Succeeded);
        finish.at = started_at + took + Duration::from_millis(2);
        finish.http_status = Some(200);
        finish.response_status = Some(ResponseStatus::Completed);
        let mut lifecycle = Lifecycle::new(admission, at);
        lifecycle.attempts.push(attempt);
        lifecycle.settlement = Settlement::Known { tokens, price: Price::Priced { usd } };
        lifecycle.end = Some(finish);
        Draft { world: self, lifecycle }
    }

    fn usage(&mut self) -> (Tokens, f64) {
        let input = self.rng.u32(400..120_000);
        let cache_read = if self.rng.bool() { input / 10 * self.rng.u32(1..9) } else { 0 };
        let output = self.rng.u32(20..6_000);
        let reasoning = output / 10 * self.rng.u32(0..6);
        // Made-up rates, in US dollars a token.
        let usd = f64::from(input - cache_read) * 1.25e-6 + f64::from(cache_read) * 0.125e-6 + f64::from(output) * 10e-6;
        let tokens = Tokens {
            input: Some(input.into()),
            cache_read: Some(cache_read.into()),
            cache_write: None,
            output: Some(output.into()),
            reasoning: (reasoning > 0).then_some(reasoning.into()),
            total: Some((input + output).into()),
        };
        (tokens, usd)
    }

    fn streamed(&mut self, at: SystemTime) -> Draft<'_> {
        let model = self.model();
        let mut admission = self.admission(Method::Post, Route::BackendApiCodexResponses, Transport::HttpSse, Some(model));
        admission.requested_effort = [None, Some(ReasoningEffort::Medium), Some(ReasoningEffort::High)][self.rng.usize(..3)];
        let took = self.milliseconds(600, 8_000);
        self.served(at, admission, took)
    }

    fn json(&mut self, at: SystemTime) -> Draft<'_> {
        let admission = self.admission(Method::Post, Route::BackendApiCodexResponses, Transport::HttpJson, Some("gpt-5.4-mini"));
        let took = self.milliseconds(250, 3_000);
        self.served(at, admission, took)
    }

    fn websocket(&mut self, at: SystemTime) -> Draft<'_> {
        let mut admission =
            self.admission(Method::Get, Route::BackendApiCodexResponses, Transport::Websocket, Some("gpt-5.4-codex"));
        admission.client_request_id = Some(format!("turn-{:08x}", self.rng.u32(..)));
        let took = self.milliseconds(5_000, 40_000);
        self.served(at, admission, took)
    }

    fn translated(&mut self, at: SystemTime, from: Route) -> Draft<'_> {
        let mut draft = self.streamed(at);
        draft.lifecycle.admission.translated_from = Some(from);
        draft
    }

    fn compact(&mut self, at: SystemTime) -> Draft<'_> {
        let route = Route::BackendApiCodexResponsesCompact;
        let admission = self.admission(Method::Post, route, Transport::HttpCompactJson, Some("gpt-5.4-codex"));
        let took = self.milliseconds(4_000, 12_000);
        self.served(at, admission, took)
    }

    fn transcription(&mut self, at: SystemTime) -> Draft<'_> {
        let route = Route::BackendApiTranscribe;
        let admission = self.admission(Method::Post, route, Transport::HttpMultipart, Some("gpt-4o-transcribe"));
        let took = self.milliseconds(1_000, 4_000);
        let mut draft = self.served(at, admission, took);
        draft.lifecycle.settlement = Settlement::Unknown;
        draft
    }

    /// A request that only reads something: no attempt, no usage.
    fn listing(&mut self, at: SystemTime, route: Route) -> Draft<'_> {
        let admission = self.admission(Method::Get, route, Transport::HttpJson, None);
        let mut draft = self.served(at, admission, Duration::ZERO);
        draft.lifecycle.account = draft.lifecycle.attempts.pop().map(|attempt| attempt.account);
        draft.end_at_admission(Settlement::NotApplicable)
    }

    fn upload(&mut self, at: SystemTime) -> Draft<'_> {
        let admission = self.admission(Method::Post, Route::V1Files, Transport::HttpMultipart, None);
        let mut draft = self.served(at, admission, Duration::ZERO);
        draft.lifecycle.attempts.clear();
        draft.end_at_admission(Settlement::NotApplicable)
    }

    fn acknowledgement(&mut self, at: SystemTime) -> Draft<'_> {
        let admission = self.admission(Method::Get, Route::BackendApiCodexResponses, Transport::Websocket, None);
        let mut draft = self.served(at, admission, Duration::ZERO);
        draft.lifecycle.attempts.clear();
        draft.end_at_admission(Settlement::NotApplicable)
    }
}

/// A served request that a scenario bends.
struct Draft<'w> {
    world: &'w mut World,
    lifecycle: Lifecycle,
}

impl Draft<'_> {
    fn done(self) -> Plan {
        Plan { lifecycle: self.lifecycle, late_usage: None }
    }

    /// First settled as unknown; the usage arrives after the row.
    fn usage_comes_late(mut self) -> Plan {
        let late_usage = Some(std::mem::replace(&mut self.lifecycle.settlement, Settlement::Unknown));
        Plan { lifecycle: self.lifecycle, late_usage }
    }

    fn end(&mut self) -> &mut Ended {
        self.lifecycle.end.get_or_insert_with(|| Ended::new(RequestStatus::Succeeded))
    }

    fn last_attempt_end(&mut self) -> Option<&mut AttemptEnd> {
        self.lifecycle.attempts.last_mut()?.end.as_mut()
    }

    fn end_at_admission(mut self, settlement: Settlement) -> Self {
        let at = self.lifecycle.admitted_at;
        self.end().at = at;
        self.end().response_status = None;
        self.lifecycle.settlement = settlement;
        self
    }

    fn upstream(mut self, transport: Transport) -> Self {
        for attempt in &mut self.lifecycle.attempts {
            attempt.transport = transport;
        }
        self
    }

    fn external_token(mut self) -> Self {
        self.lifecycle.admission.api_key = ApiKey::ExternalToken;
        self
    }

    fn tier(mut self, requested: ServiceTier, served: ServiceTier) -> Self {
        self.lifecycle.admission.requested_tier = Some(requested);
        self.lifecycle.admission.service_tier = Some(requested);
        self.end().service_tier = Some(served);
        self
    }

    fn effort_by_policy(mut self) -> Self {
        self.lifecycle.admission.requested_effort = Some(ReasoningEffort::Xhigh);
        for attempt in &mut self.lifecycle.attempts {
            attempt.applied_effort = Some(ReasoningEffort::Medium);
            attempt.effective_effort = Some(ReasoningEffort::Medium);
            attempt.effort_source = Some(EffortSource::ApiKeyPolicy);
        }
        self
    }

    /// The first account answers 503, another one serves.
    fn retried(mut self) -> Self {
        let mut first = self.lifecycle.attempts[0].clone();
        let (id, account) = (self.world.id(), self.world.account());
        first.id = id;
        let pause = Duration::from_millis(300);
        let mut end = AttemptEnd::new(AttemptStatus::RetryableFailed);
        end.at = first.started_at + pause;
        end.http_status = Some(503);
        end.error_code = Some("retryable_upstream_status".to_owned());
        end.latency_ms = Some(milliseconds(pause));
        first.end = Some(end);
        for second in &mut self.lifecycle.attempts {
            second.number = 2;
            second.account = account.clone();
            second.started_at += pause;
            if let Some(end) = &mut second.end {
                end.at += pause;
            }
        }
        self.lifecycle.attempts.insert(0, first);
        self.end().at += pause;
        self.end().retry_count = 1;
        self
    }

    /// No account could be reached.
    fn nobody_reached(self) -> Self {
        self.retried().broken("upstream_network_error", 502)
    }

    /// The last attempt fails, and the request with it.
    fn broken(mut self, code: &str, http_status: u16) -> Self {
        let cancelled = code == "client_disconnected";
        if let Some(end) = self.last_attempt_end() {
            end.status = if cancelled { AttemptStatus::Cancelled } else { AttemptStatus::Failed };
            end.http_status = Some(http_status);
            end.error_code = Some(code.to_owned());
            end.usage = None;
            end.response_status = None;
            end.finish_reasons = Vec::new();
        }
        let end = self.end();
        end.status = RequestStatus::Failed;
        end.error_code = Some(code.to_owned());
        end.http_status = Some(http_status);
        end.response_status = None;
        self.lifecycle.settlement = Settlement::Unknown;
        self
    }

    /// Delivered, and cut short by the token limit: a success.
    fn incomplete(mut self, usage_known: bool) -> Self {
        if let Some(end) = self.last_attempt_end() {
            end.response_status = Some(ResponseStatus::Incomplete);
            end.finish_reasons = vec![FinishReason::Length];
        }
        self.end().response_status = Some(ResponseStatus::Incomplete);
        self.end().incomplete_reason = Some(IncompleteReason::MaxOutputTokens);
        if !usage_known {
            self.lifecycle.settlement = Settlement::Unknown;
        }
        self
    }

    fn unpriced(mut self, why: PricingStatus) -> Self {
        if let Settlement::Known { price, .. } = &mut self.lifecycle.settlement {
            *price = Price::Unpriced(why);
        }
        self
    }

    /// Refused after authentication, before any upstream work.
    fn rejected(mut self, code: &str, http_status: u16, denials: &[&str]) -> Self {
        self.lifecycle.attempts.clear();
        let end = self.end();
        end.status = RequestStatus::Rejected;
        end.error_code = Some(code.to_owned());
        end.http_status = Some(http_status);
        end.denials = denials.iter().map(|code| Denial { code: (*code).to_owned(), ..Denial::default() }).collect();
        self.end_at_admission(Settlement::NotApplicable)
    }

    fn quota_exhausted(self) -> Self {
        let mut draft = self.rejected("quota_exhausted", 503, &[]);
        let resets_at = Some(draft.lifecycle.admitted_at + Duration::from_secs(3 * 3600));
        draft.end().denials = vec![Denial { code: "quota_weekly_exhausted".to_owned(), exhausted: true, resets_at }];
        draft
    }

    /// Reserved, and then the last candidate was busy.
    fn no_attempt_started(mut self) -> Self {
        self.lifecycle.attempts.clear();
        let end = self.end();
        end.status = RequestStatus::Failed;
        end.error_code = Some("no_eligible_backend".to_owned());
        end.http_status = Some(503);
        self.end_at_admission(Settlement::NotApplicable)
    }

    fn failed_without_code(mut self) -> Self {
        self.end().status = RequestStatus::Failed;
        self.end().http_status = Some(404);
        self
    }

    /// A request that nobody finished, closed by the pooler hours later.
    fn recovered(self) -> Self {
        let mut draft = self.broken("stale_reservation_recovered", 499);
        let late = Duration::from_secs(6 * 3600 + 420);
        draft.end().at += late;
        if let Some(end) = draft.last_attempt_end() {
            end.at += late;
            end.latency_ms = None;
        }
        draft
    }

    fn cancelled(self) -> Self {
        let mut draft = self.broken("client_disconnected", 499);
        draft.end().status = RequestStatus::Cancelled;
        draft
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn plans() -> Vec<Plan> {
        let mut world = World::new(7);
        SCENARIOS.iter().map(|(_, scenario)| scenario(&mut world, SystemTime::UNIX_EPOCH)).collect()
    }

    /// Guarantees: the demo shows every status, transport, settlement, pricing status and error code that the worked rows of the request log
    /// have. `accepted` and `in_progress` are what every live request goes through.
    #[test]
    fn every_way_of_the_worked_rows_is_there() {
        let rows: Vec<bridge::Row> =
            serde_json::from_str(include_str!("../../../tests/fixtures/pooler-rows.json")).expect("worked rows");
        let facts = |lifecycle: &Lifecycle| {
            let end = lifecycle.end.as_ref();
            let mut facts = vec![format!("transport {}", lifecycle.admission.transport)];
            facts.extend(end.map(|end| format!("status {}", end.status)));
            facts.extend(end.and_then(|end| Some(format!("code {}", end.error_code.as_deref()?))));
            facts.extend(end.and_then(|end| Some(format!("incomplete {}", end.incomplete_reason?))));
            facts.push(match lifecycle.settlement {
                Settlement::Known { price: Price::Unpriced(why), .. } => format!("settlement {why}"),
                Settlement::Known { .. } => "settlement priced".to_owned(),
                Settlement::Unknown => "settlement unknown".to_owned(),
                Settlement::Pending => "settlement pending".to_owned(),
                Settlement::NotApplicable => "settlement not applicable".to_owned(),
            });
            facts
        };
        let shown: BTreeSet<String> = plans().iter().flat_map(|plan| facts(&plan.lifecycle)).collect();
        let worked: BTreeSet<String> = rows
            .iter()
            .map(bridge::lifecycle)
            .filter(|lifecycle| lifecycle.end.is_some())
            .flat_map(|lifecycle| facts(&lifecycle))
            .collect();
        let missing: Vec<&String> = worked.difference(&shown).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    /// Guarantees: the same seed plans the same requests, and the turn visits every scenario.
    #[test]
    fn a_seed_is_a_story() {
        let ids = |seed: u64| {
            let mut world = World::new(seed);
            (0..50).map(|_| world.plan(SystemTime::UNIX_EPOCH).lifecycle.admission.request_id).collect::<Vec<_>>()
        };
        assert_eq!(ids(3), ids(3));
        assert_ne!(ids(3), ids(4));
        let visited: BTreeSet<usize> = (0..SCENARIOS.len()).map(|n| n * TURN_STEP % SCENARIOS.len()).collect();
        assert_eq!(visited.len(), SCENARIOS.len());
    }
}
