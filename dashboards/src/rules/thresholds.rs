//! Every number of the rules, and why it is that number.

use std::fmt::{Display, Formatter, Result};

/// What of 1 may fail: the objective is 99 %.
pub const ERROR_BUDGET: f64 = 0.01;
/// Failure ratio at which somebody is paged: the lowest of the critical burn rates.
pub const FAILURE_RATIO_LIMIT: f64 = 6.0 * ERROR_BUDGET;

/// How far behind a window a series is looked for before it counts as one that did not exist: as long as a scrape may be missing, because the
/// collector or Prometheus was away.
pub const REMEMBERED: &str = "1h";

/// How urgent an alert is.
#[derive(Clone, Copy)]
pub enum Severity {
    /// Wake somebody.
    Critical,
    /// Look at it in working hours.
    Warning,
    /// For the record.
    Info,
}

impl Display for Severity {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// How fast the error budget may burn. Over the long window it is worth somebody's time; over the short one it goes on.
pub struct BurnRate {
    pub long: &'static str,
    pub short: &'static str,
    /// Multiple of the budget.
    pub factor: f64,
    pub pending: &'static str,
    pub severity: Severity,
    pub why: &'static str,
}

/// From the fastest to the slowest.
pub const BURN_RATES: [BurnRate; 4] = [
    BurnRate {
        long: "1h",
        short: "5m",
        factor: 14.4,
        pending: "2m",
        severity: Severity::Critical,
        why: "At this rate 2 % of a month's budget goes in one hour.",
    },
    BurnRate {
        long: "6h",
        short: "30m",
        factor: 6.0,
        pending: "15m",
        severity: Severity::Critical,
        why: "At this rate 5 % of a month's budget goes in six hours.",
    },
    BurnRate {
        long: "1d",
        short: "2h",
        factor: 3.0,
        pending: "1h",
        severity: Severity::Warning,
        why: "At this rate 10 % of a month's budget goes in a day.",
    },
    BurnRate {
        long: "3d",
        short: "6h",
        factor: 1.0,
        pending: "3h",
        severity: Severity::Warning,
        why: "At this rate the month's budget is gone at its end.",
    },
];

/// Requests, good or bad, in the long window of a burn rate; fewer say nothing about a ratio.
pub const BURN_AT_LEAST: u32 = 20;

/// When an alert fires.
pub struct Threshold {
    pub alert: &'static str,
    /// The value above which it fires, or, of a share of successes, under which.
    pub limit: f64,
    /// Events in the window; fewer say nothing. 0 where one is enough.
    pub at_least: u32,
    pub window: &'static str,
    pub pending: &'static str,
    pub severity: Severity,
    pub why: &'static str,
}

/// Of an account's attempts, those that failed, in a Pool where another account has a ratio under [`ACCOUNT_HEALTHY`].
pub const ACCOUNT_FAILING: Threshold = Threshold {
    alert: "CodexPoolerAccountFailing",
    limit: 0.5,
    at_least: 10,
    window: "15m",
    pending: "10m",
    severity: Severity::Warning,
    why: "Half of an account's attempts: far from the noise of single failures. The Pool's other accounts serve, so nobody has to get up.",
};
/// Failure ratio under which another account of the Pool shows that neither the Pool nor the provider is the cause.
pub const ACCOUNT_HEALTHY: f64 = 0.1;
/// Multiple of the day's rate of the same code.
pub const REJECTIONS_JUMP: Threshold = Threshold {
    alert: "CodexPoolerRejectionsJump",
    limit: 3.0,
    at_least: 20,
    window: "10m",
    pending: "5m",
    severity: Severity::Warning,
    why: "Some rejections are normal. Three times a day's average, of one code, means that a key, a policy or a client has changed.",
};
/// How many windows of [`REJECTIONS_JUMP`] a day has.
pub const REJECTIONS_WINDOWS_A_DAY: u32 = 24 * 6;
/// Share of a Pool's requests that an exhausted quota ended.
pub const QUOTA_EXHAUSTED: Threshold = Threshold {
    alert: "CodexPoolerQuotaExhausted",
    limit: 0.1,
    at_least: 5,
    window: "10m",
    pending: "5m",
    severity: Severity::Warning,
    why: "While another account takes over, no request ends so; from a tenth on, clients notice.",
};
/// Requests that should have been served.
pub const NO_SUCCESS: Threshold = Threshold {
    alert: "CodexPoolerNoSuccess",
    limit: 0.0,
    at_least: 10,
    window: "10m",
    pending: "5m",
    severity: Severity::Critical,
    why: "Ten requests in ten minutes and none served is an outage, whatever the codes say, even those that count in no failure ratio.",
};
/// Seconds.
pub const LATENCY_HIGH: Threshold = Threshold {
    alert: "CodexPoolerLatencyHigh",
    limit: 300.0,
    at_least: 10,
    window: "5m",
    pending: "15m",
    severity: Severity::Warning,
    why: "Long answers of reasoning models take minutes; five minutes for one request of twenty is more than interactive clients wait.",
};
/// Share of a Pool's requests whose stream broke off before its end.
pub const STREAMS_INTERRUPTED: Threshold = Threshold {
    alert: "CodexPoolerStreamsInterrupted",
    limit: 0.05,
    at_least: 20,
    window: "15m",
    pending: "10m",
    severity: Severity::Warning,
    why: "A client sees half an answer. One in twenty points at a proxy, a timeout or the provider, not at chance.",
};
/// Share of a Pool's requests whose client went away.
pub const CLIENTS_LEAVING: Threshold = Threshold {
    alert: "CodexPoolerClientsLeaving",
    limit: 0.25,
    at_least: 20,
    window: "15m",
    pending: "15m",
    severity: Severity::Warning,
    why: "People interrupt their agents, and that is no failure. A quarter means a client's timeout or a proxy that cuts.",
};
/// Share of the settlements that know no usage.
pub const USAGE_UNKNOWN: Threshold = Threshold {
    alert: "CodexPoolerUsageUnknown",
    limit: 0.1,
    at_least: 20,
    window: "1h",
    pending: "30m",
    severity: Severity::Warning,
    why: "Interrupted streams leave a few. From a tenth on, tokens and costs of the hour cannot be trusted.",
};
/// Seconds.
pub const REQUEST_STUCK: Threshold = Threshold {
    alert: "CodexPoolerRequestStuck",
    limit: 3600.0,
    at_least: 0,
    window: "",
    pending: "5m",
    severity: Severity::Warning,
    why: "The longest useful requests take tens of minutes; the pooler itself gives up only after hours.",
};
/// Requests without a heartbeat that were not without it a window ago.
pub const HEARTBEAT_LOST: Threshold = Threshold {
    alert: "CodexPoolerHeartbeatLost",
    limit: 0.0,
    at_least: 0,
    window: "30m",
    pending: "5m",
    severity: Severity::Warning,
    why: "A heartbeat ends with the process that sends it. Lost requests stay listed for hours, so only new ones count.",
};
/// Late rows while none is in time.
pub const LATE_ROWS_ONLY: Threshold = Threshold {
    alert: "CodexPoolerLateRowsOnly",
    limit: 0.0,
    at_least: 20,
    window: "15m",
    pending: "15m",
    severity: Severity::Info,
    why: "A backfill looks so and is no trouble. Without one, a sender's clock or queue is behind, and the dashboards' graphs stay empty.",
};
/// Fields in which a detector found a credential, an address or a card number.
pub const SECRETS_SENT: Threshold = Threshold {
    alert: "PoolerOtelSecretsSent",
    limit: 0.0,
    at_least: 0,
    window: "15m",
    pending: "0m",
    severity: Severity::Warning,
    why: "It was stripped, so nothing leaked here. But a sender has it in its telemetry, and may send it elsewhere, too. One is enough.",
};
/// Fields whose key is not in the contract.
pub const UNKNOWN_FIELDS_SENT: Threshold = Threshold {
    alert: "PoolerOtelUnknownFieldsSent",
    limit: 1000.0,
    at_least: 0,
    window: "15m",
    pending: "10m",
    severity: Severity::Warning,
    why: "Every SDK adds a few keys of its own. A thousand in a quarter of an hour is a sender that was not made for this contract.",
};
/// Seconds since a sender that was heard within the window was heard last.
pub const SENDER_SILENT: Threshold = Threshold {
    alert: "PoolerOtelSenderSilent",
    limit: 900.0,
    at_least: 0,
    window: "1d",
    pending: "5m",
    severity: Severity::Warning,
    why: "An open request alone is heard every 15 seconds. Without one a sender says nothing, so an idle one looks like a lost one: no number tells them apart.",
};
/// Share of a collector's scrapes that succeed, under which it is as good as down.
pub const DOWN: Threshold = Threshold {
    alert: "PoolerOtelDown",
    limit: 0.5,
    at_least: 0,
    window: "10m",
    pending: "5m",
    severity: Severity::Critical,
    why: "Without the collector every other alert here is silent. Five minutes cover a restart. One that misses most scrapes of ten minutes does not restart, it flaps.",
};
pub const NOT_READY: Threshold = Threshold {
    alert: "PoolerOtelNotReady",
    limit: 0.0,
    at_least: 0,
    window: "",
    pending: "2m",
    severity: Severity::Critical,
    why: "Senders keep what they cannot deliver for a short time only.",
};
/// Share of the messages that were refused.
pub const REFUSING: Threshold = Threshold {
    alert: "PoolerOtelRefusing",
    limit: 0.01,
    at_least: 10,
    window: "10m",
    pending: "5m",
    severity: Severity::Warning,
    why: "A sender repeats what was refused for want of room, and loses what was refused for good. One in a hundred is no accident.",
};
/// Records that were accepted and did not arrive.
pub const DROPPING: Threshold = Threshold {
    alert: "PoolerOtelDropping",
    limit: 0.0,
    at_least: 0,
    window: "10m",
    pending: "0m",
    severity: Severity::Critical,
    why: "Each record that a branch drops is a request that nobody will find.",
};
/// Records that the sanitizer dropped as a whole.
pub const RECORDS_UNUSABLE: Threshold = Threshold {
    alert: "PoolerOtelRecordsUnusable",
    limit: 0.0,
    at_least: 10,
    window: "15m",
    pending: "5m",
    severity: Severity::Warning,
    why: "A record without a valid id or time, or of an unknown kind, is a sender's mistake, and it repeats.",
};
pub const POLICY_STALE: Threshold = Threshold {
    alert: "PoolerOtelPolicyStale",
    limit: 0.0,
    at_least: 0,
    window: "",
    pending: "5m",
    severity: Severity::Warning,
    why: "The old policy goes on, so nothing leaks; but the change that somebody made is not in force.",
};
pub const UNACCOUNTED: Threshold = Threshold {
    alert: "PoolerOtelUnaccounted",
    limit: 0.0,
    at_least: 0,
    window: "",
    pending: "1h",
    severity: Severity::Warning,
    why: "What is being worked on makes the difference for moments. A difference that never closes within an hour is a defect.",
};
