"""What is sent: for every way of sending a request row and two attempts, with the attributes of docs/attributes.md, and beside them what must
not get through. Nothing here comes from the project's own code; the expected texts of the columns are written by hand."""

import base64
import dataclasses
import json
import time
import urllib.parse
import uuid

SCOPE = "codex_pooler.telemetry"
NS_PER_MS = 1_000_000
ACCOUNT_ID = "63918144-2107-4e99-9119-c5edfe6f6b9b"


@dataclasses.dataclass
class Row:
    """One request, sent in one way."""

    way: str
    number: int

    def __post_init__(self):
        self.id = uuid.UUID(f"5eed{self.number:04x}-0000-4000-8000-0000000000{self.number:02x}")
        self.correlation_id = f"corr-{self.way}-{self.number:04d}"
        self.pool = f"pool-{self.way}"
        self.account = f"Aurora seat {self.number}"
        self.model = f"gpt-5.{self.number}"
        self.status = "failed" if self.number % 2 else "succeeded"
        self.admitted_ms = int(time.time() * 1000) - 20_000
        self.secrets = []

    @property
    def trace_id(self):
        return self.id.hex

    @property
    def failed(self):
        return self.status == "failed"

    def columns(self):
        """The nine columns as the request log shows them."""
        admitted = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.admitted_ms // 1000))
        return {
            "status": "Failed" if self.failed else "Succeeded",
            "time": admitted,
            "upstream account": f"{self.account} · Interop",
            "plan": "Pro",
            "model and API key": f"{self.model} · high / default · CI agents",
            "transport": "HTTP SSE · Codex 0.142.0",
            "route": "/backend-api/codex/responses · 8.4s",
            "usage": "– (usage unknown)" if self.failed else "50.1k tokens · 41k cached · $0.0331",
            "errors": "upstream_network_error" if self.failed else "–",
        }

    def attributes(self):
        """The legal attributes of the row span."""
        columns = self.columns()
        legal = {
            "codex_pooler.record.kind": "request",
            "codex_pooler.request.id": str(self.id),
            "codex_pooler.request.correlation_id": self.correlation_id,
            "codex_pooler.request.search": f"{self.id} {self.correlation_id}",
            "codex_pooler.request.admitted_ms": self.admitted_ms,
            "codex_pooler.request.status": self.status,
            "codex_pooler.request.outcome": "bad" if self.failed else "good",
            "codex_pooler.pool.slug": self.pool,
            "codex_pooler.pool.name": "Interop",
            "codex_pooler.upstream.account.id": ACCOUNT_ID,
            "codex_pooler.upstream.account.label": self.account,
            "codex_pooler.upstream.plan.label": columns["plan"],
            "codex_pooler.upstream.plan.family": "pro",
            "codex_pooler.api_key.label": "CI agents",
            "codex_pooler.api_key.prefix": "sk-cxp-1b158839f8aa",
            "codex_pooler.request.model": self.model,
            "codex_pooler.request.transport": "http_sse",
            "codex_pooler.request.route_class": "proxy_stream",
            "codex_pooler.request.serving_mode": "full",
            "codex_pooler.request.retry_count": 1,
            "codex_pooler.request.latency_ms": 8423,
            "codex_pooler.reasoning_effort.effective": "high",
            "codex_pooler.error.code": "upstream_network_error" if self.failed else "none",
            "codex_pooler.usage.status": "usage_unknown" if self.failed else "usage_known",
            "codex_pooler.pricing.status": "none" if self.failed else "priced",
            "codex_pooler.text.id": str(self.id)[:8],
            "codex_pooler.text.account": columns["upstream account"],
            "codex_pooler.text.model": columns["model and API key"],
            "codex_pooler.text.transport": columns["transport"],
            "codex_pooler.text.route": columns["route"],
            "codex_pooler.text.usage": columns["usage"],
            "codex_pooler.text.errors": columns["errors"],
            "http.request.method": "POST",
            "http.route": "/backend-api/codex/responses",
            "http.response.status_code": 502 if self.failed else 200,
            "user_agent.name": "codex",
            "user_agent.version": "0.142.0",
        }
        if self.failed:
            legal["error.type"] = "upstream_network_error"
        else:
            legal |= {
                "codex_pooler.usage.input_tokens": 48210,
                "codex_pooler.usage.cache_read.input_tokens": 40960,
                "codex_pooler.usage.output_tokens": 1893,
                "codex_pooler.usage.total_tokens": 50103,
                "codex_pooler.cost.settled_usd": 0.0331125,
            }
        return legal

    def attempt(self, attempt_number):
        """Name and attributes of an attempt; the label of its account is an e-mail address."""
        return f"chat {self.model}", {
            "codex_pooler.record.kind": "attempt",
            "codex_pooler.request.id": str(self.id),
            "codex_pooler.pool.slug": self.pool,
            "codex_pooler.upstream.account.id": ACCOUNT_ID,
            "codex_pooler.upstream.account.label": f"{self.secret('label')}@example.com",
            "codex_pooler.attempt.number": attempt_number,
            "codex_pooler.attempt.status": "retryable_failed" if attempt_number == 1 else self.status,
            "codex_pooler.attempt.transport": "http_sse",
            "codex_pooler.error.code": "upstream_network_error",
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": self.model,
            "gen_ai.input.messages": self.prompt("attempt-prompt"),
        }

    def secret(self, place):
        """A text that must not get through, new for every place."""
        text = f"zq7{self.way}-{len(self.secrets)}-{place}"
        self.secrets.append(text)
        return text

    def prompt(self, place):
        """The secret as a prompt's messages."""
        return json.dumps([{"role": "user", "parts": [{"content": f'{self.secret(place)}: "write me a poem"?'}]}])

    def forbidden(self):
        """Attributes of the row span that must go: content, credentials, an unknown key, a second label."""
        return {
            "gen_ai.input.messages": self.prompt("input-messages"),
            "gen_ai.output.messages": self.prompt("output-messages"),
            "gen_ai.system_instructions": self.prompt("instructions"),
            "http.request.header.authorization": f"Bearer {self.secret('authorization')}",
            "client.address": f"192.0.2.7 {self.secret('address')}",
            "some.unknown.key": self.secret("unknown-key"),
            self.secret("in-a-key"): True,
            "codex_pooler.reasoning_effort.source": self.prompt("legal-key"),
        }


def encodings(text):
    """The text as software might carry it on."""
    raw = text.encode()
    found = {
        "raw": raw,
        "upper case": raw.upper(),
        "hexadecimal": raw.hex().encode(),
        "percent-encoded": urllib.parse.quote(text, safe="").encode(),
        "UTF-16": text.encode("utf-16-le"),
        "UTF-16 big-endian": text.encode("utf-16-be"),
    }
    for shift in range(3):
        # The digits that the text alone decides, whatever stands before and after it.
        digits = base64.b64encode(b"\0" * shift + raw)
        found[f"base64 {shift}"] = digits[(shift * 8 + 5) // 6 : (shift + len(raw)) * 8 // 6]
        found[f"base64url {shift}"] = found[f"base64 {shift}"].replace(b"+", b"-").replace(b"/", b"_")
    return found
