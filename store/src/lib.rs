//! The embedded store: SQLite, one row a request plus the sanitized spans of its trace.
