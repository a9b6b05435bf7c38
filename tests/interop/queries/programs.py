"""The programs that take part: the real binary, a real Prometheus that scrapes it, and HTTP to both."""

import contextlib
import datetime
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.parse

DEADLINE_S = 60
POLL_S = 0.1
LISTENERS = ["otlp-grpc", "otlp-http", "tempo", "metrics"]


def wait_for(what, ready):
    """Polls until `ready()` is true, and returns it."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if value := ready():
                return value
        time.sleep(POLL_S)
    raise SystemExit(f"waited {DEADLINE_S} s in vain for: {what}")


def ask(url, parameters=(), body=None):
    """(status, text) of one request on a connection of its own; proxies of the machine are not asked."""
    parts = urllib.parse.urlsplit(url)
    path = parts.path + ("?" + urllib.parse.urlencode(parameters) if parameters else "")
    connection = http.client.HTTPConnection(parts.netloc, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        headers = {"accept": "application/json"} | ({"content-type": "application/json"} if body is not None else {})
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


class Program:
    """A process in a group of its own, ended when the test is over."""

    def __init__(self, command, folder, name):
        self.name, self.log = name, pathlib.Path(folder, f"{name}.log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env={})

    def printed(self):
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} ended with {self.process.returncode}:\n{self.log.read_text()}")
        return self.log.read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


class Serve(Program):
    """`pooler-otel serve` on free ports."""

    def __init__(self, binary, folder, forward=None, arguments=()):
        command = [binary, "serve", "--data-dir", str(pathlib.Path(folder, "data")), *arguments]
        command += [argument for name in LISTENERS for argument in (f"--{name}-listen", "127.0.0.1:0")]
        if forward:
            command += ["--forward-endpoint", forward, "--forward-protocol", "http/protobuf"]
        super().__init__(command, folder, "pooler-otel")
        printed = wait_for("pooler-otel's `ready`", lambda: (text := self.printed()) and "\nready\n" in text and text)
        self.address = dict(re.findall(r"^listening (\w+) (\S+)$", printed, re.MULTILINE))
        self.tempo = f"http://{self.address['tempo']}"

    def send(self, body):
        return ask(f"http://{self.address['otlp_http']}/v1/traces", body=body)[0]

    def metric(self, name):
        """Sum of a metric's samples as they are now."""
        _, text = ask(f"http://{self.address['metrics']}/metrics")
        return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*?\}})? (\S+)", text, re.MULTILINE))


#: Sockets that keep an address for the program that is to listen there.
kept = []


def free_address():
    """An address of the loopback interface on which nobody listens, and which the system gives to nobody else while this process lives. A
    program that names it can listen on it, because Go's listeners share an address with a socket that only has it, as this one does."""
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    kept.append(keeper)
    return f"127.0.0.1:{keeper.getsockname()[1]}"


class Prometheus(Program):
    """Prometheus with the project's own configuration and rules; only addresses and intervals are the test's."""

    def __init__(self, binary, folder, root, scraped):
        rules = pathlib.Path(root, "dashboards/rules/codex-pooler-rules.yaml").read_text()
        pathlib.Path(folder, "rules.yaml").write_text(replaced(rules, "interval: 2m", "interval: 1s"))
        config = pathlib.Path(root, "collector-config/prometheus.yml").read_text()
        config = replaced(config, "_interval: 15s", "_interval: 1s")
        config = replaced(config, "../dashboards/rules/codex-pooler-rules.yaml", "rules.yaml")
        config = replaced(config, "127.0.0.1:9464", scraped)
        # Nobody listens there, and nothing is to be notified.
        config = replaced(config, "127.0.0.1:9093", "127.0.0.1:9")
        pathlib.Path(folder, "prometheus.yml").write_text(config)
        address = free_address()
        self.url = f"http://{address}"
        command = [binary, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus"]
        super().__init__(command + [f"--web.listen-address={address}", "--enable-feature=exemplar-storage"], folder, "prometheus")
        wait_for("Prometheus", lambda: self.printed() is not None and ask(f"{self.url}/-/ready")[0] == 200)

    def get(self, path, parameters=()):
        """What an API call answers; a query that it refuses raises."""
        status, text = ask(f"{self.url}/api/v1/{path}", parameters)
        if status != 200:
            raise ValueError(f"{status} {text}")
        return json.loads(text)["data"]

    def scraped_after(self, after_s):
        """Time in milliseconds of the first scrape that began after a moment."""

        def scrape():
            found = self.get("query", {"query": "pooler_otel_ready[1m]"})["result"]
            return next((at for at, _ in found[0]["values"] if at > after_s), None) if found else None

        return round(wait_for("a scrape", scrape) * 1000)

    def evaluated_after(self, after_s):
        """Waits until every group of rules has been evaluated for a time after a moment, and what it recorded can be read."""

        def evaluated():
            groups = self.get("rules")["groups"]
            # When the last one that is over began; it is for a time of up to an interval before. One more for groups that read what others record.
            return groups and all(timestamp_s(group["lastEvaluation"]) > after_s + 2 * group["interval"] for group in groups)

        wait_for("an evaluation of every rule", evaluated)


def timestamp_s(text):
    """Seconds since 1970 of a time of RFC 3339, which may have more digits than Python reads."""
    seconds, fraction, zone = re.fullmatch(r"([^.Z+]+?)(\.\d+)?(Z|[+-]\d\d:\d\d)", text).groups()
    return datetime.datetime.fromisoformat(seconds + zone.replace("Z", "+00:00")).timestamp() + float(fraction or 0)


def replaced(text, old, new):
    if old not in text:
        raise SystemExit(f"the project's file has no {old!r} any more")
    return text.replace(old, new)
