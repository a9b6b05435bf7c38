//! Holds what says yes to texts at a glance against the rules' regular expressions and the detectors.

use contract::{Rule, generated};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::string::string_regex;
use regex::Regex;

use super::super::automaton::Pattern;
use super::super::secret::surely_harmless;
use super::{at_least, generate};
use crate::check::{Value, by_rule, check_name};
use crate::{Policy, looks_secret};

/// Every pattern of the contract.
fn patterns() -> Vec<&'static str> {
    let rules = generated::ATTRIBUTES.iter().filter_map(|attribute| match attribute.rule {
        Rule::Text { pattern, .. } => pattern,
        _ => None,
    });
    let mut patterns: Vec<_> = rules.chain(generated::RECORDS.iter().map(|record| record.name_pattern)).collect();
    patterns.sort_unstable();
    patterns.dedup();
    patterns
}

/// Changes a byte, or two, to something that is likely in the neighbourhood.
fn nudge(text: &str, changes: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    super::damage::apply(&changes.iter().map(|(at, byte, how)| (*at, *byte, how % 5)).collect::<Vec<_>>(), &mut bytes);
    bytes
}

/// Guarantees: each pattern's fast form says yes to the same texts as its regular expression, and not to bytes that are no text. The
/// texts: matches of the pattern, near misses, and what the log is made of.
#[test]
fn fast_patterns_are_the_regular_expressions() {
    let all = patterns();
    for pattern in &all {
        let (fast, regex) = (Pattern::new(pattern).unwrap(), Regex::new(pattern).unwrap());
        let own = string_regex(pattern.trim_start_matches('^').trim_end_matches('$')).unwrap();
        let changes =
            prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![32..127_u8, any::<u8>()], any::<u8>()), 0..3);
        let given = (own, select(generate::TEXTS), "\\PC{0,12}", changes);
        let mut runner = proptest::test_runner::TestRunner::new(at_least(300));
        runner
            .run(&given, |(own, other, any, changes)| {
                for bytes in [nudge(&own, &changes), nudge(other, &changes), any.into_bytes(), own.into_bytes()] {
                    let expected = std::str::from_utf8(&bytes).is_ok_and(|text| regex.is_match(text));
                    prop_assert_eq!(fast.matches(&bytes), expected, "{:02x?}", bytes);
                }
                Ok(())
            })
            .unwrap();
    }
}

/// Pieces of what the detectors look for, and of what they do not.
const PIECES: &[&str] = &[
    "sk-",
    "sk-cxp-",
    "sk-proj-",
    "1b158839f8aa",
    "-",
    "eyJ",
    "abcdefgh",
    ".",
    "-----BEGIN",
    "AKIA",
    "ASIA",
    "IOSFODNN7EXAMPLE",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "AIza",
    "alice@example.com",
    "@",
    "http://",
    "HTTPS://",
    "httpſ://",
    "bearer ",
    "BEARER\u{a0}",
    "Basic ",
    "baſic ",
    "=",
    "dXNlcjpwYXNz",
    "4111",
    "1111",
    " ",
    "  ",
    "4111111111111111",
    "4222222222222",
    "1234567890123",
    "33ecffe2-5175-44bc-86ca-7ca871e58a48",
    "192.0.2.7",
    "10.",
    "2001:db8::1",
    "::1",
    "1:2",
    "(",
    ")",
    ",",
    "/",
    "#",
    "·",
    "é",
    "0123456789abcdefghijABCDEFGHIJ",
    "gpt-5.4",
    "8.4s",
    "_",
    "+",
    "b",
    "x",
];

proptest! {
    #![proptest_config(at_least(30_000))]

    /// Guarantees: what is called harmless at a glance, no detector hits.
    #[test]
    fn harmless_texts_are_not_detected(pieces in prop::collection::vec(select(PIECES), 0..7), tail in "[ -~]{0,3}") {
        let text = pieces.concat() + &tail;
        prop_assert!(!(surely_harmless(text.as_bytes()) && looks_secret(&text)), "{text}");
    }

    /// Guarantees: the same for random texts.
    #[test]
    fn harmless_random_texts_are_not_detected(text in prop_oneof!["[0-9 .:-]{0,50}", "[A-Za-z0-9_=+-]{30,60}", "\\PC{0,60}"]) {
        prop_assert!(!(surely_harmless(text.as_bytes()) && looks_secret(&text)), "{text}");
    }

    /// Guarantees: what only a UUID can match is never detected, so that the glance can be saved.
    #[test]
    fn uuids_are_not_detected(uuid in "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}") {
        prop_assert!(!looks_secret(&uuid), "{uuid}");
    }
}

/// Guarantees: what the log is made of is allowed at a glance; the regular expressions and the detectors see none of it.
#[test]
fn honest_texts_need_no_second_look() {
    for text in generate::TEXTS.iter().take_while(|text| !text.is_empty()) {
        assert!(surely_harmless(text.as_bytes()), "{text}");
    }
    for route in contract::Route::TEXTS {
        assert!(surely_harmless(route.as_bytes()), "{route}");
    }
}

proptest! {
    #![proptest_config(at_least(2_000))]

    /// Guarantees: a text under a key, and a name of a record, are judged as the reference judges them.
    #[test]
    fn texts_are_judged_as_by_the_reference(
        text in prop_oneof![4 => select(generate::TEXTS).prop_map(str::to_owned), 1 => "[ -~]{0,40}", 1 => "\\PC{0,200}"],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<u8>()), 0..2),
    ) {
        let policy = Policy::contract();
        let tables = policy.tables();
        for bytes in [nudge(&text, &changes), text.clone().into_bytes()] {
            let text = std::str::from_utf8(&bytes);
            for attribute in generated::ATTRIBUTES {
                let key = tables.key(tables.number(attribute.key.as_bytes()).unwrap()).unwrap();
                match (key.judge(&bytes), text) {
                    (Ok(judged), Ok(text)) => prop_assert_eq!(judged, by_rule(attribute, Value::Text(text)), "{}", attribute.key),
                    (judged, text) => prop_assert!(judged.is_err() && text.is_err(), "{}", attribute.key),
                }
            }
            for record in generated::RECORDS {
                match (tables.record(record.kind).judge_name(&policy, &bytes), text) {
                    (Ok(judged), Ok(text)) => prop_assert_eq!(judged, check_name(record, text)),
                    (judged, text) => prop_assert!(judged.is_err() && text.is_err()),
                }
            }
        }
    }
}
