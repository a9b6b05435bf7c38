CREATE TABLE spans (
    id         INTEGER PRIMARY KEY,
    trace      INTEGER NOT NULL REFERENCES traces (id) ON DELETE CASCADE,
    span_id    BLOB NOT NULL CHECK (length(span_id) = 8),
    -- Number of a correction; NULL for all other spans.
    correction INTEGER,
    resource   BLOB,
    span       BLOB NOT NULL,
    UNIQUE (trace, span_id)
) STRICT;
CREATE TABLE traces (
    id              INTEGER PRIMARY KEY,
    trace_id        BLOB NOT NULL UNIQUE CHECK (length(trace_id) = 16),
    -- final: the row span has arrived. open: a request in progress, known from its markers. marker: the trace of such
    -- markers. spans: spans of a trace whose row has not arrived.
    state           TEXT NOT NULL CHECK (state IN ('final', 'open', 'marker', 'spans')),
    started_ns      INTEGER NOT NULL,
    -- Of an open request: the time of its last marker.
    ended_ns        INTEGER NOT NULL,
    -- Number of the last marker, of states open and marker.
    sequence        INTEGER,
    -- Of a marker: the trace of its request.
    row_trace_id    BLOB,
    -- What the log filters by, as the row span has it; NULL where it has nothing.
    admitted_ms     INTEGER,
    pool_slug       TEXT,
    status          TEXT,
    outcome         TEXT,
    account_label   TEXT,
    model           TEXT,
    api_key_label   TEXT,
    transport       TEXT,
    error_code      TEXT,
    search          TEXT
, policy_version TEXT) STRICT;
CREATE TABLE views (
    trace    INTEGER PRIMARY KEY REFERENCES traces (id) ON DELETE CASCADE,
    resource BLOB,
    span     BLOB NOT NULL
) STRICT;
CREATE INDEX traces_long ON traces (ended_ns, started_ns) WHERE ended_ns - started_ns > 3600000000000;
CREATE INDEX traces_markers ON traces (row_trace_id) WHERE state = 'marker';
CREATE INDEX traces_newest ON traces (started_ns, admitted_ms);
CREATE INDEX traces_open ON traces (ended_ns) WHERE state IN ('open', 'marker');
