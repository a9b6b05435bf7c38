// Takes answers of the search API through a table's own steps, with Grafana's code of one major version: transformations, overrides, value mappings,
// display. `node table.cjs <12|13> <dashboards folder> <answers.json> <rows.json>`. Exit status 0 if the cells are as expected.

const fs = require("node:fs");
const path = require("node:path");
const { spansFrame } = require("./frame.cjs");

const [major, folder, answersFile, rowsFile] = process.argv.slice(2);
const read = (file) => JSON.parse(fs.readFileSync(file, "utf8"));
const failures = [];
const same = (found, expected, what) => {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    failures.push(`${what}\n    found    ${JSON.stringify(found)}\n    expected ${JSON.stringify(expected)}`);
  }
};

const grafana = library();

/** Grafana's own code; as much of a browser as each version asks for. */
function library() {
  if (major === "12") {
    const storage = { getItem: () => null, setItem() {}, removeItem() {} };
    globalThis.localStorage = storage;
    globalThis.window = { addEventListener() {}, localStorage: storage, location: { href: "http://localhost/", search: "" } };
  }
  const found = require(`grafana-data-${major}`);
  globalThis.window ??= {};
  const byId = new Map(Object.values(found.standardTransformers).map((t) => [t.id, t]));
  found.standardTransformersRegistry.setInit(() =>
    [...byId.values()].map((t) => ({
      id: t.id,
      name: t.name,
      // Version 13 loads each one when it is needed.
      transformation: major === "12" ? t : () => Promise.resolve(t),
    })),
  );
  return found;
}

/** The cells of a table of spans. */
const spanCells = (panel, answer) => cells(panel, [{ name: "Spans", refId: "A", fields: spansFrame(answer) }]);

/** The cells of a panel: headings of the visible columns, the hidden ones, and for each row the text of each visible cell. */
async function cells(panel, frames) {
  for (const { id } of panel.transformations) {
    if (!grafana.standardTransformersRegistry.getIfExists(id)) {
      throw new Error(`Grafana ${major} has no transformation ${id}`);
    }
  }
  const context = { interpolate: (text) => text };
  const result = await new Promise((resolve, reject) =>
    grafana.transformDataFrame(panel.transformations, frames.map((f) => grafana.toDataFrame(f)), context).subscribe({ next: resolve, error: reject }),
  );
  const [table] = result;
  if (!table) {
    return { headings: [], hidden: [], texts: [], values: [] };
  }
  const columns = table.fields.map((field) => column(panel, table, field, result));
  const visible = columns.filter((c) => !c.hidden);
  const texts = Array.from({ length: table.length }, (_, row) => visible.map((c) => c.text(row)));
  const values = Array.from({ length: table.length }, (_, row) => Object.fromEntries(columns.map((c) => [c.heading, c.value(row)])));
  return { headings: visible.map((c) => c.heading), hidden: columns.filter((c) => c.hidden).map((c) => c.heading), texts, values };
}

/** A field with the panel's defaults and the overrides for its heading, and the display that Grafana makes of it. */
function column(panel, frame, field, frames) {
  const heading = grafana.getFieldDisplayName(field, frame, frames);
  const { defaults, overrides } = panel.fieldConfig;
  const config = { ...defaults, ...field.config, custom: { ...defaults.custom, ...field.config.custom } };
  for (const { properties } of overrides.filter((o) => o.matcher.id === "byName" && o.matcher.options === heading)) {
    for (const { id, value } of properties) {
      const custom = id.startsWith("custom.") ? id.slice("custom.".length) : null;
      if (custom === "hideFrom.viz" || custom === "hidden") {
        config.custom.hidden = value;
      } else if (custom) {
        config.custom[custom] = value;
      } else {
        config[id] = value;
      }
    }
  }
  const display = grafana.getDisplayProcessor({ field: { ...field, config }, theme: grafana.createTheme(), timeZone: "utc" });
  const text = (row) => grafana.formattedValueToString(display(field.values[row]));
  return { heading, hidden: config.custom.hidden === true, text, value: (row) => field.values[row] };
}

// --- what the log must show ---------------------------------------------------------------------------------------------------

const HEADINGS = ["Status", "Timestamp (UTC)", "Upstream account", "Plan", "Model / API key", "Transport", "Route", "Usage", "Errors"];
const SYMBOLS = { Succeeded: "✔", Failed: "✖", Rejected: "⛔", Cancelled: "⊘", "In progress": "⏳" };
const DASH = "–";

/** The nine cells of a row, put together from what the pooler's own page shows for it. */
function expectedCells({ requests, expected_display: page }) {
  const shown = (text) => (text === null || text === "—" ? null : text);
  const joined = (...parts) => parts.filter((part) => shown(part ?? null) !== null).join(" · ");
  // The page has no word for a request that is accepted and not started; it is in progress.
  const status = page.status_label === "Accepted" ? "In progress" : page.status_label;
  const version = /\s(\d\S*)$/.exec(page.client?.text ?? "")?.[1];
  const client = page.client?.label && [page.client.label, version].filter(Boolean).join(" ");
  const route = page.translated_origin ? `${page.route} ← ${page.translated_origin}` : page.route;
  const blank = { usage_pending: `${DASH} (usage pending)`, usage_unknown: `${DASH} (usage unknown)` }[requests.usage_status] ?? DASH;
  return [
    `${SYMBOLS[status]} ${status}`,
    `${page.admitted.replace(" UTC", "")} · ${page.short_id}`,
    `${shown(page.upstream_account) ?? DASH} · ${page.pool}`,
    shown(page.plan_badge) ?? DASH,
    `${joined(shown(page.model) ?? DASH, page.reasoning, page.requested_reasoning)} / ${joined(page.service_tier, page.requested_tier, page.api_key)}`,
    joined(`${page.transport}${page.fast_mode ? " ⚡" : ""}`, client),
    joined(route, page.latency),
    shown(page.tokens) ? joined(`${page.tokens} tokens`, page.cached_line, page.cost) : blank,
    page.error_lines.length ? page.error_lines.join(" · ") : DASH,
  ];
}

/** The table of accounts joins several answers of Prometheus: a line for each account, whatever some of the answers lack. */
async function accounts(panel) {
  const series = { seat: { pool: "core", account: "Aurora seat 1" }, team: { pool: "core", account: "Borealis team" } };
  const values = {
    Known: { seat: 1, team: 1 },
    "Failure ratio": { seat: 0.25 },
    Attempts: { seat: 40, team: 3 },
    "Quota errors": { seat: 2 },
    "Authorization errors": {},
    "Retried elsewhere": { seat: 8 },
    "Latency, p95": { seat: 8.4, team: 0.41 },
  };
  const plans = { seat: "Pro", team: "Team" };
  const frames = panel.targets.map(({ refId, legendFormat }) => {
    const found = Object.entries(values[legendFormat]);
    const labels = (key) => found.map(([name]) => series[name][key]);
    const fields = [
      { name: "Time", type: "time", values: found.map(() => 1787270400000) },
      { name: "account", type: "string", values: labels("account") },
      { name: "pool", type: "string", values: labels("pool") },
    ];
    if (legendFormat === "Known") {
      fields.push({ name: "plan", type: "string", values: found.map(([name]) => plans[name]) });
    }
    fields.push({ name: `Value #${refId}`, type: "number", values: found.map(([, value]) => value) });
    // Prometheus answers with nothing at all where no series matches.
    return { refId, fields: found.length ? fields : [] };
  });
  const table = await cells(panel, frames);
  same(
    table.headings,
    ["Upstream account", "Plan", "Pool", "Failure ratio", "Attempts", "Quota errors", "Retried elsewhere", "Latency, p95"],
    "headings of the accounts",
  );
  same(
    table.texts,
    [
      ["Aurora seat 1", "Pro", "core", "25.0%", "40", "2", "8", "8.40 s"],
      ["Borealis team", "Team", "core", DASH, "3", DASH, DASH, "410 ms"],
    ],
    "cells of the accounts",
  );
}

async function main() {
  const answers = read(answersFile);
  const rows = read(rowsFile);
  const panelOf = (dashboard, title) => read(path.join(folder, `${dashboard}.json`)).panels.find((p) => p.title === title);
  const log = panelOf("request-logs", "Request log");

  const table = await spanCells(log, answers.log);
  same(table.headings, HEADINGS, "headings of the log");
  same([...table.hidden].sort(), ["account", "admitted_ms", "row_id", "traceIdHidden"], "hidden columns, which links use");
  const byTime = [...rows].sort((a, b) => Date.parse(b.requests.admitted_at) - Date.parse(a.requests.admitted_at));
  same(table.values.map((row) => row.row_id), byTime.map((row) => row.requests.id), "rows of the log, newest first");
  const byId = new Map(rows.map((row) => [row.requests.id, row]));
  table.values.forEach((row, at) => {
    const example = byId.get(row.row_id);
    same(table.texts[at], expectedCells(example), `${example.scenario}: cells`);
    same(row.admitted_ms, Date.parse(example.requests.admitted_at), `${example.scenario}: cursor`);
    same(row.traceIdHidden.padStart(32, "0"), example.requests.id.replaceAll("-", ""), `${example.scenario}: trace`);
  });

  const empty = await spanCells(log, { traces: [] });
  same([empty.headings, empty.texts], [[], []], "a log without rows, which Grafana shows as `No data`");

  // Only what every row has: no plan, no account, no model, no settlement.
  const bare = await spanCells(log, answers.bare);
  same(bare.headings, HEADINGS, "headings of a log of bare rows");
  same(bare.texts.map((row) => row.slice(2)), [["– · Bare", "–", "– / default · external token", "HTTP", "/v1/models", "–", "–"]], "a bare row");

  // Every other table: no heading without its column, no column twice.
  for (const [dashboard, title, answer] of answers.others) {
    const panel = panelOf(dashboard, title);
    const found = await spanCells(panel, answer);
    const wanted = Object.values(panel.transformations.at(-1).options.renameByName);
    const strange = [...found.headings, ...found.hidden].filter((heading) => !wanted.includes(heading));
    same(strange, [], `${dashboard}, ${title}: columns that nobody asked for`);
    same(found.texts.length > 0, answer.traces.length > 0, `${dashboard}, ${title}: rows`);
    console.log(`  ${dashboard}, ${title}: ${found.texts.length} rows of ${found.headings.length} columns`);
  }
  await accounts(panelOf("accounts", "Which account to look at first"));
  if (failures.length) {
    console.error(failures.map((failure) => `FAIL  Grafana ${major}: ${failure}`).join("\n"));
    process.exit(1);
  }
  console.log(`Grafana ${major}: ${table.texts.length} rows with their ${HEADINGS.length} cells`);
}

main();
