//! Request metrics from row, attempt, marker and correction spans, so that any sender gets the same ones.
//!
//! **Once.** What the store says is new is counted after the commit, so that a span that is delivered again, after whatever restart, counts
//! once. Without a store memory says what is new, for the last ten minutes at least.
//!
//! **Late.** A span that ended more than [`LATE_AFTER`] before it arrived is history, not traffic: a late row counts as late and nowhere else.
//!
//! **Settlement.** A row counts as settled when it first is, in its own span or by a correction. Tokens and cost count when they become known; a
//! figure that a correction raises adds the difference. A counter cannot fall, so a figure that a correction lowers, and a status that it
//! changes, stay counted as they were.

mod generations;
mod in_flight;
mod recent;
mod series;
mod usage;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use contract::generated::metrics as table;
use contract::limits::LATE_AFTER;
use contract::{ABSENT, Metric, Outcome, PricingStatus, RecordKind, RequestStatus, UsageStatus, attr, outcome};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sanitizer::{Sanitized, view};

use self::in_flight::{InFlight, Open};
use self::recent::{News, Recent};
use self::series::Series;
use self::usage::{TOKENS, Usage};
use super::metrics::LabelCap;

/// A histogram whose buckets lead to a trace: the label `trace_id`, as Grafana's data source expects it.
type Histogram = HistogramWithExemplars<Vec<(&'static str, String)>>;
/// A counter of what does not come in whole numbers.
type FloatCounter = Counter<f64, AtomicU64>;
type FloatGauge = Gauge<f64, AtomicU64>;

/// The metrics, and what they need to remember.
pub struct RequestMetrics {
    requests: Series<Counter>,
    duration: Series<Histogram>,
    in_flight: Series<Gauge>,
    oldest_age: Series<FloatGauge>,
    without_heartbeat: Series<Gauge>,
    attempts: Series<Counter>,
    attempt_duration: Series<Histogram>,
    time_to_first_output: Series<Histogram>,
    retries: Series<Counter>,
    /// In the order of [`TOKENS`].
    tokens: [Series<Counter>; TOKENS.len()],
    cost_usd: Series<FloatCounter>,
    settlements: Series<Counter>,
    late_rows: Series<Counter>,
    account_info: Series<Gauge>,
    last_seen: Series<FloatGauge>,
    cap: LabelCap,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: InFlight,
    recent: Recent,
    /// The plan with which an account is shown, by Pool and account: an account has one, and so one series.
    plans: HashMap<(String, String), String>,
}

impl RequestMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let counter = |registry: &mut Registry, metric| Series::register(registry, metric, Counter::default);
        let gauge = |registry: &mut Registry, metric| Series::register(registry, metric, Gauge::default);
        let float_gauge = |registry: &mut Registry, metric| Series::register(registry, metric, FloatGauge::default);
        Self {
            requests: counter(registry, &table::CODEX_POOLER_REQUESTS_TOTAL),
            duration: Series::register(registry, &table::CODEX_POOLER_REQUEST_DURATION_SECONDS, || {
                histogram(&table::CODEX_POOLER_REQUEST_DURATION_SECONDS)
            }),
            in_flight: gauge(registry, &table::CODEX_POOLER_REQUESTS_IN_FLIGHT),
            oldest_age: float_gauge(registry, &table::CODEX_POOLER_REQUESTS_IN_FLIGHT_OLDEST_AGE_SECONDS),
            without_heartbeat: gauge(registry, &table::CODEX_POOLER_REQUESTS_WITHOUT_HEARTBEAT),
            attempts: counter(registry, &table::CODEX_POOLER_ATTEMPTS_TOTAL),
            attempt_duration: Series::register(registry, &table::CODEX_POOLER_ATTEMPT_DURATION_SECONDS, || {
                histogram(&table::CODEX_POOLER_ATTEMPT_DURATION_SECONDS)
            }),
            time_to_first_output: Series::register(registry, &table::CODEX_POOLER_TIME_TO_FIRST_OUTPUT_SECONDS, || {
                histogram(&table::CODEX_POOLER_TIME_TO_FIRST_OUTPUT_SECONDS)
            }),
            retries: counter(registry, &table::CODEX_POOLER_RETRIES_TOTAL),
            tokens: [
                &table::CODEX_POOLER_USAGE_INPUT_TOKENS_TOTAL,
                &table::CODEX_POOLER_USAGE_CACHE_READ_INPUT_TOKENS_TOTAL,
                &table::CODEX_POOLER_USAGE_CACHE_WRITE_INPUT_TOKENS_TOTAL,
                &table::CODEX_POOLER_USAGE_OUTPUT_TOKENS_TOTAL,
                &table::CODEX_POOLER_USAGE_REASONING_OUTPUT_TOKENS_TOTAL,
            ]
            .map(|metric| counter(registry, metric)),
            cost_usd: Series::register(registry, &table::CODEX_POOLER_COST_USD_TOTAL, FloatCounter::default),
            settlements: counter(registry, &table::CODEX_POOLER_SETTLEMENTS_TOTAL),
            late_rows: counter(registry, &table::CODEX_POOLER_LATE_ROWS_TOTAL),
            account_info: gauge(registry, &table::CODEX_POOLER_ACCOUNT_INFO),
            last_seen: float_gauge(registry, &table::CODEX_POOLER_LAST_SEEN_TIMESTAMP_SECONDS),
            cap: LabelCap::default(),
            state: Mutex::default(),
        }
    }

    /// Counts what a message says. `changes` is what the store says of its spans, in their order; `None` without a store.
    pub fn observe(&self, message: &Sanitized, changes: Option<&[store::Change]>, now: SystemTime) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = changes.map(<[_]>::iter);
        for (resource, span) in message.spans() {
            self.sender(resource, now);
            let news = match &mut changes {
                Some(changes) => changes.next().map(News::from).unwrap_or_default(),
                None => state.recent.insert(span, now),
            };
            let is_late = now.duration_since(ended(span)).is_ok_and(|age| age > LATE_AFTER);
            match view::record_kind(span) {
                Some(RecordKind::Request) => {
                    if let Some(id) = view::text(&span.attributes, attr::REQUEST_ID) {
                        state.open.ended(id, now);
                    }
                    self.account(&mut state, span, is_late);
                    match (news.is_new, is_late) {
                        (true, false) => self.row(span),
                        (true, true) => drop(self.late_rows.get([self.capped("pool", text(span, attr::POOL_SLUG))]).inc()),
                        (false, _) => {}
                    }
                }
                Some(RecordKind::Attempt) => {
                    self.account(&mut state, span, is_late);
                    if news.is_new && !is_late {
                        self.attempt(span);
                    }
                }
                Some(RecordKind::InProgress) if news.is_new => self.marker(&mut state, span, now),
                Some(RecordKind::InProgress | RecordKind::Correction) | None => {}
            }
            if let Some(usage) = news.now.filter(|_| !is_late) {
                self.usage(&news.before.unwrap_or_default(), &usage);
            }
        }
    }

    /// Takes up a request that was open before a restart, by its last marker.
    pub fn was_open(&self, marker: &Span, now: SystemTime) {
        self.marker(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), marker, now);
    }

    /// Brings the gauges of open requests up to date: they change with time, not with messages.
    pub fn refresh(&self, now: SystemTime) {
        let pools = self.state.lock().unwrap_or_else(PoisonError::into_inner).open.count(now);
        for (pool, open) in pools {
            for (transport, requests) in open.by_transport {
                self.in_flight.get([&pool, &transport]).set(requests);
            }
            self.oldest_age.get([&pool]).set(open.oldest_age.as_secs_f64());
            self.without_heartbeat.get([&pool]).set(open.without_heartbeat);
        }
    }

    fn sender(&self, resource: Option<&Resource>, now: SystemTime) {
        let name = resource.and_then(|r| view::text(&r.attributes, attr::SERVICE_NAME)).unwrap_or("unknown");
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.last_seen.get([self.capped("service", name)]).set(seconds);
    }

    fn row(&self, span: &Span) {
        let pool = self.capped("pool", text(span, attr::POOL_SLUG));
        let model = self.capped("model", text(span, attr::REQUEST_MODEL));
        let transport = text(span, attr::REQUEST_TRANSPORT);
        let route = text(span, attr::HTTP_ROUTE);
        let code = text(span, attr::ERROR_CODE);
        let outcome = text(span, attr::REQUEST_OUTCOME);
        self.start_at_zero(pool, model, transport, route);
        let values = [pool, model, transport, route, text(span, attr::REQUEST_STATUS), outcome, self.capped("error_code", code)];
        self.requests.get(values).inc();
        if !outcome::is_recovery(code) {
            observe(&self.duration.get([pool, model, transport, outcome]), seconds(span), span);
        }
    }

    /// A rate cannot see the first event of a series that begins with it, so series that belong together begin together: the good and the bad
    /// requests of a kind, their durations, and what a Pool counts now and then.
    fn start_at_zero(&self, pool: &str, model: &str, transport: &str, route: &str) {
        for (status, outcome) in [(RequestStatus::Succeeded, Outcome::Good), (RequestStatus::Failed, Outcome::Bad)] {
            let (status, outcome) = (status.as_str(), outcome.as_str());
            drop(self.requests.get([pool, model, transport, route, status, outcome, ABSENT]));
            drop(self.duration.get([pool, model, transport, outcome]));
        }
        for (usage, pricing) in
            [(UsageStatus::UsageKnown, PricingStatus::Priced), (UsageStatus::UsageUnknown, PricingStatus::None)]
        {
            drop(self.settlements.get([pool, usage.as_str(), pricing.as_str()]));
        }
        drop(self.retries.get([pool, model]));
        drop(self.late_rows.get([pool]));
    }

    fn attempt(&self, span: &Span) {
        let pool = self.capped("pool", text(span, attr::POOL_SLUG));
        let account = self.capped("account", text(span, attr::UPSTREAM_ACCOUNT_LABEL));
        let model = self.capped("model", text(span, attr::GEN_AI_REQUEST_MODEL));
        let status = text(span, attr::ATTEMPT_STATUS);
        let code = text(span, attr::ERROR_CODE);
        self.attempts.get([pool, account, status, self.capped("error_code", code)]).inc();
        if !outcome::is_recovery(code) {
            observe(&self.attempt_duration.get([pool, account, status]), seconds(span), span);
        }
        if let Some(seconds) = view::double(&span.attributes, attr::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK) {
            observe(&self.time_to_first_output.get([pool, model]), seconds, span);
        }
        if view::int(&span.attributes, attr::ATTEMPT_NUMBER).is_some_and(|number| number > 1) {
            self.retries.get([pool, model]).inc();
        }
    }

    /// Notes an account with its plan. What a late span says of the plan is not news.
    fn account(&self, state: &mut State, span: &Span, is_late: bool) {
        let label = text(span, attr::UPSTREAM_ACCOUNT_LABEL);
        if label == ABSENT {
            return;
        }
        let pool = self.capped("pool", text(span, attr::POOL_SLUG));
        let account = self.capped("account", label);
        let plan = self.capped("plan", text(span, attr::UPSTREAM_PLAN_LABEL));
        let key = (pool.to_owned(), account.to_owned());
        match state.plans.get(&key) {
            Some(known) if known == plan || plan == ABSENT || (is_late && known != ABSENT) => return,
            Some(known) => self.account_info.remove([pool, account, known]),
            None if state.plans.len() >= series::MAX_SERIES => return,
            None => {}
        }
        self.account_info.get([pool, account, plan]).set(1);
        state.plans.insert(key, plan.to_owned());
    }

    fn marker(&self, state: &mut State, span: &Span, now: SystemTime) {
        let Some(id) = view::text(&span.attributes, attr::REQUEST_ID) else { return };
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(span.start_time_unix_nano);
        let admitted_ms = view::int(&span.attributes, attr::REQUEST_ADMITTED_MS).and_then(|ms| u64::try_from(ms).ok());
        let marker = Open {
            pool: self.capped("pool", text(span, attr::POOL_SLUG)).to_owned(),
            transport: text(span, attr::REQUEST_TRANSPORT).to_owned(),
            admitted: admitted_ms.map_or(at, |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms)),
            at,
        };
        state.open.marker(id, marker, now);
    }

    /// Counts what became known between two states of a row.
    fn usage(&self, before: &Usage, now: &Usage) {
        let pool = self.capped("pool", now.pool.as_deref().unwrap_or(ABSENT));
        let model = self.capped("model", now.model.as_deref().unwrap_or(ABSENT));
        if let Some((usage, pricing)) = now.settlement().filter(|_| before.settlement().is_none()) {
            self.settlements.get([pool, usage.as_str(), pricing.as_str()]).inc();
        }
        for (kind, series) in self.tokens.iter().enumerate() {
            if let tokens @ 1.. = now.tokens(kind).saturating_sub(before.tokens(kind)) {
                series.get([pool, model]).inc_by(tokens);
            }
        }
        let usd = now.cost_usd() - before.cost_usd();
        if usd > 0.0 {
            self.cost_usd.get([pool, model]).inc_by(usd);
        }
    }

    /// A label's value, within the label's bound.
    fn capped<'a>(&self, label: &'static str, value: &'a str) -> &'a str {
        self.cap.cap(label, value)
    }
}

fn histogram(metric: &Metric) -> Histogram {
    Histogram::new(metric.buckets.iter().copied())
}

fn observe(histogram: &Histogram, seconds: f64, span: &Span) {
    histogram.observe(seconds, Some(vec![("trace_id", hex(&span.trace_id))]), Some(ended(span)));
}

fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    view::text(&span.attributes, key).unwrap_or(ABSENT)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02x}"))
}

fn ended(span: &Span) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(span.end_time_unix_nano)
}

fn seconds(span: &Span) -> f64 {
    Duration::from_nanos(span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano)).as_secs_f64()
}

#[cfg(test)]
mod tests;
