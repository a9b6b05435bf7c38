//! The Tempo API of the real binary, as Grafana's Tempo data source uses it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;

use contract::limits::PAGE_ROWS;
use contract::{AttemptStatus, RequestStatus, attr};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message as _;
use serde_json::Value;
use testkit::otlp::{self, Row, attribute};
use testkit::send::{self, JSON};
use testkit::serve::Serve;
use testkit::tempo::{self, matches};

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
const PROTOBUF: &str = "application/protobuf";

/// Rows that differ in what the log filters by. Number 3's trace id starts with zeros.
fn rows() -> Vec<Row> {
    let row = |number: u32, pool: &str, account: &str, model: &str, status: RequestStatus, error_code: Option<&str>| Row {
        pool: pool.to_owned(),
        account: account.to_owned(),
        model: model.to_owned(),
        status,
        error_code: error_code.map(str::to_owned),
        ..Row::numbered(number)
    };
    let mut rows = vec![
        row(1, "core-agents", "Aurora seat 1", "gpt-5.4", RequestStatus::Succeeded, None),
        row(2, "core-agents", "Borealis team", "gpt-5.4-mini", RequestStatus::Failed, Some("upstream_network_error")),
        row(3, "nightly", "Aurora seat 1", "gpt-5.4-codex", RequestStatus::Rejected, Some("model_not_allowed")),
        row(4, "nightly", "Команда (7)", "gpt-5.4", RequestStatus::Cancelled, None),
    ];
    rows[2].id = otlp::id_bytes("00000abc-0000-4000-8000-000000000003");
    "Night runner".clone_into(&mut rows[3].api_key);
    for row in &mut rows[1..3] {
        row.tokens = None;
        row.cost_usd = None;
    }
    rows
}

fn serve_with(rows: &[Row]) -> (tempfile::TempDir, Serve) {
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &[]);
    let spans = rows.iter().flat_map(|row| [row.span(), row.attempt(1, AttemptStatus::Succeeded)]);
    send::grpc(&serve.otlp_grpc(), otlp::request(spans.collect()), false).unwrap();
    (folder, serve)
}

/// Guarantees: every filter of the request log finds its rows and no others, newest first; ids are found by row id, correlation id or a piece of
/// one, in any case; a page is as long as its limit, and the cursor leads to the next one.
#[test]
fn every_filter_finds_its_rows() {
    let rows = rows();
    let (_folder, serve) = serve_with(&rows);
    let found = |conditions: &[String]| -> Vec<usize> {
        let number = |id: &str| rows.iter().position(|row| row.trace_id_text() == id).unwrap() + 1;
        tempo::rows(&serve.tempo(), conditions).iter().map(|row| number(&row.trace_id)).collect()
    };
    let ids = |text: &str| matches(attr::REQUEST_SEARCH, &format!("(?i).*{text}.*"));
    let cases: [(&[String], &[usize]); 17] = [
        (&[], &[4, 3, 2, 1]),
        (&[matches(attr::POOL_SLUG, "nightly")], &[4, 3]),
        // Anchored: a piece is not a match.
        (&[matches(attr::POOL_SLUG, "night")], &[]),
        (&[matches(attr::REQUEST_STATUS, "failed|rejected")], &[3, 2]),
        (&[matches(attr::UPSTREAM_ACCOUNT_LABEL, "Aurora seat 1")], &[3, 1]),
        (&[matches(attr::UPSTREAM_ACCOUNT_LABEL, r"Команда \(7\)")], &[4]),
        (&[matches(attr::REQUEST_MODEL, r"gpt-5\.4")], &[4, 1]),
        (&[matches(attr::REQUEST_MODEL, "(?i).*CODEX.*")], &[3]),
        (&[matches(attr::API_KEY_LABEL, "Night runner")], &[4]),
        (&[matches(attr::ERROR_CODE, "none")], &[4, 1]),
        (&[ids(&rows[1].id_text())], &[2]),
        (&[ids("CORR-000003")], &[3]),
        (&[ids("4000-8000-000000000001")], &[1]),
        (&[format!("span.{} < {}", attr::REQUEST_ADMITTED_MS, rows[2].admitted_ms)], &[2, 1]),
        (&[format!("span.{} > 0", attr::USAGE_TOTAL_TOKENS)], &[4, 1]),
        (&[matches(attr::POOL_SLUG, "core-agents"), matches(attr::REQUEST_STATUS, "succeeded")], &[1]),
        (&[matches(attr::REQUEST_STATUS, ".*"), matches(attr::REQUEST_MODEL, "no such model")], &[]),
    ];
    for (conditions, expected) in cases {
        assert_eq!(found(conditions), expected, "{conditions:?}");
    }

    let page = tempo::found(&tempo::search(&serve.tempo(), &tempo::rows_query(&[]), 3).json());
    assert_eq!(page.len(), 3);
    let cursor = format!("span.{} < {}", attr::REQUEST_ADMITTED_MS, page[2].int(attr::REQUEST_ADMITTED_MS).unwrap());
    assert_eq!(found(&[cursor]), [1]);
}

/// Guarantees: whoever goes from page to page of Grafana's request log by its last line misses no row, also where one page ends and the next begins
/// within one millisecond.
#[test]
fn no_row_falls_between_two_pages() {
    const PER_MS: u32 = 7;
    let first_ms = otlp::now_ms() - 10_000;
    let row = |number| Row { admitted_ms: first_ms + u64::from(number / PER_MS), ..Row::numbered(number) };
    let rows: Vec<Row> = (1..=3 * PAGE_ROWS).map(row).collect();
    let (_folder, serve) = serve_with(&rows);
    let dashboard: Value = serde_json::from_str(include_str!("../../dashboards/grafana/request-logs.json")).unwrap();
    let target = dashboard["panels"].as_array().unwrap().iter().find(|panel| panel["title"] == "Request log").unwrap();
    let query = target["targets"][0]["query"].as_str().unwrap();
    let query = ["pool", "status", "account", "model", "api_key", "id"]
        .iter()
        .fold(query.to_owned(), |query, name| query.replace(&format!("${{{name}:regex}}"), ".*"));
    let (mut cursor, mut seen) = (9_999_999_999_999, BTreeSet::new());
    // As many clicks as there are pages, and one for what pages have in common.
    for _ in 0..4 {
        let found = tempo::search(&serve.tempo(), &query.replace("${before}", &cursor.to_string()), PAGE_ROWS).json();
        let page = tempo::found(&found);
        let Some(last) = page.last() else { break };
        cursor = last.int(attr::REQUEST_ADMITTED_MS).unwrap();
        seen.extend(page.into_iter().map(|row| row.trace_id));
    }
    assert_eq!(seen.len(), rows.len(), "rows that a page shows");
}

/// Guarantees: a search result has exactly the keys that Grafana's strict parser knows, ids as hexadecimal digits, and values in their own types.
#[test]
fn a_search_result_has_the_known_shape() {
    let rows = rows();
    let (_folder, serve) = serve_with(&rows[..1]);
    let answer = tempo::search(&serve.tempo(), &tempo::rows_query(&[]), 1);
    assert!(answer.header("content-type").starts_with(JSON), "{}", answer.header("content-type"));
    let answer = answer.json();
    let only = |value: &Value, known: &[&str]| {
        let unknown: Vec<&String> = value.as_object().unwrap().keys().filter(|key| !known.contains(&key.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    };
    only(&answer, &["traces", "metrics"]);
    only(
        &answer["metrics"],
        &["inspectedTraces", "inspectedBytes", "totalBlocks", "completedJobs", "totalJobs", "totalBlockBytes", "inspectedSpans"],
    );
    let trace = &answer["traces"][0];
    only(
        trace,
        &[
            "traceID",
            "rootServiceName",
            "rootTraceName",
            "startTimeUnixNano",
            "durationMs",
            "spanSet",
            "spanSets",
            "serviceStats",
        ],
    );
    assert_eq!(trace["traceID"], rows[0].trace_id_text().trim_start_matches('0'));
    assert_eq!((trace["rootServiceName"].as_str(), trace["durationMs"].as_u64()), (Some("codex-pooler"), Some(2500)));
    assert_eq!(trace["rootTraceName"], "POST /backend-api/codex/responses");
    only(&trace["spanSets"][0], &["spans", "matched", "attributes"]);
    let span = &trace["spanSets"][0]["spans"][0];
    only(span, &["spanID", "name", "startTimeUnixNano", "durationNanos", "attributes"]);
    assert_eq!(span["startTimeUnixNano"], (rows[0].admitted_ms * 1_000_000).to_string());
    let row = &tempo::found(&answer)[0];
    assert_eq!(row.int(attr::USAGE_TOTAL_TOKENS), Some(50_103));
    assert_eq!(row.attributes[attr::COST_SETTLED_USD], Value::from(0.033_112_5));
    assert_eq!(row.text(attr::TEXT_ROUTE), "/backend-api/codex/responses · 2.5s");
}

/// Guarantees: a trace comes as it was sent, in protobuf and JSON, on both versions of the path, also by an id that lost its leading zeros.
#[test]
fn a_trace_comes_as_it_was_sent() {
    let rows = rows();
    let (_folder, serve) = serve_with(&rows);
    let row = &rows[2];
    let url = |version: &str, id: &str| format!("{}/api{version}/traces/{id}", serve.tempo());
    let mut sent = vec![row.span(), row.attempt(1, AttemptStatus::Succeeded)];
    sent.sort_by_key(|span| span.span_id.clone());
    let full = row.trace_id_text();
    for id in [full.as_str(), full.trim_start_matches('0')] {
        let v1 = send::get_with(&url("", id), &[], PROTOBUF);
        let v2 = send::get_with(&url("/v2", id), &[], PROTOBUF);
        assert_eq!((v1.status, v2.status), (200, 200), "{id}");
        assert!(v2.header("content-type").starts_with(PROTOBUF), "{}", v2.header("content-type"));
        // Version 2 wraps the same trace in its first field.
        let wrapped = TraceById::decode(v2.body.as_slice()).unwrap().trace.unwrap();
        for trace in [TracesData::decode(v1.body.as_slice()).unwrap(), wrapped] {
            assert_eq!(service_name(&trace), "codex-pooler");
            let groups = trace.resource_spans.into_iter().flat_map(|group| group.scope_spans);
            let mut spans: Vec<_> = groups.flat_map(|scope| scope.spans).collect();
            spans.sort_by_key(|span| span.span_id.clone());
            assert_eq!(spans, sent, "{id}");
        }
    }
    let v1 = send::get_with(&url("", &full), &[], JSON).json();
    let v2 = send::get_with(&url("/v2", &full), &[], JSON).json();
    let spans = |groups: &Value| -> usize {
        let scopes = groups.as_array().unwrap().iter().flat_map(|group| group["scopeSpans"].as_array().unwrap());
        scopes.map(|scope| scope["spans"].as_array().unwrap().len()).sum()
    };
    assert_eq!((spans(&v1["batches"]), spans(&v2["trace"]["resourceSpans"])), (2, 2));
}

/// Version 2's answer, as far as Grafana reads it.
#[derive(Clone, PartialEq, prost::Message)]
struct TraceById {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
}

fn service_name(trace: &TracesData) -> String {
    let resource = trace.resource_spans[0].resource.as_ref().unwrap();
    let name = resource.attributes.iter().find(|a| a.key == attr::SERVICE_NAME).unwrap();
    let Some(otlp::Value::StringValue(name)) = name.value.as_ref().unwrap().value.clone() else { panic!("a text") };
    name
}

/// Guarantees: variables get their values: the names of the attributes by scope, an attribute's values, and only those of rows that a filter finds.
#[test]
fn tags_and_values_are_listed() {
    let (_folder, serve) = serve_with(&rows());
    let url = format!("{}/api/v2/search/tag", serve.tempo());
    let scopes = send::get_with(&format!("{url}s"), &[("limit", "5000")], JSON).json();
    let tags = |scope: &str| -> Vec<Value> {
        let scopes = scopes["scopes"].as_array().unwrap();
        scopes.iter().find(|s| s["name"] == scope).unwrap()["tags"].as_array().unwrap().clone()
    };
    for key in [attr::POOL_SLUG, attr::REQUEST_STATUS, attr::UPSTREAM_ACCOUNT_LABEL, attr::REQUEST_MODEL, attr::REQUEST_SEARCH] {
        assert!(tags("span").contains(&key.into()), "{key}");
    }
    assert!(tags("resource").contains(&attr::SERVICE_NAME.into()));

    let values = |key: &str, filter: &str| -> Vec<String> {
        let answer = send::get_with(&format!("{url}/span.{key}/values"), &[("q", filter), ("limit", "5000")], JSON).json();
        let mut values: Vec<String> = answer["tagValues"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| {
                assert_eq!(value["type"], "string");
                value["value"].as_str().unwrap().to_owned()
            })
            .collect();
        values.sort();
        values
    };
    assert_eq!(values(attr::POOL_SLUG, "{ }"), ["core-agents", "nightly"]);
    assert_eq!(values(attr::REQUEST_STATUS, ""), ["cancelled", "failed", "rejected", "succeeded"]);
    let nightly = format!("{{ span.{} = \"nightly\" }}", attr::POOL_SLUG);
    assert_eq!(values(attr::UPSTREAM_ACCOUNT_LABEL, &nightly), ["Aurora seat 1", "Команда (7)"]);
    assert_eq!(values(attr::REQUEST_MODEL, &nightly), ["gpt-5.4", "gpt-5.4-codex"]);
}

/// Guarantees: what cannot be answered is refused with the status that Grafana expects and a text for people; what is not there is a 404.
#[test]
fn errors_are_said_plainly() {
    let (_folder, serve) = serve_with(&rows());
    let tempo_url = serve.tempo();
    for (query, limit) in [("{ span.codex_pooler.pool.slug = }", 20), ("{", 20), ("{ } | nonsense()", 20), ("{ }", 0)] {
        let reply = tempo::search(&tempo_url, query, limit);
        assert_eq!(reply.status, 400, "{query} {limit}: {}", reply.text());
        assert!(!reply.body.is_empty(), "{query} {limit}");
    }
    for version in ["", "/v2"] {
        let unknown = send::get_with(&format!("{tempo_url}/api{version}/traces/{}", "ab".repeat(16)), &[], PROTOBUF);
        assert_eq!(unknown.status, 404, "{version}");
        let bad = send::get_with(&format!("{tempo_url}/api{version}/traces/not-an-id"), &[], PROTOBUF);
        assert_eq!(bad.status, 400, "{version}");
    }
    assert_eq!(send::get(&format!("{tempo_url}/api/no/such/path")).status, 404);
    let echo = send::get(&format!("{tempo_url}/api/echo"));
    assert_eq!((echo.status, echo.text().as_str()), (200, "echo"));
    let version = send::get(&format!("{tempo_url}/api/status/buildinfo")).json()["version"].as_str().unwrap().to_owned();
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(parts.len() == 3 && parts >= vec![2, 2, 0], "{version}");
}

/// Guarantees: a row that is delivered twice, whole or after a change, is one row; a correction changes what the log shows, the highest one holds
/// whatever the order of arrival, and its trace keeps it.
#[test]
fn repeated_and_corrected_rows_are_one_row() {
    let row = Row { tokens: None, cost_usd: None, ..Row::numbered(1) };
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &[]);
    let deliver = |span| send::grpc(&serve.otlp_grpc(), otlp::request(vec![span]), false).unwrap();
    let shown = || {
        let rows = tempo::rows(&serve.tempo(), &[]);
        assert_eq!(rows.len(), 1);
        (
            rows[0].text(attr::USAGE_STATUS).to_owned(),
            rows[0].text(attr::TEXT_USAGE).to_owned(),
            rows[0].int(attr::USAGE_TOTAL_TOKENS),
        )
    };
    let usage = |tokens: i64, text: &str| {
        vec![
            attribute(attr::USAGE_STATUS, "usage_known"),
            attribute(attr::USAGE_TOTAL_TOKENS, tokens),
            attribute(attr::TEXT_USAGE, text),
        ]
    };
    deliver(row.span());
    deliver(row.span());
    assert_eq!(shown(), ("usage_unknown".to_owned(), "– (usage unknown)".to_owned(), None));
    deliver(row.correction(2, usage(72_500, "72.5k tokens · cost n/a")));
    deliver(row.correction(1, usage(1, "1 tokens · cost n/a")));
    let corrected = ("usage_known".to_owned(), "72.5k tokens · cost n/a".to_owned(), Some(72_500));
    assert_eq!(shown(), corrected);
    // A late repetition of the row does not undo it.
    deliver(row.span());
    assert_eq!(shown(), corrected);
    serve.assert_conserved();
}

/// Guarantees: an open request is a live row with all columns, found by the same filters; when it has ended, the finished row takes its place.
#[test]
fn an_open_request_is_a_live_row() {
    let row = Row::numbered(1);
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &[]);
    let deliver = |span| send::grpc(&serve.otlp_grpc(), otlp::request(vec![span]), false).unwrap();
    deliver(row.marker(0));
    deliver(row.marker(1));
    let open = || {
        let found = tempo::rows(&serve.tempo(), &[matches(attr::REQUEST_SEARCH, ".*corr-000001")]);
        found
            .iter()
            .map(|row| (row.text(attr::REQUEST_STATUS).to_owned(), row.text(attr::TEXT_ACCOUNT).to_owned()))
            .collect::<Vec<_>>()
    };
    let shown = |status: &str| vec![(status.to_owned(), "Aurora seat 1 · Core agents".to_owned())];
    assert_eq!(open(), shown("in_progress"));
    assert_eq!(serve.scrape().count("codex_pooler_requests_in_flight", &[("pool", "core-agents")]), 1);
    deliver(row.span());
    assert_eq!(open(), shown("succeeded"));
    assert_eq!(serve.scrape().count("codex_pooler_requests_in_flight", &[]), 0);
    serve.assert_conserved();
}
