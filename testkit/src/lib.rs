//! For tests only: OTLP builders, a scripted fake backend, the leak scanner, the real binary.
