//! Keys that no operator can let in. Each family says why, so that who meets the refusal knows what to do about it.

/// Longest key of an operator's own, in bytes.
const MAX_KEY_BYTES: usize = 64;

/// Keys that have something in common.
struct Family {
    /// What a key starts with.
    prefixes: &'static [&'static str],
    /// What a part between dots or underscores is.
    words: &'static [&'static str],
    /// What a part between dots contains, with or without underscores. Only what is in no harmless word: `text` is in `context`, `content` in
    /// `contention`, `login` in `catalog_index`.
    stems: &'static [&'static str],
    why: &'static str,
}

const FAMILIES: &[Family] = &[
    Family {
        prefixes: &["codex_pooler.", "pooler_otel.", "otel.", "telemetry.", "service."],
        words: &[],
        stems: &[],
        why: "this namespace belongs to the contract or to opentelemetry itself; choose another",
    },
    Family {
        // OpenTelemetry's conventions, OpenInference, OpenLLMetry, the Vercel AI SDK, and the products built on them.
        prefixes: &[
            "gen_ai.",
            "openai.",
            "azure.ai.",
            "aws.bedrock.",
            "openinference.",
            "llm.",
            "llms.",
            "traceloop.",
            "langfuse.",
            "langsmith.",
            "langchain.",
            "langgraph.",
            "crewai.",
            "ai.",
            "mlflow.",
            "logfire.",
            "haystack.",
            "pydantic_ai.",
            "mcp.",
            "agent.",
            "tool.",
            "tool_call.",
            "retrieval.",
            "embedding.",
            "document.",
            "reranker.",
        ],
        words: &[
            "prompt",
            "prompts",
            "completion",
            "completions",
            "message",
            "messages",
            "instruction",
            "instructions",
            "conversation",
            "chat",
            "transcript",
            "reasoning",
            "thinking",
            "question",
            "questions",
            "answer",
            "answers",
            "utterance",
            "utterances",
        ],
        stems: &["prompt", "completion", "message", "instruction", "conversation", "transcript", "reasoning", "thinking"],
        why: "such attributes hold what users and models say; remove this one: what may be known of a model call is in the contract",
    },
    Family {
        prefixes: &[
            "http.request.header.",
            "http.response.header.",
            "http.request.body.",
            "http.response.body.",
            "rpc.request.metadata.",
            "rpc.response.metadata.",
        ],
        words: &[
            "content",
            "contents",
            "body",
            "payload",
            "header",
            "headers",
            "input",
            "inputs",
            "output",
            "outputs",
            "argument",
            "arguments",
            "args",
            "parameter",
            "parameters",
            "params",
            "result",
            "results",
            "data",
            "raw",
            "original",
            "text",
            "file",
            "filename",
        ],
        stems: &[
            "payload",
            "header",
            "argument",
            "filename",
            "requestbody",
            "responsebody",
            "userinput",
            "usertext",
            "inputtext",
            "outputtext",
            "rawtext",
            "fulltext",
            "modeloutput",
            "userdata",
        ],
        why: "such attributes hold content of requests and responses, which never leaves the pooler; remove this one",
    },
    Family {
        prefixes: &["url.", "http.url", "http.target", "http.host", "http.path", "http.query"],
        words: &["url", "uri", "referer", "referrer", "query", "path"],
        stems: &[
            "requesturl",
            "requesturi",
            "baseurl",
            "fullurl",
            "callbackurl",
            "querystring",
            "filepath",
            "referer",
            "referrer",
        ],
        why: "addresses of pages and queries hold ids, names and credentials; the route template is in `http.route`",
    },
    Family {
        prefixes: &["client.", "server.", "source.", "destination.", "net.", "network.", "peer.", "host.", "dns.", "geo."],
        words: &["address", "addresses", "ip", "ips", "mac", "hostname", "email", "mail", "phone"],
        stems: &[
            "address",
            "ipaddr",
            "remoteaddr",
            "clientip",
            "remoteip",
            "sourceip",
            "peerip",
            "hostname",
            "email",
            "mailbox",
            "phonenumber",
        ],
        why: "such attributes say where somebody is or how to reach them; remove this one",
    },
    Family {
        prefixes: &["user.", "enduser.", "user_agent.", "session.", "identity.", "person.", "customer."],
        words: &["user", "username", "login", "cookie", "cookies", "uid", "ssn", "iban"],
        stems: &["username", "userid", "useragent", "sessionid", "cookie"],
        why: "such attributes identify people; remove this one",
    },
    Family {
        prefixes: &[
            "exception.",
            "error.",
            "db.",
            "messaging.",
            "rpc.",
            "graphql.",
            "code.",
            "thread.",
            "process.",
            "log.",
            "event.",
            "faas.",
            "feature_flag.",
            "cloudevents.",
            "browser.",
            "device.",
            "app.",
        ],
        words: &[
            "statement",
            "sql",
            "stacktrace",
            "stack",
            "backtrace",
            "command",
            "cmdline",
            "env",
            "environ",
            "description",
            "reason",
            "detail",
            "details",
            "comment",
            "note",
            "title",
            "subject",
        ],
        stems: &["stacktrace", "backtrace", "commandline", "cmdline"],
        why: "such attributes hold free text, such as messages of errors, queries and command lines; remove this one",
    },
    Family {
        prefixes: &["aws.", "gcp.", "azure.", "oauth.", "auth.", "tls.", "vault."],
        words: &[
            "authorization",
            "auth",
            "bearer",
            "credential",
            "credentials",
            "password",
            "passwd",
            "pwd",
            "passphrase",
            "secret",
            "secrets",
            "token",
            "apikey",
            "signature",
            "jwt",
            "hash",
            "certificate",
            "cert",
            "private",
        ],
        stems: &[
            "apikey",
            "accesskey",
            "privatekey",
            "signingkey",
            "authkey",
            "apitoken",
            "accesstoken",
            "authtoken",
            "idtoken",
            "refreshtoken",
            "sessiontoken",
            "bearer",
            "password",
            "passwd",
            "passphrase",
            "secret",
            "credential",
            "authorization",
        ],
        why: "such attributes hold credentials; remove this one",
    },
];

/// Why a key cannot be added, if it cannot.
pub(super) fn refusal(key: &str) -> Option<&'static str> {
    if !is_well_formed(key) {
        return Some(
            "a key is two or more words of a-z, 0-9 and _ that start with a letter, joined by dots, with at most 64 characters",
        );
    }
    if contract::attribute(key).is_some() {
        return Some("the contract has this attribute already; tighten it under `tighten`");
    }
    let joined = key.replace('_', "");
    let has = |family: &&Family| {
        family.prefixes.iter().any(|prefix| key.starts_with(prefix) || prefix.strip_suffix('.') == Some(key))
            || key.split(['.', '_']).any(|word| family.words.contains(&word))
            || joined.split('.').any(|part| family.stems.iter().any(|stem| part.contains(stem)))
    };
    FAMILIES.iter().find(has).map(|family| family.why)
}

fn is_well_formed(key: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    key.len() <= MAX_KEY_BYTES && key.contains('.') && key.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: keys of the conventions that hold content, identity or credentials cannot be added, in the spellings that SDKs use.
    #[test]
    fn content_and_identity_cannot_be_added() {
        for key in [
            "gen_ai.input.messages",
            "gen_ai.output.messages",
            "gen_ai.system_instructions",
            "gen_ai.tool.call.arguments",
            "gen_ai.prompt",
            "gen_ai.conversation.id",
            "openai.response.system_fingerprint",
            "llm.input_messages.0",
            "llm.prompts",
            "input.value",
            "output.value",
            "traceloop.entity.input",
            "langfuse.trace.output",
            "ai.prompt.messages",
            "http.request.header.authorization",
            "http.request.body.content",
            "http.response.body",
            "url.full",
            "url.path",
            "url.query",
            "http.target",
            "http.url",
            "client.address",
            "client.port",
            "server.address",
            "source.address",
            "network.peer.address",
            "net.peer.ip",
            "host.name",
            "user.id",
            "user.email",
            "enduser.id",
            "session.id",
            "user_agent.original",
            "exception.message",
            "exception.stacktrace",
            "error.message",
            "db.query.text",
            "db.query.parameter",
            "db.statement",
            "messaging.message.body",
            "rpc.request.metadata",
            "process.command_line",
            "code.stacktrace",
            "log.record.original",
            "codex_pooler.note",
            "pooler_otel.place",
            "otel.scope.name",
            "telemetry.distro.name",
            "service.peer.name",
            "team.api_token",
            "team.auth",
            "file.path",
            "team.file_name",
            "acme.owner_email",
            "acme.prompt_text",
            "aws.bedrock.guardrail.id",
            "tls.client.certificate",
            "mcp.tool.name",
            "acme.userprompt",
            "acme.prompttext",
            "acme.promptText",
            "acme.last_user_prompts",
            "acme.chatmessages",
            "acme.api_key",
            "acme.apikey",
            "acme.apiKey",
            "acme.useraccesstoken",
            "acme.db_pass_word",
            "acme.ipaddr",
            "acme.ip_addr",
            "acme.remoteaddr",
            "acme.owneremail",
            "acme.e_mail",
            "acme.mailaddress",
            "acme.user_id",
            "acme.userid",
            "acme.session_id",
            "acme.httpheaders",
            "acme.reqpayload",
            "acme.db_pwd",
            "acme.last_question",
            "acme.model_answer",
            "acme.utterance",
        ] {
            assert!(refusal(key).is_some(), "{key}");
        }
    }

    /// Guarantees: a key cannot be a carrier of text itself.
    #[test]
    fn keys_have_a_form() {
        let long = format!("a.{}", "b".repeat(63));
        for key in ["", "bare", "K8s.pod", "a b.c", "a..b", ".a", "a.", "a.1b", "a.b-c", "a.é", "a@b.c", "a\n.b", &long] {
            assert!(refusal(key).is_some_and(|why| why.starts_with("a key is")), "{key}");
        }
    }

    /// Guarantees: what operators need for their dashboards can be added.
    #[test]
    fn places_and_numbers_can_be_added() {
        for key in [
            "k8s.namespace.name",
            "k8s.pod.name",
            "k8s.cluster.name",
            "deployment.zone",
            "cloud.region",
            "cloud.availability_zone",
            "queue.depth",
            "container.image_tag",
            "team.cost_center",
            "rack.number",
            "team.context",
            "lock.contention",
            "catalog.index",
            "catalog_index.size",
            "app_class.name",
            "max.tokens",
            "k8s.pod.label_tier",
            "chip.revision",
            "skip.count",
            "postgresql.version",
        ] {
            assert_eq!(refusal(key), None, "{key}");
        }
    }
}
