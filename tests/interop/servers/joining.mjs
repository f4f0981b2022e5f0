// A server on the TypeScript SDK 1.32 (kit `sdk`) that joins a gateway: `node joining.mjs GATEWAY NAME` in the kit's folder.
//
// It registers itself with `fetch`, in the full form, with the token in MCPGATE_TOKEN; beats as often as it is told; and
// leaves on SIGTERM. Sessions at /mcp, one transport each.
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import process from 'node:process';

const require = createRequire(`${process.cwd()}/`);
const { McpServer } = require('@modelcontextprotocol/sdk/server/mcp.js');
const { StreamableHTTPServerTransport } = require('@modelcontextprotocol/sdk/server/streamableHttp.js');
const express = require('express');

const [gateway, name] = process.argv.slice(2);
const sessions = new Map();
const app = express();
app.use(express.json());
app.all('/mcp', async (request, response) => {
  const known = sessions.get(request.headers['mcp-session-id']);
  if (known) return known.handleRequest(request, response, request.body);
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => sessions.set(id, transport),
  });
  const server = new McpServer({ name, version: '1.0.0' });
  server.tool('who', 'Tell who this is.', () => ({ content: [{ type: 'text', text: name }] }));
  await server.connect(transport);
  return transport.handleRequest(request, response, request.body);
});

const listening = app.listen(0, '127.0.0.1', async () => {
  const { port } = listening.address();
  const place = `${gateway}/v1/servers/${name}/replicas/127.0.0.1-${port}`;
  const headers = { Authorization: `Bearer ${process.env.MCPGATE_TOKEN}`, 'Content-Type': 'application/json' };
  const tell = (method, path, body) => fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const told = await tell('PUT', place, {
    url: `http://127.0.0.1:${port}`,
    title: 'TypeScript server',
    version: '1.0.0',
    tags: ['typescript'],
    protocol_versions: ['2025-11-25'],
    ttl: '2s',
  });
  const entry = await told.json();
  console.log(`${name}: ${told.status} ${JSON.stringify(entry)}`);
  if (!told.ok) process.exit(1);
  const beats = setInterval(() => tell('PUT', `${place}/heartbeat`).catch(() => {}), entry.heartbeatSeconds * 1000);
  process.once('SIGTERM', async () => {
    clearInterval(beats);
    await tell('DELETE', place).catch(() => {});
    process.exit(0);
  });
});
