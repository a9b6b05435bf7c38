//! Error codes by what they mean for whoever is on call.

/// By which an upstream says that an account's quota is used up.
pub const USED_UP: &[&str] = &[
    "insufficient_quota",
    "usage_limit_exceeded",
    "usage_limit_reached",
    "workspace_member_credits_depleted",
    "workspace_member_usage_limit_reached",
    "workspace_owner_credits_depleted",
    "workspace_owner_usage_limit_reached",
];
/// By which an upstream says that there are too many requests of an account.
pub const TOO_FAST: &[&str] = &["rate_limit_exceeded", "upstream_rate_limited"];
/// By which the pooler says at admission that no account has quota.
pub const NOT_ADMITTED: &[&str] = &["quota_exhausted", "quota_evidence_unavailable"];
/// By which an upstream says that it does not accept an account's credentials.
pub const AUTHORIZATION: &[&str] = &["invalid_api_key", "invalid_authentication", "unauthorized", "upstream_unauthorized"];
/// Of a request for which no upstream account could be chosen.
pub const ROUTING: &[&str] = &["no_compatible_backend", "no_eligible_backend", "session_assignment_unavailable"];
/// By which the provider says that it cannot serve now. They count in no failure ratio.
pub const PROVIDER: &[&str] = &["overloaded_error", "server_error", "server_is_overloaded"];
/// Of a stream that the upstream side broke off before its end.
pub const STREAM: &[&str] =
    &["stream_idle_timeout", "stream_incomplete", "stream_interrupted", "upstream_stream_error", "websocket_stream_error"];
/// Of a stream whose client went away.
pub const CLIENT: &[&str] = &[contract::outcome::CLIENT_DISCONNECTED, "downstream_stream_error"];

/// Of a request that an exhausted quota ended, at admission or upstream.
pub fn quota() -> Vec<&'static str> {
    [NOT_ADMITTED, USED_UP].concat()
}
