"""What every query must answer, counted from the traffic in plain Python. Nothing here reads an answer."""

import pathlib
import re

from grafana import ALL
from traffic import NEUTRAL_CODES, PLANS

QUOTA = {"rate_limit_exceeded", "quota_exhausted"}
TOKENS = dict(zip(("input", "cache_read", "cache_write", "output", "reasoning"), range(5)))
BUDGET = 0.01
#: How the registry declares a histogram's buckets.
BUCKETS = re.compile(r"prometheus: (\w+), buckets: \[([^]]+)\]")


class Oracle:
    """The answers for a choice of filters. `grown` is what a counter saw between two scrapes, `seen` everything that was ever sent."""

    def __init__(self, root, grown, seen, selection, seconds, instance, sent):
        text = pathlib.Path(root, "contract/registry/metrics.yaml").read_text()
        self.buckets = {name: [float(bound) for bound in bounds.split(",")] for name, bounds in BUCKETS.findall(text)}
        self.grown, self.seen, self.selection, self.seconds = grown, seen, selection, seconds
        self.instance, self.sent = instance, sent

    def passes(self, labels, ignore=()):
        """Whether something with these labels passes the filters that a metric with these labels can apply."""
        for name, chosen in self.selection.items():
            if chosen is ALL or name in ignore or name not in labels:
                continue
            chosen = [chosen] if isinstance(chosen, str) else chosen
            if name == "model":
                if not any(part.lower() in labels[name].lower() for part in chosen):
                    return False
            elif labels[name] not in chosen:
                return False
        return True

    # --- things that are counted ---------------------------------------------------------------------------------------------

    def requests(self, ignore=("status",)):
        """Finished requests that did not come late."""
        for request in self.grown:
            labels = {"pool": request.pool, "model": request.model, "transport": request.transport, "route": request.route}
            labels |= {"status": request.status, "outcome": request.outcome, "error_code": request.code}
            if request.open_ms is None and not request.late and self.passes(labels, ignore):
                yield labels, request

    def attempts(self, filtered=("pool", "account")):
        for request in self.grown:
            if request.open_ms is not None or request.late:
                continue
            for number, attempt in enumerate(request.attempts, 1):
                labels = {"pool": request.pool, "account": attempt.account, "model": request.model}
                labels |= {"status": attempt.status, "error_code": attempt.code}
                if self.passes({name: labels[name] for name in filtered}):
                    yield labels, (request, number, attempt)

    def settlements(self):
        for labels, request in self.requests():
            usage_status, pricing = ("usage_known", "priced") if request.corrected else (request.usage_status, request.pricing)
            if usage_status in ("usage_known", "usage_unknown"):
                yield {"pool": labels["pool"], "usage_status": usage_status, "pricing_status": pricing}, request

    def open(self, heartbeat):
        for request in self.seen:
            if request.open_ms is not None and (request.open_ms < 60_000) == heartbeat and self.passes({"pool": request.pool}):
                yield {"pool": request.pool}, request

    def accounts(self):
        """Pool, account and plan of everything that was seen with an account."""
        found = set()
        for request in self.seen:
            if request.open_ms is None:
                found |= {(request.pool, attempt.account) for attempt in request.attempts}
        return [{"pool": pool, "account": account, "plan": PLANS[account]} for pool, account in sorted(found)]

    # --- sums ----------------------------------------------------------------------------------------------------------------

    def sum(self, things, by=(), value=lambda thing: 1, where=lambda labels: True):
        """Sums by labels, as {labels: sum}; what has no labels is the key of an empty tuple."""
        found = {}
        for labels, thing in things:
            if where(labels):
                key = tuple(labels[label] for label in by)
                found[key] = found.get(key, 0) + value(thing)
        return found

    def rate(self, *args, **kwargs):
        return {key: value / self.seconds for key, value in self.sum(*args, **kwargs).items()}

    def failures(self, by=(), things=None):
        bad = self.sum(self.requests(), by, where=lambda labels: labels["outcome"] == "bad")
        all_ = self.sum(self.requests(), by, where=lambda labels: labels["outcome"] in ("good", "bad"))
        return {key: bad.get(key, 0) / count for key, count in all_.items()}

    def attempt_failures(self, by, least=0):
        telling = lambda labels: labels["error_code"] not in NEUTRAL_CODES
        bad = self.sum(self.attempts(), by, where=lambda labels: telling(labels) and labels["status"] in ("failed", "retryable_failed"))
        all_ = self.sum(self.attempts(), by, where=telling)
        return {key: bad.get(key, 0) / count for key, count in all_.items() if count >= least}

    def tokens(self, kind, by=()):
        usage = lambda request: (request.corrected[0] if request.corrected else request.usage) or (0,) * 5
        return self.sum(self.requests(), by, lambda request: usage(request)[TOKENS[kind]])

    def cost(self, by=()):
        return self.sum(self.requests(), by, lambda request: (request.corrected[1] if request.corrected else request.cost) or 0)

    def quantile(self, q, metric, things, by=()):
        """As Prometheus's documentation has it: linear within the bucket that holds the rank."""
        groups = {}
        for labels, value in things:
            groups.setdefault(tuple(labels[label] for label in by), []).append(value)
        return {key: quantile(q, self.buckets[metric], values) for key, values in groups.items()}

    def durations(self):
        return [(labels, request.duration_ms / 1000) for labels, request in self.requests()]

    def duration(self, q, by=()):
        return self.quantile(q, "codex_pooler_request_duration_seconds", self.durations(), by)

    def attempt_duration(self, q, by):
        things = [(labels, request.attempt_span_ms(number) / 1000) for labels, (request, number, _) in self.attempts()]
        return self.quantile(q, "codex_pooler_attempt_duration_seconds", things, by)

    def first_output(self, q, by):
        things = [(labels, attempt.first_output_s) for labels, (_, _, attempt) in self.attempts(("pool", "model"))]
        things = [(labels, seconds) for labels, seconds in things if seconds is not None]
        return self.quantile(q, "codex_pooler_time_to_first_output_seconds", things, by)

    # --- the panels ----------------------------------------------------------------------------------------------------------

    def stats(self):
        """The panels of single numbers that two dashboards share."""
        late = self.sum((({"pool": r.pool}, r) for r in self.grown if r.late and self.passes({"pool": r.pool})))
        tokens = {(): sum(self.tokens("input").values()) + sum(self.tokens("output").values())}
        return {
            "Failure ratio": [self.failures()],
            "Rejected": [self.sum(self.requests(), where=lambda labels: labels["status"] == "rejected")],
            "In flight": [self.sum(self.open(True))],
            "Duration, p95": [self.duration(0.95)],
            "Tokens": [tokens],
            "Cost": [self.cost()],
            "Came late": [late],
        }

    def request_logs(self):
        return self.stats() | {"Requests": [self.sum(self.requests(ignore=()))]}

    def overview(self):
        rates = {name: [self.rate(self.requests(), [label])] for name, label in LABELS.items()}
        late = (({"pool": r.pool}, r) for r in self.grown if r.late and self.passes({"pool": r.pool}))
        # Attempts after the first, by the model of their request.
        retries = (thing for thing in self.attempts(("pool", "model")) if thing[1][1] > 1)
        shares = self.tokens("cache_read", ["model"]), self.tokens("input", ["model"])
        found = {key: value for key, value in self.stats().items() if key in ("Failure ratio", "In flight", "Duration, p95", "Cost")}
        found |= {f"Requests by {name}": answer for name, answer in rates.items()}
        found |= {f"Failure ratio by {name}": [self.failures([label])] for name, label in LABELS.items()}
        found |= {f"Duration by {name}, p95": [self.duration(0.95, [label])] for name, label in list(LABELS.items())[:3]}
        return found | {
            "Requests": [self.sum(self.requests())],
            "Oldest in flight": [{(): "age"} if any(self.open(True)) else {}],
            "Failures by error code": [self.rate(self.requests(), ["error_code"], where=lambda labels: labels["outcome"] == "bad")],
            "Rejections by error code": [self.rate(self.requests(), ["error_code"], where=lambda labels: labels["status"] == "rejected")],
            "Budget left": [{key: 1 - ratio / BUDGET for key, ratio in self.failures(["pool"]).items()}],
            "Duration quantiles": [self.duration(q) for q in (0.5, 0.95, 0.99)],
            "Time to first output by model, p95": [self.first_output(0.95, ["model"])],
            "Tokens": [{key: value / self.seconds for key, value in self.tokens(kind).items()} for kind in TOKENS],
            "Input read from a cache by model": [{key: shares[0][key] / value for key, value in shares[1].items() if value}],
            "Cost by Pool": [{key: 3600 * value / self.seconds for key, value in self.cost(["pool"]).items()}],
            "Cost by model": [{key: 3600 * value / self.seconds for key, value in self.cost(["model"]).items()}],
            "Retries by model": [self.rate(retries, ["model"])],
            "Settlements by usage": [self.rate(self.unfiltered_by_model(self.settlements), ["usage_status"])],
            "Settlements by price": [self.rate(self.unfiltered_by_model(self.settlements), ["pricing_status"])],
            "In flight by Pool": [self.sum(self.open(True), ["pool"])],
            "Without heartbeat by Pool": [self.sum(self.open(False), ["pool"])],
            "Late rows by Pool": [self.rate(late, ["pool"])],
        }

    def unfiltered_by_model(self, things):
        """Of a metric that has no model."""
        selection, self.selection = self.selection, {key: value for key, value in self.selection.items() if key != "model"}
        found = list(things())
        self.selection = selection
        return found

    def accounts_board(self):
        by = ["pool", "account"]
        codes = lambda wanted: lambda labels: labels["error_code"] in wanted
        known = [labels for labels in self.accounts() if self.passes({name: labels[name] for name in by})]
        failed = lambda labels: labels["status"] in ("failed", "retryable_failed")
        left = lambda labels: labels["status"] == "retryable_failed"
        unauthorized = codes({"upstream_unauthorized"})
        return {
            "Which account to look at first": [
                {(labels["pool"], labels["account"], labels["plan"]): 1 for labels in known},
                self.attempt_failures(by, least=10),
                self.sum(self.attempts(), by),
                self.sum(self.attempts(), by, where=codes(QUOTA)),
                self.sum(self.attempts(), by, where=unauthorized),
                self.sum(self.attempts(), by, where=left),
                self.attempt_duration(0.95, by),
            ],
            "Attempts by account": [self.rate(self.attempts(), ["account"])],
            "Failure ratio by account": [self.attempt_failures(["account"])],
            "Attempts by status": [self.rate(self.attempts(), ["status"])],
            "Retried away from an account": [self.rate(self.attempts(), ["account"], where=left)],
            "Quota errors by account": [self.rate(self.attempts(), ["account"], where=codes(QUOTA))],
            "Authorization errors by account": [self.rate(self.attempts(), ["account"], where=unauthorized)],
            "Failures by error code": [self.rate(self.attempts(), ["error_code"], where=failed)],
            "Plans": [self.sum(((labels, 1) for labels in known), ["pool", "plan"])],
            "Latency by account, p50": [self.attempt_duration(0.5, ["account"])],
            "Latency by account, p95": [self.attempt_duration(0.95, ["account"])],
        }

    def pipeline(self):
        """`sent` is what the sender counted itself between the two scrapes."""
        sent, pace = self.sent, lambda counts: {key: count / self.seconds for key, count in counts.items()}
        of = (self.instance,)
        return {
            "Ready": [{of: 1}],
            "Policy file": [{of: 0}],
            "Policy version": [{of: 1}],
            "Collector version": [{of: 1}],
            "Last heard of": [{("codex-pooler",): "age"}],
            "Received by protocol": [pace({("http_json",): sent["messages"] + sent["malformed"]})],
            "Refused by reason": [pace({("malformed",): sent["malformed"]})],
            "Parsed": [pace({of: sent["messages"]})],
            "In progress": [{of: 0}],
            "Stripped by reason": [pace({("unknown_key",): sent["leaks"], ("detected",): sent["leaks"]})],
            "Stripped by place": [pace({("span_attribute",): 2 * sent["leaks"]})],
            "Broken rules": [pace({("codex_pooler.request.correlation_id",): sent["leaks"]})],
            "Records parsed by signal": [pace({("traces",): sent["spans"] + sent["unusable"]})],
            "Records dropped by reason": [pace({("traces", "invalid_id"): sent["unusable"]})],
            "Records accepted by signal": [pace({("traces",): sent["spans"]})],
            "Accepted by branch": [pace({(branch,): sent["spans"] for branch in sent["branches"]})],
            "Queued by branch": [{(branch,): 0 for branch in sent["branches"]}],
            "Stored by signal": [pace({("traces",): sent["spans"]})],
            "Forwarded by signal": [pace({("traces",): sent["spans"]} if "forward" in sent["branches"] else {})],
            "Unaccounted messages": [{of: 0}],
            "Unaccounted records": [{(*of, "traces"): 0}],
            "Unaccounted records of branches": [{(*of, "traces", branch): 0 for branch in sent["branches"]}],
        }

    def recorded(self):
        """The recording rules, with every window replaced by the time between the two scrapes."""
        counted = self.sum(self.requests(), ["pool"], where=lambda labels: labels["outcome"] in ("good", "bad"))
        by = ["pool", "account"]
        telling = lambda labels: labels["error_code"] not in NEUTRAL_CODES and labels["status"] != "cancelled"
        attempts = self.sum(self.attempts(), by, where=telling)
        failed = self.sum(self.attempts(), by, where=lambda labels: telling(labels) and labels["status"] != "succeeded")
        durations = [(labels, value) for labels, value in self.durations() if labels["outcome"] in ("good", "bad")]
        p95 = self.quantile(0.95, "codex_pooler_request_duration_seconds", durations, ["pool"])
        return {
            "pool:codex_pooler_request_duration_seconds:p95_": p95,
            "pool:codex_pooler_requests_counted:increase": counted,
            "pool:codex_pooler_request_failures:ratio_rate": self.failures(["pool"]),
            # What is new counts from its collector's eleventh minute on, so here it is what rose.
            "pool_status_error_code:codex_pooler_requests:increase": self.sum(self.requests(), ["pool", "status", "error_code"]),
            "pool_account:codex_pooler_attempts_counted:increase": attempts,
            "pool_account:codex_pooler_attempt_failures:ratio_rate": {key: failed.get(key, 0) / count for key, count in attempts.items()},
            "instance:pooler_otel_unaccounted_messages:sum": {(self.instance,): 0},
            "instance_signal:pooler_otel_unaccounted_records:sum": {(self.instance, "traces"): 0},
            "instance_signal_branch:pooler_otel_unaccounted_branch_records:sum": {
                (self.instance, "traces", branch): 0 for branch in self.sent["branches"]
            },
        }

    # --- the log -------------------------------------------------------------------------------------------------------------

    def log(self, kind, applies, live, limit):
        """Rows of the log under the filters, newest first. `live`: whether open requests are among them."""
        found = []
        for request in self.seen:
            is_open = request.open_ms is not None
            values = request.attributes("in_progress" if is_open else "request")
            if kind == "in_progress":
                if not (is_open or (request.marked and not live)) or request.open_ms and request.open_ms > 60_000:
                    continue
            elif is_open and not live:
                continue
            status = values["codex_pooler.request.status"]
            labels = {"pool": request.pool, "status": status, "account": request.account, "model": request.model}
            labels = {name: value for name, value in labels.items() if name in applies}
            texts = {"api_key": request.key, "id": values["codex_pooler.request.search"]}
            contains = all(self.selection.get(name, "").lower() in text.lower() for name, text in texts.items() if name in applies)
            before = "before" not in applies or request.admitted_ms <= int(self.selection.get("before", 10**13))
            if contains and before and self.passes(labels):
                found.append(request)
        return sorted(found, key=lambda request: -request.admitted_ms)[:limit]


LABELS = {"Pool": "pool", "model": "model", "transport": "transport", "route": "route"}


def quantile(q, bounds, values):
    rank, before, lower = q * len(values), 0, 0.0
    for upper in bounds:
        inside = sum(lower < value <= upper for value in values)
        if before + inside >= rank and inside:
            return lower + (upper - lower) * (rank - before) / inside
        before, lower = before + inside, upper
    return bounds[-1]


#: Panels that are rightly empty in this traffic, and why.
EMPTY = {
    ("pipeline", "Policy reloads"): "no policy is loaded again",
    ("pipeline", "Dropped by branch and reason"): "nothing is lost on a branch",
    ("pipeline", "Metric pushes"): "no destination of pushes is configured",
    ("pipeline", "Failed metric pushes by reason"): "no destination of pushes is configured",
}
