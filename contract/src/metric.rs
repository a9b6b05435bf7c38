//! The form of a metric. The table is [`crate::generated::metrics`].

/// One metric, as Prometheus scrapes it.
#[derive(Debug)]
pub struct Metric {
    /// Name that is scraped, with unit and `_total`.
    pub name: &'static str,
    /// What it counts or measures.
    pub help: &'static str,
    /// Counter, gauge or histogram.
    pub instrument: Instrument,
    /// Label names, in the registry's order.
    pub labels: &'static [&'static str],
    /// Upper bounds of a histogram's buckets, in the unit of the name.
    pub buckets: &'static [f64],
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
