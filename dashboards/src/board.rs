//! The five dashboards: what they are called, where they lie, and the frame that they share.

use serde_json::{Value, json};

use crate::grafana;

/// Tag of every dashboard, by which their menu finds them.
const TAG: &str = "codex-pooler";
/// How often the panels ask again.
const REFRESH: &str = "30s";

/// One dashboard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// The request log.
    RequestLogs,
    /// One request.
    RequestDetail,
    /// The service.
    Overview,
    /// The upstream accounts.
    Accounts,
    /// The way of the telemetry itself.
    Pipeline,
}

impl Board {
    /// What its uid, its path and its file have in common.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::RequestLogs => "request-logs",
            Self::RequestDetail => "request-detail",
            Self::Overview => "overview",
            Self::Accounts => "accounts",
            Self::Pipeline => "pipeline",
        }
    }

    /// Its title without the common first part.
    pub const fn title(self) -> &'static str {
        match self {
            Self::RequestLogs => "Request logs",
            Self::RequestDetail => "Request detail",
            Self::Overview => "Overview",
            Self::Accounts => "Upstream accounts",
            Self::Pipeline => "Telemetry pipeline",
        }
    }

    /// By which links find it.
    pub fn uid(self) -> String {
        format!("{TAG}-{}", self.slug())
    }

    /// A link to it with the data sources and these parameters; the caller says which time range.
    pub fn link(self, parameters: &[String]) -> String {
        let parameters: Vec<String> = [grafana::PROMETHEUS, grafana::TEMPO]
            .map(|kind| same(&format!("{kind}_datasource")))
            .into_iter()
            .chain(parameters.iter().cloned())
            .collect();
        format!("/d/{}?{}", self.uid(), parameters.join("&"))
    }

    /// The dashboard.
    pub fn dashboard(self, description: &str, from: &str, variables: Vec<Value>, panels: Vec<Value>) -> Value {
        let variables: Vec<Value> = grafana::datasource_variables().into_iter().chain(variables).collect();
        json!({
            "uid": self.uid(),
            "title": format!("Codex Pooler / {}", self.title()),
            "description": description,
            "tags": [TAG],
            "schemaVersion": 41,
            "editable": false,
            "timezone": "utc",
            "time": {"from": from, "to": "now"},
            "refresh": REFRESH,
            // A line at the same time in every panel.
            "graphTooltip": 1,
            "annotations": {"list": []},
            "links": [{
                "type": "dashboards", "title": "Codex Pooler", "tags": [TAG], "asDropdown": true, "keepTime": true,
                "includeVars": true, "targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
            }],
            "templating": {"list": variables},
            "panels": grafana::laid_out(panels),
        })
    }
}

/// A parameter that carries a variable along as it is.
pub fn same(variable: &str) -> String {
    format!("${{{variable}:queryparam}}")
}

/// A parameter that sets a variable.
pub fn set(variable: &str, value: &str) -> String {
    format!("var-{variable}={value}")
}

/// A parameter that carries the time range along.
pub const SAME_TIME: &str = "${__url_time_range}";

/// A link of a cell.
pub fn named(title: &str, url: &str) -> Value {
    json!({"title": title, "url": url, "targetBlank": false})
}

/// A link of a panel, which Grafana models like those of a dashboard.
pub fn panel_link(title: &str, url: &str) -> Value {
    json!({
        "type": "link", "title": title, "url": url, "targetBlank": false, "asDropdown": false, "includeVars": false, "keepTime": false,
        "tags": [], "icon": "external link", "tooltip": "",
    })
}
