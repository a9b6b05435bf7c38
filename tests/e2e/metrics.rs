//! The request metrics of the real binary, against sums worked out from the database rows themselves: the slow way, without the code that is tested.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]
#![allow(clippy::cast_precision_loss, reason = "the counts of a test are small")]

use std::collections::{BTreeMap, BTreeSet};

use contract::{Instrument, Signal, attr};
use exporter::Exporter;
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, tz::Offset};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use serde_json::Value;
use testkit::backend::{Answer, Backend, Script};
use testkit::metrics::Scrape;
use testkit::otlp::{self, Row, attribute};
use testkit::send;
use testkit::serve::Serve;

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
const EXAMPLES: &str = include_str!("../fixtures/pooler-rows.json");
/// The examples are older than the store keeps anything by default.
const RETENTION: [&str; 2] = ["--retention", "36500d"];
/// Rows of the examples, and those of them that are open.
const ROWS: usize = 42;
const OPEN: usize = 3;
/// When the shifted examples ended, or, if they are open, were admitted.
const AGO: SignedDuration = SignedDuration::from_secs(60);

/// The examples as they are.
fn examples() -> Vec<Value> {
    serde_json::from_str(EXAMPLES).unwrap()
}

/// The examples as if they had happened just now.
fn examples_now() -> Vec<Value> {
    let now = Offset::UTC.to_datetime(Timestamp::now());
    let mut examples = examples();
    for example in &mut examples {
        let end = &example["requests"]["completed_at"];
        let end = time(if end.is_null() { &example["requests"]["admitted_at"] } else { end });
        shift(example, now - AGO - end);
    }
    examples
}

fn shift(value: &mut Value, by: jiff::Span) {
    match value {
        Value::String(text) if text.starts_with("2026-08-21T") => {
            let zone = if text.ends_with('Z') { "Z" } else { "" };
            *text = format!("{:.6}{zone}", time(&Value::String(text.clone())) + by);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Object(fields) => fields.values_mut().for_each(|field| shift(field, by)),
        _ => {}
    }
}

fn time(value: &Value) -> DateTime {
    value.as_str().unwrap().trim_end_matches('Z').parse().unwrap()
}

fn seconds(from: &Value, to: &Value) -> f64 {
    time(to).duration_since(time(from)).as_secs_f64()
}

fn send_examples(serve: &Serve, examples: &[Value]) {
    // The program, not the library, chooses the TLS implementation. A second test finds it installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = Exporter::builder().endpoint(format!("http://{}", serve.otlp_grpc())).build().unwrap();
    for example in examples {
        exporter.record(&bridge::lifecycle(&bridge::Row::from_json(example.to_string().as_bytes()).unwrap()));
    }
    let totals = exporter.shutdown();
    assert_eq!((totals.exported, totals.dropped()), (totals.emitted, 0));
    serve.assert_conserved();
}

/// A metric's name and some of its labels.
type Series = (&'static str, Vec<(&'static str, String)>);

/// Sums by series, from the rows.
#[derive(Default)]
struct Oracle(BTreeMap<Series, f64>);

impl Oracle {
    fn add(&mut self, name: &'static str, labels: &[(&'static str, &str)], by: f64) {
        let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
        *self.0.entry((name, labels)).or_default() += by;
    }

    fn of(examples: &[Value]) -> Self {
        let mut oracle = Self::default();
        for example in examples {
            let request = &example["requests"];
            let pool = ("pool", example["pools"]["slug"].as_str().unwrap_or("none"));
            let transport = ("transport", request["transport"].as_str().unwrap());
            // Rows without a model hold their path in its place.
            let model = ("model", text_of(request, "requested_model").filter(|model| !model.starts_with('/')).unwrap_or("none"));
            let status = text_of(request, "status").unwrap();
            if request["completed_at"].is_null() {
                oracle.add("codex_pooler_requests_in_flight", &[pool, transport], 1.0);
                continue;
            }
            let code = text_of(request, "last_error_code").unwrap_or("none");
            let outcome = match (status, code) {
                ("succeeded", _) => "good",
                ("failed", "client_disconnected") | ("rejected", _) => "neutral",
                // None of the examples has another code that is the caller's fault.
                ("failed", _) => "bad",
                (other, _) => panic!("{other}"),
            };
            let route = ("route", text_of(request, "endpoint").unwrap());
            let labels = [pool, model, transport, route, ("status", status), ("outcome", outcome), ("error_code", code)];
            oracle.add("codex_pooler_requests_total", &labels, 1.0);
            if code != "stale_reservation_recovered" {
                let labels = [pool, model, transport, ("outcome", outcome)];
                let took = seconds(&request["admitted_at"], &request["completed_at"]);
                oracle.add("codex_pooler_request_duration_seconds_sum", &labels, took);
                oracle.add("codex_pooler_request_duration_seconds_count", &labels, 1.0);
            }
            oracle.attempts(example, pool, model);
            oracle.ledger(example, pool, model);
        }
        oracle
    }

    fn attempts(&mut self, example: &Value, pool: (&'static str, &str), model: (&'static str, &str)) {
        let attempts = example["attempts"].as_array().unwrap();
        for (at, attempt) in attempts.iter().enumerate() {
            let status = ("status", attempt["status"].as_str().unwrap());
            let metadata = &attempt["response_metadata"];
            let code = [&attempt["network_error_code"], &metadata["error_code"], &metadata["error_kind"]];
            let code = code.into_iter().find_map(Value::as_str).unwrap_or("none");
            self.add("codex_pooler_attempts_total", &[pool, status, ("error_code", code)], 1.0);
            if code != "stale_reservation_recovered" {
                let took = attempt["latency_ms"].as_f64().map(|ms| ms / 1e3);
                let took = took.unwrap_or_else(|| seconds(&attempt["started_at"], &attempt["completed_at"]));
                self.add("codex_pooler_attempt_duration_seconds_sum", &[pool, status], took);
                self.add("codex_pooler_attempt_duration_seconds_count", &[pool, status], 1.0);
            }
            let turn = &example["codex_turns"];
            if turn["final_attempt_id"] == attempt["id"] && turn["first_visible_output_at"].is_string() {
                let took = seconds(&attempt["started_at"], &turn["first_visible_output_at"]);
                self.add("codex_pooler_time_to_first_output_seconds_sum", &[pool, model], took);
                self.add("codex_pooler_time_to_first_output_seconds_count", &[pool, model], 1.0);
            }
            if at > 0 {
                self.add("codex_pooler_retries_total", &[pool, model], 1.0);
            }
        }
    }

    fn ledger(&mut self, example: &Value, pool: (&'static str, &str), model: (&'static str, &str)) {
        let entries = example["ledger_entries"].as_array().unwrap();
        for entry in entries.iter().filter(|e| e["entry_kind"] == "settlement" && e["amount_status"] == "recorded") {
            let usage = entry["usage_status"].as_str().unwrap();
            // The tokens of a settlement without usage repeat the estimate, and its price is the estimate's.
            let pricing = if usage == "usage_known" { entry["details"]["pricing_status"].as_str().unwrap() } else { "none" };
            self.add("codex_pooler_settlements_total", &[pool, ("usage_status", usage), ("pricing_status", pricing)], 1.0);
            if usage != "usage_known" {
                continue;
            }
            for (name, column) in [
                ("codex_pooler_usage_input_tokens_total", "input_tokens"),
                ("codex_pooler_usage_cache_read_input_tokens_total", "cached_input_tokens"),
                ("codex_pooler_usage_cache_write_input_tokens_total", "cache_write_tokens"),
                ("codex_pooler_usage_output_tokens_total", "output_tokens"),
                ("codex_pooler_usage_reasoning_output_tokens_total", "reasoning_tokens"),
            ] {
                self.add(name, &[pool, model], entry[column].as_f64().unwrap_or(0.0));
            }
            if let Some(micros) = entry["details"]["settled_cost_micros"].as_str().filter(|_| pricing == "priced") {
                self.add("codex_pooler_cost_usd_total", &[pool, model], micros.parse::<f64>().unwrap() / 1e6);
            }
        }
    }

    /// Compares every sum, and that there is nothing beside them.
    fn assert_is(&self, scrape: &Scrape) {
        let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
        for ((name, labels), expected) in &self.0 {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
            let found = scrape.sum(name, &labels);
            // The log's cost is in whole millionths of a dollar, its latency in whole milliseconds.
            let tolerance = if name.contains("cost") {
                1e-5
            } else if name.contains("seconds_sum") {
                0.01
            } else {
                1e-9
            };
            assert!((found - expected).abs() < tolerance, "{name} {labels:?}: {found}, from the rows {expected}");
            *totals.entry(name).or_default() += expected;
        }
        for (name, expected) in totals {
            let found = scrape.sum(name, &[]);
            assert!((found - expected).abs() < 0.05, "{name}: {found} in all, from the rows {expected}");
        }
    }
}

fn text_of<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object[key].as_str()
}

/// Guarantees: every request metric has what the example rows add up to; a collector that is started again counts none of them a second time, knows
/// which requests are open, and counts what is new.
#[test]
fn metrics_are_what_the_rows_add_up_to() {
    let folder = tempfile::tempdir().unwrap();
    let examples = examples_now();
    let mut serve = Serve::start(BINARY, folder.path(), &RETENTION);
    send_examples(&serve, &examples);
    let scrape = serve.scrape();
    Oracle::of(&examples).assert_is(&scrape);
    assert_eq!(scrape.count("codex_pooler_requests_total", &[]), (ROWS - OPEN) as u64);
    assert_eq!(scrape.count("codex_pooler_late_rows_total", &[]), 0);
    assert_eq!(scrape.count("codex_pooler_requests_without_heartbeat", &[]), 0);
    let open = examples.iter().filter(|e| e["requests"]["completed_at"].is_null());
    for pool in open.map(|e| e["pools"]["slug"].as_str().unwrap()).collect::<BTreeSet<_>>() {
        let age = scrape.sum("codex_pooler_requests_in_flight_oldest_age_seconds", &[("pool", pool)]);
        assert!((60.0..120.0).contains(&age), "{pool}: {age}");
    }
    let accounts = scrape.label_values("codex_pooler_account_info", "account");
    for example in examples.iter().filter(|e| !e["requests"]["completed_at"].is_null()) {
        let shown = example["expected_display"]["upstream_account"].as_str().filter(|account| *account != "—");
        assert!(shown.is_none_or(|account| accounts.contains(account)), "{shown:?} is not among {accounts:?}");
    }
    let seen = scrape.sum("codex_pooler_last_seen_timestamp_seconds", &[("service", "codex-pooler")]);
    assert!((seen - Timestamp::now().as_duration().as_secs_f64()).abs() < 60.0, "{seen}");

    assert!(serve.terminate().success());
    let serve = Serve::start(BINARY, folder.path(), &RETENTION);
    assert_eq!(serve.scrape().count("codex_pooler_requests_in_flight", &[]), OPEN as u64);
    send_examples(&serve, &examples);
    let new = Row::numbered(1);
    send::grpc(&serve.otlp_grpc(), otlp::request(vec![new.span()]), false).unwrap();
    let scrape = serve.scrape();
    let counts = ["requests_total", "attempts_total", "settlements_total", "late_rows_total", "requests_in_flight"];
    assert_eq!(counts.map(|name| scrape.count(&format!("codex_pooler_{name}"), &[])), [1, 0, 1, 0, OPEN as u64]);
    assert_eq!(scrape.count("codex_pooler_usage_input_tokens_total", &[]), 48_210);
}

/// Guarantees: history that is sent again or for the first time counts as late and nowhere else.
#[test]
fn a_backfill_counts_as_late() {
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &RETENTION);
    let history: Vec<Value> = examples().into_iter().filter(|e| !e["requests"]["completed_at"].is_null()).collect();
    for _ in 0..2 {
        send_examples(&serve, &history);
    }
    let scrape = serve.scrape();
    assert_eq!(scrape.count("codex_pooler_late_rows_total", &[]), (ROWS - OPEN) as u64);
    for metric in contract::generated::metrics::ALL.iter().filter(|metric| metric.name.starts_with("codex_pooler_")) {
        let count = if metric.instrument == Instrument::Histogram { "_count" } else { "" };
        let counted = scrape.sum(&format!("{}{count}", metric.name), &[]);
        let is_of_history = ["late_rows", "account_info", "last_seen"].iter().any(|name| metric.name.contains(name));
        assert!(is_of_history || counted.abs() < 1e-9, "{}: {counted}", metric.name);
    }
}

/// Guarantees: a settlement that comes after its row, as a correction, counts once, also when it is delivered again after the collector was killed.
#[test]
fn a_correction_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let settled = Row::numbered(1);
    let mut pending = Row { tokens: None, cost_usd: None, ..settled.clone() }.span();
    pending.attributes.retain(|attribute| attribute.key != attr::USAGE_STATUS);
    pending.attributes.push(attribute(attr::USAGE_STATUS, "usage_pending"));
    let of_settlement = [attr::USAGE_STATUS, attr::PRICING_STATUS, attr::USAGE_INPUT_TOKENS, attr::COST_SETTLED_USD];
    let learned = settled.span().attributes.into_iter().filter(|a| of_settlement.contains(&a.key.as_str())).collect();
    let correction = settled.correction(1, learned);
    let counts = |serve: &Serve| {
        let scrape = serve.scrape();
        let names = ["requests_total", "settlements_total", "usage_input_tokens_total"];
        (
            names.map(|name| scrape.count(&format!("codex_pooler_{name}"), &[])),
            scrape.sum("codex_pooler_cost_usd_total", &[]) > 0.0,
        )
    };
    let mut serve = Serve::start(BINARY, folder.path(), &[]);
    let send = |serve: &Serve, span| send::grpc(&serve.otlp_grpc(), otlp::request(vec![span]), false).unwrap();
    send(&serve, pending.clone());
    assert_eq!(counts(&serve), ([1, 0, 0], false));
    for _ in 0..2 {
        send(&serve, correction.clone());
        assert_eq!(counts(&serve), ([1, 1, 48_210], true));
    }
    serve.kill();
    let serve = Serve::start(BINARY, folder.path(), &[]);
    send(&serve, pending);
    send(&serve, correction);
    assert_eq!(counts(&serve), ([0, 0, 0], false));
}

/// The sums of each metric in one push: of counters their values, of histograms their counts.
fn sums(push: &ExportMetricsServiceRequest) -> BTreeMap<String, f64> {
    let metrics = push.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
    let mut sums = BTreeMap::new();
    for metric in metrics {
        let sum = match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => sum.data_points.iter().map(|point| value(point.value)).sum(),
            Data::Histogram(histogram) => histogram.data_points.iter().map(|point| point.count as f64).sum(),
            _ => continue,
        };
        assert!(sums.insert(metric.name.clone(), sum).is_none(), "{}", metric.name);
    }
    sums
}

fn value(value: Option<number_data_point::Value>) -> f64 {
    match value.unwrap() {
        number_data_point::Value::AsInt(n) => n as f64,
        number_data_point::Value::AsDouble(n) => n,
    }
}

/// Guarantees: what is pushed over HTTP is what is scraped, every counter and histogram of it, the last time when the server ends; nothing is lost to a
/// destination that is busy.
#[test]
fn what_is_pushed_over_http_is_what_is_scraped() {
    let backend = Backend::http(busy_at_first());
    let url = format!("{}/v1/metrics", backend.url());
    pushed_is_what_is_scraped(backend, &url, "http/protobuf");
}

/// Guarantees: the same over gRPC. A test of its own, because each waits for a push.
#[test]
fn what_is_pushed_over_grpc_is_what_is_scraped() {
    let backend = Backend::grpc(busy_at_first());
    let url = backend.url();
    pushed_is_what_is_scraped(backend, &url, "grpc");
}

fn busy_at_first() -> Script {
    Script::turns_then([Answer::Refuse(503)], Answer::Accept)
}

fn pushed_is_what_is_scraped(backend: Backend, url: &str, protocol: &str) {
    let folder = tempfile::tempdir().unwrap();
    // A push has until the next one is due, and pauses for up to 0.75 s of that when the destination is busy; the rest is for a machine that is.
    let push = ["--metrics-otlp-endpoint", url, "--metrics-otlp-protocol", protocol, "--metrics-otlp-interval", "5s"];
    let mut serve = Serve::start(BINARY, folder.path(), &push);
    send_examples(&serve, &examples_now());
    let pushes = || backend.accepted::<ExportMetricsServiceRequest>(Signal::Metrics);
    testkit::wait_for("a push while the server runs", || (!pushes().is_empty()).then_some(()));
    let scrape = serve.scrape();
    assert!(serve.terminate().success());
    let last = pushes().pop().unwrap();
    let resource = last.resource_metrics[0].resource.as_ref().unwrap();
    assert!(resource.attributes.contains(&attribute(attr::SERVICE_NAME, "pooler-otel")));
    let figures = sums(&last);
    for metric in contract::generated::metrics::ALL {
        let name = match metric.instrument {
            Instrument::Counter => metric.name.to_owned(),
            Instrument::Histogram => format!("{}_count", metric.name),
            Instrument::Gauge => continue,
        };
        let scraped = scrape.sum(&name, &[]);
        let sum = figures.get(metric.otlp_name).copied().unwrap_or(0.0);
        // The pushes go on between the scrape and the end.
        assert!((sum - scraped).abs() < 1e-9 || metric.otlp_name == "pooler_otel.metric_pushes", "{name}: {sum}, {scraped}");
    }
    assert!(figures["codex_pooler.requests"] > 38.0 && figures["codex_pooler.attempt.duration"] > 20.0);
    assert_eq!(scrape.count("pooler_otel_failed_metric_pushes_total", &[]), 0, "a busy destination is asked again");
    backend.finish();
}

/// Guarantees: a destination that refuses holds nothing up; every push that failed is counted, and said once.
#[test]
fn a_push_that_fails_is_counted() {
    let backend = Backend::http(Script::always(Answer::Refuse(400)));
    let folder = tempfile::tempdir().unwrap();
    let url = backend.url();
    let push = ["--metrics-otlp-endpoint", &url, "--metrics-otlp-protocol", "http/protobuf", "--metrics-otlp-interval", "1s"];
    let mut serve = Serve::start(BINARY, folder.path(), &push);
    // A scrape can come between the two counts of one push.
    testkit::wait_for("two pushes, all of which failed", || {
        let scrape = serve.scrape();
        let failed = scrape.count("pooler_otel_failed_metric_pushes_total", &[("reason", "rejected")]);
        (failed >= 2 && failed == scrape.count("pooler_otel_metric_pushes_total", &[])).then_some(())
    });
    assert!(serve.terminate().success());
    assert_eq!(serve.stderr().matches("the endpoint for metrics does not take them").count(), 1);
}
