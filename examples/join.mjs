// A server in JavaScript (Node >= 18) that joins a running gateway with nothing but fetch.
//
//     export MCPGATE_TOKEN=$(cat var/admin.token)
//     node examples/join.mjs [http://127.0.0.1:8701 [clock]]
//
// It takes a free port, registers, and is at /mcp/clock/mcp of the gateway until it is stopped. With the
// TypeScript SDK only `answer` changes; joining stays as it is.

import { createServer } from "node:http";

const [gateway = "http://127.0.0.1:8701", name = "clock"] = process.argv.slice(2);

// --- joining ---------------------------------------------------------------------------------------------------------

/**
 * Keep a server registered. The returned function deregisters it.
 *
 * @param {object} registration at least `url`; see docs/registry-api.md
 */
function join(gateway, token, name, replica, registration) {
  const place = `${gateway}/v1/servers/${encodeURIComponent(name)}/replicas/${encodeURIComponent(replica)}`;
  let registered = false;
  let timer;
  let step = Promise.resolve();

  async function ask(method, path, body, signal = AbortSignal.timeout(5000)) {
    const headers = { Authorization: `Bearer ${token}`, ...(body && { "Content-Type": "application/json" }) };
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), redirect: "error", signal });
    return { status: answer.status, told: await answer.json().catch(() => ({})) };
  }

  // Seconds until the next step. A beat that is answered with 404 means: register again.
  async function registerOrBeat() {
    const { status, told } = registered ? await ask("PUT", `${place}/heartbeat`) : await ask("PUT", place, registration);
    if (status === 404 && registered) {
      registered = false;
      return 0;
    }
    if (status >= 300) throw new Error(`${status} ${told.detail ?? ""} ${JSON.stringify(told.faults ?? [])}`);
    if (!registered) console.log(`${name}: ${registration.url}, registered as ${told.path}`);
    registered = true;
    return told.heartbeatSeconds ?? 60;
  }

  function next() {
    step = registerOrBeat()
      .catch((error) => {
        console.error(`${name}: not registered at the moment: ${error.cause?.message ?? error.message}`);
        return 5;
      })
      .then((pause_s) => (timer = setTimeout(next, pause_s * 1000)));
  }
  next();

  return async () => {
    await Promise.race([step, new Promise((over) => setTimeout(over, 1000))]);
    clearTimeout(timer);
    if (registered) await ask("DELETE", place, undefined, AbortSignal.timeout(2000)).catch(() => {});
  };
}

// --- the server ------------------------------------------------------------------------------------------------------

const tools = [{ name: "now", description: "Tell the time.", inputSchema: { type: "object", properties: {} } }];

const methods = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion: protocolVersion <= "2025-11-25" ? protocolVersion : "2025-11-25",
    capabilities: { tools: {} },
    serverInfo: { name, version: "1.0.0" },
  }),
  ping: () => ({}),
  "tools/list": () => ({ tools }),
  "tools/call": () => ({ content: [{ type: "text", text: new Date().toISOString() }] }),
};

function answer({ id, method, params = {} }) {
  if (!Object.hasOwn(methods, method)) return { jsonrpc: "2.0", id, error: { code: -32601, message: "unknown method" } };
  return { jsonrpc: "2.0", id, result: methods[method](params) };
}

const server = createServer(async (request, response) => {
  if (request.url !== "/mcp" || request.method !== "POST") return response.writeHead(405, { Allow: "POST" }).end();
  const parts = [];
  for await (const part of request) parts.push(part);
  let message;
  try {
    message = JSON.parse(Buffer.concat(parts));
  } catch {
    return response.writeHead(400).end();
  }
  if (message.id === undefined) return response.writeHead(202).end();
  response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(answer(message)));
});

server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const leave = join(gateway, process.env.MCPGATE_TOKEN, name, `127.0.0.1-${port}`, {
    url: `http://127.0.0.1:${port}`,
    title: "Clock",
    tags: ["example"],
  });
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => leave().finally(() => process.exit(0)));
});
