//! The metrics of the registry: those that Prometheus scrapes, and those that may arrive over OTLP.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{Annotations, Attribute, RawUse};

pub struct Metric {
    pub name: String,
    pub prometheus: String,
    pub instrument: String,
    pub unit: String,
    pub brief: String,
    /// Labels, each with its attribute.
    pub labels: Vec<(String, String)>,
    pub buckets: Vec<f64>,
}

pub struct OtlpMetric {
    pub instrument: String,
    pub unit: String,
    pub brief: String,
    pub attributes: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLockedMetric {
    pub(super) source: String,
    instrument: String,
    unit: String,
    #[serde(rename = "stability")]
    _stability: String,
    brief: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetric {
    name: String,
    instrument: String,
    unit: String,
    #[serde(rename = "requirement_level")]
    _requirement_level: String,
    brief: String,
    #[serde(rename = "stability")]
    _stability: String,
    annotations: Annotations<RawScrape>,
    #[serde(default)]
    attributes: Vec<RawUse>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScrape {
    prometheus: String,
    #[serde(default)]
    buckets: Vec<f64>,
}

/// A metric of another registry, with the labels that this contract lets it have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRefinement {
    id: String,
    r#ref: String,
    attributes: Vec<RawUse>,
}

/// A metric as it is scraped.
pub(super) fn metric(raw: RawMetric, attributes: &BTreeMap<String, Attribute>) -> Result<Metric> {
    let name = raw.name;
    ensure!(raw.brief.ends_with('.'), "{name}: the brief ends with a full stop");
    ensure!(["counter", "gauge", "histogram"].contains(&raw.instrument.as_str()), "{name}: instrument {}", raw.instrument);
    ensure!(
        (raw.instrument == "histogram") != raw.annotations.codex_pooler.buckets.is_empty(),
        "{name}: buckets go with a histogram"
    );
    let prometheus = raw.annotations.codex_pooler.prometheus;
    ensure!((raw.instrument == "counter") == prometheus.ends_with("_total"), "{name}: _total goes with a counter");
    ensure!(prometheus.starts_with(&name.replace('.', "_")), "{name}: the Prometheus name does not start with it");
    let mut labels = Vec::new();
    for item in raw.attributes {
        let key = item.r#ref.with_context(|| format!("{name}: a metric uses attributes by ref"))?;
        let attribute = attributes.get(&key).with_context(|| format!("{name}: no attribute {key}"))?;
        ensure!(attribute.bounded, "{name}: {key} is unbounded and cannot be a label");
        let label = attribute.label.clone().with_context(|| format!("{name}: {key} has no label"))?;
        ensure!(labels.iter().all(|(other, _)| *other != label), "{name}: two labels are called {label}");
        labels.push((label, key));
    }
    Ok(Metric {
        name,
        prometheus,
        instrument: raw.instrument,
        unit: raw.unit,
        brief: raw.brief,
        labels,
        buckets: raw.annotations.codex_pooler.buckets,
    })
}

/// Metrics that may arrive over OTLP: those of our own that are about requests, and the refinements of others'.
pub(super) fn otlp_metrics(
    own: &[RawMetric],
    refinements: Vec<RawRefinement>,
    mut locked: BTreeMap<String, RawLockedMetric>,
    attributes: &BTreeMap<String, Attribute>,
) -> Result<BTreeMap<String, OtlpMetric>> {
    let mut metrics = BTreeMap::new();
    for raw in own.iter().filter(|raw| raw.name.starts_with("codex_pooler.")) {
        let metric = OtlpMetric {
            instrument: raw.instrument.clone(),
            unit: raw.unit.clone(),
            brief: raw.brief.clone(),
            attributes: labels(&raw.name, &raw.attributes, attributes)?,
        };
        ensure!(metrics.insert(raw.name.clone(), metric).is_none(), "{}: declared twice", raw.name);
    }
    for raw in refinements {
        let name = raw.r#ref;
        ensure!(raw.id == format!("codex_pooler.{name}"), "{name}: the id of its refinement is codex_pooler.{name}");
        let upstream = locked.remove(&name).with_context(|| format!("{name}: not in the lock, or refined twice"))?;
        ensure!(upstream.brief.ends_with('.'), "{name}: the brief ends with a full stop");
        let attributes = labels(&name, &raw.attributes, attributes)?;
        let metric = OtlpMetric { instrument: upstream.instrument, unit: upstream.unit, brief: upstream.brief, attributes };
        metrics.insert(name, metric);
    }
    ensure!(locked.is_empty(), "the lock has metrics that nothing refines: {:?}", locked.keys());
    Ok(metrics)
}

/// The keys of a metric's labels, each of them bounded.
fn labels(name: &str, uses: &[RawUse], attributes: &BTreeMap<String, Attribute>) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for item in uses {
        let key = item.r#ref.clone().with_context(|| format!("{name}: a metric uses attributes by ref"))?;
        let attribute = attributes.get(&key).with_context(|| format!("{name}: no attribute {key}"))?;
        ensure!(attribute.bounded, "{name}: {key} is unbounded and cannot be a label");
        ensure!(keys.insert(key.clone()), "{name}: {key} is used twice");
    }
    Ok(keys)
}
