//! The crate that a pooler links: a typed request lifecycle, exported as OTLP spans.
