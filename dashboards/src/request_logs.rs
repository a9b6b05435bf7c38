//! The dashboard "Request logs": counts from Prometheus, open requests and the log itself from Tempo, all under the same filters.

use contract::generated::metrics;
use contract::limits::{HEARTBEAT_LOST_AFTER, MAX_ROWS, PAGE_ROWS};
use contract::{ABSENT, DASH, Outcome, RecordKind, RequestStatus, UsageStatus, attr, display};
use serde_json::{Value, json};

use crate::filter::{Filter, NEWEST};
use crate::grafana::{self, Column, Place, START_TIME, TRACE_ID, mapping};
use crate::rules::FAILURE_RATIO_LIMIT;

/// Path of the dashboard within Grafana; its last part is the dashboard's uid.
const PATH: &str = "/d/codex-pooler-request-logs";
/// Heading of the hidden column with the page cursor, short enough for a link.
const CURSOR: &str = "admitted_ms";

/// The dashboard.
pub fn dashboard() -> Value {
    let variables: Vec<Value> = [
        grafana::datasource_variable("tempo", "Tempo data source"),
        grafana::datasource_variable("prometheus", "Prometheus data source"),
    ]
    .into_iter()
    .chain(Filter::ALL.map(Filter::variable))
    .collect();
    let mut panels = stats();
    panels.extend([in_progress(), log(), reading_guide()]);
    json!({
        "uid": PATH.trim_start_matches("/d/"),
        "title": "Codex Pooler / Request logs",
        "description": "Every request that reached the pooler: who served it, how it ended, how long it took, what it cost. Metadata only.",
        "tags": ["codex-pooler"],
        "schemaVersion": 41,
        "editable": false,
        "timezone": "utc",
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "graphTooltip": 0,
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": variables},
        "panels": grafana::numbered(panels),
    })
}

// --- the counts ---------------------------------------------------------------------------------------------------------------

fn stats() -> Vec<Value> {
    const COUNTED: [Filter; 3] = [Filter::Pool, Filter::Status, Filter::Model];
    const SERVED: [Filter; 2] = [Filter::Pool, Filter::Model];
    let finished = |filters: &[Filter], matcher: &str| {
        format!("sum(increase({}{}[$__range]))", metrics::CODEX_POOLER_REQUESTS_TOTAL.name, selector(filters, matcher))
    };
    let (good, bad) = (Outcome::Good, Outcome::Bad);
    let failed = finished(&SERVED, &format!(r#"outcome="{bad}""#));
    let served = finished(&SERVED, &format!(r#"outcome=~"{good}|{bad}""#));
    let p95 = format!(
        "histogram_quantile(0.95, sum by (le) (rate({}_bucket{}[$__range])))",
        metrics::CODEX_POOLER_REQUEST_DURATION_SECONDS.name,
        selector(&SERVED, "")
    );
    let in_flight = format!("sum({}{})", metrics::CODEX_POOLER_REQUESTS_IN_FLIGHT.name, selector(&[Filter::Pool], ""));
    let rejected = finished(&SERVED, &format!(r#"status="{}""#, RequestStatus::Rejected));
    let count = json!({"unit": "short", "decimals": 0});
    vec![
        grafana::stat(
            "Requests",
            &described("Finished requests in the time range, estimated from the metrics. The log below is exact.", &COUNTED),
            Place(0, 0, 5, 4),
            &finished(&COUNTED, ""),
            count.clone(),
        ),
        grafana::stat(
            "Failure ratio",
            &described(
                "Bad over good and bad outcomes. Rejections, cancellations, clients that left and errors on the caller's side count in neither.",
                &SERVED,
            ),
            Place(5, 0, 5, 4),
            // A Pool that never failed has no series of failures; one without traffic has no ratio.
            &format!("({failed} or vector(0)) / ({served} > 0)"),
            json!({
                "unit": "percentunit", "decimals": 2, "min": 0, "max": 1,
                "thresholds": grafana::thresholds(&[(FAILURE_RATIO_LIMIT, "red")]),
            }),
        ),
        grafana::stat(
            "Rejected",
            &described("Requests that were refused before any upstream work, estimated from the metrics.", &SERVED),
            Place(10, 0, 5, 4),
            &rejected,
            count.clone(),
        ),
        grafana::stat(
            "In flight",
            &described("Requests that are open now, by their heartbeats.", &[Filter::Pool]),
            Place(15, 0, 4, 4),
            &in_flight,
            count,
        ),
        grafana::stat(
            "Duration, 95th percentile",
            &described(
                "Total time from admission to the end of delivery. The log's latency is another figure, the last attempt's. Rows that a \
                 recovery closed are left out.",
                &SERVED,
            ),
            Place(19, 0, 5, 4),
            &p95,
            json!({"unit": "s"}),
        ),
    ]
}

/// A PromQL selector: the filters' matchers, and one more.
fn selector(filters: &[Filter], matcher: &str) -> String {
    let matchers: Vec<&str> =
        filters.iter().filter_map(|filter| filter.promql()).chain(Some(matcher).filter(|m| !m.is_empty())).collect();
    format!("{{{}}}", matchers.join(","))
}

/// A description that ends with the filters that the panel does not apply.
fn described(text: &str, applied: &[Filter]) -> String {
    let ignored: Vec<&str> = Filter::ALL.into_iter().filter(|filter| !applied.contains(filter)).map(Filter::title).collect();
    format!("{text}\n\nIgnores the filters: {}.", ignored.join(", "))
}

// --- the tables ---------------------------------------------------------------------------------------------------------------

/// One filter of `&&` only, which Tempo can push down, then the columns. Without `most_recent` Tempo answers with any rows, not the newest.
fn query(kind: RecordKind, filters: &[Filter], columns: &[Column]) -> String {
    let conditions: Vec<String> = std::iter::once(format!(r#"span.{} = "{kind}""#, attr::RECORD_KIND))
        .chain(filters.iter().map(|filter| filter.traceql()))
        .collect();
    let selected: Vec<String> =
        columns.iter().filter(|c| contract::attribute(c.field).is_some()).map(|c| format!("span.{}", c.field)).collect();
    format!("{{ {} }}\n| select({})\nwith (most_recent=true)", conditions.join("\n  && "), selected.join(", "))
}

fn in_progress() -> Value {
    const APPLIED: [Filter; 5] = [Filter::Pool, Filter::Account, Filter::Model, Filter::ApiKey, Filter::Id];
    let seconds = HEARTBEAT_LOST_AFTER.as_secs();
    let columns = vec![
        Column { properties: vec![("unit", json!(TIME_FORMAT))], ..shown(attr::REQUEST_ADMITTED_MS, "Admitted", 170) },
        Column { properties: vec![("unit", json!(TIME_FORMAT))], ..shown(START_TIME, "Heartbeat", 170) },
        shown(attr::TEXT_ID, "Id", 90),
        shown(attr::TEXT_ACCOUNT, "Upstream account", 240),
        Column { properties: plan_badge(), ..shown(attr::UPSTREAM_PLAN_LABEL, "Plan", 130) },
        shown(attr::TEXT_MODEL, "Model / API key", 300),
        shown(attr::TEXT_TRANSPORT, "Transport", 200),
        shown(attr::TEXT_ROUTE, "Route", 280),
    ];
    let text = described(
        &format!(
            "Requests that sent a heartbeat in the last {seconds} seconds; one that has ended since stays for as long. The time range does \
             not apply. With the collector's own store, open requests are also in the log below; a Tempo server has them only here."
        ),
        &APPLIED,
    );
    let query = query(RecordKind::InProgress, &APPLIED, &columns);
    let table = grafana::span_table("In progress", &text, Place(0, 4, 24, 6), &query, MAX_ROWS, columns);
    grafana::merge(table, json!({"timeFrom": format!("{seconds}s"), "hideTimeOverride": false}))
}

fn log() -> Value {
    // The columns of the pooler's own page, in its order.
    let columns = vec![
        Column { properties: status_symbol(), ..shown(attr::REQUEST_STATUS, "Status", 130) },
        Column {
            properties: vec![("unit", json!(TIME_FORMAT)), ("links", json!([older_rows()]))],
            ..shown(START_TIME, "Time", 170)
        },
        Column { properties: vec![("links", json!([trace()]))], ..shown(attr::TEXT_ID, "Id", 90) },
        shown(attr::TEXT_ACCOUNT, "Upstream account", 240),
        Column { properties: plan_badge(), ..shown(attr::UPSTREAM_PLAN_LABEL, "Plan", 130) },
        shown(attr::TEXT_MODEL, "Model / API key", 300),
        shown(attr::TEXT_TRANSPORT, "Transport", 200),
        shown(attr::TEXT_ROUTE, "Route", 280),
        shown(attr::TEXT_USAGE, "Usage", 250),
        shown(attr::TEXT_ERRORS, "Errors", 260),
        hidden(attr::REQUEST_ADMITTED_MS, CURSOR),
        hidden(TRACE_ID, TRACE_ID),
    ];
    let text = format!(
        "The newest {PAGE_ROWS} requests that match every filter, by time of admission. Click a time for the rows before it, an id for the \
         request's trace. A request joins the log when it ends, at the time at which it began."
    );
    let query = query(RecordKind::Request, &Filter::ALL, &columns);
    let table = grafana::span_table("Request log", &text, Place(0, 10, 24, 22), &query, PAGE_ROWS, columns);
    grafana::merge(table, json!({"links": [{"title": "Newest rows", "url": page(NEWEST)}]}))
}

const TIME_FORMAT: &str = "time:YYYY-MM-DD HH:mm:ss";

fn shown(field: &'static str, title: &'static str, width: u32) -> Column {
    Column { field, title, width: Some(width), properties: vec![] }
}

fn hidden(field: &'static str, title: &'static str) -> Column {
    Column { field, title, width: None, properties: vec![] }
}

/// This dashboard with the same filters and time range, on the page that begins before the cursor.
fn page(cursor: &str) -> String {
    let kept = ["tempo_datasource", "prometheus_datasource"]
        .into_iter()
        .chain(Filter::ALL.into_iter().filter(|filter| *filter != Filter::Before).map(Filter::name))
        .map(|name| format!("${{{name}:queryparam}}"))
        .collect::<Vec<_>>()
        .join("&");
    format!("{PATH}?{kept}&var-{}={cursor}&${{__url_time_range}}", Filter::Before.name())
}

fn older_rows() -> Value {
    // The number itself: its shown text could be abbreviated.
    json!({"title": "Rows before this one", "url": page(&format!("${{__data.fields.{CURSOR}.numeric}}"))})
}

fn trace() -> Value {
    let pane = json!({
        "datasource": "${tempo_datasource}",
        "queries": [{
            "refId": "A", "datasource": {"type": "tempo", "uid": "${tempo_datasource}"},
            "queryType": "traceql", "query": format!("${{__data.fields.{TRACE_ID}}}"),
        }],
        "range": {"from": "${__from}", "to": "${__to}"},
    });
    let mut panes = json!({"log": pane});
    panes.sort_all_objects();
    json!({"title": "Trace of this request", "url": format!("/explore?schemaVersion=1&panes={}", grafana::url_encoded(&panes.to_string()))})
}

/// A symbol and a word, in the colours of the pooler's own page.
fn status_symbol() -> Vec<(&'static str, Value)> {
    let mappings: Vec<Value> = RequestStatus::ALL
        .iter()
        .enumerate()
        .map(|(at, status)| {
            let color = match status {
                RequestStatus::Succeeded => "green",
                RequestStatus::Failed | RequestStatus::Rejected => "red",
                RequestStatus::Cancelled => "yellow",
                RequestStatus::InProgress => "blue",
                RequestStatus::Other => "text",
            };
            let text = format!("{} {}", display::status_symbol(*status), display::status_label(*status));
            mapping(at, &format!("^{status}$"), Some(text), color)
        })
        .collect();
    vec![("mappings", json!(mappings)), ("custom.cellOptions", json!({"type": "color-text"}))]
}

/// Colours by the badge's first word. Badges are open texts; one that is not listed keeps a neutral colour.
fn plan_badge() -> Vec<(&'static str, Value)> {
    let tones = [
        ("^Free\\b.*", "green"),
        ("^(?:Go|Plus|Pro|ChatGPT (?:Plus|Pro))\\b.*", "purple"),
        ("^(?:Team|Business|Self Serve|ChatGPT Team)\\b.*", "blue"),
        ("^(?:Edu|Education|Enterprise)\\b.*", "orange"),
    ];
    let none = mapping(0, &format!("^{ABSENT}$"), Some(DASH.to_owned()), "text");
    let tones = (1..).zip(tones).map(|(at, (pattern, color))| mapping(at, pattern, None, color));
    let mappings: Vec<Value> = std::iter::once(none).chain(tones).collect();
    vec![
        ("mappings", json!(mappings)),
        ("custom.cellOptions", json!({"type": "pill"})),
        ("color", json!({"mode": "fixed", "fixedColor": "text"})),
    ]
}

// --- the guide ----------------------------------------------------------------------------------------------------------------

fn reading_guide() -> Value {
    let usage = |status| display::text_usage(status, None, None, None);
    let content = format!(
        "**Usage** shows tokens, cached tokens and cost once the pooler has settled them. Where it has no figure it shows none, never a zero:\n\n\
         | usage | meaning |\n|---|---|\n\
         | `{}` | no usage can exist, or there is nothing to show |\n\
         | `{}` | not settled yet; a settlement that comes later is in the request's trace |\n\
         | `{}` | settled, and the upstream reported no usage |\n\
         | `cost n/a` | the tokens are known and have no price |\n\n\
         **Filters** match all at once. A value that nothing matches gives an empty log, without a warning.",
        usage(UsageStatus::NotApplicable),
        usage(UsageStatus::UsagePending),
        usage(UsageStatus::UsageUnknown),
    );
    grafana::panel(
        "text",
        "How to read the log",
        "",
        Place(0, 32, 24, 7),
        json!({"options": {"mode": "markdown", "content": content}}),
    )
}
