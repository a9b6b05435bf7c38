//! Reads the contract's registry: strict, no unknown keys, every name and reference checked, patterns expanded.

mod metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;
use serde::Deserialize;

pub use metrics::{Metric, OtlpMetric};
use metrics::{RawLockedMetric, RawMetric, RawRefinement};

/// The registry after all checks, sorted by name.
pub struct Registry {
    /// Names this version of the contract.
    pub schema_url: String,
    pub attributes: BTreeMap<String, Attribute>,
    pub spans: Vec<Span>,
    pub resource: Vec<(String, Level)>,
    pub metrics: Vec<Metric>,
    /// Metrics that may arrive over OTLP, by name.
    pub otlp_metrics: BTreeMap<String, OtlpMetric>,
    /// Log records that may arrive, by event name.
    pub events: BTreeMap<String, Event>,
}

pub struct Attribute {
    pub brief: String,
    pub ty: Type,
    pub members: Vec<Member>,
    pub pattern: Option<String>,
    pub max_length: usize,
    pub max_items: usize,
    pub bounds: Option<(f64, f64)>,
    pub fallback: Fallback,
    pub enum_name: Option<String>,
    pub label: Option<String>,
    pub bounded: bool,
    pub examples: Vec<String>,
}

#[derive(Clone, PartialEq)]
pub struct Member {
    pub text: String,
    pub brief: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    Text,
    TextList,
    Int,
    Double,
    Bool,
}

pub struct Span {
    pub ty: String,
    pub brief: String,
    pub kind: String,
    pub record_kind: Option<String>,
    pub name_note: String,
    pub name_pattern: String,
    pub fallback_name: String,
    pub attributes: BTreeMap<String, Level>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Required,
    Optional,
}

pub struct Event {
    pub brief: String,
    pub attributes: BTreeMap<String, Level>,
}

// --- the files as written ---------------------------------------------------------------------------------------------------

#[derive(Deserialize)]
struct Manifest {
    schema_url: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the format's own name")]
struct File {
    file_format: String,
    #[serde(default)]
    attributes: Vec<RawAttribute>,
    #[serde(default)]
    attribute_groups: Vec<RawGroup>,
    #[serde(default)]
    spans: Vec<RawSpan>,
    #[serde(default)]
    metrics: Vec<RawMetric>,
    #[serde(default)]
    metric_refinements: Vec<RawRefinement>,
    #[serde(default)]
    events: Vec<RawEvent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAttribute {
    key: String,
    r#type: RawType,
    #[serde(rename = "stability")]
    _stability: String,
    brief: String,
    #[serde(default)]
    examples: Vec<String>,
    annotations: Annotations<RawRule>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawType {
    Name(String),
    Members { members: Vec<RawMember> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMember {
    #[serde(rename = "id")]
    _id: String,
    value: String,
    brief: String,
    #[serde(rename = "stability")]
    _stability: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations<T> {
    codex_pooler: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    Other,
    None,
    Dash,
    Account,
    Drop,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    pattern: Option<String>,
    max_length: Option<usize>,
    min: Option<f64>,
    max: Option<f64>,
    #[serde(default)]
    closed: bool,
    fallback: Fallback,
    r#enum: Option<String>,
    label: Option<String>,
    #[serde(rename = "privacy")]
    _privacy: Privacy,
    cardinality: Cardinality,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Privacy {
    Public,
    Pseudonymous,
    OperatorLabel,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Cardinality {
    Bounded,
    Unbounded,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    sources: BTreeMap<String, LockSource>,
    attributes: BTreeMap<String, RawLocked>,
    metrics: BTreeMap<String, RawLockedMetric>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockSource {
    #[serde(rename = "schema_url")]
    _schema_url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLocked {
    source: String,
    r#type: String,
    #[serde(rename = "stability")]
    _stability: String,
    brief: String,
    #[serde(rename = "was")]
    _was: Option<String>,
    #[serde(default)]
    members: Vec<String>,
    pattern: Option<String>,
    max_length: Option<usize>,
    max_items: Option<usize>,
    min: Option<f64>,
    max: Option<f64>,
    fallback: Fallback,
    r#enum: Option<String>,
    label: Option<String>,
    cardinality: Cardinality,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    id: String,
    #[serde(rename = "visibility")]
    _visibility: String,
    #[serde(rename = "brief")]
    _brief: Option<String>,
    #[serde(rename = "stability")]
    _stability: Option<String>,
    attributes: Vec<RawUse>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUse {
    r#ref: Option<String>,
    ref_group: Option<String>,
    requirement_level: Option<RawLevel>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawLevel {
    Name(String),
    Condition(BTreeMap<String, String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpan {
    r#type: String,
    kind: String,
    #[serde(rename = "requirement_level")]
    _requirement_level: String,
    name: RawName,
    brief: String,
    #[serde(rename = "stability")]
    _stability: String,
    annotations: Annotations<RawRecord>,
    attributes: Vec<RawUse>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawName {
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    record_kind: Option<String>,
    name: String,
    fallback_name: String,
    /// The attributes of the span's group are there only where they say something new.
    #[serde(default)]
    partial: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    name: String,
    #[serde(rename = "requirement_level")]
    _requirement_level: String,
    brief: String,
    #[serde(rename = "stability")]
    _stability: String,
    attributes: Vec<RawUse>,
}

// --- reading ----------------------------------------------------------------------------------------------------------------

impl Registry {
    /// Reads and checks everything below `contract/`.
    pub fn read(contract: &Path) -> Result<Self> {
        let manifest: Manifest = yaml(&contract.join("registry/manifest.yaml"))?;
        let mut file = File::default();
        for name in ["attributes.yaml", "signals.yaml", "metrics.yaml"] {
            let part: File = yaml(&contract.join("registry").join(name))?;
            ensure!(part.file_format == "definition/2", "{name}: file_format is not definition/2");
            file.attributes.extend(part.attributes);
            file.attribute_groups.extend(part.attribute_groups);
            file.spans.extend(part.spans);
            file.metrics.extend(part.metrics);
            file.metric_refinements.extend(part.metric_refinements);
            file.events.extend(part.events);
        }
        let lock: Lock = yaml(&contract.join("upstream.lock.yaml"))?;
        let patterns: BTreeMap<String, String> = yaml(&contract.join("patterns.yaml"))?;

        let mut attributes = BTreeMap::new();
        for raw in file.attributes {
            let key = raw.key.clone();
            ensure!(
                key.starts_with("codex_pooler.") || key.starts_with("pooler_otel."),
                "{key}: our names start with codex_pooler or pooler_otel"
            );
            let attribute = own_attribute(raw).with_context(|| key.clone())?;
            ensure!(attributes.insert(key.clone(), attribute).is_none(), "{key}: declared twice");
        }
        for (name, source) in lock.metrics.iter().map(|(name, raw)| (name, &raw.source)) {
            ensure!(lock.sources.contains_key(source), "{name}: unknown source");
        }
        for (key, raw) in lock.attributes {
            ensure!(lock.sources.contains_key(&raw.source), "{key}: unknown source");
            let attribute = locked_attribute(raw).with_context(|| key.clone())?;
            ensure!(attributes.insert(key.clone(), attribute).is_none(), "{key}: declared twice");
        }
        expand_patterns(&mut attributes, &patterns)?;
        check_attributes(&attributes)?;

        let groups: BTreeMap<&str, &[RawUse]> =
            file.attribute_groups.iter().map(|g| (g.id.as_str(), g.attributes.as_slice())).collect();
        let resource = groups.get("codex_pooler.resource").context("the group codex_pooler.resource is missing")?;
        let resource = resolve(resource, &groups, &attributes, false)?.into_iter().collect();
        let mut spans = Vec::new();
        for raw in &file.spans {
            let record = &raw.annotations.codex_pooler;
            spans.push(Span {
                ty: raw.r#type.clone(),
                brief: raw.brief.clone(),
                kind: raw.kind.clone(),
                record_kind: record.record_kind.clone(),
                name_note: raw.name.note.clone(),
                name_pattern: expand(&record.name, &attributes, &patterns).with_context(|| raw.r#type.clone())?,
                fallback_name: record.fallback_name.clone(),
                attributes: resolve(&raw.attributes, &groups, &attributes, record.partial).with_context(|| raw.r#type.clone())?,
            });
        }
        let mut events = BTreeMap::new();
        for raw in file.events {
            ensure!(raw.brief.ends_with('.'), "{}: the brief ends with a full stop", raw.name);
            let attributes = resolve(&raw.attributes, &groups, &attributes, false).with_context(|| raw.name.clone())?;
            ensure!(
                events.insert(raw.name.clone(), Event { brief: raw.brief, attributes }).is_none(),
                "{}: declared twice",
                raw.name
            );
        }
        let otlp_metrics = metrics::otlp_metrics(&file.metrics, file.metric_refinements, lock.metrics, &attributes)?;
        let metrics = file.metrics.into_iter().map(|raw| metrics::metric(raw, &attributes)).collect::<Result<_>>()?;
        Ok(Self { schema_url: manifest.schema_url, attributes, spans, resource, metrics, otlp_metrics, events })
    }
}

fn yaml<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))
}

fn own_attribute(raw: RawAttribute) -> Result<Attribute> {
    let rule = raw.annotations.codex_pooler;
    let (ty, members) = match raw.r#type {
        RawType::Name(name) => (type_of(&name)?, vec![]),
        RawType::Members { members } => {
            ensure!(rule.closed, "every enumeration of ours is closed");
            (Type::Text, members.into_iter().map(|m| Member { text: m.value, brief: m.brief }).collect())
        }
    };
    Ok(Attribute {
        brief: raw.brief,
        ty,
        max_length: max_length(ty, &members, rule.max_length)?,
        max_items: 0,
        members,
        pattern: rule.pattern,
        bounds: bounds(ty, rule.min, rule.max)?,
        fallback: rule.fallback,
        enum_name: rule.r#enum,
        label: rule.label,
        bounded: rule.cardinality == Cardinality::Bounded,
        examples: raw.examples,
    })
}

fn locked_attribute(raw: RawLocked) -> Result<Attribute> {
    let ty = type_of(&raw.r#type)?;
    let members: Vec<Member> = raw.members.into_iter().map(|text| Member { brief: format!("`{text}`."), text }).collect();
    ensure!((ty == Type::TextList) == raw.max_items.is_some(), "max_items goes with a list");
    Ok(Attribute {
        brief: raw.brief,
        ty,
        max_length: max_length(ty, &members, raw.max_length)?,
        max_items: raw.max_items.unwrap_or(0),
        members,
        pattern: raw.pattern,
        bounds: bounds(ty, raw.min, raw.max)?,
        fallback: raw.fallback,
        enum_name: raw.r#enum,
        label: raw.label,
        bounded: raw.cardinality == Cardinality::Bounded,
        examples: vec![],
    })
}

fn type_of(name: &str) -> Result<Type> {
    Ok(match name {
        "string" => Type::Text,
        "string[]" => Type::TextList,
        "int" => Type::Int,
        "double" => Type::Double,
        "boolean" => Type::Bool,
        _ => bail!("type {name} has no rule form"),
    })
}

fn max_length(ty: Type, members: &[Member], declared: Option<usize>) -> Result<usize> {
    let longest = members.iter().map(|m| m.text.chars().count()).max();
    match (ty, declared, longest) {
        (Type::Text | Type::TextList, Some(declared), longest) => Ok(declared.max(longest.unwrap_or(0))),
        (Type::Text | Type::TextList, None, Some(longest)) => Ok(longest),
        (Type::Text | Type::TextList, None, None) => bail!("text needs members, or a pattern with max_length"),
        (_, None, _) => Ok(0),
        (_, Some(_), _) => bail!("max_length goes with text"),
    }
}

fn bounds(ty: Type, min: Option<f64>, max: Option<f64>) -> Result<Option<(f64, f64)>> {
    match (ty, min, max) {
        (Type::Int | Type::Double, Some(min), Some(max)) if min <= max => Ok(Some((min, max))),
        (Type::Int | Type::Double, ..) => bail!("a number needs min and max"),
        (_, None, None) => Ok(None),
        _ => bail!("min and max go with a number"),
    }
}

/// Replaces every `<name>` by the fragment or the attribute's values that it names.
fn expand(pattern: &str, attributes: &BTreeMap<String, Attribute>, patterns: &BTreeMap<String, String>) -> Result<String> {
    let reference = Regex::new(r"<([a-z][a-z0-9_.]*)>").context("a constant pattern")?;
    let mut text = pattern.to_owned();
    // Fragments may refer to fragments, one inside another; attributes do not refer to attributes.
    for _depth in 0..4 {
        let Some(found) = reference.captures(&text) else { return Ok(text) };
        let name = found[1].to_owned();
        let value = if let Some(fragment) = patterns.get(&name) {
            fragment.clone()
        } else {
            let attribute = attributes.get(&name).with_context(|| format!("<{name}> names no fragment and no attribute"))?;
            values_pattern(attribute)
        };
        text = text.replace(&format!("<{name}>"), &value);
        if reference.is_match(&text) {
            text = expand(&text, attributes, patterns)?;
        }
    }
    ensure!(!reference.is_match(&text), "fragments refer to each other too deeply");
    Ok(text)
}

/// The values that an attribute's rule allows, as one group.
fn values_pattern(attribute: &Attribute) -> String {
    let mut alternatives: Vec<String> = attribute.members.iter().map(|m| regex::escape(&m.text)).collect();
    if let Some(pattern) = &attribute.pattern {
        alternatives.push(pattern.trim_start_matches('^').trim_end_matches('$').to_owned());
    }
    if matches!(attribute.fallback, Fallback::Other) && !alternatives.iter().any(|a| a == "_OTHER") {
        alternatives.push("_OTHER".to_owned());
    }
    format!("(?:{})", alternatives.join("|"))
}

fn expand_patterns(attributes: &mut BTreeMap<String, Attribute>, patterns: &BTreeMap<String, String>) -> Result<()> {
    let expanded: Vec<(String, String)> = attributes
        .iter()
        .filter_map(|(key, a)| a.pattern.as_ref().map(|p| (key, p)))
        .map(|(key, pattern)| Ok((key.clone(), expand(pattern, attributes, patterns).with_context(|| key.clone())?)))
        .collect::<Result<_>>()?;
    for (key, pattern) in expanded {
        if let Some(attribute) = attributes.get_mut(&key) {
            attribute.pattern = Some(pattern);
        }
    }
    Ok(())
}

fn check_attributes(attributes: &BTreeMap<String, Attribute>) -> Result<()> {
    let name = Regex::new(r"^[a-z][a-z0-9]*([._][a-z0-9]+)*$").context("a constant pattern")?;
    let mut enums: BTreeMap<&str, &[Member]> = BTreeMap::new();
    for (key, attribute) in attributes {
        ensure!(name.is_match(key), "{key}: not a name");
        ensure!(attribute.brief.ends_with('.'), "{key}: the brief ends with a full stop");
        for other in attributes.keys() {
            ensure!(!other.starts_with(&format!("{key}.")), "{key} is a namespace of {other}");
        }
        let texts: BTreeSet<&str> = attribute.members.iter().map(|m| m.text.as_str()).collect();
        ensure!(texts.len() == attribute.members.len(), "{key}: a member occurs twice");
        if let Some(pattern) = &attribute.pattern {
            ensure!(pattern.starts_with('^') && pattern.ends_with('$'), "{key}: the pattern is not anchored");
            let pattern = Regex::new(pattern).with_context(|| key.clone())?;
            ensure!(
                !attribute.examples.is_empty() || !attribute.members.is_empty() || !key.contains("codex_pooler"),
                "{key}: a pattern needs examples"
            );
            for example in &attribute.examples {
                let length = example.chars().count();
                ensure!(
                    (pattern.is_match(example) || (example == "–" && matches!(attribute.fallback, Fallback::Dash)))
                        && length <= attribute.max_length,
                    "{key}: the example {example:?} breaks the rule"
                );
            }
        }
        if let Some(enum_name) = &attribute.enum_name {
            let same = enums
                .insert(enum_name, &attribute.members)
                .is_none_or(|members| members.iter().map(|m| &m.text).eq(attribute.members.iter().map(|m| &m.text)));
            ensure!(same, "{key}: another attribute gives {enum_name} other members");
        }
    }
    Ok(())
}

/// The attributes of a list, groups expanded. An attribute that is named on the list itself wins over the same one of a group.
fn resolve(
    uses: &[RawUse],
    groups: &BTreeMap<&str, &[RawUse]>,
    attributes: &BTreeMap<String, Attribute>,
    partial: bool,
) -> Result<BTreeMap<String, Level>> {
    let mut named = BTreeMap::new();
    let mut grouped = BTreeMap::new();
    for item in uses {
        match (&item.r#ref, &item.ref_group) {
            (Some(key), None) => {
                ensure!(attributes.contains_key(key), "{key}: neither ours nor in the lock");
                let level = level(item.requirement_level.as_ref()).with_context(|| key.clone())?;
                ensure!(named.insert(key.clone(), level).is_none(), "{key}: used twice");
            }
            (None, Some(group)) => {
                let group = groups.get(group.as_str()).with_context(|| format!("no group {group}"))?;
                for (key, level) in resolve(group, groups, attributes, false)? {
                    let level = if partial { Level::Optional } else { level };
                    ensure!(grouped.insert(key.clone(), level).is_none(), "{key}: in two groups");
                }
            }
            _ => bail!("an attribute use has ref or ref_group"),
        }
    }
    grouped.extend(named);
    Ok(grouped)
}

fn level(level: Option<&RawLevel>) -> Result<Level> {
    match level {
        Some(RawLevel::Name(level)) if level == "required" => Ok(Level::Required),
        Some(RawLevel::Name(level)) if ["recommended", "opt_in"].contains(&level.as_str()) => Ok(Level::Optional),
        Some(RawLevel::Condition(condition)) if condition.contains_key("conditionally_required") => Ok(Level::Optional),
        None => Ok(Level::Optional),
        _ => bail!("unknown requirement level"),
    }
}
