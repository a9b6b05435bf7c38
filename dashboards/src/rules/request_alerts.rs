//! Alerts on what happens to requests. Rejections, clients that left and the caller's own mistakes are in no failure ratio; where they say
//! something, they have an alert of their own.

use contract::generated::metrics;
use contract::{Metric, Outcome, RequestStatus, UsageStatus};

use super::query::{any_of, counted, ended, last_seen, rise, select};
use super::recorded::{account_attempts, account_failures, counted_requests, duration_p95, failures, requests};
use super::thresholds::{self, BURN_AT_LEAST, BURN_RATES, BurnRate, ERROR_BUDGET, Threshold};
use super::{Alert, Rule};
use crate::board::Board;
use crate::codes;

const REQUESTS: &Metric = &metrics::CODEX_POOLER_REQUESTS_TOTAL;

/// Every alert on requests.
pub fn all() -> Vec<Rule> {
    let single = [
        account_failing(),
        no_success(),
        quota_exhausted(),
        rejections_jump(),
        latency_high(),
        streams_interrupted(),
        clients_leaving(),
        usage_unknown(),
        request_stuck(),
        heartbeat_lost(),
        late_rows_only(),
    ];
    BURN_RATES.iter().map(budget_burn).chain(single).map(Rule::Alert).collect()
}

/// An alert on the Pool of its series.
fn alert(threshold: &Threshold, expr: String, summary: &str, description: &str, dashboard: Board, filters: &str) -> Alert {
    let filters = format!("var-pool={{{{ $labels.pool | urlquery }}}}{filters}");
    Alert::new(threshold, expr, summary, description, (dashboard, filters))
}

/// How many requests of each Pool ended so in a window. A share takes both its sides from here, so that it is never more than 1.
fn requests_of_pool(matchers: &str, window: &str) -> String {
    format!("sum by (pool) ({})", select(&requests(window), matchers))
}

fn budget_burn(burn: &BurnRate) -> Alert {
    let BurnRate { long, short, factor, pending, severity, why } = *burn;
    let over = |window| format!("{} > {factor} * {ERROR_BUDGET}", failures(window));
    Alert {
        name: "CodexPoolerErrorBudgetBurn",
        expr: format!("{}\n  and\n{}\n  and\n{} >= {BURN_AT_LEAST}", over(long), over(short), counted_requests(long)),
        pending,
        severity,
        labels: vec![("long_window", long), ("short_window", short)],
        why,
        summary: "Requests of Pool {{ $labels.pool }} fail.".to_owned(),
        description: format!(
            "{{{{ $value | humanizePercentage }}}} of the requests of Pool {{{{ $labels.pool }}}} failed in the last {long}, and it goes on: the error budget burns at more than {factor} times the rate that the objective allows."
        ),
        dashboard: Board::Overview,
        filters: format!("var-pool={{{{ $labels.pool | urlquery }}}}&from=now-{long}&to=now"),
    }
}

fn account_failing() -> Alert {
    let threshold = &thresholds::ACCOUNT_FAILING;
    let Threshold { limit, at_least, window, .. } = *threshold;
    let ratio = account_failures();
    alert(
        threshold,
        // The account itself is over the limit, so one under the lower limit is another one.
        format!(
            "{ratio} > {limit}\n  and\n{} >= {at_least}\n  and on (pool)\n{ratio} < {}",
            account_attempts(),
            thresholds::ACCOUNT_HEALTHY
        ),
        "Upstream account {{ $labels.account }} of Pool {{ $labels.pool }} fails, others serve.",
        &format!(
            "{{{{ $value | humanizePercentage }}}} of the attempts on account {{{{ $labels.account }}}} failed in the last {window}, while another account of Pool {{{{ $labels.pool }}}} serves."
        ),
        Board::Accounts,
        "&var-account={{ $labels.account | urlquery }}&from=now-3h&to=now",
    )
}

fn no_success() -> Alert {
    let threshold = &thresholds::NO_SUCCESS;
    let Threshold { limit, at_least, window, .. } = *threshold;
    // Refused for want of an account or of quota, or failed for want of a provider: the caller did nothing wrong.
    let codes = any_of(&[codes::ROUTING, &codes::quota(), codes::PROVIDER].concat());
    let unserved = format!("outcome=\"{}\",error_code=~\"{codes}\"", Outcome::Neutral);
    alert(
        threshold,
        format!(
            "{} >= {at_least}\n  unless\n{} > {limit}",
            ended(&[Outcome::Bad], &[unserved], window),
            ended(&[Outcome::Good], &[], window)
        ),
        "Pool {{ $labels.pool }} serves nothing.",
        &format!(
            "About {{{{ $value | printf \"%.0f\" }}}} requests of Pool {{{{ $labels.pool }}}} could not be served in the last {window}, and not one succeeded."
        ),
        Board::RequestLogs,
        &format!("&var-status={}&var-status={}&from=now-30m&to=now", RequestStatus::Failed, RequestStatus::Rejected),
    )
}

fn quota_exhausted() -> Alert {
    let threshold = &thresholds::QUOTA_EXHAUSTED;
    let Threshold { limit, at_least, window, .. } = *threshold;
    let exhausted = requests_of_pool(&format!("error_code=~\"{}\"", any_of(&codes::quota())), window);
    alert(
        threshold,
        format!("{exhausted} / {} > {limit}\n  and\n{exhausted} >= {at_least}", requests_of_pool("", window)),
        "Pool {{ $labels.pool }} has no quota left.",
        &format!(
            "{{{{ $value | humanizePercentage }}}} of the requests of Pool {{{{ $labels.pool }}}} ended for want of quota in the last {window}."
        ),
        Board::Accounts,
        "&from=now-6h&to=now",
    )
}

fn rejections_jump() -> Alert {
    let threshold = &thresholds::REJECTIONS_JUMP;
    let Threshold { limit, at_least, window, .. } = *threshold;
    let rejected = format!("status=\"{}\"", RequestStatus::Rejected);
    // Quota has an alert of its own.
    let watched = format!("{rejected},error_code!~\"{}\"", any_of(&codes::quota()));
    let rose = |matchers: &str| format!("sum by (pool, error_code) ({})", select(&requests(window), matchers));
    let day = format!("sum by (pool, error_code) (increase({}[1d] offset {window}))", select(REQUESTS.name, &rejected));
    alert(
        threshold,
        // `unless`, so that a code without a yesterday is a jump, too.
        format!(
            "{} >= {at_least}\n  unless\n{} <= {limit} * {day} / {}",
            rose(&watched),
            rose(&rejected),
            thresholds::REJECTIONS_WINDOWS_A_DAY
        ),
        "Pool {{ $labels.pool }} rejects many requests with {{ $labels.error_code }}.",
        &format!(
            "Pool {{{{ $labels.pool }}}} rejected about {{{{ $value | printf \"%.0f\" }}}} requests with {{{{ $labels.error_code }}}} in the last {window}, more than {limit} times as many as on average in the day before."
        ),
        Board::RequestLogs,
        &format!("&var-status={}&from=now-1h&to=now", RequestStatus::Rejected),
    )
}

fn latency_high() -> Alert {
    let threshold = &thresholds::LATENCY_HIGH;
    let Threshold { limit, at_least, window, .. } = *threshold;
    alert(
        threshold,
        format!(
            "{} > {limit}\n  and\nsum by (pool) (increase({}_count{{{}}}[{window}])) >= {at_least}",
            duration_p95(),
            metrics::CODEX_POOLER_REQUEST_DURATION_SECONDS.name,
            counted()
        ),
        "Requests of Pool {{ $labels.pool }} are slow.",
        "One request in twenty of Pool {{ $labels.pool }} takes longer than {{ $value | humanizeDuration }}.",
        Board::Overview,
        "&from=now-3h&to=now",
    )
}

fn streams_interrupted() -> Alert {
    let texts = ["end before they are complete", "broke off upstream"];
    share_of_codes(&thresholds::STREAMS_INTERRUPTED, codes::STREAM, texts, &[RequestStatus::Failed])
}

fn clients_leaving() -> Alert {
    let texts = ["are left by their clients", "ended because the client went away"];
    // The pooler calls a request that its client left either, by how far it was.
    share_of_codes(&thresholds::CLIENTS_LEAVING, codes::CLIENT, texts, &[RequestStatus::Failed, RequestStatus::Cancelled])
}

/// The share of these codes in all that was admitted; requests with them have one of these states.
fn share_of_codes(threshold: &Threshold, codes: &[&str], [what, how]: [&str; 2], states: &[RequestStatus]) -> Alert {
    let Threshold { limit, at_least, window, .. } = *threshold;
    let admitted = format!("status!=\"{}\"", RequestStatus::Rejected);
    let these = requests_of_pool(&format!("{admitted},error_code=~\"{}\"", any_of(codes)), window);
    let admitted = requests_of_pool(&admitted, window);
    let shown: Vec<String> = states.iter().map(|status| format!("&var-status={status}")).collect();
    alert(
        threshold,
        format!("{these} / {admitted} > {limit}\n  and\n{admitted} >= {at_least}"),
        &format!("Streams of Pool {{{{ $labels.pool }}}} {what}."),
        &format!(
            "{{{{ $value | humanizePercentage }}}} of the admitted requests of Pool {{{{ $labels.pool }}}} {how} in the last {window}."
        ),
        Board::RequestLogs,
        &format!("{}&from=now-1h&to=now", shown.concat()),
    )
}

fn usage_unknown() -> Alert {
    let threshold = &thresholds::USAGE_UNKNOWN;
    let Threshold { limit, at_least, window, .. } = *threshold;
    let settled =
        |statuses: &str| rise("pool", &metrics::CODEX_POOLER_SETTLEMENTS_TOTAL, &format!("usage_status=~\"{statuses}\""), window);
    let (unknown, known) = (UsageStatus::UsageUnknown, UsageStatus::UsageKnown);
    let all = settled(&format!("{known}|{unknown}"));
    alert(
        threshold,
        format!("{} / {all} > {limit}\n  and\n{all} >= {at_least}", settled(unknown.as_str())),
        "Pool {{ $labels.pool }} does not know what its requests used.",
        &format!(
            "{{{{ $value | humanizePercentage }}}} of the settled requests of Pool {{{{ $labels.pool }}}} have no usage in the last {window}: tokens and costs are too low."
        ),
        Board::Overview,
        "&from=now-6h&to=now",
    )
}

fn request_stuck() -> Alert {
    let threshold = &thresholds::REQUEST_STUCK;
    alert(
        threshold,
        format!("{} > {}", metrics::CODEX_POOLER_REQUESTS_IN_FLIGHT_OLDEST_AGE_SECONDS.name, threshold.limit),
        "A request of Pool {{ $labels.pool }} does not end.",
        "The oldest open request of Pool {{ $labels.pool }} is {{ $value | humanizeDuration }} old, and its process still answers for it.",
        Board::RequestLogs,
        &format!("&var-status={}&from=now-6h&to=now", RequestStatus::InProgress),
    )
}

fn heartbeat_lost() -> Alert {
    let threshold = &thresholds::HEARTBEAT_LOST;
    let Threshold { limit, window, .. } = *threshold;
    let lost = metrics::CODEX_POOLER_REQUESTS_WITHOUT_HEARTBEAT.name;
    alert(
        threshold,
        format!("{lost} > {limit}\n  unless\n{lost} <= {}", last_seen(lost, window)),
        "Open requests of Pool {{ $labels.pool }} have lost their heartbeat.",
        &format!(
            "{{{{ $value }}}} open requests of Pool {{{{ $labels.pool }}}} have no heartbeat, more than there were {window} ago: the process that served them has ended, or its telemetry does not arrive."
        ),
        Board::RequestLogs,
        &format!("&var-status={}&from=now-6h&to=now", RequestStatus::InProgress),
    )
}

fn late_rows_only() -> Alert {
    let threshold = &thresholds::LATE_ROWS_ONLY;
    let Threshold { limit, at_least, window, .. } = *threshold;
    alert(
        threshold,
        format!(
            "{} >= {at_least}\n  unless\n{} > {limit}",
            rise("pool", &metrics::CODEX_POOLER_LATE_ROWS_TOTAL, "", window),
            rise("pool", REQUESTS, "", window)
        ),
        "Rows of Pool {{ $labels.pool }} arrive late only.",
        &format!(
            "About {{{{ $value | printf \"%.0f\" }}}} rows of Pool {{{{ $labels.pool }}}} arrived in the last {window} more than ten minutes after their end, and none in time. They are in the log, not in the graphs."
        ),
        Board::RequestLogs,
        "&from=now-3h&to=now",
    )
}

#[cfg(test)]
mod tests {
    use contract::outcome::HEALTH_NEUTRAL_CODES;

    use super::*;

    /// Guarantees: what the failure ratio leaves out for want of a provider or of quota, `CodexPoolerNoSuccess` looks for, in the contract's
    /// spelling; a new code of the kind has to be put on one of the lists.
    #[test]
    fn neutral_codes_of_the_provider_are_looked_for() {
        let looked_for = [codes::PROVIDER, &codes::quota()].concat();
        let word = |code: &&&str| ["overloaded", "server_error", "usage_limit", "credits"].iter().any(|word| code.contains(word));
        let found: Vec<&&str> = HEALTH_NEUTRAL_CODES.iter().filter(word).collect();
        assert_eq!(found.len(), 9);
        assert!(found.iter().all(|code| looked_for.contains(code)), "{found:?}");
        assert!(codes::PROVIDER.iter().all(|code| HEALTH_NEUTRAL_CODES.contains(code)));
    }
}
