//! A client that sends what it must not: now and then a span full of forbidden fields, over OTLP/HTTP, in JSON as `curl` would. Everything here
//! is made up.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use contract::attr;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::stop::stopped;

/// Pause between two broken messages.
const PAUSE: Duration = Duration::from_secs(5);

/// Sends until `stop`.
pub async fn run(otlp_http: SocketAddr, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    loop {
        let response = client.post(format!("http://{otlp_http}/v1/traces")).json(&message(SystemTime::now())).send().await;
        response.and_then(reqwest::Response::error_for_status).context("the collector refused the broken client's message")?;
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stopped(&mut stop) => return Ok(()),
        }
    }
}

/// A row of the request log with everything in it that must not get through.
fn message(now: SystemTime) -> Value {
    let id = Uuid::new_v4();
    let end_ns = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", "broken-client"), text("host.name", "db1.internal"), text("host.ip", "192.0.2.44")]},
        "scopeSpans": [{
            "scope": {"name": "my.instrumentation", "attributes": [text("token", "Bearer 0123456789abcdef")]},
            "spans": [{
                "traceId": id.simple().to_string(), "spanId": &id.simple().to_string()[..16],
                "name": "POST /v1/responses?api_key=sk-live-0123456789abcdef",
                "kind": 2,
                "startTimeUnixNano": (end_ns - 1_500_000_000).to_string(), "endTimeUnixNano": end_ns.to_string(),
                "traceState": "user=alice@example.com",
                "attributes": [
                    text(attr::RECORD_KIND, "request"),
                    text(attr::REQUEST_ID, &id.to_string()),
                    text(attr::REQUEST_SEARCH, &id.to_string()),
                    text(attr::REQUEST_STATUS, "succeeded"),
                    text(attr::REQUEST_OUTCOME, "good"),
                    text(attr::POOL_SLUG, "research"),
                    text(attr::POOL_NAME, "Research"),
                    text(attr::UPSTREAM_ACCOUNT_ID, "63918144-2107-4e99-9119-c5edfe6f6b9b"),
                    text(attr::UPSTREAM_ACCOUNT_LABEL, "alice@example.com"),
                    text(attr::UPSTREAM_PLAN_LABEL, "none"),
                    text(attr::API_KEY_LABEL, "sk-cxp-1b158839f8aa-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"),
                    text(attr::REQUEST_MODEL, "Please summarise the attached contract"),
                    text(attr::REQUEST_TRANSPORT, "http_json"),
                    text(attr::REQUEST_ROUTE_CLASS, "proxy_http"),
                    text(attr::ERROR_CODE, "none"),
                    text(attr::USAGE_STATUS, "not_applicable"),
                    text(attr::HTTP_ROUTE, "/v1/responses"),
                    text(attr::TEXT_ID, &id.to_string()[..8]),
                    text(attr::TEXT_ACCOUNT, "alice@example.com · Research"),
                    text(attr::TEXT_MODEL, "Please summarise the attached contract"),
                    text(attr::TEXT_TRANSPORT, "HTTP JSON"),
                    text(attr::TEXT_ROUTE, "/v1/responses · 1.5s"),
                    text(attr::TEXT_USAGE, "–"),
                    text(attr::TEXT_ERRORS, "–"),
                    text("gen_ai.input.messages", "[{\"role\":\"user\",\"content\":\"my salary is …\"}]"),
                    text("http.request.header.authorization", "Bearer 0123456789abcdef"),
                    text("client.address", "192.0.2.17"),
                ],
                "events": [{"name": "exception", "timeUnixNano": end_ns.to_string(),
                    "attributes": [text("exception.stacktrace", "at handler(prompt='my salary is …')")]}],
                "status": {"code": 2, "message": "model said: I cannot help with that"},
            }],
        }],
    }]})
}
