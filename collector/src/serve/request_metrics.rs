//! Request metrics from row, attempt and marker spans, so that any sender gets the same ones. A span that is delivered twice counts once, a
//! row that is late counts as late and nowhere else, a correction counts nowhere.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use contract::generated::metrics as table;
use contract::limits::LATE_AFTER;
use contract::{ABSENT, Metric, RecordKind, attr};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sanitizer::{Sanitized, view};

use super::in_flight::InFlight;
use super::metrics::{LabelCap, Labels, labels, register};

/// Spans that are remembered as counted, in each of two generations.
const MAX_SEEN: usize = 200_000;

/// A histogram whose buckets lead to a trace: the label `trace_id`, as Grafana's data source expects it.
type DurationHistogram = HistogramWithExemplars<Vec<(&'static str, String)>>;

/// Series that one metric may have: the cap on each label's values alone would allow for their product.
const MAX_SERIES: usize = 2_000;
/// Labels whose values a sender chooses, and what they become in a series beyond that.
const CHOSEN: [&str; 4] = ["pool", "model", "account", "error_code"];
const OVERFLOW: &str = "other";

/// Makes the duration histogram with the contract's buckets.
#[derive(Clone)]
struct DurationBuckets;

impl MetricConstructor<DurationHistogram> for DurationBuckets {
    fn new_metric(&self) -> DurationHistogram {
        DurationHistogram::new(table::CODEX_POOLER_REQUEST_DURATION_SECONDS.buckets.iter().copied())
    }
}

/// The metrics, and what they need to remember.
pub struct RequestMetrics {
    requests: Family<Labels, Counter>,
    duration: Family<Labels, DurationHistogram, DurationBuckets>,
    in_flight: Family<Labels, Gauge>,
    attempts: Family<Labels, Counter>,
    late_rows: Family<Labels, Counter>,
    account_info: Family<Labels, Gauge>,
    last_seen: Family<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    cap: LabelCap,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: InFlight,
    seen: Seen,
    series: HashMap<&'static str, HashSet<Labels>>,
}

impl State {
    /// Labels for a metric, within its number of series.
    fn labels<const N: usize>(&mut self, metric: &'static Metric, values: [&str; N]) -> Labels {
        let mut labels = labels(metric, values);
        let series = self.series.entry(metric.name).or_default();
        if !series.contains(&labels) {
            if series.len() < MAX_SERIES {
                series.insert(labels.clone());
            } else {
                for (_, value) in labels.iter_mut().filter(|(label, _)| CHOSEN.contains(label)) {
                    OVERFLOW.clone_into(value);
                }
            }
        }
        labels
    }
}

/// Span ids that were counted. Two generations, so that forgetting is cheap: the older one goes when the younger one is full or old. A row
/// that ended longer ago than [`LATE_AFTER`] is late, so ids need not be remembered longer than that.
#[derive(Default)]
struct Seen {
    young: HashSet<[u8; 8]>,
    old: HashSet<[u8; 8]>,
    since: Option<SystemTime>,
}

impl Seen {
    /// Whether the span is new.
    fn insert(&mut self, span_id: &[u8], now: SystemTime) -> bool {
        let Ok(id) = <[u8; 8]>::try_from(span_id) else { return false };
        let since = *self.since.get_or_insert(now);
        if self.young.len() >= MAX_SEEN || now.duration_since(since).is_ok_and(|age| age > LATE_AFTER) {
            self.old = std::mem::take(&mut self.young);
            self.since = Some(now);
        }
        !self.old.contains(&id) && self.young.insert(id)
    }
}

impl RequestMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(DurationBuckets),
            in_flight: Family::default(),
            attempts: Family::default(),
            late_rows: Family::default(),
            account_info: Family::default(),
            last_seen: Family::default(),
            cap: LabelCap::default(),
            state: Mutex::default(),
        };
        register(registry, &table::CODEX_POOLER_REQUESTS_TOTAL, metrics.requests.clone());
        register(registry, &table::CODEX_POOLER_REQUEST_DURATION_SECONDS, metrics.duration.clone());
        register(registry, &table::CODEX_POOLER_REQUESTS_IN_FLIGHT, metrics.in_flight.clone());
        register(registry, &table::CODEX_POOLER_ATTEMPTS_TOTAL, metrics.attempts.clone());
        register(registry, &table::CODEX_POOLER_LATE_ROWS_TOTAL, metrics.late_rows.clone());
        register(registry, &table::CODEX_POOLER_ACCOUNT_INFO, metrics.account_info.clone());
        register(registry, &table::CODEX_POOLER_LAST_SEEN_TIMESTAMP_SECONDS, metrics.last_seen.clone());
        metrics
    }

    /// Counts what a message says.
    pub fn observe(&self, message: &Sanitized, now: SystemTime) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (resource, span) in message.spans() {
            self.sender(resource, now);
            match view::record_kind(span) {
                Some(RecordKind::Request) => self.row(&mut state, span, now),
                Some(RecordKind::Attempt) => self.attempt(&mut state, span, now),
                Some(RecordKind::InProgress) => self.marker(&mut state, span, now),
                Some(RecordKind::Correction) | None => {}
            }
        }
    }

    /// Brings the in-flight gauge up to date: it falls with time, not with messages.
    pub fn refresh_in_flight(&self, now: SystemTime) {
        let counts = self.state.lock().unwrap_or_else(PoisonError::into_inner).open.count(now);
        self.in_flight.clear();
        for ((pool, transport), requests) in counts {
            self.in_flight.get_or_create(&labels(&table::CODEX_POOLER_REQUESTS_IN_FLIGHT, [&pool, &transport])).set(requests);
        }
    }

    fn sender(&self, resource: Option<&Resource>, now: SystemTime) {
        let name = resource.and_then(|r| view::text(&r.attributes, attr::SERVICE_NAME)).unwrap_or("unknown");
        let labels = labels(&table::CODEX_POOLER_LAST_SEEN_TIMESTAMP_SECONDS, [self.cap.cap("service", name)]);
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.last_seen.get_or_create(&labels).set(seconds);
    }

    fn row(&self, state: &mut State, span: &Span, now: SystemTime) {
        if let Some(id) = view::text(&span.attributes, attr::REQUEST_ID) {
            state.open.ended(id);
        }
        if !state.seen.insert(&span.span_id, now) {
            return;
        }
        let pool = self.capped("pool", span, attr::POOL_SLUG);
        let ended = SystemTime::UNIX_EPOCH + Duration::from_nanos(span.end_time_unix_nano);
        if now.duration_since(ended).is_ok_and(|age| age > LATE_AFTER) {
            self.late_rows.get_or_create(&labels(&table::CODEX_POOLER_LATE_ROWS_TOTAL, [pool])).inc();
            return;
        }
        let model = self.capped("model", span, attr::REQUEST_MODEL);
        let transport = text(span, attr::REQUEST_TRANSPORT);
        let outcome = text(span, attr::REQUEST_OUTCOME);
        let error_code = self.capped("error_code", span, attr::ERROR_CODE);
        let status = text(span, attr::REQUEST_STATUS);
        let route = text(span, attr::HTTP_ROUTE);
        let values = [pool, model, transport, route, status, outcome, error_code];
        self.requests.get_or_create(&state.labels(&table::CODEX_POOLER_REQUESTS_TOTAL, values)).inc();
        if !contract::outcome::is_recovery(text(span, attr::ERROR_CODE)) {
            let labels = state.labels(&table::CODEX_POOLER_REQUEST_DURATION_SECONDS, [pool, model, transport, outcome]);
            let trace = vec![("trace_id", hex(&span.trace_id))];
            self.duration.get_or_create(&labels).observe(duration(span).as_secs_f64(), Some(trace), Some(ended));
        }
    }

    fn attempt(&self, state: &mut State, span: &Span, now: SystemTime) {
        let ended = SystemTime::UNIX_EPOCH + Duration::from_nanos(span.end_time_unix_nano);
        let pool = self.capped("pool", span, attr::POOL_SLUG);
        let account = self.capped("account", span, attr::UPSTREAM_ACCOUNT_LABEL);
        if let Some(plan) = view::text(&span.attributes, attr::UPSTREAM_PLAN_LABEL) {
            let plan = self.cap.cap("plan", plan);
            self.account_info.get_or_create(&state.labels(&table::CODEX_POOLER_ACCOUNT_INFO, [pool, account, plan])).set(1);
        }
        if now.duration_since(ended).is_ok_and(|age| age > LATE_AFTER) || !state.seen.insert(&span.span_id, now) {
            return;
        }
        let values = [pool, account, text(span, attr::ATTEMPT_STATUS), self.capped("error_code", span, attr::ERROR_CODE)];
        self.attempts.get_or_create(&state.labels(&table::CODEX_POOLER_ATTEMPTS_TOTAL, values)).inc();
    }

    fn marker(&self, state: &mut State, span: &Span, now: SystemTime) {
        let Some(id) = view::text(&span.attributes, attr::REQUEST_ID) else { return };
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(span.start_time_unix_nano);
        let pool = self.capped("pool", span, attr::POOL_SLUG);
        state.open.marker(id, pool, text(span, attr::REQUEST_TRANSPORT), at, now);
    }

    /// A text attribute as a label value, within the label's bound.
    fn capped<'a>(&self, label: &'static str, span: &'a Span, key: &str) -> &'a str {
        self.cap.cap(label, text(span, key))
    }
}

fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    view::text(&span.attributes, key).unwrap_or(ABSENT)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02x}"))
}

fn duration(span: &Span) -> Duration {
    Duration::from_nanos(span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: however many combinations of values a sender makes up, a metric keeps to its number of series and a few for the rest.
    #[test]
    fn series_are_capped() {
        let mut state = State::default();
        let made: HashSet<Labels> = (0..MAX_SERIES * 2)
            .map(|n| {
                let (model, code) = (format!("m{}", n % 100), format!("e{}", n / 100));
                state.labels(&table::CODEX_POOLER_REQUESTS_TOTAL, ["core", &model, "http_sse", "none", "failed", "bad", &code])
            })
            .collect();
        assert_eq!(made.len(), MAX_SERIES + 1);
    }
}
