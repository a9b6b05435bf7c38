//! Codex Pooler's database rows, turned into the exporter's lifecycle.
