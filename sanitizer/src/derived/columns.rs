//! Which texts follow from which attributes.

use contract::attr;

/// A text that follows from others.
#[derive(Debug)]
pub(crate) struct Derived {
    pub(super) key: &'static str,
    pub(super) column: Column,
    /// The attributes that it follows from.
    pub(super) inputs: &'static [Source],
    /// Whether a correction can be held to it.
    pub(super) in_corrections: bool,
    /// Whether it is made of closed sets and numbers alone, so that whatever is composed of values that pass, passes its own rule. A test holds that.
    pub(crate) is_closed: bool,
}

/// Which of them it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Search,
    Id,
    Account,
    Model,
    Transport,
    Route,
    Usage,
    Errors,
}

const DERIVED: &[Derived] = &[
    Derived {
        key: attr::REQUEST_SEARCH,
        column: Column::Search,
        inputs: &[Source::RequestId, Source::RequestCorrelationId],
        in_corrections: true,
        is_closed: false,
    },
    Derived { key: attr::TEXT_ID, column: Column::Id, inputs: &[Source::RequestId], in_corrections: true, is_closed: true },
    Derived {
        key: attr::TEXT_ACCOUNT,
        column: Column::Account,
        inputs: &[Source::UpstreamAccountLabel, Source::PoolName],
        in_corrections: false,
        is_closed: false,
    },
    Derived {
        key: attr::TEXT_MODEL,
        column: Column::Model,
        inputs: &[
            Source::RequestModel,
            Source::ReasoningEffortEffective,
            Source::ReasoningEffortRequested,
            Source::ServiceTierActual,
            Source::ServiceTierRequested,
            Source::ApiKeyLabel,
        ],
        in_corrections: false,
        is_closed: false,
    },
    Derived {
        key: attr::TEXT_TRANSPORT,
        column: Column::Transport,
        inputs: &[Source::RequestTransport, Source::UserAgentName, Source::UserAgentVersion],
        in_corrections: false,
        is_closed: false,
    },
    Derived {
        key: attr::TEXT_ROUTE,
        column: Column::Route,
        inputs: &[Source::HttpRoute, Source::RequestLatencyMs],
        in_corrections: false,
        is_closed: true,
    },
    Derived {
        key: attr::TEXT_USAGE,
        column: Column::Usage,
        inputs: &[Source::UsageStatus, Source::UsageTotalTokens, Source::UsageCacheReadInputTokens, Source::CostSettledUsd],
        in_corrections: false,
        is_closed: true,
    },
    Derived {
        key: attr::TEXT_ERRORS,
        column: Column::Errors,
        inputs: &[Source::ErrorCode],
        in_corrections: true,
        is_closed: false,
    },
];

/// The attributes that texts follow from.
macro_rules! sources {
    ($($name:ident = $key:ident,)+) => {
        /// An attribute that texts follow from.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each has the name of its key")]
        pub enum Source { $($name,)+ }

        impl Source {
            /// Every one.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// Its key.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => attr::$key,)+ }
            }
        }
    };
}

sources! {
    RequestId = REQUEST_ID,
    RequestCorrelationId = REQUEST_CORRELATION_ID,
    UpstreamAccountLabel = UPSTREAM_ACCOUNT_LABEL,
    PoolName = POOL_NAME,
    RequestModel = REQUEST_MODEL,
    ReasoningEffortEffective = REASONING_EFFORT_EFFECTIVE,
    ReasoningEffortRequested = REASONING_EFFORT_REQUESTED,
    ServiceTierActual = SERVICE_TIER_ACTUAL,
    ServiceTierRequested = SERVICE_TIER_REQUESTED,
    ApiKeyLabel = API_KEY_LABEL,
    RequestTransport = REQUEST_TRANSPORT,
    UserAgentName = USER_AGENT_NAME,
    UserAgentVersion = USER_AGENT_VERSION,
    HttpRoute = HTTP_ROUTE,
    RequestLatencyMs = REQUEST_LATENCY_MS,
    UsageStatus = USAGE_STATUS,
    UsageTotalTokens = USAGE_TOTAL_TOKENS,
    UsageCacheReadInputTokens = USAGE_CACHE_READ_INPUT_TOKENS,
    CostSettledUsd = COST_SETTLED_USD,
    ErrorCode = ERROR_CODE,
}

/// How a key's text follows from other attributes, if it does.
pub(crate) fn of(key: &str) -> Option<&'static Derived> {
    DERIVED.iter().find(|derived| derived.key == key)
}
