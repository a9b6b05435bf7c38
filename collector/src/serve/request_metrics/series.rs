//! The series of one metric, bounded in number.

use std::sync::{Mutex, PoisonError};

use contract::Metric;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{self, Registry};

use super::super::metrics::{Labels, OVERFLOW, labels, register};

/// Series that one metric may have: the cap on each label's values alone would allow for their product.
pub const MAX_SERIES: usize = 2_000;
/// Labels whose values a sender chooses, and which become `other` in a series beyond that.
const CHOSEN: [&str; 4] = ["pool", "model", "account", "error_code"];

/// A metric of the contract with its series.
pub struct Series<M> {
    metric: &'static Metric,
    family: Family<Labels, M, fn() -> M>,
    count: Mutex<usize>,
}

impl<M: registry::Metric + TypedMetric + Clone> Series<M> {
    /// Registers a metric whose series begin as `new` makes them.
    pub fn register(registry: &mut Registry, metric: &'static Metric, new: fn() -> M) -> Self {
        let family = Family::new_with_constructor(new);
        register(registry, metric, family.clone());
        Self { metric, family, count: Mutex::new(0) }
    }

    /// The series with these label values, in the contract's order; it is there from now on.
    pub fn get<const N: usize>(&self, values: [&str; N]) -> M {
        let mut labels = labels(self.metric, values);
        if let Some(known) = self.family.get(&labels) {
            return known.clone();
        }
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if *count < MAX_SERIES {
            *count += 1;
        } else {
            for (_, value) in labels.iter_mut().filter(|(label, _)| CHOSEN.contains(label)) {
                OVERFLOW.clone_into(value);
            }
        }
        self.family.get_or_create_owned(&labels)
    }

    /// Ends a series.
    pub fn remove<const N: usize>(&self, values: [&str; N]) {
        if self.family.remove(&labels(self.metric, values)) {
            let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::generated::metrics::CODEX_POOLER_REQUESTS_TOTAL;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    /// Guarantees: however many combinations of values a sender makes up, a metric keeps to its number of series and a few for the rest, and
    /// nothing is lost.
    #[test]
    fn series_are_capped() {
        let mut registry = Registry::default();
        let series = Series::register(&mut registry, &CODEX_POOLER_REQUESTS_TOTAL, Counter::<u64>::default);
        for n in 0..MAX_SERIES * 2 {
            let (model, code) = (format!("m{}", n % 100), format!("e{}", n / 100));
            series.get(["core", &model, "http_sse", "none", "failed", "bad", &code]).inc();
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let values: Vec<u64> =
            text.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!((values.len(), values.iter().sum()), (MAX_SERIES + 1, 2 * MAX_SERIES as u64));
    }
}
