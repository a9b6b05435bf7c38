// Every dashboard against the types that Grafana publishes for it: the dashboard, and each panel's options and columns.
// `node types.cjs <dashboards folder> <folder to work in>`. In those types the closed sets are enumerations, which no JSON text can be a member of;
// here they are the unions of their texts.

const fs = require("node:fs");
const path = require("node:path");
const ts = require("typescript");

const [dashboards, work] = process.argv.slice(2);
const source = path.join(path.dirname(require.resolve("@grafana/schema/package.json")), "dist", "types");
const types = path.join(work, "types");
fs.rmSync(types, { recursive: true, force: true });
fs.cpSync(source, types, { recursive: true });

const declarations = fs.readdirSync(types, { recursive: true }).filter((file) => file.endsWith(".d.ts"));
const texts = new Map(declarations.map((file) => [path.join(types, file), fs.readFileSync(path.join(types, file), "utf8")]));
const members = new Map();
const ENUM = /export (?:declare )?(?:const )?enum (\w+) \{([^}]*)\}/g;
for (const text of texts.values()) {
  for (const [, name, body] of text.matchAll(ENUM)) {
    for (const [, member, value] of body.matchAll(/^\s*(\w+) = ("[^"]*"|-?\d+)/gm)) {
      members.set(`${name}.${member}`, value);
    }
  }
}
for (const [file, text] of texts) {
  const unions = text.replace(ENUM, (_, name, body) => {
    const values = [...body.matchAll(/ = ("[^"]*"|-?\d+)/g)].map((match) => match[1]);
    return `export type ${name} = ${values.join(" | ") || "never"};`;
  });
  fs.writeFileSync(file, unions.replace(/\b([A-Z]\w+\.\w+)\b/g, (name) => members.get(name) ?? name));
}

/** Panel types with published options; `custom` is what a column or curve may have. */
const PANELS = { stat: false, table: true, text: false, timeseries: true };
const files = [];
const json = (value) => JSON.stringify(value, null, 1);
for (const name of fs.readdirSync(dashboards)) {
  const dashboard = JSON.parse(fs.readFileSync(path.join(dashboards, name), "utf8"));
  const lines = [`import type { Dashboard } from "./types/raw/dashboard/x/types.gen";`];
  Object.keys(PANELS).forEach((kind) => lines.push(`import type * as ${kind} from "./types/raw/composable/${kind}/panelcfg/x/types.gen";`));
  lines.push(`export const dashboard: Dashboard = ${json(dashboard)};`);
  dashboard.panels.filter((panel) => panel.type in PANELS).forEach((panel) => {
    lines.push(`export const options${panel.id}: Partial<${panel.type}.Options> = ${json(panel.options)};`);
    const custom = structuredClone(panel.fieldConfig?.defaults.custom);
    // Where Grafana before 12.2 looks for it; it stands at its new place, too.
    delete custom?.cellOptions?.wrapText;
    if (PANELS[panel.type] && custom) {
      lines.push(`export const custom${panel.id}: Partial<${panel.type}.FieldConfig> = ${json(custom)};`);
    }
  });
  const file = path.join(work, name.replace(".json", ".check.ts"));
  fs.writeFileSync(file, lines.join("\n"));
  files.push(file);
}
// The check can fail: a panel with a property that is none.
const wrong = path.join(work, "wrong.check.ts");
fs.writeFileSync(wrong, `import type { Dashboard } from "./types/raw/dashboard/x/types.gen";\nexport const d: Dashboard = { schemaVersion: 41, paneels: [] };\n`);

const options = {
  noEmit: true, strict: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler, types: [], paths: { "@grafana/schema": [path.join(types, "index.d.ts")] },
};
const findings = (roots) =>
  ts.getPreEmitDiagnostics(ts.createProgram(roots, options)).map((d) => {
    const place = d.file ? `${path.basename(d.file.fileName)}:${d.file.getLineAndCharacterOfPosition(d.start).line + 1}` : "";
    return `${place} ${ts.flattenDiagnosticMessageText(d.messageText, "\n")}`;
  });
const found = findings(files);
if (!findings([wrong]).some((text) => text.includes("paneels"))) {
  found.push("the types accept a dashboard that is none");
}
console.log(`${files.length} dashboards against Grafana's types`);
if (found.length) {
  console.error(found.join("\n"));
  process.exit(1);
}
