//! The form of a metric. Those that are scraped, or pushed over OTLP, are in [`crate::generated::metrics`], those that may arrive over OTLP in
//! [`crate::generated::OTLP_METRICS`].

use crate::generated::OTLP_METRICS;

/// One metric, as Prometheus scrapes it and as OTLP carries it.
#[derive(Debug)]
pub struct Metric {
    /// Name that is scraped, with unit and `_total`.
    pub name: &'static str,
    /// Name over OTLP.
    pub otlp_name: &'static str,
    /// Unit over OTLP, in UCUM.
    pub unit: &'static str,
    /// What it counts or measures.
    pub help: &'static str,
    /// Counter, gauge or histogram.
    pub instrument: Instrument,
    /// Label names, in the registry's order.
    pub labels: &'static [&'static str],
    /// The labels' attributes over OTLP, in the same order.
    pub attributes: &'static [&'static str],
    /// Upper bounds of a histogram's buckets, in the unit of the name.
    pub buckets: &'static [f64],
}

/// A metric that may arrive over OTLP.
#[derive(Debug)]
pub struct OtlpMetric {
    /// Name on the wire.
    pub name: &'static str,
    /// Unit, in UCUM.
    pub unit: &'static str,
    /// What it counts or measures: the only description that passes.
    pub description: &'static str,
    /// Which kinds of data it may have.
    pub instrument: Instrument,
    /// Attributes that its data points may carry, in the order of their keys.
    pub attributes: &'static [&'static str],
}

/// The metric that arrives under this name.
#[must_use]
pub fn otlp_metric(name: &str) -> Option<&'static OtlpMetric> {
    OTLP_METRICS.binary_search_by(|metric| metric.name.cmp(name)).ok().map(|at| &OTLP_METRICS[at])
}

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instrument {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution over fixed buckets.
    Histogram,
}

impl Metric {
    /// The name under which client libraries register it: they append `_total` to counters themselves.
    #[must_use]
    pub fn registered_name(&self) -> &'static str {
        match self.instrument {
            Instrument::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Instrument::Gauge | Instrument::Histogram => self.name,
        }
    }
}
