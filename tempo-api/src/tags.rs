//! Which tags there are. The store holds nothing that the contract does not name, so the contract is the list.

use std::collections::BTreeSet;

use contract::generated::{RECORDS, RESOURCE_ATTRIBUTES};
use serde_json::{Value as Json, json};

use crate::traceql::Intrinsic;

fn span_tags() -> BTreeSet<&'static str> {
    RECORDS.iter().flat_map(|record| record.attributes).copied().collect()
}

/// The tags by scope; of one scope only, if that is asked for.
pub fn by_scope(wanted: Option<&str>) -> Json {
    let scopes = [
        ("resource", RESOURCE_ATTRIBUTES.iter().copied().collect()),
        ("span", span_tags()),
        ("intrinsic", Intrinsic::NAMES.iter().copied().collect()),
    ];
    let wanted = wanted.filter(|scope| !matches!(*scope, "" | "all" | "none"));
    let scopes: Json = scopes
        .iter()
        .filter(|(scope, _)| wanted.is_none_or(|wanted| wanted == *scope))
        .map(|(scope, tags)| json!({"name": scope, "tags": tags}))
        .collect();
    json!({"scopes": scopes, "metrics": {}})
}

/// The tags of spans and resources in one list, as older clients ask for them.
pub fn flat() -> Json {
    let mut tags = span_tags();
    tags.extend(RESOURCE_ATTRIBUTES);
    json!({"tagNames": tags, "metrics": {}})
}
