//! What holds for every dashboard: structure, names, links. What one dashboard in particular must show is in the other files.

use std::collections::{BTreeMap, BTreeSet};

use contract::Record;
use regex::Regex;
use serde_json::Value;

use super::{committed, promql, workspace, yaml};

/// Every dashboard by the name of its file, as committed.
pub fn all() -> BTreeMap<String, Value> {
    let folder = std::fs::read_dir(workspace("dashboards/grafana")).expect("a folder");
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    names
        .map(|name| (name.clone(), serde_json::from_str(&committed(&format!("dashboards/grafana/{name}"))).expect("it is JSON")))
        .collect()
}

/// One dashboard.
pub fn one(slug: &str) -> Value {
    all().remove(&format!("{slug}.json")).unwrap_or_else(|| panic!("no dashboard {slug}"))
}

/// The panels, headings included.
pub fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels are a list")
}

/// The panel with this title.
pub fn panel<'a>(dashboard: &'a Value, title: &str) -> &'a Value {
    panels(dashboard).iter().find(|p| p["title"] == title).unwrap_or_else(|| panic!("no panel {title}"))
}

/// The queries of a panel.
pub fn targets(panel: &Value) -> &[Value] {
    panel["targets"].as_array().map_or(&[], Vec::as_slice)
}

/// The variables by their names.
pub fn variables(dashboard: &Value) -> BTreeMap<&str, &Value> {
    let list = dashboard["templating"]["list"].as_array().expect("variables are a list");
    list.iter().map(|v| (v["name"].as_str().expect("a name"), v)).collect()
}

/// The text at a path.
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {path} in {value}"))
}

/// The property of a column that an override sets.
pub fn property<'a>(panel: &'a Value, column: &str, id: &str) -> Option<&'a Value> {
    let overrides = panel["fieldConfig"]["overrides"].as_array().expect("a list");
    let found = overrides.iter().find(|o| o["matcher"]["options"] == column)?;
    Some(&found["properties"].as_array().expect("a list").iter().find(|p| p["id"] == id)?["value"])
}

/// Every string below a value, with the key under which it stands.
fn strings<'a>(key: &'a str, value: &'a Value, found: &mut Vec<(&'a str, &'a str)>) {
    match value {
        Value::String(text) => found.push((key, text)),
        Value::Array(items) => items.iter().for_each(|item| strings(key, item, found)),
        Value::Object(entries) => entries.iter().for_each(|(key, value)| strings(key, value, found)),
        _ => {}
    }
}

fn all_strings(value: &Value) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    strings("", value, &mut found);
    found
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// Guarantees: there are the five dashboards, each by the uid that links, alerts and bookmarks rely on, with the common tag.
#[test]
fn uids_are_fixed() {
    let found: Vec<(String, String)> = all().into_iter().map(|(name, d)| (name, text(&d, "/uid").to_owned())).collect();
    let expected = ["accounts", "overview", "pipeline", "request-detail", "request-logs"]
        .map(|slug| (format!("{slug}.json"), format!("codex-pooler-{slug}")));
    assert_eq!(found, expected);
    for (name, dashboard) in all() {
        assert_eq!(dashboard["tags"], serde_json::json!(["codex-pooler"]), "{name}");
    }
}

/// Guarantees: the files load on any Grafana: no id of one installation, no data source but the chosen ones, no panel over another.
#[test]
fn structure_is_portable() {
    for (name, dashboard) in all() {
        assert_eq!((&dashboard["schemaVersion"], &dashboard["editable"]), (&41.into(), &false.into()), "{name}");
        assert!(dashboard.get("id").is_none() && dashboard.get("version").is_none(), "{name}");
        let mut sources = all_strings(&dashboard["panels"]);
        sources.extend(all_strings(&dashboard["templating"]));
        for (_, uid) in sources.iter().filter(|(key, _)| *key == "uid") {
            assert!(["${tempo_datasource}", "${prometheus_datasource}"].contains(uid), "{name}: a fixed data source: {uid}");
        }
        let (mut cells, mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for panel in panels(&dashboard) {
            let title = text(panel, "/title");
            assert!(titles.insert(title), "{name}: two panels are called {title}");
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{name}, {title}: the id is taken");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
            assert!(w > 0 && h > 0 && x + w <= 24, "{name}, {title} is wider than the grid");
            for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |row| (column, row))) {
                assert!(cells.insert(cell), "{name}, {title} lies over another panel");
            }
        }
    }
}

/// Guarantees: every panel says what it shows, asks the data source of its queries, and has a unit where it shows numbers.
#[test]
fn panels_explain_themselves() {
    for (name, dashboard) in all() {
        for panel in panels(&dashboard).iter().filter(|panel| panel["type"] != "row") {
            let (title, kind) = (text(panel, "/title"), text(panel, "/type"));
            assert!(!text(panel, "/description").is_empty(), "{name}, {title} has no description");
            assert_eq!(kind == "text", targets(panel).is_empty(), "{name}, {title}");
            if ["stat", "timeseries"].contains(&kind) {
                assert!(!text(panel, "/fieldConfig/defaults/unit").is_empty(), "{name}, {title} has no unit");
            }
            let mut letters = BTreeSet::new();
            for target in targets(panel) {
                assert_eq!(target["datasource"], panel["datasource"], "{name}, {title}");
                assert!(letters.insert(text(target, "/refId")), "{name}, {title}: two queries with one letter");
            }
        }
    }
}

/// Guarantees: every variable that is used is declared, and every declared one is used, so that no name reaches a data source as text.
#[test]
fn variables_are_declared_and_used() {
    let used = pattern(r"\$\{?([a-z][a-z_]*)");
    for (name, dashboard) in all() {
        let found = all_strings(&dashboard);
        let mut names: BTreeSet<&str> =
            found.iter().flat_map(|(_, text)| used.captures_iter(text).map(|c| c.extract::<1>().1[0])).collect();
        // Dashboards without spans have it all the same, so that the menu carries the choice along.
        names.insert("tempo_datasource");
        assert_eq!(names, variables(&dashboard).keys().copied().collect(), "{name}: used and declared variables");
        for (variable, declared) in variables(&dashboard) {
            assert!(!text(declared, "/label").is_empty(), "{name}: {variable}");
            if declared["type"] == "query" {
                assert_eq!((&declared["refresh"], &declared["multi"]), (&2.into(), &true.into()), "{name}: {variable}");
            }
        }
    }
}

/// Guarantees: links between dashboards lead to dashboards that are there, set only variables that are there, and keep the data sources and,
/// unless they choose another, the time range.
#[test]
fn links_lead_somewhere() {
    let dashboards = all();
    let (path, set) = (pattern(r"/d/([a-z-]+)\?([^)\s]*)"), pattern(r"var-([a-z_]+)=|\$\{([a-z_]+):queryparam\}"));
    let mut links = 0;
    for (name, dashboard) in &dashboards {
        for (_, link) in all_strings(dashboard) {
            for found in path.captures_iter(link) {
                let (uid, parameters) = (&found[1], &found[2]);
                let target = dashboards.values().find(|d| d["uid"] == uid).unwrap_or_else(|| panic!("{name}: {link}"));
                let known = variables(target);
                let given: BTreeSet<String> = set
                    .captures_iter(parameters)
                    .map(|c| c.get(1).or(c.get(2)).expect("one of them").as_str().to_owned())
                    .collect();
                for variable in &given {
                    assert!(known.contains_key(variable.as_str()), "{name}: {uid} has no variable {variable}");
                }
                assert!(given.contains("tempo_datasource") && given.contains("prometheus_datasource"), "{name}: {link}");
                assert!(parameters.contains("${__url_time_range}") || parameters.contains("time.window="), "{name}: {link}");
                links += 1;
            }
        }
        let menu = &dashboard["links"][0];
        assert_eq!((&menu["type"], &menu["tags"]), (&"dashboards".into(), &dashboard["tags"]), "{name}");
        assert_eq!((&menu["keepTime"], &menu["includeVars"]), (&true.into(), &true.into()), "{name}");
    }
    assert!(links > 10, "{links}");
}

/// Guarantees: the addresses that the configuration's README gives are those of dashboards, and set variables that these have; an id is looked for
/// further back than a dashboard shows by itself.
#[test]
fn documented_addresses_lead_to_dashboards() {
    let address = pattern(r"http://127\.0\.0\.1:3000/d/([a-z-]+)(?:\?([^>`\s]*))?");
    let readme = committed("collector-config/README.md");
    let dashboards = all();
    let mut variables_set = BTreeSet::new();
    for found in address.captures_iter(&readme) {
        let dashboard = dashboards.values().find(|d| d["uid"] == found[1]).unwrap_or_else(|| panic!("{}", &found[0]));
        let query = found.get(2).map_or("", |query| query.as_str());
        for name in query.split('&').filter_map(|parameter| parameter.split_once('=')?.0.strip_prefix("var-")) {
            assert!(variables(dashboard).contains_key(name), "{}", &found[0]);
            assert!(name != "id" || query.contains("from=now-7d"), "{}", &found[0]);
            variables_set.insert(name.to_owned());
        }
    }
    assert_eq!(variables_set, BTreeSet::from(["id".to_owned(), "trace".to_owned()]));
    let started = one("request-detail");
    assert_eq!(text(panel(&started, "Trace"), "/targets/0/query"), "${trace}", "a trace needs nothing but its id");
}

/// Guarantees: every PromQL expression names metrics and labels of the contract or a recorded series; a count, which starts again with its
/// process, stands in `rate` or `increase`; windows fit the panel.
#[test]
fn promql_fits_the_contract() {
    let count = pattern(r"[a-z_]+_(?:total|bucket)\b");
    let counted = pattern(r"(?:rate|increase)\([a-z_]+_(?:total|bucket)(?:\{[^}]*\})?\[");
    let rules = yaml("dashboards/rules/codex-pooler-rules.yaml");
    let rules: Vec<&Value> =
        rules["groups"].as_array().expect("groups").iter().flat_map(|g| g["rules"].as_array().expect("rules")).collect();
    let recorded: Vec<&str> = rules.iter().filter_map(|rule| rule["record"].as_str()).collect();
    let mut checked = 0;
    for (name, dashboard) in all() {
        for panel in panels(&dashboard) {
            let title = text(panel, "/title");
            for expr in targets(panel).iter().filter_map(|target| target["expr"].as_str()) {
                promql::check(expr, &recorded);
                assert_eq!(count.find_iter(expr).count(), counted.find_iter(expr).count(), "{name}, {title}: {expr}");
                assert!(!pattern(r"\[\d+[smhd]\]").is_match(expr), "{name}, {title}: a fixed window: {expr}");
                checked += 1;
            }
        }
        for variable in variables(&dashboard).values().filter(|v| v["type"] == "query") {
            promql::check(text(variable, "/query/query"), &[]);
            checked += 1;
        }
    }
    assert!(checked > 80, "{checked}");
}

/// Guarantees: every metric that the contract declares is on a dashboard.
#[test]
fn every_metric_is_shown() {
    let expressions: Vec<String> = all()
        .values()
        .flat_map(|d| {
            panels(d).iter().flat_map(targets).filter_map(|t| t["expr"].as_str().map(str::to_owned)).collect::<Vec<_>>()
        })
        .collect();
    for metric in contract::generated::metrics::ALL {
        assert!(expressions.iter().any(|expr| expr.contains(metric.name)), "{} is nowhere", metric.name);
    }
}

/// Guarantees: histograms show exemplars, which lead to traces; nothing else asks for any.
#[test]
fn histograms_lead_to_traces() {
    for (name, dashboard) in all() {
        for panel in panels(&dashboard).iter().filter(|panel| panel["type"] == "timeseries") {
            for target in targets(panel) {
                let of_histogram = text(target, "/expr").contains("_bucket");
                assert_eq!(target["exemplar"], of_histogram, "{name}, {}", text(panel, "/title"));
            }
        }
    }
}

/// Guarantees: the form on which order, speed and safety of every span table rest: one filter without `||`, newest rows, flat rows; every
/// attribute exists and its record may carry it; variables stand in backticks or are numbers, so that they are never read as syntax.
#[test]
fn traceql_fits_the_contract() {
    let name = pattern(r"span\.([A-Za-z0-9_.]+)");
    let kind = pattern(r#"span\.codex_pooler\.record\.kind = "([a-z_]+)""#);
    let mut checked = 0;
    for (file, dashboard) in all() {
        for panel in panels(&dashboard).iter().filter(|p| p["type"] == "table" && p["datasource"]["type"] == "tempo") {
            let title = format!("{file}, {}", text(panel, "/title"));
            let [target] = targets(panel) else { panic!("{title}: Grafana runs only the first search of a panel") };
            assert_eq!((&target["queryType"], &target["tableType"]), (&"traceql".into(), &"spans".into()), "{title}");
            assert!(target["limit"].is_u64() && target["spss"].is_u64(), "{title}: else the server's small defaults apply");
            let query = text(target, "/query");
            assert!(query.ends_with("with (most_recent=true)"), "{title}: {query}");
            assert!(!query.contains("||"), "{title}: {query}");
            let record = contract::RecordKind::parse(&kind.captures(query).unwrap_or_else(|| panic!("{title}: {query}"))[1]);
            let record = Record::of(Some(record.expect("a kind")));
            let (conditions, columns) = query.split_once('|').expect("a filter, then the columns");
            for key in name.captures_iter(conditions).map(|c| c.extract::<1>().1[0]) {
                assert!(record.required.contains(&key), "{title}: {key} is not always present, so that a condition misses rows");
            }
            for key in name.captures_iter(columns).map(|c| c.extract::<1>().1[0]) {
                assert!(record.allows(key), "{title}: {key} is not on the record");
            }
            for (at, part) in query.split('`').enumerate() {
                let allowed = at % 2 == 1 || !part.contains("${") || part.contains("<= ${before}");
                assert!(allowed, "{title}: a variable that could be read as syntax: {query}");
                assert!(at % 2 == 1 || !part.contains(":regex}"), "{title}: escapes would be read a second time: {query}");
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 8, "the log, open requests, matches, three of fields, attempts, corrections");
}

/// Guarantees: a figure that cannot apply a filter names it in its description; nobody takes a filtered log and an unfiltered count for the
/// same. A filter that a description names as ignored is ignored.
#[test]
fn figures_say_which_filters_they_ignore() {
    for (name, dashboard) in all() {
        let filters: BTreeMap<&str, &str> = variables(&dashboard)
            .into_iter()
            .filter(|(variable, declared)| declared["type"] != "datasource" && *variable != "pooler_url")
            .map(|(variable, declared)| (variable, text(declared, "/label")))
            .collect();
        for panel in panels(&dashboard).iter().filter(|p| p["datasource"]["type"] == "prometheus") {
            let (title, description) = (text(panel, "/title"), text(panel, "/description"));
            let ignored: BTreeSet<&str> = description
                .split_once("Ignores the filters: ")
                .map_or_else(BTreeSet::new, |(_, list)| list.trim_end_matches('.').split(", ").collect());
            for target in targets(panel) {
                let expr = text(target, "/expr");
                let unused: BTreeSet<&str> = filters
                    .iter()
                    .filter(|(variable, _)| {
                        !expr.contains(&format!("\"${variable}\"")) && !expr.contains(&format!("${variable}.*\""))
                    })
                    .map(|(_, label)| *label)
                    .collect();
                assert_eq!(ignored, unused, "{name}, {title}: {expr}");
            }
        }
    }
}
