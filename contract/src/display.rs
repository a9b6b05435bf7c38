//! The display rules of the request log: how a value, and how a whole column, is shown. Emitters compose the `codex_pooler.text.*`
//! attributes with them, because Grafana cannot compose text; the terminal uses them too.
//!
//! A composed text has parts joined by [`SEPARATOR`], and is [`DASH`] where there is nothing to show. The columns are written to a writer, part by part:
//! so a text can also be compared with what it should be, without composing that first. Errors are those of the writer.

use std::fmt::{self, Write};

use crate::{ClientFamily, DASH, ReasoningEffort, RequestStatus, Route, ServiceTier, Transport, UsageStatus};

/// Joins the parts of a composed text.
pub const SEPARATOR: &str = " · ";
/// How many error lines a row shows at most.
pub const MAX_ERROR_LINES: usize = 8;

/// The word for a status: underscores become spaces, the first letter is upper case.
#[must_use]
pub const fn status_label(status: RequestStatus) -> &'static str {
    match status {
        RequestStatus::InProgress => "In progress",
        RequestStatus::Succeeded => "Succeeded",
        RequestStatus::Failed => "Failed",
        RequestStatus::Rejected => "Rejected",
        RequestStatus::Cancelled => "Cancelled",
        RequestStatus::Other => "Other",
    }
}

/// The symbol for a status, in place of the log's icon.
#[must_use]
pub const fn status_symbol(status: RequestStatus) -> &'static str {
    match status {
        RequestStatus::InProgress => "⏳",
        RequestStatus::Succeeded => "✔",
        RequestStatus::Failed => "✖",
        RequestStatus::Rejected => "⛔",
        RequestStatus::Cancelled => "⊘",
        RequestStatus::Other => "?",
    }
}

/// The first eight characters of a row id.
#[must_use]
pub fn short_id(request_id: &str) -> &str {
    request_id.get(..8).unwrap_or(request_id)
}

/// The short form of an account id, shown where the account's label may not be.
#[must_use]
pub fn account_short_form(account_id: &str) -> String {
    format!("acct-{}", short_id(account_id))
}

/// A latency: `412ms`; from one second `21s` where that is exact, else one decimal: `8.4s`, `12.0s`.
///
/// Half a tenth goes up only where a binary fraction can hold it, at .25 and .75: the log divides in floating point, and there
/// 3.05 is a little less than it says.
///
/// ```
/// use contract::display::latency;
/// assert_eq!(latency(412), "412ms");
/// assert_eq!(latency(21_000), "21s");
/// assert_eq!(latency(12_004), "12.0s");
/// ```
#[must_use]
pub fn latency(milliseconds: u64) -> String {
    written(|out| write_latency(out, milliseconds))
}

fn write_latency(out: &mut impl Write, milliseconds: u64) -> fmt::Result {
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let tenths = match (seconds, rest) {
        (0, _) => {
            write_number(out, milliseconds)?;
            return out.write_str("ms");
        }
        (_, 0) => {
            write_number(out, seconds)?;
            return out.write_str("s");
        }
        (_, 250 | 750) => milliseconds / 100 + 1,
        // Exact up to 2^53 milliseconds, some 285,000 years.
        #[allow(clippy::cast_precision_loss)]
        (_, rest) if rest % 100 == 50 => return write!(out, "{:.1}s", milliseconds as f64 / 1000.0),
        // No half, so that binary and decimal fractions are rounded alike.
        _ => milliseconds / 100 + u64::from(rest % 100 > 50),
    };
    write_number(out, tenths / 10)?;
    out.write_str(".")?;
    write_number(out, tenths % 10)?;
    out.write_str("s")
}

/// What `write` writes.
fn written(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text);
    text
}

/// A number in decimal digits. The formatter of the standard library takes several times as long, and every row has many numbers.
fn write_number(out: &mut impl Write, mut n: u64) -> fmt::Result {
    /// Digits of the largest number.
    const MAX_DIGITS: usize = 20;
    let mut digits = [b'0'; MAX_DIGITS];
    let mut start = MAX_DIGITS - 1;
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        (*digit, start) = (b'0' + (n % 10).to_le_bytes()[0], at);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.write_str(std::str::from_utf8(&digits[start..]).unwrap_or_default())
}

/// A count with at most one decimal: `692`, `50.1k`, `41k`, `1.2M`.
///
/// ```
/// use contract::display::count;
/// assert_eq!(count(50_103), "50.1k");
/// assert_eq!(count(40_960), "41k");
/// ```
#[must_use]
pub fn count(n: u64) -> String {
    written(|out| write_count(out, n))
}

fn write_count(out: &mut impl Write, n: u64) -> fmt::Result {
    let (unit, suffix) = match n {
        0..1_000 => return write_number(out, n),
        1_000..1_000_000 => (1_000, "k"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        _ => (1_000_000_000, "B"),
    };
    // Tenths, rounded; without multiplying the whole number, so that it cannot overflow.
    let tenths = n / unit * 10 + (n % unit * 10 + unit / 2) / unit;
    write_number(out, tenths / 10)?;
    if !tenths.is_multiple_of(10) {
        out.write_str(".")?;
        write_number(out, tenths % 10)?;
    }
    out.write_str(suffix)
}

/// A cost: from 10 cents, and for zero, two decimals with thousands separators; below that up to four decimals, at least two. Half goes
/// up, in decimal: the ledger counts whole micro-dollars.
///
/// ```
/// use contract::display::usd;
/// assert_eq!(usd(0.033_112_5), "$0.0331");
/// assert_eq!(usd(0.013_25), "$0.0133");
/// assert_eq!(usd(1234.5), "$1,234.50");
/// assert_eq!(usd(0.000_01), "<$0.0001");
/// ```
#[must_use]
pub fn usd(dollars: f64) -> String {
    written(|out| write_usd(out, dollars))
}

fn write_usd(out: &mut impl Write, dollars: f64) -> fmt::Result {
    // A value that is not a number is shown as zero, never as text of its own.
    if dollars.is_nan() || dollars <= 0.0 {
        return out.write_str("$0.00");
    }
    // Saturates at 18 trillion dollars.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let micros = (dollars * 1e6).round() as u64;
    if micros < 50 {
        return out.write_str("<$0.0001");
    }
    if micros < 100_000 {
        let ten_thousandths = (micros + 50) / 100;
        out.write_str("$0.")?;
        // At least two decimals; of the others, none that is zero to the end.
        for (unit, below) in [(1_000, 0), (100, 0), (10, 100), (1, 10)] {
            if below == 0 || !ten_thousandths.is_multiple_of(below) {
                write_number(out, ten_thousandths / unit % 10)?;
            }
        }
        return Ok(());
    }
    let cents = micros.saturating_add(5_000) / 10_000;
    out.write_str("$")?;
    write_grouped(out, cents / 100)?;
    out.write_str(".")?;
    write_number(out, cents / 10 % 10)?;
    write_number(out, cents % 10)
}

/// A number with thousands separators.
fn write_grouped(out: &mut impl Write, n: u64) -> fmt::Result {
    if n < 1_000 {
        return write_number(out, n);
    }
    write_grouped(out, n / 1_000)?;
    out.write_str(",")?;
    for unit in [100, 10, 1] {
        write_number(out, n / unit % 10)?;
    }
    Ok(())
}

/// The plan badge: the plan's canonical name, with its family's name in parentheses where that differs.
///
/// ```
/// use contract::display::plan_badge;
/// assert_eq!(plan_badge(Some("pro"), Some("pro")).as_deref(), Some("Pro"));
/// assert_eq!(plan_badge(Some("ChatGPT Plus"), Some("plus")).as_deref(), Some("ChatGPT Plus (Plus)"));
/// ```
#[must_use]
pub fn plan_badge(label: Option<&str>, family: Option<&str>) -> Option<String> {
    let present = |text: &&str| !text.trim().is_empty();
    let label = label.filter(present);
    let family = family.filter(present).map(canonical_plan);
    let name = canonical_plan(label.or(family.as_deref())?);
    Some(match family {
        Some(family) if family != name => format!("{name} ({family})"),
        _ => name,
    })
}

/// The name by which a plan is shown; unknown ones as they are.
fn canonical_plan(plan: &str) -> String {
    let key = plan.trim().to_lowercase().replace(['-', ' '], "_");
    let name = match key.as_str() {
        "free" | "free_plan" => "Free",
        "go" => "Go",
        "plus" => "Plus",
        "pro" => "Pro",
        "prolite" | "pro_lite" => "Pro Lite",
        "team" => "Team",
        "business" => "Business",
        "edu" => "Edu",
        "education" => "Education",
        "enterprise" | "ent26" | "hc" => "Enterprise",
        "enterprise_cbp_automation" => "Enterprise (Automation)",
        "enterprise_cbp_usage_based" => "Enterprise CBP Usage Based",
        "self_serve_business_prolite" => "Self Serve Business ProLite",
        "self_serve_business_usage_based" => "Self Serve Business Usage Based",
        "chatgpt_plus" => "ChatGPT Plus",
        "chatgpt_pro" => "ChatGPT Pro",
        "chatgpt_team" => "ChatGPT Team",
        _ => return plan.trim().to_owned(),
    };
    name.to_owned()
}

/// The name of a transport.
#[must_use]
pub const fn transport_label(transport: Transport) -> &'static str {
    match transport {
        Transport::Websocket => "WebSocket",
        Transport::HttpSse => "HTTP SSE",
        Transport::HttpMultipart => "HTTP multipart",
        Transport::HttpJson => "HTTP JSON",
        Transport::HttpCompactJson | Transport::Other => "HTTP",
    }
}

/// `codex_pooler.text.account`: account and Pool.
#[must_use]
pub fn text_account(account: Option<&str>, pool_name: &str) -> String {
    written(|out| write_account(out, account, pool_name))
}

/// Writes [`text_account`].
pub fn write_account(out: &mut impl Write, account: Option<&str>, pool_name: &str) -> fmt::Result {
    out.write_str(account.unwrap_or(DASH))?;
    out.write_str(SEPARATOR)?;
    out.write_str(pool_name)
}

/// What the model column says, see [`text_model`].
#[derive(Clone, Copy, Debug)]
pub struct ModelText<'a> {
    /// Model, absent on rows without one.
    pub model: Option<&'a str>,
    /// Effort that was in effect.
    pub effort: Option<ReasoningEffort>,
    /// Effort that the client asked for.
    pub requested_effort: Option<ReasoningEffort>,
    /// Tier that the upstream named, else the priced one.
    pub tier: Option<ServiceTier>,
    /// Tier that the client asked for.
    pub requested_tier: Option<ServiceTier>,
    /// Whether the request ran in fast mode.
    pub fast_mode: bool,
    /// Label of the API key.
    pub api_key: &'a str,
}

/// `codex_pooler.text.model`: model, effort, tier and API key, with what was requested where it differs.
#[must_use]
pub fn text_model(row: &ModelText<'_>) -> String {
    written(|out| write_model(out, row))
}

/// Writes [`text_model`].
pub fn write_model(out: &mut impl Write, row: &ModelText<'_>) -> fmt::Result {
    out.write_str(row.model.unwrap_or(DASH))?;
    let effort = row.effort.or(row.requested_effort);
    if let Some(effort) = effort {
        out.write_str(SEPARATOR)?;
        out.write_str(effort.as_str())?;
    }
    if let Some(requested) = row.requested_effort.filter(|r| Some(*r) != effort) {
        write_requested(out, requested.as_str())?;
    }
    let tier = row.tier.unwrap_or(ServiceTier::Default);
    out.write_str(" / ")?;
    out.write_str(tier.as_str())?;
    if let Some(requested) = row.requested_tier
        && requested != tier
        && requested != ServiceTier::Priority
        && (!row.fast_mode || tier == ServiceTier::Priority)
    {
        write_requested(out, requested.as_str())?;
    }
    out.write_str(SEPARATOR)?;
    out.write_str(row.api_key)
}

fn write_requested(out: &mut impl Write, requested: &str) -> fmt::Result {
    out.write_str(SEPARATOR)?;
    out.write_str("requested: ")?;
    out.write_str(requested)
}

/// `codex_pooler.text.transport`: transport, a bolt in fast mode, client and its version.
#[must_use]
pub fn text_transport(transport: Transport, fast_mode: bool, client: Option<(ClientFamily, Option<&str>)>) -> String {
    written(|out| write_transport(out, transport, fast_mode, client))
}

/// Writes [`text_transport`].
pub fn write_transport(
    out: &mut impl Write,
    transport: Transport,
    fast_mode: bool,
    client: Option<(ClientFamily, Option<&str>)>,
) -> fmt::Result {
    out.write_str(transport_label(transport))?;
    if fast_mode {
        out.write_str(" ⚡")?;
    }
    if let Some((family, version)) = client {
        out.write_str(SEPARATOR)?;
        out.write_str(crate::client::label(family))?;
        if let Some(version) = version {
            out.write_str(" ")?;
            out.write_str(version)?;
        }
    }
    Ok(())
}

/// `codex_pooler.text.route`: route, the route that the client called where the pooler translated it, and the latency.
#[must_use]
pub fn text_route(route: Route, translated_from: Option<Route>, latency_ms: Option<u64>) -> String {
    written(|out| write_route(out, route, translated_from, latency_ms))
}

/// Writes [`text_route`].
pub fn write_route(out: &mut impl Write, route: Route, translated_from: Option<Route>, latency_ms: Option<u64>) -> fmt::Result {
    out.write_str(route.as_str())?;
    if let Some(origin) = translated_from {
        out.write_str(" ← ")?;
        out.write_str(origin.as_str())?;
    }
    if let Some(ms) = latency_ms {
        out.write_str(SEPARATOR)?;
        write_latency(out, ms)?;
    }
    Ok(())
}

/// `codex_pooler.text.usage`: tokens, cached tokens and cost. Nothing but a dash, with the reason, unless the usage is known and there
/// is something to show: some tokens, or a price.
#[must_use]
pub fn text_usage(status: UsageStatus, total_tokens: Option<u64>, cached_tokens: Option<u64>, cost_usd: Option<f64>) -> String {
    written(|out| write_usage(out, status, total_tokens, cached_tokens, cost_usd))
}

/// Writes [`text_usage`].
pub fn write_usage(
    out: &mut impl Write,
    status: UsageStatus,
    total_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    cost_usd: Option<f64>,
) -> fmt::Result {
    let is_known = status == UsageStatus::UsageKnown && (total_tokens.unwrap_or(0) != 0 || cost_usd.is_some());
    if !is_known {
        out.write_str(DASH)?;
        return match status {
            UsageStatus::UsagePending => out.write_str(" (usage pending)"),
            UsageStatus::UsageUnknown => out.write_str(" (usage unknown)"),
            UsageStatus::UsageKnown | UsageStatus::NotApplicable | UsageStatus::Other => Ok(()),
        };
    }
    match total_tokens {
        Some(tokens) => write_count(out, tokens)?,
        None => out.write_str(DASH)?,
    }
    out.write_str(" tokens")?;
    if let Some(cached) = cached_tokens.filter(|n| *n != 0) {
        out.write_str(SEPARATOR)?;
        write_count(out, cached)?;
        out.write_str(" cached")?;
    }
    out.write_str(SEPARATOR)?;
    match cost_usd {
        Some(cost) => write_usd(out, cost),
        None => out.write_str("cost n/a"),
    }
}

/// One thing that went wrong with a request, as the log collects them: from the request, its denial, its excluded candidates and its attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorEntry {
    /// Error code, or what stands in for one.
    pub code: String,
    /// Whether the entry says that a quota is exhausted, whatever its code.
    pub exhausted: bool,
    /// When the quota resets, as `YYYY-MM-DD HH:MM:SS UTC`.
    pub resets: Option<String>,
}

/// Codes that a denial or an excluded candidate can have, besides those of requests and attempts.
pub const DENIAL_CODES: &[&str] = &[
    "pinned_continuation_reauth",
    "quota_account_primary_missing",
    "quota_account_primary_unknown",
    "quota_evidence_missing",
    "quota_evidence_out_of_scope",
    "quota_evidence_unusable",
    "quota_weekly_exhausted",
    "quota_window_unusable",
    "routing_circuit_open",
    "routing_circuit_probe_in_flight",
    "saved_reset_probe_pending",
];

/// Whether a code is one of those that the pooler writes. The error lines show no other one but the row's own: eight codes of an attempt's or a
/// denial's free choice would be room for a message.
#[must_use]
pub fn is_known_code(code: &str) -> bool {
    let is_error_type = crate::attribute(crate::attr::ERROR_TYPE)
        .is_some_and(|attribute| matches!(attribute.rule, crate::Rule::Text { members, .. } if members.contains(&code)));
    (is_error_type && code != crate::OTHER) || DENIAL_CODES.contains(&code)
}

/// The error lines of a row. An exhausted quota is said in words and hides the rest; so does missing quota evidence; else every code once.
#[must_use]
pub fn error_lines(entries: &[ErrorEntry]) -> Vec<String> {
    let exhausted = |e: &&ErrorEntry| e.exhausted || matches!(e.code.as_str(), "quota_exhausted" | "quota_weekly_exhausted");
    if entries.iter().any(|e| exhausted(&e)) {
        let resets = entries.iter().filter(exhausted).find_map(|e| e.resets.as_deref());
        return std::iter::once("quota exhausted".to_owned()).chain(resets.map(|at| format!("resets {at}"))).collect();
    }
    if entries.iter().any(|e| e.code == "quota_evidence_unavailable") {
        return vec!["quota evidence unavailable".to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for entry in entries {
        if !lines.contains(&entry.code) && lines.len() < MAX_ERROR_LINES {
            lines.push(entry.code.clone());
        }
    }
    lines
}

/// `codex_pooler.text.errors`: the error lines, joined.
#[must_use]
pub fn text_errors(entries: &[ErrorEntry]) -> String {
    let lines = error_lines(entries);
    if lines.is_empty() { DASH.to_owned() } else { lines.join(SEPARATOR) }
}

#[cfg(test)]
mod tests;
