//! What goes wrong, as an answer: plain text that says whose fault it is.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use store::ReadError;

use crate::traceql::SyntaxError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The query is not TraceQL, or more of it than is supported.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A parameter is wrong.
    #[error("{0}")]
    Parameter(String),
    /// The address names no trace.
    #[error("a trace id has 1 to 32 hexadecimal digits, or is the row id with its dashes")]
    TraceId,
    /// There is no such trace.
    #[error("there is no trace with this id, or it is older than what is kept")]
    NoTrace,
    /// Too many queries at once.
    #[error("too many queries at once: try again later")]
    Busy,
    /// The store could not be read in time, or at all.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// A defect of this program.
    #[error("the query failed: this is a defect of the server")]
    Defect,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Syntax(_) | Self::Parameter(_) | Self::TraceId => StatusCode::BAD_REQUEST,
            Self::NoTrace => StatusCode::NOT_FOUND,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(ReadError::Deadline) => StatusCode::GATEWAY_TIMEOUT,
            Self::Store(_) | Self::Defect => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], self.to_string()).into_response()
    }
}
