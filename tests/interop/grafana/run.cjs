// The tables of the dashboards from the real binary to the cell. `node run.cjs <workspace> <pooler-otel> <send_rows> <folder to work in>`.
// Starts the binary, sends it the example rows, asks it what each table asks, and gives the answers to table.cjs for each version of Grafana.

const fs = require("node:fs");
const path = require("node:path");
const { spawn, execFileSync } = require("node:child_process");
const { once } = require("node:events");
const { ALL, interpolated } = require("./frame.cjs");

const [workspace, binary, sendRows, work] = process.argv.slice(2);
const rowsFile = path.join(workspace, "tests/fixtures/pooler-rows.json");
const dashboards = path.join(workspace, "dashboards/grafana");
const rows = JSON.parse(fs.readFileSync(rowsFile, "utf8"));
// The examples are of one day.
const DAY_S = Date.parse("2026-08-21T00:00:00Z") / 1000;
const DEADLINE_MS = 60_000;

/** Starts the binary; its addresses by name, once it is ready. */
function started(data) {
  const listeners = ["otlp-grpc", "otlp-http", "tempo", "metrics"].flatMap((name) => [`--${name}-listen`, "127.0.0.1:0"]);
  const child = spawn(binary, ["serve", "--data-dir", data, "--retention", "36500d", ...listeners], { stdio: ["ignore", "pipe", "ignore"] });
  const addresses = {};
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("pooler-otel was not ready in time")), DEADLINE_MS);
    let printed = "";
    child.once("exit", (status) => reject(new Error(`pooler-otel ended with ${status}`)));
    child.stdout.on("data", (chunk) => {
      printed += chunk;
      for (const [, name, address] of printed.matchAll(/^listening (\w+) (\S+)$/gm)) {
        addresses[name] = address;
      }
      if (/^ready$/m.test(printed)) {
        clearTimeout(late);
        resolve({ child, addresses });
      }
    });
  });
}

/** One search, as a panel asks it. */
async function search(tempo, target, variables, [start, end]) {
  const parameters = new URLSearchParams({ q: interpolated(target.query, variables), limit: target.limit, spss: target.spss, start, end });
  const answer = await fetch(`http://${tempo}/api/search?${parameters}`, { headers: { accept: "application/json" } });
  const text = await answer.text();
  if (answer.status !== 200) {
    throw new Error(`${answer.status} ${text}: ${parameters.get("q")}`);
  }
  return JSON.parse(text);
}

/** A row with nothing but what every row has, as OTLP. */
function bareRow() {
  const id = "5eed0001-0000-4000-8000-000000000001";
  const admitted = BigInt(Date.parse("2026-08-22T12:00:00Z"));
  const texts = {
    "record.kind": "request", "request.id": id, "request.correlation_id": "none", "request.search": id, "request.status": "succeeded",
    "request.outcome": "good", "pool.slug": "bare", "pool.name": "Bare", "upstream.account.label": "none", "upstream.plan.label": "none",
    "upstream.plan.family": "none", "api_key.label": "external token", "request.model": "none", "request.transport": "http_compact_json",
    "request.route_class": "proxy_http", "request.serving_mode": "none", "error.code": "none", "usage.status": "not_applicable",
    "pricing.status": "none", "text.id": id.slice(0, 8), "text.account": "– · Bare", "text.model": "– / default · external token",
    "text.transport": "HTTP", "text.route": "/v1/models", "text.usage": "–", "text.errors": "–",
  };
  const attributes = Object.entries(texts).map(([key, value]) => ({ key: `codex_pooler.${key}`, value: { stringValue: value } }));
  attributes.push({ key: "codex_pooler.request.admitted_ms", value: { intValue: String(admitted) } });
  attributes.push({ key: "codex_pooler.request.retry_count", value: { intValue: "0" } });
  attributes.push({ key: "http.request.method", value: { stringValue: "GET" } }, { key: "http.route", value: { stringValue: "/v1/models" } });
  const start = String(admitted * 1_000_000n);
  const span = { traceId: id.replaceAll("-", ""), spanId: "5eed000000000001", name: "GET /v1/models", kind: 2, flags: 1, startTimeUnixNano: start, endTimeUnixNano: start, attributes };
  const resource = { attributes: [{ key: "service.name", value: { stringValue: "codex-pooler" } }] };
  return { resourceSpans: [{ resource, scopeSpans: [{ scope: { name: "codex_pooler.telemetry" }, spans: [span] }] }] };
}

async function main() {
  fs.mkdirSync(work, { recursive: true });
  const data = fs.mkdtempSync(path.join(work, "data-"));
  const { child, addresses } = await started(data);
  try {
    execFileSync(sendRows, [rowsFile, `http://${addresses.otlp_http}`], { stdio: "inherit" });
    const body = JSON.stringify(bareRow());
    const sent = await fetch(`http://${addresses.otlp_http}/v1/traces`, { method: "POST", body, headers: { "content-type": "application/json" } });
    if (sent.status !== 200) {
      throw new Error(`the bare row was refused: ${sent.status}`);
    }
    const all = { pool: ALL, status: ALL, account: ALL, model: ALL, api_key: "", id: "", before: "9999999999999" };
    const day = [DAY_S, DAY_S + 86_399];
    const tables = fs.readdirSync(dashboards).flatMap((file) =>
      JSON.parse(fs.readFileSync(path.join(dashboards, file), "utf8"))
        .panels.filter((panel) => panel.type === "table" && panel.datasource.type === "tempo")
        .map((panel) => ({ dashboard: path.basename(file, ".json"), title: panel.title, target: panel.targets[0] })),
    );
    const log = tables.find(({ title }) => title === "Request log").target;
    // A request with two attempts, so that its detail has something to show.
    const retried = rows.find((row) => row.attempts.length > 1 && row.requests.status === "succeeded").requests.id;
    const answers = { log: await waitFor(() => search(addresses.tempo, log, all, day), (a) => a.traces.length === rows.length) };
    answers.bare = await waitFor(() => search(addresses.tempo, log, { ...all, pool: "bare" }, [DAY_S, DAY_S + 3 * 86_400]), (a) => a.traces.length === 1);
    answers.others = [];
    for (const { dashboard, title, target } of tables.filter(({ title }) => title !== "Request log")) {
      const now = Math.floor(Date.now() / 1000);
      const window = title === "In progress" ? [now - 3600, now + 60] : day;
      const detail = dashboard === "request-detail" ? { ...all, id: retried.slice(9), request: retried, trace: "" } : all;
      answers.others.push([dashboard, title, await search(addresses.tempo, target, detail, window)]);
    }
    const answersFile = path.join(work, "answers.json");
    fs.writeFileSync(answersFile, JSON.stringify(answers));
    for (const major of ["12", "13"]) {
      execFileSync(process.execPath, [path.join(__dirname, "table.cjs"), major, dashboards, answersFile, rowsFile], { stdio: "inherit" });
    }
  } finally {
    child.removeAllListeners("exit");
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      // Until then it works on the files that go next.
      await ended;
    }
    fs.rmSync(data, { recursive: true, force: true });
  }
}

/** Asks until the answer is complete. */
async function waitFor(ask, complete) {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const answer = await ask();
    if (complete(answer)) {
      return answer;
    }
    if (Date.now() > end) {
      throw new Error(`only ${answer.traces.length} rows came`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

main().catch((error) => {
  console.error(String(error.message ?? error));
  process.exit(1);
});
