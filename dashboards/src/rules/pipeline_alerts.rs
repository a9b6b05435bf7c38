//! Alerts on the collector and on those that send to it.

use contract::generated::metrics;
use contract::{DropReason, StripReason};

use super::query::{rise, rise_from_nothing};
use super::recorded::UNACCOUNTED;
use super::thresholds::{self, Threshold};
use super::{Alert, Rule};
use crate::board::Board;

/// Name of the scrape job, as in the Prometheus configuration that comes with this.
const JOB: &str = "pooler-otel";

/// Every alert on the pipeline.
pub fn all() -> Vec<Rule> {
    [
        down(),
        not_ready(),
        refusing(),
        dropping(),
        records_unusable(),
        unaccounted(),
        secrets_sent(),
        unknown_fields_sent(),
        policy_stale(),
        sender_silent(),
    ]
    .map(Rule::Alert)
    .into()
}

/// An alert on the whole pipeline.
fn alert(threshold: &Threshold, expr: String, summary: &str, description: &str) -> Alert {
    Alert::new(threshold, expr, summary, description, (Board::Pipeline, "from=now-3h&to=now".to_owned()))
}

/// [`alert`] on one collector.
fn alert_on_instance(threshold: &Threshold, expr: String, summary: &str, description: &str) -> Alert {
    let alert = alert(threshold, expr, summary, description);
    Alert { filters: format!("var-instance={{{{ $labels.instance | urlquery }}}}&{}", alert.filters), ..alert }
}

fn down() -> Alert {
    let threshold = &thresholds::DOWN;
    let Threshold { limit, window, .. } = *threshold;
    let up = format!("up{{job=\"{JOB}\"}}");
    alert(
        threshold,
        // Second, one that flaps; a new one, which has no such past yet, may take its time to start. Third: a collector that Prometheus no longer
        // looks for must not look like health.
        format!("{up} == 0\n  or\navg_over_time({up}[{window}]) < {limit} and {up} offset {window}\n  or\nabsent({up})"),
        "The collector of the request log cannot be scraped.",
        "Prometheus does not reach {{ if $labels.instance }}{{ $labels.instance }}{{ else }}any pooler-otel{{ end }}. Requests may go unrecorded, and no other alert on them can fire.",
    )
}

fn not_ready() -> Alert {
    alert_on_instance(
        &thresholds::NOT_READY,
        format!("{} == 0", metrics::POOLER_OTEL_READY.name),
        "The collector {{ $labels.instance }} takes no messages.",
        "{{ $labels.instance }} runs, but its store or its queue cannot take messages. Senders repeat them for a while, then they are lost.",
    )
}

fn refusing() -> Alert {
    let threshold = &thresholds::REFUSING;
    let Threshold { limit, at_least, window, .. } = *threshold;
    let refused = rise("reason", &metrics::POOLER_OTEL_REFUSED_MESSAGES_TOTAL, "", window);
    let received = format!("scalar(sum(increase({}[{window}])))", metrics::POOLER_OTEL_RECEIVED_MESSAGES_TOTAL.name);
    alert(
        threshold,
        format!("{refused} / {received} > {limit}\n  and\n{refused} >= {at_least}"),
        "The collector refuses messages: {{ $labels.reason }}.",
        &format!(
            "{{{{ $value | humanizePercentage }}}} of the messages of the last {window} were refused as {{{{ $labels.reason }}}}."
        ),
    )
}

fn dropping() -> Alert {
    let threshold = &thresholds::DROPPING;
    let Threshold { limit, window, .. } = *threshold;
    let lost = rise_from_nothing("signal, branch, reason", &metrics::POOLER_OTEL_BRANCH_DROPPED_RECORDS_TOTAL, "", window);
    alert(
        threshold,
        format!("{lost} > {limit}"),
        "Records of {{ $labels.signal }} were lost on the way to {{ $labels.branch }}: {{ $labels.reason }}.",
        &format!(
            "About {{{{ $value | printf \"%.0f\" }}}} records of {{{{ $labels.signal }}}} did not reach {{{{ $labels.branch }}}} in the last {window}: {{{{ $labels.reason }}}}."
        ),
    )
}

fn records_unusable() -> Alert {
    let threshold = &thresholds::RECORDS_UNUSABLE;
    let Threshold { at_least, window, .. } = *threshold;
    // Without a destination for a signal its records are dropped as configured.
    let other = format!("reason!=\"{}\"", DropReason::NoDestination);
    let dropped = rise("signal, reason", &metrics::POOLER_OTEL_DROPPED_RECORDS_TOTAL, &other, window);
    alert(
        threshold,
        format!("{dropped} >= {at_least}"),
        "A sender's {{ $labels.signal }} are unusable: {{ $labels.reason }}.",
        &format!(
            "About {{{{ $value | printf \"%.0f\" }}}} records of {{{{ $labels.signal }}}} were dropped as {{{{ $labels.reason }}}} in the last {window}."
        ),
    )
}

fn unaccounted() -> Alert {
    let threshold = &thresholds::UNACCOUNTED;
    let parts = UNACCOUNTED.map(|series| format!("{series} != {}", threshold.limit));
    alert_on_instance(
        threshold,
        parts.join("\n  or\n"),
        "The collector {{ $labels.instance }} has lost count.",
        &format!(
            "{{{{ $value }}}} {{{{ if $labels.branch }}}}records of {{{{ $labels.signal }}}} for {{{{ $labels.branch }}}}{{{{ else if $labels.signal }}}}records of {{{{ $labels.signal }}}}{{{{ else }}}}messages{{{{ end }}}} have been neither delivered nor dropped nor queued for {}: the counts do not add up.",
            threshold.pending
        ),
    )
}

fn secrets_sent() -> Alert {
    let threshold = &thresholds::SECRETS_SENT;
    let Threshold { limit, window, .. } = *threshold;
    let found = rise_from_nothing(
        "place, reason",
        &metrics::POOLER_OTEL_STRIPPED_FIELDS_TOTAL,
        &format!("reason=\"{}\"", StripReason::Detected),
        window,
    );
    alert(
        threshold,
        format!("{found} > {limit}"),
        "A sender's telemetry holds secrets or personal data.",
        &format!(
            "About {{{{ $value | printf \"%.0f\" }}}} fields ({{{{ $labels.place }}}}) that look like a credential, an address or a card number were stripped in the last {window}."
        ),
    )
}

fn unknown_fields_sent() -> Alert {
    let threshold = &thresholds::UNKNOWN_FIELDS_SENT;
    let Threshold { limit, window, .. } = *threshold;
    let matcher = format!("reason=\"{}\"", StripReason::UnknownKey);
    alert(
        threshold,
        format!("{} > {limit}", rise("place, reason", &metrics::POOLER_OTEL_STRIPPED_FIELDS_TOTAL, &matcher, window)),
        "A sender's telemetry holds many fields that are not in the contract.",
        &format!(
            "About {{{{ $value | printf \"%.0f\" }}}} fields ({{{{ $labels.place }}}}) with unknown keys were stripped in the last {window}."
        ),
    )
}

fn policy_stale() -> Alert {
    let threshold = &thresholds::POLICY_STALE;
    alert_on_instance(
        threshold,
        format!("{} > {}", metrics::POOLER_OTEL_POLICY_STALE.name, threshold.limit),
        "The collector {{ $labels.instance }} works with an old policy.",
        "The policy file of {{ $labels.instance }} is invalid, cannot be read or is gone; the policy that was valid before stays in force.",
    )
}

fn sender_silent() -> Alert {
    let threshold = &thresholds::SENDER_SILENT;
    let Threshold { limit, window, .. } = *threshold;
    let last_seen = metrics::CODEX_POOLER_LAST_SEEN_TIMESTAMP_SECONDS.name;
    alert(
        threshold,
        // Over a day, so that a sender is remembered when the collector starts again and does not know it any more.
        // While no collector is there nobody is heard, which `PoolerOtelDown` says; then senders have the pending time to be heard again.
        format!(
            "time() - max by (service) (max_over_time({last_seen}[{window}])) > {limit}\n  unless on ()\nmax(up{{job=\"{JOB}\"}}) == 0"
        ),
        "The sender {{ $labels.service }} has fallen silent.",
        // A sender sends when something happens, and says nothing of itself in between.
        "{{ $labels.service }} was last heard {{ $value | humanizeDuration }} ago. Either it has no requests, which is no fault, or they are not recorded: telemetry cannot tell. Look first at the pooler's own request page, for a request that is newer than that.",
    )
}
