//! The display rules against tables of what the request log shows.

use super::*;

/// Guarantees: latencies read as in the log, at every border, with the rounding of its floating-point division.
#[test]
fn latencies() {
    for (milliseconds, expected) in [
        (0, "0ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1001, "1.0s"),
        (3050, "3.0s"),
        (8423, "8.4s"),
        (9950, "9.9s"),
        (18_250, "18.3s"),
        (18_750, "18.8s"),
        (64_000, "64s"),
        (300_001, "300.0s"),
    ] {
        assert_eq!(latency(milliseconds), expected);
    }
}

/// Guarantees: counts are compacted with one decimal, which is left out where it is zero.
#[test]
fn counts() {
    for (n, expected) in [
        (0, "0"),
        (999, "999"),
        (1000, "1k"),
        (1090, "1.1k"),
        (40_960, "41k"),
        (50_103, "50.1k"),
        (245_200, "245.2k"),
        (1_000_000, "1M"),
        (1_240_000, "1.2M"),
        (2_500_000_000, "2.5B"),
    ] {
        assert_eq!(count(n), expected);
    }
}

/// Guarantees: costs have two decimals from ten cents on, up to four below, and never pretend to be free.
#[test]
fn costs() {
    for (dollars, expected) in [
        (0.0, "$0.00"),
        (f64::NAN, "$0.00"),
        (-1.0, "$0.00"),
        (0.000_049, "<$0.0001"),
        (0.000_05, "$0.0001"),
        (0.000_264, "$0.0003"),
        (0.000_997, "$0.001"),
        (0.013_25, "$0.0133"),
        (0.02, "$0.02"),
        (0.099_99, "$0.10"),
        (0.1524, "$0.15"),
        (0.125, "$0.13"),
        (999.999, "$1,000.00"),
        (1_234_567.891, "$1,234,567.89"),
    ] {
        assert_eq!(usd(dollars), expected);
    }
}

/// Guarantees: plans are shown by their names, with the family's where that says more.
#[test]
fn plans() {
    for (label, family, expected) in [
        (Some("pro"), Some("pro"), Some("Pro")),
        (Some("prolite"), Some("pro"), Some("Pro Lite (Pro)")),
        (Some("ChatGPT Plus"), Some("plus"), Some("ChatGPT Plus (Plus)")),
        (Some("enterprise_cbp_usage_based"), Some("enterprise-cbp-usage-based"), Some("Enterprise CBP Usage Based")),
        (Some("self-serve-business-prolite"), None, Some("Self Serve Business ProLite")),
        (Some("free plan"), None, Some("Free")),
        (Some("hc"), None, Some("Enterprise")),
        (None, Some("team"), Some("Team")),
        (Some(" "), Some("edu"), Some("Edu")),
        (Some("Something New"), None, Some("Something New")),
        (None, None, None),
    ] {
        assert_eq!(plan_badge(label, family).as_deref(), expected);
    }
}

/// Guarantees: the model column shows what was asked for only where it differs from what was done, and fast mode hides a lesser wish.
#[test]
fn model_texts() {
    let plain = ModelText {
        model: Some("gpt-5.4"),
        effort: None,
        requested_effort: None,
        tier: None,
        requested_tier: None,
        fast_mode: false,
        api_key: "CI agents",
    };
    let low = Some(ReasoningEffort::Low);
    let (flex, priority) = (Some(ServiceTier::Flex), Some(ServiceTier::Priority));
    for (row, expected) in [
        (plain, "gpt-5.4 / default · CI agents"),
        (ModelText { model: None, ..plain }, "– / default · CI agents"),
        (ModelText { requested_effort: low, ..plain }, "gpt-5.4 · low / default · CI agents"),
        (
            ModelText { effort: low, requested_effort: Some(ReasoningEffort::Minimal), ..plain },
            "gpt-5.4 · low · requested: minimal / default · CI agents",
        ),
        (ModelText { requested_tier: flex, ..plain }, "gpt-5.4 / default · requested: flex · CI agents"),
        (ModelText { requested_tier: priority, fast_mode: true, ..plain }, "gpt-5.4 / default · CI agents"),
        (ModelText { requested_tier: flex, fast_mode: true, ..plain }, "gpt-5.4 / default · CI agents"),
        (
            ModelText { requested_tier: flex, tier: priority, fast_mode: true, ..plain },
            "gpt-5.4 / priority · requested: flex · CI agents",
        ),
    ] {
        assert_eq!(text_model(&row), expected);
    }
}

/// Guarantees: usage is shown only where it is known and there is some, and a missing price is said.
#[test]
fn usage_texts() {
    let known = UsageStatus::UsageKnown;
    for (status, total, cached, usd, expected) in [
        (known, Some(50_103), Some(40_960), Some(0.033_113), "50.1k tokens · 41k cached · $0.0331"),
        (known, Some(692), Some(0), None, "692 tokens · cost n/a"),
        (known, Some(0), None, Some(0.0), "0 tokens · $0.00"),
        (known, None, None, Some(0.5), "– tokens · $0.50"),
        (known, Some(0), Some(0), None, "–"),
        (known, None, None, None, "–"),
        (UsageStatus::UsagePending, Some(5), None, None, "– (usage pending)"),
        (UsageStatus::UsageUnknown, Some(5), None, Some(1.0), "– (usage unknown)"),
        (UsageStatus::NotApplicable, None, None, None, "–"),
    ] {
        assert_eq!(text_usage(status, total, cached, usd), expected);
    }
}

/// Guarantees: an exhausted quota is said first and alone, with the first reset that is known; then missing evidence; else each code once.
#[test]
fn error_texts() {
    let code = |code: &str| ErrorEntry { code: code.to_owned(), ..ErrorEntry::default() };
    let exhausted =
        |resets: Option<&str>| ErrorEntry { exhausted: true, resets: resets.map(str::to_owned), ..code("some_reason") };
    let reset = "2026-08-24 06:00:00 UTC";
    assert_eq!(text_errors(&[]), "–");
    assert_eq!(text_errors(&[code("a"), code("b"), code("a")]), "a · b");
    assert_eq!(text_errors(&[code("a"), code("quota_weekly_exhausted")]), "quota exhausted");
    assert_eq!(text_errors(&[exhausted(None), exhausted(Some(reset))]), format!("quota exhausted · resets {reset}"));
    assert_eq!(text_errors(&[code("x"), code("quota_evidence_unavailable")]), "quota evidence unavailable");
    let many: Vec<_> = (0..20).map(|n| code(&format!("code_{n}"))).collect();
    assert_eq!(error_lines(&many).len(), MAX_ERROR_LINES);
}

/// Guarantees: the other columns join what there is, in the log's words.
#[test]
fn joined_texts() {
    assert_eq!(text_account(None, "Core agents"), "– · Core agents");
    assert_eq!(text_transport(Transport::HttpCompactJson, false, None), "HTTP");
    let client = Some((ClientFamily::Codex, Some("0.142.0")));
    assert_eq!(text_transport(Transport::Websocket, true, client), "WebSocket ⚡ · Codex 0.142.0");
    let (route, origin) = (Route::BackendApiCodexResponses, Some(Route::V1Responses));
    assert_eq!(text_route(route, origin, Some(8423)), "/backend-api/codex/responses ← /v1/responses · 8.4s");
    assert_eq!(text_route(Route::V1Models, None, None), "/v1/models");
}

/// Guarantees: latencies and counts are rounded as the standard library's formatter and exact fractions round; for every latency up to some minutes.
#[test]
fn numbers_are_rounded_as_by_the_formatter() {
    for milliseconds in (1_000..200_000_u64).filter(|ms| ms % 1_000 != 0 && !matches!(ms % 1_000, 250 | 750)) {
        #[allow(clippy::cast_precision_loss)]
        let expected = format!("{:.1}s", milliseconds as f64 / 1_000.0);
        assert_eq!(latency(milliseconds), expected);
    }
    for n in (1_000..1_000_000_u64).step_by(7) {
        let tenths = (n + 50) / 100;
        let expected = format!("{}.{}k", tenths / 10, tenths % 10).replace(".0k", "k");
        assert_eq!(count(n), expected);
    }
    assert_eq!(count(u64::MAX), "18446744073.7B");
}
