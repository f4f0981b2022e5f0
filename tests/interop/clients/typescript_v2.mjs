// A visit with the TypeScript client 2.4 (kit `sdk`): prints one JSON line with what it saw.
//
// Run as `node --input-type=module - PLAN < typescript_v2.mjs` in the kit's folder, where the packages are found.
// PLAN is a JSON object: mode (auto, pinned, sse, listen, leave), url, calls, resources, prompts. `listen` opens
// subscriptions/listen, makes the calls and waits until the tools were announced as changed; `leave` abandons the
// first call at its first progress, which closes its stream.
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const WAIT_MS = 10_000;
const plan = JSON.parse(process.argv.at(-1));
const mode = plan.mode === 'auto' ? 'auto' : { pin: '2026-07-28' };
const options = { capabilities: { sampling: {}, elicitation: {} } };
if (plan.mode !== 'sse') options.versionNegotiation = { mode };
const client = new Client({ name: 'interop', version: '1.0.0' }, options);
const Transport = plan.mode === 'sse' ? SSEClientTransport : StreamableHTTPClientTransport;
const logs = [];
client.setNotificationHandler('notifications/message', ({ params }) => {
  logs.push([params.level, params.data]);
});
client.setRequestHandler('sampling/createMessage', ({ params }) => ({
  role: 'assistant',
  content: { type: 'text', text: `you asked: ${params.messages[0].content.text}` },
  model: 'none',
}));
client.setRequestHandler('elicitation/create', () => ({
  action: 'accept',
  content: { username: 'ada', email: 'ada@example.org', name: 'Ada' },
}));

async function call([name, args]) {
  const progress = [];
  const onprogress = ({ progress: done, total, message }) => progress.push([done, total, message]);
  try {
    const result = await client.callTool({ name, arguments: args }, { onprogress });
    return { tool: name, result, progress };
  } catch (error) {
    return { tool: name, error: { code: error.code, message: error.message, data: error.data }, progress };
  }
}

async function abandon([name, args]) {
  const leaving = new AbortController();
  const onprogress = () => leaving.abort('interop');
  await client.callTool({ name, arguments: args }, { signal: leaving.signal, onprogress }).catch(() => undefined);
  return { tool: name, abandoned: leaving.signal.aborted };
}

async function listen(calls) {
  const notices = [];
  const announced = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`nothing was announced within ${WAIT_MS} ms`)), WAIT_MS).unref();
    client.setNotificationHandler('notifications/tools/list_changed', ({ method }) => {
      notices.push(method);
      resolve();
    });
  });
  const subscription = await client.listen({ toolsListChanged: true });
  const results = await each(calls, call);
  await announced;
  await subscription.close();
  return { honored: subscription.honoredFilter, calls: results, notices };
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

await client.connect(new Transport(new URL(plan.url)));
const version = client.getNegotiatedProtocolVersion();
const visits = {
  listen: () => listen(plan.calls),
  leave: async () => ({ calls: [await abandon(plan.calls[0])] }),
};
const seen = await (visits[plan.mode] ?? lookAround)();
console.log(JSON.stringify({ version, ...seen }));
await client.close();
process.exit(0);
