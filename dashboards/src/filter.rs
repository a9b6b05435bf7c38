//! The filters of the request log: each one's variable, its condition in TraceQL, and its matcher in PromQL where the metrics have the label.

use contract::generated::metrics;
use contract::{Metric, RequestStatus, attr, display};
use serde_json::{Value, json};

use crate::grafana;
use crate::promql::{self, label};

/// Cursor that lies after every row: the newest page.
pub const NEWEST: &str = "9999999999999";

/// One filter, in the order in which the dashboard shows them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Pools, by slug.
    Pool,
    /// Status of the request.
    Status,
    /// Upstream account, narrowed by the pools.
    Account,
    /// Model, narrowed by the pools.
    Model,
    /// Part of an API key's label.
    ApiKey,
    /// Part of a row id, correlation id or client request id.
    Id,
    /// Page cursor: rows that were admitted then or before.
    Before,
}

impl Filter {
    /// Every filter.
    pub const ALL: [Self; 7] = [Self::Pool, Self::Status, Self::Account, Self::Model, Self::ApiKey, Self::Id, Self::Before];

    /// Name of the variable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Status => "status",
            Self::Account => "account",
            Self::Model => "model",
            Self::ApiKey => "api_key",
            Self::Id => "id",
            Self::Before => "before",
        }
    }

    /// Name that the dashboard shows.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Pool => "Pool",
            Self::Status => "Status",
            Self::Account => "Upstream account",
            Self::Model => "Model",
            Self::ApiKey => "API key",
            Self::Id => "Correlation or row id",
            Self::Before => "Admitted until (ms)",
        }
    }

    /// The condition on a row. Values stand in backticks, where TraceQL knows no escapes, so that those of `:regex` reach the expression.
    pub fn traceql(self) -> String {
        let (key, pattern) = match self {
            Self::Pool => (attr::POOL_SLUG, "${pool:regex}"),
            Self::Status => (attr::REQUEST_STATUS, "${status:regex}"),
            Self::Account => (attr::UPSTREAM_ACCOUNT_LABEL, "${account:regex}"),
            Self::Model => (attr::REQUEST_MODEL, "(?i).*${model:regex}.*"),
            Self::ApiKey => (attr::API_KEY_LABEL, "(?i).*${api_key:regex}.*"),
            Self::Id => (attr::REQUEST_SEARCH, "(?i).*${id:regex}.*"),
            // Of rows within one millisecond a page can end between two: what is no older than its last line belongs to the next one, too.
            Self::Before => return format!("span.{} <= ${{before}}", attr::REQUEST_ADMITTED_MS),
        };
        format!("span.{key} =~ `{pattern}`")
    }

    /// The matcher on the request metrics, if they have the label. Grafana escapes the values itself.
    pub fn promql(self) -> Option<String> {
        let (key, pattern) = match self {
            Self::Pool => (attr::POOL_SLUG, "$pool"),
            Self::Status => (attr::REQUEST_STATUS, "$status"),
            Self::Model => (attr::REQUEST_MODEL, "(?i).*$model.*"),
            // Of the attempts and of the information about accounts, not of the requests.
            Self::Account => (attr::UPSTREAM_ACCOUNT_LABEL, "$account"),
            Self::ApiKey | Self::Id | Self::Before => return None,
        };
        Some(promql::matches(key, pattern))
    }

    /// The variable.
    pub fn variable(self) -> Value {
        let (pool, account, model) = (label(attr::POOL_SLUG), label(attr::UPSTREAM_ACCOUNT_LABEL), label(attr::REQUEST_MODEL));
        let narrowed = |metric: &Metric, label: &str| {
            grafana::label_values(&format!(r#"label_values({}{{{pool}=~"$pool"}}, {label})"#, metric.name), ".*")
        };
        let variable = match self {
            Self::Pool => {
                // Rows that came late, and Pools without any traffic, are in one of these only.
                let names = [
                    &metrics::CODEX_POOLER_REQUESTS_TOTAL,
                    &metrics::CODEX_POOLER_LATE_ROWS_TOTAL,
                    &metrics::CODEX_POOLER_ACCOUNT_INFO,
                ]
                .map(|metric| metric.name)
                .join("|");
                grafana::label_values(&format!(r#"label_values({{__name__=~"{names}"}}, {pool})"#), ".*")
            }
            Self::Account => narrowed(&metrics::CODEX_POOLER_ACCOUNT_INFO, account),
            Self::Model => narrowed(&metrics::CODEX_POOLER_REQUESTS_TOTAL, model),
            Self::Status => grafana::choice(
                RequestStatus::ALL
                    .iter()
                    .filter(|status| **status != RequestStatus::Other)
                    .map(|s| (display::status_label(*s), s.as_str())),
            ),
            Self::ApiKey | Self::Id => grafana::text_box(""),
            Self::Before => grafana::text_box(NEWEST),
        };
        let description = match self {
            Self::Pool => "Slug of the Pool.",
            Self::Status => "All includes statuses that the list does not name.",
            Self::Account => "Account of the last attempt. The list narrows by Pool.",
            Self::Model => "Any part of the name, in any case; type one to search for it. The list narrows by Pool.",
            Self::ApiKey => "Any part of the key's label, in any case. Empty for all.",
            Self::Id => {
                "Any part of a row id, correlation id or client request id, in any case, without spaces around it. Empty for all."
            }
            Self::Before => {
                "Page cursor, in milliseconds since 1970; the log's own links set it. 9999999999999 for the newest page; empty is an error."
            }
        };
        grafana::merge(variable, json!({"name": self.name(), "label": self.title(), "description": description}))
    }
}

/// The matchers of the filters that the metrics have, and further ones.
pub fn matchers(filters: &[Filter], further: &[String]) -> Vec<String> {
    filters.iter().filter_map(|filter| filter.promql()).chain(further.iter().cloned()).collect()
}

/// A description that ends with the filters that the panel does not apply, of those that the dashboard has.
pub fn described(text: &str, applied: &[Filter], present: &[Filter]) -> String {
    let ignored: Vec<&str> = present.iter().filter(|filter| !applied.contains(filter)).map(|filter| filter.title()).collect();
    if ignored.is_empty() { text.to_owned() } else { format!("{text}\n\nIgnores the filters: {}.", ignored.join(", ")) }
}
