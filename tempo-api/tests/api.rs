//! The API as Grafana uses it: real requests against the router, answers through a strict decoder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod strict;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use contract::{AttemptStatus, RequestStatus, attr};
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use prost::Message as _;
use serde::de::DeserializeOwned;
use store::{Config, Store};
use strict::{SearchResponse, TagValues, Tags};
use testkit::otlp::{self, Row};
use tower::ServiceExt as _;

const MAX_BODY_BYTES: usize = 16 << 20;

/// The query of the request log, with these values in place of its variables.
fn log_query(pool: &str, status: &str, account: &str, model: &str, api_key: &str, search: &str, before: u64) -> String {
    format!(
        "{{ span.codex_pooler.record.kind = \"request\" && span.codex_pooler.pool.slug =~ `{pool}` && \
         span.codex_pooler.request.status =~ `{status}` && span.codex_pooler.upstream.account.label =~ `{account}` && \
         span.codex_pooler.request.model =~ `{model}` && span.codex_pooler.api_key.label =~ `{api_key}` && \
         span.codex_pooler.request.search =~ `(?i).*{search}.*` && span.codex_pooler.request.admitted_ms < {before} }} | \
         select(span.codex_pooler.text.id, span.codex_pooler.text.account, span.codex_pooler.text.model, \
         span.codex_pooler.text.usage, span.codex_pooler.cost.settled_usd, status) with (most_recent=true)"
    )
}

struct Fixture {
    router: Router,
    store: Store,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn new(spans: Vec<Span>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Config::new(folder.path().join("store.db"))).unwrap();
        let fixture = Self { router: tempo_api::router(store.reader()), store, _folder: folder };
        fixture.write(spans).await;
        fixture
    }

    async fn write(&self, spans: Vec<Span>) {
        let message = sanitizer::protobuf(
            &sanitizer::Policy::contract(),
            std::time::SystemTime::now(),
            &otlp::request(spans).encode_to_vec(),
        )
        .unwrap();
        self.store.write(message).await.unwrap();
    }

    async fn get_as(&self, path: &str, accept: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
        let request = Request::get(path).header(header::ACCEPT, accept).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, axum::body::to_bytes(body, MAX_BODY_BYTES).await.unwrap().to_vec())
    }

    async fn text(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.get_as(path, "*/*").await;
        (status.as_u16(), String::from_utf8(body).unwrap())
    }

    /// An answer that is well, through the strict decoder.
    async fn json<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, headers, body) = self.get_as(path, "application/json").await;
        let text = String::from_utf8(body).unwrap();
        assert_eq!((status, headers[header::CONTENT_TYPE].to_str().unwrap()), (StatusCode::OK, "application/json"), "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    async fn search(&self, query: &str, parameters: &str) -> SearchResponse {
        self.json(&format!("/api/search?q={}&{parameters}", encoded(query))).await
    }

    /// The model of every row that is found, in the answer's order.
    async fn models(&self, query: &str, parameters: &str) -> Vec<String> {
        let found = self.search(query, parameters).await;
        let model = |trace: &strict::Trace| trace.span_sets[0].spans[0].attribute(attr::REQUEST_MODEL).unwrap();
        found.traces.iter().map(model).collect()
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat()
}

/// Six rows, one after the other, each with an attempt; the last one is still open.
fn rows() -> Vec<Row> {
    let row = |n: u32, pool: &str, status: RequestStatus, account: &str, error: Option<&str>| Row {
        model: format!("m{n}"),
        pool: pool.to_owned(),
        status,
        account: account.to_owned(),
        error_code: error.map(str::to_owned),
        ..Row::numbered(n)
    };
    vec![
        row(1, "core-agents", RequestStatus::Succeeded, "Aurora seat 1", None),
        row(2, "core-agents", RequestStatus::Failed, "Aurora seat 2", Some("upstream_status")),
        Row { tokens: None, cost_usd: None, ..row(3, "eu-lab", RequestStatus::Rejected, "none", Some("policy_denied")) },
        row(4, "eu-lab", RequestStatus::Succeeded, "Команда 7 (Zürich)", None),
        row(5, "eu-lab", RequestStatus::Failed, "Aurora seat 1", Some("client_disconnected")),
        row(6, "eu-lab", RequestStatus::InProgress, "Aurora seat 1", None),
    ]
}

fn spans(rows: &[Row]) -> Vec<Span> {
    let finished = rows.iter().filter(|row| row.status != RequestStatus::InProgress);
    let mut spans: Vec<Span> = finished.flat_map(|row| [row.span(), row.attempt(1, AttemptStatus::Succeeded)]).collect();
    spans.extend(rows.iter().filter(|row| row.status == RequestStatus::InProgress).map(|row| row.marker(0)));
    spans
}

const ANY: &str = ".*";
const LATEST: u64 = 9_999_999_999_999;

/// Guarantees: the request log's query finds final and live rows, newest first, filtered as asked, with exactly the attributes that it names.
#[tokio::test]
async fn the_request_log_is_found() {
    let rows = rows();
    let fixture = Fixture::new(spans(&rows)).await;
    let everything = log_query(ANY, ANY, ANY, ANY, ANY, "", LATEST);
    assert_eq!(fixture.models(&everything, "limit=50&spss=1").await, ["m6", "m5", "m4", "m3", "m2", "m1"]);
    assert_eq!(fixture.models(&everything, "limit=2").await, ["m6", "m5"]);
    for (query, expected) in [
        (log_query("eu-lab", ANY, ANY, ANY, ANY, "", LATEST), vec!["m6", "m5", "m4", "m3"]),
        (log_query(r"(eu\-lab|none)", "failed|rejected", ANY, ANY, ANY, "", LATEST), vec!["m5", "m3"]),
        (log_query(ANY, ANY, r"(Команда 7 \(Zürich\))", ANY, ANY, "", LATEST), vec!["m4"]),
        (log_query(ANY, ANY, "Aurora.*", "m[1-4]", "CI agents", "", LATEST), vec!["m2", "m1"]),
        (log_query(ANY, ANY, ANY, ANY, ANY, "CORR-00000[34]", LATEST), vec!["m4", "m3"]),
        (log_query(ANY, ANY, ANY, ANY, ANY, &rows[1].id_text()[..8].to_uppercase(), LATEST), vec!["m2"]),
        (log_query(ANY, ANY, ANY, ANY, ANY, "", rows[2].admitted_ms), vec!["m2", "m1"]),
        (log_query(ANY, "in_progress", ANY, ANY, ANY, "", LATEST), vec!["m6"]),
        (log_query("eu", ANY, ANY, ANY, ANY, "", LATEST), vec![]),
    ] {
        assert_eq!(fixture.models(&query, "limit=50&spss=1").await, expected, "{query}");
    }

    let found = fixture.search(&log_query("core-agents", "failed", ANY, ANY, ANY, "", LATEST), "limit=50&spss=1").await;
    let [trace] = &found.traces[..] else { panic!("{found:?}") };
    let row = &rows[1];
    assert_eq!(trace.trace_id, row.trace_id_text());
    assert_eq!((trace.root_service_name.as_str(), trace.root_trace_name.as_str()), ("codex-pooler", row.span().name.as_str()));
    assert_eq!((trace.start_time_unix_nano, trace.duration_ms), (row.admitted_ms * 1_000_000, 2_500));
    assert_eq!(trace.service_stats["codex-pooler"].span_count, 2);
    assert_eq!(trace.service_stats["codex-pooler"].error_count, 1);
    assert_eq!(trace.span_sets[0].matched, 1);
    let span = &trace.span_sets[0].spans[0];
    assert_eq!((span.start_time_unix_nano, span.duration_nanos), (trace.start_time_unix_nano, 2_500_000_000));
    assert_eq!((span.span_id.len(), span.name.as_str()), (16, ""), "the name was not asked for");
    assert_eq!(
        span.shown(),
        [
            "codex_pooler.api_key.label=CI agents",
            "codex_pooler.cost.settled_usd=0.0331125",
            "codex_pooler.pool.slug=core-agents",
            "codex_pooler.record.kind=request",
            &format!("codex_pooler.request.admitted_ms={}", row.admitted_ms),
            "codex_pooler.request.model=m2",
            &format!("codex_pooler.request.search={} corr-000002", row.id_text()),
            "codex_pooler.request.status=failed",
            "codex_pooler.text.account=Aurora seat 2 · Core agents",
            "codex_pooler.text.id=a0000002",
            "codex_pooler.text.model=m2 / default · CI agents",
            "codex_pooler.text.usage=50.1k tokens · 41k cached · $0.0331",
            "codex_pooler.upstream.account.label=Aurora seat 2",
            "status=error",
        ]
    );
}

/// Guarantees: a search that columns answer finds the same as one that has to look at every span.
#[tokio::test]
async fn columns_and_spans_agree() {
    let rows = rows();
    let fixture = Fixture::new(spans(&rows)).await;
    let conditions = [
        "span.codex_pooler.pool.slug = \"eu-lab\"",
        "span.codex_pooler.pool.slug != \"eu-lab\"",
        "span.codex_pooler.pool.slug !~ `core.*`",
        "span.codex_pooler.request.status =~ `failed|rejected`",
        "span.codex_pooler.request.status = nil",
        "span.codex_pooler.error.code = \"none\"",
        "span.codex_pooler.request.search =~ `.*corr-00000[1-3]`",
        "span.codex_pooler.request.admitted_ms > 1500000000000",
        "span.codex_pooler.request.admitted_ms >= 9223372036854775807",
        "span.codex_pooler.request.admitted_ms < 1500000000000.0",
        "span.codex_pooler.request.model = 5",
        "span.codex_pooler.usage.total_tokens > 0",
        "duration >= 2500ms",
        "status = error",
    ];
    let admitted = ["=", "!=", "<", "<=", ">", ">="]
        .map(|operator| format!("span.codex_pooler.request.admitted_ms {operator} {}", rows[2].admitted_ms));
    let kind = "span.codex_pooler.record.kind = \"request\"";
    let ids = |found: &SearchResponse| found.traces.iter().map(|trace| trace.trace_id.clone()).collect::<Vec<_>>();
    for condition in conditions.map(str::to_owned).into_iter().chain(admitted) {
        let pushed = fixture.search(&format!("{{ {kind} && {condition} }}"), "").await;
        // An alternative that never holds keeps every comparison from being required.
        let plain = fixture.search(&format!("{{ false || {kind} && {condition} }}"), "").await;
        assert_eq!(ids(&pushed), ids(&plain), "{condition}");
    }
}

/// Guarantees: searches by other spans, by trace, by time; markers are found as markers; no query finds everything.
#[tokio::test]
async fn other_searches_find_what_is_there() {
    let rows = rows();
    let fixture = Fixture::new(spans(&rows)).await;
    let found =
        fixture.search("{ kind = client && rootName =~ `POST .*` } | select(name, kind, rootName, span.nothing)", "").await;
    assert_eq!(found.traces.len(), 5);
    let span = &found.traces[0].span_sets[0].spans[0];
    assert_eq!((span.name.as_str(), span.shown()), ("chat m5", vec!["kind=client".to_owned()]));

    // An attempt on an account that is not the row's.
    let other = Row { account: "Aurora seat 9".to_owned(), ..rows[0].clone() };
    fixture.write(vec![other.attempt(2, AttemptStatus::RetryableFailed)]).await;
    let found = fixture.search("{ span.codex_pooler.upstream.account.label = \"Aurora seat 9\" }", "").await;
    assert_eq!(found.traces.iter().map(|trace| &trace.trace_id).collect::<Vec<_>>(), [&rows[0].trace_id_text()]);

    let found = fixture.search("{ span.codex_pooler.record.kind = \"in_progress\" }", "").await;
    assert_eq!(found.traces.len(), 1);
    assert_eq!(found.traces[0].trace_id, hex(&rows[5].marker(0).trace_id));

    let found = fixture.search(&format!("{{ trace:id = \"{}\" }}", rows[3].trace_id_text()), "spss=1").await;
    assert_eq!((found.traces.len(), found.traces[0].span_sets[0].matched), (1, 2));
    assert_eq!(found.traces[0].span_sets[0].spans.len(), 1);

    // Five traces of requests, the open request, and its marker.
    assert_eq!(fixture.json::<SearchResponse>("/api/search").await.traces.len(), 7);
    let old = fixture.search("{}", "start=1&end=1600000000").await;
    assert_eq!(old.traces.len(), 0);
    let now_s = otlp::now_ms() / 1000;
    assert_eq!(fixture.search("{}", &format!("start={}&end={}", now_s - 3600, now_s + 60)).await.traces.len(), 7);
}

fn hex(id: &[u8]) -> String {
    format!("{:032x}", u128::from_be_bytes(id.try_into().unwrap()))
}

/// Guarantees: an empty answer has an empty list, not none.
#[tokio::test]
async fn an_empty_answer_is_whole() {
    let fixture = Fixture::new(Vec::new()).await;
    let (status, text) = fixture.text("/api/search").await;
    assert_eq!(status, 200);
    assert!(text.starts_with(r#"{"traces":[],"metrics":{"#), "{text}");
}

/// Guarantees: wrong parameters and queries are 400 with a plain text; unknown parameters are ignored.
#[tokio::test]
async fn what_is_wrong_is_said() {
    let fixture = Fixture::new(spans(&rows())).await;
    for (path, says) in [
        ("/api/search?limit=0", "limit must be from 1 to 200"),
        ("/api/search?limit=201", "limit must be from 1 to 200"),
        ("/api/search?limit=many", "limit must be a whole number"),
        ("/api/search?spss=101", "spss must be from 1 to 100"),
        ("/api/search?start=5&end=5", "start must be before end"),
        ("/api/search?q=%7B", "TraceQL, at byte 1"),
        ("/api/search?q=%7B%7D%7Crate()", "supported is one filter"),
        ("/api/v2/search/tag/nosuch/values", "this name is not supported"),
        ("/api/traces/xyz", "a trace id has"),
        ("/api/v2/traces/000000000000000000000000000000001", "a trace id has"),
        ("/api/metrics/query_range?q=x", "TraceQL metrics are not supported"),
    ] {
        let (status, headers, body) = fixture.get_as(path, "application/json").await;
        let text = String::from_utf8(body).unwrap();
        assert_eq!(
            (status.as_u16(), headers[header::CONTENT_TYPE].to_str().unwrap()),
            (400, "text/plain; charset=utf-8"),
            "{path}"
        );
        assert!(text.contains(says), "{path}: {text}");
    }
    assert_eq!(fixture.json::<SearchResponse>("/api/search?limit=1&x=1&x=2&minDuration=&tags=").await.traces.len(), 1);
}

/// Guarantees: a trace comes as protobuf and as JSON, in both versions of the API, by every form of its id; an unknown one is 404.
#[tokio::test]
async fn traces_are_found_by_id() {
    let short = Row { id: otlp::id_bytes("000000a4-0000-4000-8000-000000000004"), ..Row::numbered(4) };
    let attempt = short.attempt(1, AttemptStatus::Succeeded);
    let fixture = Fixture::new(vec![attempt.clone(), short.span()]).await;
    let expected = vec![short.span(), attempt];
    let check = |trace: TracesData| {
        let [group] = &trace.resource_spans[..] else { panic!("one resource") };
        assert_eq!(group.resource, otlp::request(Vec::new()).resource_spans[0].resource);
        assert_eq!(group.scope_spans.iter().flat_map(|scope| scope.spans.clone()).collect::<Vec<_>>(), expected);
    };
    for id in ["000000a4000040008000000000000004", "a4000040008000000000000004", "000000A4-0000-4000-8000-000000000004"] {
        let (status, headers, body) = fixture.get_as(&format!("/api/traces/{id}?start=1&x=y"), "application/protobuf").await;
        assert_eq!((status.as_u16(), headers[header::CONTENT_TYPE].to_str().unwrap()), (200, "application/protobuf"));
        check(TracesData::decode(&body[..]).unwrap());

        // In the second version the trace is field 1 of the answer: a tag, a length, and what the first version says.
        let (status, _, wrapped) = fixture.get_as(&format!("/api/v2/traces/{id}"), "application/protobuf").await;
        assert_eq!((status.as_u16(), wrapped[0]), (200, 0x0a));
        let mut rest = &wrapped[1..];
        assert_eq!(prost::decode_length_delimiter(&mut rest).unwrap(), rest.len());
        assert_eq!(rest, body);

        let first: serde_json::Value = fixture.json(&format!("/api/traces/{id}")).await;
        let second: serde_json::Value = fixture.json(&format!("/api/v2/traces/{id}")).await;
        assert_eq!(first["batches"], second["trace"]["resourceSpans"]);
        let span = &first["batches"][0]["scopeSpans"][0]["spans"][0];
        // `printf 000000a4000040008000000000000004 | xxd -r -p | base64`
        assert_eq!(span["traceId"], "AAAApAAAQACAAAAAAAAABA==");
        assert_eq!((&span["kind"], span["startTimeUnixNano"].is_string()), (&serde_json::json!("SPAN_KIND_SERVER"), true));
        assert!(span.get("parentSpanId").is_none());
        assert_eq!(first["batches"][0]["resource"]["attributes"].as_array().unwrap().len(), 3);
    }
    for path in ["/api/traces/1234", "/api/v2/traces/1234"] {
        assert_eq!(fixture.text(path).await.0, 404, "{path}");
    }
}

/// Guarantees: tags are listed by scope, with the intrinsics; values have types, honour `q`, and an incomplete `q` narrows nothing.
#[tokio::test]
async fn tags_and_values_are_listed() {
    let rows = rows();
    let fixture = Fixture::new(spans(&rows)).await;
    let tags: Tags = fixture.json("/api/v2/search/tags?limit=5000").await;
    let scope = |name: &str| tags.scopes.iter().find(|scope| scope.name == name).unwrap().tags.clone();
    assert!(scope("span").iter().any(|tag| tag == attr::POOL_SLUG) && scope("intrinsic").iter().any(|tag| tag == "status"));
    assert!(scope("resource").iter().any(|tag| tag == attr::SERVICE_NAME));
    let only: Tags = fixture.json("/api/v2/search/tags?scope=resource").await;
    assert_eq!(only.scopes.iter().map(|scope| scope.name.as_str()).collect::<Vec<_>>(), ["resource"]);
    let flat: serde_json::Value = fixture.json("/api/search/tags").await;
    assert!(flat["tagNames"].as_array().unwrap().iter().any(|tag| tag == attr::POOL_SLUG));

    let kind = "span.codex_pooler.record.kind = \"request\"";
    for (tag, query, expected) in [
        ("span.codex_pooler.pool.slug", String::new(), vec!["string core-agents", "string eu-lab"]),
        (
            "span.codex_pooler.pool.slug",
            format!("{{ {kind} && span.codex_pooler.request.status = \"succeeded\" && true }}"),
            vec!["string core-agents", "string eu-lab"],
        ),
        (
            "span.codex_pooler.upstream.account.label",
            format!("{{ {kind} && span.codex_pooler.pool.slug = \"core-agents\" }}"),
            vec!["string Aurora seat 1", "string Aurora seat 2"],
        ),
        (
            "span.codex_pooler.pool.slug",
            "{ status = error && span.codex_pooler.pool.slug = \"eu-lab\" }".to_owned(),
            vec!["string eu-lab"],
        ),
        (
            "span.codex_pooler.pool.slug",
            "{ span.codex_pooler.pool.slug = ".to_owned(),
            vec!["string core-agents", "string eu-lab"],
        ),
        (
            "span.codex_pooler.request.model",
            format!("{{ {kind} && span.codex_pooler.request.admitted_ms > {} }}", rows[3].admitted_ms),
            vec!["string m5", "string m6"],
        ),
        ("resource.service.name", String::new(), vec!["string codex-pooler"]),
        (".service.name", String::new(), vec!["string codex-pooler"]),
        ("span.http.response.status_code", "{ kind = server }".to_owned(), vec!["int 200", "int 502"]),
        ("status", String::new(), vec!["keyword error", "keyword unset"]),
        ("span:kind", String::new(), vec!["keyword client", "keyword internal", "keyword server"]),
        ("span.codex_pooler.cost.settled_usd", String::new(), vec!["float 0.0331125"]),
    ] {
        let values: TagValues =
            fixture.json(&format!("/api/v2/search/tag/{tag}/values?limit=5000&tag={tag}&q={}", encoded(&query))).await;
        let values: Vec<String> = values.tag_values.iter().map(|tag| format!("{} {}", tag.kind, tag.value)).collect();
        assert_eq!(values, expected, "{tag} {query}");
    }
    let one: TagValues = fixture.json("/api/v2/search/tag/span.codex_pooler.pool.slug/values?limit=1").await;
    assert_eq!(one.tag_values.len(), 1);
    let old: TagValues = fixture.json("/api/v2/search/tag/span.codex_pooler.pool.slug/values?start=1&end=2").await;
    assert_eq!(old.tag_values.len(), 0);
    let flat: serde_json::Value = fixture.json("/api/search/tag/service.name/values").await;
    assert_eq!(flat["tagValues"], serde_json::json!(["codex-pooler"]));
}

/// Guarantees: what clients ask first is answered as they expect it.
#[tokio::test]
async fn health_and_version() {
    let fixture = Fixture::new(Vec::new()).await;
    assert_eq!(fixture.text("/api/echo").await, (200, "echo".to_owned()));
    assert_eq!(fixture.text("/ready").await, (200, "ready\n".to_owned()));
    let info: std::collections::BTreeMap<String, String> = fixture.json("/api/status/buildinfo").await;
    let version: Vec<u32> = info["version"].split('.').map(|part| part.parse().unwrap()).collect();
    assert!(version >= vec![2, 8, 0] && version.len() == 3);
    let post = Request::post("/api/search").body(Body::empty()).unwrap();
    assert_eq!(fixture.router.clone().oneshot(post).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}
