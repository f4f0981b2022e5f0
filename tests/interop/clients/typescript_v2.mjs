// A visit with the TypeScript client 2.4 (kit `sdk`): prints one JSON line with what it saw.
//
// Run as `node --input-type=module - PLAN < typescript_v2.mjs` in the kit's folder, where the packages are found.
// PLAN is a JSON object: mode (auto, pinned, sse, listen, leave), url, calls, resources, prompts, headers, credentials
// (id, secret, issuer: the client gets its own token), may_fail (print what the SDK says if it is not let in). `listen` opens
// subscriptions/listen, makes the calls and waits until the tools were announced as changed; `leave` abandons the
// first call at its first progress, which closes its stream, and repeats the second one until it answers `cancelled`.
import { setTimeout as sleep } from 'node:timers/promises';

import {
  Client,
  ClientCredentialsProvider,
  SSEClientTransport,
  StreamableHTTPClientTransport,
} from '@modelcontextprotocol/client';

const NOTICED_MS = 10_000;
const POLL_MS = 20;
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

async function abandon(held, asked) {
  const leaving = new AbortController();
  const options = { signal: leaving.signal, onprogress: () => leaving.abort('interop') };
  await client.callTool({ name: held[0], arguments: held[1] }, options).catch(() => undefined);
  const end = Date.now() + NOTICED_MS;
  let state;
  do {
    await sleep(POLL_MS);
    state = (await client.callTool({ name: asked[0], arguments: asked[1] })).content[0].text;
  } while (state !== 'cancelled' && Date.now() < end);
  return state;
}

async function listen(calls) {
  const notices = [];
  const announced = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`nothing was announced within ${NOTICED_MS} ms`)), NOTICED_MS).unref();
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

function wayIn({ headers, credentials }) {
  const given = { requestInit: { headers } };
  if (!credentials) return given;
  const { id, secret, issuer } = credentials;
  const authProvider = new ClientCredentialsProvider({ clientId: id, clientSecret: secret, expectedIssuer: issuer });
  return { ...given, authProvider };
}

function print(seen) {
  // Exit only once everything is written: a pipe takes 64 KiB at a time.
  return new Promise(() => process.stdout.write(JSON.stringify(seen), () => process.exit(0)));
}

try {
  await client.connect(new Transport(new URL(plan.url), wayIn(plan)));
} catch (error) {
  if (!plan.may_fail) throw error;
  await print({ failure: [`${error.name}: ${error.message}`] });
}
const version = client.getNegotiatedProtocolVersion();
const visits = {
  listen: () => listen(plan.calls),
  leave: async () => ({ state: await abandon(...plan.calls) }),
};
const seen = await (visits[plan.mode] ?? lookAround)();
await client.close();
await print({ version, ...seen });
