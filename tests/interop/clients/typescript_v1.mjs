// A visit with the TypeScript SDK 1.32 (kit `sdk`): prints one JSON line with what it saw.
//
// Run as `node --input-type=module - PLAN < typescript_v1.mjs` in the kit's folder, where the packages are found.
// PLAN is a JSON object: mode (sse, http, ws, leave), url, calls, resources, prompts. `leave` abandons the first
// call at its first progress (over Streamable HTTP), which sends notifications/cancelled.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { WebSocketClientTransport } from '@modelcontextprotocol/sdk/client/websocket.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  LoggingMessageNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';

const plan = JSON.parse(process.argv.at(-1));
const transports = {
  sse: SSEClientTransport,
  http: StreamableHTTPClientTransport,
  leave: StreamableHTTPClientTransport,
  ws: WebSocketClientTransport,
};
const transport = new transports[plan.mode](new URL(plan.url));
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

async function abandon([name, args]) {
  const leaving = new AbortController();
  const options = { signal: leaving.signal, onprogress: () => leaving.abort('interop') };
  await client.callTool({ name, arguments: args }, undefined, options).catch(() => undefined);
  // A later answer shows that the cancellation went out before the process ends.
  await client.ping();
  return { tool: name, abandoned: leaving.signal.aborted };
}

async function each(items, visit) {
  const seen = [];
  for (const item of items) seen.push(await visit(item));
  return seen;
}

await client.connect(transport);
const version = transport.protocolVersion ?? null;
if (plan.mode === 'leave') {
  console.log(JSON.stringify({ version, calls: [await abandon(plan.calls[0])] }));
} else {
  const seen = {
    version,
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
  console.log(JSON.stringify(seen));
}
await client.close();
process.exit(0);
