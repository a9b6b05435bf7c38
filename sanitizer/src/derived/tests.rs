//! Composed texts against the display rules themselves.

use super::*;
use crate::check::by_rule;
use contract::Rule;

/// Numbers of every length up to the largest that a key allows, and those at which they are shown in another way.
fn numbers(key: &str) -> Vec<Option<u64>> {
    let Some(Rule::Int { max, .. }) = contract::attribute(key).map(|attribute| &attribute.rule) else { panic!("no number") };
    let powers = (0..13).map(|exponent| 10_u64.pow(exponent));
    let numbers = powers.flat_map(|power| [power - 1, power, power / 2, power * 3 + 250, power * 9 + 50]);
    let max = u64::try_from(*max).unwrap();
    numbers.filter(|n| *n < max).chain([max]).map(Some).chain([None]).collect()
}

/// Guarantees: what is composed of closed sets and numbers alone passes its own rule and the detectors, so that it need not be asked.
#[test]
fn texts_of_closed_sets_and_numbers_pass() {
    let mut composed = Vec::new();
    for route in Route::ALL {
        for origin in Route::ALL.iter().copied().map(Some).chain([None]) {
            let texts = numbers(attr::REQUEST_LATENCY_MS).into_iter().map(|ms| display::text_route(*route, origin, ms));
            composed.extend(texts.map(|text| (attr::TEXT_ROUTE, text)));
        }
    }
    let Some(Rule::Double { max, .. }) = contract::attribute(attr::COST_SETTLED_USD).map(|cost| &cost.rule) else {
        panic!("no cost")
    };
    let costs: Vec<_> = [0.0, 0.000_01, 0.000_1, 0.01, 0.012, 0.099_99, 1.0, 999.994, 1e5, *max].map(Some).into();
    for status in UsageStatus::ALL {
        for total in numbers(attr::USAGE_TOTAL_TOKENS) {
            for cached in numbers(attr::USAGE_CACHE_READ_INPUT_TOKENS).into_iter().step_by(4) {
                for cost in costs.iter().copied().chain([None]) {
                    composed.push((attr::TEXT_USAGE, display::text_usage(*status, total, cached, cost)));
                }
            }
        }
    }
    composed.extend(["00000000", "12345678", "abcdef01"].map(|id| (attr::TEXT_ID, id.to_owned())));
    for (key, text) in composed {
        assert!(of(key).is_some_and(|derived| derived.is_closed));
        assert_eq!(by_rule(contract::attribute(key).unwrap(), Value::Text(&text)), Ok(()), "{key}: {text}");
    }
}

/// Guarantees: a text stays only if it is all of what it should be: not with its own pattern's characters behind it, not without its end, not
/// with another character; whatever it is compared with comes from the display rules themselves.
#[test]
fn a_text_is_compared_to_its_end() {
    let request_id = "0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11";
    let inputs = Inputs::new(|source| {
        Ok::<_, std::convert::Infallible>(Some(match source {
            Source::RequestId => Input::Text(request_id.into()),
            Source::UpstreamAccountLabel => Input::Text("Aurora seat 1".into()),
            Source::PoolName => Input::Text("Core agents".into()),
            Source::RequestTransport => Input::Text(Transport::HttpSse.as_str().into()),
            Source::UserAgentName => Input::Text(ClientFamily::Codex.as_str().into()),
            Source::UserAgentVersion => Input::Text("0.142.0".into()),
            Source::HttpRoute => Input::Text("/v1/responses".into()),
            Source::RequestLatencyMs => Input::Int(8_400),
            Source::UsageStatus => Input::Text(UsageStatus::UsageKnown.as_str().into()),
            Source::UsageTotalTokens => Input::Int(50_103),
            Source::CostSettledUsd => Input::Double(0.033_112_5),
            _ => return Ok(None),
        }))
    });
    let policy = Policy::contract();
    for (key, text) in [
        (attr::TEXT_ID, "0b5a2f0e"),
        (attr::TEXT_ACCOUNT, "Aurora seat 1 · Core agents"),
        (attr::TEXT_TRANSPORT, "HTTP SSE · Codex 0.142.0"),
        (attr::TEXT_ROUTE, "/v1/responses · 8.4s"),
        (attr::TEXT_USAGE, "50.1k tokens · $0.0331"),
    ] {
        let derived = of(key).unwrap();
        assert_eq!(inputs.is_composed(&policy, derived, text.as_bytes()), Ok(true), "{key}");
        assert_eq!(inputs.correct(key, Some(text), false), Ok(None));
        let (start, last) = text.split_at(text.len() - 1);
        for other in [format!("{text}1"), format!("{text} "), start.to_owned(), format!("{start}~"), format!("{last}{start}")] {
            assert_eq!(inputs.is_composed(&policy, derived, other.as_bytes()), Ok(false), "{key}: {other}");
            assert_eq!(inputs.correct(key, Some(&other), false), Ok(Some(text.to_owned())), "{key}: {other}");
        }
    }
}

/// Guarantees: of what a correction's texts cannot be composed from again, the labels are names of six words at most, and the time is one.
#[test]
fn a_corrections_texts_hold_no_prose() {
    let inputs = Inputs::new(|_| Ok::<_, std::convert::Infallible>(None));
    let corrected = |key, text| inputs.correct(key, Some(text), true).unwrap();
    for (key, text) in [
        (attr::TEXT_ACCOUNT, "Aurora seat 1 · nightly batch (EU & US) 7"),
        (attr::TEXT_ACCOUNT, "– · –"),
        (attr::TEXT_MODEL, "gpt-5.4 · high / default · CI agents"),
        (attr::TEXT_ERRORS, "quota exhausted · resets 2026-08-24 06:00:00 UTC"),
        (attr::TEXT_ERRORS, "quota exhausted"),
    ] {
        assert_eq!(corrected(key, text), None, "{text}");
    }
    for (key, text, becomes) in [
        (attr::TEXT_ACCOUNT, "Aurora seat 1 · please tell me what this contract says", DASH),
        (attr::TEXT_ACCOUNT, "please tell me what this contract says · Core agents", DASH),
        (attr::TEXT_MODEL, "gpt-5.4 · high / default · please tell me what this contract says", DASH),
        (attr::TEXT_ERRORS, "quota exhausted · resets 4912-71-83 64:91:20 UTC", "quota exhausted"),
    ] {
        assert_eq!(corrected(key, text).as_deref(), Some(becomes), "{text}");
    }
}
