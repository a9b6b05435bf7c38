//! What the three signals share: resource, scope, attributes, ids, times, numbers.

use std::convert::Infallible;
use std::ops::RangeInclusive;

use contract::{DropReason, Place, StripReason, attr};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::Work;
use crate::check::{Value, by_rule};
use crate::derived::{self, Input, Inputs};
use crate::policy::{Hidden, KeyRule, Outcome, Site};

/// The records that may go on. Each one is counted.
pub(super) fn records<T>(
    given: Vec<T>,
    work: &mut Work<'_>,
    sanitize: impl Fn(T, &mut Work<'_>) -> Result<T, DropReason>,
) -> Vec<T> {
    let mut kept = Vec::new();
    for record in given {
        match sanitize(record, work) {
            Ok(record) => {
                work.report.accept_record();
                kept.push(record);
            }
            Err(reason) => work.report.drop_records(reason, 1),
        }
    }
    kept
}

pub(super) fn resource(resource: Resource, work: &mut Work<'_>) -> Resource {
    let Resource { attributes, dropped_attributes_count, entity_refs } = resource;
    work.strip_many(Place::EntityRef, StripReason::NotAllowed, entity_refs.len());
    zeroed(dropped_attributes_count, work);
    Resource {
        attributes: self::attributes(attributes, Site::RESOURCE, work),
        dropped_attributes_count: 0,
        entity_refs: Vec::new(),
    }
}

pub(super) fn scope(scope: InstrumentationScope, work: &mut Work<'_>) -> InstrumentationScope {
    let InstrumentationScope { name, version, attributes, dropped_attributes_count } = scope;
    work.strip_many(Place::Scope, StripReason::NotAllowed, attributes.len());
    zeroed(dropped_attributes_count, work);
    // A scope's version is a version, so the rule for the service's version holds for it.
    let version_rule = contract::attribute(attr::SERVICE_VERSION);
    let mut kept = |text: String, allowed: bool| {
        if !text.is_empty() && !allowed {
            work.strip(Place::Scope, StripReason::NotAllowed);
            return String::new();
        }
        text
    };
    let ours = name == contract::SCOPE_NAME;
    let valid = ours && version_rule.is_some_and(|rule| by_rule(rule, Value::Text(&version)).is_ok());
    InstrumentationScope {
        name: kept(name, ours),
        version: kept(version, valid),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
    }
}

pub(super) fn schema_url(url: String, work: &mut Work<'_>) -> String {
    if url.is_empty() || url == contract::SCHEMA_URL {
        return url;
    }
    work.strip(Place::SchemaUrl, StripReason::NotAllowed);
    String::new()
}

/// The defined ones among the flags.
pub(super) fn flags(flags: u32, defined: u32, work: &mut Work<'_>) -> u32 {
    if flags & !defined != 0 {
        work.strip(Place::Number, StripReason::OutOfRange);
    }
    flags & defined
}

pub(super) fn enumeration(value: i32, defined: RangeInclusive<i32>, work: &mut Work<'_>) -> i32 {
    if defined.contains(&value) {
        return value;
    }
    work.strip(Place::Number, StripReason::OutOfRange);
    0
}

/// Counts of what a sender's SDK dropped say nothing here, and any number can carry a message.
pub(super) fn zeroed(count: u32, work: &mut Work<'_>) {
    if count != 0 {
        work.strip(Place::Number, StripReason::NotAllowed);
    }
}

pub(super) fn is_id(id: &[u8], length_bytes: usize) -> bool {
    id.len() == length_bytes && id.iter().any(|b| *b != 0)
}

/// The ids of the trace that a record belongs to, each of them empty or valid.
pub(super) fn trace_context(trace_id: Vec<u8>, span_id: Vec<u8>, work: &mut Work<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut valid = |id: Vec<u8>, length_bytes| {
        if id.is_empty() || is_id(&id, length_bytes) {
            return id;
        }
        work.strip(Place::TraceContext, StripReason::NotAllowed);
        Vec::new()
    };
    (valid(trace_id, 16), valid(span_id, 8))
}

/// The attributes that the site allows, each with a value that its rule allows. Of a key that occurs twice, the first counts.
pub(super) fn attributes(given: Vec<KeyValue>, site: Site, work: &mut Work<'_>) -> Vec<KeyValue> {
    let mut kept: Vec<KeyValue> = Vec::new();
    let account_id = account_id(&given);
    let hidden = hidden(&given, work);
    // Texts that follow from others are judged when these are known: where each stands, and what its own rule says.
    let mut derived = Vec::new();
    for attribute in given {
        let KeyValue { key, value, key_strindex } = attribute;
        // Indices into a dictionary have a meaning in profiles only.
        if key_strindex != 0 {
            work.strip(Place::Number, StripReason::NotAllowed);
        }
        let Some(rule) = work.policy.rule(&key) else {
            work.strip(site.place, StripReason::UnknownKey);
            continue;
        };
        let outcome = if !site.allows(rule) {
            Outcome::Drop(StripReason::WrongPlace)
        } else if kept.iter().any(|other| other.key == key) {
            Outcome::Drop(StripReason::Duplicate)
        } else if rule.derived().is_some() {
            derived.push((kept.len(), check_value(rule, value.as_ref())));
            // What stood there is replaced if it is no text, too.
            kept.push(KeyValue { key, value, key_strindex: 0 });
            continue;
        } else {
            let text = value.as_ref().and_then(crate::view::text_of);
            rule.outcome(check_value(rule, value.as_ref()), text, hidden, account_id.as_deref())
        };
        let value = match outcome {
            Outcome::Keep => value,
            Outcome::Replace(reason, text) => {
                work.report.strip_value(site.place, reason, &rule.key);
                Some(AnyValue { value: Some(any_value::Value::StringValue(text.into_owned())) })
            }
            Outcome::Drop(reason) => {
                work.report.strip_value(site.place, reason, &rule.key);
                None
            }
        };
        if value.is_some() {
            kept.push(KeyValue { key, value, key_strindex: 0 });
        }
    }
    if !derived.is_empty() {
        self::derived(&mut kept, derived, site, work);
    }
    kept
}

fn derived(kept: &mut [KeyValue], derived: Vec<(usize, Result<(), StripReason>)>, site: Site, work: &mut Work<'_>) {
    let mut replaced = Vec::new();
    let inputs = Inputs::new(|source| Ok::<_, Infallible>(input(kept, source.key())));
    for (at, checked) in derived {
        let Some((rule, derived)) = work.policy.rule(&kept[at].key).zip(derived::of(&kept[at].key)) else { continue };
        let given = crate::view::text_value(&kept[at]);
        let Ok(outcome) = inputs.outcome(work.policy, rule, derived, checked, given, site.is_correction, |text| {
            rule.check(Value::Text(text)).is_ok()
        });
        match outcome {
            Outcome::Replace(reason, text) => {
                work.report.strip_value(site.place, reason, &rule.key);
                replaced.push((at, text));
            }
            Outcome::Keep | Outcome::Drop(_) => {}
        }
    }
    for (at, text) in replaced {
        kept[at].value = Some(AnyValue { value: Some(any_value::Value::StringValue(text.into_owned())) });
    }
}

fn input<'a>(kept: &'a [KeyValue], key: &str) -> Option<Input<'a>> {
    let attribute = kept.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(Input::Text(text.into())),
        any_value::Value::IntValue(number) => Some(Input::Int(*number)),
        any_value::Value::DoubleValue(number) => Some(Input::Double(*number)),
        _ => None,
    }
}

/// The record's account id, if it has a valid one: it stands in for a label that must not be shown.
fn account_id(attributes: &[KeyValue]) -> Option<String> {
    let id = first_text(attributes, attr::UPSTREAM_ACCOUNT_ID)?;
    by_rule(contract::attribute(attr::UPSTREAM_ACCOUNT_ID)?, Value::Text(id)).ok()?;
    Some(id.to_owned())
}

fn hidden(attributes: &[KeyValue], work: &Work<'_>) -> Hidden {
    let Ok(hidden) = work.policy.hidden(|key| Ok::<_, Infallible>(only_text(attributes, key)));
    hidden
}

/// The texts under a key.
pub(super) fn texts<'a>(attributes: &'a [KeyValue], key: &str) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter(move |attribute| attribute.key == key).filter_map(crate::view::text_value)
}

/// The text under a key that occurs once. Of two, one could say another name than the other hides.
fn only_text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let is_once = attributes.iter().filter(|attribute| attribute.key == key).count() == 1;
    is_once.then(|| first_text(attributes, key)).flatten()
}

pub(super) fn first_text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    crate::view::text_value(attributes.iter().find(|attribute| attribute.key == key)?)
}

fn check_value(rule: &KeyRule, value: Option<&AnyValue>) -> Result<(), StripReason> {
    use any_value::Value as Any;
    match value.and_then(|v| v.value.as_ref()) {
        Some(Any::StringValue(text)) => rule.check(Value::Text(text)),
        Some(Any::IntValue(n)) => rule.check(Value::Int(*n)),
        Some(Any::DoubleValue(n)) => rule.check(Value::Double(*n)),
        Some(Any::BoolValue(b)) => rule.check(Value::Bool(*b)),
        Some(Any::ArrayValue(list)) => {
            let texts: Option<Vec<&str>> = list
                .values
                .iter()
                .map(|item| match &item.value {
                    Some(Any::StringValue(text)) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            texts.map_or(Err(StripReason::WrongType), |texts| rule.check(Value::TextList(&texts)))
        }
        Some(Any::KvlistValue(_) | Any::BytesValue(_) | Any::StringValueStrindex(_)) | None => Err(StripReason::WrongType),
    }
}
