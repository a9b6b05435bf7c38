//! The dashboards of requests: the log, and one request in detail.

use contract::limits::{MAX_ROWS, PAGE_ROWS};
use contract::{AttemptStatus, DASH, RequestStatus, display};
use regex::Regex;
use serde_json::Value;

use super::boards::{one, panel, panels, property, text, variables};

/// Guarantees: the log is a page of the contract's size, one line a request.
#[test]
fn pages_have_the_page_size() {
    let dashboard = one("request-logs");
    for (title, limit) in [("Request log", PAGE_ROWS), ("In progress", MAX_ROWS)] {
        let target = &panel(&dashboard, title)["targets"][0];
        assert_eq!((&target["limit"], &target["spss"]), (&limit.into(), &1.into()), "{title}");
    }
    assert_eq!(PAGE_ROWS, 50, "the page of the pooler's own log");
}

/// Guarantees: the log shows the nine columns of the pooler's own page in its order.
#[test]
fn log_has_the_columns_of_the_page() {
    let dashboard = one("request-logs");
    let log = panel(&dashboard, "Request log");
    let organize = log["transformations"].as_array().expect("a list").last().expect("the last one orders the columns");
    let headings = organize.pointer("/options/renameByName").and_then(Value::as_object).expect("headings");
    let order = &organize["options"]["indexByName"];
    let mut visible: Vec<(u64, &str)> = headings
        .iter()
        .map(|(field, heading)| (order[field].as_u64().expect("a place"), heading.as_str().expect("a text")))
        .filter(|(_, heading)| property(log, heading, "custom.hideFrom.viz").is_none())
        .collect();
    visible.sort_unstable();
    let shown: Vec<&str> = visible.into_iter().map(|(_, heading)| heading).collect();
    let page =
        ["Status", "Timestamp (UTC)", "Upstream account", "Plan", "Model / API key", "Transport", "Route", "Usage", "Errors"];
    assert_eq!(shown, page);
}

/// The text and colour that a column's value mappings give a value.
fn mapped(panel: &Value, column: &str, value: &str) -> (Option<String>, String) {
    let mappings = property(panel, column, "mappings").and_then(Value::as_array).expect("mappings");
    let fitting = mappings
        .iter()
        .find(|mapping| Regex::new(text(mapping, "/options/pattern").trim_matches('/')).expect("a pattern").is_match(value));
    let result = &fitting.unwrap_or_else(|| panic!("{column} has no mapping for {value}"))["options"]["result"];
    (result["text"].as_str().map(str::to_owned), text(result, "/color").to_owned())
}

/// Guarantees: every status has its symbol and word; a badge of every plan that the contract knows has a colour.
#[test]
fn statuses_and_plans_are_shown_as_on_the_page() {
    let dashboard = one("request-logs");
    let log = panel(&dashboard, "Request log");
    assert_eq!(mapped(log, "Status", "succeeded"), (Some("✔ Succeeded".to_owned()), "green".to_owned()));
    assert_eq!(mapped(log, "Status", "in_progress"), (Some("⏳ In progress".to_owned()), "blue".to_owned()));
    for status in RequestStatus::ALL {
        mapped(log, "Status", status.as_str());
    }
    assert_eq!(mapped(log, "Plan", "none").0.as_deref(), Some(DASH));
    let slugs = ["free", "go", "plus", "pro", "prolite", "team", "business", "edu", "education", "enterprise", "chatgpt_team"];
    for slug in slugs.into_iter().chain(["enterprise_cbp_usage_based", "self_serve_business_prolite"]) {
        mapped(log, "Plan", &display::plan_badge(Some(slug), None).expect("a badge"));
    }
    let detail = one("request-detail");
    for status in AttemptStatus::ALL {
        mapped(panel(&detail, "Attempts"), "Status", status.as_str());
    }
}

/// The URLs of a column's links by their titles.
fn links(panel: &Value, column: &str) -> Vec<(String, String)> {
    let links = property(panel, column, "links").and_then(Value::as_array).expect("links");
    links.iter().map(|link| (text(link, "/title").to_owned(), text(link, "/url").to_owned())).collect()
}

/// Guarantees: a line of the log leads to its detail, to the page that begins with it, with every filter, and to its trace.
#[test]
fn lines_lead_to_detail_older_rows_and_trace() {
    let dashboard = one("request-logs");
    let log = panel(&dashboard, "Request log");
    let found = links(log, "Timestamp (UTC)");
    let [(_, detail), (_, older), (_, trace)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(links(log, "Status"), found[..1]);
    assert!(detail.starts_with("/d/codex-pooler-request-detail?"), "{detail}");
    for parameter in [
        "var-id=${__data.fields.row_id:percentencode}",
        "var-request=${__data.fields.row_id:percentencode}",
        "var-trace=${__data.fields.traceIdHidden:percentencode}",
    ] {
        assert!(detail.contains(parameter), "{detail}");
    }

    assert!(older.starts_with("/d/codex-pooler-request-logs?"), "{older}");
    assert!(older.contains("&var-before=${__data.fields.admitted_ms.numeric}&"), "{older}");
    for name in variables(&dashboard).keys().filter(|name| **name != "before") {
        assert!(older.contains(&format!("${{{name}:queryparam}}")), "{older}");
    }
    let headings = &log["transformations"].as_array().expect("a list").last().expect("an order")["options"]["renameByName"];
    for (field, heading) in [
        ("codex_pooler.request.admitted_ms", "admitted_ms"),
        ("codex_pooler.request.id", "row_id"),
        ("traceIdHidden", "traceIdHidden"),
    ] {
        assert_eq!(headings[field], heading);
    }
    assert!(text(log, "/links/0/url").contains("var-before=9999999999999&"));

    let panes = trace.split_once("panes=").expect("panes").1;
    let percent = Regex::new("%([0-9A-F]{2})").expect("a constant pattern");
    let decoded = percent.replace_all(panes, |c: &regex::Captures<'_>| {
        char::from(u8::from_str_radix(&c[1], 16).expect("two hex digits")).to_string()
    });
    let panes: Value = serde_json::from_str(&decoded).expect("panes are JSON");
    assert_eq!(text(&panes, "/log/queries/0/query"), "${__data.fields.traceIdHidden:percentencode}");
    assert_eq!(text(&panes, "/log/datasource"), "${tempo_datasource}");
}

/// Guarantees: the detail leads to the neighbours in time and to the account, and shows the trace.
#[test]
fn detail_leads_to_neighbours_and_account() {
    let dashboard = one("request-detail");
    let matches = panel(&dashboard, "Requests with this id");
    let found = links(matches, "Admitted (UTC)");
    assert!(
        found.iter().any(|(_, url)| url.contains("time=${__data.fields.admitted_ms.numeric}&time.window=600000")),
        "{found:?}"
    );
    assert!(links(matches, "Upstream account")[0].1.contains("var-account=${__data.fields.account:percentencode}"));
    assert!(links(panel(&dashboard, "Attempts"), "Upstream account")[0].1.contains("var-account=${__value.raw:percentencode}"));
    let trace = panel(&dashboard, "Trace");
    assert_eq!((text(trace, "/type"), text(trace, "/targets/0/query")), ("traces", "${trace}"));
}

/// Guarantees: the lists of accounts and models narrow by Pool; All works before any value is known; the statuses offered are the page's.
#[test]
fn lists_chain_by_pool() {
    let dashboard = one("request-logs");
    let variables = variables(&dashboard);
    for name in ["account", "model"] {
        assert!(text(variables[name], "/query/query").contains(r#"{pool=~"$pool"}"#), "{name}");
    }
    for name in ["pool", "account", "model", "status"] {
        assert_eq!((&variables[name]["allValue"], &variables[name]["multi"]), (&".*".into(), &true.into()), "{name}");
    }
    let offered = "In progress : in_progress, Succeeded : succeeded, Failed : failed, Rejected : rejected, Cancelled : cancelled";
    assert_eq!(text(variables["status"], "/query"), offered);
}

/// Guarantees: the guides explain the very texts that the usage column can show without figures, and lead to the pooler's own pages in the
/// order of its checklist.
#[test]
fn guides_explain_blanks_and_lead_on() {
    let dashboard = one("request-logs");
    let reading = text(panel(&dashboard, "How to read the log"), "/options/content");
    for blank in ["`–`", "`– (usage pending)`", "`– (usage unknown)`", "`cost n/a`"] {
        assert!(reading.contains(blank), "{blank}");
    }
    let looking = text(panel(&dashboard, "Where to look next"), "/options/content");
    let pages =
        ["audit-logs", "pools", "upstreams", "api-keys"].map(|page| looking.find(&format!("(${{pooler_url}}/admin/{page})")));
    assert!(pages.iter().all(Option::is_some) && pages.is_sorted(), "{pages:?}");
    assert!(looking.contains("**No row?**"));
}

/// Guarantees: the log stands above the fold: nothing but the counts comes before it.
#[test]
fn log_comes_right_after_the_counts() {
    let dashboard = one("request-logs");
    let kinds: Vec<&str> = panels(&dashboard).iter().map(|p| text(p, "/type")).collect();
    let counts = kinds.iter().take_while(|kind| **kind == "stat").count();
    assert!(counts >= 7);
    assert_eq!(panel(&dashboard, "Request log")["gridPos"]["y"], 4);
}
