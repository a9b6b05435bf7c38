//! Which client sent a request, from the head of its user agent: a closed family and a version. The rest of the header is never kept.

use crate::ClientFamily;

/// Longest version that is kept, in characters.
const MAX_VERSION_CHARS: usize = 32;

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

/// The version in `product/version …`, where it is made of digits and dots.
///
/// ```
/// assert_eq!(contract::client::version("codex_exec/0.142.0 (Ubuntu 24.04; x86_64)"), Some("0.142.0"));
/// assert_eq!(contract::client::version("OpenAI/Python 1.2"), None);
/// ```
#[must_use]
pub fn version(user_agent: &str) -> Option<&str> {
    let after = user_agent.split_once('/')?.1;
    let version = after.split([' ', '(', ';']).next()?;
    let parts: Vec<&str> = version.split('.').collect();
    let numeric = parts.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    (numeric && parts.len() <= 4 && version.len() <= MAX_VERSION_CHARS).then_some(version)
}
