//! The dashboard "Telemetry pipeline": the way of the telemetry through the collector, hop by hop, and proof that nothing goes missing.

use contract::generated::metrics;
use contract::{Branch, Metric, attr};
use serde_json::{Value, json};

use crate::board::Board;
use crate::grafana::{self, Query, Size, heading, thresholds};
use crate::promql::{self, INSTANCE, JOB, RATE, label, legend};
use crate::rules::UNACCOUNTED;

/// Age of the last message of a sender from which it counts as silent, in seconds: open requests alone make one every 15 seconds.
const SILENT_S: f64 = 300.0;
const STATE: Size = Size(6, 4);
const HALF: Size = Size(12, 8);
const THIRD: Size = Size(8, 8);
const QUARTER: Size = Size(6, 8);

/// The dashboard.
pub fn dashboard() -> Value {
    let panels = [state(), senders(), received(), sanitized(), branches(), conserved()].concat();
    Board::Pipeline.dashboard(
        "The way of the telemetry through the collector, hop by hop: received, refused, stripped, dropped, queued, stored, forwarded. Read \
         from top to bottom; the first row that is wrong is where to look.",
        "now-1h",
        vec![scraped(JOB, "Job", ""), scraped(INSTANCE, "Instance", r#"{job=~"$job"}"#)],
        panels,
    )
}

/// A variable over a label that Prometheus gives to what it scrapes.
fn scraped(name: &str, label: &str, narrowed: &str) -> Value {
    let query = format!("label_values({}{narrowed}, {name})", metrics::POOLER_OTEL_RECEIVED_MESSAGES_TOTAL.name);
    let description = format!("Label {name} that Prometheus gives to the collectors.");
    grafana::merge(grafana::label_values(&query, ".+"), json!({"name": name, "label": label, "description": description}))
}

/// The matchers of both variables, and further ones.
fn chosen(further: &[String]) -> Vec<String> {
    [JOB, INSTANCE].map(|name| format!(r#"{name}=~"${name}""#)).into_iter().chain(further.iter().cloned()).collect()
}

fn pace(metric: &Metric, by: &[&str], further: &[String]) -> String {
    promql::sum(by, &promql::rate(metric, &chosen(further), RATE))
}

fn curves(title: &str, text: &str, size: Size, name: &str, expr: String, defaults: Value) -> Value {
    grafana::timeseries(title, text, size, &[Query::new(name, expr)], defaults)
}

/// The name of each collector.
fn of_instance() -> String {
    format!("{{{{{INSTANCE}}}}}")
}

// --- the collectors -----------------------------------------------------------------------------------------------------------

fn state() -> Vec<Value> {
    let words = |good: &str, bad: &str, good_value: u32| {
        let (zero, one) = if good_value == 1 { ((bad, "red"), (good, "green")) } else { ((good, "green"), (bad, "red")) };
        let result = |(text, color): (&str, &str), index: u32| json!({"text": text, "color": color, "index": index});
        json!({"unit": "none", "mappings": [{"type": "value", "options": {"0": result(zero, 0), "1": result(one, 1)}}]})
    };
    let info = |metric: &Metric, attribute: &str| {
        Query::new(&format!("{} {}", of_instance(), legend(attribute)), promql::select(metric, &chosen(&[])))
    };
    let neutral = || json!({"unit": "none", "mappings": [{"type": "value", "options": {"1": {"text": "in force", "color": "blue", "index": 0}}}]});
    vec![
        heading("Collectors"),
        grafana::state(
            "Ready",
            "Whether a collector takes messages. If not, its store or queue cannot take them, and senders are told to try again.",
            STATE,
            &Query::new(&of_instance(), promql::select(&metrics::POOLER_OTEL_READY, &chosen(&[]))),
            words("ready", "not ready", 1),
        ),
        grafana::state(
            "Policy file",
            "Whether the policy on disk is the one in force. If it is invalid, an older one stays in force.",
            STATE,
            &Query::new(&of_instance(), promql::select(&metrics::POOLER_OTEL_POLICY_STALE, &chosen(&[]))),
            words("in force", "invalid, older one in force", 0),
        ),
        grafana::state(
            "Policy version",
            "Version of the policy in force. All collectors should have the same one.",
            STATE,
            &info(&metrics::POOLER_OTEL_POLICY_INFO, attr::POOLER_OTEL_POLICY_VERSION),
            neutral(),
        ),
        grafana::state(
            "Collector version",
            "Version of the program.",
            STATE,
            &info(&metrics::POOLER_OTEL_BUILD_INFO, attr::SERVICE_VERSION),
            json!({"unit": "none", "mappings": [{"type": "value", "options": {"1": {"text": "runs", "color": "blue", "index": 0}}}]}),
        ),
    ]
}

// --- the hops -----------------------------------------------------------------------------------------------------------------

fn senders() -> Vec<Value> {
    let service = attr::SERVICE_NAME;
    let last_seen = promql::max(&[service], &promql::select(&metrics::CODEX_POOLER_LAST_SEEN_TIMESTAMP_SECONDS, &chosen(&[])));
    vec![
        heading("1. Senders"),
        grafana::metric_table(
            "Last heard of",
            "Time since each sender's last message. A sender with open requests sends at least every 15 seconds.",
            HALF,
            &[(label(service), "Sender")],
            &[Query::new("Silent for", format!("time() - {last_seen}"))],
            vec![(
                "Silent for",
                vec![
                    ("unit", json!("s")),
                    ("decimals", json!(0)),
                    ("thresholds", thresholds(&[(SILENT_S, "orange")])),
                    ("custom.cellOptions", json!({"type": "color-text"})),
                ],
            )],
            "Silent for",
        ),
        curves(
            "Policy reloads",
            "Attempts a second to load the policy again, by result.",
            HALF,
            &legend(attr::POOLER_OTEL_RELOAD_RESULT),
            pace(&metrics::POOLER_OTEL_POLICY_RELOADS_TOTAL, &[attr::POOLER_OTEL_RELOAD_RESULT], &[]),
            json!({"unit": "cps"}),
        ),
    ]
}

fn received() -> Vec<Value> {
    let unit = json!({"unit": "cps"});
    vec![
        heading("2. Received or refused, as whole messages"),
        curves(
            "Received by protocol",
            "OTLP messages a second.",
            QUARTER,
            &legend(attr::POOLER_OTEL_PROTOCOL),
            pace(&metrics::POOLER_OTEL_RECEIVED_MESSAGES_TOTAL, &[attr::POOLER_OTEL_PROTOCOL], &[]),
            unit.clone(),
        ),
        curves(
            "Refused by reason",
            "Messages a second that were refused as a whole. overloaded and unavailable: senders try again, nothing is lost yet.",
            QUARTER,
            &legend(attr::POOLER_OTEL_REFUSAL),
            pace(&metrics::POOLER_OTEL_REFUSED_MESSAGES_TOTAL, &[attr::POOLER_OTEL_REFUSAL], &[]),
            unit.clone(),
        ),
        curves(
            "Parsed",
            "Messages a second that were parsed and sanitized.",
            QUARTER,
            &of_instance(),
            format!("sum by ({INSTANCE}) ({})", promql::rate(&metrics::POOLER_OTEL_PARSED_MESSAGES_TOTAL, &chosen(&[]), RATE)),
            unit,
        ),
        curves(
            "In progress",
            "Messages that are being read, sanitized or stored.",
            QUARTER,
            &of_instance(),
            format!("sum by ({INSTANCE}) ({})", promql::select(&metrics::POOLER_OTEL_MESSAGES_IN_PROGRESS, &chosen(&[]))),
            json!({"unit": "short", "decimals": 0}),
        ),
    ]
}

fn sanitized() -> Vec<Value> {
    let unit = json!({"unit": "cps"});
    let stripped = &metrics::POOLER_OTEL_STRIPPED_FIELDS_TOTAL;
    let (signal, reason) = (attr::POOLER_OTEL_SIGNAL, attr::POOLER_OTEL_DROP_REASON);
    vec![
        heading("3. Sanitized"),
        curves(
            "Stripped by reason",
            "Fields a second that were taken out. detected: the value looked like a credential, an address or a card number; find its sender.",
            HALF,
            &legend(attr::POOLER_OTEL_STRIP_REASON),
            pace(stripped, &[attr::POOLER_OTEL_STRIP_REASON], &[]),
            unit.clone(),
        ),
        curves(
            "Stripped by place",
            "Fields a second that were taken out, by where in a message they stood.",
            HALF,
            &legend(attr::POOLER_OTEL_PLACE),
            pace(stripped, &[attr::POOLER_OTEL_PLACE], &[]),
            unit.clone(),
        ),
        curves(
            "Broken rules",
            "Values a second under a known key that broke its rule, by the rule. The five most frequent.",
            HALF,
            &legend(attr::POOLER_OTEL_RULE),
            format!("topk(5, {})", pace(&metrics::POOLER_OTEL_BROKEN_RULES_TOTAL, &[attr::POOLER_OTEL_RULE], &[])),
            unit.clone(),
        ),
        curves(
            "Records parsed by signal",
            "Spans, log records and data points a second.",
            THIRD,
            &legend(signal),
            pace(&metrics::POOLER_OTEL_PARSED_RECORDS_TOTAL, &[signal], &[]),
            unit.clone(),
        ),
        curves(
            "Records dropped by reason",
            "Records a second that the sanitizer dropped, or that no destination takes.",
            THIRD,
            &format!("{} {}", legend(signal), legend(reason)),
            pace(&metrics::POOLER_OTEL_DROPPED_RECORDS_TOTAL, &[signal, reason], &[]),
            unit.clone(),
        ),
        curves(
            "Records accepted by signal",
            "Records a second that were sanitized and handed to every branch.",
            THIRD,
            &legend(signal),
            pace(&metrics::POOLER_OTEL_ACCEPTED_RECORDS_TOTAL, &[signal], &[]),
            unit,
        ),
    ]
}

fn branches() -> Vec<Value> {
    let unit = json!({"unit": "cps"});
    let (branch, reason) = (attr::POOLER_OTEL_BRANCH, attr::POOLER_OTEL_DROP_REASON);
    let delivered = |to: Branch| {
        pace(
            &metrics::POOLER_OTEL_BRANCH_DELIVERED_RECORDS_TOTAL,
            &[attr::POOLER_OTEL_SIGNAL],
            &[promql::is(branch, to.as_str())],
        )
    };
    let queued = promql::sum(&[branch], &promql::select(&metrics::POOLER_OTEL_BRANCH_QUEUED_RECORDS, &chosen(&[])));
    vec![
        heading("4. Stored and forwarded"),
        curves(
            "Accepted by branch",
            "Records a second that were handed to a branch.",
            THIRD,
            &legend(branch),
            pace(&metrics::POOLER_OTEL_BRANCH_ACCEPTED_RECORDS_TOTAL, &[branch], &[]),
            unit.clone(),
        ),
        curves(
            "Queued by branch",
            "Records that wait now. A queue that grows means a destination that does not answer.",
            THIRD,
            &legend(branch),
            queued,
            json!({"unit": "short", "decimals": 0}),
        ),
        curves(
            "Dropped by branch and reason",
            "Records a second that a branch lost for good.",
            THIRD,
            &format!("{} {}", legend(branch), legend(reason)),
            pace(&metrics::POOLER_OTEL_BRANCH_DROPPED_RECORDS_TOTAL, &[branch, reason], &[]),
            unit.clone(),
        ),
        curves(
            "Stored by signal",
            "Records a second in the embedded store.",
            HALF,
            &legend(attr::POOLER_OTEL_SIGNAL),
            delivered(Branch::Store),
            unit.clone(),
        ),
        curves(
            "Forwarded by signal",
            "Records a second that the destination took.",
            HALF,
            &legend(attr::POOLER_OTEL_SIGNAL),
            delivered(Branch::Forward),
            unit.clone(),
        ),
        curves(
            "Metric pushes",
            "Times a second that these metrics were to be pushed over OTLP, where that is configured.",
            HALF,
            "all",
            pace(&metrics::POOLER_OTEL_METRIC_PUSHES_TOTAL, &[], &[]),
            unit.clone(),
        ),
        curves(
            "Failed metric pushes by reason",
            "Pushes a second that the destination did not take, or not all of. The next one carries the same figures, as they are then.",
            HALF,
            &legend(reason),
            pace(&metrics::POOLER_OTEL_FAILED_METRIC_PUSHES_TOTAL, &[reason], &[]),
            unit,
        ),
    ]
}

// --- the proof ----------------------------------------------------------------------------------------------------------------

/// What came in and did not go out. On counts themselves, which start together, because rates are extrapolated for each series apart and would
/// not add up to zero; so it is recorded, and only shown here.
fn conserved() -> Vec<Value> {
    let of_signal = format!("{} {}", of_instance(), legend(attr::POOLER_OTEL_SIGNAL));
    let laws = [
        ("messages", "received − refused − parsed − in progress", of_instance()),
        ("records", "parsed − dropped − accepted", of_signal.clone()),
        (
            "records of branches",
            "accepted − delivered − dropped − queued",
            format!("{of_signal} {}", legend(attr::POOLER_OTEL_BRANCH)),
        ),
    ];
    let panels = laws.into_iter().zip(UNACCOUNTED).map(|((what, law, name), series)| {
        curves(
            &format!("Unaccounted {what}"),
            &format!(
                "{law}: 0, but for the moment of a scrape between two counts. Anything that stays is a fault of the collector. From the \
                 recording rules.\n\nIgnores the filters: Job."
            ),
            THIRD,
            &name,
            format!(r#"{series}{{{INSTANCE}=~"${INSTANCE}"}}"#),
            json!({"unit": "short", "decimals": 0, "thresholds": thresholds(&[(1.0, "red")])}),
        )
    });
    [heading("5. Nothing goes missing")].into_iter().chain(panels).collect()
}
