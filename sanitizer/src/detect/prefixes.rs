//! What keys of vendors start with, as the vendors publish it so that scanners can find them. The tails are shorter than the real ones: a key
//! that was cut is a leak too.

/// What a key starts with, and what at least follows.
pub(super) struct Key {
    pub(super) prefix: &'static [u8],
    /// Whether a byte can be in the rest of the key.
    pub(super) tail: fn(u8) -> bool,
    /// Fewest bytes of the rest.
    pub(super) min_tail_bytes: usize,
    pub(super) hold: Hold,
}

/// How surely a prefix says that what follows is a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// In any case of letters, also with a word glued in front and with separators in the key, where that looks random.
    Anywhere,
    /// The same, but as it is written: without a separator of its own it could be part of a name.
    AsWritten,
    /// As it is written, and where a word starts: it is a word itself.
    Word,
}

const fn key(prefix: &'static str, tail: fn(u8) -> bool, min_tail_bytes: usize) -> Key {
    Key { prefix: prefix.as_bytes(), tail, min_tail_bytes, hold: Hold::Anywhere }
}

const fn as_written(prefix: &'static str, tail: fn(u8) -> bool, min_tail_bytes: usize) -> Key {
    Key { prefix: prefix.as_bytes(), tail, min_tail_bytes, hold: Hold::AsWritten }
}

const fn word_only(prefix: &'static str, tail: fn(u8) -> bool, min_tail_bytes: usize) -> Key {
    Key { prefix: prefix.as_bytes(), tail, min_tail_bytes, hold: Hold::Word }
}

fn alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Digits of base64url.
pub(super) fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn dotted(byte: u8) -> bool {
    word(byte) || byte == b'.'
}

pub(super) fn hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// Digits of base64, for secrets in it and in paths.
fn path(byte: u8) -> bool {
    word(byte) || matches!(byte, b'/' | b'+')
}

/// Letters and digits, and no others are in the ids of AWS' keys.
fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn code(byte: u8) -> bool {
    upper(byte) || byte == b'-'
}

fn uuid(byte: u8) -> bool {
    hex(byte) || byte == b'-'
}

/// Any other key that starts with `sk-` has a rule of its own, as have the pooler's.
pub(super) const KEYS: &[Key] = &[
    // AI services.
    key("sk-proj-", word, 12),
    key("sk-svcacct-", word, 12),
    key("sk-admin-", word, 16),
    key("sk-ant-", word, 12),
    key("sk-or-v1-", word, 12),
    key("sk-lf-", word, 12),
    key("pk-lf-", word, 12),
    key("hf_", alnum, 20),
    key("gsk_", alnum, 20),
    key("xai-", alnum, 20),
    key("nvapi-", word, 20),
    key("pplx-", alnum, 20),
    key("r8_", alnum, 20),
    key("fw_", alnum, 20),
    key("csk-", alnum, 20),
    key("tgp_v1_", word, 20),
    key("tvly-", word, 20),
    key("jina_", alnum, 20),
    key("lsv2_pt_", word, 20),
    key("lsv2_sk_", word, 20),
    key("pcsk_", word, 20),
    key("esecret_", alnum, 20),
    word_only("fc-", hex, 32),
    key("bedrock-api-key-", path, 40),
    as_written("ABSK", path, 40),
    // Code hosting, packages, builds.
    key("ghp_", alnum, 20),
    key("gho_", alnum, 20),
    key("ghu_", alnum, 20),
    key("ghs_", alnum, 20),
    key("ghr_", alnum, 20),
    key("github_pat_", word, 20),
    key("glpat-", word, 16),
    key("gldt-", word, 16),
    key("glrt-", word, 16),
    key("glrtr-", word, 16),
    key("glcbt-", word, 16),
    key("glptt-", word, 16),
    key("glft-", word, 16),
    key("glsoat-", word, 16),
    key("glagent-", word, 16),
    key("glimt-", word, 16),
    key("glffct-", word, 16),
    key("gloas-", word, 16),
    key("ATCTT3xFf", word, 20),
    as_written("ATATT3", word, 20),
    as_written("ATBB", alnum, 28),
    key("npm_", alnum, 20),
    key("npms_", alnum, 20),
    key("pypi-", word, 16),
    key("rubygems_", hex, 20),
    key("clojars_", alnum, 20),
    key("dckr_pat_", word, 16),
    key("dckr_oat_", word, 16),
    key("sgp_", alnum, 20),
    key("bkua_", hex, 20),
    key("CCIPAT_", word, 20),
    key("sqp_", hex, 20),
    key("sqa_", hex, 20),
    key("squ_", hex, 20),
    as_written("cmVmd", alnum, 40),
    as_written("AKCp", alnum, 40),
    // Clouds and infrastructure.
    as_written("AKIA", alnum, 16),
    as_written("ASIA", upper, 16),
    as_written("ABIA", upper, 16),
    as_written("ACCA", upper, 16),
    as_written("AIza", word, 30),
    as_written("LTAI", alnum, 16),
    as_written("AKID", alnum, 28),
    key("ya29.", word, 16),
    key("GOCSPX-", word, 16),
    key("GOOG1E", alnum, 20),
    key("dop_v1_", hex, 20),
    key("doo_v1_", hex, 20),
    key("dor_v1_", hex, 20),
    as_written("dapi", hex, 32),
    key("hvs.", word, 20),
    key("hvb.", word, 20),
    key("hvr.", word, 20),
    key("tskey-", word, 16),
    key("AGE-SECRET-KEY-1", alnum, 20),
    key("AGE-PLUGIN-", word, 20),
    key("HRKU-AA", word, 20),
    key("fo1_", word, 20),
    key("fm2_", path, 20),
    key("fio-u-", word, 20),
    key("pul-", hex, 20),
    key("pscale_tkn_", dotted, 16),
    key("pscale_pw_", dotted, 16),
    key("pscale_oauth_", dotted, 16),
    key("sbp_", hex, 20),
    key("sb_secret_", word, 16),
    key("dp.pt.", alnum, 20),
    key("dp.st.", dotted, 20),
    key("dt0c01.", dotted, 20),
    key("dt0s01.", dotted, 20),
    key("rnd_", alnum, 20),
    key("ico-", alnum, 20),
    key("cfut_", word, 20),
    key("cfat_", word, 20),
    key("cfk_", word, 20),
    key("ops_eyJ", path, 20),
    as_written("A3-", code, 24),
    // Observability.
    key("glsa_", word, 20),
    key("glc_", path, 20),
    key("sntrys_", path, 20),
    key("sntryu_", hex, 20),
    key("NRAK-", alnum, 20),
    key("NRII-", word, 20),
    key("NRJS-", alnum, 16),
    key("phc_", alnum, 20),
    key("phx_", alnum, 20),
    key("xkeysib-", hex, 20),
    key("sm_pat_", alnum, 16),
    key("sm_sat_", alnum, 16),
    // Payment, mail, chat, shops, tools.
    key("sk_live_", word, 10),
    key("sk_test_", word, 10),
    key("sk_prod_", word, 10),
    key("pk_live_", word, 10),
    key("pk_test_", word, 10),
    key("rk_live_", word, 10),
    key("ek_live_", word, 10),
    key("ek_test_", word, 10),
    key("rk_test_", word, 10),
    key("rk_prod_", word, 10),
    key("whsec_", path, 20),
    key("sq0atp-", word, 16),
    key("sq0csp-", word, 16),
    as_written("EAAA", word, 40),
    key("access-sandbox-", uuid, 20),
    key("access-production-", uuid, 20),
    key("shippo_live_", hex, 16),
    key("shippo_test_", hex, 16),
    key("duffel_live_", word, 16),
    key("duffel_test_", word, 16),
    key("FLWSECK-", word, 16),
    key("FLWSECK_TEST-", word, 12),
    as_written("EZAK", alnum, 30),
    as_written("EZTK", alnum, 30),
    key("SG.", dotted, 30),
    word_only("key-", hex, 32),
    word_only("SK", hex, 32),
    key("xoxa-", word, 10),
    key("xoxb-", word, 10),
    key("xoxc-", word, 10),
    key("xoxd-", word, 10),
    key("xoxe-", word, 10),
    key("xoxe.", dotted, 10),
    key("xoxo-", word, 10),
    key("xoxp-", word, 10),
    key("xoxr-", word, 10),
    key("xoxs-", word, 10),
    key("xapp-", word, 10),
    key("hooks.slack.com/services/", path, 8),
    key("hooks.slack.com/workflows/", path, 8),
    key("hooks.slack.com/triggers/", path, 8),
    key("discord.com/api/webhooks/", path, 8),
    key("discordapp.com/api/webhooks/", path, 8),
    key("webhook.office.com/webhookb2/", path, 8),
    key("shpat_", alnum, 20),
    key("shpca_", alnum, 20),
    key("shppa_", alnum, 20),
    key("shpss_", alnum, 20),
    key("shptka_", alnum, 20),
    key("lin_api_", alnum, 20),
    key("lin_oauth_", alnum, 20),
    key("secret_", alnum, 40),
    key("ntn_", alnum, 20),
    key("figd_", word, 20),
    key("PMAK-", word, 20),
    key("pnu_", alnum, 20),
    key("rdme_", alnum, 20),
    key("p8e-", alnum, 20),
    key("CFPAT-", word, 20),
    key("dnkey-", word, 20),
    key("tk-us-", word, 40),
];
