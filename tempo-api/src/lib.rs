//! Tempo's read API over the embedded store, as Grafana's Tempo data source uses it: search, tags, traces by id.
//!
//! Everything is read-only. Answers have exactly the fields of Tempo's messages, because Grafana decodes them strictly. Searches are
//! newest first, always, by the start of the trace, and `limit` counts traces. The part of TraceQL that is understood is described by the
//! error that every other part gets: one filter, `select`, and hints.
//!
//! **Bounds.** A query has [`DEADLINE`]; so many of them run at once as there are permits ([`MAX_CONCURRENT_QUERIES`]), others wait for
//! one that long at most. Queries are at most 32 KiB, answers at most [`MAX_TRACES`] traces of [`MAX_SPANS_PER_SPAN_SET`] spans.

mod error;
mod parameters;
mod response;
mod search;
mod tags;
mod trace;
mod traceql;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prost::Message as _;
use serde::Serialize;
use serde_json::{Value as Json, json};
use store::Reader;
use tokio::sync::Semaphore;

use error::ApiError;
use parameters::Parameters;
use search::Limits;
use traceql::{Expr, Field, Scope};

/// Time that a query may take, waiting included.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Queries that run at once.
pub const MAX_CONCURRENT_QUERIES: usize = 4;
/// Traces in an answer at most.
pub const MAX_TRACES: usize = contract::limits::MAX_ROWS as usize;
/// Spans of each trace in an answer at most.
pub const MAX_SPANS_PER_SPAN_SET: usize = 100;
/// What Tempo takes when nothing is said.
const DEFAULT_TRACES: usize = 20;
const DEFAULT_SPANS_PER_SPAN_SET: usize = 3;
/// Values of a tag in an answer at most.
const MAX_VALUES: usize = 5_000;
/// The version of Tempo whose API this is. Clients tell by it what they may ask for.
const TEMPO_VERSION: &str = "2.10.0";

#[derive(Clone)]
struct Api {
    reader: Reader,
    permits: Arc<Semaphore>,
}

/// The API over this store.
pub fn router(reader: Reader) -> Router {
    Router::new()
        .route("/ready", get(async || "ready\n"))
        .route("/api/echo", get(async || "echo"))
        .route("/api/status/buildinfo", get(build_info))
        .route("/api/search", get(search))
        .route("/api/search/tags", get(async || to_json(&tags::flat())))
        .route("/api/search/tag/{tag}/values", get(flat_tag_values))
        .route("/api/v2/search/tags", get(tags_by_scope))
        .route("/api/v2/search/tag/{tag}/values", get(tag_values))
        .route("/api/traces/{id}", get(trace_v1))
        .route("/api/v2/traces/{id}", get(trace_v2))
        .route("/api/metrics/query", get(metrics))
        .route("/api/metrics/query_range", get(metrics))
        .with_state(Api { reader, permits: Arc::new(Semaphore::new(MAX_CONCURRENT_QUERIES)) })
}

impl Api {
    /// Runs a query on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader, Instant) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let deadline = Instant::now() + DEADLINE;
        let permit = tokio::time::timeout_at(deadline.into(), Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_| ApiError::Busy)?
            .map_err(|_| ApiError::Busy)?;
        let reader = self.reader.clone();
        // The permit goes along, so that a client who leaves does not let another query in while this one still runs.
        let work = move || {
            let result = query(&reader, deadline);
            drop(permit);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Defect)?
    }
}

fn to_json(answer: &impl Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => ApiError::Defect.into_response(),
    }
}

async fn build_info() -> Response {
    let none = "";
    to_json(&json!({
        "version": TEMPO_VERSION, "revision": none, "branch": none, "buildUser": none, "buildDate": none, "goVersion": none,
    }))
}

async fn metrics() -> ApiError {
    ApiError::Parameter("TraceQL metrics are not supported: use the metrics that the collector exposes for Prometheus".to_owned())
}

async fn search(State(api): State<Api>, Query(parameters): Query<Vec<(String, String)>>) -> Result<Response, ApiError> {
    let parameters = Parameters(parameters);
    let text = parameters.text("q").unwrap_or_default().to_owned();
    let traces = parameters.limit("limit", DEFAULT_TRACES, MAX_TRACES)?;
    let spans_per_set = parameters.limit("spss", DEFAULT_SPANS_PER_SPAN_SET, MAX_SPANS_PER_SPAN_SET)?;
    let window_ns = parameters.window_ns()?;
    let found = api
        .read(move |reader, deadline| {
            // Compiling its regular expressions is work, too.
            let query = traceql::query(&text)?;
            search::search(reader, &query, Limits { traces, spans_per_set, window_ns, deadline })
        })
        .await?;
    Ok(to_json(&found))
}

async fn tags_by_scope(Query(parameters): Query<Vec<(String, String)>>) -> Response {
    to_json(&tags::by_scope(Parameters(parameters).text("scope")))
}

async fn tag_values(
    State(api): State<Api>,
    Path(tag): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let values: Json = values(&api, traceql::field(&tag)?, &Parameters(parameters))
        .await?
        .into_iter()
        .map(|(kind, value)| json!({"type": kind, "value": value}))
        .collect();
    Ok(to_json(&json!({"tagValues": values, "metrics": {}})))
}

/// The older form: the tag has no scope, the values have no type.
async fn flat_tag_values(
    State(api): State<Api>,
    Path(tag): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let field = traceql::field(&tag).unwrap_or(Field::Attribute(Scope::Any, tag));
    let values: Json = values(&api, field, &Parameters(parameters)).await?.into_iter().map(|(_, value)| value).collect();
    Ok(to_json(&json!({"tagValues": values, "metrics": {}})))
}

async fn values(api: &Api, field: Field, parameters: &Parameters) -> Result<Vec<(&'static str, String)>, ApiError> {
    let text = parameters.text("q").unwrap_or_default().to_owned();
    // 0 stands for no limit.
    let wanted = parameters.number("limit")?.filter(|n| *n > 0).and_then(|n| usize::try_from(n).ok()).unwrap_or(MAX_VALUES);
    let window_ns = parameters.window_ns()?;
    let traces = wanted.min(MAX_VALUES);
    api.read(move |reader, deadline| {
        // While someone types a query, what is there of it comes along. As with Tempo, one that is not complete narrows nothing.
        let filter = traceql::query(&text).map_or(Expr::Constant(true), |query| query.filter);
        search::values(reader, &field, &filter, Limits { traces, spans_per_set: 0, window_ns, deadline })
    })
    .await
}

async fn trace_v1(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let answer = trace(&api, &id).await?;
    Ok(match answer.trace.as_ref().filter(|_| wants_protobuf(&headers)) {
        Some(trace) => protobuf(trace.encode_to_vec()),
        None => to_json(&json!({"batches": answer.resource_spans_json()})),
    })
}

async fn trace_v2(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let answer = trace(&api, &id).await?;
    Ok(if wants_protobuf(&headers) { protobuf(answer.encode_to_vec()) } else { to_json(&answer.json()) })
}

async fn trace(api: &Api, id: &str) -> Result<trace::TraceByIdResponse, ApiError> {
    let id = trace_id(id).ok_or(ApiError::TraceId)?;
    let found = api.read(move |reader, deadline| Ok(reader.trace(id, deadline)?)).await?;
    found.map(trace::by_id).ok_or(ApiError::NoTrace)
}

/// A trace id of up to 32 digits, as the clients that cut leading zeros write it; or a row id with its dashes.
fn trace_id(text: &str) -> Option<[u8; 16]> {
    let digits = text.replace('-', "");
    let valid = (1..=32).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    valid.then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(u128::to_be_bytes)
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/protobuf"))
}

fn protobuf(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/protobuf")], body).into_response()
}
