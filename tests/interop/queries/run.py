#!/usr/bin/env python3
"""Runs every query of every dashboard, variable and rule against the real binary and a real Prometheus, and holds the answers against what
the traffic contained.

    run.py <workspace> <pooler-otel> <prometheus> [--tempo URL --tempo-otlp URL]

With the two addresses of a running Tempo, of its API and of its OTLP/HTTP receiver, the same traffic is forwarded there, and every TraceQL query
is asked of it, too. Exit status 0 if every answer is right."""

import argparse
import json
import math
import pathlib
import re
import sys
import tempfile
import time
from collections import Counter

sys.dont_write_bytecode = True
import grafana
import traffic
from oracle import EMPTY, Oracle
from programs import Prometheus, Serve, ask, wait_for

#: An increase over a window that begins a millisecond before its first sample is extrapolated by that millisecond.
TOLERANCE = 5e-4
NOW_IS_S = 300
DROPPED_LABELS = {"__name__", "job", "version"}
BOTH_POOLS = list(traffic.POOLS)

#: For a span without this attribute, which has a column of its own in its files, a Tempo answers the text `nil`; see bench/record/queries.md.
NIL_IN_TEMPO = "http.response.status_code"

PROMQL_SELECTIONS = [
    {},
    *({"pool": pool} for pool in traffic.POOLS),
    {"pool": BOTH_POOLS},
    {"pool": "night"},
    {"model": "gpt-5.4"},
    {"model": "GPT-5.4-Codex"},
    {"model": ["o3:exp_1/x.y", "gpt-5.4-mini"]},
    {"model": "gpt-5x4"},
    {"status": "failed"},
    {"status": ["succeeded", "rejected"]},
    {"pool": "night_shift-2", "model": "gpt-5.4", "status": "failed"},
    *({"account": account} for account in traffic.PLANS),
    {"account": ["C++ dev. #1/2", "O'Brien & Co"], "pool": BOTH_POOLS},
    {"account": "C.. dev. #1/2"},
]
LOG_SELECTIONS = PROMQL_SELECTIONS + [
    {"status": "in_progress"},
    {"status": ["in_progress", "cancelled"], "pool": BOTH_POOLS},
    {"api_key": "night (RUNNER)+"},
    {"api_key": "ci agents", "status": "rejected"},
    {"id": "CORR.2-200"},
    {"id": "corr.1-1001"},
    {"id": "b00007d3-0000"},
    {"id": "corr.2.200"},
    {"account": "none"},
    {"account": "Команда (7)", "pool": "core-agents", "model": "mini", "status": "failed", "api_key": "CI", "id": "4000"},
]


class Run:
    """One run, and what went wrong in it."""

    def __init__(self, root, serve, prometheus):
        self.root, self.serve, self.prometheus = root, serve, prometheus
        self.dashboards = grafana.dashboards(root / "dashboards/grafana")
        self.counts, self.failures, self.filled = Counter(), [], set()

    def fail(self, what):
        self.failures.append(what)
        print(f"FAIL  {what}", flush=True)

    # --- the traffic ---------------------------------------------------------------------------------------------------------

    def inject(self, number):
        """Sends a wave; what was sent, and the time of a scrape that saw all of it."""
        requests = traffic.wave(number)
        spans = [span for request in requests for span in request.spans()]
        leaks = sum(request.leaks for request in requests)
        unusable = traffic.span({"traceId": "", "spanId": "00f067aa0ba902b7"}, "internal", 1, (1, 1), {})
        expected = self.serve.metric("pooler_otel_parsed_records_total") + len(spans) + number
        # A message that a client would send for each request, and one that is none, and spans without an id.
        bodies = [traffic.message(request.spans()) for request in requests] + [traffic.message([unusable] * number)]
        statuses = [self.serve.send(body) for body in bodies]
        if set(statuses) != {200}:
            self.fail(f"wave {number}: messages were refused: {Counter(statuses)}")
        if (status := self.serve.send(b"not OTLP")) != 400:
            self.fail(f"wave {number}: a malformed message is answered with {status}")
        wait_for("everything to be counted", lambda: self.serve.metric("pooler_otel_parsed_records_total") == expected)
        wait_for("everything to be delivered", lambda: self.serve.metric("pooler_otel_branch_queued_records") == 0)
        sent = {"messages": len(bodies), "malformed": 1, "spans": len(spans), "unusable": number, "leaks": leaks}
        return requests, sent, self.prometheus.scraped_after(time.time())

    def both_waves(self, branches):
        self.started_s = time.time()
        first, _, begin_ms = self.inject(1)
        # A second scrape before the second wave.
        self.prometheus.scraped_after(begin_ms / 1000)
        second, sent, _ = self.inject(2)
        # And a second one after it, once every rule has seen the growth: a Pool's failure ratio is recorded only from then on.
        self.prometheus.evaluated_after(time.time())
        end_ms = self.prometheus.scraped_after(time.time())
        # What the rules have found by then, kept: a minute after its marker an open request has lost its heartbeat, and that is an alert.
        self.prometheus.evaluated_after(end_ms / 1000)
        self.groups = self.prometheus.get("rules")["groups"]
        self.begin_ms, self.end_ms = begin_ms, end_ms
        self.seen, self.grown, self.sent = first + second, second, sent | {"branches": branches}

    def oracle(self, selection):
        seconds = (self.end_ms - self.begin_ms) / 1000
        return Oracle(self.root, self.grown, self.seen, selection, seconds, self.serve.address["metrics"], self.sent)

    @property
    def window(self):
        """The exact time between two scrapes. Its first sample must lie inside, also where a window's begin is left out."""
        return f"{self.end_ms - self.begin_ms + 1}ms"

    # --- PromQL --------------------------------------------------------------------------------------------------------------

    def instant(self, expr):
        self.counts["PromQL"] += 1
        found = self.prometheus.get("query", {"query": expr, "time": f"{self.end_ms / 1000:.3f}"})["result"]
        answer = {}
        for series in found:
            labels = tuple(sorted(value for name, value in series["metric"].items() if name not in DROPPED_LABELS))
            answer[labels] = float(series["value"][1])
        return answer

    def hold(self, what, expected, expr):
        """Asks, and holds the answer against the oracle's."""
        try:
            answer = self.instant(expr)
        except ValueError as error:
            return self.fail(f"{what}: {error}")
        self.counts["answers compared"] += 1
        meaning = lambda found: {
            tuple(sorted(key)): value for key, value in found.items() if value == "age" or not (value == 0 or math.isnan(value))
        }
        wanted, given = meaning(expected), meaning(answer)
        if expected and not answer and any(expected.values()):
            return self.fail(f"{what}: no answer, but {expected}: {expr}")
        equal = wanted.keys() == given.keys() and all(
            0 < given[key] < NOW_IS_S if value == "age" else math.isclose(value, given[key], rel_tol=TOLERANCE)
            for key, value in wanted.items()
        )
        if not equal:
            self.fail(f"{what}: {given}, not {wanted}: {expr}")
        return bool(answer)

    def panels(self, selection):
        oracle = self.oracle(selection)
        boards = {
            "request-logs": oracle.request_logs,
            "overview": oracle.overview,
            "accounts": oracle.accounts_board,
            "pipeline": oracle.pipeline,
        }
        further = {"__range": self.window, "__rate_interval": self.window, "__interval": "1s"}
        for board, dashboard in self.dashboards.items():
            names = grafana.variables(dashboard).keys()
            if selection.keys() - names:
                continue
            answers = boards[board]() if board in boards else {}
            for panel, at, target in grafana.targets(dashboard):
                if "expr" not in target:
                    continue
                title = panel["title"]
                what = f"{board} / {title} [{at}] {selection}"
                expr = grafana.interpolated(target["expr"], dashboard, selection, further, "promql")
                if (board, title) in EMPTY:
                    self.hold(what, {}, expr)
                elif title.startswith("Burn rate"):
                    if self.burn_rate(what, oracle, expr):
                        self.filled.add((board, title, at))
                elif title not in answers or at >= len(answers[title]):
                    self.fail(f"{what}: the oracle does not know this panel")
                elif self.hold(what, answers[title][at], expr):
                    self.filled.add((board, title, at))
                if target.get("range"):
                    self.curve(what, target, dashboard, selection, any(dict(enumerate(answers.get(title, []))).get(at, {}).values()))

    def burn_rate(self, what, oracle, expr):
        """From recording rules over their own windows, which Prometheus extrapolates: the Pools, and the size of the number."""
        answer = self.instant(expr)
        self.counts["answers compared"] += 1
        # A recorded series has no model to filter by.
        if "model" not in oracle.selection:
            expected = {key: ratio / 0.01 for key, ratio in oracle.failures(["pool"]).items()}
            near = answer.keys() == expected.keys() and all(abs(answer[key] - value) <= 0.15 * value for key, value in expected.items())
            if not near:
                self.fail(f"{what}: {answer}, not about {expected}: {expr}")
        return bool(answer)

    def curve(self, what, target, dashboard, selection, filled):
        """The query as a graph asks it: many steps, and a rate interval of four scrapes."""
        further = {"__range": "1h", "__rate_interval": "4s", "__interval": "1s"}
        expr = grafana.interpolated(target["expr"], dashboard, selection, further, "promql")
        self.counts["PromQL ranges"] += 1
        try:
            times = {"start": self.begin_ms / 1000 - 5, "end": self.end_ms / 1000, "step": "1s"}
            found = self.prometheus.get("query_range", {"query": expr} | times)["result"]
        except ValueError as error:
            return self.fail(f"{what}: {error}")
        if filled and not found:
            self.fail(f"{what}: the graph is empty: {expr}")

    def variables(self):
        """Every variable's list, chained ones under every choice of those before them."""
        pools = {request.pool for request in self.seen}
        finished = [request for request in self.seen if request.open_ms is None]
        for board, dashboard in self.dashboards.items():
            for name, variable in grafana.variables(dashboard).items():
                if variable["type"] != "query":
                    continue
                for chosen in [grafana.ALL, *sorted(pools), BOTH_POOLS] if "$pool" in variable["query"]["query"] else [grafana.ALL]:
                    passes = lambda pool: chosen is grafana.ALL or pool in chosen
                    in_pool = lambda requests: [request for request in requests if passes(request.pool)]
                    expected = {
                        "pool": pools,
                        "account": {attempt.account for request in in_pool(finished) for attempt in request.attempts},
                        "model": {request.model for request in in_pool(finished) if not request.late},
                        "job": {"pooler-otel"},
                        "instance": {self.serve.address["metrics"]},
                    }[name]
                    query = grafana.interpolated(variable["query"]["query"], dashboard, {"pool": chosen}, {}, "promql")
                    selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
                    times = {"start": self.begin_ms / 1000 - 60, "end": self.end_ms / 1000}
                    found = set(self.prometheus.get(f"label/{label}/values", {"match[]": selector} | times))
                    self.counts["variable lists"] += 1
                    if found != expected:
                        self.fail(f"{board} / variable {name} under {chosen}: {sorted(found)}, not {sorted(expected)}")

    # --- rules ---------------------------------------------------------------------------------------------------------------

    def rules(self):
        rules = [rule for group in self.groups for rule in group["rules"]]
        for rule in rules:
            if rule["health"] != "ok" or rule.get("lastError"):
                self.fail(f"rule {rule['name']}: {rule.get('lastError')}")
        recorded = {rule["name"]: rule["query"] for rule in rules if rule["type"] == "recording"}
        names = re.compile("|".join(sorted(map(re.escape, recorded), key=len, reverse=True)))
        inlined = lambda query: names.sub(lambda m: f"({inlined(recorded[m[0]])})", query)
        answers = self.oracle({}).recorded()
        for name, query in recorded.items():
            expected = answers.get(re.sub(r"\d+[smhd]$", "", name))
            if expected is None:
                self.fail(f"rule {name}: the oracle does not know it")
                continue
            self.hold(f"rule {name}", expected, re.sub(r"\[\d+[smhd]\]", f"[{self.window}]", inlined(query)))
            answer, keys = self.instant(name), {tuple(sorted(key)) for key in expected}
            # Of signals that were not sent there are zeros.
            if keys - answer.keys() or any(value for key, value in answer.items() if key not in keys):
                self.fail(f"rule {name}: recorded are {answer}, expected for {keys}")
        active = {}
        for rule in rules:
            if rule["type"] == "alerting":
                self.counts["alerts"] += 1
                if rule["alerts"]:
                    pools = {alert["labels"].get("pool") for alert in rule["alerts"]}
                    active[rule["name"]] = active.get(rule["name"], set()) | pools
        if active != ALERTS:
            self.fail(f"alerts that are pending or fire: {active}, not {ALERTS}")

    # --- TraceQL -------------------------------------------------------------------------------------------------------------

    def search(self, url, target, dashboard, selection, start_s, end_s):
        query = grafana.interpolated(target["query"], dashboard, selection, {}, "traceql")
        parameters = {"q": query, "start": int(start_s), "end": math.ceil(end_s)}
        parameters |= {name: target[name] for name in ("limit", "spss") if name in target}
        self.counts["TraceQL"] += 1
        status, text = ask(f"{url}/api/search", parameters)
        if status != 200:
            raise ValueError(f"{status} {text}: {query}")
        return query, [span for trace in json.loads(text)["traces"] for span in trace["spanSets"][0]["spans"]]

    def tables(self, url, live):
        """Every table of spans. `live`: this is the embedded store, which has open requests in its log and has applied corrections."""
        logs = self.dashboards["request-logs"]
        now = time.time()
        day = (now - 3600, now + 1)
        # A Tempo's marker spans may be searchable a little later than the minute that the panel shows.
        minute = (now - 60, now + 1) if live else (self.started_s - 3, now + 1)
        for panel, _, target in grafana.targets(logs):
            if target.get("queryType") != "traceql":
                continue
            kind = "in_progress" if panel["title"] == "In progress" else "request"
            applies = re.findall(r"\$\{(\w+)", target["query"])
            cursor = self.oracle({}).log(kind, applies, live, 50)[-1:]
            pages = [{"before": str(request.admitted_ms)} for request in cursor] if "before" in applies else []
            for selection in LOG_SELECTIONS + pages:
                what = f"{url} request-logs / {panel['title']} {selection}"
                expected = self.oracle(selection).log(kind, applies, live, target["limit"])
                times = minute if kind == "in_progress" else day
                if self.rows(what, url, target, logs, selection, times, expected, kind, live):
                    self.filled.add(("request-logs", panel["title"], 0))
        self.details(url, live, day)

    def rows(self, what, url, target, dashboard, selection, times, expected, kind, live):
        try:
            query, spans = self.search(url, target, dashboard, selection, *times)
        except ValueError as error:
            return self.fail(f"{what}: {error}")
        self.counts["answers compared"] += 1
        found = [attributes(span) for span in spans]
        # Every such table selects the short id, which is unique in this traffic.
        ids, wanted = [row["codex_pooler.text.id"] for row in found], [request.id[:8] for request in expected]
        by_id = dict(zip(wanted, expected))
        if kind == "in_progress":
            # Ordered by heartbeat.
            ids, wanted = sorted(ids), sorted(wanted)
        if ids != wanted:
            return self.fail(f"{what}: {len(ids)} rows {ids}, not {len(wanted)} {wanted}: {query}")
        selected = re.findall(r"span\.([a-z_.]+)", query.split("| select(")[1])
        for row in found:
            request = by_id[row["codex_pooler.text.id"]]
            is_open = request.open_ms is not None or kind == "in_progress"
            truth = request.attributes("in_progress" if is_open else "request", corrected=bool(request.corrected) and live)
            if kind == "request" and is_open and request.open_ms > 60_000:
                truth["codex_pooler.text.errors"] = "no heartbeat"
            self.same(what, selected, truth, row)
        return bool(found)

    def same(self, what, selected, truth, row):
        for key in selected:
            value = truth.get(key)
            if value is None and row.get(key) == "nil" and key == NIL_IN_TEMPO and self.serve.tempo not in what:
                continue
            equal = math.isclose(value, row.get(key, math.nan)) if isinstance(value, float) else row.get(key) == value
            if not equal:
                self.fail(f"{what}: {key} is {row.get(key)!r}, not {value!r}")

    def details(self, url, live, day):
        """The request detail, of one request of each kind that has ended."""
        detail = self.dashboards["request-detail"]
        kinds = {(r.status, r.code, len(r.attempts), bool(r.corrected), r.leaks, r.late): r for r in self.seen if r.open_ms is None}
        for request in kinds.values():
            selection = {"id": request.id[9:].upper(), "request": request.id, "trace": request.trace_id}
            records = {"attempt": [request.attempt_attributes(n + 1) for n in range(len(request.attempts))], "correction": []}
            if request.corrected:
                records["correction"].append(request.correction_attributes())
            records["request"] = [request.attributes(corrected=bool(request.corrected) and live)]
            for panel, _, target in grafana.targets(detail):
                what = f"{url} request-detail / {panel['title']} {request.id}"
                if panel["type"] == "traces":
                    self.whole_trace(what, url, grafana.interpolated(target["query"], detail, selection, {}, "traceql"), records)
                    self.filled.add(("request-detail", panel["title"], 0))
                    continue
                try:
                    query, spans = self.search(url, target, detail, selection, *day)
                except ValueError as error:
                    self.fail(f"{what}: {error}")
                    continue
                self.counts["answers compared"] += 1
                kind = re.search(r'record\.kind = "(\w+)"', query)[1]
                selected = re.findall(r"span\.([a-z_.]+)", query.split("| select(")[1])
                order = "codex_pooler.attempt.number"
                found = sorted((attributes(span) for span in spans), key=lambda row: row.get(order, 0))
                if len(found) != len(records[kind]):
                    self.fail(f"{what}: {len(found)} spans, not {len(records[kind])}: {query}")
                    continue
                for truth, row in zip(records[kind], found):
                    self.same(what, selected, truth, row)
                    self.filled.add(("request-detail", panel["title"], 0))

    def whole_trace(self, what, url, trace_id, records):
        self.counts["traces by id"] += 1
        status, text = ask(f"{url}/api/v2/traces/{trace_id}")
        if status != 200:
            return self.fail(f"{what}: {status} {text}")
        groups = json.loads(text)["trace"]["resourceSpans"]
        count = sum(len(scope["spans"]) for group in groups for scope in group["scopeSpans"])
        if count != sum(map(len, records.values())):
            self.fail(f"{what}: {count} spans, not {sum(map(len, records.values()))}")

    def complete(self):
        """No panel may be empty under every choice, but those of the list."""
        for board, dashboard in self.dashboards.items():
            for panel, at, _ in grafana.targets(dashboard):
                if (board, panel["title"], at) not in self.filled and (board, panel["title"]) not in EMPTY:
                    self.fail(f"{board} / {panel['title']} [{at}]: empty under every choice of filters")

    def tempo(self, url):
        """The same of a real Tempo, once it has everything: it makes spans searchable some seconds after they came."""
        ended = sum(request.open_ms is None for request in self.seen)
        markers = sum((request.open_ms or 0) < 60_000 and (request.marked or request.open_ms is not None) for request in self.seen)

        def complete(kind, count):
            return traces_in(url, f'{{ span.codex_pooler.record.kind = "{kind}" }}') >= count

        wait_for("Tempo to have every row", lambda: complete("request", ended))
        wait_for("Tempo to have every marker", lambda: complete("in_progress", markers))
        self.tables(url, live=False)


def traces_in(url, query):
    """How many traces of the last hour a query finds."""
    times = {"start": int(time.time()) - 3600, "end": int(time.time()) + 1}
    return len(json.loads(ask(f"{url}/api/search", {"q": query, "limit": 1000, "spss": 1} | times)[1]).get("traces") or [])


def attributes(span):
    """The attributes of a span in a search's answer, in their own types."""
    found = {}
    for attribute in span.get("attributes", []):
        ((kind, value),) = attribute["value"].items()
        found[attribute["key"]] = int(value) if kind == "intValue" else value
    return found


#: Alerts whose conditions this traffic meets, and for which Pools; they fire when that lasts. Core agents: 5 of 26 requests are bad, more than
#: 14.4 %, and 5 of 26 settlements have no usage. Night shift: 14 of 22 requests are bad; 18 of 20 attempts on one account fail while another
#: serves; 22 of 30 settlements have no usage; an open request has lost its heartbeat. A client sends secrets. No number is near its limit,
#: because Prometheus extrapolates over the rules' own windows.
ALERTS = {
    "CodexPoolerErrorBudgetBurn": {"core-agents", "night_shift-2"},
    "CodexPoolerUsageUnknown": {"core-agents", "night_shift-2"},
    "CodexPoolerAccountFailing": {"night_shift-2"},
    "CodexPoolerHeartbeatLost": {"night_shift-2"},
    "PoolerOtelSecretsSent": {None},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("pooler_otel")
    parser.add_argument("prometheus")
    parser.add_argument("--tempo", help="URL of a running Tempo's API")
    parser.add_argument("--tempo-otlp", help="URL of its OTLP/HTTP receiver")
    arguments = parser.parse_args()
    if bool(arguments.tempo) != bool(arguments.tempo_otlp):
        parser.error("--tempo and --tempo-otlp belong together")
    with (
        tempfile.TemporaryDirectory() as folder,
        Serve(arguments.pooler_otel, folder, arguments.tempo_otlp) as serve,
        Prometheus(arguments.prometheus, folder, arguments.root, serve.address["metrics"]) as prometheus,
    ):
        run = Run(arguments.root, serve, prometheus)
        if arguments.tempo and traces_in(arguments.tempo, "{ }"):
            sys.exit("this Tempo holds traces already, which would be among the answers: start it with an empty folder")
        run.both_waves(["store", "forward"] if arguments.tempo else ["store"])
        run.tables(serve.tempo, live=True)
        for selection in PROMQL_SELECTIONS:
            run.panels(selection)
        run.variables()
        run.rules()
        run.complete()
        if arguments.tempo:
            run.tempo(arguments.tempo)
    print(", ".join(f"{count} {what}" for what, count in run.counts.items()))
    if run.failures:
        sys.exit(f"{len(run.failures)} failures")


if __name__ == "__main__":
    main()
