//! Metrics and health: `/metrics`, `/livez`, `/readyz`. Nothing else; in particular nothing that shows configuration or environment.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing::get};
use http::{StatusCode, header};

use super::pipeline::Pipeline;

/// The routes.
pub fn router(pipeline: Arc<Pipeline>) -> Router {
    Router::new()
        .route("/metrics", get(self::metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(pipeline)
}

async fn metrics(State(pipeline): State<Arc<Pipeline>>) -> Response {
    pipeline.metrics().ready(pipeline.is_ready());
    match pipeline.metrics_text() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Ready means that a message would be stored.
async fn readyz(State(pipeline): State<Arc<Pipeline>>) -> (StatusCode, &'static str) {
    if pipeline.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the store could not be written; the log says why\n")
    }
}
