//! What a status and an error code mean for the failure ratio, and which codes are the work of a recovery.

use crate::{Outcome, RequestStatus};

/// The code of a request whose client went away.
pub const CLIENT_DISCONNECTED: &str = "client_disconnected";

/// Codes that say nothing about the health of the service or of the account: the caller's request, or the provider's policy.
pub const HEALTH_NEUTRAL_CODES: &[&str] = &[
    "context_length_exceeded",
    "cyber_policy",
    "invalid_previous_response_id",
    "invalid_request",
    "invalid_request_error",
    "misalignment_policy_violation",
    "missing_required_parameter",
    "overloaded_error",
    "previous_response_not_found",
    "server_error",
    "server_is_overloaded",
    "unsupported_input_image_format",
    "unsupported_parameter",
    "unsupported_value",
    "usage_limit_exceeded",
    "usage_limit_reached",
    "workspace_member_credits_depleted",
    "workspace_member_usage_limit_reached",
    "workspace_owner_credits_depleted",
    "workspace_owner_usage_limit_reached",
];

/// Codes that the pooler's recovery writes when it closes a request or attempt long after the fact, so that its duration means nothing.
pub const RECOVERY_CODES: &[&str] =
    &["stale_reservation_recovered", "stale_websocket_turn_claim_recovered", "terminal_request_attempt_recovered"];

/// What a request means for the failure ratio, bad / (good + bad).
///
/// ```
/// use contract::{outcome::outcome, Outcome, RequestStatus};
/// assert_eq!(outcome(RequestStatus::Failed, Some("upstream_network_error")), Outcome::Bad);
/// assert_eq!(outcome(RequestStatus::Failed, Some("client_disconnected")), Outcome::Neutral);
/// ```
#[must_use]
pub fn outcome(status: RequestStatus, error_code: Option<&str>) -> Outcome {
    match status {
        RequestStatus::Succeeded => Outcome::Good,
        RequestStatus::Failed => match error_code {
            Some(code) if code == CLIENT_DISCONNECTED || HEALTH_NEUTRAL_CODES.contains(&code) => Outcome::Neutral,
            _ => Outcome::Bad,
        },
        RequestStatus::Rejected | RequestStatus::Cancelled | RequestStatus::InProgress | RequestStatus::Other => Outcome::Neutral,
    }
}

/// Whether a recovery wrote this code, so that the record's duration means nothing.
#[must_use]
pub fn is_recovery(error_code: &str) -> bool {
    RECOVERY_CODES.contains(&error_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: only failures that the service answers for are bad, and recoveries are told by their codes.
    #[test]
    fn outcomes() {
        for (status, code, expected) in [
            (RequestStatus::Succeeded, None, Outcome::Good),
            (RequestStatus::Failed, None, Outcome::Bad),
            (RequestStatus::Failed, Some("upstream_stream_error"), Outcome::Bad),
            (RequestStatus::Failed, Some("stale_reservation_recovered"), Outcome::Bad),
            (RequestStatus::Failed, Some("upstream_rate_limited"), Outcome::Bad),
            (RequestStatus::Failed, Some("client_disconnected"), Outcome::Neutral),
            (RequestStatus::Failed, Some("context_length_exceeded"), Outcome::Neutral),
            (RequestStatus::Failed, Some("workspace_owner_credits_depleted"), Outcome::Neutral),
            (RequestStatus::Rejected, Some("quota_exhausted"), Outcome::Neutral),
            (RequestStatus::Cancelled, None, Outcome::Neutral),
            (RequestStatus::InProgress, None, Outcome::Neutral),
        ] {
            assert_eq!(outcome(status, code), expected, "{status} {code:?}");
        }
        assert!(is_recovery("terminal_request_attempt_recovered") && !is_recovery("client_disconnected"));
    }
}
