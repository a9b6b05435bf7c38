//! The request log's dashboard.

use std::collections::{BTreeMap, BTreeSet};

use contract::limits::{MAX_ROWS, PAGE_ROWS};
use contract::{DASH, Record, RecordKind, RequestStatus, attr, display};
use regex::Regex;
use serde_json::Value;

use super::{committed, promql};

fn dashboard() -> Value {
    serde_json::from_str(&committed("dashboards/grafana/request-logs.json")).expect("it is JSON")
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels are a list")
}

fn panel<'a>(dashboard: &'a Value, title: &str) -> &'a Value {
    panels(dashboard).iter().find(|p| p["title"] == title).unwrap_or_else(|| panic!("no panel {title}"))
}

fn variables(dashboard: &Value) -> BTreeMap<&str, &Value> {
    let list = dashboard["templating"]["list"].as_array().expect("variables are a list");
    list.iter().map(|v| (v["name"].as_str().expect("a name"), v)).collect()
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {path} in {value}"))
}

/// The two tables with the record that each one asks for.
const TABLES: [(&str, RecordKind, u32); 2] =
    [("Request log", RecordKind::Request, PAGE_ROWS), ("In progress", RecordKind::InProgress, MAX_ROWS)];

/// Every string below a value, with the key under which it stands.
fn strings<'a>(key: &'a str, value: &'a Value, found: &mut Vec<(&'a str, &'a str)>) {
    match value {
        Value::String(text) => found.push((key, text)),
        Value::Array(items) => items.iter().for_each(|item| strings(key, item, found)),
        Value::Object(entries) => entries.iter().for_each(|(key, value)| strings(key, value, found)),
        _ => {}
    }
}

/// Guarantees: every attribute in a query exists and its record may carry it; the ones in conditions are always present, because a
/// condition never matches a row without the attribute.
#[test]
fn traceql_names_attributes_of_its_record() {
    let dashboard = dashboard();
    let name = Regex::new(r"span\.([A-Za-z0-9_.]+)").expect("a constant pattern");
    for (title, kind, _) in TABLES {
        let query = text(panel(&dashboard, title), "/targets/0/query");
        let record = Record::of(Some(kind));
        let (conditions, columns) = query.split_once('|').expect("a filter, then the columns");
        assert!(conditions.contains(&format!(r#"span.{} = "{kind}""#, attr::RECORD_KIND)), "{title}: {query}");
        let required: Vec<&str> = name.captures_iter(conditions).map(|c| c.extract::<1>().1[0]).collect();
        assert!(required.len() > 5, "{title}: {query}");
        for key in required {
            assert!(record.required.contains(&key), "{title}: {key} is not always present");
        }
        for key in name.captures_iter(columns).map(|c| c.extract::<1>().1[0]) {
            assert!(record.allows(key), "{title}: {key} is not on the record");
        }
    }
}

/// Guarantees: the form on which paging, order and speed rest: one filter without `||`, newest rows, one span a trace, flat rows.
#[test]
fn tables_ask_for_the_newest_rows() {
    let dashboard = dashboard();
    for (title, _, limit) in TABLES {
        let panel = panel(&dashboard, title);
        let targets = panel["targets"].as_array().expect("targets are a list");
        assert_eq!(targets.len(), 1, "{title}: Grafana runs only the first search of a panel");
        let target = &targets[0];
        assert_eq!((&target["queryType"], &target["tableType"]), (&"traceql".into(), &"spans".into()), "{title}");
        assert_eq!((&target["limit"], &target["spss"]), (&limit.into(), &1.into()), "{title}");
        let query = text(target, "/query");
        assert!(query.ends_with("with (most_recent=true)"), "{title}: {query}");
        assert!(!query.contains("||"), "{title}: {query}");
        // Anywhere else the escapes of `:regex` would be read a second time.
        let (in_backticks, outside): (Vec<_>, Vec<_>) = query.split('`').enumerate().partition(|(at, _)| at % 2 == 1);
        assert!(in_backticks.iter().all(|(_, text)| text.contains(":regex}")), "{title}: {query}");
        assert!(outside.iter().all(|(_, text)| !text.contains(":regex}")), "{title}: {query}");
    }
}

/// Guarantees: the log shows the columns of the pooler's own page in its order: status, time (with the short id), upstream account,
/// plan, model and API key, transport, route and latency, usage and cost, errors.
#[test]
fn log_has_the_columns_of_the_page() {
    let dashboard = dashboard();
    let log = panel(&dashboard, "Request log");
    let expected = [
        "codex_pooler.request.status",
        "Start time",
        "codex_pooler.text.id",
        "codex_pooler.text.account",
        "codex_pooler.upstream.plan.label",
        "codex_pooler.text.model",
        "codex_pooler.text.transport",
        "codex_pooler.text.route",
        "codex_pooler.text.usage",
        "codex_pooler.text.errors",
    ];
    let kept = log.pointer("/transformations/0/options/include/names").and_then(Value::as_array).expect("a list of names");
    let order = log.pointer("/transformations/1/options/indexByName").expect("an order");
    let names = log.pointer("/transformations/1/options/renameByName").expect("headings");
    let overrides = log["fieldConfig"]["overrides"].as_array().expect("overrides are a list");
    let visible: Vec<&str> = kept
        .iter()
        .map(|name| name.as_str().expect("a name"))
        .filter(|field| {
            let of_field = overrides.iter().find(|o| o["matcher"]["options"] == names[*field]).expect("an override");
            !of_field["properties"].as_array().expect("a list").iter().any(|p| p["id"] == "custom.hideFrom.viz")
        })
        .collect();
    assert_eq!(visible, expected);
    for (at, field) in kept.iter().enumerate() {
        assert_eq!(order[field.as_str().expect("a name")], at, "{field}");
    }
}

/// Guarantees: every status has its symbol and word; a badge of every plan that the contract knows has a colour.
#[test]
fn statuses_and_plans_are_shown_as_on_the_page() {
    let dashboard = dashboard();
    let overrides = panel(&dashboard, "Request log")["fieldConfig"]["overrides"].as_array().expect("a list");
    let shown = |column: &str, value: &str| -> (Option<String>, String) {
        let properties = &overrides.iter().find(|o| o["matcher"]["options"] == column).expect("an override")["properties"];
        let mappings = properties.as_array().expect("a list").iter().find(|p| p["id"] == "mappings").expect("mappings");
        let fitting = mappings["value"].as_array().expect("a list").iter().find(|mapping| {
            let pattern = text(mapping, "/options/pattern").trim_matches('/');
            Regex::new(pattern).expect("a pattern").is_match(value)
        });
        let result = &fitting.unwrap_or_else(|| panic!("{column} has no mapping for {value}"))["options"]["result"];
        (result["text"].as_str().map(str::to_owned), text(result, "/color").to_owned())
    };
    assert_eq!(shown("Status", "succeeded"), (Some("✔ Succeeded".to_owned()), "green".to_owned()));
    assert_eq!(shown("Status", "in_progress"), (Some("⏳ In progress".to_owned()), "blue".to_owned()));
    for status in RequestStatus::ALL {
        shown("Status", status.as_str());
    }
    assert_eq!(shown("Plan", "none").0.as_deref(), Some(DASH));
    let slugs = ["free", "go", "plus", "pro", "prolite", "team", "business", "edu", "education", "enterprise", "chatgpt_team"];
    for slug in slugs.into_iter().chain(["enterprise_cbp_usage_based", "self_serve_business_prolite"]) {
        shown("Plan", &display::plan_badge(Some(slug), None).expect("a badge"));
    }
}

/// Guarantees: links lead to the trace, and to the page that begins before the row, and carry every filter along.
#[test]
fn links_lead_to_the_trace_and_to_older_rows() {
    let dashboard = dashboard();
    let log = panel(&dashboard, "Request log");
    let overrides = log["fieldConfig"]["overrides"].as_array().expect("a list");
    let link = |column: &str| {
        let properties = &overrides.iter().find(|o| o["matcher"]["options"] == column).expect("an override")["properties"];
        let links = properties.as_array().expect("a list").iter().find(|p| p["id"] == "links").expect("links");
        text(links, "/value/0/url").to_owned()
    };
    let older = link("Time");
    assert!(older.starts_with(&format!("/d/{}?", text(&dashboard, "/uid"))), "{older}");
    assert!(older.contains("&var-before=${__data.fields.admitted_ms.numeric}&"), "{older}");
    for name in variables(&dashboard).keys().filter(|name| **name != "before") {
        assert!(older.contains(&format!("${{{name}:queryparam}}")), "{older}");
    }
    assert_eq!(text(log, "/transformations/1/options/renameByName/codex_pooler.request.admitted_ms"), "admitted_ms");

    let trace = link("Id");
    let panes = trace.split_once("panes=").expect("panes").1;
    let percent = Regex::new("%([0-9A-F]{2})").expect("a constant pattern");
    let decoded = percent.replace_all(panes, |c: &regex::Captures<'_>| {
        char::from(u8::from_str_radix(&c[1], 16).expect("two hex digits")).to_string()
    });
    let panes: Value = serde_json::from_str(&decoded).expect("panes are JSON");
    assert_eq!(text(&panes, "/log/queries/0/query"), "${__data.fields.traceIdHidden}");
    assert_eq!(text(&panes, "/log/datasource"), "${tempo_datasource}");
}

/// Guarantees: every PromQL expression names metrics and labels of the contract.
#[test]
fn promql_names_metrics_of_the_contract() {
    let dashboard = dashboard();
    let mut checked = 0;
    for target in panels(&dashboard).iter().filter_map(|p| p["targets"].as_array()).flatten() {
        if let Some(expr) = target["expr"].as_str() {
            promql::check(expr, &[]);
            checked += 1;
        }
    }
    for variable in variables(&dashboard).values().filter(|v| v["type"] == "query") {
        promql::check(text(variable, "/query/query"), &[]);
        checked += 1;
    }
    assert_eq!(checked, 8, "five counts and three lists");
}

/// Guarantees: a filter that a count cannot apply is named in its description; nobody takes a filtered log and an unfiltered count for the same.
#[test]
fn counts_say_which_filters_they_ignore() {
    let dashboard = dashboard();
    for stat in panels(&dashboard).iter().filter(|p| p["type"] == "stat") {
        let (title, description) = (text(stat, "/title"), text(stat, "/description"));
        assert!(!text(stat, "/fieldConfig/defaults/unit").is_empty(), "{title} has no unit");
        let ignored = description.split_once("Ignores the filters: ").unwrap_or_else(|| panic!("{title}: {description}")).1;
        let ignored: BTreeSet<&str> = ignored.trim_end_matches('.').split(", ").collect();
        let expr = text(stat, "/targets/0/expr");
        let unused: BTreeSet<&str> = variables(&dashboard)
            .into_iter()
            .filter(|(name, variable)| variable["type"] != "datasource" && !expr.contains(&format!("${name}")))
            .map(|(_, variable)| text(variable, "/label"))
            .collect();
        assert_eq!(ignored, unused, "{title}");
    }
}

/// Guarantees: the lists of accounts and models narrow by Pool; All works before any value is known; a new time range refreshes the lists.
#[test]
fn lists_chain_by_pool() {
    let dashboard = dashboard();
    let variables = variables(&dashboard);
    for name in ["account", "model"] {
        assert!(text(variables[name], "/query/query").contains(r#"{pool=~"$pool"}"#), "{name}");
    }
    for name in ["pool", "account", "model", "status"] {
        assert_eq!((&variables[name]["allValue"], &variables[name]["multi"]), (&".*".into(), &true.into()), "{name}");
    }
    for name in ["pool", "account", "model"] {
        assert_eq!(variables[name]["refresh"], 2, "{name}");
    }
    let offered = "In progress : in_progress, Succeeded : succeeded, Failed : failed, Rejected : rejected, Cancelled : cancelled";
    assert_eq!(text(variables["status"], "/query"), offered);
}

/// Guarantees: every variable in a query or link exists, so that no text reaches a data source with a name left in it.
#[test]
fn variables_are_declared() {
    let dashboard = dashboard();
    let declared = variables(&dashboard);
    let used = Regex::new(r"\$\{?([a-z][a-z_]*)").expect("a constant pattern");
    let mut found = Vec::new();
    strings("", &dashboard, &mut found);
    let names: BTreeSet<&str> =
        found.iter().flat_map(|(_, text)| used.captures_iter(text).map(|c| c.extract::<1>().1[0])).collect();
    assert_eq!(names, declared.keys().copied().collect(), "used and declared variables");
}

/// Guarantees: the file loads on any Grafana: no id of one installation, no data source but the chosen ones, no panel over another.
#[test]
fn structure_is_portable() {
    let dashboard = dashboard();
    assert_eq!((&dashboard["schemaVersion"], &dashboard["editable"]), (&41.into(), &false.into()));
    assert!(dashboard.get("id").is_none() && dashboard.get("version").is_none());
    let mut found = Vec::new();
    strings("", &dashboard["panels"], &mut found);
    for (_, uid) in found.iter().filter(|(key, _)| *key == "uid") {
        assert!(["${tempo_datasource}", "${prometheus_datasource}"].contains(uid), "a fixed data source: {uid}");
    }
    let mut cells = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = text(panel, "/title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: the id is taken");
        assert!(panel["type"] == "text" || !text(panel, "/description").is_empty(), "{title} has no description");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is wider than the grid");
        for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |row| (column, row))) {
            assert!(cells.insert(cell), "{title} lies over another panel");
        }
    }
}

/// Guarantees: the guide explains the very texts that the usage column can show without figures.
#[test]
fn guide_explains_blank_usage() {
    let dashboard = dashboard();
    let guide = text(panel(&dashboard, "How to read the log"), "/options/content");
    for blank in ["`–`", "`– (usage pending)`", "`– (usage unknown)`", "`cost n/a`"] {
        assert!(guide.contains(blank), "{blank}");
    }
}
