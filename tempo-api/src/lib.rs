//! Tempo's read API over the embedded store.
