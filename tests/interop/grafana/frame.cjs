// What Grafana's Tempo data source makes of a search answer, for a panel with the table type "spans": one frame, with the columns of every span,
// then an attribute's column for every key in the answer, by key, then the duration. Rows: traces by start, newest first.

/** The frame as plain fields: [{name, type, values, config}]. */
function spansFrame(answer) {
  const spans = [...answer.traces]
    .sort((a, b) => Number(BigInt(b.startTimeUnixNano) - BigInt(a.startTimeUnixNano)))
    .flatMap((trace) => (trace.spanSets ?? []).flatMap((set) => set.spans.map((span) => ({ trace, span }))));
  const column = (name, type, value, config = {}) => ({ name, type, config, values: spans.map(value) });
  const keys = [...new Set(spans.flatMap(({ span }) => (span.attributes ?? []).map((a) => a.key)))].sort();
  return [
    column("traceIdHidden", "string", ({ trace }) => trace.traceID, { custom: { hidden: true } }),
    column("traceService", "string", ({ trace }) => trace.rootServiceName, { displayNameFromDS: "Trace Service" }),
    column("traceName", "string", ({ trace }) => trace.rootTraceName, { displayNameFromDS: "Trace Name" }),
    column("spanID", "string", ({ span }) => span.spanID, { displayNameFromDS: "Span ID" }),
    column("time", "time", ({ span }) => Number(BigInt(span.startTimeUnixNano) / 1_000_000n), { displayNameFromDS: "Start time" }),
    column("name", "string", ({ span }) => span.name ?? "", { displayNameFromDS: "Name" }),
    ...keys.map((key) => attribute(key, spans)),
    column("duration", "number", ({ span }) => Number(span.durationNanos), { displayNameFromDS: "Duration", unit: "ns" }),
  ];
}

/** A column of one type; the data source fails on a key with two types, and so does this. */
function attribute(key, spans) {
  const values = spans.map(({ span }) => (span.attributes ?? []).find((a) => a.key === key)?.value);
  const kinds = new Set(values.filter((v) => v !== undefined).map((v) => Object.keys(v)[0]));
  const [kind] = kinds;
  const types = { stringValue: "string", intValue: "number", doubleValue: "number", boolValue: "boolean" };
  if (kinds.size !== 1 || !types[kind]) {
    throw new Error(`${key} has the types ${[...kinds].join(" and ")}, which breaks the table`);
  }
  const read = types[kind] === "number" ? Number : (value) => value;
  return { name: key, type: types[kind], config: { displayNameFromDS: key }, values: values.map((v) => (v === undefined ? null : read(v[kind]))) };
}

/** A query as the data source sends it: variables in the format that they ask for. */
function interpolated(query, variables) {
  const escaped = (text) => text.replace(/[\\^$*+?.()|[\]{}/]/g, "\\$&");
  return query.replace(/\$\{(\w+)(?::(\w+))?\}/g, (whole, name, format) => {
    if (!(name in variables)) {
      throw new Error(`the query asks for a variable ${name} that nobody set`);
    }
    const value = variables[name];
    // "All" goes in as it is declared, whatever the format.
    return value === ALL ? ".*" : format === "regex" ? escaped(value) : value;
  });
}

/** The choice "All" of a variable. */
const ALL = Symbol("All");

module.exports = { spansFrame, interpolated, ALL };
