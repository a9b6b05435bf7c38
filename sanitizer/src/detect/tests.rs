//! Every family of secrets, seen and not mistaken; the glance against the detectors; texts that must pass, taken from where they are written.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::{glance, looks_secret, surely_harmless, thorough};

/// Published examples, documentation addresses, test numbers and made-up digits. Keys are put together from two parts, so that no scanner of a
/// repository takes them for real ones.
const SECRETS: &[[&str; 2]] = &[
    // The pooler's own keys: more than the public prefix.
    ["sk-cxp-1b158839f8aa", "-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"],
    ["sk-cxp-1b158839f8aa", "-x"],
    ["sk-cxp-1b158839f8aa", ".x"],
    ["sk-cxp-1b158839f8aa", ":x"],
    ["SK-CXP-1B158839F8AA", "-ABC"],
    ["key sk-cxp-1b158839f8aa", "_secret"],
    // Other vendors'.
    ["sk-", "proj-abcdefghijklmnop1234"],
    ["sk-", "ant-api03-abcdefghijklmnop"],
    ["user_sk-", "proj-abcdefghijklmnop1234"],
    ["sk_live_", "0123456789abcdefghijABCD"],
    ["pk_live_", "0123456789abcdefghijABCD"],
    ["rk_live_", "0123456789abcdefghijABCD"],
    ["hf_", "abcdefghijklmnopqrstuvwxyzABCDEFGH"],
    ["ghp_", "0123456789abcdefghijABCDEFGHIJ"],
    ["token_ghp_", "0123456789abcdefghijABCDEFGHIJ"],
    ["ghp_", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
    ["github_pat_", "0123456789abcdefghij_ABCDEFGHIJ"],
    ["glpat-", "abcdefghijklmnop1234"],
    ["xoxb-", "123456789012-abcdef"],
    ["AIza", "SyA0123456789abcdefghijklmnopqrstuv"],
    ["AKIA", "IOSFODNN7EXAMPLE"],
    ["x_AKIA", "IOSFODNN7EXAMPLE"],
    ["ASIA", "IOSFODNN7EXAMPLE"],
    ["wJalrXUtnFEMI/K7MDENG/", "bPxRfiCYEXAMPLEKEY"],
    ["npm_", "0123456789abcdefghijABCDEFGHIJ012345"],
    ["pypi-", "AgEIcHlwaS5vcmcCJDAw"],
    ["dop_v1_", "0123456789abcdef0123456789abcdef"],
    ["SG.", "0123456789abcdefghijAB.0123456789abcdefghijABCDEFGH"],
    ["ya29.", "a0AfH6SMB0123456789"],
    ["shpat_", "0123456789abcdef0123456789abcdef"],
    ["hvs.", "CAESIJ0123456789abcdefgh"],
    ["AGE-SECRET-KEY-1", "QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ"],
    ["hooks.slack.com", "/services/T00000000/B00000000/XXXXXXXX"],
    ["12345678:", "AAabcdefghijklmnopqrstuvwxyz0123456"],
    // In another case, with a word glued in front, in pieces.
    ["SK-", "PROJ-ABCDEFGHIJKLMNOP1234"],
    ["Sk-", "Ant-Api03-Abcdefghijklmnop1234"],
    ["GHP_", "0123456789ABCDEFGHIJABCDEFGHIJ"],
    ["userghp_", "0123456789abcdefghijABCDEFGHIJ"],
    ["mysk-", "proj-abcdefghijklmnop1234"],
    ["mysk-", "a1b2c3d4e5f6g7h8i9j0"],
    ["prodxoxb-", "123456789012-abcdefghij12"],
    ["XAKIA", "IOSFODNN7EXAMPLE"],
    ["xsk-cxp-", "1b158839f8aa-abc"],
    ["xeyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODB9.sig"],
    ["ghp_", "a1B2c3D4e5 F6g7H8i9J0 k1L2m3N4"],
    ["ghp_", "a1B2c3D4.e5F6g7H8.i9J0k1L2"],
    ["ghp a1B2c3D4", "e5F6g7H8 i9J0k1L2"],
    ["sk proj ", "a1B2c3D4 e5F6g7H8 i9J0k1L2"],
    ["sk-", "a1B2c3D4:e5F6g7H8:i9J0k1L2"],
    ["AKIA ", "IOSF ODNN 7EXA MPLE"],
    ["AKIA", "-IOSFODNN7-EXAMPLE"],
    // Prefixes that came later.
    ["tvly-", "dev-abcdefghijklmnop1234"],
    ["gsk_", "abcdefghijklmnop12345678"],
    ["fw_", "abcdefghijklmnop12345678"],
    ["tgp_v1_", "abcdefghijklmnop12345678"],
    ["pcsk_", "abcdefghijklmnop12345678"],
    ["sbp_", "0123456789abcdef01234567"],
    ["LTAI", "5tabcdefghijklmnop12"],
    ["pul-", "0123456789abcdef01234567"],
    ["clojars_", "abcdefghijklmnop12345678"],
    ["sntryu_", "0123456789abcdef01234567"],
    ["EZAK", "abcdefghijklmnop12345678ABCDEFGH"],
    ["SK", "0123456789abcdef0123456789abcdef"],
    ["A3-", "ABC123-DEF456-GHJ78-KLM90-NPQ12"],
    // Authorization, JWT (RFC 7519, section 3.1; the head alone with white space in it), PEM.
    ["Bearer ", "abcdefgh1234"],
    ["Bearer:", "abcdefgh12345678"],
    ["BEARER\u{a0}", "abcdefgh12345678"],
    ["Basic ", "dXNlcjpwYXNzd29yZA=="],
    ["basic ", "dXNlcjpwYXNzd29yZDE"],
    ["eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODB9.sig"],
    ["ewogImFsZyI6ICJub25lIgp9", ".eyJpc3MiOiJqb2UifQ."],
    ["-----", "BEGIN"],
    ["-----", "BEGIN RSA PRIVATE KEY-----"],
    // E-mail addresses and URLs.
    ["alice", "@example.com"],
    ["alice%40", "example.com"],
    ["alice＠", "example.com"],
    ["alice\\u0040", "example.com"],
    ["alice&#64;", "example.com"],
    ["alice&commat;", "example.com"],
    ["josé@", "exämple.example"],
    ["postgres://", "db.example/x"],
    ["HTTPS://", "example.com"],
    ["alice at example", " dot com"],
    ["alice(at)", "example.com"],
    ["alice (at) example", " (dot) com"],
    ["alice [at] example", " [dot] com"],
    ["alice at ", "example.com"],
    ["alice AT example", " DOT com"],
    ["alice-at-example", "-dot-com"],
    ["alice_at_mail.example", "_dot_org"],
    ["alice(at)mail.", "example.travel"],
    ["alice @ ", "example.com"],
    ["alice (@) ", "example.com"],
    // IPv4 (RFC 5737), IPv6 (RFC 3849).
    ["192 . 0 . 2", " . 7"],
    ["192. 0. 2", ". 7"],
    ["192[.]0[.]2", "[.]7"],
    ["192(.)0(.)2", "(.)7"],
    ["192 dot 0 dot 2", " dot 7"],
    ["192(dot)0(dot)2", "(dot)7"],
    ["192 0 2", " 7"],
    ["ip 5 6 7", " 8"],
    ["0xC000", "0207"],
    ["0xc0.0x0.0x2", ".0x7"],
    ["0300.0000.0002", ".0007"],
    ["0300.0.0x2", ".7"],
    ["ip 3221", "225991"],
    ["IP: 3221", "225991"],
    ["2001 : db8 :", ": 1"],
    ["192.0.2.7", ""],
    ["192.0.2.7:8080", ""],
    ["seat (192.0.2.7)", ""],
    ["1.192.0.2.7", ""],
    ["1.10.20.30.40", ""],
    ["192.168.001.010", ""],
    ["v192.0.2.7x", ""],
    ["192-168-1-10", ""],
    ["ip-10-0-0-12.internal", ""],
    ["ec2-198-51-100-7", ""],
    ["ip-5-6-7-8", ""],
    ["192。0。2。7", ""],
    ["192.0.２.7", ""],
    ["seat (2001:db8::1)", ""],
    ["[2001:db8::1]:443", ""],
    ["::1", ""],
    ["fe80::", ""],
    ["IPv6:2001:db8::1", ""],
    ["2001:0db8:0000:0000:0000:0000:0000:0001", ""],
    ["::ffff:192.0.2.7", ""],
    // Card numbers: the test numbers that issuers publish.
    ["4111 1111", " 1111 1111"],
    ["4111-1111", "-1111-1111"],
    ["4111.1111", ".1111.1111"],
    ["4111/1111", "/1111/1111"],
    ["4111_1111", "_1111_1111"],
    ["4111\u{a0}1111", "\u{a0}1111\u{a0}1111"],
    ["4111–1111", "–1111–1111"],
    ["4111  1111", "  1111  1111"],
    ["4111 - 1111", " - 1111 - 1111"],
    ["4111--1111", "..1111/1111"],
    ["４１１１１１１１", "１１１１１１１１"],
    ["41111111", "11111111"],
    ["3782 822463", " 10005"],
    ["5555555555", "554444"],
    ["7 4111 1111", " 1111 1111 12/30"],
    ["12304111111111", "111111"],
    ["4222222", "222222"],
    // Long random strings; SHA-256 of `test`, a sequence, RFC 4648 alphabets.
    ["9f86d081884c7d659a2feaa0c55ad015", "a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ["9f86d081884c7d659a2f.", "eaa0c55ad015a3bf4f1b"],
    ["9f86d081884c7d659a2f-", "eaa0c55ad015a3bf4f1b"],
    ["9f86d081884c7d659a2f_", "eaa0c55ad015a3bf4f1b"],
    ["0123456789abcdefghijklmnopqrstuvwx", "yzABCDEFG"],
    ["MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U", "OV3HO6DZPIYTEMZU"],
    ["kVvQxLrTbNzPwMhSjDfGcYqWeRtUiOpA", "sZxCvBnMKJHGFDSA"],
    // Shorter ones, without a prefix: as services give them out whose keys have none. Of the digits of pi, e and the square root of 2 in base 62, 36, 64.
    ["3d8fG2kQ9xTz5LmB", "7wRcY4hNs6vJp1Ea"],
    ["8k2m9x4q7w3z6p1v", "5t0r8n2j4h7g3f6d"],
    ["a9-Kx3Fq_8mZt5Lw", "2RvBnY7cHdJpG4eS"],
    ["key_3d8fG2kQ9xTz5LmB", "7wRcY4hNs6vJp1Ea"],
    ["JBSW2Y3DPEHK3PXP", "MFRGGZDFMZTWQ2LK"],
    // The same, encoded: base64 of `sk-proj-abcdefghijklmnop1234` and of `alice@example.com`, hexadecimal digits of `alice@example.com`.
    ["c2stcHJvai1hYmNkZWZn", "aGlqa2xtbm9wMTIzNA"],
    ["YWxpY2VAZXhh", "bXBsZS5jb20="],
    ["x-YWxpY2VAZXhh", "bXBsZS5jb20"],
    ["616c6963654065", "78616d706c652e636f6d"],
    ["alice%2540", "example.com"],
    ["%59%57%78%70", "Y2VAZXhhbXBsZS5jb20"],
    // And hidden among what cannot be seen.
    ["sk-\u{200b}proj-", "abcdefghijklmnop1234"],
    ["s\u{ad}k-proj-", "abcdefghijklmnop1234"],
    ["192.\u{2060}0.2", "\u{fe0f}.7"],
    ["192.0.\u{16FE4}2", ".7"],
    ["192.0.\u{E0041}2", ".7"],
    ["𝟏𝟗𝟐.𝟎.𝟐", ".𝟕"],
    ["a\u{301}\u{301}\u{301}\u{301}", ""],
    ["4111 – 1111", " – 1111 – 1111"],
    // Joints that labels and ids may have.
    ["192:0:2", ":7"],
    ["192/0/2", "/7"],
    ["192+0+2", "+7"],
    ["seat 192#0#2", "#7"],
    ["192&0&2", "&7"],
    ["192'0'2", "'7"],
    ["192-000-002", "-007"],
    ["ip192-0-2", "-7"],
    ["192-dot-0-dot-2", "-dot-7"],
    ["192_dot_0_dot_2", "_dot_7"],
    ["alice:at:example", ".com"],
    ["alice+at+example", ".com"],
    ["alice'at'example", ".com"],
    ["alice &at& example", ".com"],
    ["alice#at#example", ".com"],
    ["4111+1111", "+1111+1111"],
    ["4111(1111)", "1111(1111)"],
    ["4111'1111", "'1111'1111"],
    ["4111&1111", "&1111&1111"],
    ["4111#1111", "#1111#1111"],
    ["Bearer-", "x1y2z3a4b5c6"],
    ["bearer_", "x1y2z3a4b5c6"],
    ["Bearer.", "x1y2z3a4b5c6"],
    ["Bearer/", "x1y2z3a4b5c6"],
    ["Basic-", "dXNlcjpwYXNzd29yZDE"],
    ["Basic/", "dXNlcjpwYXNzd29yZDE"],
    ["basic_", "dXNlcjpwYXNzd29yZDE"],
    // Hexadecimal digits, more than ids have; and prefixes in front of as many as ids have.
    ["9f86d081884c7d659a2feaa0c55ad015", "a"],
    ["pk_9f86d081884c7d659a2feaa0c55ad015", "a3"],
    ["9F86D081884C7D659A2FEAA0C55AD015", "A3BF4F1"],
    ["9f86d081884c7d659a2feaa0c55ad015", "-us12"],
    ["fc-", "9f86d081884c7d659a2feaa0c55ad015"],
    ["esecret_", "8k2m9x4q7w3z6p1v5t0r8n2j4h"],
    ["ek_live_", "0123456789abcdefghijABCD"],
    // Letters with marks, of other alphabets, and small capitals; digits of other scripts, and in circles.
    ["sk-pro\u{301}j-", "abcdefghijklmnop1234"],
    ["śk-prój-", "äbcdefghijklmnop1234"],
    ["sk-рroj-", "abcdefghijklmnop1234"],
    ["ѕk-proj-", "abcdefghijklmnop1234"],
    ["ꜱk-proj-", "abcdefghijklmnop1234"],
    ["ⓖⓗⓟ_", "0123456789abcdefghijABCDEFGHIJ"],
    ["ɡhp_", "0123456789abcdefghijABCDEFGHIJ"],
    ["ghρ_", "0123456789abcdefghijABCDEFGHIJ"],
    ["АKIА", "IOSFODNN7EXAMPLE"],
    ["AKІA", "IOSFODNN7EXAMPLE"],
    ["ΑΚΙΑ", "IOSFODNN7EXAMPLE"],
    ["Bеarer ", "abcdefgh1234"],
    ["alice аt example", " dot com"],
    ["aliсe at ехample", " dot сom"],
    ["192.0.2\u{301}", ".7"],
    ["❶❾❷.⓪.❷", ".⓻"],
    ["๑๙๒.๐.๒", ".๗"],
    ["૧૯૨.૦.૨", ".૭"],
    ["᠑᠙᠒.᠐.᠒", ".᠗"],
    ["๔๑๑๑๑๑๑๑", "๑๑๑๑๑๑๑๑"],
    ["4111 1111", " 1111 1\u{301}111"],
];

/// Guarantees: each family of secrets is seen, alone and among words.
#[test]
fn secrets_are_seen() {
    let texts = SECRETS.iter().map(|parts| parts.concat());
    let texts =
        texts.flat_map(|text| [text.clone(), format!("seat {text}"), format!("{text} · Core agents"), format!("({text})")]);
    let (missed, not_looked_at): (Vec<_>, Vec<_>) = texts.filter(|text| !looks_secret(text)).partition(|text| !thorough(text));
    assert!(missed.is_empty() && not_looked_at.is_empty(), "missed: {missed:#?}, not looked at: {not_looked_at:#?}");
}

/// What the request log is made of, and what resembles a secret and is none.
const NAMES: &[&str] = &[
    "",
    "–",
    "sk-cxp-1b158839f8aa",
    "key sk-cxp-1b158839f8aa (old), spare",
    "0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11 33333333-4444-4111-8111-111111111111",
    "0b5a2f0e6c0f4f3a9a530c7f4f2f8f11",
    "turn_0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11",
    "stale_websocket_turn_claim_recovered",
    "ResponsesWebSocketStreamIdleTimeoutExceededError",
    "gpt-5.4-codex-2026-08-01",
    "gpt-5.1-codex-max-2025-11-13",
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8",
    "claude-3-5-sonnet-20241022-v2-long-context-preview",
    "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
    "accounts/fireworks/models/llama-v3p1-405b-instruct",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B-Instruct-GGUF-Q4_K_M",
    "o4-mini-deep-research",
    "0.142.0",
    "0.142.0-alpha.1",
    "1.2026.218",
    "126.0.6478.127",
    "Team 7 (eu) 2026-08-24 06:00:00 UTC",
    "quota exhausted · resets 2026-08-24 06:00:00 UTC",
    "2026-08-24T06:00:00.123456Z",
    "corr-1787544000123",
    "20260824060000",
    "/backend-api/codex/responses ← /v1/responses · 8.4s",
    "50.1k tokens · 41k cached · $0.0331",
    "Basic accounts",
    "R&D agents; lab",
    "Команда 7 (Zürich)",
    "Ελληνικά 3",
    "Łódź Straße ²",
    "ทีม 7",
    "Équipe Île-de-France 75",
    "Đội ngũ số 3",
    "Ομάδα Αθήνας 2",
    "Отдел закупок Сибирь 12",
    "Київ команда № 4",
    "東京チーム 3",
    "研发一组 (北京)",
    "서울 팀 5",
    "فريق القاهرة ٣",
    "צוות תל אביב 9",
    "टीम दिल्ली २",
    "Կոմանդա 1",
    "std::vec Team::a",
    "office 08-24-06-00",
    "1-2-3-4",
    "req_011CSHoEeqs5C35K2UUGPT5o",
    "4111 1111 1111 1112",
    "skeleton key-holders github packages",
    "eyes.only",
    "ewok-planet.something",
    "@scope/package",
    "100% of 50%",
    // Near misses of what is looked for since.
    "risk-assessment-2026-q3",
    "task-management-system",
    "task-0b5a2f0e6c0f4f3a9a530c7f4f2f8f11",
    "task-0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11",
    "disk-20260824060000",
    "SK-Bratislava-office",
    "SK-TELECOM-SEOUL-2026",
    "mexico-0b5a2f0e6c0f4f3a9a530c7f4f2f8f11",
    "monkey-0b5a2f0e6c0f4f3a9a530c7f4f2f8f11",
    "npm 0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11",
    "npm_0b5a2f0e",
    "hf_models team 7",
    "asia pacific team 2",
    "ASIA PACIFIC TEAM 2 SALES HUB",
    "SLOVAKIA TEAM 2026",
    "xai grok 4 fast 2026",
    "sk-cxp-1b158839f8aa old aurora 7",
    "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qJKKcT",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "thread_abc123DEF456ghi789JKL012",
    "a1b2c3d",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "507f1f77bcf86cd799439011",
    "0ujtsYcgvSTl8PAuAdqWYSMnLOv",
    "V1StGXR8_Z5jdHi6B-myT",
    "Qwen2.5-Coder-32B-Instruct-AWQ",
    "Llama-3.2-90B-Vision-Instruct-Turbo",
    "Meta-Llama-3.1-405B-Instruct-FP8-KV",
    "Phi-3.5-MoE-instruct-Q4_K_M",
    "look at dot matrix",
    "Meet at St.Moritz",
    "failed_at_index.js",
    "error at step 2.4",
    "agents at work",
    "seat (at) home",
    "1 2 3 4",
    "seats 7 8 9",
    "0x1F",
    "0x0b5a2f0e6c0f",
    "ip 5",
    "zip 3221225991",
    "3221225991",
    "v1. 2. 300",
    "0.142.0 7 (eu)",
    "4111 -- 1111",
    "4111 1111 ---- 1111 1111",
    "12:30:45:07",
    "06:00:00/2026",
    "v1/20/3/4",
    "1+2+3+4",
    "seats #1 #2 #3 #104",
    "2026-08-24-001",
    "08-024-006-100",
    "zip192-0-2-7",
    "llama3-1-405-8",
    "polka dot 7",
    "bearer_token_expired",
    "bearer-of-news-2026",
    "basic_auth_required",
    "basic-plan-unlimited",
    "seat +49 (0)30 1234",
    "9f86d081884c7d659a2feaa0c55ad015",
    "id-9f86d081884c7d659a2feaa0c55ad015",
    "9f86d081884c7d659a2feaa0c55ad015-useast",
];

/// Guarantees: names and ids pass, also those that resemble a secret.
#[test]
fn names_are_not_secrets() {
    let wrong: Vec<&&str> = NAMES.iter().filter(|text| thorough(text) || looks_secret(text)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Guarantees: a text that is too long to be looked at is taken for a secret, however harmless it is.
#[test]
fn too_long_is_secret() {
    assert!(!looks_secret(&"Aurora seat ".repeat(5_000)));
    assert!(looks_secret(&"Aurora seat ".repeat(6_000)));
}

/// Guarantees: the decoder's bytes are right. Expected values: RFC 4648, section 10, and Python's `html` and `json`.
#[test]
fn texts_are_decoded() {
    let decodings = |text: &str| super::decode::decodings(text).collect::<Vec<_>>();
    assert_eq!(decodings("a%41\\u00e9\\ud83d\\ude00&amp;&#x41;&nope;%zz"), ["aAé😀&A&nope;%zz"]);
    assert!(decodings("Zm9vYmFyZm9vYmFy").contains(&"foobarfoobar\0".to_owned()));
    assert!(decodings("666f6f626172666f").contains(&"foobarfo\0".to_owned()));
    assert!(decodings("stale_websocket_turn_claim_recovered").is_empty());
}

/// Guarantees: characters are read as who sees them reads them. Expected values: `decimal` and `normalize` of Python's `unicodedata`, and Unicode's
/// `confusables.txt`, in which `l` stands for `I` as well.
#[test]
fn characters_are_read_as_they_look() {
    for (text, expected) in [
        ("ｓｋ－\u{200b}１𝐀𝓏②", "sk-1Az2"),
        ("०१२৩৪٥۶७๘૯", "0123456789"),
        ("𝟎𝟡𝟢𝟻𝟿🯰🯹᮰᮹", "090590909"),
        ("⓪⓿❶❾➀➈➊➒⓵⓽⁹₉", "001919191999"),
        ("Zürich Łódź São Ǻøđ", "Zurich Lodz Sao Aod"),
        ("асеорхуѕіјԁһ", "aceopxysijdh"),
        ("АВСЕНІКМОРТХ", "ABCEHIKMOPTX"),
        ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX"),
        ("ﬁ Ⅳ № a\u{301}", "fi IV No a"),
        ("192。0﹒2․7", "192.0.2.7"),
    ] {
        assert_eq!(super::decode::fold(text).as_deref(), Some(expected), "{text}");
    }
    for text in ["Aurora seat 1", "·", "⚡", "日本", "жд"] {
        assert_eq!(super::decode::fold(text), None, "{text}");
    }
    // What is read is read as itself, and in both ways.
    for character in ('\0'..='\u{1ffff}').map(String::from) {
        let mut room = [0; 64];
        let length = super::decode::read_into(&mut room, &character);
        let read = super::decode::fold(&character).unwrap_or(character);
        assert_eq!(super::decode::fold(&read), None, "{read}");
        assert!(length.is_none_or(|length| &room[..length] == read.as_bytes()), "{read}");
        assert!(length.is_some() || read.len() > 4, "{read}");
    }
}

/// Every text of the example rows that is allowed to be seen, and every example of the contract.
fn honest_texts() -> Vec<String> {
    /// Where the rows have what must not be seen, or text for people.
    const LEFT_OUT: &[&str] = &["upstream_account_email", "client_ip", "summary", "source_event_id"];
    fn collect(value: &serde_json::Value, texts: &mut Vec<String>) {
        match value {
            serde_json::Value::String(text) => texts.push(text.clone()),
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
            serde_json::Value::Object(fields) => {
                // Amounts are numbers in the contract, and never texts.
                let is_text = |key: &str| !LEFT_OUT.contains(&key) && !key.ends_with("_micros");
                fields.iter().filter(|(key, _)| is_text(key)).for_each(|(_, value)| collect(value, texts));
            }
            _ => {}
        }
    }
    let mut texts = Vec::new();
    collect(&serde_json::from_str(include_str!("../../../tests/fixtures/pooler-rows.json")).unwrap(), &mut texts);
    assert!(texts.len() > 2_000, "the example rows have another form");
    let examples =
        [include_str!("../../../contract/registry/attributes.yaml"), include_str!("../../../contract/registry/metrics.yaml")];
    let lines = examples.iter().flat_map(|file| file.lines()).filter_map(|line| line.trim().strip_prefix("examples: "));
    let before = texts.len();
    texts.extend(lines.filter_map(|list| serde_json::from_str::<Vec<String>>(list).ok()).flatten());
    assert!(texts.len() > before + 40, "the registry has another form");
    for attribute in contract::generated::ATTRIBUTES {
        if let contract::Rule::Text { members, .. } = attribute.rule {
            texts.extend(members.iter().map(|member| (*member).to_owned()));
        }
    }
    texts
}

/// Guarantees: no text of the example rows, no example of the contract and no member of a closed set is taken for a secret.
#[test]
fn honest_texts_pass() {
    let wrong: Vec<String> = honest_texts().into_iter().filter(|text| thorough(text)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn secret() -> impl Strategy<Value = String> {
    select(SECRETS).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(5_000), ..ProptestConfig::default() })]

    /// Guarantees: what is called harmless at a glance, no detector hits: secrets, cut and damaged, among words.
    #[test]
    fn harmless_texts_are_not_detected(
        parts in prop::collection::vec(prop_oneof![secret(), select(&["Aurora seat 1", " · ", "–", "_", "gpt-5.4", " ", "é", "ж", "«"][..]).prop_map(str::to_owned)], 1..3),
        cut in any::<prop::sample::Index>(), put in "[ -~]{0,2}", end in any::<bool>(),
    ) {
        let text = parts.concat();
        let at = text.floor_char_boundary(cut.index(text.len() + 1));
        let text = if end { format!("{}{put}", &text[..at]) } else { format!("{put}{}", &text[at..]) };
        prop_assert!(!(surely_harmless(text.as_bytes()) && thorough(&text)), "{text}");
    }

    /// Guarantees: the same for secrets in another case of letters, and with separators put in or changed.
    #[test]
    fn harmless_texts_in_pieces_are_not_detected(
        secret in secret(), changes in prop::collection::vec((any::<prop::sample::Index>(), select(&[" ", ".", "-", "_", "/", ":", "+", "#", "&", "'", " – ", "  ", "(", ")", " dot ", "-dot-", "[.]", " at ", "x", "0"][..]), any::<bool>()), 1..5),
        case in 0..3_u8,
    ) {
        let mut text = match case { 0 => secret, 1 => secret.to_uppercase(), _ => secret.to_lowercase() };
        for (at, separator, replaces) in changes {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = if replaces { text.ceil_char_boundary((start + 1).min(text.len())) } else { start };
            text.replace_range(start..end, separator);
        }
        prop_assert!(!(surely_harmless(text.as_bytes()) && thorough(&text)), "{text}");
    }

    /// Guarantees: the same for random texts.
    #[test]
    fn harmless_random_texts_are_not_detected(
        text in prop_oneof!["[0-9 .:_-]{0,50}", "[0-9a-f:]{0,40}", "[A-Za-z0-9_=+/.-]{10,60}", "[a-f0-9-]{10,45}", "\\PC{0,60}", "[a-z&%;#0-9]{0,30}", "[0-9dot .()x]{7,40}", "[0-9:/+#&'()ip-]{7,40}", "[0-9аеорсіЅ–· _.-]{7,40}", "[a-zаеорсі_-]{3}[A-Za-z0-9аеорсі_-]{14,40}", "[at @.dobx-]{5,30}", "[A-Za-z0-9]{28,40}", "[0-9]{7,11}[: ]{1,2}[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}[ a-z]?"],
    ) {
        prop_assert!(!(surely_harmless(text.as_bytes()) && thorough(&text)), "{text}");
    }

    /// Guarantees: the same for texts around the length that is looked at in one piece, with a secret anywhere in them.
    #[test]
    fn harmless_longer_texts_are_not_detected(secret in secret(), before in "[a-z ]{0,70}", after in "[a-z ]{0,30}", upper in any::<bool>()) {
        let text = format!("{before}{secret}{after}");
        let text = if upper { text.to_uppercase() } else { text };
        prop_assert!(!(surely_harmless(text.as_bytes()) && thorough(&text)), "{text}");
    }

    /// Guarantees: a UUID has dashes in their places and hexadecimal digits in all others. Expected value: each byte, one by one.
    #[test]
    fn uuids_are_told_apart(at in 0..36_usize, byte in any::<u8>(), upper in any::<bool>()) {
        let uuid = b"0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11";
        let mut word = if upper { uuid.to_ascii_uppercase() } else { uuid.to_vec() };
        word[at] = byte;
        let is = |is_hex: fn(u8) -> bool| word.iter().enumerate().all(|(at, byte)| if [8, 13, 18, 23].contains(&at) { *byte == b'-' } else { is_hex(*byte) });
        prop_assert_eq!(glance::is_uuid(&word), is(|byte| byte.is_ascii_hexdigit()));
        prop_assert_eq!(super::is_lower_uuid(word.as_slice().try_into().unwrap()), is(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    }

    /// Guarantees: no text makes the detectors fail.
    #[test]
    fn any_text_is_judged(text in "(?s).{0,200}") {
        let _ = thorough(&text);
    }

    /// Guarantees: an address is an address, in either form. Expected value: the standard library's parser.
    #[test]
    fn addresses_are_seen(v4 in any::<[u8; 4]>(), v6 in any::<[u16; 8]>(), zeros in 0..8_usize) {
        let mut v6 = v6;
        v6[..zeros].fill(0);
        for text in [std::net::Ipv4Addr::from(v4).to_string(), std::net::Ipv6Addr::from(v6).to_string()] {
            prop_assert!(looks_secret(&text) || text == "::", "{text}");
        }
    }

    /// Guarantees: a card number is seen with any separators, also with digits before or behind it, and what is none is not. Expected value:
    /// the checksum as ISO/IEC 7812-1 says it, over every stretch, one by one.
    #[test]
    fn card_numbers_are_seen(digits in prop::collection::vec(0..10_u32, 12..19), separators in "[ ./_-]{20}") {
        let is_card = |digits: &[u32]| {
            let doubled = |(at, digit): (usize, &u32)| if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { *digit };
            matches!(digits, [3..=6, ..] | [2, 2..=7, ..]) && digits.iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
        };
        let digits: Vec<u32> = [4].into_iter().chain(digits).collect();
        let end = digits.len();
        let at_ends = (13..=end).any(|length| is_card(&digits[..length]) || is_card(&digits[end - length..]));
        let anywhere = (13..=end).any(|length| digits.windows(length).any(is_card));
        let written: Vec<String> = digits.iter().map(u32::to_string).collect();
        prop_assert_eq!(super::cards::found(written.concat().as_bytes()), at_ends, "{:?}", digits);
        let spread: String = written.iter().zip(separators.chars()).flat_map(|(digit, separator)| digit.chars().chain([separator])).collect();
        prop_assert_eq!(super::cards::found(spread.as_bytes()), anywhere, "{}", spread);
    }
}

/// Guarantees: of random strings in the alphabets in which keys are written, not one in twenty is missed.
#[test]
fn random_strings_are_seen() {
    const STRINGS: usize = 2_000;
    for (length, alphabet) in [
        (43, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
        (43, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
        (40, "0123456789abcdef"),
        (32, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"),
        (32, "abcdefghijklmnopqrstuvwxyz0123456789"),
        (52, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
        (48, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    ] {
        let digit = select(alphabet.chars().collect::<Vec<_>>());
        let string = prop::collection::vec(digit, length).prop_map(|digits| digits.into_iter().collect::<String>());
        let mut runner = TestRunner::deterministic();
        let missed = (0..STRINGS).filter(|_| !thorough(&string.new_tree(&mut runner).unwrap().current())).count();
        assert!(missed * 20 < STRINGS, "{missed} of {STRINGS} in {alphabet}");
    }
}

/// Guarantees: what the log is made of is harmless at a glance, but for a few texts; else the detectors would be the usual way.
#[test]
fn the_glance_is_enough_for_most() {
    let texts = honest_texts();
    let looked_at = texts.iter().filter(|text| !surely_harmless(text.as_bytes())).count();
    assert!(looked_at * 20 < texts.len(), "{looked_at} of {}", texts.len());
    assert!(glance::is_uuid(b"0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11"));
}
