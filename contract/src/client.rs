//! Which client sent a request, from the head of its user agent: a closed family and a version. The rest of the header is never kept.

use crate::ClientFamily;

/// Longest version that is kept, in characters.
const MAX_VERSION_CHARS: usize = 32;
/// Most numbers in a version.
const MAX_VERSION_NUMBERS: usize = 4;
/// Longest suffix of a version, in characters.
const MAX_SUFFIX_CHARS: usize = 16;

/// The name by which the request log shows a family.
#[must_use]
pub const fn label(family: ClientFamily) -> &'static str {
    match family {
        ClientFamily::CodexDesktop => "Codex Desktop",
        ClientFamily::Codex => "Codex",
        ClientFamily::Opencode => "opencode",
        ClientFamily::Openclaw => "OpenClaw",
        ClientFamily::Hermes => "Hermes Agent",
        ClientFamily::Windmill => "Windmill",
        ClientFamily::Aider => "Aider",
        ClientFamily::Continue => "Continue",
        ClientFamily::Cline => "Cline",
        ClientFamily::Goose => "Goose",
        ClientFamily::OpenaiPython => "OpenAI Python SDK",
        ClientFamily::OpenaiNode => "OpenAI Node SDK",
        ClientFamily::VercelAiSdk => "Vercel AI SDK",
        ClientFamily::Python => "Python",
        ClientFamily::Node => "Node.js",
        ClientFamily::Curl => "curl",
        ClientFamily::ElixirHttp => "Elixir HTTP",
        ClientFamily::CodexPooler => "Codex Pooler",
        ClientFamily::Unknown | ClientFamily::Other => "Client",
    }
}

/// The family of a user agent; the first rule that matches wins.
#[must_use]
pub fn family(user_agent: &str) -> ClientFamily {
    let ua = user_agent.trim().to_lowercase();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| ua.starts_with(p));
    if starts(&["codex desktop/"]) {
        return ClientFamily::CodexDesktop;
    }
    if starts(&["codex cli/", "codex-tui/", "codex_exec/"]) {
        return ClientFamily::Codex;
    }
    for (word, family) in
        [("opencode", ClientFamily::Opencode), ("openclaw", ClientFamily::Openclaw), ("hermes", ClientFamily::Hermes)]
    {
        if ua.contains(word) {
            return family;
        }
    }
    if starts(&["windmill/"]) {
        return ClientFamily::Windmill;
    }
    for (word, family) in [
        ("aider", ClientFamily::Aider),
        ("continue", ClientFamily::Continue),
        ("cline", ClientFamily::Cline),
        ("goose", ClientFamily::Goose),
    ] {
        if ua.contains(word) {
            return family;
        }
    }
    if starts(&["openai/python", "asyncopenai/python"]) {
        ClientFamily::OpenaiPython
    } else if starts(&["openai/js"]) {
        ClientFamily::OpenaiNode
    } else if starts(&["ai/"]) && (ua.contains("ai-sdk") || ua.contains("runtime/node.js")) {
        ClientFamily::VercelAiSdk
    } else if starts(&["python-requests/", "python-urllib/"]) {
        ClientFamily::Python
    } else if ua == "node" || starts(&["node/"]) {
        ClientFamily::Node
    } else if starts(&["curl/"]) {
        ClientFamily::Curl
    } else if starts(&["mint/", "req/"]) {
        ClientFamily::ElixirHttp
    } else if starts(&["codex-pooler-"]) {
        ClientFamily::CodexPooler
    } else {
        ClientFamily::Unknown
    }
}

/// The version in `product/version …`: up to four numbers joined by dots, and a short suffix as pre-releases have one.
///
/// ```
/// use contract::client::version;
/// assert_eq!(version("codex_exec/0.142.0 (Ubuntu 24.04; x86_64)"), Some("0.142.0"));
/// assert_eq!(version("codex_exec/0.143.0-alpha.2 (Ubuntu 24.04)"), Some("0.143.0-alpha.2"));
/// assert_eq!(version("OpenAI/Python 1.2"), None);
/// ```
#[must_use]
pub fn version(user_agent: &str) -> Option<&str> {
    let after = user_agent.split_once('/')?.1;
    let version = after.split([' ', '(', ';']).next()?;
    let (numbers, suffix) = version.find(['-', '+']).map_or((version, None), |at| (&version[..at], Some(&version[at + 1..])));
    let numeric = numbers.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let short = numbers.split('.').count() <= MAX_VERSION_NUMBERS && version.len() <= MAX_VERSION_CHARS;
    let plain = suffix.is_none_or(|suffix| {
        (1..=MAX_SUFFIX_CHARS).contains(&suffix.len()) && suffix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
    });
    (numeric && short && plain).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: user agents of every family are told apart, the first rule winning, and shown by the log's names.
    #[test]
    fn families() {
        for (user_agent, expected_name, expected_label) in [
            ("Codex Desktop/1.2026.218 (Mac OS 15.6; arm64)", "codex_desktop", "Codex Desktop"),
            ("codex cli/0.9", "codex", "Codex"),
            ("codex-tui/0.142.0", "codex", "Codex"),
            ("codex_exec/0.142.0 (Ubuntu 24.04; x86_64) xterm-256color", "codex", "Codex"),
            ("opencode/1.18.4 ai-sdk/provider-utils/4.0.1 runtime/bun/1.3.5", "opencode", "opencode"),
            ("my-OpenClaw-bot", "openclaw", "OpenClaw"),
            ("hermes-agent/0.9", "hermes", "Hermes Agent"),
            ("windmill/1.5", "windmill", "Windmill"),
            ("aider/0.90", "aider", "Aider"),
            ("Continue/1.0", "continue", "Continue"),
            ("Cline/4.9.1", "cline", "Cline"),
            ("goose/1.21.0", "goose", "Goose"),
            ("OpenAI/Python 2.31.0", "openai_python", "OpenAI Python SDK"),
            ("AsyncOpenAI/Python 2.31.0", "openai_python", "OpenAI Python SDK"),
            ("OpenAI/JS 6.1.0", "openai_node", "OpenAI Node SDK"),
            ("ai/6.0.12 ai-sdk/openai/3.0.2 runtime/node.js/22", "vercel_ai_sdk", "Vercel AI SDK"),
            ("ai/6.0.12", "unknown", "Client"),
            ("python-requests/2.32.4", "python", "Python"),
            ("Python-urllib/3.13", "python", "Python"),
            ("node", "node", "Node.js"),
            ("node/22", "node", "Node.js"),
            ("nodejs", "unknown", "Client"),
            ("curl/8.9.1", "curl", "curl"),
            ("mint/1.7", "elixir_http", "Elixir HTTP"),
            ("req/0.5", "elixir_http", "Elixir HTTP"),
            ("codex-pooler-probe/1", "codex_pooler", "Codex Pooler"),
            ("Mozilla/5.0", "unknown", "Client"),
            ("", "unknown", "Client"),
        ] {
            let family = family(user_agent);
            assert_eq!((family.as_str(), label(family)), (expected_name, expected_label), "{user_agent}");
        }
    }

    /// Guarantees: nothing but a version is taken out of a header, whatever a client writes there.
    #[test]
    fn versions() {
        for (user_agent, expected) in [
            ("Codex Desktop/1.2026.218 (Mac OS 15.6; arm64)", Some("1.2026.218")),
            ("goose/1.21.0", Some("1.21.0")),
            ("codex_exec/0.143.0-alpha.2", Some("0.143.0-alpha.2")),
            ("codex_exec/0.143.0-", None),
            ("codex_exec/0.143.0-my-secret-is-long", None),
            ("codex_exec/0.143.0-a@b", None),
            ("x/1.2.3.4.5", None),
            ("x/1..2", None),
            ("x/alice@example.com", None),
            ("node", None),
        ] {
            assert_eq!(version(user_agent), expected, "{user_agent}");
        }
    }
}
