#!/usr/bin/env python3
"""The official OpenTelemetry SDK for Python, and curl, against the real binary.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python run.py ../../../target/debug/pooler-otel

Clients that this project did not write send request rows with forbidden fields beside what is legal: over gRPC and over HTTP with protobuf, each
plain and with gzip, and as JSON. Then: the terminal prints every row with its nine columns; Tempo's search finds it by every filter; the forbidden
texts are in no byte of the data folder, the forwarded messages, the answers, the output or the metrics; and what was stripped is counted.
Exit status 0 if all of that holds, 1 if not.
"""

import gzip
import http.server
import json
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import grpc
import requests
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

sys.dont_write_bytecode = True
from rows import NS_PER_MS, SCOPE, Row, encodings

DEADLINE_S = 60
LISTENERS = ["otlp-grpc", "otlp-http", "tempo", "metrics"]
failures = []


def check(condition, what):
    """Notes a failure and goes on, so that one run shows all of them."""
    if not condition:
        failures.append(what)
        print(f"FAIL  {what}", flush=True)


def wait_for(what, ready):
    """Polls until `ready()` is true."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if value := ready():
            return value
        time.sleep(0.05)
    raise SystemExit(f"waited {DEADLINE_S} s in vain for: {what}")


class Destination(http.server.BaseHTTPRequestHandler):
    """A backend that keeps what is forwarded to it."""

    received = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.received.append(str(self.headers).encode() + body)
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Serve:
    """The binary, in a process group of its own."""

    def __init__(self, binary, folder, forward):
        self.out = [open(folder / name, "w+b") for name in ("stdout", "stderr")]
        command = [binary, "serve", "--log-level", "debug", "--data-dir", str(folder / "data")]
        command += ["--forward-endpoint", forward, "--forward-protocol", "http/protobuf"]
        for name in LISTENERS:
            command += [f"--{name}-listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=self.out[0], stderr=self.out[1], start_new_session=True, env={})
        wait_for("`ready`", lambda: self.process.poll() is not None or "\nready\n" in self.printed(0))
        if self.process.poll() is not None:
            raise SystemExit(f"serve ended with {self.process.returncode}:\n{self.printed(1)}")
        self.address = dict(re.findall(r"^listening (\w+) (\S+)$", self.printed(0), re.MULTILINE))

    def printed(self, stream):
        return pathlib.Path(self.out[stream].name).read_text()

    def end(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class RowIds(RandomIdGenerator):
    """The row's id is the trace id; span ids are random, as any SDK's are."""

    def __init__(self, row):
        self.row = row

    def generate_trace_id(self):
        return self.row.id.int


def record(row):
    """The row and its attempts as spans of the SDK, with forbidden fields in every place that its API offers."""
    memory = InMemorySpanExporter()
    resource = Resource.create({"service.name": "codex-pooler", "service.version": "0.1.0", "host.name": row.secret("host")})
    provider = TracerProvider(id_generator=RowIds(row), resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer(SCOPE, "0.1.0", f"https://example.com/{row.secret('schema-url')}", {"a": row.secret("scope")})
    start = row.admitted_ms * NS_PER_MS
    end = start + 8_445 * NS_PER_MS
    link = trace.Link(trace.SpanContext(7, 7, True), {"note": row.secret("link")})
    root = tracer.start_span(
        "POST /backend-api/codex/responses",
        context=context.Context(),
        kind=trace.SpanKind.SERVER,
        attributes=row.attributes() | row.forbidden(),
        links=[link],
        start_time=start,
    )
    stack = {"exception.stacktrace": row.secret("stacktrace"), "exception.message": row.secret("message")}
    root.add_event(f"exception {row.secret('event-name')}", stack, start)
    root.set_status(trace.StatusCode.ERROR, row.prompt("status-message"))
    for number in (1, 2):
        name, attributes = row.attempt(number)
        parent = trace.set_span_in_context(root, context.Context())
        attempt = tracer.start_span(name, parent, trace.SpanKind.CLIENT, attributes, start_time=start + number)
        attempt.end(end)
    odd = tracer.start_span(row.secret("span-name"), trace.set_span_in_context(root, context.Context()), start_time=start)
    odd.end(end)
    root.end(end)
    provider.shutdown()
    return memory.get_finished_spans()


def send_with_sdk(row, serve, answers):
    """Exports the row in its way; keeps what the server answered."""

    class Session(requests.Session):
        def send(self, *args, **kwargs):
            response = super().send(*args, **kwargs)
            answers.append(str(response.headers).encode() + response.content)
            return response

    compressed = row.way.endswith("-gzip")
    if row.way.startswith("grpc"):
        compression = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
        exporter = GrpcExporter(serve.address["otlp_grpc"], insecure=True, compression=compression, timeout=DEADLINE_S)
    else:
        compression = Compression.Gzip if compressed else Compression.NoCompression
        url = f"http://{serve.address['otlp_http']}/v1/traces"
        exporter = HttpExporter(url, compression=compression, timeout=DEADLINE_S, session=Session())
    spans = record(row)
    check(exporter.export(spans) is SpanExportResult.SUCCESS, f"{row.way}: the SDK's export succeeds")
    exporter.shutdown()
    return len(spans)


def send_with_curl(row, serve, answers):
    """The same as OTLP/JSON, by hand."""

    def attributes(values):
        kinds = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}
        as_text = lambda value: str(value) if type(value) is int else value
        return [{"key": key, "value": {kinds[type(value)]: as_text(value)}} for key, value in values.items()]

    start = row.admitted_ms * NS_PER_MS
    times = {"startTimeUnixNano": str(start), "endTimeUnixNano": str(start + 8_445 * NS_PER_MS)}
    common = {"traceId": row.trace_id, **times}
    event = {"name": row.secret("event-name"), "attributes": attributes({"exception.stacktrace": row.secret("stacktrace")})}
    root = common | {
        "spanId": "00f067aa0ba902b7",
        "name": "POST /backend-api/codex/responses",
        "kind": 2,
        "attributes": attributes(row.attributes() | row.forbidden()),
        "events": [event | {"timeUnixNano": str(start)}],
        "status": {"code": 2, "message": row.prompt("status-message")},
        "traceState": f"vendor={row.secret('trace-state')}",
        row.secret("json-key"): row.secret("json-value"),
    }
    spans = [root]
    for number in (1, 2):
        name, values = row.attempt(number)
        ids = {"spanId": f"00f067aa0ba902c{number}", "parentSpanId": root["spanId"]}
        spans.append(common | ids | {"name": name, "kind": 3, "attributes": attributes(values)})
    message = {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes({"service.name": "codex-pooler", "host.name": row.secret("host")})},
                "scopeSpans": [{"scope": {"name": SCOPE, "version": row.secret("scope-version")}, "spans": spans}],
                "schemaUrl": row.secret("schema-url"),
            }
        ]
    }
    url = f"http://{serve.address['otlp_http']}/v1/traces"
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", str(DEADLINE_S), "-w", "\n%{http_code}", "-H", "content-type: application/json"]
    answer = subprocess.run(command + ["-d", "@-", url], input=json.dumps(message).encode(), capture_output=True, check=True)
    body, _, status = answer.stdout.rpartition(b"\n")
    check(status == b"200", f"{row.way}: curl gets 200, not {status.decode()}: {body.decode()}")
    answers.append(answer.stdout)
    return len(spans)


def get(url, answers, **query):
    """`GET`; keeps the answer."""
    if query:
        url += "?" + urllib.parse.urlencode(query)
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as response:
            body = response.read()
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{url} answers {error.code}: {error.read().decode()}") from error
    answers.append(body)
    return body.decode()


def check_terminal(binary, row, serve, answers):
    """`requests --id` prints the row with the text of every column."""
    command = [binary, "requests", "--url", f"http://{serve.address['tempo']}", "--id", str(row.id)]
    printed = subprocess.run(command, capture_output=True, env={}, timeout=DEADLINE_S, check=False)
    answers += [printed.stdout, printed.stderr]
    text = printed.stdout.decode()
    check(printed.returncode == 0, f"{row.way}: requests ends with {printed.returncode}: {printed.stderr.decode()}")
    lines = [line for line in text.splitlines() if str(row.id)[:8] in line]
    check(len(lines) == 1, f"{row.way}: requests prints the row once, not {len(lines)} times:\n{text}")
    for column, expected in row.columns().items():
        # Cells are apart by two spaces at least; the symbol before a status and the id after a time belong to the cell.
        cells = [cell.strip() for cell in re.split(r"\s{2,}", lines[0])] if lines else []
        found = any(cell == expected or (column in ("status", "time") and expected in cell) for cell in cells)
        check(found, f"{row.way}: column {column} shows {expected!r}; the cells are {cells}")


def check_search(row, serve, answers):
    """Tempo's search finds the row, and it alone, by each filter that only it matches; and with its values by all of them together."""
    url = f"http://{serve.address['tempo']}/api/search"
    window = {"start": row.admitted_ms // 1000 - 60, "end": row.admitted_ms // 1000 + 60}

    def search(pool=".*", status=".*", account=".*", model=".*", ids=".*"):
        query = f"""{{ span.codex_pooler.record.kind = "request" && span.codex_pooler.pool.slug =~ `{pool}`
            && span.codex_pooler.request.status =~ `{status}` && span.codex_pooler.upstream.account.label =~ `{account}`
            && span.codex_pooler.request.model =~ `{model}` && span.codex_pooler.request.search =~ `(?i).*{ids}.*` }}
            | select(span.codex_pooler.text.usage, span.codex_pooler.usage.total_tokens) with (most_recent=true)"""
        answer = json.loads(get(url, answers, q=query, limit=50, spss=1, **window))
        return {trace["traceID"].zfill(32): trace for trace in answer["traces"]}

    filters = {
        "pool": row.pool,
        "account": row.account,
        "model": row.model.replace(".", "\\."),
        "ids": str(row.id),
    }
    for name, value in filters.items():
        check(set(search(**{name: value})) == {row.trace_id}, f"{row.way}: the filter {name} finds the row, and nothing else")
    check(set(search(ids=row.correlation_id.upper())) == {row.trace_id}, f"{row.way}: the correlation id finds it in any case")
    check(set(search(ids=str(row.id)[9:23])) >= {row.trace_id}, f"{row.way}: a piece of the row id finds it")
    check(row.trace_id in search(status=row.status), f"{row.way}: the status finds the row")
    other = "succeeded" if row.failed else "failed"
    check(row.trace_id not in search(status=other), f"{row.way}: another status does not")
    found = search(**filters, status=row.status).get(row.trace_id)
    values = {}
    if found:
        values = {a["key"]: list(a["value"].values())[0] for a in found["spanSets"][0]["spans"][0]["attributes"]}
    check(values.get("codex_pooler.text.usage") == row.columns()["usage"], f"{row.way}: search selects the usage: {values}")
    tokens = None if row.failed else "50103"
    check(values.get("codex_pooler.usage.total_tokens") in (tokens, tokens and int(tokens)), f"{row.way}: and the tokens: {values}")


def metric(scrape, name, **labels):
    """Sum of a metric's samples that carry these labels."""
    total = 0
    for found, values in re.findall(rf"^{name}(?:\{{(.*?)\}})? (\S+)", scrape, re.MULTILINE):
        if all(f'{key}="{value}"' in found for key, value in labels.items()):
            total += float(values)
    return total


def check_metrics(rows, sent_spans, scrape):
    """Everything that was sent is counted once; so is what was stripped, by place; and what is left of an e-mail address is the id's short form."""
    check(metric(scrape, "pooler_otel_parsed_records_total") == sent_spans, f"{sent_spans} spans are counted as parsed")
    check(metric(scrape, "pooler_otel_accepted_records_total") == sent_spans, f"{sent_spans} spans are counted as accepted")
    check(metric(scrape, "pooler_otel_parsed_messages_total") == len(rows), f"{len(rows)} messages are counted as parsed")
    places = ["resource_attribute", "scope", "schema_url", "span_attribute", "span_event", "span_link", "status_message", "trace_state", "span_name"]
    for place in places:
        check(metric(scrape, "pooler_otel_stripped_fields_total", place=place) > 0, f"stripping is counted for {place}")
    unknown = metric(scrape, "pooler_otel_stripped_fields_total", place="span_attribute", reason="unknown_key")
    # Seven of a row's forbidden attributes, and one of each attempt's, are under keys that the contract does not know.
    check(unknown >= 9 * len(rows), f"at least {9 * len(rows)} unknown keys are counted, not {unknown}")
    for row in rows:
        check(metric(scrape, "codex_pooler_requests_total", pool=row.pool, status=row.status) == 1, f"{row.way}: one request is counted")
        attempts = metric(scrape, "codex_pooler_attempts_total", pool=row.pool, account="acct-63918144")
        check(attempts == 2, f"{row.way}: two attempts are counted under the short form of the account's id, not {attempts}")


def check_leaks(rows, places):
    """No forbidden text is in any byte, in any encoding."""
    check(all(data for data in places.values()), f"every place has bytes to scan: { {name: len(data) for name, data in places.items()} }")
    for row in rows:
        for secret in row.secrets:
            for encoding, needle in encodings(secret).items():
                for name, data in places.items():
                    check(needle not in data, f"{row.way}: {secret} ({encoding}) is in {name}")


def main(binary, folder):
    """Runs everything in `folder`."""
    destination = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Destination)
    threading.Thread(target=destination.serve_forever, daemon=True).start()
    serve = Serve(binary, folder, f"http://127.0.0.1:{destination.server_port}")
    try:
        ways = ["grpc", "grpc-gzip", "http", "http-gzip", "curl-json"]
        rows = [Row(way, number) for number, way in enumerate(ways, start=1)]
        answers = []
        sent_spans = sum((send_with_curl if row.way == "curl-json" else send_with_sdk)(row, serve, answers) for row in rows)
        for row in rows:
            check_terminal(binary, row, serve, answers)
            check_search(row, serve, answers)
            get(f"http://{serve.address['tempo']}/api/v2/traces/{row.trace_id}", answers)
        tags = f"http://{serve.address['tempo']}/api/v2/search/tag"
        for key in json.loads(get(f"{tags}s", answers))["scopes"]:
            for tag in key["tags"] if key["name"] in ("span", "resource") else []:
                get(f"{tags}/{key['name']}.{tag}/values", answers)
        wait_for("the forwarded messages", lambda: len(Destination.received) >= len(rows))
        scrape = get(f"http://{serve.address['metrics']}/metrics", answers)
        check_metrics(rows, sent_spans, scrape)
        files = lambda: b"".join(path.read_bytes() for path in (folder / "data").rglob("*") if path.is_file())
        places = {"the data folder while it runs": files()}
        check(serve.end() == 0, f"serve ends with 0 when it is asked to, not {serve.process.returncode}")
        places |= {
            "the data folder at the end": files(),
            "the forwarded messages": b"".join(Destination.received),
            "the answers": b"".join(answers),
            "standard output": serve.printed(0).encode(),
            "standard error": serve.printed(1).encode(),
        }
        check_leaks(rows, places)
        # What is looked for can be found: the legal values are in the same bytes.
        for name in ("the data folder at the end", "the forwarded messages", "the answers"):
            check(b"corr-grpc-0001" in places[name], f"the legal correlation id is in {name}")
    finally:
        serve.kill()
        destination.shutdown()
    if failures:
        print(f"--- standard error of serve ---\n{serve.printed(1)}")
        print(f"{len(failures)} checks failed")
        return 1
    secrets = sum(len(row.secrets) for row in rows)
    print(f"ok: {len(rows)} ways, {sent_spans} spans, {secrets} forbidden texts, none of them anywhere")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="pooler-otel-interop-") as name:
        sys.exit(main(sys.argv[1], pathlib.Path(name)))
