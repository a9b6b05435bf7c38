//! Every metric against figures worked out by hand, with a store and without one.

use contract::AttemptStatus;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prometheus_client::encoding::text::encode;
use proptest::prelude::*;
use prost::Message as _;
use testkit::metrics::Scrape;
use testkit::otlp::{self, Row, attribute};

use super::*;

/// A collector's metrics, with what says what is new.
struct Collector {
    folder: tempfile::TempDir,
    store: Option<store::Store>,
    registry: Registry,
    metrics: RequestMetrics,
}

impl Collector {
    fn new(with_store: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = with_store.then(|| open(folder.path()));
        let mut registry = Registry::default();
        let metrics = RequestMetrics::register(&mut registry);
        Self { folder, store, registry, metrics }
    }

    /// One of each kind.
    fn both() -> [Self; 2] {
        [Self::new(true), Self::new(false)]
    }

    /// The process ends and starts again over the same store.
    fn restarted(self) -> Self {
        let Self { folder, store, .. } = self;
        store.unwrap().close().unwrap();
        let store = Some(open(folder.path()));
        let mut registry = Registry::default();
        let metrics = RequestMetrics::register(&mut registry);
        Self { folder, store, registry, metrics }
    }

    /// One message arrives now.
    fn take(&self, spans: Vec<Span>) {
        let given = spans.len() as u64;
        let (policy, now) = (sanitizer::Policy::contract(), SystemTime::now());
        let message: Sanitized = sanitizer::protobuf(&policy, now, &otlp::request(spans).encode_to_vec()).unwrap();
        assert_eq!((message.report().accepted_records, message.report().stripped_fields.len()), (given, 0));
        let changes = self.store.as_ref().map(|store| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(store.write(message.clone())).unwrap()
        });
        self.metrics.observe(&message, changes.as_deref(), SystemTime::now());
    }

    fn scrape(&self) -> Scrape {
        self.metrics.refresh(SystemTime::now());
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        Scrape::parse(&text)
    }

    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.scrape().sum(name, labels)
    }
}

fn open(folder: &std::path::Path) -> store::Store {
    store::Store::open(&store::Config::new(folder.join("requests.sqlite"))).unwrap()
}

fn with(mut span: Span, changes: Vec<KeyValue>) -> Span {
    for change in changes {
        span.attributes.retain(|attribute| attribute.key != change.key);
        // `attribute` of a key with no value takes it away.
        span.attributes.extend(change.value.is_some().then_some(change));
    }
    testkit::composed::compose(&mut span.attributes);
    span
}

fn without(key: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: None::<AnyValue>, ..KeyValue::default() }
}

/// The row before its settlement: no figures.
fn pending(row: &Row) -> Span {
    let unsettled = Row { tokens: None, cost_usd: None, ..row.clone() };
    with(unsettled.span(), vec![attribute(attr::USAGE_STATUS, "usage_pending")])
}

/// What a settlement with these tokens, input and output, and this cost says.
fn settlement(input: i64, output: i64, usd: Option<f64>) -> Vec<KeyValue> {
    let mut said = vec![
        attribute(attr::USAGE_STATUS, "usage_known"),
        attribute(attr::PRICING_STATUS, if usd.is_some() { "priced" } else { "unpriced_missing_model" }),
        attribute(attr::USAGE_INPUT_TOKENS, input),
        attribute(attr::USAGE_OUTPUT_TOKENS, output),
    ];
    said.extend(usd.map(|usd| attribute(attr::COST_SETTLED_USD, usd)));
    said
}

/// Input tokens, output tokens, micro-dollars, settlements with known usage, settlements at all.
fn settled(collector: &Collector) -> [u64; 5] {
    let scrape = collector.scrape();
    let micros = (scrape.sum("codex_pooler_cost_usd_total", &[]) * 1e6).round();
    [
        scrape.count("codex_pooler_usage_input_tokens_total", &[("pool", "core-agents"), ("model", "gpt-5.4")]),
        scrape.count("codex_pooler_usage_output_tokens_total", &[]),
        micros.to_string().parse().unwrap(),
        scrape.count("codex_pooler_settlements_total", &[("usage_status", "usage_known")]),
        scrape.count("codex_pooler_settlements_total", &[]),
    ]
}

/// Guarantees: each metric has the figures of the rows and attempts that arrived, under the labels that they carry.
#[test]
fn every_metric_by_hand() {
    for collector in Collector::both() {
        let retried = Row::numbered(1);
        let failed = Row {
            status: RequestStatus::Failed,
            error_code: Some("upstream_network_error".to_owned()),
            duration_ms: 1_500,
            tokens: None,
            cost_usd: None,
            ..Row::numbered(2)
        };
        let rejected = Row {
            status: RequestStatus::Rejected,
            error_code: Some("quota_exhausted".to_owned()),
            duration_ms: 0,
            tokens: None,
            cost_usd: None,
            ..Row::numbered(3)
        };
        let incomplete = Row { tokens: Some((100, 0, 20)), cost_usd: None, ..Row::numbered(4) };
        let first_output = |s: f64| vec![attribute(attr::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, s)];
        collector.take(vec![
            with(
                retried.span(),
                vec![attribute(attr::USAGE_CACHE_WRITE_INPUT_TOKENS, 7), attribute(attr::USAGE_REASONING_OUTPUT_TOKENS, 640)],
            ),
            retried.attempt(1, AttemptStatus::RetryableFailed),
            with(retried.attempt(2, AttemptStatus::Succeeded), first_output(0.75)),
            failed.span(),
            failed.attempt(1, AttemptStatus::Failed),
            with(rejected.span(), vec![attribute(attr::USAGE_STATUS, "not_applicable")]),
            with(incomplete.span(), vec![attribute(attr::RESPONSE_STATUS, "incomplete")]),
            with(incomplete.attempt(1, AttemptStatus::Succeeded), first_output(1.5)),
        ]);

        let scrape = collector.scrape();
        let requests = |labels: &[(&str, &str)]| scrape.count("codex_pooler_requests_total", labels);
        let common =
            [("pool", "core-agents"), ("model", "gpt-5.4"), ("transport", "http_sse"), ("route", "/backend-api/codex/responses")];
        let of = |more: [(&'static str, &'static str); 3]| requests(&[&common[..], &more].concat());
        assert_eq!(
            of([("status", "succeeded"), ("outcome", "good"), ("error_code", "none")]),
            2,
            "an incomplete answer is a success"
        );
        assert_eq!(of([("status", "failed"), ("outcome", "bad"), ("error_code", "upstream_network_error")]), 1);
        assert_eq!(of([("status", "rejected"), ("outcome", "neutral"), ("error_code", "quota_exhausted")]), 1);
        assert_eq!(requests(&[]), 4);
        let duration =
            |what: &str, outcome| scrape.sum(&format!("codex_pooler_request_duration_seconds_{what}"), &[("outcome", outcome)]);
        // 2.5 s twice, 1.5 s, 0 s.
        for (outcome, count, sum) in [("good", 2.0, 5.0), ("bad", 1.0, 1.5), ("neutral", 1.0, 0.0)] {
            assert!(
                (duration("count", outcome) - count).abs() < 1e-9 && (duration("sum", outcome) - sum).abs() < 1e-9,
                "{outcome}"
            );
        }
        let attempts = |labels: &[(&str, &str)]| scrape.count("codex_pooler_attempts_total", labels);
        assert_eq!(attempts(&[("account", "Aurora seat 1"), ("status", "retryable_failed"), ("error_code", "none")]), 1);
        assert_eq!(attempts(&[("status", "failed"), ("error_code", "upstream_network_error")]), 1);
        assert_eq!(attempts(&[]), 4);
        // An attempt begins 20 ms after its row: three of 2.48 s, one of 1.48 s.
        let attempt_seconds = scrape.sum("codex_pooler_attempt_duration_seconds_sum", &[("account", "Aurora seat 1")]);
        assert!((attempt_seconds - (3.0 * 2.48 + 1.48)).abs() < 1e-9, "{attempt_seconds}");
        assert_eq!(scrape.count("codex_pooler_attempt_duration_seconds_bucket", &[("le", "2.5")]), 4);
        assert_eq!(scrape.count("codex_pooler_attempt_duration_seconds_bucket", &[("le", "1.0")]), 0);
        assert_eq!(scrape.count("codex_pooler_time_to_first_output_seconds_count", &[("model", "gpt-5.4")]), 2);
        assert_eq!(scrape.count("codex_pooler_time_to_first_output_seconds_bucket", &[("le", "1.0")]), 1);
        assert!((scrape.sum("codex_pooler_time_to_first_output_seconds_sum", &[]) - 2.25).abs() < 1e-9);
        assert_eq!(scrape.count("codex_pooler_retries_total", &[("pool", "core-agents"), ("model", "gpt-5.4")]), 1);
        let tokens = |kind: &str| scrape.count(&format!("codex_pooler_usage_{kind}_tokens_total"), &[]);
        assert_eq!(
            [
                tokens("input"),
                tokens("cache_read_input"),
                tokens("cache_write_input"),
                tokens("output"),
                tokens("reasoning_output")
            ],
            [48_210 + 100, 40_960, 7, 1_893 + 20, 640]
        );
        assert!((scrape.sum("codex_pooler_cost_usd_total", &[("model", "gpt-5.4")]) - 0.033_112_5).abs() < 1e-12);
        let settlements = |usage, pricing| {
            scrape.count("codex_pooler_settlements_total", &[("usage_status", usage), ("pricing_status", pricing)])
        };
        assert_eq!(
            [settlements("usage_known", "priced"), settlements("usage_known", "none"), settlements("usage_unknown", "none")],
            [1, 1, 1]
        );
        assert_eq!(scrape.count("codex_pooler_settlements_total", &[]), 3, "what was rejected has no settlement");
        assert_eq!(scrape.count("codex_pooler_account_info", &[("account", "Aurora seat 1"), ("plan", "Pro")]), 1);
        assert_eq!(scrape.count("codex_pooler_late_rows_total", &[("pool", "core-agents")]), 0);
        let seen = scrape.sum("codex_pooler_last_seen_timestamp_seconds", &[("service", "codex-pooler")]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((seen - now).abs() < 60.0, "{seen}");
    }
}

/// Guarantees: what is delivered again counts once; with a store, also after a restart, which loses nothing that was not counted yet.
#[test]
fn deliveries_count_once() {
    for collector in Collector::both() {
        let row = Row::numbered(1);
        let spans = vec![row.attempt(1, AttemptStatus::Succeeded), row.span()];
        for _ in 0..3 {
            collector.take(spans.clone());
        }
        let counted = |collector: &Collector| {
            let scrape = collector.scrape();
            ["requests_total", "attempts_total", "settlements_total", "request_duration_seconds_count"]
                .map(|name| scrape.count(&format!("codex_pooler_{name}"), &[]))
        };
        assert_eq!(counted(&collector), [1; 4]);
        assert_eq!(settled(&collector), [48_210, 1_893, 33_113, 1, 1]);
        // The same span id in another trace is another span.
        let other = Span { span_id: row.span().span_id, ..Row::numbered(2).span() };
        collector.take(vec![other]);
        assert_eq!(counted(&collector), [2, 1, 2, 2]);
        if collector.store.is_some() {
            let collector = collector.restarted();
            collector.take([spans, vec![Row::numbered(3).span()]].concat());
            assert_eq!(counted(&collector), [1, 0, 1, 1]);
        }
    }
}

/// Guarantees: what a correction makes known counts once, whenever it arrives and however often; a row counts as settled once, when it is.
#[test]
fn corrections_count_once() {
    for collector in Collector::both() {
        let row = Row::numbered(1);
        let correction = row.correction(1, settlement(1_000, 50, Some(0.25)));
        collector.take(vec![pending(&row)]);
        assert_eq!(settled(&collector), [0; 5], "a pending row has no settlement");
        collector.take(vec![correction.clone()]);
        assert_eq!(settled(&collector), [1_000, 50, 250_000, 1, 1]);
        collector.take(vec![correction.clone(), pending(&row), correction.clone()]);
        assert_eq!(settled(&collector), [1_000, 50, 250_000, 1, 1]);
        assert_eq!(collector.sum("codex_pooler_requests_total", &[]).to_string(), "1");

        // The correction arrives before its row.
        let other = Row::numbered(2);
        collector.take(vec![other.correction(1, settlement(10, 5, None))]);
        assert_eq!(settled(&collector), [1_000, 50, 250_000, 1, 1]);
        collector.take(vec![pending(&other)]);
        assert_eq!(settled(&collector), [1_010, 55, 250_000, 2, 2]);
    }
}

/// Guarantees: usage that becomes known after it was settled as unknown adds its figures, and no second settlement; a figure that is raised adds
/// the difference, one that is lowered takes nothing away.
#[test]
fn counters_do_not_fall() {
    for collector in Collector::both() {
        let row = Row { tokens: None, cost_usd: None, ..Row::numbered(1) };
        collector.take(vec![row.span()]);
        assert_eq!(settled(&collector), [0, 0, 0, 0, 1]);
        collector.take(vec![row.correction(1, settlement(1_000, 50, Some(0.25)))]);
        assert_eq!(settled(&collector), [1_000, 50, 250_000, 0, 1]);
        collector.take(vec![row.correction(2, settlement(1_200, 40, Some(0.5)))]);
        assert_eq!(settled(&collector), [1_200, 50, 500_000, 0, 1]);
        // Overtaken by the second one.
        collector.take(vec![row.correction(1, settlement(9_000, 9_000, Some(9.0)))]);
        assert_eq!(settled(&collector), [1_200, 50, 500_000, 0, 1]);
    }
}

/// Guarantees: tokens count only where usage is known, cost only where it is priced as well.
#[test]
fn figures_without_a_settlement_do_not_count() {
    for collector in Collector::both() {
        collector.take(vec![
            with(Row::numbered(1).span(), vec![attribute(attr::USAGE_STATUS, "usage_unknown")]),
            with(Row::numbered(2).span(), vec![attribute(attr::USAGE_STATUS, "usage_pending")]),
            with(Row::numbered(3).span(), vec![attribute(attr::PRICING_STATUS, "unpriced_auto_tier")]),
            with(Row::numbered(4).span(), vec![without(attr::USAGE_INPUT_TOKENS), without(attr::COST_SETTLED_USD)]),
        ]);
        assert_eq!(settled(&collector), [48_210, 2 * 1_893, 0, 2, 3]);
    }
}

/// Guarantees: a row that ended more than ten minutes ago counts as late and nowhere else, and so do its attempts and corrections not count;
/// one that ended just before that counts as usual.
#[test]
fn history_counts_as_late() {
    for collector in Collector::both() {
        let ended = |ago_ms: u64, n| {
            let row = Row::numbered(n);
            Row { admitted_ms: otlp::now_ms() - ago_ms - row.duration_ms, ..row }
        };
        let late = ended(601_000, 1);
        let correction = late.correction(1, settlement(1_000, 50, Some(0.25)));
        let learned = late.span().end_time_unix_nano;
        let correction = Span { start_time_unix_nano: learned, end_time_unix_nano: learned, ..correction };
        for _ in 0..2 {
            collector.take(vec![late.span(), late.attempt(1, AttemptStatus::Succeeded), correction.clone()]);
        }
        let scrape = collector.scrape();
        for name in ["requests_total", "request_duration_seconds_count", "attempts_total", "settlements_total", "cost_usd_total"]
        {
            assert_eq!(scrape.count(&format!("codex_pooler_{name}"), &[]), 0, "{name}");
        }
        assert_eq!(scrape.count("codex_pooler_late_rows_total", &[("pool", "core-agents")]), 1);
        assert_eq!(scrape.count("codex_pooler_account_info", &[]), 1, "history has accounts to choose from, too");
        collector.take(vec![ended(590_000, 2).span()]);
        let scrape = collector.scrape();
        assert_eq!(["requests_total", "late_rows_total"].map(|name| scrape.count(&format!("codex_pooler_{name}"), &[])), [1, 1]);
    }
}

/// Guarantees: a row or an attempt that a recovery closed counts, but its duration, which means nothing, does not.
#[test]
fn recoveries_have_no_duration() {
    for collector in Collector::both() {
        let code = Some("stale_reservation_recovered".to_owned());
        let row = Row { status: RequestStatus::Failed, error_code: code, ..Row::numbered(1) };
        collector.take(vec![row.span(), row.attempt(1, AttemptStatus::Failed)]);
        let scrape = collector.scrape();
        let names = ["requests_total", "attempts_total", "request_duration_seconds_count", "attempt_duration_seconds_count"];
        assert_eq!(names.map(|name| scrape.count(&format!("codex_pooler_{name}"), &[])), [1, 1, 0, 0]);
    }
}

/// Guarantees: the good and the bad requests of a kind, and what a Pool rarely counts, are there with 0 from the first request on, so that a rate
/// sees the first one that is otherwise.
#[test]
fn siblings_begin_together() {
    let collector = Collector::new(false);
    collector.take(vec![Row::numbered(1).span()]);
    let scrape = collector.scrape();
    let values = |name: &str, label: &str| scrape.label_values(&format!("codex_pooler_{name}"), label).len();
    assert_eq!(values("requests_total", "outcome"), 2);
    assert_eq!(values("request_duration_seconds_count", "outcome"), 2);
    assert_eq!(values("settlements_total", "usage_status"), 2);
    assert_eq!((values("retries_total", "model"), values("late_rows_total", "pool")), (1, 1));
    assert_eq!(scrape.count("codex_pooler_requests_total", &[("outcome", "bad")]), 0);
}

/// Guarantees: an account has one plan at a time, the latest that is known.
#[test]
fn an_account_has_one_plan() {
    let collector = Collector::new(true);
    let plan = |n, plan: &str| with(Row::numbered(n).span(), vec![attribute(attr::UPSTREAM_PLAN_LABEL, plan)]);
    let old = Row { admitted_ms: otlp::now_ms() - 3_600_000, ..Row::numbered(9) };
    let plans = |collector: &Collector| -> Vec<String> {
        collector.scrape().label_values("codex_pooler_account_info", "plan").into_iter().map(str::to_owned).collect()
    };
    collector.take(vec![plan(1, "none")]);
    assert_eq!(plans(&collector), ["none"]);
    for (span, expected) in
        [(plan(2, "Plus"), "Plus"), (plan(3, "Team"), "Team"), (plan(4, "none"), "Team"), (old.span(), "Team")]
    {
        collector.take(vec![span]);
        assert_eq!(plans(&collector), [expected]);
    }
}

/// Guarantees: a request is open from its first marker to its row, once, whatever comes twice or in another order; a restart of the collector
/// takes it up again from the store.
#[test]
fn open_requests_survive_a_restart() {
    let collector = Collector::new(true);
    let (open, ended) = (Row::numbered(1), Row::numbered(2));
    collector.take(vec![open.marker(0), ended.marker(0), open.marker(1)]);
    collector.take(vec![ended.span(), ended.marker(1)]);
    let gauges = |collector: &Collector| {
        let scrape = collector.scrape();
        let age = scrape.sum("codex_pooler_requests_in_flight_oldest_age_seconds", &[("pool", "core-agents")]);
        // Admitted 10 s ago.
        assert!((9.0..60.0).contains(&age), "{age}");
        (
            scrape.count("codex_pooler_requests_in_flight", &[("pool", "core-agents"), ("transport", "http_sse")]),
            scrape.count("codex_pooler_requests_without_heartbeat", &[]),
        )
    };
    assert_eq!(gauges(&collector), (1, 0));
    let collector = collector.restarted();
    super::super::take_up_open_requests(&collector.store.as_ref().unwrap().reader(), |marker| {
        collector.metrics.was_open(marker, SystemTime::now());
    });
    assert_eq!(gauges(&collector), (1, 0));
    collector.take(vec![open.span()]);
    let scrape = collector.scrape();
    assert_eq!(scrape.count("codex_pooler_requests_in_flight", &[]), 0);
    assert!(scrape.sum("codex_pooler_requests_in_flight_oldest_age_seconds", &[]).abs() < 1e-9, "0 when none is open");
}

/// Guarantees: the buckets of every histogram lead to a trace.
#[test]
fn histograms_have_exemplars() {
    let collector = Collector::new(false);
    let row = Row::numbered(1);
    let attempt = with(row.attempt(1, AttemptStatus::Succeeded), vec![attribute(attr::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, 0.3)]);
    collector.take(vec![row.span(), attempt]);
    let mut text = String::new();
    encode(&mut text, &collector.registry).unwrap();
    let exemplar = format!("# {{trace_id=\"{}\"}}", row.trace_id_text());
    for name in ["request_duration", "attempt_duration", "time_to_first_output"] {
        let bucket = format!("codex_pooler_{name}_seconds_bucket");
        assert!(text.lines().any(|line| line.starts_with(&bucket) && line.contains(&exemplar)), "{name}\n{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Guarantees: in whatever order, in whatever messages and however often rows arrive, the requests that are counted are the different rows
    /// that arrived in time, and the late ones are the rest.
    #[test]
    fn requests_are_the_rows(order in prop::collection::vec((0_u32..12, 0_usize..4), 1..60), with_store: bool) {
        let collector = Collector::new(with_store);
        // Every third row is of the past; every other one failed.
        let row = |n: u32| Row {
            admitted_ms: otlp::now_ms() - if n.is_multiple_of(3) { 3_600_000 } else { 60_000 },
            status: if n.is_multiple_of(2) { RequestStatus::Failed } else { RequestStatus::Succeeded },
            ..Row::numbered(n + 1)
        };
        let mut message = Vec::new();
        for (n, cut) in &order {
            message.push(row(*n).span());
            if *cut == 0 {
                collector.take(std::mem::take(&mut message));
            }
        }
        collector.take(message);
        let different: std::collections::BTreeSet<u32> = order.iter().map(|(n, _)| *n).collect();
        let late = different.iter().filter(|n| n.is_multiple_of(3)).count() as u64;
        let scrape = collector.scrape();
        prop_assert_eq!(scrape.count("codex_pooler_late_rows_total", &[]), late);
        prop_assert_eq!(scrape.count("codex_pooler_requests_total", &[]), different.len() as u64 - late);
    }
}
