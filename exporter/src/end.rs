//! How requests and attempts end, and what the last message of a stream means for both.

use std::time::SystemTime;

use contract::outcome::CLIENT_DISCONNECTED;
use contract::{AttemptStatus, FinishReason, IncompleteReason, RequestStatus, ResponseStatus, ServiceTier};

use crate::lifecycle::Tokens;

/// Code of a stream that ended without a terminal message.
const TRUNCATED: &str = "upstream_stream_error";
/// Code that stands for [`MASKED_CODES`].
const MASK: &str = "stream_incomplete";

/// Reasons for which an incomplete response is a failure with the reason as its code, and not a success that was cut short.
pub const INCOMPLETE_ERRORS: &[&str] = &[
    "context_length_exceeded",
    "insufficient_quota",
    "invalid_api_key",
    "invalid_authentication",
    "invalid_previous_response_id",
    "invalid_request",
    "invalid_request_error",
    "overloaded_error",
    "previous_response_not_found",
    "rate_limit_exceeded",
    "server_error",
    "server_is_overloaded",
    "stream_incomplete",
    "unauthorized",
    "upstream_request_timeout",
    "usage_limit_exceeded",
    "usage_limit_reached",
    "websocket_connection_limit_reached",
    "workspace_member_credits_depleted",
    "workspace_member_usage_limit_reached",
    "workspace_owner_credits_depleted",
    "workspace_owner_usage_limit_reached",
];

/// Codes by which an upstream says that the response which a request goes on from is gone: a stale continuation anchor. The request log
/// keeps `stream_incomplete` in their place.
pub const MASKED_CODES: &[&str] = &["invalid_previous_response_id", "previous_response_not_found"];

/// The last thing that an upstream said, or did not say. [`End::of`] and [`AttemptEnd::of`] know what it means.
///
/// ```
/// use codex_pooler_exporter::{AttemptEnd, End, EndStatus, Terminal};
/// use codex_pooler_exporter::contract::AttemptStatus;
///
/// // Cut short by the token limit, and delivered: a success with a reason.
/// let terminal = Terminal::Incomplete { reason: Some("max_output_tokens"), error: None };
/// assert_eq!(End::of(terminal).status, EndStatus::Succeeded);
/// // Cut short by an error: a failure with its code.
/// let terminal = Terminal::Incomplete { reason: Some("rate_limit_exceeded"), error: None };
/// assert_eq!(End::of(terminal).error_code.as_deref(), Some("rate_limit_exceeded"));
/// assert_eq!(AttemptEnd::of(terminal).status, AttemptStatus::Failed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal<'a> {
    /// `response.completed`, `response.done`, or a whole answer that was no stream.
    Completed,
    /// `response.incomplete`.
    Incomplete {
        /// Its reason.
        reason: Option<&'a str>,
        /// Code of its error object, where it has one; empty if that has no code.
        error: Option<&'a str>,
    },
    /// `response.failed` or `error`, with the code where there is one.
    Failed(Option<&'a str>),
    /// The stream ended without any of these.
    Truncated,
    /// The client went away first.
    ClientDisconnected,
}

impl Terminal<'_> {
    /// The error code; none on a success.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        let code = match *self {
            Self::Incomplete { error: Some(""), .. } => "response.incomplete",
            Self::Incomplete { error: Some(code), .. } => code,
            Self::Incomplete { reason: Some(reason), error: None } if INCOMPLETE_ERRORS.contains(&reason) => reason,
            Self::Completed | Self::Incomplete { .. } => return None,
            Self::Failed(None | Some("")) => "response.failed",
            Self::Failed(Some(code)) => code,
            Self::Truncated => TRUNCATED,
            Self::ClientDisconnected => CLIENT_DISCONNECTED,
        };
        Some(if MASKED_CODES.contains(&code) { MASK } else { code })
    }

    const fn response_status(&self) -> Option<ResponseStatus> {
        match self {
            Self::Completed => Some(ResponseStatus::Completed),
            Self::Incomplete { .. } => Some(ResponseStatus::Incomplete),
            Self::Failed(_) => Some(ResponseStatus::Failed),
            Self::Truncated | Self::ClientDisconnected => None,
        }
    }

    /// Why a delivered response is incomplete.
    fn incomplete_reason(&self) -> Option<IncompleteReason> {
        match *self {
            Self::Incomplete { reason: Some(reason), .. } if self.error_code().is_none() => {
                Some(IncompleteReason::parse(reason).unwrap_or(IncompleteReason::Other))
            }
            _ => None,
        }
    }
}

/// How a request can end that was not rejected. A rejection is one of its own, [`Rejection`], because it is told before there is an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndStatus {
    /// The client got its answer, whole or cut short on purpose.
    Succeeded,
    /// It did not.
    Failed,
    /// It was called off.
    Cancelled,
}

impl From<EndStatus> for RequestStatus {
    fn from(status: EndStatus) -> Self {
        match status {
            EndStatus::Succeeded => Self::Succeeded,
            EndStatus::Failed => Self::Failed,
            EndStatus::Cancelled => Self::Cancelled,
        }
    }
}

/// How a request ended, in plain data: with any status of the request log. [`RequestStatus::InProgress`] contradicts it, and is sent as
/// [`RequestStatus::Other`].
pub type Ended = End<RequestStatus>;

/// How a request ended.
#[derive(Clone, Debug)]
pub struct End<S = EndStatus> {
    /// Status.
    pub status: S,
    /// When. [`crate::Request::finish`] sets it.
    pub at: SystemTime,
    /// HTTP status given to the client. It stays 200 on a stream that broke after its header.
    pub http_status: Option<u16>,
    /// Error code; absent on success, also after failed attempts.
    pub error_code: Option<String>,
    /// Denials and reasons for which candidates were excluded, in the order in which the request log shows them.
    pub denials: Vec<Denial>,
    /// Terminal status of the response that was delivered.
    pub response_status: Option<ResponseStatus>,
    /// Why a delivered response is incomplete.
    pub incomplete_reason: Option<IncompleteReason>,
    /// Index of the candidate that ended the request; skipped candidates count.
    pub retry_count: u32,
    /// Service tier that the upstream named, or else the priced one. Absent: as at admission.
    pub service_tier: Option<ServiceTier>,
}

impl<S> End<S> {
    /// An end, now, of which nothing is known but its status.
    #[must_use]
    pub fn new(status: S) -> Self {
        Self {
            status,
            at: SystemTime::now(),
            http_status: None,
            error_code: None,
            denials: Vec::new(),
            response_status: None,
            incomplete_reason: None,
            retry_count: 0,
            service_tier: None,
        }
    }

    fn with_status<T>(self, status: T) -> End<T> {
        let Self {
            status: _,
            at,
            http_status,
            error_code,
            denials,
            response_status,
            incomplete_reason,
            retry_count,
            service_tier,
        } = self;
        End { status, at, http_status, error_code, denials, response_status, incomplete_reason, retry_count, service_tier }
    }
}

impl End {
    /// What the end of the stream means for the request.
    #[must_use]
    pub fn of(terminal: Terminal<'_>) -> Self {
        let error_code = terminal.error_code().map(str::to_owned);
        let status = if error_code.is_some() { EndStatus::Failed } else { EndStatus::Succeeded };
        let (response_status, incomplete_reason) = (terminal.response_status(), terminal.incomplete_reason());
        Self { error_code, response_status, incomplete_reason, ..Self::new(status) }
    }

    /// A success.
    #[must_use]
    pub fn completed() -> Self {
        Self::of(Terminal::Completed)
    }

    /// A delivered `response.incomplete` without an error object: a success with a reason, unless the reason is one of
    /// [`INCOMPLETE_ERRORS`].
    #[must_use]
    pub fn incomplete(reason: &str) -> Self {
        Self::of(Terminal::Incomplete { reason: Some(reason), error: None })
    }

    /// A failure that the pooler itself found, by its code.
    #[must_use]
    pub fn failed(error_code: impl Into<String>) -> Self {
        Self { error_code: Some(error_code.into()), ..Self::new(EndStatus::Failed) }
    }

    /// A stream that ended without a terminal message.
    #[must_use]
    pub fn truncated() -> Self {
        Self::of(Terminal::Truncated)
    }

    /// The client went away before the end.
    #[must_use]
    pub fn client_disconnected() -> Self {
        Self::of(Terminal::ClientDisconnected)
    }
}

/// Why a request was refused before any upstream work.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Error code; absent where only the status is known.
    pub error_code: Option<String>,
    /// HTTP status given to the client.
    pub http_status: u16,
    /// Denials and reasons for which candidates were excluded, in the order in which the request log shows them.
    pub denials: Vec<Denial>,
}

impl Rejection {
    /// A rejection without further reasons.
    #[must_use]
    pub fn new(error_code: impl Into<String>, http_status: u16) -> Self {
        Self { error_code: Some(error_code.into()), http_status, denials: Vec::new() }
    }
}

impl From<End> for Ended {
    fn from(end: End) -> Self {
        let status = end.status.into();
        end.with_status(status)
    }
}

impl Ended {
    /// As the handles take it; none where they cannot say it, of a request that was rejected, or has not ended.
    #[must_use]
    pub fn for_handles(self) -> Option<End> {
        let status = match self.status {
            RequestStatus::Succeeded => EndStatus::Succeeded,
            RequestStatus::Failed => EndStatus::Failed,
            RequestStatus::Cancelled => EndStatus::Cancelled,
            _ => return None,
        };
        Some(self.with_status(status))
    }
}

impl From<Rejection> for Ended {
    fn from(rejection: Rejection) -> Self {
        let Rejection { error_code, http_status, denials } = rejection;
        Self { http_status: Some(http_status), error_code, denials, ..Self::new(RequestStatus::Rejected) }
    }
}

/// A denial, or a reason for which a candidate account was excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denial {
    /// Its code.
    pub code: String,
    /// Whether it says that a quota is exhausted, whatever its code.
    pub exhausted: bool,
    /// When the quota resets.
    pub resets_at: Option<SystemTime>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct AttemptEnd {
    /// Status.
    pub status: AttemptStatus,
    /// When. [`crate::AttemptHandle::finish`] sets it.
    pub at: SystemTime,
    /// HTTP status of the upstream.
    pub http_status: Option<u16>,
    /// Whether another account may be tried.
    pub retryable: bool,
    /// Error code.
    pub error_code: Option<String>,
    /// Time that the attempt took, in milliseconds. The last attempt's is the latency that the request log shows; where it is not
    /// known, as after a recovery, the log shows none.
    pub latency_ms: Option<u64>,
    /// Tokens that the provider reported.
    pub usage: Option<Tokens>,
    /// Time from the start to the first visible output, in milliseconds.
    pub first_output_ms: Option<u64>,
    /// Model that answered.
    pub response_model: Option<String>,
    /// Terminal status of the response.
    pub response_status: Option<ResponseStatus>,
    /// Why the model stopped; at most four are sent.
    pub finish_reasons: Vec<FinishReason>,
    /// Service tier that was used.
    pub service_tier: Option<ServiceTier>,
}

impl AttemptEnd {
    /// An end, now, of which nothing is known but its status.
    #[must_use]
    pub fn new(status: AttemptStatus) -> Self {
        Self {
            status,
            at: SystemTime::now(),
            http_status: None,
            retryable: status == AttemptStatus::RetryableFailed,
            error_code: None,
            latency_ms: None,
            usage: None,
            first_output_ms: None,
            response_model: None,
            response_status: None,
            finish_reasons: Vec::new(),
            service_tier: None,
        }
    }

    /// What the end of the stream means for the attempt.
    #[must_use]
    pub fn of(terminal: Terminal<'_>) -> Self {
        let error_code = terminal.error_code().map(str::to_owned);
        let status = match (terminal, &error_code) {
            (_, None) => AttemptStatus::Succeeded,
            // Given up by its caller, which is nobody's failure.
            (Terminal::ClientDisconnected, _) => AttemptStatus::Cancelled,
            _ => AttemptStatus::Failed,
        };
        let finish_reasons = match terminal.incomplete_reason() {
            Some(IncompleteReason::MaxOutputTokens) => vec![FinishReason::Length],
            Some(IncompleteReason::ContentFilter) => vec![FinishReason::ContentFilter],
            _ => Vec::new(),
        };
        Self { error_code, finish_reasons, response_status: terminal.response_status(), ..Self::new(status) }
    }

    /// A failure after which another account is tried.
    #[must_use]
    pub fn retryable(error_code: impl Into<String>) -> Self {
        Self { error_code: Some(error_code.into()), ..Self::new(AttemptStatus::RetryableFailed) }
    }

    /// A failure for good.
    #[must_use]
    pub fn failed(error_code: impl Into<String>) -> Self {
        Self { error_code: Some(error_code.into()), ..Self::new(AttemptStatus::Failed) }
    }
}
