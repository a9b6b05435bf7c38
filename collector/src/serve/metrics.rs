//! The collector's own counters, and the registry that `/metrics` prints. Names, help and labels come from the contract's table.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use contract::generated::metrics as table;
use contract::{Branch, DropReason, Metric, Protocol, Refusal, ReloadResult, Signal};
use opentelemetry_proto::tonic::trace::v1::Span;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sanitizer::{Report, Sanitized, is_operators_doing};

use super::request_metrics::RequestMetrics;

/// Different values that one label may take; any further one becomes `other`.
const MAX_LABEL_VALUES: usize = 200;
/// What a label's value becomes beyond that.
pub const OVERFLOW: &str = "other";

/// Label names and values of one series.
pub type Labels = Vec<(&'static str, String)>;

/// Labels for a metric of the contract: its names, in order, with these values.
pub fn labels<const N: usize>(metric: &Metric, values: [&str; N]) -> Labels {
    debug_assert_eq!(metric.labels.len(), N, "{} has {} labels", metric.name, metric.labels.len());
    metric.labels.iter().copied().zip(values.map(str::to_owned)).collect()
}

/// Registers a metric under the contract's name. The client library ends every help text with a full stop of its own.
pub fn register(registry: &mut Registry, metric: &Metric, collected: impl prometheus_client::registry::Metric) {
    registry.register(metric.registered_name(), metric.help.trim_end_matches('.'), collected);
}

/// Keeps the number of a label's values bounded.
#[derive(Debug, Default)]
pub struct LabelCap {
    seen: Mutex<HashMap<&'static str, HashSet<String>>>,
}

impl LabelCap {
    /// The value, or `other` once the label has taken its share of different ones.
    pub fn cap<'a>(&self, label: &'static str, value: &'a str) -> &'a str {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let values = seen.entry(label).or_default();
        if values.contains(value) {
            return value;
        }
        if values.len() >= MAX_LABEL_VALUES {
            return OVERFLOW;
        }
        values.insert(value.to_owned());
        value
    }
}

/// Everything that `/metrics` shows.
pub struct Metrics {
    registry: Registry,
    requests: RequestMetrics,
    received_messages: Family<Labels, Counter>,
    refused_messages: Family<Labels, Counter>,
    parsed_messages: Counter,
    messages_in_progress: Gauge,
    parsed_records: Family<Labels, Counter>,
    accepted_records: Family<Labels, Counter>,
    dropped_records: Family<Labels, Counter>,
    stripped_fields: Family<Labels, Counter>,
    broken_rules: Family<Labels, Counter>,
    rules: LabelCap,
    branch_accepted: Family<Labels, Counter>,
    branch_delivered: Family<Labels, Counter>,
    branch_dropped: Family<Labels, Counter>,
    branch_queued: Family<Labels, Gauge>,
    policy_info: Family<Labels, Gauge>,
    policy_reloads: Family<Labels, Counter>,
    policy_stale: Gauge,
    ready: Gauge,
    pushes: Counter,
    failed_pushes: Family<Labels, Counter>,
}

/// A message that is being read, sanitized or stored. One that is dropped without being counted as refused or parsed is missing in the account.
#[must_use = "the message is in progress for as long as this lives"]
pub struct InProgress(Gauge);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers every metric.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let requests = RequestMetrics::register(&mut registry);
        let metrics = Self {
            requests,
            received_messages: Family::default(),
            refused_messages: Family::default(),
            parsed_messages: Counter::default(),
            messages_in_progress: Gauge::default(),
            parsed_records: Family::default(),
            accepted_records: Family::default(),
            dropped_records: Family::default(),
            stripped_fields: Family::default(),
            broken_rules: Family::default(),
            rules: LabelCap::default(),
            branch_accepted: Family::default(),
            branch_delivered: Family::default(),
            branch_dropped: Family::default(),
            branch_queued: Family::default(),
            policy_info: Family::default(),
            policy_reloads: Family::default(),
            policy_stale: Gauge::default(),
            ready: Gauge::default(),
            pushes: Counter::default(),
            failed_pushes: Family::default(),
            registry: Registry::default(),
        };
        register(&mut registry, &table::POOLER_OTEL_RECEIVED_MESSAGES_TOTAL, metrics.received_messages.clone());
        register(&mut registry, &table::POOLER_OTEL_REFUSED_MESSAGES_TOTAL, metrics.refused_messages.clone());
        register(&mut registry, &table::POOLER_OTEL_PARSED_MESSAGES_TOTAL, metrics.parsed_messages.clone());
        register(&mut registry, &table::POOLER_OTEL_MESSAGES_IN_PROGRESS, metrics.messages_in_progress.clone());
        register(&mut registry, &table::POOLER_OTEL_PARSED_RECORDS_TOTAL, metrics.parsed_records.clone());
        register(&mut registry, &table::POOLER_OTEL_ACCEPTED_RECORDS_TOTAL, metrics.accepted_records.clone());
        register(&mut registry, &table::POOLER_OTEL_DROPPED_RECORDS_TOTAL, metrics.dropped_records.clone());
        register(&mut registry, &table::POOLER_OTEL_STRIPPED_FIELDS_TOTAL, metrics.stripped_fields.clone());
        register(&mut registry, &table::POOLER_OTEL_BROKEN_RULES_TOTAL, metrics.broken_rules.clone());
        register(&mut registry, &table::POOLER_OTEL_BRANCH_ACCEPTED_RECORDS_TOTAL, metrics.branch_accepted.clone());
        register(&mut registry, &table::POOLER_OTEL_BRANCH_DELIVERED_RECORDS_TOTAL, metrics.branch_delivered.clone());
        register(&mut registry, &table::POOLER_OTEL_BRANCH_DROPPED_RECORDS_TOTAL, metrics.branch_dropped.clone());
        register(&mut registry, &table::POOLER_OTEL_BRANCH_QUEUED_RECORDS, metrics.branch_queued.clone());
        register(&mut registry, &table::POOLER_OTEL_POLICY_INFO, metrics.policy_info.clone());
        register(&mut registry, &table::POOLER_OTEL_POLICY_RELOADS_TOTAL, metrics.policy_reloads.clone());
        register(&mut registry, &table::POOLER_OTEL_POLICY_STALE, metrics.policy_stale.clone());
        register(&mut registry, &table::POOLER_OTEL_READY, metrics.ready.clone());
        let build_info = Family::<Labels, Gauge>::default();
        build_info.get_or_create(&labels(&table::POOLER_OTEL_BUILD_INFO, [env!("CARGO_PKG_VERSION")])).set(1);
        register(&mut registry, &table::POOLER_OTEL_BUILD_INFO, build_info);
        register(&mut registry, &table::POOLER_OTEL_METRIC_PUSHES_TOTAL, metrics.pushes.clone());
        register(&mut registry, &table::POOLER_OTEL_FAILED_METRIC_PUSHES_TOTAL, metrics.failed_pushes.clone());
        metrics.start_at_zero();
        Self { registry, ..metrics }
    }

    /// Series of closed sets start at zero: an alert on an increase cannot see the first event of a series that begins with it.
    fn start_at_zero(&self) {
        for protocol in Protocol::ALL {
            drop(self.received_messages.get_or_create(&labels(&table::POOLER_OTEL_RECEIVED_MESSAGES_TOTAL, [protocol.as_str()])));
        }
        for refusal in Refusal::ALL {
            drop(self.refused_messages.get_or_create(&labels(&table::POOLER_OTEL_REFUSED_MESSAGES_TOTAL, [refusal.as_str()])));
        }
        for result in ReloadResult::ALL {
            drop(self.policy_reloads.get_or_create(&labels(&table::POOLER_OTEL_POLICY_RELOADS_TOTAL, [result.as_str()])));
        }
        for signal in Signal::ALL {
            self.records(*signal, 0, 0);
            for reason in sanitizer_reasons(*signal) {
                self.dropped(*signal, *reason, 0);
            }
        }
        let branches = Signal::ALL.iter().map(|signal| (*signal, Branch::Forward)).chain([(Signal::Traces, Branch::Store)]);
        for (signal, branch) in branches {
            self.branch_accepted(signal, branch, 0);
            self.branch_delivered(signal, branch, 0);
            self.branch_queued(signal, branch, 0);
            for reason in [DropReason::QueueFull, DropReason::Rejected, DropReason::Exhausted, DropReason::Shutdown] {
                self.branch_dropped(signal, branch, reason, 0);
            }
        }
        for reason in [DropReason::Rejected, DropReason::Exhausted, DropReason::Shutdown] {
            drop(self.failed_pushes.get_or_create(&labels(&table::POOLER_OTEL_FAILED_METRIC_PUSHES_TOTAL, [reason.as_str()])));
        }
    }

    /// A message arrived. It is in progress for as long as the answer lives, whatever becomes of it.
    pub fn received(&self, protocol: Protocol) -> InProgress {
        let labels = labels(&table::POOLER_OTEL_RECEIVED_MESSAGES_TOTAL, [protocol.as_str()]);
        self.received_messages.get_or_create(&labels).inc();
        self.messages_in_progress.inc();
        InProgress(self.messages_in_progress.clone())
    }

    /// A message was refused as a whole.
    pub fn refused(&self, refusal: Refusal) {
        let labels = labels(&table::POOLER_OTEL_REFUSED_MESSAGES_TOTAL, [refusal.as_str()]);
        self.refused_messages.get_or_create(&labels).inc();
    }

    /// A message was sanitized and went where it had to.
    pub fn parsed(&self, signal: Signal, report: &Report) {
        self.parsed_messages.inc();
        self.records(signal, report.parsed_records, report.accepted_records);
        for (reason, records) in &report.dropped_records {
            self.dropped(signal, *reason, *records);
        }
        for ((place, reason), fields) in &report.stripped_fields {
            let labels = labels(&table::POOLER_OTEL_STRIPPED_FIELDS_TOTAL, [place.as_str(), reason.as_str()]);
            self.stripped_fields.get_or_create(&labels).inc_by(*fields);
        }
        for ((_, reason, rule), fields) in report.broken_rules.iter().filter(|((_, reason, _), _)| !is_operators_doing(*reason)) {
            // The keys of one policy are few; those of one policy after the other need not be.
            let values = [self.rules.cap("rule", rule), reason.as_str()];
            let labels = labels(&table::POOLER_OTEL_BROKEN_RULES_TOTAL, values);
            self.broken_rules.get_or_create(&labels).inc_by(*fields);
        }
    }

    fn records(&self, signal: Signal, parsed: u64, accepted: u64) {
        let labels_of = |metric| labels(metric, [signal.as_str()]);
        self.parsed_records.get_or_create(&labels_of(&table::POOLER_OTEL_PARSED_RECORDS_TOTAL)).inc_by(parsed);
        self.accepted_records.get_or_create(&labels_of(&table::POOLER_OTEL_ACCEPTED_RECORDS_TOTAL)).inc_by(accepted);
    }

    fn dropped(&self, signal: Signal, reason: DropReason, records: u64) {
        let labels = labels(&table::POOLER_OTEL_DROPPED_RECORDS_TOTAL, [signal.as_str(), reason.as_str()]);
        self.dropped_records.get_or_create(&labels).inc_by(records);
    }

    /// What a message says of requests is counted: what the store says is new, or, without a store, what memory does.
    pub fn requests(&self, message: &Sanitized, changes: Option<&[store::Change]>) {
        self.requests.observe(message, changes, SystemTime::now());
    }

    /// A request was open when the store was closed; this is its last marker.
    pub fn was_open(&self, marker: &Span) {
        self.requests.was_open(marker, SystemTime::now());
    }

    /// Records were handed to a branch.
    pub fn branch_accepted(&self, signal: Signal, branch: Branch, records: u64) {
        let labels = labels(&table::POOLER_OTEL_BRANCH_ACCEPTED_RECORDS_TOTAL, [signal.as_str(), branch.as_str()]);
        self.branch_accepted.get_or_create(&labels).inc_by(records);
    }

    /// A branch delivered records.
    pub fn branch_delivered(&self, signal: Signal, branch: Branch, records: u64) {
        let labels = labels(&table::POOLER_OTEL_BRANCH_DELIVERED_RECORDS_TOTAL, [signal.as_str(), branch.as_str()]);
        self.branch_delivered.get_or_create(&labels).inc_by(records);
    }

    /// A branch lost records.
    pub fn branch_dropped(&self, signal: Signal, branch: Branch, reason: DropReason, records: u64) {
        let values = [signal.as_str(), branch.as_str(), reason.as_str()];
        let labels = labels(&table::POOLER_OTEL_BRANCH_DROPPED_RECORDS_TOTAL, values);
        self.branch_dropped.get_or_create(&labels).inc_by(records);
    }

    /// How many records wait in a branch now.
    pub fn branch_queued(&self, signal: Signal, branch: Branch, records: u64) {
        let labels = labels(&table::POOLER_OTEL_BRANCH_QUEUED_RECORDS, [signal.as_str(), branch.as_str()]);
        self.branch_queued.get_or_create(&labels).set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// Whether messages are taken now.
    pub fn ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    /// The policy of this version is in force, and no other.
    pub fn policy_in_force(&self, version: &str) {
        self.policy_info.clear();
        self.policy_info.get_or_create(&labels(&table::POOLER_OTEL_POLICY_INFO, [version])).set(1);
    }

    /// The policy's file was loaded again, or could not be.
    pub fn policy_reloaded(&self, result: ReloadResult) {
        self.policy_stale.set(i64::from(result == ReloadResult::Invalid));
        // Last: who sees it counted sees what has come of it.
        self.policy_reloads.get_or_create(&labels(&table::POOLER_OTEL_POLICY_RELOADS_TOTAL, [result.as_str()])).inc();
    }

    /// The metrics were to be pushed: they were, or why not.
    pub fn pushed(&self, result: Result<(), DropReason>) {
        self.pushes.inc();
        if let Err(reason) = result {
            self.failed_pushes.get_or_create(&labels(&table::POOLER_OTEL_FAILED_METRIC_PUSHES_TOTAL, [reason.as_str()])).inc();
        }
    }

    /// How many fields were stripped so far, by place and reason.
    pub fn stripped(&self) -> Vec<(String, String, u64)> {
        let mut counts = Vec::new();
        for place in contract::Place::ALL {
            for reason in contract::StripReason::ALL {
                let labels = labels(&table::POOLER_OTEL_STRIPPED_FIELDS_TOTAL, [place.as_str(), reason.as_str()]);
                if let Some(counter) = self.stripped_fields.get(&labels) {
                    counts.push((place.as_str().to_owned(), reason.as_str().to_owned(), counter.get()));
                }
            }
        }
        counts
    }

    /// The OpenMetrics text.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        self.requests.refresh(SystemTime::now());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Why records of a signal are dropped before any branch gets them.
const fn sanitizer_reasons(signal: Signal) -> &'static [DropReason] {
    use DropReason::{InvalidId, InvalidNumber, InvalidTime, NoDestination, UnknownName, WrongType};
    match signal {
        Signal::Traces => &[InvalidId, InvalidTime],
        Signal::Logs => &[UnknownName, InvalidTime, NoDestination],
        Signal::Metrics => &[UnknownName, WrongType, InvalidTime, InvalidNumber, NoDestination],
    }
}

#[cfg(test)]
mod tests {
    use contract::attr;
    use prost::Message as _;
    use testkit::otlp::{self, Row, attribute};

    use super::*;

    /// Guarantees: every metric of the contract is scraped under its name with its type, and nothing else is.
    #[test]
    fn the_table_is_what_is_scraped() {
        let metrics = Metrics::new();
        let row = Row::numbered(1);
        let mut tokens = row.span();
        tokens.attributes.push(attribute("prompt", "stripped"));
        tokens.attributes.push(attribute(attr::USAGE_CACHE_WRITE_INPUT_TOKENS, 1));
        tokens.attributes.push(attribute(attr::USAGE_REASONING_OUTPUT_TOKENS, 1));
        let mut attempt = row.attempt(1, contract::AttemptStatus::Succeeded);
        attempt.attributes.push(attribute(attr::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, 0.5));
        attempt.attributes.push(attribute(attr::ERROR_TYPE, "the user said no"));
        let sent = otlp::request(vec![tokens, attempt, Row::numbered(2).marker(0)]);
        metrics.policy_in_force(sanitizer::Policy::contract().version());
        let message = sanitizer::protobuf(&sanitizer::Policy::contract(), SystemTime::now(), &sent.encode_to_vec()).unwrap();
        metrics.parsed(Signal::Traces, message.report());
        metrics.requests(&message, None);
        let text = metrics.text().expect("text");
        let mut types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let mut expected: Vec<String> = table::ALL
            .iter()
            .map(|metric| {
                let kind = match metric.instrument {
                    contract::Instrument::Counter => "counter",
                    contract::Instrument::Gauge => "gauge",
                    contract::Instrument::Histogram => "histogram",
                };
                format!("{} {kind}", metric.registered_name())
            })
            .collect();
        types.sort_unstable();
        expected.sort_unstable();
        assert_eq!(types, expected);
    }

    /// Guarantees: however many values a sender invents, a label keeps to its bound, and the first ones keep their names.
    #[test]
    fn labels_are_capped() {
        let cap = LabelCap::default();
        let values: HashSet<String> =
            (0..MAX_LABEL_VALUES * 3).map(|n| cap.cap("pool", &format!("pool-{n}")).to_owned()).collect();
        assert_eq!(values.len(), MAX_LABEL_VALUES + 1);
        assert_eq!(cap.cap("pool", "pool-0"), "pool-0");
        assert_eq!(cap.cap("pool", "one-more"), OVERFLOW);
        assert_eq!(cap.cap("model", "one-more"), "one-more");
    }
}
