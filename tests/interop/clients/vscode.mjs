// What VS Code asks of an MCP Registry, in its order (kit `sdk`): prints one JSON line with what it was told.
//
// Run as `node --input-type=module - PLAN < vscode.mjs` in the kit's folder, where ajv is found. PLAN: url, search, schema
// (of the answers, with $defs ServerList and ServerResponse), pageSize (VS Code has 50).
//
// First whether there is a v0.1 (`?limit=1`), then pages of the latest versions by cursor; the search text stands in the
// first page's query only. Of each server then the latest version, with its name encoded. Its fetch sends no Accept of its
// own. Every answer must fit the schema, and what VS Code itself needs to show a server must be there.
import { createRequire } from 'node:module';
import process from 'node:process';

const require = createRequire(`${process.cwd()}/`);
const { default: Ajv2020 } = require('ajv/dist/2020.js');
const { default: addFormats } = require('ajv-formats');

const plan = JSON.parse(process.argv.at(-1));
const headers = { 'User-Agent': 'Mozilla/5.0 (X11; Linux x64) Code/1.115.0 Chrome/142.0.7444.235 Electron/39.2.7' };
const ajv = addFormats(new Ajv2020({ strict: false, allErrors: true }));
ajv.addSchema(plan.schema, 'registry');
const faults = [];
const asked = [];

async function get(target, shape) {
  const reply = await fetch(plan.url + target, { headers });
  asked.push([target, reply.status]);
  if (!reply.ok) return undefined;
  const told = await reply.json();
  const fits = ajv.getSchema(`registry#/$defs/${shape}`);
  if (!fits(told)) faults.push(...fits.errors.map(({ instancePath, message }) => `${target} ${instancePath} ${message}`));
  return told;
}

const isShown = ({ server, _meta }) => server.name && server.description && server.version && _meta instanceof Object;

const probe = await get('/v0.1/servers?limit=1', 'ServerList');
const servers = [];
let cursor;
do {
  let query = `?limit=${plan.pageSize}&version=latest`;
  if (cursor) query += `&cursor=${cursor}`;
  else if (plan.search) query += `&search=${encodeURIComponent(plan.search)}`;
  const page = await get(`/v0.1/servers${query}`, 'ServerList');
  servers.push(...page.servers);
  cursor = page.metadata.nextCursor;
} while (cursor);
const latest = [];
for (const { server } of servers) {
  latest.push(await get(`/v0.1/servers/${encodeURIComponent(server.name)}/versions/latest`, 'ServerResponse'));
  await get(`/v0.1/servers/${encodeURIComponent(server.name)}/versions`, 'ServerList');
}
const unknown = (await fetch(`${plan.url}/v0.1/servers/com.example%2Fnobody/versions/latest`, { headers })).status;
const shown = [probe.servers, servers, latest].every((each) => each.every(isShown));
console.log(JSON.stringify({ asked, faults, servers, latest, unknown, shown, probed: probe.servers.length }));
