//! Policies that together say everything that a policy can.

use std::sync::LazyLock;

use crate::Policy;

/// Attributes of each type, for keys and values that the generators make.
const ADDED: &str = r#"
attributes:
  k8s.namespace.name: {places: [resource, internal], type: string, pattern: ".*"}
  queue.depth: {places: [row, attempt, marker], type: int, min: 0, max: 600}
  deployment.zone: {places: [resource, row, correction], type: string, members: [production, core-agents]}
  spot.price: {places: [row, marker], type: double, min: 0, max: 2}
  spot.used: {places: [row, attempt], type: bool}
"#;
/// Less of a choice, in every way.
const TIGHTENED: &str = r#"
tighten:
  codex_pooler.request.model: {members: [gpt-5.4-codex]}
  codex_pooler.usage.total_tokens: {max: 1}
  user_agent.name: remove
  http.route: {pattern: "/v1/.*"}
  gen_ai.response.finish_reasons: {members: [stop]}
  codex_pooler.upstream.account.label: {max_chars: 9}
  codex_pooler.cost.settled_usd: {min: 1}
  codex_pooler.api_key.label: remove
  service.version: {pattern: "v.*"}
  codex_pooler.attempt.retryable: remove
"#;
/// A Pool and two accounts.
const HIDDEN: &str = r"
hide:
  pools: [core-agents]
  accounts: [63918144-2107-4e99-9119-c5edfe6f6b9b, 33ecffe2-5175-44bc-86ca-7ca871e58a48]
";
/// What is tightened of what is hidden.
const TIGHTENED_HIDDEN: &str = r"
tighten: {codex_pooler.pool.slug: {members: [gpt]}, codex_pooler.pool.name: remove, codex_pooler.upstream.account.label: remove}
";
const NAMES: &str = "internal_span_names: [db.lookup, get]\n";

/// The contract alone, and others.
pub static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    let files: [&[&str]; 6] =
        [&["{}"], &[ADDED], &[TIGHTENED], &[HIDDEN], &[HIDDEN, TIGHTENED_HIDDEN], &[ADDED, TIGHTENED, HIDDEN, NAMES]];
    let policy = |file: String| Policy::from_yaml(&file).unwrap_or_else(|error| panic!("{error}\n{file}"));
    files.iter().map(|parts| policy(parts.concat())).collect()
});
