//! The version of a policy: a digest over everything that decides what passes, in a form that depends on nothing else.

use std::fmt::Write as _;

use contract::{Attribute, Fallback, Rule, generated};
use sha2::{Digest as _, Sha256};

use super::{Demand, KeyRule, Origin, Policy, Tightening};

/// How many bytes of the digest the version shows.
const VERSION_BYTES: usize = 6;

pub(super) fn version(policy: &Policy) -> String {
    let digest = Sha256::digest(form(policy));
    digest.iter().take(VERSION_BYTES).fold(String::new(), |version, byte| version + &format!("{byte:02x}"))
}

/// One line for each rule. Texts are quoted, so that none can pretend to be two; numbers that are not whole stand as their bits.
fn form(policy: &Policy) -> String {
    let mut form = String::from("codex-pooler/policy/v1\n");
    for rule in &policy.rules {
        form += &key(rule);
    }
    form += &format!("resource {:?}\n", generated::RESOURCE_ATTRIBUTES);
    for record in generated::RECORDS {
        let kind = record.kind.map_or("", contract::RecordKind::as_str);
        let (name, fallback, keys) = (record.name_pattern, record.fallback_name, record.attributes);
        form += &format!("record {kind:?} {:?} {name:?} {fallback:?} {keys:?} {:?}\n", record.span_kind, record.required);
    }
    for event in generated::EVENTS {
        form += &format!("event {:?} {:?}\n", event.name, event.attributes);
    }
    for metric in generated::OTLP_METRICS {
        let (name, unit, description, keys) = (metric.name, metric.unit, metric.description, metric.attributes);
        form += &format!("metric {name:?} {unit:?} {description:?} {:?} {keys:?}\n", metric.instrument);
    }
    form += &format!("hide {:?} {:?}\n", policy.hide.pools, policy.hide.accounts);
    form += &format!("internal {:?}\n", policy.internal_span_names);
    form
}

fn key(rule: &KeyRule) -> String {
    let mut line = format!("key {:?}", rule.key);
    match &rule.origin {
        Origin::Contract(attribute, tightening) => {
            line += &contract_rule(attribute);
            line += match tightening {
                None => String::new(),
                Some(Tightening::Remove) => " remove".to_owned(),
                Some(Tightening::Demand(demand)) => self::demand(demand),
            }
            .as_str();
        }
        Origin::Added(places, demand) => {
            line += &format!(" at {places:?}");
            line += &self::demand(demand);
        }
    }
    line += match rule.fallback {
        Fallback::Drop => " else drop".to_owned(),
        Fallback::Text(text) => format!(" else {text:?}"),
        Fallback::AccountShortForm => " else account".to_owned(),
    }
    .as_str();
    line.push('\n');
    line
}

fn contract_rule(attribute: &Attribute) -> String {
    match &attribute.rule {
        Rule::Text { members, pattern, max_chars } => format!(" text {members:?} {pattern:?} {max_chars}"),
        Rule::TextList { members, max_items } => format!(" list {members:?} {max_items}"),
        Rule::Int { min, max } => format!(" int {min} {max}"),
        Rule::Double { min, max } => doubles(*min, *max),
        Rule::Bool => " bool".to_owned(),
    }
}

fn demand(demand: &Demand) -> String {
    match demand {
        Demand::Text { members, pattern, max_chars } => {
            let pattern = pattern.as_ref().map(regex::Regex::as_str);
            format!(" and text {members:?} {pattern:?} {max_chars}")
        }
        Demand::Int { min, max } => format!(" and int {min} {max}"),
        Demand::Double { min, max } => format!(" and{}", doubles(*min, *max)),
        Demand::Bool => " and bool".to_owned(),
    }
}

fn doubles(min: f64, max: f64) -> String {
    let mut text = String::from(" double");
    for bound in [min, max] {
        // Writing to a string cannot fail.
        let _ = write!(text, " {:016x}", bound.to_bits());
    }
    text
}
