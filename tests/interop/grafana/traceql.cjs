// Every TraceQL query of the dashboards by Grafana's own grammar. `node traceql.cjs <dashboards folder>`.

const fs = require("node:fs");
const path = require("node:path");
const { parser } = require("@grafana/lezer-traceql");
const { ALL, interpolated } = require("./frame.cjs");

/** Where the grammar finds an error, or -1. */
function errorAt(query) {
  let at = -1;
  parser.parse(query).iterate({ enter: (node) => void (node.type.isError && at < 0 && (at = node.from)) });
  return at;
}

const values = { pool: ALL, status: "failed", account: "Aurora (seat) 1", model: "gpt-5.4", api_key: "", id: "", before: "1", request: "a-b", trace: "" };
const folder = process.argv[2];
let checked = 0;
let failed = errorAt("{ span.a = }") < 0 ? ["the grammar takes everything"] : [];
for (const file of fs.readdirSync(folder)) {
  const { panels } = JSON.parse(fs.readFileSync(path.join(folder, file), "utf8"));
  for (const { title, targets = [] } of panels) {
    for (const { queryType, query } of targets.filter((t) => t.queryType === "traceql" && t.query.includes("{ "))) {
      const text = interpolated(query, values);
      const at = errorAt(text);
      checked += 1;
      if (at >= 0) {
        failed.push(`${file}, ${title}: ${queryType} at ${at}: ${text}`);
      }
    }
  }
}
if (checked < 8) {
  failed.push(`only ${checked} queries were found`);
}
console.log(`${checked} TraceQL queries`);
if (failed.length) {
  console.error(failed.join("\n"));
  process.exit(1);
}
