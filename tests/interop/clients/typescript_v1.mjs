// A visit with the TypeScript SDK 1.32 (kit `sdk`): prints one JSON line with what it saw.
//
// Run as `node --input-type=module - PLAN < typescript_v1.mjs` in the kit's folder, where the packages are found.
// PLAN is a JSON object: mode (sse, http, ws, leave), url, calls, resources, prompts, headers (not over WebSocket),
// may_fail (print what the SDK says if it is not let in). `leave` (over Streamable HTTP)
// abandons the first call at its first progress, which sends notifications/cancelled, and repeats the second one
// until it answers `cancelled`.
import { setTimeout as sleep } from 'node:timers/promises';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { WebSocketClientTransport } from '@modelcontextprotocol/sdk/client/websocket.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';

const NOTICED_MS = 10_000;
const POLL_MS = 20;
const plan = JSON.parse(process.argv.at(-1));
const transports = {
  sse: SSEClientTransport,
  http: StreamableHTTPClientTransport,
  leave: StreamableHTTPClientTransport,
  ws: WebSocketClientTransport,
};
const transport = new transports[plan.mode](new URL(plan.url), { requestInit: { headers: plan.headers } });
const client = new Client(
  { name: 'interop', version: '1.0.0' },
  { capabilities: { sampling: {}, elicitation: {} } },
);
const logs = [];
client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
  logs.push([params.level, params.data]);
});
client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({
  role: 'assistant',
  content: { type: 'text', text: `you asked: ${params.messages[0].content.text}` },
  model: 'none',
}));
client.setRequestHandler(ElicitRequestSchema, () => ({
  action: 'accept',
  content: { username: 'ada', email: 'ada@example.org' },
}));

async function call([name, args]) {
  const progress = [];
  const onprogress = ({ progress: done, total, message }) => progress.push([done, total, message]);
  try {
    const result = await client.callTool({ name, arguments: args }, undefined, { onprogress });
    return { tool: name, result, progress };
  } catch (error) {
    return { tool: name, error: { code: error.code, message: error.message, data: error.data }, progress };
  }
}

async function abandon(held, asked) {
  const leaving = new AbortController();
  const options = { signal: leaving.signal, onprogress: () => leaving.abort('interop') };
  await client.callTool({ name: held[0], arguments: held[1] }, undefined, options).catch(() => undefined);
  const end = Date.now() + NOTICED_MS;
  let state;
  do {
    await sleep(POLL_MS);
    state = (await client.callTool({ name: asked[0], arguments: asked[1] })).content[0].text;
  } while (state !== 'cancelled' && Date.now() < end);
  return state;
}

async function each(items, visit) {
  const seen = [];
  for (const item of items) seen.push(await visit(item));
  return seen;
}

async function lookAround() {
  return {
    hello: {
      server: client.getServerVersion(),
      capabilities: client.getServerCapabilities(),
      instructions: client.getInstructions(),
    },
    tools: (await client.listTools()).tools,
    calls: await each(plan.calls, call),
    resources: await each(plan.resources, (uri) => client.readResource({ uri })),
    prompts: await each(plan.prompts, ([name, args]) => client.getPrompt({ name, arguments: args })),
    logs,
  };
}

function print(seen) {
  // Exit only once everything is written: a pipe takes 64 KiB at a time.
  return new Promise(() => process.stdout.write(JSON.stringify(seen), () => process.exit(0)));
}

try {
  await client.connect(transport);
} catch (error) {
  if (!plan.may_fail) throw error;
  await print({ failure: [`${error.name}: ${error.message}`] });
}
const version = transport.protocolVersion ?? null;
const seen = plan.mode === 'leave' ? { state: await abandon(...plan.calls) } : await lookAround();
await client.close();
await print({ version, ...seen });
