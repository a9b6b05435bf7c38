//! Every number that more than one crate must agree on, named once, with its unit.

use std::time::Duration;

/// How often an open request sends a marker.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// A request is open while its last marker is younger than this; then it has no heartbeat and is not counted.
pub const HEARTBEAT_LOST_AFTER: Duration = Duration::from_secs(60);
/// An open request without a marker for this long is gone: longer than any request can stay open before the pooler recovers it.
pub const OPEN_GONE_AFTER: Duration = Duration::from_secs(6 * 3600 + 15 * 60);
/// How long a finished request waits for its settlement before its row is sent.
pub const SETTLEMENT_HOLD: Duration = Duration::from_secs(30);
/// A row that ended longer ago than this when it arrives is late: stored, and in no request metric.
pub const LATE_AFTER: Duration = Duration::from_secs(10 * 60);

/// Rows on a page of the request log.
pub const PAGE_ROWS: u32 = 50;
/// Rows that one query of the request log returns at most.
pub const MAX_ROWS: u32 = 200;

/// Port of OTLP/gRPC.
pub const OTLP_GRPC_PORT: u16 = 4317;
/// Port of OTLP/HTTP.
pub const OTLP_HTTP_PORT: u16 = 4318;
/// Port of the Tempo API.
pub const TEMPO_PORT: u16 = 3200;
/// Port of the metrics.
pub const METRICS_PORT: u16 = 9464;

/// Earliest time that a record may have, in seconds since the Unix epoch: 2020-01-01.
pub const EARLIEST_UNIX_S: u64 = 1_577_836_800;
/// Latest time that a record may have, in seconds since the Unix epoch: 2100-01-01.
pub const LATEST_UNIX_S: u64 = 4_102_444_800;
/// How far ahead of the receiver's clock a record may be. Clocks differ by minutes where nobody sets them, never by an hour; a time further
/// ahead is made up, and would stand at the head of the request log until then.
pub const MAX_AHEAD: Duration = Duration::from_secs(3600);
/// Longest time that a span can take. The pooler recovers whatever is open for [`OPEN_GONE_AFTER`]; a week leaves room for one that was
/// down over a long weekend.
pub const MAX_SPAN_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);
