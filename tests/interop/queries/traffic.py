"""The traffic: every request that is sent, as a fact from which the oracle counts, and as the OTLP/JSON that an emitter would send.

Two waves of the same kinds of requests. The first one makes every series, so that what the second one adds is exactly what a counter grows by
between a scrape before it and a scrape after it. Nothing here comes from the project's own code."""

import dataclasses
import hashlib
import json
import time
import uuid

NS_PER_MS = 1_000_000
PLANS = {"Aurora seat 1": "Pro", "Команда (7)": "Team", "C++ dev. #1/2": "ChatGPT Plus (Plus)", "O'Brien & Co": "Pro"}
POOLS = {"core-agents": "Core agents", "night_shift-2": "Night & day (2)"}
RESPONSES, COMPACT = "/backend-api/codex/responses", "/backend-api/codex/responses/compact"
TRANSPORTS = {"http_sse": "HTTP SSE", "websocket": "WebSocket", "http_compact_json": "HTTP"}
CLASSES = {"http_sse": "proxy_stream", "websocket": "proxy_websocket", "http_compact_json": "proxy_compact"}
NEUTRAL_CODES = {"client_disconnected", "invalid_request_error"}
#: Later than the ten minutes from which a row counts as late, and within the fifteen in which Tempo searches what it has not flushed.
LATE_MS = 12 * 60_000
#: A secret that a misbehaving client puts where an id belongs; no real one.
LEAKED = "ghp_" + "a1B2c3D4e5F6" * 3


@dataclasses.dataclass
class Attempt:
    account: str
    status: str
    code: str = "none"
    first_output_s: float | None = None


@dataclasses.dataclass
class Request:
    """One request. `usage` is (input, cached, written, output, reasoning) tokens where it is known."""

    pool: str
    model: str
    status: str
    attempts: list
    code: str = "none"
    usage_status: str = "usage_known"
    usage: tuple | None = None
    cost: float | None = None
    pricing: str = "none"
    transport: str = "http_sse"
    route: str = RESPONSES
    key: str = "CI agents"
    duration_ms: int = 2500
    late: bool = False
    incomplete: bool = False
    leaks: bool = False
    #: Usage and cost that a correction brings.
    corrected: tuple | None = None
    #: Open: sent as markers only, the last one this long ago.
    open_ms: int | None = None
    marked: bool = False
    number: int = 0
    wave: int = 0
    admitted_ms: int = 0

    @property
    def id(self):
        return str(uuid.UUID(f"{0xb0000000 + self.number:08x}-0000-4000-8000-{self.number:012d}"))

    @property
    def trace_id(self):
        return self.id.replace("-", "")

    @property
    def correlation_id(self):
        return "none" if self.leaks else f"Corr.{self.wave}-{self.number}"

    @property
    def account(self):
        return self.attempts[-1].account if self.attempts else "none"

    @property
    def outcome(self):
        if self.status == "failed":
            return "neutral" if self.code in NEUTRAL_CODES else "bad"
        return "good" if self.status == "succeeded" else "neutral"

    def span_id(self, label, suffix=b"", size=8):
        text = b"codex-pooler/span/v1\0" + label.encode() + b"\0" + uuid.UUID(self.id).bytes + suffix
        return hashlib.sha256(text).digest()[:size].hex()

    def attributes(self, kind="request", corrected=False):
        """The attributes of the row or marker, after its correction where there is one."""
        in_progress = self.open_ms is not None or kind == "in_progress"
        usage, cost, pricing, usage_status = self.usage, self.cost, self.pricing, self.usage_status
        if corrected:
            (usage, cost), pricing, usage_status = self.corrected, "priced", "usage_known"
        if in_progress:
            usage, cost, pricing, usage_status = None, None, "none", "usage_pending"
        texts = {"usage_pending": "– (usage pending)", "usage_unknown": "– (usage unknown)", "not_applicable": "–"}
        # Known usage is chosen so that these texts can be written by hand: whole thousands of tokens, whole cents.
        usage_text = texts.get(usage_status)
        if usage:
            shown = f" · {usage[1] // 1000}k cached" if usage[1] else ""
            usage_text = f"{(usage[0] + usage[3]) // 1000}k tokens{shown} · " + ("cost n/a" if cost is None else f"${cost:.2f}")
        code = "none" if in_progress else self.code
        latency = "" if in_progress or not self.attempts else f" · {self.duration_ms / 1000:.1f}s"
        found = {
            "codex_pooler.record.kind": kind,
            "codex_pooler.request.id": self.id,
            "codex_pooler.request.correlation_id": self.correlation_id,
            "codex_pooler.request.search": f"{self.id} {self.correlation_id.lower()}" if not self.leaks else self.id,
            "codex_pooler.request.admitted_ms": self.admitted_ms,
            "codex_pooler.request.status": "in_progress" if in_progress else self.status,
            "codex_pooler.request.outcome": "neutral" if in_progress else self.outcome,
            "codex_pooler.pool.slug": self.pool,
            "codex_pooler.pool.name": POOLS[self.pool],
            "codex_pooler.upstream.account.label": self.account,
            "codex_pooler.upstream.plan.label": PLANS.get(self.account, "none"),
            "codex_pooler.upstream.plan.family": PLANS.get(self.account, "none").split()[0].lower(),
            "codex_pooler.api_key.label": self.key,
            "codex_pooler.request.model": self.model,
            "codex_pooler.request.transport": self.transport,
            "codex_pooler.request.route_class": CLASSES[self.transport],
            "codex_pooler.request.serving_mode": "full",
            "codex_pooler.request.retry_count": max(len(self.attempts) - 1, 0),
            "codex_pooler.error.code": code,
            "codex_pooler.usage.status": usage_status,
            "codex_pooler.pricing.status": pricing,
            "codex_pooler.text.id": self.id[:8],
            "codex_pooler.text.account": f"{self.account if self.attempts else '–'} · {POOLS[self.pool]}",
            "codex_pooler.text.model": f"{self.model if self.model != 'none' else '–'} / default · {self.key}",
            "codex_pooler.text.transport": f"{TRANSPORTS[self.transport]} · Codex 0.142.0",
            "codex_pooler.text.route": f"{self.route}{latency}",
            "codex_pooler.text.usage": usage_text,
            "codex_pooler.text.errors": "–" if code == "none" else code,
            "http.request.method": "POST",
            "http.route": self.route,
            "user_agent.name": "codex",
            "user_agent.version": "0.142.0",
        }
        if not in_progress:
            found["http.response.status_code"] = {"succeeded": 200, "rejected": 403}.get(self.status, 502)
            if self.attempts:
                found["codex_pooler.request.latency_ms"] = self.duration_ms
            if self.status == "failed":
                found["error.type"] = self.code
            if self.incomplete:
                found |= {"codex_pooler.response.status": "incomplete", "codex_pooler.response.incomplete_reason": "max_output_tokens"}
        if usage:
            found |= dict(zip(USAGE_KEYS, usage))
            found["codex_pooler.usage.total_tokens"] = usage[0] + usage[3]
            if cost is not None:
                found["codex_pooler.cost.settled_usd"] = cost
        return found

    def attempt_attributes(self, number):
        attempt = self.attempts[number - 1]
        found = {
            "codex_pooler.record.kind": "attempt",
            "codex_pooler.request.id": self.id,
            "codex_pooler.pool.slug": self.pool,
            "codex_pooler.upstream.account.label": attempt.account,
            "codex_pooler.upstream.plan.label": PLANS[attempt.account],
            "codex_pooler.attempt.number": number,
            "codex_pooler.attempt.status": attempt.status,
            "codex_pooler.attempt.transport": "http_sse",
            "codex_pooler.attempt.retryable": attempt.status == "retryable_failed",
            "codex_pooler.error.code": attempt.code,
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": self.model,
        }
        if attempt.first_output_s is not None:
            found["gen_ai.response.time_to_first_chunk"] = attempt.first_output_s
        return found

    def correction_attributes(self):
        after, before = self.attributes(corrected=True), self.attributes()
        changed = {key: value for key, value in after.items() if before.get(key) != value}
        return changed | {
            "codex_pooler.record.kind": "correction",
            "codex_pooler.request.id": self.id,
            "codex_pooler.correction.sequence": 1,
        }

    def attempt_span_ms(self, number):
        """Duration of an attempt: the last one takes the request's, earlier ones 400 ms."""
        return self.duration_ms if number == len(self.attempts) else 400

    def marker(self, sequence, at_ms):
        ids = {"traceId": self.span_id("in_progress_trace", size=16), "spanId": self.span_id("in_progress", sequence.to_bytes(4, "big"))}
        attributes = self.attributes("in_progress") | {"codex_pooler.in_progress.sequence": sequence}
        return span(ids, f"in_progress {self.route}", 1, (at_ms, at_ms), attributes)

    def spans(self):
        """What an emitter sends when the request is over, or has been open for a while."""
        now_ms = int(time.time() * 1000)
        found = []
        if self.open_ms is not None:
            return [self.marker(0, now_ms - self.open_ms - 1), self.marker(1, now_ms - self.open_ms)]
        if self.marked:
            found.append(self.marker(0, now_ms - 2000))
        end_ms = self.admitted_ms + self.duration_ms
        row = {"traceId": self.trace_id, "spanId": self.span_id("request")}
        attributes = self.attributes()
        if self.leaks:
            attributes["codex_pooler.request.correlation_id"] = LEAKED
            attributes["gen_ai.input.messages"] = "a prompt"
        found.append(span(row, f"POST {self.route}", 2, (self.admitted_ms, end_ms), attributes, failed=self.status == "failed"))
        for number in range(1, len(self.attempts) + 1):
            ids = {"traceId": self.trace_id, "spanId": self.span_id("attempt", number.to_bytes(4, "big")), "parentSpanId": row["spanId"]}
            times = (end_ms - self.attempt_span_ms(number), end_ms)
            found.append(span(ids, f"chat {self.model}", 3, times, self.attempt_attributes(number)))
        if self.corrected:
            ids = {"traceId": self.trace_id, "spanId": self.span_id("correction", (1).to_bytes(4, "big")), "parentSpanId": row["spanId"]}
            found.append(span(ids, "correction", 1, (now_ms, now_ms), self.correction_attributes()))
        return found


USAGE_KEYS = [
    f"codex_pooler.usage.{kind}_tokens" for kind in ("input", "cache_read.input", "cache_write.input", "output", "reasoning.output")
]


def kinds():
    """(copies in the second wave, a request); in the first wave one of each."""
    core, night = "core-agents", "night_shift-2"
    aurora, team, cpp, brien = PLANS
    good = lambda account, first=1.5: Attempt(account, "succeeded", first_output_s=first)
    usage, priced = (40_000, 20_000, 3_000, 2_000, 500), {"pricing": "priced"}
    unknown, none = {"usage_status": "usage_unknown"}, {"usage_status": "not_applicable"}
    failed = lambda account, code: Attempt(account, "failed", code)
    return [
        (16, Request(core, "gpt-5.4", "succeeded", [good(aurora)], usage=usage, cost=0.25, **priced)),
        (5, Request(core, "gpt-5.4-mini", "failed", [failed(team, "upstream_network_error")], "upstream_network_error", **unknown)),
        (3, Request(core, "gpt-5.4", "rejected", [], "model_not_allowed", key="Night (runner)+", duration_ms=3, **none)),
        (4, Request(night, "o3:exp_1/x.y", "succeeded", [Attempt(cpp, "retryable_failed", "rate_limit_exceeded"), good(brien, 0.3)],
                    usage=(6_000, 0, 0, 1_000, 0), cost=0.75, transport="websocket", duration_ms=45_100, **priced)),
        (2, Request(night, "gpt-5.4", "failed", [failed(brien, "client_disconnected")], "client_disconnected", **unknown)),
        (6, Request(night, "gpt-5.4-codex", "cancelled", [Attempt(brien, "cancelled")], key="Night (runner)+", **unknown)),
        (3, Request(core, "gpt-5.4", "succeeded", [good(aurora, 7.0)], usage=(8_000, 1_000, 0, 2_000, 1_000), pricing="unpriced_missing_model",
                    incomplete=True, duration_ms=12_400)),
        (2, Request(core, "gpt-5.4-mini", "succeeded", [good(team)], usage=usage, cost=0.25, late=True, **priced)),
        (14, Request(night, "gpt-5.4", "failed", [failed(cpp, "upstream_unauthorized")], "upstream_unauthorized", route=COMPACT,
                    transport="http_compact_json", **unknown)),
        (2, Request(night, "gpt-5.4-codex", "succeeded", [good(aurora)], usage_status="usage_pending", corrected=((9_000, 3_000, 0, 1_000, 0), 1.25))),
        (2, Request(night, "none", "rejected", [], "quota_exhausted", duration_ms=2, **none)),
        (2, Request(night, "gpt-5.4", "succeeded", [good(cpp)], usage=usage, cost=0.25, leaks=True, **priced)),
        (2, Request(core, "gpt-5.4", "succeeded", [good(aurora)], usage=usage, cost=0.25, marked=True, **priced)),
        (2, Request(core, "gpt-5.4-codex", "in_progress", [good(aurora)], open_ms=500, transport="websocket")),
        (1, Request(night, "gpt-5.4-mini", "in_progress", [good(brien)], open_ms=500)),
        (1, Request(night, "gpt-5.4", "in_progress", [good(cpp)], open_ms=70_000)),
    ]


def wave(number):
    """The requests of a wave, admitted some milliseconds apart, all of them over by now."""
    found = []
    for copies, kind in kinds():
        for _ in range(1 if number == 1 else copies):
            found.append(dataclasses.replace(kind, wave=number, number=number * 1000 + len(found)))
    now_ms = int(time.time() * 1000)
    for at, request in enumerate(found):
        request.admitted_ms = now_ms - 100_000 + number * 10_000 + at * 7 - (LATE_MS if request.late else 0)
    return found


def span(ids, name, kind, times_ms, attributes, failed=False):
    kinds = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}
    values = [
        {"key": key, "value": {kinds[type(value)]: str(value) if type(value) is int else value}} for key, value in attributes.items()
    ]
    start, end = (str(ms * NS_PER_MS) for ms in times_ms)
    found = ids | {"name": name, "kind": kind, "flags": 1, "startTimeUnixNano": start, "endTimeUnixNano": end, "attributes": values}
    return found | ({"status": {"code": 2}} if failed else {})


def message(spans):
    resource = [{"key": key, "value": {"stringValue": value}} for key, value in (("service.name", "codex-pooler"), ("service.version", "0.1.0"))]
    scope = {"scope": {"name": "codex_pooler.telemetry"}, "spans": spans}
    return json.dumps({"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [scope]}]}).encode()
