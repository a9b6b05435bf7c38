//! The dashboard "Request logs": counts from Prometheus, open requests and the log itself from Tempo, all under the same filters.

use contract::generated::metrics;
use contract::limits::{HEARTBEAT_LOST_AFTER, MAX_ROWS, PAGE_ROWS};
use contract::{Outcome, RecordKind, RequestStatus, UsageStatus, attr, display};
use serde_json::{Value, json};

use crate::board::{Board, SAME_TIME, panel_link, same, set};
use crate::cells::{self, TIME_FORMAT};
use crate::filter::{self, Filter, NEWEST, matchers};
use crate::grafana::{self, Column, START_TIME, Size, numeric, shown, timestamp};
use crate::promql::{self, RANGE};
use crate::rules::FAILURE_RATIO_LIMIT;

/// Variable with the address of the pooler's own pages.
const POOLER_URL: &str = "pooler_url";
/// Where a pooler answers that runs on the operator's machine with its defaults.
const DEFAULT_POOLER_URL: &str = "http://localhost:4000";
/// Heading of the hidden column with the account's label.
const ACCOUNT: &str = "account";

/// The dashboard.
pub fn dashboard() -> Value {
    let pooler_url = grafana::merge(
        grafana::text_box(DEFAULT_POOLER_URL),
        json!({
            "name": POOLER_URL, "label": "Address of the pooler",
            "description": "Base URL of the pooler's own pages, without a slash at its end; the guide below the log links to them.",
        }),
    );
    let variables: Vec<Value> = Filter::ALL.map(Filter::variable).into_iter().chain([pooler_url]).collect();
    let mut panels = stats();
    panels.extend([log(), in_progress()]);
    panels.extend(guides());
    Board::RequestLogs.dashboard(
        "Every request that reached the pooler: who served it, how it ended, how long it took, what it cost. Metadata only.",
        "now-6h",
        variables,
        panels,
    )
}

/// A description that ends with the filters that the panel does not apply.
fn described(text: &str, applied: &[Filter]) -> String {
    filter::described(text, applied, &Filter::ALL)
}

// --- the counts ---------------------------------------------------------------------------------------------------------------

fn stats() -> Vec<Value> {
    const COUNTED: [Filter; 3] = [Filter::Pool, Filter::Status, Filter::Model];
    const SERVED: [Filter; 2] = [Filter::Pool, Filter::Model];
    const SIZE: Size = Size(3, 4);
    let total = |metric, filters: &[Filter], further: &[String]| {
        promql::sum(&[], &promql::increase(metric, &matchers(filters, further), RANGE))
    };
    let requests = &metrics::CODEX_POOLER_REQUESTS_TOTAL;
    let of_outcome = |outcomes: &[&str]| total(requests, &SERVED, &[promql::one_of(attr::REQUEST_OUTCOME, outcomes)]);
    let (good, bad) = (Outcome::Good.as_str(), Outcome::Bad.as_str());
    let tokens = [&metrics::CODEX_POOLER_USAGE_INPUT_TOKENS_TOTAL, &metrics::CODEX_POOLER_USAGE_OUTPUT_TOKENS_TOTAL]
        .map(|metric| total(metric, &SERVED, &[]))
        .join(" + ");
    let p95 = promql::quantile(promql::P95, &metrics::CODEX_POOLER_REQUEST_DURATION_SECONDS, &[], &matchers(&SERVED, &[]), RANGE);
    let in_flight = promql::sum(&[], &promql::select(&metrics::CODEX_POOLER_REQUESTS_IN_FLIGHT, &matchers(&[Filter::Pool], &[])));
    let count = json!({"unit": "short", "decimals": 0});
    let estimated = "estimated from the metrics";
    let stat = |title: &str, text: &str, applied: &[Filter], expr: &str, defaults: Value| {
        grafana::stat(title, &described(text, applied), SIZE, expr, defaults)
    };
    vec![
        stat(
            "Requests",
            &format!("Finished requests in the time range, {estimated}. The log below is exact."),
            &COUNTED,
            &total(requests, &COUNTED, &[]),
            count.clone(),
        ),
        stat(
            "Failure ratio",
            "Bad over good and bad outcomes. Rejections, cancellations, clients that left and errors on the caller's side count in neither.",
            &SERVED,
            &promql::share(&of_outcome(&[bad]), &of_outcome(&[good, bad])),
            json!({
                "unit": "percentunit", "decimals": 2, "min": 0, "max": 1,
                "thresholds": grafana::thresholds(&[(FAILURE_RATIO_LIMIT, "red")]),
            }),
        ),
        stat(
            "Rejected",
            &format!("Requests that were refused before any upstream work, {estimated}."),
            &SERVED,
            &total(requests, &SERVED, &[promql::is(attr::REQUEST_STATUS, RequestStatus::Rejected.as_str())]),
            count.clone(),
        ),
        stat("In flight", "Requests that are open now, by their heartbeats.", &[Filter::Pool], &in_flight, count),
        stat(
            "Duration, p95",
            "Total time from admission to the end of delivery. The log's latency is another figure, the last attempt's. Rows that a \
             recovery closed are left out.",
            &SERVED,
            &p95,
            json!({"unit": "s"}),
        ),
        stat(
            "Tokens",
            &format!("Input and output tokens of requests with known usage, {estimated}."),
            &SERVED,
            &tokens,
            json!({"unit": "short"}),
        ),
        stat(
            "Cost",
            &format!("Settled cost of requests with known usage and a price, {estimated}. No provider's bill."),
            &SERVED,
            &total(&metrics::CODEX_POOLER_COST_USD_TOTAL, &SERVED, &[]),
            json!({"unit": "currencyUSD", "decimals": 2}),
        ),
        stat(
            "Came late",
            "Rows that ended more than ten minutes before they arrived: they are in the log, and in no figure above.",
            &[Filter::Pool],
            &total(&metrics::CODEX_POOLER_LATE_ROWS_TOTAL, &[Filter::Pool], &[]),
            json!({"unit": "short", "decimals": 0}),
        ),
    ]
}

// --- the tables ---------------------------------------------------------------------------------------------------------------

/// One filter of `&&` only, which Tempo can push down, then the columns. Without `most_recent` Tempo answers with any rows, not the newest.
pub fn query(conditions: &[String], fields: &[&str]) -> String {
    let selected: Vec<String> =
        fields.iter().filter(|field| contract::attribute(field).is_some()).map(|field| format!("span.{field}")).collect();
    format!("{{ {} }}\n| select({})\nwith (most_recent=true)", conditions.join("\n  && "), selected.join(", "))
}

/// The condition that a span is a record of this kind.
pub fn is_record(kind: RecordKind) -> String {
    format!(r#"span.{} = "{kind}""#, attr::RECORD_KIND)
}

fn rows(kind: RecordKind, filters: &[Filter], columns: &[Column]) -> String {
    let conditions: Vec<String> = std::iter::once(is_record(kind)).chain(filters.iter().map(|filter| filter.traceql())).collect();
    // The short id is part of the cell with the time.
    let fields: Vec<&str> = columns.iter().map(|column| column.field).chain([attr::TEXT_ID]).collect();
    query(&conditions, &fields)
}

/// What a request's line shows behind its state and its time.
fn attribution() -> [Column; 5] {
    [
        cells::linked(shown(attr::TEXT_ACCOUNT, "Upstream account", 240), &[cells::account_link(&cells::cell(ACCOUNT))]),
        cells::plan(),
        shown(attr::TEXT_MODEL, "Model / API key", 300),
        shown(attr::TEXT_TRANSPORT, "Transport", 200),
        shown(attr::TEXT_ROUTE, "Route", 280),
    ]
}

fn log() -> Value {
    let links = [cells::detail_link(), cells::older_link(&kept()), cells::trace_link()];
    // The columns of the pooler's own page, in its order.
    let mut columns =
        vec![cells::linked(cells::status(), &links[..1]), cells::linked(timestamp("Timestamp (UTC)", attr::TEXT_ID), &links)];
    columns.extend(attribution());
    columns.extend([shown(attr::TEXT_USAGE, "Usage", 250), shown(attr::TEXT_ERRORS, "Errors", 260)]);
    columns.extend(cells::for_links());
    columns.push(grafana::hidden(attr::UPSTREAM_ACCOUNT_LABEL, ACCOUNT));
    let text = format!(
        "The newest {PAGE_ROWS} requests that match every filter, by time of admission; dates from and to are the time range. Click a \
         status for everything about the request, a time also for the page that begins with it. A request joins the log when it ends, at the time \
         at which it began."
    );
    let query = rows(RecordKind::Request, &Filter::ALL, &columns);
    let table = grafana::span_table("Request log", &text, Size(24, 22), &query, (PAGE_ROWS, 1), columns);
    let newest = [kept(), vec![set(Filter::Before.name(), NEWEST), SAME_TIME.to_owned()]].concat();
    grafana::merge(table, json!({"links": [panel_link("Newest rows", &Board::RequestLogs.link(&newest))]}))
}

/// Parameters that keep every filter but the page.
fn kept() -> Vec<String> {
    let filters = Filter::ALL.into_iter().filter(|filter| *filter != Filter::Before).map(Filter::name);
    filters.chain([POOLER_URL]).map(same).collect()
}

fn in_progress() -> Value {
    const APPLIED: [Filter; 5] = [Filter::Pool, Filter::Account, Filter::Model, Filter::ApiKey, Filter::Id];
    let seconds = HEARTBEAT_LOST_AFTER.as_secs();
    let mut columns = vec![
        numeric(attr::REQUEST_ADMITTED_MS, "Admitted (UTC)", 170, TIME_FORMAT),
        numeric(START_TIME, "Heartbeat (UTC)", 170, TIME_FORMAT),
        shown(attr::TEXT_ID, "Id", 90),
    ];
    columns.extend(attribution());
    columns.push(grafana::hidden(attr::UPSTREAM_ACCOUNT_LABEL, ACCOUNT));
    let text = described(
        &format!(
            "Requests that sent a heartbeat in the last {seconds} seconds; one that has ended since stays for as long. The time range does \
             not apply. With the collector's own store, open requests are also in the log; a Tempo server has them only here."
        ),
        &APPLIED,
    );
    let query = rows(RecordKind::InProgress, &APPLIED, &columns);
    let table = grafana::span_table("In progress", &text, Size(24, 7), &query, (MAX_ROWS, 1), columns);
    grafana::merge(table, json!({"timeFrom": format!("{seconds}s"), "hideTimeOverride": false}))
}

// --- the guides ---------------------------------------------------------------------------------------------------------------

fn guides() -> [Value; 2] {
    let usage = |status| display::text_usage(status, None, None, None);
    let reading = format!(
        "**Usage** shows tokens, cached tokens and cost once the pooler has settled them. Where it has no figure it shows none, never a \
         zero; look at the status first:\n\n\
         | usage | meaning |\n|---|---|\n\
         | `{}` | no usage can exist, or there is nothing to show |\n\
         | `{}` | not settled yet; a settlement that comes later is in the request's detail |\n\
         | `{}` | settled, and the upstream reported no usage |\n\
         | `cost n/a` | the tokens are known and have no price |\n\n\
         **Rejected** is refused before any upstream work; **failed** was admitted and ended badly. A response that is incomplete for a \
         harmless reason, such as its token limit, has succeeded.\n\n\
         **Filters** match all at once. A value that nothing matches gives an empty log, without a warning.",
        usage(UsageStatus::NotApplicable),
        usage(UsageStatus::UsagePending),
        usage(UsageStatus::UsageUnknown),
    );
    let page = |name: &str, path: &str| format!("[{name}](${{{POOLER_URL}}}/admin/{path})");
    let looking = format!(
        "A client reports a problem. In this order:\n\n\
         1. Filter by **Pool** or **API key**, if they are known\n\
         2. Filter by the **id** that the client names\n\
         3. Narrow by **Model** or **Upstream account** only when the Pool is certain\n\
         4. Read status, transport, route and errors\n\
         5. Compare the time with changes of policy or accounts: {}\n\
         6. Is the Pool active, with accounts assigned? {}\n\
         7. Are the accounts ready, with quota that is fresh? {}\n\
         8. Policy, status, expiry and limits of the key: {}\n\n\
         **No row?** The request did not reach the pooler, or it used another Pool's API key, or it is outside what this data source \
         may show. Refused before the pooler makes a row: a missing or unknown key, a firewall, a body that is too large, overload. Also \
         look whether the telemetry itself arrives: [{}]({}). The pooler's own log is at {}.",
        page("Audit logs", "audit-logs"),
        page("Pools", "pools"),
        page("Upstreams", "upstreams"),
        page("API keys", "api-keys"),
        Board::Pipeline.title(),
        Board::Pipeline.link(&[SAME_TIME.to_owned()]),
        page("Request logs", "request-logs"),
    );
    [
        grafana::guide(
            "How to read the log",
            "What a blank usage means, and other rules of the columns.",
            Size(12, 11),
            &reading,
        ),
        grafana::guide("Where to look next", "The order in which a report is worth looking into.", Size(12, 11), &looking),
    ]
}
