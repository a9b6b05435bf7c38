"""The project's two files for an OpenTelemetry Collector, run by a real one on either side of the real binary, as a site would have them:

    sender -> Collector of otel-collector-before.yaml -> pooler-otel -> Collector of otel-collector-behind.yaml -> another pooler-otel

The last one stands where the site's Tempo and Mimir would be. Whether what it gets needs stripping tells whether anything went around the first."""

import json
import pathlib
import re
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "queries"))
import traffic
from programs import Program, Serve, ask, free_address, replaced, wait_for

STRIPPED = "pooler_otel_stripped_fields_total"
DROPPED = "pooler_otel_branch_dropped_records_total"
EVENT = "codex_pooler.request.started"


class Collector(Program):
    """The Collector with one of the project's files, in which only addresses are the test's."""

    def __init__(self, binary, folder, file, addresses):
        text = file.read_text()
        for old, new in addresses.items():
            text = replaced(text, old, new)
        config = pathlib.Path(folder, file.name)
        config.write_text(text)
        # The file in front has the default address for what it says of itself, which several programs may want at once.
        silent = pathlib.Path(folder, "silent.yaml")
        silent.write_text("service: {telemetry: {metrics: {level: none, readers: []}}}")
        super().__init__([binary, f"--config={config}", f"--config={silent}"], folder, file.stem)
        wait_for(f"the Collector of {file.name}", lambda: "Everything is ready" in self.printed())


def rows(serve):
    """The traces that have a row."""
    times = {"start": int(time.time()) - 3600, "end": int(time.time()) + 1}
    query = {"q": '{ span.codex_pooler.record.kind = "request" }', "limit": 200}
    found = json.loads(ask(f"{serve.tempo}/api/search", query | times)[1])["traces"]
    return {trace["traceID"].zfill(32) for trace in found}


def spans(serve, trace_id):
    """Every span of a trace, without regard to their order."""
    groups = json.loads(ask(f"{serve.tempo}/api/v2/traces/{trace_id}")[1])["trace"]["resourceSpans"]
    found = [json.dumps([group.get("resource"), span], sort_keys=True) for group in groups for scope in group["scopeSpans"] for span in scope["spans"]]
    return sorted(found)


def expect(what, found, wanted):
    if found != wanted:
        raise SystemExit(f"{what}: {found}, not {wanted}")


def main():
    config, binary, otelcol = pathlib.Path(sys.argv[1], "collector-config"), sys.argv[2], sys.argv[3]
    sent = [request for request in traffic.wave(2) if request.open_ms is None]
    wanted = {request.trace_id for request in sent}
    at_behind, at_before, at_before_http = free_address(), free_address(), free_address()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as last_folder, Serve(binary, last_folder) as last:
        # Certificates of a Tempo in the network are not what is tried here.
        tempo = f"{last.address['otlp_grpc']}\n    tls: {{insecure: true}}"
        to_last = {"127.0.0.1:6317": at_behind, "tempo.example.com:4317": tempo, "https://mimir.example.com/otlp": f"http://{last.address['otlp_http']}"}
        with Collector(otelcol, folder, config / "otel-collector-behind.yaml", to_last) as behind:
            arguments = ["--forward-endpoint", f"http://{at_behind}"]
            arguments += ["--metrics-otlp-endpoint", f"http://{at_behind}", "--metrics-otlp-interval", "1s"]
            with Serve(binary, folder, arguments=arguments) as serve:
                to_serve = {"0.0.0.0:4317": at_before, "0.0.0.0:4318": at_before_http, "127.0.0.1:5317": serve.address["otlp_grpc"]}
                with Collector(otelcol, folder, config / "otel-collector-before.yaml", to_serve):
                    check(f"http://{at_before_http}", sent, wanted, serve, last, behind)
    print(f"{len(wanted)} requests through two Collectors")


def check(sender, sent, wanted, serve, last, behind):
    for request in sent:
        expect("an answer", ask(f"{sender}/v1/traces", body=traffic.message(request.spans()))[0], 200)
    log = {"timeUnixNano": str(time.time_ns()), "eventName": EVENT, "body": {"stringValue": traffic.LEAKED}}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]}).encode()
    expect("an answer", ask(f"{sender}/v1/logs", body=body)[0], 200)

    for name, program in [("pooler-otel", serve), ("what is behind it", last)]:
        wait_for(f"every row in {name}", lambda: rows(program) >= wanted)
        expect(f"rows in {name}", rows(program), wanted)
    for trace_id in wanted:
        expect(f"trace {trace_id} behind", spans(last, trace_id), spans(serve, trace_id))
    # basic verbosity prints how many records there were.
    wait_for("the log record behind", lambda: re.search(r'"log records": 1\b', behind.printed()))
    wait_for("metrics behind", lambda: last.metric(r'pooler_otel_parsed_records_total\{signal="metrics"\}'))

    leaks = sum(request.leaks for request in sent)
    if serve.metric(STRIPPED) < 2 * leaks + 1:
        raise SystemExit(f"{serve.metric(STRIPPED)} fields stripped, of {leaks} requests with two each, and a log record with a body")
    expect("fields that had to be stripped behind pooler-otel", last.metric(STRIPPED), 0)
    expect("lost on the way", serve.metric(DROPPED), 0)
    expect("refused behind", last.metric("pooler_otel_refused_messages_total"), 0)


if __name__ == "__main__":
    main()
